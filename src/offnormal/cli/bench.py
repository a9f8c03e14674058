"""`offnormal bench`: the bench tables, their runs, and the pages written from them."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from offnormal.cli.console import answers, how_many, messages, print_json, say
from offnormal.cli.options import JsonOption, QuietOption
from offnormal.errors import EnvironmentFailure, InvalidParameter, OffnormalError, UnknownName

ACTIONS = ("list", "run", "page")

NamesOption = list[str] | None


def bench(
    action: Annotated[
        str, typer.Argument(metavar="[list|run|page]", help="What to do; without a word: list.", show_default=False)
    ] = "list",
    table: Annotated[
        str | None, typer.Argument(metavar="[TABLE]", help="run, list: the bench table.", show_default=False)
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
        typer.Option(
            min=1,
            help="run: seeds 0 to N − 1, of each row at most as many as the table says. Default: those.",
            metavar="N",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        list[int] | None,
        typer.Option(
            min=0, help="run: only the run of this seed, one of the table's. Can be repeated.", show_default=False
        ),
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
        typer.Option(
            "--output", "-o", metavar="FILE", help="page: where the results go; the other pages go beside it."
        ),
    ] = Path("docs/results.md"),
    check: Annotated[
        bool, typer.Option("--check", help="page: fail if FILE or a page beside it is not what the results give.")
    ] = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run the bench tables on public data sets, resume them, and write the pages of results, findings and choosing.

    What is there already is not run again: the same command goes on where it was stopped. The data sets are read from
    the folder that OFFNORMAL_DATA names.
    """
    _check_words(action, table)
    if seed and seeds is not None:
        raise InvalidParameter("--seeds N stands for the seeds 0 to N − 1, --seed for one of them: leave one out.")
    of_run = {"--data": data, "--row": row, "--protocol": protocol, "--seeds": seeds, "--seed": seed, "--jobs": jobs}
    _check_options(action, of_run | {"--fast": fast}, check)
    if action == "run":
        from offnormal.cli.bench_runs import Chosen, make_runs

        parts = (data or (), row or (), protocol or (), seeds, seed or ())
        chosen = Chosen(*parts, fast=fast, workers=jobs or os.cpu_count() or 1, quiet=quiet, as_json=as_json)
        make_runs(str(table), results, chosen)
        return
    from offnormal.bench import records

    folder = records.FOLDER if results is None else results
    if action == "list":
        _list(folder, table, as_json)
    else:
        _page(folder, output, check=check, quiet=quiet, as_json=as_json)


def _check_words(action: str, table: str | None) -> None:
    if action not in ACTIONS:
        from offnormal.bench.tables import TABLES

        if action in TABLES:
            raise UnknownName(f"There is no action of bench {action!r}. Did you mean offnormal bench run {action}?")
        raise UnknownName.among("action of bench", action, ACTIONS)
    if action == "run" and table is None:
        raise InvalidParameter("offnormal bench run needs the name of a bench table; offnormal bench lists them.")
    if action == "page" and table is not None:
        raise InvalidParameter("offnormal bench page takes no table; it writes the page of all of them.")


def _check_options(action: str, of_run: dict[str, Any], check: bool) -> None:
    """Refuse options that the action would pass over in silence."""
    given = [name for name, value in of_run.items() if value and action != "run"]
    given += ["--check"] if check and action != "page" else []
    if given:
        home = "page" if given == ["--check"] else "run"
        raise InvalidParameter(f"{', '.join(given)} belongs to offnormal bench {home}, not to bench {action}.")


def _list(folder: Path, name: str | None, as_json: bool) -> None:
    """Show the tables and how many of their runs are there, or the rows of one."""
    from offnormal.bench import coverage, records, tables

    listed = []
    kept = records.by_fingerprint(records.read_all(folder))
    for table in tables.TABLES.values() if name is None else [tables.table_named(name)]:
        rows = [row._asdict() for row in coverage.covered(table, kept)]
        names = {"data": table.data, "protocols": [protocol.name for protocol in table.protocols]}
        listed.append({"table": table.name, "title": table.title, **names, "rows": rows})
    if as_json:
        print_json({"results": folder, "tables": listed})
        return
    console = answers()
    if name is None:
        _tell_tables(console, listed)
    else:
        _tell_table(console, listed[0])
    say(console, f"results: {folder}" + ("" if folder.is_dir() else ", a folder that is not there"))


