"""Every method as it comes, on the same rows: what docs/choosing.md is written from.

On tables no row of a method states a parameter: it stands for what a user gets who names nothing but the method. On
images all have dense layers, the one parameter that is stated. The first run on a set is the only one under a seed:
nothing here was tuned.
"""

from __future__ import annotations

from offnormal.bench.adversarial_tables import ONE_CLASS_TABLES
from offnormal.bench.contenders import Contender
from offnormal.bench.image_protocols import RappMultimodal, RappUnimodal
from offnormal.bench.image_tables import BASELINES_PIXELS, RAPP_TABLES
from offnormal.bench.protocols import CleanHalf, MixedHalf
from offnormal.bench.table import Table
from offnormal.registry import METHODS

BASELINES = (
    Contender("k-NN", "knn", baseline=True),
    Contender("EM mixture on the columns", "em_mixture", baseline=True),
    Contender("isolation forest", "isolation_forest", baseline=True),
    Contender("OC-SVM", "ocsvm", baseline=True),
)
ADBENCH = ("annthyroid", "cardio", "letter", "mammography", "musk", "optdigits", "pendigits", "satellite", "satimage-2",
           "shuttle", "vowels", "wbc", "wbc_odds378")  # fmt: skip
DIGITS = ("mnist_0", "mnist_1", "mnist_8")
CONTAMINATION = 10
"""Percent of the training images."""
TRAINING_IMAGES = 10_000
FOR_IMAGES = tuple(key for key in METHODS if key not in {"brain_autoencoder", "robust_pca", "ssim_autoencoder"})
"""All but two that have convolutions alone, and robust PCA, which decomposes all images again in each step."""
CONVOLVED = frozenset({"aae", "alad", "anogan", "autoencoder", "egbad", "f_anogan", "ganomaly", "gpnd", "memae",
                       "skip_ganomaly", "vae"})  # fmt: skip
"""Methods that have convolutions by default where rows are images; the others have dense layers."""


def _on_images(key: str) -> Contender:
    parameters = {"network": "dense"} if key in CONVOLVED else {}
    return Contender(key, key, parameters=parameters, baseline=key == "pca")


EVERY_METHOD_TABLE = Table(
    "every_method",
    "Every method at its defaults, thirteen public tables",
    "No method is tuned, and none has a preset. The weights of the views of `auto`, and some defaults of `dagmm`, were "
    "chosen with the labels of some of these tables; see findings.md and defaults.md.",
    ADBENCH,
    (CleanHalf(), MixedHalf()),
    (*(Contender(key, key, baseline=key == "pca") for key in METHODS), *BASELINES),
    3,
)
EVERY_METHOD_IMAGES_TABLE = Table(
    "every_method_images",
    "Every method on dense layers, else at its defaults, MNIST",
    "One kind of normal images, the same with anomalies among the training images, and nine kinds of normal images. "
    "Digits 0, 1 and 8, each in turn, chosen before any run. All methods have dense layers, so that they differ in "
    "what they learn alone and a processor trains each in a minute or two; the papers' tables have the convolutions "
    "that those for images have by default. Baselines see the pixels in [0, 1], flattened: k-NN at most 10,000 "
    "training images, the EM mixture (4 components, 20 iterations) at most 5,000.",
    DIGITS,
    (RappUnimodal(), RappUnimodal(CONTAMINATION), RappMultimodal(TRAINING_IMAGES)),
    (*map(_on_images, FOR_IMAGES), *BASELINES_PIXELS),
    3,
)


def _published() -> tuple[Contender, ...]:
    """Return the rows of the papers' smaller settings with one digit normal, those of untrained networks left out."""
    tables = [table for table in (*RAPP_TABLES, *ONE_CLASS_TABLES) if table.name in PUBLISHED_IN]
    every = {row.name: row for table in tables for row in table.contenders if row.untrained_of is None}
    return tuple(every.values())


PUBLISHED_IN = ("rapp_unimodal_small", "adversarial_one_class_small")
PUBLISHED_TABLE = Table(
    "one_digit_published",
    "One digit normal, in the papers' settings",
    "Rows of two tables that have the same splits. It has no run of its own.",
    ("mnist_0", "mnist_1", "mnist_2"),
    (RappUnimodal(),),
    _published(),
    1,
)

CHOOSING_TABLES = (EVERY_METHOD_TABLE, EVERY_METHOD_IMAGES_TABLE)
