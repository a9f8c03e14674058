"""docs/findings.md: the claims, each held against the raw records by one rule.

The prose is in `findings.en.md.j2` and `findings.ko.md.j2`; every number and every verdict comes from `claims.py`.
"""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

from offnormal.bench import papers, plots
from offnormal.bench.claims import AIMS, ERROR_MARGIN, F1_MARGIN, HIGH_F1, STEADY, claims
from offnormal.bench.field_claims import FAILS, LEVEL, WORKS
from offnormal.bench.lookup import Line, Lookup
from offnormal.bench.markdown import template
from offnormal.bench.overview import floors, overview, standings
from offnormal.bench.verdicts import Number

PAGES = {"en": "findings.md", "ko": "findings.ko.md"}
"""Language -> name of the page."""


def page(folder: Path, language: str = "en", figures: Path = plots.FOLDER) -> str:
    """Return the page for the records in `folder`.

    `figures` is where the figures were drawn: the page shows those that are there and are of these records.
    """
    filters: dict[str, Callable[..., Any]] = {"number": _number, "signed": _signed, "measured_names": _measured_names}
    filters |= {"slug": _slug, "plain": _plain}
    lookup = Lookup(folder)
    text = template(f"findings.{language}.md.j2", filters).render(
        claims={claim.key: claim for claim in claims(lookup)},
        overview=overview(lookup),
        floors=floors(lookup),
        standings=standings,
        folder=_name_of(folder),
        bar=HIGH_F1,
        plots=[*plots.drawn(lookup, figures), *plots.cases(figures)],
        tried=tried(),
        sources=papers.SOURCES,
        steady=STEADY,
        f1_margin=F1_MARGIN,
        error_margin=ERROR_MARGIN,
        aims=AIMS,
        level=LEVEL,
        works=WORKS,
        fails=FAILS,
    )
    return re.sub(r"\n{3,}", "\n\n", text).strip("\n") + "\n"


@functools.cache
def tried() -> tuple[dict[str, Any], ...]:
    """Return what was tried and left: `what`, `measured`, `verdict`."""
    text = (resources.files("offnormal.bench") / "tried.toml").read_text(encoding="utf-8")
    return tuple(tomllib.loads(text).get("tried", []))


def _number(number: Number) -> str:
    """Write mean ± deviation and the runs: "0.770 ± 0.142 (3/20)", a published number with its source."""
    if number.published:
        tag = f" [{number.source}]" if number.source in papers.SOURCES else ""
        return f"{number.mean:.4f}".rstrip("0") + tag
    runs = f"({number.runs})" if number.runs >= number.of else f"({number.runs}/{number.of})"
    if not number.runs:
        return f"– {runs}"
    spread = f" ± {number.sd:.3f}" if number.runs > 1 else ""
    return f"{number.mean:.3f}{spread} {runs}"


def _plain(number: Number) -> str:
    """Write mean ± deviation without the runs, where they stand beside it."""
    if number.published:
        return _number(number)
    return f"{number.mean:.3f} ± {number.sd:.3f}" if number.runs > 1 else f"{number.mean:.3f}"


def _slug(heading: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _name_of(folder: Path) -> str:
    """Return how the page names a folder: from where we are if it lies there, else as given."""
    whole = folder.resolve()
    here = Path.cwd()
    return (whole.relative_to(here) if whole.is_relative_to(here) else folder).as_posix()


def _signed(value: float) -> str:
    return f"{value:+.3f}"


def _measured_names(part: list[Line]) -> list[str]:
    """Return the rows of which there is a run on any of the lines, in their order."""
    numbers = [number for line in part for number in line.numbers if number.runs]
    return [name for name in part[0].columns if any(number.name == name for number in numbers)]
