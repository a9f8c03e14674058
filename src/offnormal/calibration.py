"""Scores of rows the model was not fitted to: what every threshold and p-value rests on.

From 5,000 rows on, a tenth of the training rows is kept for calibration alone (split conformal). Below, five folds:
each fold is scored by a model fitted to the other four, and the score is carried to the scale of the final model by
matching the median and the upper spread (95th percentile − median) of the two models' scores on their own training
rows; for that the guarantee is approximate.

Where rows come in groups (clips of a recording, parts of a batch), those of one group are alike: one held out beside
others that were trained on is no new row. With `groups`, whole groups are held out.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offnormal import thresholds
from offnormal.errors import DataError
from offnormal.random import numpy_generator
from offnormal.thresholds import Cut

FOLDS_BELOW = 5_000
N_FOLDS = 5
HOLD_OUT_SHARE = 0.1
KEPT_TRAINING_SCORES = 10_000
"""Training scores kept in the model, as evenly spaced order statistics beyond this many."""

FEW_GROUPS = 10
"""Held out groups below which the promise of a threshold is weak."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Calibration:
    """Calibration scores and where they come from.

    Attributes
    ----------
    scores : array, shape (n,), ascending
    kind : str
        "holdout", "folds" or "none".
    groups : int or None
        How many groups the rows are of, where these were kept out whole.
    """

    scores: Floats
    kind: str
    groups: int | None = None

    @property
    def n(self) -> int:
        """Return the number of calibration rows."""
        return len(self.scores)

    @property
    def units(self) -> int:
        """Return how many of the rows say something of their own: one of each group, where they are of groups."""
        return self.n if self.groups is None else min(self.groups, self.n)

    def flag_rate(self, cut: float) -> float:
        """Return the most normal rows beyond `cut` that are to be expected, as a share: of new rows or of new groups.

        A share of `units` alike and one more, of which all may lie beyond (`thresholds.group_rate`); NaN without rows.
        """
        return thresholds.group_rate(float(np.mean(self.scores > cut)), self.units) if self.n else math.nan

    def promise(self, cut: Cut, lang: str = "en", *, whole: bool = True) -> str:
        """Say in words what a cut promises that rests on these scores (`thresholds.promise`)."""
        return thresholds.promise(cut, lang, whole=whole, folds=self.kind == "folds", groups=self.groups)


def resolve(kind: str, rows: int) -> str:
    """Turn "auto" into "holdout", "folds" or, where nothing can be kept aside, "none".

    Raises
    ------
    DataError
        If rows were asked to be kept aside and fewer than two would be left to fit to.
    """
    if kind == "auto":
        return "none" if rows < 3 else "folds" if rows < FOLDS_BELOW else "holdout"
    if kind != "none" and rows < 3:
        raise DataError(f"calibration={kind!r} needs at least 3 rows, got {rows}. Use calibration='auto' or more rows.")
    return kind


def codes_of(groups: Any, rows: int) -> Ints | None:
    """Return the number of each row's group, shape (rows,), counted from 0; None of None.

    Raises
    ------
    DataError
        If there is not one label for each row.
    """
    if groups is None:
        return None
    labels = np.asarray(groups)
    if labels.shape != (rows,):
        raise DataError(f"groups must have one label for each of the {rows:,} rows; its shape is {labels.shape}.")
    if labels.dtype.kind in "fc" and np.isnan(labels).any():
        raise DataError("groups has NaN in it; give every row the label of its group.")
    try:
        codes: Ints = np.unique(labels, return_inverse=True)[1].astype(np.int64)
    except TypeError as error:  # None among strings, most often
        raise DataError(f"groups must be labels of one kind, all numbers or all strings: {error}.") from error
    return codes


def count_groups(groups: Ints | None, kind: str, held: Ints) -> int | None:
    """Return of how many groups the calibration rows are, those `held` out or those of all folds; warn if of few.

    Raises
    ------
    DataError
        If rows are to be kept out and all are of one group.
    """
    if groups is None or kind == "none":
        return None
    if len(np.unique(groups)) < 2:
        raise DataError(
            "All rows are of one group, so none can be kept out to calibrate the threshold. Give rows of at least two "
            "groups, or do without calibration rows ('none')."
        )
    count = len(np.unique(groups[held] if kind == "holdout" else groups))
    if count < FEW_GROUPS:
        warnings.warn(
            f"The calibration rows are of {count} group{'s' if count > 1 else ''}, and those of one are alike: on new "
            "groups the rate of false alarms can be far from what the threshold promises.",
            UserWarning,
            stacklevel=4,
        )
    return count


def hold_out(rows: int, share: float, seed: int, purpose: str, groups: Ints | None = None) -> tuple[Ints, Ints]:
    """Split `range(rows)` at random into (kept, held out), both ascending; at least one row stays on each side.

    Rows of one group stay together, unless there is but one: groups are held out until there are enough rows, all but
    one at most.
    """
    count = min(max(round(rows * share), 1), rows - 1)
    draw = numpy_generator(seed, purpose)
    if groups is None or len(np.unique(groups)) < 2:
        order = draw.permutation(rows)
        return np.sort(order[count:]), np.sort(order[:count])
    labels, sizes = np.unique(groups, return_counts=True)
    order = draw.permutation(len(labels))
    wanted = min(int(np.searchsorted(np.cumsum(sizes[order]), count)) + 1, len(labels) - 1)
    held = np.isin(groups, labels[order[:wanted]])
    return np.flatnonzero(~held), np.flatnonzero(held)


def folds(rows: int, seed: int, groups: Ints | None = None) -> list[Ints]:
    """Split `range(rows)` at random into at most five parts of equal size (±1).

    Rows of one group stay together: the groups, the largest first, each go to the part with the fewest rows.
    """
    draw = numpy_generator(seed, "folds")
    if groups is None:
        order = draw.permutation(rows)
        return [np.sort(part) for part in np.array_split(order, min(N_FOLDS, rows))]
    sizes = np.bincount(groups)
    order = draw.permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    filled = np.zeros(min(N_FOLDS, len(sizes)), np.int64)
    part_of = np.empty(len(sizes), np.int64)
    for group in order:
        part_of[group] = np.argmin(filled)
        filled[part_of[group]] += sizes[group]
    return [np.flatnonzero(part_of[groups] == number) for number in range(len(filled))]


def carry(scores: Floats, own_training: Floats, final_training: Floats) -> Floats:
    """Carry a fold model's `scores` to the final model's scale, by the two models' scores on their training rows.

    Scales of the same method on four fifths of the rows are alike; a factor beyond ten means that one model fits its
    few rows all but perfectly, and is not followed.
    """
    own_middle, own_high = np.quantile(own_training, [0.5, 0.95])
    middle, high = np.quantile(final_training, [0.5, 0.95])
    own_spread, spread = own_high - own_middle, high - middle
    factor = float(np.clip(spread / own_spread, 0.1, 10.0)) if own_spread > 0 and spread > 0 else 1.0
    carried: Floats = middle + (scores - own_middle) * factor
    return carried


def thinned(ordered: Floats) -> Floats:
    """Return at most KEPT_TRAINING_SCORES order statistics of ascending scores, evenly spaced, the ends included."""
    if len(ordered) <= KEPT_TRAINING_SCORES:
        return ordered
    places = np.linspace(0, len(ordered) - 1, KEPT_TRAINING_SCORES).round().astype(np.int64)
    kept: Floats = ordered[places]
    return kept
