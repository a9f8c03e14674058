"""`offnormal bench`: the bench tables, their runs, and the page of results."""

from __future__ import annotations

import os
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from offnormal.cli.console import answers, how_many, messages, print_json, say, seconds_in_words
from offnormal.cli.failures import Interrupted
from offnormal.cli.options import JsonOption, QuietOption
from offnormal.errors import InvalidParameter, UnknownName

if TYPE_CHECKING:
    from offnormal.bench.jobs import Cell, Job

ACTIONS = ("list", "run", "page")

NamesOption = list[str] | None


def bench(
    action: Annotated[
        str, typer.Argument(metavar="[list|run|page]", help="What to do; without a word: list.", show_default=False)
    ] = "list",
    table: Annotated[
        str | None, typer.Argument(metavar="[TABLE]", help="run: the bench table.", show_default=False)
    ] = None,
    data: Annotated[
        NamesOption, typer.Option(metavar="NAME", help="run: only this data set. Can be repeated.", show_default=False)
    ] = None,
    row: Annotated[
        NamesOption, typer.Option(metavar="NAME", help="run: only this row. Can be repeated.", show_default=False)
    ] = None,
    protocol: Annotated[
        NamesOption, typer.Option(metavar="NAME", help="run: only this protocol. Can be repeated.", show_default=False)
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(min=1, help="run: seeds 0 to N − 1. Default: as the table says.", metavar="N", show_default=False),
    ] = None,
    seed: Annotated[
        list[int] | None,
        typer.Option(min=0, help="run: only the run of this seed. Can be repeated.", show_default=False),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help="run: processes, one thread each. Default: the cores there are.", show_default=False),
    ] = None,
    results: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Where the raw results are. Default: benchmarks/results.", show_default=False
        ),
    ] = None,
    fast: Annotated[
        bool, typer.Option("--fast", help="run: few rows, few epochs, one seed; kept apart from real results.")
    ] = False,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FILE", help="page: where the results go; the findings go beside it."),
    ] = Path("docs/results.md"),
    check: Annotated[
        bool, typer.Option("--check", help="page: fail if FILE or the findings are not what the results give.")
    ] = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run the bench tables on public data sets, resume them, and write the pages of results and findings.

    What is there already is not run again: the same command goes on where it was stopped. The data sets are read from
    the folder that OFFNORMAL_DATA names.
    """
    if action not in ACTIONS:
        raise UnknownName.among("action of bench", action, ACTIONS)
    if (table is None) == (action == "run"):
        raise InvalidParameter("offnormal bench run needs the name of a bench table; the other actions take none.")
    from offnormal.bench import records

    folder = records.FOLDER if results is None else results
    if action == "list":
        _list(folder, as_json)
    elif action == "page":
        _page(folder, output, check)
    else:
        if fast and results is None:
            folder = Path(tempfile.mkdtemp(prefix="offnormal-bench-"))
        _run(
            str(table),
            folder,
            {"data": data or (), "rows": row or (), "protocols": protocol or (), "seeds": seeds, "fast": fast},
            seed or [],
            jobs or os.cpu_count() or 1,
            quiet,
        )


def _list(folder: Path, as_json: bool) -> None:
    """Show every table, its rows and how many of its runs are there."""
    from offnormal.bench import jobs, records, tables

    listed = []
    for table in tables.TABLES.values():
        every = jobs.cells(table)
        kept = records.read_all(folder)
        rows = [
            {
                "row": contender.name,
                "seeds": contender.seeds or table.seeds,
                "runs": sum(cell.seeds for cell in every if cell.contender is contender),
                "done": sum(len(cell.records(kept)) for cell in every if cell.contender is contender),
            }
            for contender in table.contenders
        ]
        names = {"data": table.data, "protocols": [protocol.name for protocol in table.protocols]}
        listed.append({"table": table.name, "title": table.title, **names, "rows": rows})
    if as_json:
        print_json({"tables": listed})
        return
    console = answers()
    for record in listed:
        _tell_table(console, record)


def _tell_table(console: Any, record: dict[str, Any]) -> None:
    from rich.table import Table
    from rich.text import Text

    say(console, f"{record['table']}: {record['title']}", "bold")
    say(console, f"data: {', '.join(record['data'])}; protocols: {', '.join(record['protocols'])}")
    grid = Table("row", "seeds", "runs done")
    for row in record["rows"]:
        grid.add_row(Text(row["row"]), str(row["seeds"]), f"{row['done']} of {row['runs']}")
    console.print(grid)


def _run(table: str, folder: Path, chosen: dict[str, Any], seed: list[int], workers: int, quiet: bool) -> None:
    from offnormal.bench import datasets, jobs, records, runner, tables

    every = jobs.cells(tables.table_named(table), **chosen)
    if seed and chosen["seeds"] is None:
        every = [_reaching(cell, max(seed)) for cell in every]
    path = records.path_of(folder, table, fast=chosen["fast"])
    kept = records.read_all(folder, fast=chosen["fast"])
    todo = jobs.missing(every, kept, seed)
    if not todo:
        if not quiet:
            say(messages(), f"Every run is there already: {path}")
        return
    datasets.data_folder()
    progress = _RunProgress(todo, kept, min(workers, len(todo)), quiet)
    try:
        runner.run(todo, path, workers=workers, on_start=progress.started, on_record=progress.finished)
    except KeyboardInterrupt:
        raise Interrupted(
            f"Interrupted; {how_many(progress.done, 'run')} of {len(todo)} made and kept in {path}. The same command "
            "goes on from there."
        ) from None
    if not quiet:
        say(messages(), f"{how_many(progress.done - progress.failed, 'run')} made, {progress.failed} failed: {path}")
    if progress.failed:
        raise typer.Exit(1)


def _reaching(cell: Cell, seed: int) -> Cell:
    import dataclasses

    return dataclasses.replace(cell, seeds=max(cell.seeds, seed + 1))


def _page(folder: Path, output: Path, check: bool) -> None:
    from offnormal.bench import findings, page
    from offnormal.data.writing import replacing

    if output.name in findings.PAGES.values():
        raise InvalidParameter(f"'{output}' is where the findings go; the page of results needs another name.")
    pages = {output: page.page(folder)}
    pages |= {output.with_name(name): findings.page(folder, language) for language, name in findings.PAGES.items()}
    for place, text in pages.items():
        if check:
            if not place.is_file() or place.read_text(encoding="utf-8") != text:
                raise InvalidParameter(f"'{place}' is not what the results in {folder} give. Run offnormal bench page.")
            say(messages(), f"{place} is what the results in {folder} give.")
        else:
            with replacing(place) as stream:
                stream.write(text.encode())
            say(messages(), f"Written: {place}")


class _RunProgress:
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
        name = f"{record['data']}, {record['protocol']}, {record['contender']}, seed {record['seed']}"
        place = f"[{self.done}/{self._total}] {name}"
        if "error" in record:
            say(messages(), f"{place}: failed: {record['error']}", "red")
            return
        figures = f"F1 {record['f1']:.4f}, AUROC {record['auroc']:.4f}, {seconds_in_words(seconds)}"
        say(messages(), f"{place}: {figures}; {self._left()}")

    def _left(self) -> str:
        """Say how long the other runs will take, by the runs of the same row, else by all runs."""
        known = {key: sum(values) / len(values) for key, values in self._seconds.items()}
        usual = sum(known.values()) / len(known)
        seconds = sum(known.get((job.cell.data.name, job.cell.contender.name), usual) for job in self._todo)
        return f"about {seconds_in_words(seconds / self._workers)} left" if self._todo else "the last one"
