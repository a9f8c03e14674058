"""The tables of the image papers, each in the paper's setting and in a smaller one for the processor.

A small setting is at least half as wide as the paper's and takes at least a fifth of its steps. The two are tables of
their own, so that no column mixes them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from offnormal.bench.contenders import THE_GROUPS, Contender
from offnormal.bench.datasets import classes
from offnormal.bench.image_protocols import Gpnd, MemaeImages, RappMultimodal, RappUnimodal
from offnormal.bench.table import SEEDS, Table

SMALL_SEEDS = 3
SMALL_OUTLIERS = 1_000
"""Outliers that GPND's small setting draws of each fifth."""
_DIGITS_AND_CLOTHES = classes("mnist") + classes("fashion_mnist")

BASELINES_PIXELS = (
    Contender("PCA, 20 components", "pca", parameters={"n_components": 20}, baseline=True),
    Contender("k-NN", "knn", parameters={"scaling": "unit"}, baseline=True),
    Contender(
        "EM mixture on the pixels",
        "em_mixture",
        parameters={"scaling": "unit", "most_rows": 5_000, "max_iter": 20},
        baseline=True,
    ),
    Contender("isolation forest", "isolation_forest", parameters={"scaling": "unit"}, baseline=True),
)
_PIXELS = (
    "Baselines see the pixels in [0, 1], flattened: k-NN at most 10,000 training images, the EM mixture (4 components, "
    "20 iterations) at most 5,000."
)

# --- RaPP -------------------------------------------------------------------------------------------------------------

_HALF_RAPP = {"hidden_sizes": (354, 316, 277, 239, 201, 163, 125, 86, 48), "epochs": 40}
_HALF_GPND = {
    "hidden_sizes": (64, 128, 256),
    "decoder_hidden_sizes": (64, 128, 128),
    "discriminator_sizes": (32, 128, 256),
    "decay_epochs": 6,
    "epochs": 16,
}
_SCORES = {"reconstruction": "reconstruction", "sap": "SAP", "nap": "NAP"}
_BASES = {"AE": "autoencoder", "VAE": "vae", "AAE": "aae"}


def _three_scores(name: str, end: str = "", **parameters: Any) -> Iterator[Contender]:
    """Yield the rows of one trained network: its error, SAP and NAP."""
    first = f"{name}, reconstruction{end}"
    for score, word in _SCORES.items():
        row = f"{name}, {word}"
        yield Contender(
            row + end,
            "rapp",
            preset="mnist",
            parameters={"base": _BASES[name], "score_by": score, "early_stopping": False, **parameters},
            untrained_of=row if end else None,
            scores_of=None if row + end == first else first,
            paper=() if end else (f"rapp:{row}",),
        )


def _rapp_rows(rapp: dict[str, Any], gpnd: dict[str, Any]) -> tuple[Contender, ...]:
    return (
        *(row for name in _BASES for row in _three_scores(name, **rapp)),
        *_three_scores("AE", ", untrained", **{**rapp, "epochs": 0}),
        Contender("GPND", "gpnd", preset="mnist", parameters=gpnd, paper=("rapp:GPND",)),
        *BASELINES_PIXELS,
    )


_RAPP_ABOUT = (
    "One trained network gives three scores: the reconstruction error, SAP and NAP. As in the published code the last "
    "epoch counts and no validation image is looked at; the paper's text, recalled, takes the epoch with the least "
    "validation loss. The VAE learns the noise of its pixels; the AAE's discriminator has two layers of 128 without "
    f"norm, and its steps fall along a cosine, where the paper's code has ten with norm and constant steps. {_PIXELS}"
)
_RAPP_SMALL = (
    "Smaller than the paper's: hidden layers half as wide, 40 epochs instead of 200; code, layers, batch size and step "
    "as in the paper. GPND likewise: half the channels, 16 epochs instead of 80, the step quartered every 6 instead of "
    f"every 30. {_RAPP_ABOUT}"
)
RAPP_TABLES = tuple(
    Table(
        f"rapp_{kind}{suffix}",
        f"RaPP, {kind} normality{title}",
        about,
        _DIGITS_AND_CLOTHES,
        (protocol,),
        _rapp_rows(*parameters),
        seeds,
    )
    for kind, protocol in (("multimodal", RappMultimodal()), ("unimodal", RappUnimodal()))
    for suffix, title, about, parameters, seeds in (
        ("", "", _RAPP_ABOUT, ({}, {}), SEEDS),
        ("_small", ", small", _RAPP_SMALL, (_HALF_RAPP, _HALF_GPND), SMALL_SEEDS),
    )
)

# --- MemAE ------------------------------------------------------------------------------------------------------------