def _tell_tables(console: Any, listed: list[dict[str, Any]]) -> None:
    from rich.table import Table
    from rich.text import Text

    grid = Table("table", "what it is", "rows", "runs done")
    for record in listed:
        done, runs = (sum(row[what] for row in record["rows"]) for what in ("done", "runs"))
        name = Text(record["table"], no_wrap=True)
        grid.add_row(name, Text(record["title"]), str(len(record["rows"])), f"{done:,} of {runs:,}")
    console.print(grid)
    say(console, "offnormal bench list TABLE shows the rows of one.")


def _tell_table(console: Any, record: dict[str, Any]) -> None:
    from rich.table import Table
    from rich.text import Text

    from offnormal.bench.markdown import duration

    say(console, f"{record['table']}: {record['title']}", "bold")
    say(console, f"data: {', '.join(record['data'])}; protocols: {', '.join(record['protocols'])}")
    grid = Table("row", "seeds", "runs done", "a run takes")
    for row in record["rows"]:
        taken = "–" if row["seconds"] is None else duration(row["seconds"]) + (" (GPU)" if row["gpu"] else "")
        grid.add_row(Text(row["row"]), str(row["seeds"]), f"{row['done']} of {row['runs']}", taken)
    console.print(grid)
    times = {"of one core": False, "of a GPU": True}
    left = {where: sum(row["left"] or 0 for row in record["rows"] if row["gpu"] is gpu) for where, gpu in times.items()}
    if any(left.values()):
        known = ", ".join(f"about {duration(seconds)} {where}" for where, seconds in left.items() if seconds)
        say(console, f"Missing runs of these rows: {known}.")
    unknown = sum(row["left"] is None for row in record["rows"])
    if unknown:
        say(console, f"Of {how_many(unknown, 'further row')} no run is there, so their time is not known.")


def _page(folder: Path, output: Path, *, check: bool, quiet: bool, as_json: bool) -> None:
    """Write, or check, the pages of results, findings and choosing; nothing is written unless all of them may be."""
    from offnormal.bench import choosing, findings, page, records

    beside = {name: (each.page, language) for each in (findings, choosing) for language, name in each.PAGES.items()}
    if output.name in beside:
        raise InvalidParameter(f"'{output}' is where another page goes; the page of results needs another name.")
    if str(output) == "-" or output.is_dir():
        raise InvalidParameter(f"'{output}' names no file; bench page writes one, and the others beside it.")
    if not folder.is_dir():
        raise InvalidParameter(f"There is no folder '{folder}' of raw results; --results names another.")
    kept = len(records.read_all(folder))
    if not kept:
        raise InvalidParameter(f"There is no record in the folder '{folder}'; offnormal bench run makes them.")
    if not check:
        for name in (output.name, *beside):
            _check_replaceable(output.with_name(name))
    if not quiet:
        say(messages(), f"Read: {how_many(kept, 'record')} in {folder}")
    pages = {output: page.page(folder)}
    pages |= {output.with_name(name): write(folder, language) for name, (write, language) in beside.items()}
    for place, text in pages.items():
        if check:
            _check_page(place, text, folder)
        else:
            _write_page(place, text)
        if not quiet:
            say(messages(), f"{place} is what the results in {folder} give." if check else f"Written: {place}")
    if as_json:
        print_json(
            {"results": folder, "written": [] if check else list(pages), "checked": list(pages) if check else []}
        )


def _check_replaceable(place: Path) -> None:
    """Refuse to replace a file that somebody wrote."""
    from offnormal.bench.page import is_ours

    if place.is_file() and not is_ours(place.read_text(encoding="utf-8", errors="replace")):
        raise InvalidParameter(
            f"'{place}' was not written by offnormal bench page and would be replaced; nothing was written. Move that "
            "file, or name with -o a file in another folder."
        )


def _check_page(place: Path, text: str, folder: Path) -> None:
    if not place.is_file() or place.read_text(encoding="utf-8", errors="replace") != text:
        again = shlex.join(["offnormal", "bench", "page", "--results", str(folder), "-o", str(place)])
        raise InvalidParameter(f"'{place}' is not what the results in {folder} give. Run {again}.")


def _write_page(place: Path, text: str) -> None:
    from offnormal.data.writing import replacing

    try:
        with replacing(place) as stream:
            stream.write(text.encode())
    except OSError as error:
        if isinstance(error, OffnormalError):
            raise
        raise EnvironmentFailure(f"'{place}' could not be written: {error.strerror or error}.") from error
