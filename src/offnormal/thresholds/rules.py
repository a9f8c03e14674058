"""The rules that place a cut: which rows above the calibration scores are too far above."""

from __future__ import annotations

import dataclasses
import math
import numbers
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from offnormal.errors import DataError, InvalidParameter, UnknownName, UnsupportedLevel
from offnormal.parameters import KEY, Constraint, param, validate
from offnormal.thresholds.cuts import Cut, promise
from offnormal.thresholds.pareto import fit_generalized_pareto, pareto_quantile
from offnormal.thresholds.scores import Floats, ascending

DEFAULT_LEVEL = 0.01
DEFAULT_RULE = "conformal:0.01"
MIN_EXCESSES = 30
MIN_DISTINCT_EXCESSES = 10

# Shares such as 0.07 are not exact in binary; 100 · 0.07 must still count as 7 rows.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Rule(ABC):
    """A way to place the cut. `str(rule)` is its canonical text, which `parse_rule` takes back."""

    name: ClassVar[str]

    def __post_init__(self) -> None:
        validate(self)

    def __str__(self) -> str:
        fields = dataclasses.fields(self)
        values = [repr(float(getattr(self, f.name))).removesuffix(".0") for f in fields]
        while len(values) > 1 and getattr(self, fields[len(values) - 1].name) == fields[len(values) - 1].default:
            values.pop()
        return f"{self.name}:{','.join(values)}"

    @abstractmethod
    def cut(self, calibration: ArrayLike, training: ArrayLike | None = None) -> Cut:
        """Place the cut.

        Parameters
        ----------
        calibration : array, shape (n,)
            Anomaly scores of rows the model was not fitted to, in any order; finite.
        training : array, shape (m,), optional
            Anomaly scores of the training rows; only `contamination` uses them.

        Raises
        ------
        UnsupportedLevel
            If the rows are too few for the level; says how many are needed.
        DataError
            If scores are missing, or NaN or infinite.
        """

    def _cut(self, value: float, above_of: Floats, **details: float | str) -> Cut:
        """Assemble the cut; `above_of` are the scores whose share above it is reported."""
        if not math.isfinite(value):
            raise DataError(f"The rule {self} gives a cut of {value}: the scores are too large. Give a fixed cut.")
        figures = {"rows": len(above_of), "above": int(np.count_nonzero(above_of > value))} | details
        draft = Cut(float(value), str(self), "", figures)
        return dataclasses.replace(draft, promise=promise(draft, whole=False))


@dataclass(frozen=True)
class Conformal(Rule):
    """The ⌈(n + 1)(1 − α)⌉-th smallest calibration score: at most α of new normal rows lie above it, for any n."""

    name: ClassVar[str] = "conformal"
    alpha: float = param(DEFAULT_LEVEL, "False alarm rate.", gt=0, lt=1, source="One false alarm in a hundred rows.")

    def cut(self, calibration: ArrayLike, training: ArrayLike | None = None) -> Cut:
        scores = ascending(calibration)
        n = len(scores)
        # Flagged if and only if p = (1 + #{s_i >= s}) / (n + 1) <= alpha: the `rank`-th largest is the last kept.
        rank = min(math.floor((n + 1) * self.alpha + _ROUNDING), n)
        if rank < 1:
            needed = math.ceil(1 / self.alpha - _ROUNDING) - 1
            raise UnsupportedLevel(
                f"A false alarm rate of {self.alpha:g} needs at least {needed:,} calibration rows; there are {n:,}, "
                f"which support {_round_up(1 / (n + 1)):g} or more. Raise the rate, or fit on more rows."
            )
        low, high = _rate_range(n, rank)
        return self._cut(
            scores[n - rank], scores, level=self.alpha, guaranteed=rank / (n + 1), rate_low=low, rate_high=high
        )


@dataclass(frozen=True)
class Quantile(Rule):
    """The quantile of the calibration scores, linearly interpolated; an estimate without the conformal correction."""

    name: ClassVar[str] = "quantile"
    level: float = param(0.99, "Share of normal rows below the cut.", gt=0, lt=1, source="One in a hundred above.")

    def cut(self, calibration: ArrayLike, training: ArrayLike | None = None) -> Cut:
        scores = ascending(calibration)
        if (len(scores) + 1) * (1 - self.level) < 1 - _ROUNDING:
            needed = math.ceil(1 / (1 - self.level) - _ROUNDING) - 1
            raise UnsupportedLevel(
                f"The {self.level:g} quantile needs at least {needed:,} calibration rows; there are {len(scores):,}. "
                "Lower the level, or fit on more rows."
            )
        with np.errstate(over="ignore", invalid="ignore"):
            value = float(np.quantile(scores, self.level))
        return self._cut(value, scores, level=self.level)


