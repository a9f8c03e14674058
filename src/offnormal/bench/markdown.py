"""Pieces of the pages of results, in Markdown."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from offnormal.bench.jobs import Record

if TYPE_CHECKING:
    from jinja2 import Template


def template(name: str, filters: Mapping[str, Callable[..., Any]]) -> Template:
    """Return a page's template from beside this file, with its filters."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    # Markdown of our own numbers and names: nothing in it is to be escaped.
    environment = Environment(
        loader=PackageLoader("offnormal.bench", "."),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters |= filters
    return environment.get_template(name)


def circumstances(every: list[Record]) -> str:
    """Say how many rows, how wide, what was flagged, with which versions and when."""
    versions: dict[str, set[str]] = {}
    for record in every:
        for name, version in record["versions"].items():
            versions.setdefault(name, set()).add(version)
    used = ", ".join(f"{name} {' and '.join(sorted(found))}" for name, found in versions.items())
    shares = [100 * record["share"] for record in every]
    dates = sorted(record["date"][:10] for record in every)
    return (
        f"Rows given for training: {range_of(r['rows_given'] for r in every)}, of them anomalies: "
        f"{range_of(r['anomalies_given'] for r in every)}; columns after encoding: "
        f"{range_of(r['features'] for r in every)}; test rows: {range_of(r['rows_tested'] for r in every)}, of them "
        f"anomalies: {range_of(r['anomalies_tested'] for r in every)}; flagged: {range_of(shares, '.3g')} %. "
        f"{used}; {' to '.join(sorted({dates[0], dates[-1]}))}."
    )


def range_of(values: Iterable[float], form: str = ",d") -> str:
    """Return "least to greatest", or the one value."""
    every = list(values)
    ends = dict.fromkeys((format(min(every), form), format(max(every), form)))
    return " to ".join(ends)


def failures(name: str, errors: Sequence[str]) -> Iterator[str]:
    """Say how many runs of a row failed, and what the last one said."""
    if errors:
        yield f"{name}, {len(errors)} failed: {errors[-1]}\n"


def not_measured(what: str, names: list[str]) -> Iterator[str]:
    """Name what has no run yet."""
    if names:
        yield f"{what} not measured yet: {'; '.join(names)}.\n"


def grid(columns: tuple[str, ...], lines: list[list[str]]) -> Iterator[str]:
    """Give a table, and the empty line after it."""
    yield "| " + " | ".join(columns) + " |"
    yield "|---" * len(columns) + "|"
    for line in lines:
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |"
    yield ""


def fit_time(every: Sequence[Record]) -> str:
    """Return the mean processor time of the fits that used no GPU; of those that did, if there are no others."""
    on_gpu = [record["device"].startswith("cuda") for record in every]
    seconds = [record["fit_seconds"] for record, gpu in zip(every, on_gpu, strict=True) if gpu == all(on_gpu)]
    return duration(statistics.fmean(seconds)) + (" GPU" if all(on_gpu) else "")


def anchor(title: str) -> str:
    """Return what a link within a page calls a heading.

    >>> anchor("GANomaly: nine classes normal")
    'ganomaly-nine-classes-normal'
    """
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def duration(seconds: float) -> str:
    """Return seconds, minutes or hours."""
    if seconds < 99.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5_970 else f"{seconds / 3600:.1f} h"
