"""What the papers report, from `paper_tables/*.toml`: one file per published table, every number with its source."""

from __future__ import annotations

import functools
import tomllib
from importlib import resources
from typing import Any, NamedTuple

from offnormal.errors import UnknownName

SOURCES = {
    "P": "the paper's text was read",
    "N": "read in another's summary of the paper",
    "R": "recalled, not seen again",
}
"""Tag -> how a published number came here."""


class Published(NamedTuple):
    """Precision, recall and F1 as published, with the tag of the source."""

    precision: float
    recall: float
    f1: float
    source: str


class Figure(NamedTuple):
    """One published number, with the tag of its source."""

    value: float
    source: str


def paper_tables() -> dict[str, dict[str, Any]]:
    """Return name of the file -> its content: "title", and data set -> protocol -> method -> numbers."""
    folder = resources.files("offnormal.bench") / "paper_tables"
    names = sorted(place.name.removesuffix(".toml") for place in folder.iterdir() if place.name.endswith(".toml"))
    return {name: _table(name) for name in names}


def published(reference: str, data: str, protocol: str) -> Published | None:
    """Return precision, recall and F1 as a paper reports them on a data set under a protocol; None if it does not.

    Parameters
    ----------
    reference : str
        "file:method", for example "dagmm:DAGMM".

    Raises
    ------
    UnknownName
        If there is no such file, or it knows no such method at all.
    """
    numbers = _numbers(reference, data, protocol)
    return Published(*numbers) if isinstance(numbers, list) else None


def published_figure(reference: str, data: str, protocol: str, figure: str) -> Figure | None:
    """Return one figure of those that a paper gives by name, "auroc" for example; None if it does not.

    Parameters and errors as in `published`; `data` is a set of images, whose classes are averaged.
    """
    numbers = _numbers(reference, data, protocol)
    return Figure(*numbers[figure]) if isinstance(numbers, dict) and figure in numbers else None


def _numbers(reference: str, data: str, protocol: str) -> Any:
    name, _, method = reference.partition(":")
    tables = paper_tables()
    if name not in tables:
        raise UnknownName.among("paper table", name, tables)
    known = {m for data, parts in tables[name].items() if data != "title" for part in parts.values() for m in part}
    if method not in known:
        raise UnknownName.among(f"method of paper table {name!r}", method, known)
    return tables[name].get(data, {}).get(protocol, {}).get(method)


@functools.cache
def _table(name: str) -> dict[str, Any]:
    text = (resources.files("offnormal.bench") / "paper_tables" / f"{name}.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)
