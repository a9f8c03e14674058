"""Every method as it comes, on the same rows: what docs/choosing.md is written from.

No row of a method states a parameter: it stands for what a user gets who names nothing but the method. The first run of
the defaults on a set is the only one under a seed: nothing here was tuned.
"""

from __future__ import annotations

from offnormal.bench.contenders import Contender
from offnormal.bench.image_protocols import RappMultimodal, RappUnimodal
from offnormal.bench.image_tables import BASELINES_PIXELS
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
    "Digits 0, 1 and 8, each in turn, chosen before any run. All methods have dense layers, so that they differ in what "
    "they learn alone, and a processor trains each in a minute; convolutions are what those for images have by default, "
    "and the papers' tables have them. Baselines see the pixels in [0, 1], flattened: k-NN at "
    "most 10,000 training images, the EM mixture (4 components, 20 iterations) at most 5,000.",
    DIGITS,
    (RappUnimodal(), RappUnimodal(CONTAMINATION), RappMultimodal(TRAINING_IMAGES)),
    (*map(_on_images, FOR_IMAGES), *BASELINES_PIXELS),
    3,
)

CHOOSING_TABLES = (EVERY_METHOD_TABLE, EVERY_METHOD_IMAGES_TABLE)
