"""What the papers report, from `paper_tables/*.toml`: one file per published table, every number with its source."""

from __future__ import annotations

import functools
import tomllib
from importlib import resources
from typing import Any, NamedTuple

from offnormal.errors import UnknownName

SOURCES = {"P": "the paper's text was read", "R": "recalled, not seen again"}
"""Tag -> how a published number came here."""


class Published(NamedTuple):
    """Precision, recall and F1 as published, with the tag of the source."""

    precision: float
    recall: float
    f1: float
    source: str


def paper_tables() -> dict[str, dict[str, Any]]:
    """Return name of the file -> its content: "title", and data set -> protocol -> method -> numbers."""
    folder = resources.files("offnormal.bench") / "paper_tables"
    names = sorted(place.name.removesuffix(".toml") for place in folder.iterdir() if place.name.endswith(".toml"))
    return {name: _table(name) for name in names}


def published(reference: str, data: str, protocol: str) -> Published | None:
    """Return what a paper reports for a method on a data set under a protocol; None if nothing.

    Parameters
    ----------
    reference : str
        "file:method", for example "dagmm:DAGMM".

    Raises
    ------
    UnknownName
        If there is no such file, or it knows no such method at all.
    """
    name, _, method = reference.partition(":")
    tables = paper_tables()
    if name not in tables:
        raise UnknownName.among("paper table", name, tables)
    known = {m for data, parts in tables[name].items() if data != "title" for part in parts.values() for m in part}
    if method not in known:
        raise UnknownName.among(f"method of paper table {name!r}", method, known)
    numbers = tables[name].get(data, {}).get(protocol, {}).get(method)
    return None if numbers is None else Published(*numbers)


@functools.cache
def _table(name: str) -> dict[str, Any]:
    text = (resources.files("offnormal.bench") / "paper_tables" / f"{name}.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)