QUICK_MEMAE = {"epochs": 30, "learning_rate": 1e-3}
_VARIATIONAL = {
    "image_activation": "relu",
    "latent_dim": 64,
    "learning_rate": 1e-4,
    "epochs": 100,
    "early_stopping": False,
}
_DIGIT_LAYERS = {"hidden_sizes": (16, 32, 64), "kernel_sizes": (3,)}  # a mirrored 1 would make a quarter of the pixels
_COLOR_LAYERS = {"hidden_sizes": (64, 128, 128, 256), "kernel_sizes": (3,)}
NO_SPARSITY = {"shrinkage": 0.0, "entropy_weight": 0.0}
"""MemAE-nonSpar."""


def _memae_rows(**parameters: Any) -> tuple[Contender, ...]:
    return (
        Contender("AE", "autoencoder", "memae_" + THE_GROUPS, parameters, paper=("memae:AE",)),
        Contender(
            "MemAE without sparsity",
            "memae",
            preset=THE_GROUPS,
            parameters={**NO_SPARSITY, **parameters},
            paper=("memae:MemAE-nonSpar",),
        ),
        Contender("MemAE", "memae", preset=THE_GROUPS, parameters=parameters, paper=("memae:MemAE",)),
        Contender(
            "MemAE, untrained",
            "memae",
            preset=THE_GROUPS,
            parameters={**parameters, "epochs": 0},
            untrained_of="MemAE",
        ),
        *_variational(parameters),
        *BASELINES_PIXELS,
    )


def _variational(parameters: dict[str, Any]) -> Iterator[Contender]:
    """Yield the row of a VAE with MemAE's convolutions for either set of images."""
    for name, group, layers in (("VAE", "mnist", _DIGIT_LAYERS), ("VAE, color", "cifar10", _COLOR_LAYERS)):
        yield Contender(
            name,
            "vae",
            parameters={**_VARIATIONAL, **layers, **parameters},
            paper=("memae:VAE",),
            data=classes(group),
        )


_MEMAE_ABOUT = (
    "*Without sparsity*: neither the cut of small weights nor the entropy term. AE is the same network without the "
    "memory. Of the paper's VAE nothing is known to us: here it has MemAE's convolutions, all with kernels of 3, and "
    "their mirror image, a linear code of 64 axes, and −ELBO as its score. Epochs, batch size and the cut of the paper "
    "are unknown; 100 epochs are the most in its video code. "
    f"CIFAR-10 is 13,000 of its 60,000 images. {_PIXELS}"
)
MEMAE_TABLES = (
    Table(
        "memae_images",
        "MemAE, images",
        _MEMAE_ABOUT,
        classes("mnist") + classes("cifar10"),
        (MemaeImages(),),
        _memae_rows(),
    ),
    Table(
        "memae_images_small",
        "MemAE, images, small",
        "Shorter than our reading of the paper: 30 epochs of step 1e-3 instead of 100 of 1e-4; networks as in the "
        f"paper. {_MEMAE_ABOUT}",
        classes("mnist") + classes("cifar10"),
        (MemaeImages(),),
        _memae_rows(**QUICK_MEMAE),
        SMALL_SEEDS,
    ),
)

# --- GPND -------------------------------------------------------------------------------------------------------------


def _gpnd_rows(**parameters: Any) -> tuple[Contender, ...]:
    def score(name: str, **scoring: Any) -> Contender:
        return Contender(name, "gpnd", "mnist", {**parameters, **scoring}, scores_of="GPND")

    return (
        Contender("GPND", "gpnd", "mnist", parameters, paper=("gpnd:GPND",)),
        score("GPND, volume as in the published code", jacobian="encoder"),
        score("GPND, exponent as in the formula", power=1.0),
        score("GPND, tangent part", score_by="tangent"),
        score("GPND, normal part", score_by="normal"),
        Contender("GPND, untrained", "gpnd", "mnist", {**parameters, "epochs": 0}, untrained_of="GPND"),
        *BASELINES_PIXELS,
    )


_GPND_ABOUT = (
    "Networks, steps and the exponent's factor 0.2 are the published code's, the volume is the paper's: the decoder's. "
    "Images stay 28 by 28; the code makes them 32 by 32. One training gives the density, its variants and each of its "
    "two parts alone. The paper's other rows (ALOCC, LOF, DRAE) are quoted in `paper_tables/gpnd.toml` and not run. "
    f"{_PIXELS}"
)
GPND_TABLES = (
    Table("gpnd", "GPND", _GPND_ABOUT, _DIGITS_AND_CLOTHES, (Gpnd(),), _gpnd_rows()),
    Table(
        "gpnd_small",
        "GPND, small",
        "Smaller than the paper's: half the channels, 16 epochs instead of 80, the step quartered every 6 instead of "
        f"every 30; outliers drawn. Batch size, code and first step as in the paper. {_GPND_ABOUT}",
        _DIGITS_AND_CLOTHES,
        (Gpnd(SMALL_OUTLIERS),),
        _gpnd_rows(**_HALF_GPND),
        SMALL_SEEDS,
    ),
)

IMAGE_TABLES = (*RAPP_TABLES, *MEMAE_TABLES, *GPND_TABLES)
