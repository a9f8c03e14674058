"""How adversarial games ended in the settings of their papers, for docs/choosing.md.

Spread over seeds and collapses, from the tables of the adversarial papers; and what nine kinds of normal images cost
the rows that one kind has too.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from offnormal.bench.adversarial_tables import ADVERSARIAL_TABLES
from offnormal.bench.jobs import Record, cells
from offnormal.bench.results import rows
from offnormal.bench.table import Table

FEWEST = 2
"""Runs on a data set from which on a spread is told."""
ONE_KIND, NINE_KINDS = "adversarial_one_class_small", "ganomaly_small"


class Game(NamedTuple):
    """One row of a table, over the data sets that it has.

    Attributes
    ----------
    name : str
    baseline : bool
    data : tuple of str
        The data sets; a baseline has those of the adversarial rows of its table.
    runs : int
    f1, auroc : float
        Means over the data sets.
    f1_sd, auroc_sd : float or None
        Sample deviation over the seeds, its mean over the data sets; None with one run on one of them.
    collapsed, watched : int
        Runs whose generator ended with hardly any diversity, of those that tell.
    diversity : float or None
        The least of them.
    """

    name: str
    baseline: bool
    data: tuple[str, ...]
    runs: int
    f1: float
    f1_sd: float | None
    auroc: float
    auroc_sd: float | None
    collapsed: int
    watched: int
    diversity: float | None


class Played(NamedTuple):
    """The games of one table, untrained networks and further scores of one training left out."""

    table: Table
    games: tuple[Game, ...]


class Wider(NamedTuple):
    """A row's mean AUROC with one kind of normal images and with nine, over the same digits."""

    name: str
    baseline: bool
    digits: tuple[int, ...]
    one: float
    nine: float


def played(folder: Path) -> tuple[Played, ...]:
    """Return the tables of which an adversarial row has run."""
    found = (Played(table, tuple(_games(folder, table))) for table in ADVERSARIAL_TABLES)
    return tuple(each for each in found if any(game.watched for game in each.games))


def wider(folder: Path) -> tuple[Wider, ...]:
    """Return the rows that both of `ONE_KIND` and `NINE_KINDS` have, over the digits that both have."""
    tables = {table.name: table for table in ADVERSARIAL_TABLES}
    one, nine = (_by_digit(folder, tables[name]) for name in (ONE_KIND, NINE_KINDS))
    baselines = {contender.name for contender in tables[ONE_KIND].contenders if contender.baseline}
    return tuple(
        Wider(name, name in baselines, tuple(digits), _mean(one[name], digits), _mean(nine[name], digits))
        for name in one
        if name in nine and (digits := sorted(one[name].keys() & nine[name].keys()))
    )


def _games(folder: Path, table: Table) -> Iterator[Game]:
    smaller = {cell.fingerprint for other in ADVERSARIAL_TABLES if other.name == f"{table.name}_small"
               for cell in cells(other)}  # fmt: skip
    by_row: dict[str, dict[str, tuple[Record, ...]]] = {}
    for row in rows(folder, table):
        contender = row.cell.contender
        own = contender.baseline or row.cell.fingerprint not in smaller  # a row of defaults is in both settings
        if row.records and own and contender.untrained_of is None and contender.scores_of is None:
            by_row.setdefault(contender.name, {})[row.cell.data.name] = row.records
    theirs = {data for contender in table.contenders if not contender.baseline
              for data in by_row.get(contender.name, ())}  # fmt: skip
    for contender in table.contenders:
        found = by_row.get(contender.name, {})
        kept = {data: part for data, part in found.items() if not contender.baseline or data in theirs}
        if kept:
            parts = tuple(kept.values())
            every = [record for part in parts for record in part]
            told = [record for record in every if record.get("collapsed") is not None]
            yield Game(
                contender.name,
                contender.baseline,
                tuple(kept),
                len(every),
                *_figure(parts, "f1"),
                *_figure(parts, "auroc"),
                sum(bool(record["collapsed"]) for record in told),
                len(told),
                min((float(record["diversity"]) for record in told), default=None),
            )


def _figure(parts: Sequence[Sequence[Record]], figure: str) -> tuple[float, float | None]:
    """Return the mean over data sets, and the mean over data sets of the deviation over seeds."""
    values = [[float(record[figure]) for record in part] for part in parts]
    told = all(len(part) >= FEWEST for part in values)
    return statistics.fmean(map(statistics.fmean, values)), (
        statistics.fmean(map(statistics.stdev, values)) if told else None
    )


def _by_digit(folder: Path, table: Table) -> dict[str, dict[int, float]]:
    """Return row -> digit -> mean AUROC over its seeds."""
    found: dict[str, dict[int, float]] = {}
    for row in rows(folder, table):
        contender, digit = row.cell.contender, row.cell.data.number
        if row.records and digit is not None and contender.untrained_of is None and contender.scores_of is None:
            found.setdefault(contender.name, {})[digit] = statistics.fmean(r["auroc"] for r in row.records)
    return found


def _mean(by_digit: dict[int, float], digits: Sequence[int]) -> float:
    return statistics.fmean(by_digit[digit] for digit in digits)
