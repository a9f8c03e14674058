"""Scores of rows the model was not fitted to: what every threshold and p-value rests on.

From 5,000 rows on, a tenth of the training rows is kept for calibration alone (split conformal). Below, five folds:
each fold is scored by a model fitted to the other four, and the score is carried to the scale of the final model by
matching the median and the upper spread (95th percentile − median) of the two models' scores on their own training
rows; for that the guarantee is approximate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offnormal.errors import DataError
from offnormal.random import numpy_generator

FOLDS_BELOW = 5_000
N_FOLDS = 5
HOLD_OUT_SHARE = 0.1
KEPT_TRAINING_SCORES = 10_000
"""Training scores kept in the model, as evenly spaced order statistics beyond this many."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Calibration:
    """Calibration scores and where they come from.

    Attributes
    ----------
    scores : array, shape (n,), ascending
    kind : str
        "holdout", "folds" or "none".
    """

    scores: Floats
    kind: str

    @property
    def n(self) -> int:
        """Return the number of calibration rows."""
        return len(self.scores)


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


def hold_out(rows: int, share: float, seed: int, purpose: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split `range(rows)` at random into (kept, held out), both ascending; at least one row stays on each side."""
    count = min(max(round(rows * share), 1), rows - 1)
    order = numpy_generator(seed, purpose).permutation(rows)
    return np.sort(order[count:]), np.sort(order[:count])


def folds(rows: int, seed: int) -> list[NDArray[np.int64]]:
    """Split `range(rows)` at random into at most five parts of equal size (±1)."""
    order = numpy_generator(seed, "folds").permutation(rows)
    return [np.sort(part) for part in np.array_split(order, min(N_FOLDS, rows))]


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