@dataclass(frozen=True)
class MedianDeviation(Rule):
    """median + k · 1.4826 · median|s − median|; with more than half the scores equal, IQR or standard deviation."""

    name: ClassVar[str] = "mad"
    k: float = param(3.5, "Robust standard deviations above the median.", gt=0, lt=1e6, source="Iglewicz, Hoaglin 1993")

    def cut(self, calibration: ArrayLike, training: ArrayLike | None = None) -> Cut:
        scores = ascending(calibration)
        with np.errstate(over="ignore", invalid="ignore"):
            middle = float(np.median(scores))
            quarter, three_quarters = np.quantile(scores, [0.25, 0.75])
            spreads = {
                "mad": 1.4826 * float(np.median(np.abs(scores - middle))),
                "iqr": float(three_quarters - quarter) / 1.349,
                "sd": float(np.std(scores)),
                "none": 0.0,
            }
            # Equal numbers have a standard deviation of a few rounding errors, not of zero.
            least = 8 * np.finfo(np.float64).eps * abs(middle)
            spread_of = next(name for name, spread in spreads.items() if spread > least or name == "none")
            value = middle + self.k * spreads[spread_of]
        return self._cut(value, scores, k=self.k, median=middle, spread=spreads[spread_of], spread_of=spread_of)


@dataclass(frozen=True)
class PeaksOverThreshold(Rule):
    """A generalized Pareto curve through the scores above the `start` quantile, read off at `risk`."""

    name: ClassVar[str] = "pot"
    risk: float = param(0.001, "False alarm rate.", gt=0, lt=1, source="Siffer et al. 2017: 1e-3 to 1e-5")
    start: float = param(0.98, "Quantile where the tail begins.", ge=0.5, lt=1, source="Siffer et al. 2017")

    def cut(self, calibration: ArrayLike, training: ArrayLike | None = None) -> Cut:
        scores = ascending(calibration)
        n = len(scores)
        threshold = scores[min(max(math.ceil(n * self.start - _ROUNDING), 1), n) - 1]
        with np.errstate(over="ignore"):
            excesses = scores[scores > threshold] - threshold
        self._check_support(n, excesses)
        shape, scale = fit_generalized_pareto(excesses)
        value = threshold + pareto_quantile(self.risk * n / len(excesses), shape, scale)
        details = {"tail_from": float(threshold), "excesses": len(excesses), "shape": shape, "scale": scale}
        return self._cut(value, scores, risk=self.risk, **details)

    def _check_support(self, n: int, excesses: Floats) -> None:
        count = len(excesses)
        if count < MIN_EXCESSES:
            needed = math.ceil(MIN_EXCESSES / (1 - self.start) - _ROUNDING)
            raise UnsupportedLevel(
                f"The tail rule {self} needs {MIN_EXCESSES} calibration scores above the {self.start:g} quantile, that "
                f"is, about {needed:,} rows; of {n:,} rows {count} lie above it. Fit on more rows, start the tail "
                f"lower ('pot:{self.risk:g},0.9'), or use the conformal rule."
            )
        if self.risk > count / n:
            raise UnsupportedLevel(
                f"The tail rule {self} describes the top {count / n:.3g} of the {n:,} calibration rows; a risk of "
                f"{self.risk:g} lies below that tail. Lower the risk, or use 'conformal:{self.risk:g}'."
            )
        distinct = len(np.unique(excesses))
        if distinct < MIN_DISTINCT_EXCESSES:
            raise UnsupportedLevel(
                f"The tail rule {self} needs {MIN_DISTINCT_EXCESSES} different scores in the tail; the {count} largest "
                f"calibration scores take {distinct} values, so no curve can be fitted. Use the conformal rule."
            )


@dataclass(frozen=True)
class Fixed(Rule):
    """A number given by the user; promises nothing."""

    name: ClassVar[str] = "fixed"
    value: float = field(metadata={KEY: Constraint("float", "The cut itself, in the units of the score.", "The user.")})

    def __post_init__(self) -> None:
        super().__post_init__()
        if not abs(self.value) <= sys.float_info.max:
            raise InvalidParameter(f"Fixed: value must be a finite number; got {self.value!r}.")

    def cut(self, calibration: ArrayLike, training: ArrayLike | None = None) -> Cut:
        return self._cut(float(self.value), ascending(calibration, at_least=0))


