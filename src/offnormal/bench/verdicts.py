"""Whether a claim holds: the one rule by which docs/findings.md decides, from means and standard deviations.

d is the difference of two means, and its noise is twice the two standard errors added in quadrature,
2 √(sd₁²/n₁ + sd₂²/n₂). A published number has no spread and adds nothing to it.

- "above" holds if d > noise, does not hold if d < −noise, and is within the spread in between; "below" is its mirror.
- "near" (within a stated margin) holds if |d| + noise ≤ margin, does not hold if |d| − noise > margin.
- With fewer than two runs on either side nothing is decided.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum

FEWEST_RUNS = 2
"""One run has no spread."""


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
    source: str = ""
    provisional: bool = False

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

    @property
    def standard_error(self) -> float:
        """Return that of the mean; 0 for a published number."""
        return self.sd / math.sqrt(self.runs) if self.runs else 0.0


@dataclass(frozen=True)
class Check:
    """One comparison of a claim: `left` is above, below or near `right`; `margin` is of "near"."""

    left: Number
    relation: Relation
    right: Number
    margin: float = 0.0

    @property
    def difference(self) -> float:
        """Return the left mean minus the right one."""
        return self.left.mean - self.right.mean

    @property
    def noise(self) -> float:
        """Return twice the two standard errors added in quadrature."""
        return 2 * math.hypot(self.left.standard_error, self.right.standard_error)

    @property
    def in_deviations(self) -> float:
        """Return the difference in units of the two standard deviations added in quadrature."""
        spread = math.hypot(self.left.sd, self.right.sd)
        return self.difference / spread if spread else math.copysign(math.inf, self.difference)

    @property
    def complete(self) -> bool:
        """Return whether no run is missing on either side."""
        return self.left.complete and self.right.complete

    @property
    def lacking(self) -> Number:
        """Return the side of which fewer runs are there."""
        ours = [number for number in (self.left, self.right) if not number.published]
        return min(ours, key=lambda number: number.runs)

    @property
    def outcome(self) -> Outcome:
        """Return what the rule says."""
        if not (self.left.decided and self.right.decided):
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
