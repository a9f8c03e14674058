"""The bench tables. A row is one line in a tuple of contenders; docs/benchmarks.md says how to add one."""

from __future__ import annotations

from dataclasses import dataclass

from offnormal.bench.contenders import THE_DATA_SETS, Contender
from offnormal.bench.datasets import DataSet, data_set
from offnormal.bench.protocols import CleanHalf, Dagmm, Protocol
from offnormal.errors import UnknownName

PAPER_SEEDS = 20
SEEDS = 5
MINMAX = {"scaling": "minmax"}


@dataclass(frozen=True)
class Table:
    """A question, and who answers it on which data under which protocols.

    Attributes
    ----------
    name : str
    title : str
    about : str
        What the table is to show, in a sentence or two.
    data : tuple of str
    protocols : tuple of Protocol
    contenders : tuple of Contender
    seeds : int
        Runs of a contender that does not say otherwise: 0, 1, … seeds − 1.
    """

    name: str
    title: str
    about: str
    data: tuple[str, ...]
    protocols: tuple[Protocol, ...]
    contenders: tuple[Contender, ...]
    seeds: int = SEEDS

    @property
    def data_sets(self) -> tuple[DataSet, ...]:
        """Return the data sets themselves."""
        return tuple(map(data_set, self.data))


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

DAGMM_TABLE = Table(
    "dagmm",
    "DAGMM, Table 2",
    "The paper's configurations under the paper's protocol, with the trivial baselines on the same splits.",
    ("thyroid", "arrhythmia", "kddcup", "kddcup_rev"),
    (Dagmm(),),
    (DAGMM_PAPER, DAGMM_UNTRAINED, *BASELINES_MINMAX),
)
CONTAMINATION_TABLE = Table(
    "contamination",
    "DAGMM, training data with anomalies among them",
    "The percentage is of the anomalies in the training half, as in the paper: 5 % of them are 1.2 % of the fit.",
    ("kddcup",),
    (Dagmm(1), Dagmm(2), Dagmm(3), Dagmm(4), Dagmm(5)),
    (
        Contender("DAGMM", "dagmm", preset=THE_DATA_SETS, paper=("dagmm_contaminated:DAGMM",)),
        Contender("DAGMM, untrained", "dagmm", preset=THE_DATA_SETS, parameters={"epochs": 0}, untrained_of="DAGMM"),
        *(contender for contender in BASELINES_MINMAX if contender.key != "ocsvm"),
        Contender("OC-SVM", "ocsvm", parameters=MINMAX, baseline=True, paper=("dagmm_contaminated:OC-SVM",)),
    ),
)
ADBENCH_TABLE = Table(
    "adbench",
    "Thirteen public tables, the library's defaults",
    "No method is tuned to a data set.",
    ("annthyroid", "cardio", "letter", "mammography", "musk", "optdigits", "pendigits", "satellite", "satimage-2",
     "shuttle", "vowels", "wbc", "wbc_odds378"),
    (CleanHalf(),),
    (
        Contender("DAGMM, default", "dagmm"),
        Contender("DAGMM, default, untrained", "dagmm", parameters={"epochs": 0}, untrained_of="DAGMM, default"),
        Contender("PCA, default", "pca"),
        *BASELINES_STANDARD,
    ),
)  # fmt: skip

TABLES = {table.name: table for table in (DAGMM_TABLE, CONTAMINATION_TABLE, ADBENCH_TABLE)}


def table_named(name: str) -> Table:
    """Return the table of this name.

    Raises
    ------
    UnknownName
    """
    if name not in TABLES:
        raise UnknownName.among("bench table", name, TABLES)
    return TABLES[name]
