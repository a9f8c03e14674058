"""What a claim is: its numbers, what has to be so, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass

from offnormal.bench.lookup import RANKING, Line
from offnormal.bench.verdicts import Check, Number, Outcome, together


@dataclass(frozen=True)
class Claim:
    """A claim with its numbers.

    Attributes
    ----------
    key : str
        By which the template knows it.
    tables : tuple of str
        The bench tables it rests on.
    checks : tuple of Check
        What has to be so.
    lines : tuple of Line
    figures : tuple of str
        The columns of the lines.
    steady : tuple of Number
        Whose standard deviation is held against `claims.STEADY`.
    refuted : bool
        Whether one comparison that went against it is enough, and there is one.
    reaching : tuple of Number
        Rows that did not learn, of which the runs at `claims.HIGH_F1` or above are counted.
    comparators : tuple of str
        The rows that the claim names one by one as worse.
    beside : bool
        Whether its trivial baselines are in the table of baselines, and not among its lines.
    """

    key: str
    tables: tuple[str, ...]
    checks: tuple[Check, ...]
    lines: tuple[Line, ...]
    figures: tuple[str, ...] = RANKING
    steady: tuple[Number, ...] = ()
    refuted: bool = False
    reaching: tuple[Number, ...] = ()
    comparators: tuple[str, ...] = ()
    beside: bool = True

    @property
    def so_far(self) -> Outcome:
        """Return what the measured checks have in common, or MIXED; FAILS if the claim is refuted."""
        return Outcome.FAILS if self.refuted else together(self.checks)[0]

    @property
    def outcome(self) -> Outcome:
        """Return the same once half of the checks are measured, until then MISSING; a refuted claim FAILS at once."""
        missing = self.counts.get(Outcome.MISSING, 0)
        return Outcome.MISSING if 2 * missing > len(self.checks) and not self.refuted else self.so_far

    @property
    def counts(self) -> dict[Outcome, int]:
        """Return how many checks came out how."""
        return together(self.checks)[1]

    @property
    def complete(self) -> bool:
        """Return whether no run of any check is missing."""
        return all(check.complete for check in self.checks)
