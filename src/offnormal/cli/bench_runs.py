"""Runs of the bench from the command line: which are missing, their progress, and what an end before time leaves."""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import typer

from offnormal.bench import datasets, jobs, records, runner, tables
from offnormal.bench.jobs import Job
from offnormal.cli.console import how_many, messages, print_json, say, seconds_in_words
from offnormal.cli.failures import Interrupted


class Chosen(NamedTuple):
    """Which runs of a table are asked for, and how they are to be made."""

    data: Sequence[str]
    rows: Sequence[str]
    protocols: Sequence[str]
    seeds: int | None
    seed: Sequence[int]
    fast: bool
    workers: int
    quiet: bool
    as_json: bool


def make_runs(name: str, folder: Path | None, chosen: Chosen) -> None:
    """Make the runs of a table that are missing, and say what became of them.

    Everything that would end each run the same way (names, the data files, a folder that cannot be written) is found
    before the first.
    """
    every = jobs.cells(
        tables.table_named(name),
        data=chosen.data,
        rows=chosen.rows,
        protocols=chosen.protocols,
        seeds=chosen.seeds,
        fast=chosen.fast,
    )
    jobs.check_seeds(every, chosen.seed)
    folder, resume = _folder(folder, chosen.fast)
    path = records.path_of(folder, name, fast=chosen.fast)
    kept = records.read_all(folder, fast=chosen.fast)
    todo = jobs.missing(every, kept, chosen.seed)
    already = len(jobs.missing(every, [], chosen.seed)) - len(todo)
    if todo:
        datasets.check_files(dict.fromkeys(job.cell.data for job in todo))
        records.prepare(path)
    if already and not chosen.quiet:
        say(messages(), _already(already, len(todo), folder))
    progress = RunProgress(todo, kept, min(chosen.workers, len(todo)), chosen.quiet)
    try:
        if todo:
            runner.run(todo, path, workers=chosen.workers, on_start=progress.started, on_record=progress.finished)
    except KeyboardInterrupt:
        raise Interrupted(progress.in_words(path, resume)) from None
    made = progress.done - progress.failed
    if todo and not chosen.quiet:
        say(messages(), f"{how_many(made, 'run')} made, {progress.failed} failed: {path}")
    if chosen.as_json:
        print_json({"path": path, "made": made, "failed": progress.failed, "already": already})
    if progress.failed:
        raise typer.Exit(1)


def _folder(asked: Path | None, fast: bool) -> tuple[Path, str]:
    """Return the folder of the raw results, and which command goes on with runs that were stopped."""
    if asked is not None or not fast:
        return records.FOLDER if asked is None else asked, "The same command"
    folder = Path(tempfile.mkdtemp(prefix="offnormal-bench-"))
    return folder, f"The same command with --results {folder}"


def _already(already: int, todo: int, folder: Path) -> str:
    there = "is" if already + todo == 1 else "are"
    return f"{already:,} of {how_many(already + todo, 'run')} {there} there already: {folder}"


class RunProgress:
    """Tells of every run that ends, and how long the others will take."""

    def __init__(self, todo: list[Job], kept: list[dict[str, Any]], workers: int, quiet: bool) -> None:
        self.done = self.failed = 0
        self._todo, self._workers, self._quiet = list(todo), workers, quiet
        self._total = len(todo)
        self._started: dict[int, float] = {}
        self._seconds: dict[tuple[str, str], list[float]] = defaultdict(list)
        for record in kept:
            if "error" not in record:
                key = record["data"], record["contender"]
                self._seconds[key].append(record["fit_seconds"] + record["score_seconds"])

    def started(self, job: Job) -> None:
        """Take note of the time."""
        self._started[id(job)] = time.monotonic()

    def finished(self, job: Job, record: dict[str, Any]) -> None:
        """Say what came out."""
        self.done += 1
        self.failed += "error" in record
        self._todo.remove(job)
        seconds = time.monotonic() - self._started.pop(id(job))
        self._seconds[record["data"], record["contender"]].append(seconds)
        if self._quiet:
            return
        name = f"{record['data']}, {record['protocol']}, '{record['contender']}', seed {record['seed']}"
        place = f"[{self.done}/{self._total}] {name}"
        if "error" in record:
            say(messages(), f"{place}: failed: {record['error']}", "red")
            return
        figures = f"F1 {record['f1']:.4f}, AUROC {record['auroc']:.4f}, {seconds_in_words(seconds)}"
        say(messages(), f"{place}: {figures}; {self._left()}")

    def in_words(self, path: Path, resume: str) -> str:
        """Say what is kept of an interrupted start, and that the command `resume` goes on."""
        if not self.done:
            return f"Interrupted before a run of {self._total} ended: nothing is kept yet. {resume} starts again."
        kept = f"Interrupted; {how_many(self.done, 'run')} of {self._total} made"
        failed = f", {self.failed} of them failed" if self.failed else ""
        return f"{kept}{failed}, and kept in {path}. {resume} goes on from there."

    def _left(self) -> str:
        """Say how long the other runs will take, by the runs of the same row, else by all runs."""
        known = {key: sum(values) / len(values) for key, values in self._seconds.items()}
        usual = sum(known.values()) / len(known)
        seconds = sum(known.get((job.cell.data.name, job.cell.contender.name), usual) for job in self._todo)
        return f"about {seconds_in_words(seconds / self._workers)} left" if self._todo else "the last one"
