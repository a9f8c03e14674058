"""Which runs of a table are there, and how long one of them takes, by row: what `offnormal bench list` shows."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from offnormal.bench.jobs import Record, cells
from offnormal.bench.table import Table


class Covered(NamedTuple):
    """A row of a table.

    Attributes
    ----------
    row : str
    seeds, runs, done : int
        Seeds a data set and protocol; runs there should be, and those there are.
    seconds : float or None
        Mean processor time of its runs, fitted and scored; of those on a GPU if no other has been made.
    gpu : bool
        Whether `seconds` is of runs on a GPU.
    left : float or None
        Seconds that the missing runs take at that. A row that is a score of another row's training costs nothing where
        that training is to be made as well.
    """

    row: str
    seeds: int
    runs: int
    done: int
    seconds: float | None
    gpu: bool
    left: float | None


def covered(table: Table, kept: Mapping[str, Sequence[dict[str, Any]]]) -> list[Covered]:
    """Return the rows of a table; `kept` is every record there is, by fingerprint."""
    every = cells(table)
    made, missing = {}, {}
    for contender in table.contenders:
        own = [
            (cell, cell.records(list(kept.get(cell.fingerprint, [])))) for cell in every if cell.contender is contender
        ]
        made[contender.name] = [record for _, records in own for record in records.values()]
        missing[contender.name] = {
            (cell.data.name, cell.protocol.name, seed)
            for cell, records in own
            for seed in range(cell.seeds)
            if seed not in records
        }
    found = []
    for contender in table.contenders:
        done, lacking = len(made[contender.name]), missing[contender.name]
        seconds, gpu = _mean_seconds(made[contender.name])
        trainings = len(lacking - missing.get(contender.scores_of or "", set()))
        left = 0.0 if not trainings else None if seconds is None else seconds * trainings
        seeds = contender.seeds or table.seeds
        found.append(Covered(contender.name, seeds, done + len(lacking), done, seconds, gpu, left))
    return found


def _mean_seconds(made: Sequence[Record]) -> tuple[float | None, bool]:
    by_device: dict[bool, list[float]] = {False: [], True: []}
    for record in made:
        taken = float(record["fit_seconds"]) + float(record["score_seconds"])
        by_device[str(record["device"]).startswith("cuda")].append(taken)
    gpu = not by_device[False]
    return (statistics.fmean(by_device[gpu]), gpu) if by_device[gpu] else (None, False)
