"""Where in an image the residual lies: the rectangles in which it is densest.

Letters: h w height and width in pixels. Rows and columns of pixels are counted from 0 at the upper left.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

CELLS = 64
"""Cells along the longer side; larger maps are summed into cells first, so a place is exact to one cell."""
DENSITY = 2.0
"""A rectangle gains where the residual is denser than this many times the image's average."""
LEAST_SHARE = 0.05
"""A smaller share of the residual is no place worth naming."""


@dataclass(frozen=True)
class Place:
    """A rectangle of pixels.

    Attributes
    ----------
    top, bottom, left, right : int
        The first and last row, the first and last column, all within it.
    share : float
        Of the image's residual that lies in it, in (0, 1].
    area : float
        Of the image that it covers, in (0, 1].
    """

    top: int
    bottom: int
    left: int
    right: int
    share: float
    area: float


def places(residuals: Any, most: int = 3) -> tuple[Place, ...]:
    """Return the rectangles that hold more of the residual than their size would, the clearest first.

    Each maximizes (its residual) − `DENSITY` · (the image's mean residual) · (its area), and shares no pixel with those
    before it. Of equal ones, one is taken, always the same.

    Parameters
    ----------
    residuals : array, shape (h, w)
        Of one image; negative values count as 0.
    most : int

    Returns
    -------
    tuple of Place
        Empty where the residual is spread evenly, or 0.
    """
    amounts = np.maximum(np.asarray(residuals, dtype=np.float64), 0.0)
    height, width = amounts.shape
    side = max(math.ceil(max(height, width) / CELLS), 1)
    cells, sizes = _summed(amounts, side), _summed(np.ones_like(amounts), side)
    total = float(cells.sum())
    if total <= 0:
        return ()
    gains = cells - DENSITY * total / amounts.size * sizes
    found = []
    for _ in range(most):
        first, last, start, end = _densest(gains)
        there = (slice(first, last + 1), slice(start, end + 1))
        share = float(cells[there].sum()) / total
        if gains[there].sum() <= 0 or share < LEAST_SHARE:
            break
        top, left = first * side, start * side
        bottom, right = min((last + 1) * side, height) - 1, min((end + 1) * side, width) - 1
        area = (bottom - top + 1) * (right - left + 1) / amounts.size
        found.append(Place(top, bottom, left, right, min(share, 1.0), area))
        gains[there] = -2 * total  # a rectangle that touches it again cannot gain
    return tuple(found)


def _summed(values: Floats, side: int) -> Floats:
    """Return the sums of square cells; those at the lower and right edge may be smaller."""
    if side == 1:
        return values.copy()
    rows, columns = (np.arange(0, length, side) for length in values.shape)
    summed: Floats = np.add.reduceat(np.add.reduceat(values, rows, axis=0), columns, axis=1)
    return summed


def _densest(gains: Floats) -> tuple[int, int, int, int]:
    """Return first and last row, first and last column of the rectangle of greatest sum.

    For every pair of rows the columns between them are summed, and of each such line the best stretch is the greatest
    difference of two of its running sums.
    """
    height = len(gains)
    below = np.vstack([np.zeros(gains.shape[1]), gains.cumsum(axis=0)])
    tops, bottoms = np.triu_indices(height)
    running = (below[bottoms + 1] - below[tops]).cumsum(axis=1)
    before = np.hstack([np.zeros((len(running), 1)), running[:, :-1]])
    best = running - np.minimum.accumulate(before, axis=1)
    pair, end = np.unravel_index(int(best.argmax()), best.shape)
    start = int(before[pair, : end + 1].argmin())
    return int(tops[pair]), int(bottoms[pair]), start, int(end)
