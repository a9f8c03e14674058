"""docs/results.md, written from the raw records alone and in no other way."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

from offnormal.bench import group_page, papers, pixel_page, tables
from offnormal.bench.markdown import anchor, circumstances, failures, fit_time, grid, not_measured
from offnormal.bench.results import Row, rows, summary
from offnormal.bench.table import Table

RANKS_BADLY, BELOW_UNTRAINED = "▼", "◁"
MANY_DATA_SETS = 5
"""From so many data sets on, a table begins with the AUROC of all of them side by side."""
_COLUMNS = ("row", "runs", "precision", "recall", "F1", "paper: P / R / F1", "flagged (tied)", "AUROC",
            "average precision", "best F1 (oracle)", "F1 at label-free cut", "FPR there", "fit")  # fmt: skip
MARKS = ("Written by `offnormal bench page`", "`offnormal bench page`가")
"""One of them is in every page that is written from the records, in whatever lines its words are."""
_HEAD = f"""# Results

Written by `offnormal bench page` from the raw records in `benchmarks/results`; nothing here is typed.
[benchmarks.md](benchmarks.md) says how to repeat a run and how to add a row.

How to read it:

- Every row of a table sees the same split for the same seed; rows with fewer runs have seen fewer splits. Numbers are
  mean ± standard deviation over the runs (seed 0, 1, …: another split and another training). "3 of 20" runs: the
  others are not made yet.
- *Precision, recall, F1*: the anomaly is the positive class, and the share of test rows named above the table is
  flagged, as in the papers; rows tied at the cut (in brackets) count by their expectation. That share is knowledge of
  the test set.
- *paper*: the published numbers, with their source: {"; ".join(f"[{k}] {v}" for k, v in papers.SOURCES.items())}. For a
  baseline, they are of the paper's own tuning and rule for the cut.
- *AUROC* and *average precision* need no cut. *Best F1* is an oracle: the labels choose the cut.
- *Label-free cut*: 1 % of the scores of the training rows are above it. No label is used; *FPR there* is the share of
  normal test rows that it flags.
- *fit*: mean processor time of the training, one thread. Where some runs used a GPU it is of the others; "GPU": all
  did, several at a time. Runs were made on more than one machine: [performance.md](performance.md) compares speed.
- Rows in italics are trivial baselines; "untrained" is the same network as initialized.
- {RANKS_BADLY} the mean AUROC is below 0.5. {BELOW_UNTRAINED} the mean F1 or the mean AUROC is below that of the same
  network untrained.
