"""The bench tables. A row is one line in a tuple of contenders; docs/benchmarks.md says how to add one."""

from __future__ import annotations

from typing import Any

from offnormal.bench.adversarial_tables import ADVERSARIAL_TABLES
from offnormal.bench.choosing_tables import ADBENCH, CHOOSING_TABLES
from offnormal.bench.contenders import THE_DATA_SETS, Contender
from offnormal.bench.field_tables import FIELD_TABLES
from offnormal.bench.image_tables import IMAGE_TABLES, NO_SPARSITY
from offnormal.bench.pixel_tables import PIXEL_TABLES
from offnormal.bench.protocols import CleanHalf, ContaminatedShare, Dagmm, MixedHalf
from offnormal.bench.table import Table
from offnormal.errors import UnknownName

PAPER_SEEDS = 20
MINMAX = {"scaling": "minmax"}


BASELINES_MINMAX = (
    Contender("PCA, 1 component", "pca", parameters={"n_components": 1, **MINMAX}, baseline=True),
    Contender("PCA, 3 components", "pca", parameters={"n_components": 3, **MINMAX}, baseline=True),
    Contender("k-NN", "knn", parameters=MINMAX, baseline=True),
    Contender("EM mixture on the columns", "em_mixture", parameters=MINMAX, baseline=True),
    Contender("isolation forest", "isolation_forest", parameters=MINMAX, baseline=True),
    Contender("OC-SVM", "ocsvm", parameters=MINMAX, baseline=True, paper=("dagmm:OC-SVM",)),
)
BASELINES_STANDARD = (
    Contender("PCA, 90 % of the variance", "pca", parameters={"n_components": 0.9}, baseline=True),
    Contender("k-NN", "knn", baseline=True),
    Contender("EM mixture on the columns", "em_mixture", baseline=True),
    Contender("isolation forest", "isolation_forest", baseline=True),
    Contender("OC-SVM", "ocsvm", baseline=True),
)
DAGMM_PAPER = Contender("DAGMM", "dagmm", preset=THE_DATA_SETS, paper=("dagmm:DAGMM",), seeds=PAPER_SEEDS)
DAGMM_UNTRAINED = Contender(
    "DAGMM, untrained", "dagmm", preset=THE_DATA_SETS, parameters={"epochs": 0}, untrained_of="DAGMM", seeds=PAPER_SEEDS
)

DAGMM_OURS = Contender("DAGMM, our defaults", "dagmm", seeds=PAPER_SEEDS)
DAGMM_OURS_UNTRAINED = Contender(
    "DAGMM, our defaults, untrained", "dagmm", parameters={"epochs": 0}, untrained_of="DAGMM, our defaults"
)
FOUR = ("kddcup", "kddcup_rev", "thyroid", "arrhythmia")

DAGMM_TABLE = Table(
    "dagmm",
    "DAGMM, Table 2",
    "The paper's configurations under the paper's protocol; the library's defaults (the same for all data sets); and "
    "the trivial baselines on the same splits.",
    FOUR,
    (Dagmm(),),
    (
        DAGMM_PAPER,
        DAGMM_UNTRAINED,
        DAGMM_OURS,
        DAGMM_OURS_UNTRAINED,
        Contender("DAGMM, our defaults, min-max", "dagmm", parameters={"covariance_weight": 1e-4, **MINMAX}),
        Contender("auto", "auto"),
        *BASELINES_MINMAX,
        Contender("k-NN, standardized", "knn", baseline=True),
        Contender("EM mixture, standardized", "em_mixture", baseline=True),
    ),
)
DAGMM_FEW = Contender("DAGMM", "dagmm", preset=THE_DATA_SETS, paper=("dagmm_contaminated:DAGMM",))
DAGMM_OURS_FEW = Contender("DAGMM, our defaults", "dagmm")
CONTAMINATION_TABLE = Table(
    "contamination",
    "DAGMM, training data with anomalies among them",
    "The percentage is of the anomalies in the training half, as in the paper: 5 % of them are 1.2 % of the fit.",
    ("kddcup",),
    (Dagmm(1), Dagmm(2), Dagmm(3), Dagmm(4), Dagmm(5)),
    (
        DAGMM_FEW,
        DAGMM_OURS_FEW,
        Contender("DAGMM, untrained", "dagmm", preset=THE_DATA_SETS, parameters={"epochs": 0}, untrained_of="DAGMM"),
        *(contender for contender in BASELINES_MINMAX if contender.key != "ocsvm"),
        Contender("OC-SVM", "ocsvm", parameters=MINMAX, baseline=True, paper=("dagmm_contaminated:OC-SVM",)),
    ),
)
SHARE_TABLE = Table(
    "contaminated_share",
    "DAGMM, anomalies as a share of the training rows",
    "Beyond the paper: up to a tenth of the fitted rows are anomalies.",
    ("kddcup",),
    (ContaminatedShare(1), ContaminatedShare(5), ContaminatedShare(10)),
    (DAGMM_FEW, DAGMM_OURS_FEW, *BASELINES_MINMAX),
)


