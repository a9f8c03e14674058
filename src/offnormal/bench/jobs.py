"""A run to make: data set, protocol, contender and seed; and the fingerprint by which its record is known again."""

from __future__ import annotations

import difflib
import functools
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from offnormal.bench.contenders import Contender
from offnormal.bench.datasets import DataSet
from offnormal.bench.protocols import Protocol
from offnormal.bench.table import Table
from offnormal.errors import InvalidParameter, UnknownName

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Cell:
    """A contender on a data set under a protocol, and its seeds: what becomes one row of the page of results."""

    table: str
    data: DataSet
    protocol: Protocol
    contender: Contender
    seeds: int
    fast: bool = False

    @functools.cached_property
    def fingerprint(self) -> str:
        """Return 16 hexadecimal digits of what the table states: data set, protocol, method and parameters.

        Names of rows and tables are not in it, so that they can be corrected. Parameters that nobody stated are not in
        it either, so that a new one leaves the records there are alone; `matches` holds their values against today's.
        """
        data = self.data
        stated = {
            "data": [data.name, data.file, data.anomaly, data.share, data.drawn],
            "protocol": self.protocol.name,
            "key": self.contender.key,
            "parameters": self.contender.stated(data.name),
            "fast": self.fast,
        }
        return hashlib.sha256(json.dumps(stated, sort_keys=True).encode()).hexdigest()[:16]

    @functools.cached_property
    def parameters(self) -> dict[str, Any]:
        """Return every parameter in effect, in JSON's types."""
        every: dict[str, Any] = json.loads(json.dumps(self.contender.in_effect(self.data.name)))
        return every

    def matches(self, record: Record) -> bool:
        """Return whether `record` is of this cell as it is defined today, and not of an older definition."""
        if record.get("fingerprint") != self.fingerprint:
            return False
        kept = record.get("parameters", {})
        return self.fast or all(kept.get(name, value) == value for name, value in self.parameters.items())

    def records(self, every: Iterable[Record]) -> dict[int, Record]:
        """Return seed -> the newest record, errors left out, for the seeds of this cell."""
        found = {int(r["seed"]): r for r in every if "error" not in r and self.matches(r)}
        return {seed: found[seed] for seed in range(self.seeds) if seed in found}


@dataclass(frozen=True)
class Job:
    """One run."""

    cell: Cell
    seed: int

    @property
    def training(self) -> tuple[Any, ...]:
        """Return what runs have in common that need one training: all but the score."""
        cell = self.cell
        trained = cell.contender.scores_of or cell.contender.name
        return cell.table, cell.data.name, cell.protocol.name, trained, cell.fast, self.seed


def cells(
    table: Table,
    *,
    data: Sequence[str] = (),
    rows: Sequence[str] = (),
    protocols: Sequence[str] = (),
    seeds: int | None = None,
    fast: bool = False,
) -> list[Cell]:
    """Return the cells of a table in its order, all or those named.

    Parameters
    ----------
    data, rows, protocols : sequence of str
        Names to keep; none named: all. The name of a set of images stands for all its classes.
    seeds : int or None
        Most runs per cell, none more than the table says: others would count nowhere. None: as the table says. A fast
        run has one.

    Raises
    ------
    UnknownName
        If the table has no such data set, row or protocol.
    InvalidParameter
        If nothing is left, as where a row takes no part on a data set, or no cell has so many seeds.
    """
    data = [name for asked in data for name in table.groups.get(asked, (asked,))]
    _check("data set", data, table.data, table)
    _check("row", rows, [contender.name for contender in table.contenders], table)
    _check("protocol", protocols, [protocol.name for protocol in table.protocols], table)
    every = [
        Cell(table.name, data_set, protocol, contender, 1 if fast else contender.seeds or table.seeds, fast)
        for data_set in table.data_sets
        for protocol in table.protocols
        for contender in table.contenders
        if (not data or data_set.name in data)
        and (not protocols or protocol.name in protocols)
        and (not rows or contender.name in rows)
        and (not contender.data or data_set.name in contender.data)
    ]
    if not every:
        asked = ", ".join(repr(name) for name in (*data, *protocols, *rows))
        raise InvalidParameter(f"No run of table {table.name!r} matches all of {asked}.")
    if seeds is None:
        return every
    check_seeds(every, [seeds - 1])
    return [replace(cell, seeds=min(seeds, cell.seeds)) for cell in every]


def check_seeds(every: Sequence[Cell], seeds: Iterable[int]) -> None:
    """Check that each of these seeds is one of some cell.

    Raises
    ------
    InvalidParameter
        If not: such a run would be on no page.
    """
    most = max(cell.seeds for cell in every)
    beyond = [seed for seed in seeds if seed >= most]
    if beyond:
        runs = f"{most} {'run' if most == 1 else 'runs'} of each of these rows at most"
        raise InvalidParameter(
            f"Table {every[0].table!r} has {runs}{' with --fast' if every[0].fast else ''}, seeds 0 to {most - 1}; a "
            f"run of seed {max(beyond)} would count nowhere."
        )


def missing(every: Iterable[Cell], records: Sequence[Record], only: Sequence[int] = ()) -> list[Job]:
    """Return the runs of which no record is there, those of these seeds only if any are named."""
    return [
        Job(cell, seed)
        for cell in every
        for done in [cell.records(records)]
        for seed in range(cell.seeds)
        if seed not in done and (not only or seed in only)
    ]


def _check(kind: str, asked: Sequence[str], known: Sequence[str], table: Table) -> None:
    for name in asked:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3)
            hint = f"Did you mean {' or '.join(map(repr, near))}?" if near else f"Known: {', '.join(map(repr, known))}."
            raise UnknownName(f"Table {table.name!r} has no {kind} {name!r}. {hint}")
