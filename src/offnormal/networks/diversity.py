"""Whether a generator has collapsed: how far the rows it makes differ from one another, beside the training rows.

A generator that gives the same row for every code has a diversity of 0, one that gives the training rows themselves
has 1. The figure looks at distances alone: a generator that spreads as wide as the data but on the wrong rows, or that
leaves out a small group of them, is not found by it. Letters: b rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

AT_MOST = 256
"""Rows of each kind that are compared."""
COLLAPSED_BELOW = 0.1
"""Diversity under which a generator is called collapsed."""
LEAST_STEPS = 1000
"""Optimizer steps before which a generator is not judged: it has not begun."""
# Both from small games of about 1,000 steps. Those that were learning ended at 0.53 to 1.30 on a ring of Gaussians and
# 0.83 to 1.12 on ten columns (ten seeds each), and at 0.38 or more where the columns were log-normal, Cauchy, one-hot
# or held rows two hundred times larger (five seeds each); of ten games on the columns whose generator took steps twenty
# times too large, all ended at 0.00. Between lie generators that have hardly begun: small steps (1e-5, 2e-4) had led to
# 0.19 to 0.78 after 300 steps, and from weights of N(0, 0.02) to 0.04 to 0.12, after 960 to 0.09 to 0.59. The share of
# rows that a generator comes near to (within the distance to their fifth neighbor) was looked at too, and told less:
# 0.00 to 0.95 in the games that were learning.


def diversity(made: Tensor, rows: Tensor) -> float | None:
    """Return how far apart two generated rows lie, in units of how far apart two training rows do.

    How far is the square of the mean root of the distance: one row far from all others, as tables have, would make up
    nearly the whole of a mean of distances, and hide that all else differs.

    Parameters
    ----------
    made, rows : Tensor, shape (b, *shape)
        The first 256 of each are compared.

    Returns
    -------
    float or None
        At least 0; None if the training rows do not differ, either are fewer than two, or the ratio is not finite.
    """
    made, rows = made[:AT_MOST], rows[:AT_MOST]
    if min(len(made), len(rows)) < 2:
        return None
    between_rows = _distance(rows)
    ratio = _distance(made) / between_rows if between_rows > 0 else math.nan
    return ratio if math.isfinite(ratio) else None


def has_collapsed(history: Sequence[Mapping[str, Any]], steps: int) -> bool:
    """Return whether the last diversity measured is under `COLLAPSED_BELOW`, after enough steps to judge."""
    last = last_diversity(history)
    return last is not None and steps >= LEAST_STEPS and last < COLLAPSED_BELOW


def last_diversity(history: Sequence[Mapping[str, Any]]) -> float | None:
    """Return the last diversity measured in a training; None where there was no generator, or nothing to measure."""
    measured = [record["diversity"] for record in history if record.get("diversity") is not None]
    return float(measured[-1]) if measured else None


def generator_state(training: Mapping[str, Any]) -> dict[str, float | bool]:
    """Return, of the record of a training, the last diversity and whether it collapsed; {} without a generator."""
    last = last_diversity(training["history"])
    return {} if last is None else {"diversity": last, "collapsed": bool(training["collapsed"])}


def _distance(rows: Tensor) -> float:
    return float(torch.pdist(rows.double().flatten(1)).sqrt().mean()) ** 2
