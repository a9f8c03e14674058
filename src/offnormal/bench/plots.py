"""What the figures of docs/findings.md show, from the raw records; `benchmarks/figures.py` draws it.

Each figure's file carries the digest of what it shows, so that a figure of older records is noticed without drawing.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from offnormal.bench.field_plots import FIELD_PLOTS
from offnormal.bench.lookup import Lookup, baseline_names
from offnormal.bench.tables import ABLATIONS_TABLE, ADBENCH_TABLE, CONTAMINATION_TABLE, DAGMM_TABLE, FOUR
from offnormal.bench.verdicts import Number

FOLDER = Path("docs") / "figures"
CASES = ("same_code", "memory")
"""Single cases that `benchmarks/cases.py` draws; they are of a network trained there, not of the records."""
_DIGEST = re.compile(r"records ([0-9a-f]{16})")
_DIGITS = 6


def every(lookup: Lookup) -> dict[str, dict[str, Any]]:
    """Return name of the figure -> what it shows, in JSON's types; empty where no record is there."""
    return {"f1_by_seed": seeds(lookup), "contamination": contamination(lookup), "ablations": ablations(lookup),
            "auto": auto(lookup), **{name: show(lookup) for name, show in FIELD_PLOTS.items()}}  # fmt: skip


def drawn(lookup: Lookup, folder: Path) -> list[str]:
    """Return the names of the figures in `folder` that were drawn from these records."""
    found = ((name, plot, digest_in(folder / f"{name}.svg")) for name, plot in every(lookup).items())
    return [name for name, plot, kept in found if plot and kept == digest(plot)]


def cases(folder: Path) -> list[str]:
    """Return the names of the cases drawn in `folder`."""
    return [name for name in CASES if (folder / f"{name}.svg").is_file()]


def seeds(lookup: Lookup) -> dict[str, Any]:
    """Return data set -> row -> F1 by seed, and the paper's F1."""
    names = ("DAGMM", "DAGMM, untrained", "DAGMM, our defaults", "DAGMM, our defaults, untrained")
    shown: dict[str, Any] = {}
    for data in FOUR:
        numbers = [lookup.number(DAGMM_TABLE, name, data) for name in names]
        published = lookup.published(DAGMM_TABLE, "DAGMM", data)
        if any(number.runs for number in numbers):
            strips = {number.name: [round(value, _DIGITS) for value in number.values] for number in numbers}
            shown[data] = {"strips": strips, "published": published.mean if published else None}
    return shown


def contamination(lookup: Lookup) -> dict[str, Any]:
    """Return row -> points (percentage, mean, standard deviation) of F1; 0 % is the table without contamination."""
    table = CONTAMINATION_TABLE
    shown: dict[str, Any] = {}
    for name in ("DAGMM", "DAGMM, our defaults", *baseline_names(table)):
        numbers = {0.0: lookup.number(DAGMM_TABLE, name, "kddcup")} | {
            float(protocol.name.partition(":")[2]): lookup.number(table, name, "kddcup", protocol.name)
            for protocol in table.protocols
        }
        points = [_point(c, number) for c, number in numbers.items() if number.runs]
        if any(point[0] for point in points):
            shown[name] = points
    if not shown:
        return {}
    published = [
        [float(protocol.name.partition(":")[2]), found.mean, 0.0]
        for protocol in table.protocols
        if (found := lookup.published(table, "DAGMM", "kddcup", protocol.name))
    ]
    return shown | {"the paper's DAGMM": published}


def ablations(lookup: Lookup) -> dict[str, Any]:
    """Return row -> (mean, standard deviation) of F1."""
    numbers = [lookup.number(ABLATIONS_TABLE, contender.name, "kddcup") for contender in ABLATIONS_TABLE.contenders]
    if not any(n.runs for n, c in zip(numbers, ABLATIONS_TABLE.contenders, strict=True) if not c.baseline):
        return {}
    return {number.name: _point(0.0, number)[1:] for number in numbers if number.runs}


def auto(lookup: Lookup) -> dict[str, Any]:
    """Return protocol -> row -> (mean, standard deviation) over seeds of the mean AUROC over the public tables."""
    shown: dict[str, Any] = {}
    for protocol in (each.name for each in ADBENCH_TABLE.protocols):
        numbers = [lookup.over_sets(c.name, protocol, "auroc") for c in ADBENCH_TABLE.contenders]
        found = {number.name: _point(0.0, number)[1:] for number in numbers if number.runs}
        if found:
            shown[protocol] = found
    return shown


def digest(plot: dict[str, Any]) -> str:
    """Return 16 hexadecimal digits of what a figure shows."""
    return hashlib.sha256(json.dumps(plot, sort_keys=True).encode()).hexdigest()[:16]


def digest_in(path: Path) -> str | None:
    """Return the digest that a drawn figure carries; None if there is no figure or no digest in it."""
    found = _DIGEST.search(path.read_text(encoding="utf-8")) if path.is_file() else None
    return found[1] if found else None


def _point(place: float, number: Number) -> list[float]:
    return [place, round(number.mean, _DIGITS), round(number.sd, _DIGITS)]
