"""Classes of a set of images together: mean over the classes, its spread over the seeds, range over the classes.

A row may have runs of some classes only. The group is then of the classes that the best-covered seed has, and of the
seeds that have all of these; other runs of the row wait until their class or seed is complete. A baseline, which may
have been run on more classes for another table, is of those that the other rows have.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from typing import NamedTuple

from offnormal.bench.contenders import Contender
from offnormal.bench.jobs import Record
from offnormal.bench.protocols import Protocol
from offnormal.bench.results import Row


class Spread(NamedTuple):
    """A figure of a group.

    Attributes
    ----------
    mean, sd : float
        Of the means over the classes, by seed; the sample deviation of a single seed is 0.
    low, high : float
        The least and the greatest of the means over the seeds, by class.
    """

    mean: float
    sd: float
    low: float
    high: float


class Group(NamedTuple):
    """A contender on the classes of a set of images under a protocol.

    Attributes
    ----------
    name : str
        The set of images.
    every : tuple of int
        Numbers of the classes that the table asks for.
    classes, seeds : tuple of int
        Those of the runs that count.
    runs : dict
        (class, seed) -> record.
    waiting : int
        Runs that do not count yet.
    errors : tuple of str
        Of the runs that failed.
    """

    name: str
    protocol: Protocol
    contender: Contender
    every: tuple[int, ...]
    seeds_asked: int
    classes: tuple[int, ...]
    seeds: tuple[int, ...]
    runs: dict[tuple[int, int], Record]
    waiting: int
    errors: tuple[str, ...]

    @property
    def records(self) -> tuple[Record, ...]:
        """Return the records that count."""
        return tuple(self.runs.values())

    def spread(self, figure: str) -> Spread:
        """Return mean, spread and range of a figure; there must be a run."""
        values = {place: float(record[figure]) for place, record in self.runs.items()}
        by_seed = [statistics.fmean(values[number, seed] for number in self.classes) for seed in self.seeds]
        by_class = [statistics.fmean(values[number, seed] for seed in self.seeds) for number in self.classes]
        sd = statistics.stdev(by_seed) if len(by_seed) > 1 else 0.0
        return Spread(statistics.fmean(by_seed), sd, min(by_class), max(by_class))


def groups(rows: Iterable[Row]) -> list[Group]:
    """Return the groups of a table, in the order of sets of images, protocols and contenders."""
    found: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        cell = row.cell
        found.setdefault((cell.data.group, cell.protocol.name, cell.contender.name), []).append(row)
    beside: dict[tuple[str, str], set[int]] = {}
    for (name, protocol, _), part in found.items():
        if not part[0].cell.contender.baseline:
            beside.setdefault((name, protocol), set()).update(_number(row) for row in part if row.records)
    return [_group(part, beside.get((name, protocol), set())) for (name, protocol, _), part in found.items()]


def _group(rows: list[Row], beside: set[int]) -> Group:
    cell = rows[0].cell
    kept = [row for row in rows if not cell.contender.baseline or not beside or _number(row) in beside]
    runs = {(_number(row), int(record["seed"])): record for row in kept for record in row.records}
    by_seed: dict[int, set[int]] = {}
    for number, seed in runs:
        by_seed.setdefault(seed, set()).add(number)
    classes = max((by_seed[seed] for seed in sorted(by_seed)), key=len, default=set())
    seeds = [seed for seed in sorted(by_seed) if classes <= by_seed[seed]]
    counted = {(number, seed): runs[number, seed] for number in sorted(classes) for seed in seeds}
    return Group(
        cell.data.group,
        cell.protocol,
        cell.contender,
        tuple(_number(row) for row in rows),
        cell.seeds,
        tuple(sorted(classes)),
        tuple(seeds),
        counted,
        len(runs) - len(counted),
        tuple(error for row in rows for error in row.errors),
    )


def _number(row: Row) -> int:
    number = row.cell.data.number
    assert number is not None  # a class of a set of images has one
    return number