@dataclass(frozen=True)
class Contamination(Rule):
    """The given share of the training rows lies above the cut (to the nearest row; fewer where scores are equal)."""

    name: ClassVar[str] = "contamination"
    share: float = field(
        metadata={KEY: Constraint("float", "Share of training rows beyond the cut.", "The user.", gt=0, le=0.5)}
    )

    def cut(self, calibration: ArrayLike, training: ArrayLike | None = None) -> Cut:
        if training is None:
            raise DataError(
                f"The rule {self} needs the scores of the training rows, and none were given. Pass `training`, or use "
                "'quantile' or 'conformal', which need calibration rows only."
            )
        scores = ascending(training, "training")
        wanted = round(self.share * len(scores))
        return self._cut(scores[len(scores) - wanted - 1], scores, share=self.share, wanted=wanted)


RULES: dict[str, type[Rule]] = {
    rule.name: rule for rule in (Conformal, Quantile, MedianDeviation, PeaksOverThreshold, Fixed, Contamination)
}
_EXAMPLES = "'conformal:0.01', 'quantile:0.99', 'mad:3.5', 'pot:0.001', 'fixed:12.5' or 'contamination:0.05'"


def parse_rule(rule: str | float | Rule) -> Rule:
    """Read a rule: "conformal:0.01", "pot:0.001" (or "pot:0.001,0.95": where the tail begins), or a bare name.

    A bare name takes its default. A number is a contamination: that share of the training rows lies beyond the cut.

    Raises
    ------
    UnknownName
        If there is no such rule.
    InvalidParameter
        If its number is missing, no number, or out of its range.
    """
    if isinstance(rule, Rule):
        return rule
    if isinstance(rule, numbers.Real) and not isinstance(rule, bool):
        return Contamination(float(rule))
    if not isinstance(rule, str):
        raise InvalidParameter(f"A threshold rule is a text such as {_EXAMPLES}, or a number; got {rule!r}.")
    name, colon, text = rule.strip().partition(":")
    name = name.strip().lower()
    if name not in RULES:
        if _number(name) is not None:
            raise InvalidParameter(
                f"Say what {rule!r} means: 'contamination:{name}', 'conformal:{name}' or 'fixed:{name}'."
            )
        raise UnknownName.among("threshold rule", name, RULES)
    kind = RULES[name]
    fields = dataclasses.fields(kind)
    values = [_number(part) for part in text.split(",")] if colon else []
    bare = not values and fields[0].default is dataclasses.MISSING
    if bare or len(values) > len(fields) or None in values:
        form = f"{name}:" + ",".join(f.name.upper() for f in fields)
        raise InvalidParameter(f"The rule {rule!r} should read {form} with numbers, such as {_EXAMPLES}.")
    return kind(*values)


def default_cut(calibration: ArrayLike) -> Cut:
    """Place the cut that needs no knowledge of the contamination: conformal at 0.01, or the least the rows support.

    That is 1 / (n + 1), rounded up to three digits, so that a person can read the rule; the cut is the same.
    """
    n = len(ascending(calibration))
    cut = Conformal(max(DEFAULT_LEVEL, _in_three_digits(1 / (n + 1)))).cut(calibration)
    if cut.details["level"] == DEFAULT_LEVEL:
        return cut
    draft = dataclasses.replace(cut, details=dict(cut.details) | {"wanted": DEFAULT_LEVEL})
    return dataclasses.replace(draft, promise=promise(draft, whole=False))


def _in_three_digits(level: float) -> float:
    """Return the least number of three significant digits that is not below `level`."""
    digits = 2 - math.floor(math.log10(level))
    return float(math.ceil(round(level * 10**digits, 9)) / 10**digits)


def _rate_range(n: int, rank: int) -> tuple[float, float]:
    """Return the 5 % and 95 % quantiles of the true false alarm rate, which is Beta(rank, n + 1 − rank)."""
    j = np.arange(1, rank, dtype=np.float64)
    log_choose = np.concatenate([[0.0], np.cumsum(np.log((n - j + 1) / j))])
    counts = np.arange(rank, dtype=np.float64)

    def quantile(share: float) -> float:
        low, high = 0.0, 1.0
        for _ in range(50):
            x = (low + high) / 2
            fewer = float(np.exp(log_choose + counts * math.log(x) + (n - counts) * math.log1p(-x)).sum())
            low, high = (low, x) if 1 - fewer >= share else (x, high)  # P(rate <= x) = P(Binomial(n, x) >= rank)
        return (low + high) / 2

    return quantile(0.05), quantile(0.95)


def _round_up(share: float) -> float:
    """Return `share` rounded up to three significant digits, so that it is a level the rows do support."""
    digits = 10.0 ** (2 - math.floor(math.log10(share)))
    return math.ceil(share * digits - _ROUNDING) / digits


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
