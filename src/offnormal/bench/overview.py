"""What docs/findings.md begins with: DAGMM beside its paper and the best trivial baseline, and who beats whom."""

from __future__ import annotations

from typing import NamedTuple

from offnormal.bench.claim import Claim
from offnormal.bench.claims import ABOVE, BEST, OURS, PAPER
from offnormal.bench.lookup import KDDCUP, RANKING, Line, Lookup, best_of, floor, trivial_names
from offnormal.bench.tables import CONTAMINATION_TABLE, DAGMM_TABLE, FOUR, SHARE_TABLE
from offnormal.bench.verdicts import Check, Number, Outcome


class Overview(NamedTuple):
    """A data set of the paper: F1 of the rows; against the published F1, and against the best trivial baseline.

    `numbers` are DAGMM in the paper's configuration, our defaults, and both untrained. `over_paper` is in the order
    paper's configuration, our defaults, the best trivial baseline; `over_best` has a tuple over F1, AUROC and average
    precision for each of the first two. The baseline is the best one of each figure, chosen after the fact.
    """

    data: str
    published: Number | None
    numbers: tuple[Number, ...]
    best: Number
    over_paper: tuple[Check | None, ...]
    over_best: tuple[tuple[Check, ...], ...]


class Standing(NamedTuple):
    """Where a row stands among its comparators in one figure: the names by outcome."""

    protocol: str
    figure: str
    names: dict[Outcome, list[str]]


def overview(lookup: Lookup) -> tuple[Overview, ...]:
    """Return the four data sets of the DAGMM paper."""
    return tuple(_of(lookup, data) for data in FOUR)


def _of(lookup: Lookup, data: str) -> Overview:
    best = {
        figure: best_of((lookup.number(DAGMM_TABLE, name, data, figure=figure) for name in trivial_names(DAGMM_TABLE)),
                        BEST)
        for figure in RANKING
    }  # fmt: skip
    names = (PAPER, OURS)
    published = lookup.published(DAGMM_TABLE, PAPER, data)
    numbers = tuple(lookup.number(DAGMM_TABLE, name, data) for name in (*names, *(f"{n}, untrained" for n in names)))
    over_paper = tuple(
        Check(number, ABOVE, published) if published is not None else None for number in (*numbers[:2], best["f1"])
    )
    over_best = tuple(
        tuple(Check(lookup.number(DAGMM_TABLE, name, data, figure=f), ABOVE, best[f]) for f in RANKING)
        for name in names
    )
    return Overview(data, published, numbers, best["f1"], over_paper, over_best)


def floors(lookup: Lookup) -> tuple[tuple[Line, ...], ...]:
    """Return the tables of trivial baselines and untrained networks, one per bench table that findings rest on."""
    contaminated = (
        tuple(line for p in table.protocols for line in floor(lookup, (KDDCUP,), table, p.name))
        for table in (CONTAMINATION_TABLE, SHARE_TABLE)
    )
    return (floor(lookup, FOUR, DAGMM_TABLE), *contaminated)


def standings(claim: Claim) -> tuple[Standing, ...]:
    """Return who is worse, better, or not to be told apart, by protocol and figure."""
    found: dict[tuple[str, str], dict[Outcome, list[str]]] = {}
    for check in claim.checks:
        if check.right.name in claim.comparators:
            names = found.setdefault((check.left.protocol, check.left.figure), {})
            names.setdefault(check.outcome, []).append(check.right.name)
    return tuple(
        Standing(protocol, figure, {outcome: names[outcome] for outcome in Outcome if outcome in names})
        for (protocol, figure), names in found.items()
    )
