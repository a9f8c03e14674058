"""The tables of the adversarial papers, each in the papers' setting and in a smaller one for the processor.

A small setting has the paper's widths and at least a fifth of its steps, each some times the size. The two are tables
of their own, so that no column mixes them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from offnormal.bench.contenders import THE_GROUPS, Contender
from offnormal.bench.datasets import classes
from offnormal.bench.image_protocols import NineIn, OneClassFifth, RappUnimodal
from offnormal.bench.image_tables import BASELINES_PIXELS
from offnormal.bench.protocols import Dagmm
from offnormal.bench.table import Table

GAME_SEEDS = 10
"""The papers', as far as is known; and enough to see how far games differ."""
SMALL_SEEDS = 3
MINMAX = {"scaling": "minmax"}
ALAD_SCORES = {"features": "ALAD, features", "logits": "ALAD, logits", "l1": "ALAD, L1", "l2": "ALAD, L2"}
EGBAD_SCORES = {"cross_entropy": "EGBAD, cross-entropy", "features": "EGBAD, feature matching"}
ANOGAN_SCORES = {"features": "AnoGAN, feature matching", "cross_entropy": "AnoGAN, cross-entropy"}
DEFAULTS = {"anogan": "AnoGAN", "f_anogan": "f-AnoGAN", "egbad": "EGBAD", "alad": "ALAD", "ganomaly": "GANomaly",
            "so_gaal": "SO-GAAL", "mo_gaal": "MO-GAAL"}  # fmt: skip
"""Key -> the paper's name, of the methods run at their defaults on tables."""

BASELINES_TABLES = (
    Contender("PCA, 3 components", "pca", parameters={"n_components": 3, **MINMAX}, baseline=True),
    Contender("k-NN", "knn", baseline=True),
    Contender("EM mixture on the columns", "em_mixture", baseline=True),
    Contender(
        "isolation forest", "isolation_forest", parameters=MINMAX, baseline=True, paper=("alad:isolation forest",)
    ),
)

# --- tables of columns ------------------------------------------------------------------------------------------------


def _scores(
    names: dict[str, str], key: str, preset: str, parameters: dict[str, Any], *, paper: str, end: str = ""
) -> Iterator[Contender]:
    """Yield a row for each score of one trained game, the first with the training."""
    first = next(iter(names.values())) + end
    word = "discrimination" if key == "anogan" else "score_by"
    for score, name in names.items():
        row, known = name + end, not end and (paper, score) != ("alad", "cross_entropy")
        yield Contender(
            row,
            key,
            preset,
            {word: score, **parameters},
            scores_of=None if row == first else first,
            paper=(f"{paper}:{name}",) if known else (),
        )


def _untrained(name: str, key: str, preset: str | None, of: str, **parameters: Any) -> Contender:
    return Contender(f"{name}, untrained", key, preset, {**parameters, "epochs": 0}, untrained_of=of)


def _ours() -> Iterator[Contender]:
    for key, name in DEFAULTS.items():
        yield Contender(f"{name}, our defaults", key)


def _kddcup_rows(egbad: dict[str, Any], alad: dict[str, Any], anogan: dict[str, Any]) -> tuple[Contender, ...]:
    return (
        *_scores(EGBAD_SCORES, "egbad", "kddcup", egbad, paper="egbad"),
        _untrained("EGBAD", "egbad", "kddcup", EGBAD_SCORES["features"]),
        *_scores(EGBAD_SCORES, "egbad", "kddcup_raw", egbad, paper="egbad", end=", unscaled columns"),
        *_scores(ALAD_SCORES, "alad", "kddcup", alad, paper="alad"),
        _untrained("ALAD", "alad", "kddcup", ALAD_SCORES["features"]),
        *_scores(ANOGAN_SCORES, "anogan", "egbad_kddcup", anogan, paper="egbad"),
    )


_SMALL_GAME = {"learning_rate": 5e-5}
_KDDCUP_SMALL = ({"epochs": 10, **_SMALL_GAME}, {"epochs": 20, **_SMALL_GAME},
                 {"epochs": 10, **_SMALL_GAME, "search_steps": 100, "search_learning_rate": 0.05,
                  "search_drops": (60, 80)})  # fmt: skip