def _preset(name: str, key: str, paper: str = "", suffix: str = "", **parameters: Any) -> Contender:
    """Return a row with the preset of the data set."""
    rows = (f"dagmm:{paper}",) if paper else ()
    return Contender(name, key, preset=THE_DATA_SETS + suffix, parameters=parameters, paper=rows)


_FROZEN = {"training": "frozen"}
RIVALS_TABLE = Table(
    "rivals",
    "DAGMM's rivals",
    "The methods that the paper compares with, and the classical ones, each in the configuration its page states; "
    "where the paper gives networks and epochs, those.",
    FOUR,
    (Dagmm(),),
    (
        _preset("E2E-AE", "autoencoder", "E2E-AE"),
        _preset("PAE", "autoencoder", "PAE", "_pretrained"),
        _preset("PAE-GMM-EM", "two_step", "PAE-GMM-EM"),
        Contender("PAE-GMM", "dagmm", THE_DATA_SETS, _FROZEN | {"pretraining_epochs": 20}, paper=("dagmm:PAE-GMM",)),
        Contender("DAGMM-p", "dagmm", THE_DATA_SETS, {"pretraining_epochs": 20}, paper=("dagmm:DAGMM-p",)),
        Contender("GMM-EN", "dagmm", THE_DATA_SETS, {"reconstruction_weight": 0.0}, paper=("dagmm:GMM-EN",)),
        _preset("DCN", "dcn", "DCN"),
        _preset("AE + k-means", "two_step", density="kmeans"),
        Contender("PCA + GMM", "two_step", parameters={"features": "code", **MINMAX}),
        Contender("PCA with residual + GMM", "two_step", parameters=MINMAX),
        Contender("AE, code of 3", "autoencoder", "memae_kddcup", paper=("memae:AE",), data=("kddcup",)),
        Contender("MemAE", "memae", "kddcup", paper=("memae:MemAE",), data=("kddcup",)),
        Contender(
            "MemAE without sparsity",
            "memae",
            "kddcup",
            NO_SPARSITY,
            paper=("memae:MemAE-nonSpar",),
            data=("kddcup",),
        ),
        Contender("Deep SVDD", "deep_svdd"),
        Contender("DSEBM-e", "dsebm", paper=("dagmm:DSEBM-e",)),
        Contender("DSEBM-r", "dsebm", parameters={"score_by": "reconstruction"}, paper=("dagmm:DSEBM-r",)),
        Contender("kernel PCA", "kernel_pca", parameters=MINMAX),
        Contender("robust PCA, PCP", "robust_pca", parameters=MINMAX),
        Contender("robust PCA, outlier pursuit", "robust_pca", parameters={"variant": "outlier_pursuit", **MINMAX}),
        Contender("robust autoencoder", "robust_autoencoder", parameters=MINMAX),
        *BASELINES_MINMAX,
    ),
)


def _ours(name: str, **parameters: Any) -> Contender:
    """Return a row that departs from the defaults of DAGMM in what its name says."""
    return Contender(name, "dagmm", parameters=parameters)


