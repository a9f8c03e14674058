"""Which rows train and which test. A split depends on the labels, the protocol and the seed, never on the method.

All protocols that start from halves of all rows start from the same halves for the same seed, and a greater
contamination contains a smaller one, so that levels differ by the rows added and nothing else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from offnormal.errors import DataError
from offnormal.random import numpy_generator

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Split(NamedTuple):
    """Places of the training rows and of the test rows, disjoint."""

    train: Ints
    test: Ints


class Protocol(ABC):
    """A rule for the split and for the share of test rows to flag.

    Attributes
    ----------
    figures : tuple of str
        The figures of a record that the page shows where the classes of a set of images stand together.
    """

    figures: ClassVar[tuple[str, ...]] = ("auroc", "average_precision", "f1")

    @property
    @abstractmethod
    def name(self) -> str:
        """A word that tells the protocol and its number."""

    @property
    @abstractmethod
    def about(self) -> str:
        """One sentence for the page of results."""

    @abstractmethod
    def split(self, y: Ints, seed: int) -> Split:
        """Return the split of rows with labels `y` (1 = anomaly), shape (rows,)."""

    def anomalies(self, y: Ints) -> Ints:
        """Return 1 for an anomaly under this protocol, from the y of the data set; `split` takes it."""
        return y

    def validation(self, y: Ints, seed: int) -> Ints:
        """Return the places of labeled rows, neither training nor test rows, by which an oracle places its cut."""
        return np.empty(0, dtype=np.int64)

    def oracle(self, y: Ints, scores: Floats, y_valid: Ints, scores_valid: Floats) -> dict[str, float]:
        """Return the figures of the test rows that need a cut placed by the labels of the validation rows."""
        return {}

    def flag_share(self, share: float | None, y_test: Ints) -> float:
        """Return the share of test rows to flag: the one the paper names for the data set, else the true one."""
        return float(np.mean(y_test)) if share is None else share


@dataclass(frozen=True)
class Dagmm(Protocol):
    """Half of all rows at random trains, its normal rows alone are fitted, the other half tests (Zong et al. §4.4).

    Attributes
    ----------
    contamination : float
        Percentage **of the anomalies in the training half** that are fitted too, rounded down.
    """

    contamination: float = 0

    @property
    def name(self) -> str:
        """Return "dagmm" or "dagmm_contaminated:5"."""
        return f"dagmm_contaminated:{self.contamination:g}" if self.contamination else "dagmm"

    @property
    def about(self) -> str:
        """Say what trains and what tests."""
        added = f" and {self.contamination:g} % of its anomalies" if self.contamination else ""
        return (
            f"A random half of all rows trains: its normal rows{added} are fitted. The other half tests; flagged is "
            "the share of test rows that the paper names."
        )

    def split(self, y: Ints, seed: int) -> Split:
        """Return normal rows of one half, with the contamination, and the whole other half."""
        train, test = _halves(len(y), seed)
        anomalies = _anomalies(y[train], seed)
        return Split(_with(train, y, anomalies[: int(self.contamination / 100 * len(anomalies))]), test)


@dataclass(frozen=True)
class ContaminatedShare(Protocol):
    """As `Dagmm`, with anomalies as the given percentage **of the training rows**, to the nearest row."""

    contamination: float

    @property
    def name(self) -> str:
        """Return for example "contaminated_share:5"."""
        return f"contaminated_share:{self.contamination:g}"

    @property
    def about(self) -> str:
        """Say what trains and what tests."""
        return (
            "A random half of all rows trains: its normal rows are fitted, and anomalies of that half until they are "
            f"{self.contamination:g} % of the fitted rows. The other half tests; flagged is the share of test rows "
            "that the DAGMM paper names, or the true one."
        )

    def split(self, y: Ints, seed: int) -> Split:
        """Return normal rows of one half, with the contamination, and the whole other half."""
        train, test = _halves(len(y), seed)
        anomalies = _anomalies(y[train], seed)
        wanted = round(self.contamination / (100 - self.contamination) * (len(train) - len(anomalies)))
        if wanted > len(anomalies):
            raise DataError(
                f"{self.contamination:g} % anomalies in training need {wanted:,}; the training half has "
                f"{len(anomalies):,}."
            )
        return Split(_with(train, y, anomalies[:wanted]), test)


@dataclass(frozen=True)
class CleanHalf(Protocol):
    """Half of the normal rows trains; the others and all anomalies test (GOAD, NeuTraL AD)."""

    @property
    def name(self) -> str:
        """Return "clean_half"."""
        return "clean_half"

    @property
    def about(self) -> str:
        """Say what trains and what tests."""
        return (
            "A random half of the normal rows is fitted; the other normal rows and all anomalies test, which doubles "
            "the share of anomalies and raises F1; flagged is the true share."
        )

    def split(self, y: Ints, seed: int) -> Split:
        """Return half of the normal rows, and all other rows."""
        normal = numpy_generator(seed, "bench", "normal").permutation(np.flatnonzero(y == 0))
        half = len(normal) // 2
        return Split(normal[:half], np.concatenate([normal[half:], np.flatnonzero(y == 1)]))

    def flag_share(self, share: float | None, y_test: Ints) -> float:
        """Return the true share."""
        return float(np.mean(y_test))


@dataclass(frozen=True)
class MixedHalf(Protocol):
    """Half of all rows trains, anomalies among them and labels unseen; the other half tests."""

    @property
    def name(self) -> str:
        """Return "mixed_half"."""
        return "mixed_half"

    @property
    def about(self) -> str:
        """Say what trains and what tests."""
        return (
            "A random half of all rows is fitted, anomalies among them; the other half tests; flagged is the true "
            "share."
        )

    def split(self, y: Ints, seed: int) -> Split:
        """Return two halves."""
        return _halves(len(y), seed)

    def flag_share(self, share: float | None, y_test: Ints) -> float:
        """Return the true share."""
        return float(np.mean(y_test))


def _halves(rows: int, seed: int) -> Split:
    order = numpy_generator(seed, "bench", "half").permutation(rows)
    return Split(order[: rows // 2], order[rows // 2 :])


def _anomalies(y_train: Ints, seed: int) -> Ints:
    """Return the places of the anomalies in the order in which they are added."""
    return numpy_generator(seed, "bench", "contamination").permutation(np.flatnonzero(y_train == 1))


def _with(train: Ints, y: Ints, anomalies: Ints) -> Ints:
    """Return the normal rows of `train` and those at the places `anomalies` in it, in the order of `train`."""
    fitted = y[train] == 0
    fitted[anomalies] = True
    kept: Ints = train[fitted]
    return kept
