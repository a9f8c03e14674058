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
        Seconds that the missing runs take at that; 0 for a row that is a score of another row's training.
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
    found = []
    for contender in table.contenders:
        own = [cell for cell in every if cell.contender is contender]
        made = [record for cell in own for record in cell.records(list(kept.get(cell.fingerprint, []))).values()]
        runs = sum(cell.seeds for cell in own)
        seconds, gpu = _mean_seconds(made)
        missing = runs - len(made)
        left = 0.0 if contender.scores_of or not missing else None if seconds is None else seconds * missing
        found.append(Covered(contender.name, contender.seeds or table.seeds, runs, len(made), seconds, gpu, left))
    return found


def _mean_seconds(made: Sequence[Record]) -> tuple[float | None, bool]:
    by_device: dict[bool, list[float]] = {False: [], True: []}
    for record in made:
        taken = float(record["fit_seconds"]) + float(record["score_seconds"])
        by_device[str(record["device"]).startswith("cuda")].append(taken)
    gpu = not by_device[False]
    return (statistics.fmean(by_device[gpu]), gpu) if by_device[gpu] else (None, False)
