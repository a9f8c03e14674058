"""Questions to the raw records: which of them count today, and mean and spread of a figure over their seeds."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from offnormal.bench import records
from offnormal.bench.jobs import Cell, Record, cells
from offnormal.bench.table import Table
from offnormal.errors import DataError


class Summary(NamedTuple):
    """A figure over the seeds, in the order of the seeds; the sample deviation of a single run is 0."""

    n: int
    mean: float
    sd: float
    values: tuple[float, ...]


class Row(NamedTuple):
    """A cell of a table with its records by seed, and the errors of the seeds that failed the last time."""

    cell: Cell
    records: tuple[Record, ...]
    errors: tuple[str, ...]


def rows(folder: Path, table: Table) -> list[Row]:
    """Return every cell of a table with the records in `folder` that are of today's definition."""
    kept = records.by_fingerprint(records.read_all(folder))
    return [_row(cell, kept.get(cell.fingerprint, [])) for cell in cells(table)]


def current(folder: Path, table: Table) -> list[Record]:
    """Return the records in `folder` that count: of today's definition, without error, one per seed."""
    return [record for row in rows(folder, table) for record in row.records]


def summary(every: Iterable[Record], figure: str = "f1", **where: Any) -> Summary:
    """Return mean and spread of a figure over the records whose fields are as `where` says.

    >>> runs = [{"data": "a", "seed": 0, "f1": 0.25}, {"data": "a", "seed": 1, "f1": 0.75}, {"data": "b", "f1": 1.0}]
    >>> summary(runs, data="a").mean
    0.5

    Raises
    ------
    DataError
        If there is no such record.
    """
    chosen = [r for r in every if all(r.get(name) == value for name, value in where.items())]
    values = tuple(float(r[figure]) for r in sorted(chosen, key=lambda r: int(r["seed"])))
    if not values:
        raise DataError(f"There is no record with {where}.")
    return Summary(len(values), statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0, values)


def _row(cell: Cell, own: list[dict[str, Any]]) -> Row:
    """Return the row of a cell from the records of its fingerprint."""
    found = cell.records(own)
    failed = {int(r["seed"]): str(r["error"]) for r in own if "error" in r}
    errors = (error for seed, error in sorted(failed.items()) if seed not in found and seed < cell.seeds)
    return Row(cell, tuple(found.values()), tuple(errors))
