"""The field's standard claims about reconstruction, held against the tables of `field_tables.py`.

Numbers are means over the table's digits, by seed, or of one data set. A row chosen after the fact is the best of its
kind over the seeds that all have.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import replace

from offnormal.bench.claim import Claim
from offnormal.bench.field_tables import (
    AAE_SCORES,
    CODE_SIZE_TABLE,
    CODES,
    DENOISING,
    DIFFERENCES,
    DIFFERENCES_TABLE,
    ELBO,
    IMAGE_CONTAMINATION_TABLE,
    LATENT_TABLE,
    MEMORY,
    MEMORY_TABLE,
    MULTIMODAL,
    PLAIN,
    VAE_SCORES,
    VARIATIONAL,
    WITHOUT,
    with_code,
)
from offnormal.bench.image_protocols import RappUnimodal
from offnormal.bench.lookup import Line, Lookup, best_of, lines
from offnormal.bench.table import Table
from offnormal.bench.verdicts import Check, Number, Relation

ABOVE, BELOW, NEAR = Relation.ABOVE, Relation.BELOW, Relation.NEAR
NARROW, WIDE = CODES[1], CODES[-2:]
"""A code narrow enough to lose something, and the codes that the claim calls too wide."""
LEVEL = 0.02
"""How near the best width is near, in AUROC."""
WORKS, FAILS = 0.8, 0.6
"""A score with an AUROC above the one works, below the other it fails."""
COSTLY = (10, 20)
"""Percentages of anomalies among the training images at which the cost is looked at."""
ERRORS = ("mean_normal_score", "mean_anomaly_score")
MEMORY_FIGURES = ("auroc", "largest_weight", "slots_read")
PIXELS = ("auroc", "pixel_auroc", "pixel_average_precision")


def too_wide_a_code(lookup: Lookup) -> Claim:
    """An autoencoder with too wide a bottleneck copies its input, anomalies too, and detects worse."""
    table = CODE_SIZE_TABLE
    best = _best_width(lookup, PLAIN, CODES[:-2])
    checks = []
    for width in WIDE:
        row = with_code(PLAIN, width)
        checks.append(Check(_mean(lookup, table, row), BELOW, best))
        for figure in ERRORS:
            narrow = _mean(lookup, table, with_code(PLAIN, NARROW), figure=figure)
            checks.append(Check(_mean(lookup, table, row, figure=figure), BELOW, narrow))
    figures = ("auroc", *ERRORS, "reconstruction_error")
    shown = _digit_lines(lookup, table, [with_code(PLAIN, width) for width in CODES], MULTIMODAL.name, figures)
    return Claim(
        "bottleneck", (table.name,), tuple(checks), (*shown, *_floor(lookup, table, MULTIMODAL.name, figures)), figures,
        beside=False,
    )  # fmt: skip


def denoising_with_a_wide_code(lookup: Lookup) -> Claim:
    """With noise on the input the width matters less."""
    return _against_plain(lookup, "bottleneck_noise", (DENOISING,))


def variational_with_a_wide_code(lookup: Lookup) -> Claim:
    """A VAE does not need the width of its code tuned."""
    return _against_plain(lookup, "bottleneck_vae", (VARIATIONAL, ELBO))


def _against_plain(lookup: Lookup, key: str, names: tuple[str, ...]) -> Claim:
    """Hold that the widest codes are near the row's own best, and above the plain autoencoder's."""
    table = CODE_SIZE_TABLE
    checks = []
    for name, width in itertools.product(names, WIDE):
        number = _mean(lookup, table, with_code(name, width))
        checks.append(Check(number, NEAR, _best_width(lookup, name, CODES), LEVEL))
        checks.append(Check(number, ABOVE, _mean(lookup, table, with_code(PLAIN, width))))
    figures = ("auroc", "average_precision", "reconstruction_error")
    rows = [with_code(name, width) for name in names for width in CODES]
    return Claim(
        key, (table.name,), tuple(checks), _digit_lines(lookup, table, rows, MULTIMODAL.name, figures), figures,
        beside=False,
    )  # fmt: skip


def density_of_the_code(lookup: Lookup) -> Claim:
    """p(z) works as a score if the normal images are of one kind, and fails if they are of many."""
    table, one, many = LATENT_TABLE, RappUnimodal().name, MULTIMODAL.name
    works = Number("an AUROC of", "mnist", one, "auroc", mean=WORKS, source="bar")
    fails = Number("an AUROC of", "mnist", many, "auroc", mean=FAILS, source="bar")
    checks = []
    for latent, error in ((AAE_SCORES["latent"], AAE_SCORES["reconstruction"]),
                          (VAE_SCORES["kl"], VAE_SCORES["reconstruction"])):  # fmt: skip
        checks += [
            Check(_mean(lookup, table, latent, one), ABOVE, works),
            Check(_mean(lookup, table, latent, many), BELOW, fails),
            Check(_mean(lookup, table, latent, many), BELOW, _mean(lookup, table, error, many)),
        ]
    figures = ("auroc", "average_precision")
    names = [*AAE_SCORES.values(), *VAE_SCORES.values()]
    shown = [
        line
        for protocol in (one, many)
        for line in (
            *_digit_lines(lookup, table, names, protocol, figures), *_floor(lookup, table, protocol, figures)
        )
    ]  # fmt: skip
    return Claim("latent", (table.name,), tuple(checks), tuple(shown), figures, beside=False)


def contaminated_images(lookup: Lookup) -> Claim:
    """Anomalies among the training images cost every method; the difference is how much."""
    table = IMAGE_CONTAMINATION_TABLE
    names = [contender.name for contender in table.contenders if contender.untrained_of is None]
    checks = tuple(
        Check(_mean(lookup, table, name, RappUnimodal().name), ABOVE,
              _renamed(_mean(lookup, table, name, RappUnimodal(share).name), f"{name}, {share} %"))
        for share in COSTLY for name in names
    )  # fmt: skip
    figures = ("auroc", "average_precision")
    shown = tuple(
        line
        for protocol in table.protocols
        for line in _digit_lines(lookup, table, [c.name for c in table.contenders], protocol.name, figures)
    )
    return Claim("image_contamination", (table.name,), checks, shown, figures, beside=False)


def structural_difference(lookup: Lookup) -> Claim:
    """Structural similarity finds defects that errors pixel by pixel miss."""
    table = DIFFERENCES_TABLE
    (protocol,) = (each.name for each in table.protocols)
    checks = tuple(
        Check(lookup.number(table, DIFFERENCES["ssim"], data, protocol, figure), ABOVE,
              lookup.number(table, DIFFERENCES[other], data, protocol, figure))
        for data in table.data for figure in PIXELS[:2] for other in ("l2", "l1")
    )  # fmt: skip
    names = [contender.name for contender in table.contenders]
    shown = lines(lookup, table, names, table.data, protocol=protocol, figures=PIXELS)
    return Claim("differences", (table.name,), checks, shown, PIXELS, beside=False)


def parts_of_the_memory(lookup: Lookup) -> Claim:
    """Each part of MemAE brings something, and the two for sparsity make it sparse."""
    table = MEMORY_TABLE
    (protocol,) = (each.name for each in table.protocols)
    others = ["AE", *(f"{MEMORY}, {word}" for word in WITHOUT)]
    checks = [
        Check(_mean(lookup, table, MEMORY, protocol), ABOVE, _mean(lookup, table, name, protocol)) for name in others
    ]
    checks += [
        Check(_mean(lookup, table, MEMORY, protocol, "largest_weight"), ABOVE,
              _mean(lookup, table, f"{MEMORY}, {word}", protocol, "largest_weight"))
        for word in ("without shrinkage", "without entropy", "without sparsity")
    ]  # fmt: skip
    names = [contender.name for contender in table.contenders]
    shown = _digit_lines(lookup, table, names, protocol, MEMORY_FIGURES)
    return Claim("memory", (table.name,), tuple(checks), shown, MEMORY_FIGURES, beside=False)


FIELD = (
    too_wide_a_code,
    denoising_with_a_wide_code,
    variational_with_a_wide_code,
    density_of_the_code,
    contaminated_images,
    structural_difference,
    parts_of_the_memory,
)


def _mean(lookup: Lookup, table: Table, name: str, protocol: str = MULTIMODAL.name, figure: str = "auroc") -> Number:
    return lookup.over_sets(name, protocol, figure, table)


def _best_width(lookup: Lookup, name: str, widths: Iterable[int]) -> Number:
    """Return the AUROC of the best width, chosen after the fact."""
    return best_of((_mean(lookup, CODE_SIZE_TABLE, with_code(name, width)) for width in widths), f"the best {name}")


def _renamed(number: Number, name: str) -> Number:
    return replace(number, name=name)


def _digit_lines(
    lookup: Lookup, table: Table, names: Iterable[str], protocol: str, figures: Iterable[str]
) -> tuple[Line, ...]:
    """Return the means over the digits, a line per row."""
    return tuple(
        Line("mnist", protocol, name, None, tuple(_mean(lookup, table, name, protocol, f) for f in figures))
        for name in names
    )


def _floor(lookup: Lookup, table: Table, protocol: str, figures: Iterable[str]) -> tuple[Line, ...]:
    """Return the lines of untrained networks and trivial baselines."""
    names = [c.name for c in table.contenders if c.baseline or c.untrained_of]
    return _digit_lines(lookup, table, names, protocol, figures)