_TABLES_ABOUT = (
    "One game gives all scores of a method. The published codes of EGBAD and ALAD leave the columns unscaled, which "
    "their papers do not say; here they are standardized, and *unscaled columns* are the codes'. AnoGAN has its "
    "paper's weights, 0.9 for the residual. The published splits draw the test rows a little differently."
)
KDDCUP_TABLES = (
    Table("adversarial_kddcup", "EGBAD, ALAD and AnoGAN on KDDCUP", _TABLES_ABOUT, ("kddcup",), (Dagmm(),),
          (*_kddcup_rows({}, {}, {}), *BASELINES_TABLES), GAME_SEEDS),
    Table("adversarial_kddcup_small", "EGBAD, ALAD and AnoGAN on KDDCUP, small",
          "Shorter than the papers': a fifth of the epochs (10, 20 and 10), with steps of 5e-5 instead of 1e-5, and "
          "100 steps of a search instead of 500, each five times the size. Beside them every adversarial method for "
          f"tables at its defaults. {_TABLES_ABOUT}",
          ("kddcup",), (Dagmm(),), (*_kddcup_rows(*_KDDCUP_SMALL), *_ours(), *BASELINES_TABLES), GAME_SEEDS),
)  # fmt: skip
ARRHYTHMIA_TABLE = Table(
    "adversarial_arrhythmia",
    "ALAD and AnoGAN on Arrhythmia",
    "The papers' settings. ALAD's published code trains on the half as it is, 15 % anomalies among the rows, without "
    f"scaling; here normal rows alone are fitted, as the paper says. {_TABLES_ABOUT}",
    ("arrhythmia",),
    (Dagmm(),),
    (
        *_scores(ALAD_SCORES, "alad", "arrhythmia", {}, paper="alad"),
        _untrained("ALAD", "alad", "arrhythmia", ALAD_SCORES["features"]),
        *_scores(ALAD_SCORES, "alad", "arrhythmia", {"scaling": "none"}, paper="alad", end=", unscaled columns"),
        *_scores(ANOGAN_SCORES, "anogan", "alad_arrhythmia", {"discrimination_weight": 0.1}, paper="alad"),
        *_ours(),
        *BASELINES_TABLES,
    ),
    GAME_SEEDS,
)

# --- images -----------------------------------------------------------------------------------------------------------

_PIXELS = (
    "Baselines see the pixels in [0, 1], flattened: k-NN at most 10,000 training images, the EM mixture (4 components, "
    "20 iterations) at most 5,000. Images stay 28 by 28 where the papers' are 32."
)
_ONE_CLASS_ABOUT = (
    "The papers have no such table: EGBAD and GANomaly call nine digits normal, AnoGAN and f-AnoGAN have data of their "
    "own. AnoGAN and EGBAD have the networks of EGBAD's MNIST code, GANomaly its own, f-AnoGAN and ALAD our defaults; "
    f"EGBAD has them in one row more. {_PIXELS}"
)
_FIFTH = {"epochs": 20, "learning_rate": 2e-4}


def _one_class_rows(games: dict[str, Any], searches: dict[str, Any]) -> tuple[Contender, ...]:
    return (
        Contender("AnoGAN", "anogan", "egbad_mnist", {**games, **searches}),
        Contender("f-AnoGAN", "f_anogan"),
        _untrained("f-AnoGAN", "f_anogan", None, "f-AnoGAN", gan_epochs=0),
        Contender("EGBAD", "egbad", "mnist", games),
        _untrained("EGBAD", "egbad", "mnist", "EGBAD"),
        Contender("EGBAD, our defaults", "egbad"),
        Contender("ALAD", "alad"),
        Contender("GANomaly", "ganomaly", "mnist"),
        Contender("GANomaly, squared", "ganomaly", "mnist", {"score_by": "squared"}, scores_of="GANomaly"),
        *BASELINES_PIXELS,
    )


ONE_CLASS_TABLES = (
    Table("adversarial_one_class", "Adversarial methods, one digit normal", _ONE_CLASS_ABOUT, classes("mnist"),
          (RappUnimodal(),), _one_class_rows({}, {}), SMALL_SEEDS),
    Table("adversarial_one_class_small", "Adversarial methods, one digit normal, small",
          "Shorter than EGBAD's code: 20 epochs instead of 100, with steps of 2e-4 instead of 1e-5, and 100 steps of a "
          f"search instead of 500, each ten times the size. {_ONE_CLASS_ABOUT}",
          classes("mnist"), (RappUnimodal(),),
          _one_class_rows(_FIFTH, {"search_steps": 100, "search_learning_rate": 0.1, "search_drops": None}),
          SMALL_SEEDS),
)  # fmt: skip

