"""The tables of the field's standard claims: width of the code, density of the code, contamination, difference, memory.

All are sized for one thread of a processor: three digits or two sets of parts, three seeds, networks of two to four
layers. None is a paper's table; numbers here stand beside each other, not beside published ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from offnormal.bench.contenders import Contender
from offnormal.bench.image_protocols import MemaeImages, RappMultimodal, RappUnimodal, SoundParts
from offnormal.bench.image_tables import BASELINES_PIXELS, NO_SPARSITY, QUICK_MEMAE
from offnormal.bench.table import Table

FIELD_SEEDS = 3
DIGITS = ("mnist_0", "mnist_1", "mnist_8")
"""A round one, a straight one, and one of two rounds; chosen before any run."""
MULTIMODAL = RappMultimodal(10_000)
_DIGITS = "Digits 0, 1 and 8, each in turn, chosen before any run."

# --- the width of the code --------------------------------------------------------------------------------------------

CODES = (2, 4, 16, 64, 256)
PLAIN, DENOISING, VARIATIONAL, ELBO = "AE", "denoising AE", "VAE by error", "VAE by ELBO"
WIDTHS = (PLAIN, DENOISING, VARIATIONAL, ELBO)
"""The rows that are there at every width of the code."""
_DENSE: dict[str, Any] = {
    "network": "dense",
    "hidden_sizes": (512, 256),
    "activation": "leaky_relu",
    "learning_rate": 1e-3,
    "batch_size": 256,
    "early_stopping": False,
}


def with_code(name: str, width: int) -> str:
    """Return the row of `name` with a code of this width."""
    return f"{name}, code of {width}"


def _widths(width: int, **more: Any) -> Iterator[Contender]:
    """Yield the rows of one width of the code; the VAE is trained once for its two scores."""
    net = {**_DENSE, "latent_dim": width, "epochs": 30, **more}
    yield Contender(with_code(PLAIN, width), "autoencoder", parameters=net)
    yield Contender(with_code(DENOISING, width), "autoencoder", parameters={**net, "noise": 0.3})
    by_error = with_code(VARIATIONAL, width)
    yield Contender(by_error, "vae", parameters={**net, "score_by": "reconstruction"})
    yield Contender(with_code(ELBO, width), "vae", parameters={**net, "score_by": "elbo"}, scores_of=by_error)


def _untrained(row: Contender) -> Contender:
    return Contender(
        f"{row.name}, untrained",
        row.key,
        row.preset,
        parameters={**row.parameters, "epochs": 0},
        untrained_of=row.name,
    )


_EVERY_WIDTH = tuple(row for width in CODES for row in _widths(width))
CODE_SIZE_TABLE = Table(
    "code_size",
    "The width of the code",
    "Autoencoder, denoising autoencoder (noise of standard deviation 0.3 on pixels in [0, 1]) and VAE with codes of 2 "
    "to 256 axes between the same layers, 784-512-256 and back; 30 epochs of 10,000 images, step 1e-3. The VAE is "
    f"scored by the squared error of its mean path and by −ELBO. {_DIGITS}",
    DIGITS,
    (MULTIMODAL,),
    (*_EVERY_WIDTH, *(_untrained(row) for row in _EVERY_WIDTH if row.name in map(with_code, WIDTHS[:3], (16,) * 3)),
     *BASELINES_PIXELS),
    FIELD_SEEDS,
)  # fmt: skip

# --- the density of the code ------------------------------------------------------------------------------------------

AAE_SCORES = {"latent": "AAE, p(z)", "reconstruction": "AAE, error", "both": "AAE, both"}
VAE_SCORES = {"kl": "VAE, KL", "reconstruction": "VAE, error", "elbo": "VAE, ELBO"}


def _scored(key: str, scores: dict[str, str]) -> Iterator[Contender]:
    """Yield the rows of one network, trained once, and the first of them untrained."""
    first = next(iter(scores.values()))
    net = {**_DENSE, "latent_dim": 8, "epochs": 40}
    rows = [
        Contender(name, key, parameters={**net, "score_by": score}, scores_of=None if name == first else first)
        for score, name in scores.items()
    ]
    yield from rows
    yield _untrained(rows[0])


LATENT_TABLE = Table(
    "latent_density",
    "The density of the code as a score",
    "One trained AAE and one trained VAE, each scored by its code alone, by its error alone and by both; code of 8 "
    f"axes, layers 784-512-256, 40 epochs, step 1e-3, standard normal prior. {_DIGITS}",
    DIGITS,
    (RappUnimodal(), MULTIMODAL),
    (*_scored("aae", AAE_SCORES), *_scored("vae", VAE_SCORES), *BASELINES_PIXELS),
    FIELD_SEEDS,
)

# --- contamination ----------------------------------------------------------------------------------------------------

SHARES = (0, 5, 10, 20)
"""Percentages of the training images that are anomalies."""


def _pathway(name: str, base: str, *, score_by: str = "reconstruction", scores_of: str | None = None) -> Contender:
    net = {"base": base, "score_by": score_by, "hidden_sizes": (256, 128, 64), "latent_dim": 20, "epochs": 60}
    return Contender(name, "rapp", "mnist", {**net, "early_stopping": False}, scores_of=scores_of)


_AE = _pathway("AE", "autoencoder")
IMAGE_CONTAMINATION_TABLE = Table(
    "image_contamination",
    "Images, anomalies among the training images",
    "The percentage is of the training images; the normal ones and the test images stay. AE, VAE and AAE have the "
    "layers 784-256-128-64 and a code of 20, with batch norm, 60 epochs, and are scored by their squared error; RaPP's "
    f"NAP is of the same trained AE; MemAE has its paper's network, 30 epochs of step 1e-3. {_DIGITS}",
    DIGITS,
    tuple(RappUnimodal(share) for share in SHARES),
    (
        _AE,
        _pathway("RaPP, NAP", "autoencoder", score_by="nap", scores_of="AE"),
        _pathway("VAE", "vae"),
        _pathway("AAE", "aae"),
        Contender("MemAE", "memae", "mnist", QUICK_MEMAE),
        _untrained(_AE),
        *BASELINES_PIXELS,
    ),
    FIELD_SEEDS,
)

# --- the difference that is minimized and scored ----------------------------------------------------------------------

DIFFERENCES = {"l2": "AE, squared error", "l1": "AE, absolute error", "ssim": "AE, structural similarity"}


def _differing() -> Iterator[Contender]:
    net = {"hidden_sizes": (16, 32, 64), "latent_dim": 64, "learning_rate": 1e-3, "batch_size": 32}
    for difference, name in DIFFERENCES.items():
        row = Contender(
            name,
            "autoencoder",
            parameters={**net, "difference": difference, "epochs": 60, "early_stopping": False},
        )
        yield row
        yield _untrained(row)


DIFFERENCES_TABLE = Table(
    "differences",
    "What is minimized and scored: squared, absolute or structural difference",
    "One convolutional autoencoder (16-32-64 channels, code of 64, 60 epochs, step 1e-3), trained and scored with each "
    "difference. `mvtec_screw_64` is MVTec AD's screws, shrunk from 1024 to 64 pixels a side; `magnetic_tile_64` is "
    "magnetic tiles (Huang et al. 2018), shrunk to 64 by 64 without keeping their aspect. The images are small for the "
    "processor; the paper's are 128 and 256 a side. The Gaussian is one with full covariance, 0.001 on the diagonal.",
    ("mvtec_screw_64", "magnetic_tile_64"),
    (SoundParts(),),
    (
        *_differing(),
        *(row for row in BASELINES_PIXELS if row.key != "em_mixture"),
        Contender(
            "Gaussian of the pixels",
            "em_mixture",
            parameters={"scaling": "unit", "n_components": 1, "max_iter": 3},
            baseline=True,
        ),
    ),
    FIELD_SEEDS,
)

# --- the parts of a memory --------------------------------------------------------------------------------------------

MEMORY = "MemAE"
WITHOUT: dict[str, dict[str, Any]] = {
    "without shrinkage": {"shrinkage": 0.0},
    "without entropy": {"entropy_weight": 0.0},
    "without sparsity": NO_SPARSITY,
    "dot product": {"addressing": "dot"},
}
"""What is left out or changed -> parameters."""

MEMORY_TABLE = Table(
    "memae_ablation",
    "MemAE, one change at a time",
    "MemAE's network for MNIST and its 100 slots, 30 epochs of step 1e-3: without the cut of small weights, without "
    "the entropy term, without either, and with the dot product of its published code instead of the cosine. AE is the "
    f"same network without a memory. {_DIGITS}",
    DIGITS,
    (MemaeImages(),),
    (
        Contender("AE", "autoencoder", "memae_mnist", QUICK_MEMAE),
        Contender(MEMORY, "memae", "mnist", QUICK_MEMAE),
        *(Contender(f"{MEMORY}, {word}", "memae", "mnist", {**QUICK_MEMAE, **changed})
          for word, changed in WITHOUT.items()),
        _untrained(Contender(MEMORY, "memae", "mnist", QUICK_MEMAE)),
        *BASELINES_PIXELS,
    ),
    FIELD_SEEDS,
)  # fmt: skip

FIELD_TABLES = (CODE_SIZE_TABLE, LATENT_TABLE, IMAGE_CONTAMINATION_TABLE, DIFFERENCES_TABLE, MEMORY_TABLE)