"""


def page(folder: Path) -> str:
    """Return the page for the records in `folder`."""
    parts, contents, without = [], [], []
    for table in tables.TABLES.values():
        every = rows(folder, table)
        if any(row.records for row in every):
            contents.append(f"- [{table.title}](#{anchor(table.title)}): `{table.name}`")
            parts.append("\n".join(_section(table, every)))
        else:
            without.append(f"`{table.name}`")
    if not parts:
        parts.append("There are no records yet.\n")
    elif without:
        parts.append(f"Tables not measured yet: {', '.join(without)}.\n")
    listed = ["The tables:\n", *contents, ""] if contents else []
    return "\n".join([_HEAD, *listed, *parts])


def is_ours(text: str) -> bool:
    """Return whether `text` is a page written from records, and may be replaced by another."""
    words = " ".join(text.split())
    return any(mark in words for mark in MARKS)


def marks(row: Row, others: Iterable[Row]) -> str:
    """Return the marks of a row; `others` are the rows of the same data set and protocol."""
    auroc, f1 = (summary(row.records, figure).mean for figure in ("auroc", "f1"))
    found = RANKS_BADLY if auroc < 0.5 else ""
    for other in others:
        if other.records and other.cell.contender.untrained_of == row.cell.contender.name:
            floor = [summary(other.records, figure).mean for figure in ("auroc", "f1")]
            found += BELOW_UNTRAINED if auroc < floor[0] or f1 < floor[1] else ""
    return found


def _section(table: Table, every: list[Row]) -> Iterator[str]:
    yield f"## {table.title}\n"
    yield f"{table.about} `offnormal bench run {table.name}`\n"
    if table.groups:
        yield from group_page.section(every, RANKS_BADLY, BELOW_UNTRAINED)
        return
    if len(table.data) >= MANY_DATA_SETS:
        yield from _overview(every)
    named = dict.fromkeys(row.cell.contender.name for row in every)
    nowhere = [name for name in named if not any(_tried(row) for row in every if row.cell.contender.name == name)]
    yield from not_measured("Rows", nowhere)
    without = []
    for (data, protocol), group in groupby(every, key=lambda row: (row.cell.data, row.cell.protocol)):
        part = list(group)
        measured = [record for row in part for record in row.records]
        title = data.name if len(table.protocols) == 1 else f"{data.name}, {protocol.name}"
        if not measured:
            without.append(title)
            continue
        yield f"### {title}\n"
        yield f"{protocol.about}\n"
        yield f"{circumstances(measured)}\n"
        if data.figures:
            lines = [pixel_page.line(row, marks(row, part) if row.records else "") for row in part if _tried(row)]
            yield from grid(pixel_page.columns(part[0]), lines)
        else:
            yield from grid(_COLUMNS, [_line(row, part) for row in part if _tried(row)])
        for row in part:
            yield from failures(row.cell.contender.name, row.errors)
        yield from not_measured(
            "Rows",
            [row.cell.contender.name for row in part if not _tried(row) and row.cell.contender.name not in nowhere],
        )
    yield from not_measured("Data sets", without)


def _line(row: Row, others: list[Row]) -> list[str]:
    contender = row.cell.contender
    name = f"*{contender.name}*" if contender.baseline else contender.name
    if not row.records:
        return [name, f"0 of {row.cell.seeds}, failed", *[""] * (len(_COLUMNS) - 2)]
    mark = marks(row, others)
    first = ("precision", "recall", "f1")
    then = ("auroc", "average_precision", "best_f1", "cut_f1", "cut_fpr")
    flagged, tied = (summary(row.records, figure).mean for figure in ("flagged", "tied"))
    return [
        f"{name} {mark}" if mark else name,
        f"{len(row.records)}" if len(row.records) == row.cell.seeds else f"{len(row.records)} of {row.cell.seeds}",
        *(_figure(row, figure) for figure in first),
        _published(row),
        f"{flagged:,.0f} ({tied:,.0f})" if tied > 1 else f"{flagged:,.0f}",
        *(_figure(row, figure) for figure in then),
        fit_time(row.records),
    ]


def _figure(row: Row, figure: str) -> str:
    n, mean, sd, _ = summary(row.records, figure)
    return f"{mean:.3f} ± {sd:.3f}" if n > 1 else f"{mean:.3f}"


def _published(row: Row) -> str:
    cell = row.cell
    found = []
    for reference in cell.contender.paper:
        numbers = papers.published(reference, cell.data.name, cell.protocol.name)
        if numbers is not None:
            method = reference.partition(":")[2]
            name = "" if method == cell.contender.name else f"{method}: "
            values = " / ".join(f"{value:.4f}" for value in numbers[:3])
            found.append(f"{name}{values} [{numbers.source}]")
    return "; ".join(found)


def _tried(row: Row) -> bool:
    return bool(row.records or row.errors)


def _overview(every: list[Row]) -> Iterator[str]:
    """Give the mean AUROC of every row on every data set, the row's mean over the data sets last."""
    names = list(dict.fromkeys(row.cell.contender.name for row in every))
    means: dict[tuple[str, str], dict[str, float]] = {}
    for row in every:
        if row.records:
            place = row.cell.data.name, row.cell.protocol.name
            means.setdefault(place, {})[row.cell.contender.name] = summary(row.records, "auroc").mean
    lines = [
        [f"{data}, {protocol}", *(f"{found[name]:.3f}" if name in found else "" for name in names)]
        for (data, protocol), found in means.items()
    ]
    complete = [found for found in means.values() if set(found) == set(names)]
    if complete:
        last = [f"{statistics.fmean(found[name] for found in complete):.3f}" for name in names]
        lines.append([f"mean of the {len(complete)} complete lines", *last])
    yield "Mean AUROC:\n"
    yield from grid(("data", *names), lines)
