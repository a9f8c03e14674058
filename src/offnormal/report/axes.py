"""Axes: where a value stands between the ends, and which ticks a person wants to read.

Three scales. `linear`; `log` for counts and losses that span decades; `compressed` for heavy-tailed values: linear
around the usual ones and logarithmic beyond, asinh((value - center) / width).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from offnormal.report.numerals import tick

Floats = NDArray[np.float64]
_TAIL = 12.0  # beyond this many times the usual spread, a linear axis would hide the usual values
_DECADES = 30.0  # a positive quantity that spans more than this factor is read on a log axis
_LEAST_WIDTH = 1e-200  # of the nearly linear part, in lengths of the axis
_LOWEST_COUNT = 0.7  # bottom of a log axis of counts: one row still has height


@dataclass(frozen=True)
class Axis:
    """One scale between `low` and `high` (data units, low < high).

    Attributes
    ----------
    center, width : float
        Of the compressed scale only: the middle and half-width of its nearly linear part.
    """

    low: float
    high: float
    scale: Literal["linear", "log", "compressed"] = "linear"
    center: float = 0.0
    width: float = 1.0

    @classmethod
    def of_values(cls, values: ArrayLike, usual: ArrayLike) -> Axis:
        """Cover `values`; compressed where they reach far beyond the spread of the `usual` ones."""
        low, high = _ends(values)
        body = _finite(usual)
        if len(body) == 0:
            return cls(low, high)
        lower, middle, upper = (float(q) for q in np.quantile(body, [0.05, 0.5, 0.95]))
        spread = upper - lower
        if spread <= 0 or high - low <= _TAIL * spread:
            return cls(low, high)
        least = _LEAST_WIDTH * (high - low)  # the quotient of the two is a number
        return cls(low, high, "compressed", middle, max(spread / 2, least))

    @classmethod
    def of_counts(cls, counts: ArrayLike) -> Axis:
        """Start at no rows; logarithmic where the smallest bar would vanish beside the greatest."""
        positive = _finite(counts)
        positive = positive[positive > 0]
        if len(positive) == 0:
            return cls(0.0, 1.0)
        top = float(positive.max())
        if top > 5 * _DECADES * float(positive.min()):
            return cls(_LOWEST_COUNT, top * 1.15, "log")
        return cls(0.0, top * 1.06)

    @classmethod
    def of_losses(cls, values: ArrayLike) -> Axis:
        """Cover `values`; logarithmic where they are positive and fall by more than a decade and a half."""
        low, high = _ends(values)
        smallest = _finite(values).min(initial=math.inf)
        if smallest > 0 and high > _DECADES * smallest:
            return cls(float(smallest) / 1.1, high * 1.1, "log")
        margin = 0.04 * (high - low)
        return cls(low - margin, high + margin)

    def place(self, values: ArrayLike) -> Floats:
        """Return where `values` stand: 0 at `low`, 1 at `high`; beyond the ends, the nearest end."""
        ends = self._transform(np.array([self.low, self.high]))
        at = self._transform(np.asarray(values, dtype=np.float64))
        return np.asarray(np.clip((at - ends[0]) / (ends[1] - ends[0]), 0.0, 1.0))

    def at(self, places: ArrayLike) -> Floats:
        """Return the values that stand at `places`; the inverse of `place`."""
        low, high = self._transform(np.array([self.low, self.high]))
        inner = low + np.asarray(places, dtype=np.float64) * (high - low)
        if self.scale == "log":
            return np.asarray(np.exp(inner))
        if self.scale == "compressed":
            return np.asarray(self.center + self.width * np.sinh(inner))
        return np.asarray(inner)

    def ticks(self, most: int) -> list[tuple[float, str]]:
        """Return up to about `most` pairs of place (0 to 1) and label."""
        if self.scale == "linear":
            values, step = nice_values(self.low, self.high, most)
            return [(float(self.place(v)), tick(v, step)) for v in values]
        chosen: list[tuple[float, str]] = []
        for value, step in self._candidates():
            at = float(self.place(value))
            if self.low <= value <= self.high and all(abs(at - other) >= 1 / (most + 1) for other, _ in chosen):
                chosen.append((at, tick(value, step)))
        return sorted(chosen)

    def _transform(self, values: Floats) -> Floats:
        if self.scale == "log":
            return np.asarray(np.log(np.maximum(values, 1e-300)))
        if self.scale == "compressed":
            return np.asarray(np.arcsinh((values - self.center) / self.width))
        return values

    def _candidates(self) -> list[tuple[float, float]]:
        """Tick values with their steps, the most wanted first."""
        decades = [10.0**k for k in range(-12, 19)]
        if self.scale == "log":
            return [(m * d, m * d) for m in (1, 2, 5) for d in decades]
        around, step = nice_values(self.center - self.width, self.center + self.width, 2)
        usual = sorted(((float(v), step) for v in around), key=lambda pair: abs(pair[0] - self.center))
        far = [d for d in decades if d > self.width]
        tails = [(sign * m * d, m * d) for m in (1, 3) for d in far for sign in (1, -1)]
        return [*usual[:1], *tails, *usual[1:]]


def nice_values(low: float, high: float, most: int) -> tuple[Floats, float]:
    """Return about `most` round values from `low` to `high`, and their step (1, 2 or 5 times a power of ten)."""
    rough = (high - low) / max(1, most)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1.0, 2.0, 5.0, 10.0) if m * power >= rough * 0.7)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return np.arange(first, last + 1, dtype=np.float64) * step, step


def _finite(values: ArrayLike) -> Floats:
    array = np.asarray(values, dtype=np.float64).ravel()
    return array[np.isfinite(array)]


def _ends(values: ArrayLike) -> tuple[float, float]:
    array = _finite(values)
    if len(array) == 0:
        return 0.0, 1.0
    low, high = float(array.min()), float(array.max())
    if high - low > 1e-12 * max(abs(low), abs(high)):
        return low, high
    margin = abs(low) * 0.1 or 1.0
    return low - margin, high + margin
