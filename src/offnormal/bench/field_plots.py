"""What the figures of the field's standard claims show, from the raw records: in JSON's types, empty without a record.

A band is from the least to the greatest of the digits' own means.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from offnormal.bench.field_claims import ERRORS, MEMORY_FIGURES, PIXELS
from offnormal.bench.field_tables import (
    AAE_SCORES,
    CODE_SIZE_TABLE,
    CODES,
    DIFFERENCES_TABLE,
    IMAGE_CONTAMINATION_TABLE,
    LATENT_TABLE,
    MEMORY_TABLE,
    MULTIMODAL,
    PLAIN,
    SHARES,
    VAE_SCORES,
    VARIATIONAL,
    WIDTHS,
    with_code,
)
from offnormal.bench.lookup import Lookup
from offnormal.bench.table import Table

_DECIMALS = 6


def code_size(lookup: Lookup) -> dict[str, Any]:
    """Return AUROC: row -> points (width, mean, band); errors: row -> figure -> points."""
    table, protocol = CODE_SIZE_TABLE, MULTIMODAL.name

    def curve(name: str, figure: str) -> list[list[float]]:
        return _points([(width, _banded(lookup, table, with_code(name, width), protocol, figure)) for width in CODES])

    auroc = {name: points for name in WIDTHS if (points := curve(name, "auroc"))}
    errors = {
        name: {figure: curve(name, figure) for figure in ERRORS} for name in (PLAIN, VARIATIONAL) if name in auroc
    }
    return {"auroc": auroc, "errors": errors} if auroc else {}


def latent_density(lookup: Lookup) -> dict[str, Any]:
    """Return protocol -> row -> AUROC and its band."""
    names = (*AAE_SCORES.values(), *VAE_SCORES.values())
    return _by_row(lookup, LATENT_TABLE, names, "auroc")


def image_contamination(lookup: Lookup) -> dict[str, Any]:
    """Return row -> points (percentage, mean, band) of AUROC."""
    table = IMAGE_CONTAMINATION_TABLE
    protocols = list(zip(SHARES, (protocol.name for protocol in table.protocols), strict=True))
    found = {
        contender.name: _points(
            [(share, _banded(lookup, table, contender.name, protocol, "auroc")) for share, protocol in protocols]
        )
        for contender in table.contenders
    }
    return {name: points for name, points in found.items() if points}


def differences(lookup: Lookup) -> dict[str, Any]:
    """Return data set -> row -> figure -> mean and standard deviation; trained rows and baselines."""
    table = DIFFERENCES_TABLE
    (protocol,) = table.protocols
    shown: dict[str, Any] = {}
    for data in table.data:
        for contender in table.contenders:
            numbers = [lookup.number(table, contender.name, data, protocol.name, figure) for figure in PIXELS[:2]]
            found = {n.figure: [round(n.mean, _DECIMALS), round(n.sd, _DECIMALS)] for n in numbers if n.runs}
            if found and not contender.untrained_of:
                shown.setdefault(data, {})[contender.name] = found
    return shown


def memory(lookup: Lookup) -> dict[str, Any]:
    """Return figure -> row -> mean and band: AUROC, the largest addressing weight, the slots read."""
    names = [c.name for c in MEMORY_TABLE.contenders if not c.baseline and not c.untrained_of]
    (protocol,) = (each.name for each in MEMORY_TABLE.protocols)
    found = {figure: _by_row(lookup, MEMORY_TABLE, names, figure).get(protocol, {}) for figure in MEMORY_FIGURES}
    return {figure: rows for figure, rows in found.items() if rows}


FIELD_PLOTS: dict[str, Callable[[Lookup], dict[str, Any]]] = {
    "code_size": code_size,
    "latent_density": latent_density,
    "image_contamination": image_contamination,
    "differences": differences,
    "memae_ablation": memory,
}
"""Name of the figure -> what it shows."""


def _by_row(lookup: Lookup, table: Table, names: tuple[str, ...] | list[str], figure: str) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for protocol in (each.name for each in table.protocols):
        found = {name: _banded(lookup, table, name, protocol, figure) for name in names}
        measured = {name: band for name, band in found.items() if band}
        if measured:
            shown[protocol] = measured
    return shown


def _banded(lookup: Lookup, table: Table, name: str, protocol: str, figure: str) -> list[float]:
    """Return mean, least and greatest; nothing without a run."""
    number = lookup.over_sets(name, protocol, figure, table)
    band = lookup.range_over_sets(name, protocol, figure, table)
    return [round(value, _DECIMALS) for value in (number.mean, *band)] if band else []


def _points(curve: list[tuple[int, list[float]]]) -> list[list[float]]:
    return [[float(place), *band] for place, band in curve if band]
