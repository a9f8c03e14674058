"""Numbers of named rows from the raw records, missing runs included: what docs/findings.md and its figures rest on."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from offnormal.bench import papers
from offnormal.bench.results import Row, rows
from offnormal.bench.table import Table
from offnormal.bench.tables import ADBENCH_TABLE, TABLES
from offnormal.bench.verdicts import FEWEST_RUNS, Number
from offnormal.errors import UnknownName

PROTOCOL, KDDCUP = "dagmm", "kddcup"
"""The protocol and the data set that most claims are about."""
RANKING = ("f1", "auroc", "average_precision")


class Line(NamedTuple):
    """A row of a claim's numbers."""

    data: str
    protocol: str
    name: str
    published: Number | None
    numbers: tuple[Number, ...]

    @property
    def measured(self) -> bool:
        """Return whether there is a run of any of the numbers."""
        return any(number.runs for number in self.numbers)

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the rows of the table that the numbers are of."""
        return tuple(number.name for number in self.numbers)


class Lookup:
    """The records in a folder, by table, data set, protocol and row."""

    def __init__(self, folder: Path) -> None:
        self._rows: dict[tuple[str, str, str, str], Row] = {}
        for table in TABLES.values():
            for row in rows(folder, table):
                cell = row.cell
                self._rows[table.name, cell.data.name, cell.protocol.name, cell.contender.name] = row

    def row(self, table: Table, name: str, data: str, protocol: str = PROTOCOL) -> Row:
        """Return a row with its records.

        Raises
        ------
        UnknownName
            If the table has no such row.
        """
        key = table.name, data, protocol, name
        if key not in self._rows:
            raise UnknownName.among(f"row of table {table.name!r}", name, [c.name for c in table.contenders])
        return self._rows[key]

    def number(self, table: Table, name: str, data: str, protocol: str = PROTOCOL, figure: str = "f1") -> Number:
        """Return a figure of a row over its runs; runs without that figure count as not made."""
        row = self.row(table, name, data, protocol)
        runs = {int(record["seed"]): float(record[figure]) for record in row.records if record.get(figure) is not None}
        return Number(name, data, protocol, figure, of=row.cell.seeds).over(runs)

    def published(self, table: Table, name: str, data: str, protocol: str = PROTOCOL) -> Number | None:
        """Return the F1 that the paper gives for a row; None if it gives none."""
        for reference in self.row(table, name, data, protocol).cell.contender.paper:
            numbers = papers.published(reference, data, protocol)
            if numbers is not None:
                return Number("the paper", data, protocol, mean=numbers.f1, source=numbers.source)
        return None

    def over_sets(self, name: str, protocol: str, figure: str, table: Table = ADBENCH_TABLE) -> Number:
        """Return mean and spread over the seeds of the mean over the data sets of a table.

        Only seeds that have all of them count. A row that the table does not have (yet) has no runs.
        """
        data = ", ".join(table.groups)
        if name not in (contender.name for contender in table.contenders):
            return Number(name, data, protocol, figure, of=table.seeds)
        runs = {seed: statistics.fmean(found) for seed, found in self._by_set(table, name, protocol, figure).items()}
        return Number(name, data, protocol, figure, of=self.row(table, name, table.data[0], protocol).cell.seeds).over(
            runs
        )

    def range_over_sets(self, name: str, protocol: str, figure: str, table: Table) -> tuple[float, float] | None:
        """Return the least and the greatest of the data sets' means over the seeds that count; None without one."""
        runs = self._by_set(table, name, protocol, figure).values()
        means = [statistics.fmean(values) for values in zip(*runs, strict=True)]
        return (min(means), max(means)) if means else None

    def _by_set(self, table: Table, name: str, protocol: str, figure: str) -> dict[int, list[float]]:
        """Return seed -> the figure on each data set of the table, of the seeds that have it on all."""
        by_seed: dict[int, list[float]] = {}
        for data in table.data:
            for record in self.row(table, name, data, protocol).records:
                if record.get(figure) is not None:
                    by_seed.setdefault(int(record["seed"]), []).append(float(record[figure]))
        return {seed: found for seed, found in sorted(by_seed.items()) if len(found) == len(table.data)}


def trivial_names(table: Table) -> list[str]:
    """Return the rows that learn no representation."""
    return [contender.name for contender in table.contenders if contender.baseline]


def baseline_names(table: Table) -> list[str]:
    """Return the rows that every number has to stand beside: trivial baselines and untrained networks."""
    return [contender.name for contender in table.contenders if contender.baseline or contender.untrained_of]


def lines(lookup: Lookup, table: Table, names: Iterable[str], data: Iterable[str] = (KDDCUP,), *,
          protocol: str = PROTOCOL, figures: Iterable[str] = RANKING) -> tuple[Line, ...]:  # fmt: skip
    """Return the numbers of rows, data set by data set."""
    return tuple(
        Line(each, protocol, name, lookup.published(table, name, each, protocol),
             tuple(lookup.number(table, name, each, protocol, figure) for figure in figures))
        for each, name in itertools.product(data, names)
    )  # fmt: skip


def floor(lookup: Lookup, data: Iterable[str], table: Table, protocol: str = PROTOCOL) -> tuple[Line, ...]:
    """Return the trivial baselines and the untrained networks: a line per data set and figure."""
    return tuple(
        Line(each, protocol, figure, None,
             tuple(lookup.number(table, name, each, protocol, figure) for name in baseline_names(table)))
        for each, figure in itertools.product(data, RANKING)
    )  # fmt: skip


def best_of(numbers: Iterable[Number], name: str) -> Number:
    """Return the number with the highest mean over the seeds that all have; provisional while runs are missing.

    Numbers that cannot be compared yet are passed over. If there is no other, one of them is returned, called `name`.
    """
    every = list(numbers)
    decided = [number for number in every if number.decided]
    if not decided:
        return replace(every[0], name=name)
    common = set.intersection(*(set(number.seeds) for number in decided))
    fair = len(common) >= FEWEST_RUNS
    best = max(decided, key=lambda number: number.among(common).mean if fair else number.mean)
    return replace(best, provisional=not all(number.complete for number in every))
