"""docs/findings.md: the claims, each held against the raw records by one rule.

The prose is in `findings.en.md.j2` and `findings.ko.md.j2`; every number and every verdict comes from `claims.py`.
"""

from __future__ import annotations

import functools
import re
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

from offnormal.bench import papers, plots
from offnormal.bench.claims import AIMS, ERROR_MARGIN, F1_MARGIN, STEADY, claims
from offnormal.bench.lookup import Line, Lookup
from offnormal.bench.verdicts import Number

PAGES = {"en": "findings.md", "ko": "findings.ko.md"}
"""Language -> name of the page."""


def page(folder: Path, language: str = "en") -> str:
    """Return the page for the records in `folder`."""
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
    environment.filters |= {"number": _number, "signed": _signed, "measured_names": _measured_names}
    lookup = Lookup(folder)
    text = environment.get_template(f"findings.{language}.md.j2").render(
        claims={claim.key: claim for claim in claims(lookup)},
        plots={name: plot for name, plot in plots.every(lookup).items() if plot},
        tried=tried(),
        sources=papers.SOURCES,
        steady=STEADY,
        f1_margin=F1_MARGIN,
        error_margin=ERROR_MARGIN,
        aims=AIMS,
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
    runs = f"({number.runs})" if number.complete else f"({number.runs}/{number.of})"
    if not number.runs:
        return f"– {runs}"
    spread = f" ± {number.sd:.3f}" if number.runs > 1 else ""
    return f"{number.mean:.3f}{spread} {runs}"


def _signed(value: float) -> str:
    return f"{value:+.3f}"


def _measured_names(part: list[Line]) -> list[str]:
    """Return the rows of which there is a run on any of the lines, in their order."""
    numbers = [number for line in part for number in line.numbers if number.runs]
    return [name for name in part[0].columns if any(number.name == name for number in numbers)]
