"""Whether a generator has collapsed: how far the rows it makes differ from one another, beside the training rows.

A generator that gives the same row for every code has a diversity of 0, one that gives the training rows themselves
has 1. The figure looks at distances alone: a generator that spreads as wide as the data but on the wrong rows, or that
leaves out a small group of them, is not found by it. Letters: b rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

AT_MOST = 256
"""Rows of each kind that are compared."""
COLLAPSED_BELOW = 0.2
"""Diversity under which a generator is called collapsed."""
LEAST_STEPS = 300
"""Optimizer steps before which a generator is not judged: it has not begun."""


def diversity(made: Tensor, rows: Tensor) -> float | None:
    """Return the mean distance between two generated rows, in units of that between two training rows.

    Parameters
    ----------
    made, rows : Tensor, shape (b, *shape)
        The first 256 of each are compared.

    Returns
    -------
    float or None
        At least 0; None if the rows do not differ, or are fewer than two.
    """
    between_rows = _mean_distance(rows[:AT_MOST])
    if between_rows <= 0:
        return None
    return _mean_distance(made[:AT_MOST]) / between_rows


def has_collapsed(history: Sequence[Mapping[str, Any]], steps: int) -> bool:
    """Return whether the last diversity measured is under `COLLAPSED_BELOW`, after enough steps to judge."""
    measured = [record["diversity"] for record in history if record.get("diversity") is not None]
    return bool(measured) and steps >= LEAST_STEPS and measured[-1] < COLLAPSED_BELOW


def _mean_distance(rows: Tensor) -> float:
    flat = rows.double().flatten(1)
    return float(torch.pdist(flat).mean()) if len(flat) > 1 else 0.0
