"""Whether a claim holds: the one rule by which docs/findings.md decides, from the runs of both sides.

Two rows are compared over the seeds that both have, since a seed is the same split for every row: d is the mean of
the differences by seed, and its noise is twice the standard error of that mean, 2 sd(differences) / √n. A published
number is one value without spread: d is the mean of all our runs minus it, and the noise is 2 sd / √n of ours.

- "above" holds if d > noise, does not hold if d < −noise, and is within the spread in between; "below" is its mirror.
- "near" (within a stated margin) holds if |d| + noise ≤ margin, does not hold if |d| − noise > margin.
- With fewer than three such runs nothing is decided.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

FEWEST_RUNS = 3
"""Of two runs the spread is no more than a guess."""


class Relation(StrEnum):
    """What a claim says of two means."""

    ABOVE = "above"
    BELOW = "below"
    NEAR = "near"


class Outcome(StrEnum):
    """What became of it."""

    HOLDS = "holds"
    FAILS = "does not hold"
    SPREAD = "within the spread"
    MISSING = "not measured yet"
    MIXED = "mixed"


@dataclass(frozen=True)
class Number:
    """A figure of a row over its runs, or a published one.

    Attributes
    ----------
    name : str
        The row, or who published it.
    data, protocol, figure : str
        What it is of; `figure` as in the records, for example "f1".
    runs, of : int
        Runs made, and those the table asks for; 0 and 0 for a published number.
    mean, sd : float
        Over the runs made; the sample deviation of fewer than two is 0.
    values : tuple of float
        By seed.
    seeds : tuple of int
        Of the values, ascending.
    source : str
        The tag of a published number; empty for our own.
    provisional : bool
        Whether runs that are missing elsewhere may still put another number in its place.
    """

    name: str
    data: str = ""
    protocol: str = ""
    figure: str = "f1"
    runs: int = 0
    of: int = 0
    mean: float = math.nan
    sd: float = 0.0
    values: tuple[float, ...] = ()
    seeds: tuple[int, ...] = ()
    source: str = ""
    provisional: bool = False

    def over(self, runs: Mapping[int, float]) -> Number:
        """Return this number of other runs: seed -> value."""
        seeds = tuple(sorted(runs))
        values = tuple(runs[seed] for seed in seeds)
        mean = statistics.fmean(values) if values else math.nan
        sd = statistics.stdev(values) if len(values) > 1 else 0.0
        return replace(self, runs=len(values), mean=mean, sd=sd, values=values, seeds=seeds)

    def among(self, seeds: Collection[int]) -> Number:
        """Return this number over those of its runs that have one of the seeds."""
        return self.over({seed: value for seed, value in self.by_seed.items() if seed in seeds})

    @property
    def by_seed(self) -> dict[int, float]:
        """Return seed -> value."""
        return dict(zip(self.seeds, self.values, strict=True))

    @property
    def published(self) -> bool:
        """Return whether it is published, and not from our records."""
        return bool(self.source)

    @property
    def decided(self) -> bool:
        """Return whether it can take part in a verdict."""
        return self.published or self.runs >= FEWEST_RUNS

    @property
    def complete(self) -> bool:
        """Return whether no run of it is missing."""
        return self.published or (self.runs >= self.of and not self.provisional)


@dataclass(frozen=True)
class Check:
    """One comparison of a claim: `left` is above, below or near `right`; `margin` is of "near"."""

    left: Number
    relation: Relation
    right: Number
    margin: float = 0.0

    @property
    def pair(self) -> tuple[Number, Number]:
        """Return both sides over the seeds that both have; a published number leaves the other side all its runs."""
        if self.left.published or self.right.published:
            return self.left, self.right
        return self.left.among(self.right.seeds), self.right.among(self.left.seeds)

    @property
    def runs(self) -> int:
        """Return how many runs the comparison rests on."""
        return min(number.runs for number in self.pair if not number.published)

    @property
    def of(self) -> int:
        """Return how many it will rest on."""
        return min(number.of for number in self.pair if not number.published)

    @property
    def differences(self) -> tuple[float, ...]:
        """Return left minus right, by seed or from the published number."""
        left, right = self.pair
        if right.published:
            return tuple(value - right.mean for value in left.values)
        if left.published:
            return tuple(left.mean - value for value in right.values)
        return tuple(a - b for a, b in zip(left.values, right.values, strict=True))

    @property
    def difference(self) -> float:
        """Return the mean of the differences."""
        return statistics.fmean(self.differences) if self.runs else math.nan

    @property
    def noise(self) -> float:
        """Return twice the standard error of the mean of the differences."""
        return 2 * statistics.stdev(self.differences) / math.sqrt(self.runs) if self.runs > 1 else math.nan

    @property
    def in_deviations(self) -> float:
        """Return the difference in units of the two standard deviations added in quadrature, over the same runs."""
        spread = math.hypot(*(number.sd for number in self.pair))
        return self.difference / spread if spread else math.copysign(math.inf, self.difference)

    @property
    def complete(self) -> bool:
        """Return whether no run is missing of those that it will rest on."""
        return self.runs >= self.of and not (self.left.provisional or self.right.provisional)

    @property
    def outcome(self) -> Outcome:
        """Return what the rule says."""
        if self.runs < FEWEST_RUNS:
            return Outcome.MISSING
        if self.relation is Relation.NEAR:
            holds = abs(self.difference) + self.noise <= self.margin
            fails = abs(self.difference) - self.noise > self.margin
        else:
            d = self.difference if self.relation is Relation.ABOVE else -self.difference
            holds, fails = d > self.noise, d < -self.noise
        return Outcome.HOLDS if holds else Outcome.FAILS if fails else Outcome.SPREAD


def together(checks: tuple[Check, ...]) -> tuple[Outcome, dict[Outcome, int]]:
    """Return the outcome that all measured checks share, else MIXED; and how many there are of each."""
    counted = Counter(check.outcome for check in checks)
    counts = {outcome: counted[outcome] for outcome in Outcome if counted[outcome]}
    measured = [outcome for outcome in counts if outcome is not Outcome.MISSING]
    if not measured:
        return Outcome.MISSING, counts
    return (measured[0] if len(measured) == 1 else Outcome.MIXED), counts