_QUICK = {"epochs": 20, "learning_rate": 1e-3}
ABLATIONS_TABLE = Table(
    "ablations",
    "DAGMM, one change at a time",
    "From the library's defaults, what each part brings; and from the paper's configuration, what each change brings.",
    ("kddcup",),
    (Dagmm(),),
    (
        DAGMM_OURS_FEW,
        _ours("without reconstruction", reconstruction_weight=0.0),
        _ours("without energy", energy_weight=0.0, covariance_weight=0.0),
        _ours("without covariance penalty", covariance_weight=0.0),
        _ours("mixture of the code alone", aspects="code"),
        _ours("mixture of the reconstruction features alone", aspects="reconstruction"),
        _ours("alternating training", training="alternating"),
        _ours("pre-trained, then joint", pretraining_epochs=2),
        _ours("pre-trained, then frozen", training="frozen", pretraining_epochs=10),
        _ours("a tenth of the energy weight", energy_weight=0.01),
        _ours("a single component", n_components=1),
        _ours("code of 1 axis", latent_dim=1),
        _ours("code of 3 axes", latent_dim=3),
        _ours("min-max scaling", scaling="minmax", covariance_weight=1e-4),
        _ours("constant step size", schedule="constant"),
        _ours("no dropout", dropout=0.0),
        _ours("no early stopping", early_stopping=False),
        Contender("paper, 20 epochs at 1e-3", "dagmm", THE_DATA_SETS, _QUICK),
        Contender("paper, 20 epochs at 1e-3, code of 8 axes", "dagmm", THE_DATA_SETS, _QUICK | {"latent_dim": 8}),
        Contender(
            "paper, 20 epochs at 1e-3, standard scaling",
            "dagmm",
            THE_DATA_SETS,
            _QUICK | {"scaling": "standard", "covariance_weight": 1e-4},
        ),
        Contender(
            "paper, 20 epochs at 1e-3, code of 8 axes, standard scaling",
            "dagmm",
            THE_DATA_SETS,
            _QUICK | {"latent_dim": 8, "scaling": "standard", "covariance_weight": 1e-4},
        ),
        *BASELINES_MINMAX,
    ),
)
VIEWS = ("marginal", "joint", "compressed", "learned", "robust")
ADBENCH_TABLE = Table(
    "adbench",
    "Thirteen public tables, the library's defaults",
    "No method is tuned to a data set. The weights of the views of `auto` were chosen once for all of these tables "
    "together, with their labels; see findings.md.",
    ADBENCH,
    (CleanHalf(), MixedHalf()),
    (
        Contender("auto", "auto"),
        *(
            Contender(f"auto, without {view}", "auto", parameters={"views": tuple(v for v in VIEWS if v != view)})
            for view in VIEWS
        ),
        Contender("auto, untrained", "auto", parameters={"epochs": 0}, untrained_of="auto"),
        Contender("autoencoder", "autoencoder"),
        Contender("two-step", "two_step"),
        Contender("DAGMM, default", "dagmm"),
        Contender("DAGMM, default, untrained", "dagmm", parameters={"epochs": 0}, untrained_of="DAGMM, default"),
        Contender("PCA, default", "pca"),
        Contender("k-NN, k = 1", "knn", parameters={"n_neighbors": 1}, baseline=True),
        Contender("EM mixture, 8 components, floor 0.1", "em_mixture", parameters={"n_components": 8, "reg_covar": 0.1},
                  baseline=True),
        *BASELINES_STANDARD,
    ),
)  # fmt: skip

COMPRESSIONS_TABLE = Table(
    "compressions",
    "DAGMM on other compression networks",
    "DAGMM's defaults, its plain autoencoder replaced by another network of the family; everything else stays.",
    FOUR,
    (Dagmm(),),
    (
        DAGMM_OURS_FEW,
        *(
            Contender(f"DAGMM on {name}", "composed_dagmm", parameters={"compression": key})
            for name, key in (("a VAE", "vae"), ("an AAE", "aae"), ("MemAE", "memae"), ("GPND", "gpnd"))
        ),
        *BASELINES_MINMAX,
    ),
)

TABLES = {
    table.name: table
    for table in (DAGMM_TABLE, RIVALS_TABLE, ABLATIONS_TABLE, CONTAMINATION_TABLE, SHARE_TABLE, COMPRESSIONS_TABLE,
                  ADBENCH_TABLE, *IMAGE_TABLES, *FIELD_TABLES, *ADVERSARIAL_TABLES,
                  *PIXEL_TABLES, *CHOOSING_TABLES)
}  # fmt: skip


def table_named(name: str) -> Table:
    """Return the table of this name.

    Raises
    ------
    UnknownName
    """
    if name not in TABLES:
        raise UnknownName.among("bench table", name, TABLES)
    return TABLES[name]