_DENSE = {"network": "dense"}
_ON_DENSE = {"anogan": "AnoGAN", "f_anogan": "f-AnoGAN", "egbad": "EGBAD", "alad": "ALAD", "ganomaly": "GANomaly"}
DENSE_TABLE = Table(
    "adversarial_one_class_dense",
    "Adversarial methods on dense layers, one digit normal",
    "What a processor trains in a minute or two: dense layers, all else our defaults. No paper has this setting; the "
    f"tables with their networks need a GPU for all ten digits. {_PIXELS}",
    classes("mnist"),
    (RappUnimodal(),),
    (
        *(Contender(name, key, parameters=_DENSE) for key, name in _ON_DENSE.items()),
        *(_untrained(_ON_DENSE[key], key, None, _ON_DENSE[key], **_DENSE) for key in ("anogan", "egbad", "ganomaly")),
        _untrained("f-AnoGAN", "f_anogan", None, "f-AnoGAN", **_DENSE, gan_epochs=0),
        *BASELINES_PIXELS,
    ),
    SMALL_SEEDS,
)

FEW_IMAGES = 10_000
_NINE_ABOUT = (
    "The last epoch counts, and scores are given in evaluation mode. The published codes score with the statistics of "
    "the test batch, of one class nearly throughout on CIFAR-10, and take the epoch with the best test AUROC, so that "
    "their numbers are out of reach of an honest run. The paper's figures on CIFAR-10 are of all its images, ours of "
    f"13,000. {_PIXELS}"
)


def _nine_rows(**digits: Any) -> tuple[Contender, ...]:
    mnist, cifar10 = classes("mnist"), classes("cifar10")
    return (
        Contender("GANomaly", "ganomaly", THE_GROUPS, digits, paper=("ganomaly:GANomaly",)),
        Contender("GANomaly, squared", "ganomaly", THE_GROUPS, {**digits, "score_by": "squared"}, scores_of="GANomaly"),
        _untrained("GANomaly", "ganomaly", THE_GROUPS, "GANomaly", **digits),
        Contender("Skip-GANomaly", "skip_ganomaly", "cifar10", data=cifar10, paper=("ganomaly:Skip-GANomaly",)),
        Contender("Skip-GANomaly, our defaults", "skip_ganomaly", data=mnist),
        *BASELINES_PIXELS,
    )


NINE_TABLES = (
    Table("ganomaly", "GANomaly: nine classes normal", _NINE_ABOUT, classes("mnist") + classes("cifar10"), (NineIn(),),
          _nine_rows(), SMALL_SEEDS),
    Table("ganomaly_small", "GANomaly: nine digits normal, small",
          "Shorter than the code's setting: 10,000 of the training images and 17 epochs, a fifth of the steps. "
          f"{_NINE_ABOUT}",
          classes("mnist"), (NineIn(FEW_IMAGES),),
          tuple(row for row in _nine_rows(epochs=17) if row.name != "Skip-GANomaly"), SMALL_SEEDS),
)  # fmt: skip
COLOR_TABLE = Table(
    "alad_cifar10",
    "ALAD and AnoGAN on CIFAR-10",
    "The networks and steps of ALAD's code, 100 epochs; the paper stops early, by a validation part that is not used "
    "here. 13,000 of the 60,000 images. The paper's spread is over classes.",
    classes("cifar10"),
    (OneClassFifth(),),
    (
        Contender("ALAD", "alad", "cifar10", paper=("alad:ALAD",)),
        Contender("AnoGAN", "anogan", "alad_cifar10", {"discrimination_weight": 0.1}, paper=("alad:AnoGAN",)),
        *BASELINES_PIXELS,
    ),
    SMALL_SEEDS,
)

ADVERSARIAL_TABLES = (*KDDCUP_TABLES, ARRHYTHMIA_TABLE, *ONE_CLASS_TABLES, DENSE_TABLE, *NINE_TABLES, COLOR_TABLE)
