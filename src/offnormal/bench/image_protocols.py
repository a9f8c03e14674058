"""The image papers' splits: one class of a pooled set of images against the others, and GPND's F1 at stated shares.

The y of the data set is 1 for the named class. Every split is of the pooled official training and test images; a
label decides where an image goes, and no label reaches a fit.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from offnormal.bench.protocols import Floats, Ints, Protocol, Split
from offnormal.errors import DataError
from offnormal.metrics.ranking import f1_at_prevalence
from offnormal.random import numpy_generator

SHARES = (10, 20, 30, 40, 50)
"""Percentages of outliers that GPND tests with."""


class OneClass(Protocol):
    """The named class is normal, all others are anomalies."""

    def anomalies(self, y: Ints) -> Ints:
        """Return 1 for the images of all other classes."""
        return 1 - y

    def flag_share(self, share: float | None, y_test: Ints) -> float:
        """Return the true share."""
        return float(np.mean(y_test))

    @abstractmethod
    def split(self, y: Ints, seed: int) -> Split:
        """Return the split of rows with labels `y` (1 = anomaly), shape (rows,)."""


@dataclass(frozen=True)
class RappMultimodal(Protocol):
    """The named class is the novelty, the nine others are normal (Kim et al., RaPP).

    Attributes
    ----------
    most : int or None
        Training images drawn of the 60 %; None: all of them.
    """

    most: int | None = None

    @property
    def name(self) -> str:
        """Return "rapp_multimodal" or "rapp_multimodal:10000"."""
        return "rapp_multimodal" if self.most is None else f"rapp_multimodal:{self.most}"

    @property
    def about(self) -> str:
        """Say what trains and what tests."""
        drawn = "" if self.most is None else f" ({self.most:,} of them, drawn by the seed)"
        return (
            f"The class is the novelty, the nine others are normal. Of the normal images 60 % train{drawn}, 20 % are "
            "the paper's validation part, which is not used, and 20 % test together with all images of the class; "
            "flagged is the true share."
        )

    def split(self, y: Ints, seed: int) -> Split:
        """Return 60 % of the normal images; 20 % of them and all anomalies."""
        train, _, test = _fifths(np.flatnonzero(y == 0), seed)
        return Split(train[: self.most], np.concatenate([test, np.flatnonzero(y == 1)]))


@dataclass(frozen=True)
class RappUnimodal(OneClass):
    """The named class is normal; as many of the others are drawn as normal images test (Kim et al., RaPP).

    Attributes
    ----------
    contamination : float
        Percentage **of the training images** that are of the other classes, to the nearest image. Ours, not the
        paper's. A greater one contains a smaller one, and the test images stay.
    """

    contamination: float = 0

    @property
    def name(self) -> str:
        """Return "rapp_unimodal" or "rapp_unimodal_contaminated:5"."""
        return f"rapp_unimodal_contaminated:{self.contamination:g}" if self.contamination else "rapp_unimodal"

    @property
    def about(self) -> str:
        """Say what trains and what tests."""
        added = (
            f" together with novel images until these are {self.contamination:g} % of the training images"
            if self.contamination
            else ""
        )
        return (
            f"The class is normal, the nine others are novel. Of the normal images 60 % train{added}, 20 % are the "
            "paper's validation part, which is not used, and 20 % test together with as many novel images, drawn by "
            "the seed; flagged is the true share, a half."
        )

    def split(self, y: Ints, seed: int) -> Split:
        """Return 60 % of the normal images, with the contamination; 20 % of them and as many anomalies."""
        train, _, test = _fifths(np.flatnonzero(y == 0), seed)
        novel = _drawn(y, len(test), seed)
        return Split(self._contaminated(train, y, novel, seed), np.concatenate([test, novel]))

    def _contaminated(self, train: Ints, y: Ints, tested: Ints, seed: int) -> Ints:
        """Return the training images and the novel ones among them, shuffled; those tested take no part."""
        if not self.contamination:
            return train
        rest = np.setdiff1d(np.flatnonzero(y == 1), tested)
        wanted = round(self.contamination / (100 - self.contamination) * len(train))
        if wanted > len(rest):
            raise DataError(
                f"{self.contamination:g} % anomalies in training need {wanted:,}; beside the tested ones there are "
                f"{len(rest):,}."
            )
        added = numpy_generator(seed, "bench", "contamination").permutation(rest)[:wanted]
        return numpy_generator(seed, "bench", "order").permutation(np.concatenate([train, added]))


@dataclass(frozen=True)
class MemaeImages(OneClass):
    """The named class is normal, two thirds of it train (Gong et al., MemAE, as far as it is known).

    Attributes
    ----------
    share : float
        Anomalies among the test images.
    """

    share: float = 0.3

    @property
    def name(self) -> str:
        """Return "memae_images"."""
        return "memae_images"

    @property
    def about(self) -> str:
        """Say what trains and what tests, and what is not known of the paper's."""
        return (
            "The class is normal: two thirds of it train, the other third tests together with anomalies drawn by the "
            "seed until they are 30 % of the test images; flagged is the true share. The share of about 30 % was read "
            "in a summary of the paper, two to one is from memory; whether the paper pools the official training and "
            "test images, as is done here, is unknown. AUROC does not depend on the share."
        )

    def split(self, y: Ints, seed: int) -> Split:
        """Return two thirds of the normal images; the other third and anomalies up to the share."""
        normal = _shuffled(np.flatnonzero(y == 0), seed)
        cut = round(len(normal) * 2 / 3)
        wanted = round(self.share / (1 - self.share) * (len(normal) - cut))
        return Split(normal[:cut], np.concatenate([normal[cut:], _drawn(y, wanted, seed)]))


@dataclass(frozen=True)
class NineIn(Protocol):
    """The named class is abnormal, four fifths of the nine others train (EGBAD and GANomaly).

    Attributes
    ----------
    most : int or None
        Training images drawn of the four fifths; None: all of them.
    """

    most: int | None = None

    @property
    def name(self) -> str:
        """Return "nine_in" or "nine_in:10000"."""
        return "nine_in" if self.most is None else f"nine_in:{self.most}"

    @property
    def about(self) -> str:
        """Say what trains and what tests."""
        drawn = "" if self.most is None else f" ({self.most:,} of them, drawn by the seed)"
        return (
            f"The class is abnormal, the nine others are normal. Of the normal images four fifths train{drawn}, the "
            "last fifth tests together with all images of the class; flagged is the true share. EGBAD's published code "
            "draws its test fifth anew, so that most of it was trained on; here no test image is."
        )

    def split(self, y: Ints, seed: int) -> Split:
        """Return four fifths of the normal images; a fifth of them and all anomalies."""
        normal = _shuffled(np.flatnonzero(y == 0), seed)
        cut = 4 * (len(normal) // 5)
        return Split(normal[:cut][: self.most], np.concatenate([normal[cut:], np.flatnonzero(y == 1)]))

    def flag_share(self, share: float | None, y_test: Ints) -> float:
        """Return the true share."""
        return float(np.mean(y_test))


@dataclass(frozen=True)
class OneClassFifth(OneClass):
    """The named class is normal; three fifths of it train, a fifth of all images tests (ALAD)."""

    @property
    def name(self) -> str:
        """Return "one_class_fifth"."""
        return "one_class_fifth"

    @property
    def about(self) -> str:
        """Say what trains and what tests."""
        return (
            "The class is normal, the nine others are anomalies. Three fifths of its images train, one fifth is the "
            "paper's validation part, which is not used, and the last fifth tests together with a fifth of all others; "
            "flagged is the true share. The published code draws the fifth without regard to the classes."
        )

    def split(self, y: Ints, seed: int) -> Split:
        """Return three fifths of the normal images; a fifth of everything."""
        train, _, test = _fifths(np.flatnonzero(y == 0), seed)
        return Split(train, np.concatenate([test, _fifths(np.flatnonzero(y == 1), seed)[2]]))


@dataclass(frozen=True)
class SoundParts(Protocol):
    """Eight ninths of the images without a defect train, as many as in MVTec AD's screws; all others test."""

    @property
    def name(self) -> str:
        """Return "sound_parts"."""
        return "sound_parts"

    @property
    def about(self) -> str:
        """Say what trains and what tests."""
        return (
            "Of the images without a defect eight ninths train, drawn by the seed; the others test together with all "
            "images of defects; flagged is the true share. Every seed splits anew, where MVTec AD has one split."
        )

    def split(self, y: Ints, seed: int) -> Split:
        """Return eight ninths of the sound images; the others and all defects."""
        sound = _shuffled(np.flatnonzero(y == 0), seed)
        cut = round(len(sound) * 8 / 9)
        return Split(sound[:cut], np.concatenate([sound[cut:], np.flatnonzero(y == 1)]))

    def flag_share(self, share: float | None, y_test: Ints) -> float:
        """Return the true share."""
        return float(np.mean(y_test))


@dataclass(frozen=True)
class OwnSplit(Protocol):
    """The data set's own split: its first rows train, all normal; the others test.

    Attributes
    ----------
    train, rows : int
        How many train, of how many; a fast run keeps their share.
    """

    train: int
    rows: int

    @property
    def name(self) -> str:
        """Return "own_split"."""
        return "own_split"

    @property
    def about(self) -> str:
        """Say what trains and what tests."""
        return (
            f"The data set's own split: {self.train:,} rows train, {self.rows - self.train:,} test, the same for every "
            "seed; flagged is the true share."
        )

    def split(self, y: Ints, seed: int) -> Split:
        """Return the first rows and the others."""
        cut = round(len(y) * self.train / self.rows)
        places = np.arange(len(y))
        return Split(places[:cut][y[:cut] == 0], places[cut:])

    def flag_share(self, share: float | None, y_test: Ints) -> float:
        """Return the true share."""
        return float(np.mean(y_test))


@dataclass(frozen=True)
class Gpnd(OneClass):
    """The named class is the inlier; a fifth of everything tests, at stated shares of outliers (Pidhorskyi et al.).

    The published code repeats inliers, or outliers, until their share is exact. F1 at a share needs only the two rates
    of a cut, so that nothing is repeated here: inliers and outliers count with weights.

    Attributes
    ----------
    outliers : int or None
        Outliers drawn for the test and again for the validation; None: all of a fifth.
    """

    outliers: int | None = None

    figures: ClassVar[tuple[str, ...]] = (
        "auroc",
        *(f"inlier_f1_{share}" for share in SHARES),
        *(f"outlier_f1_{share}" for share in SHARES),
    )

    @property
    def name(self) -> str:
        """Return "gpnd" or "gpnd:1000"."""
        return "gpnd" if self.outliers is None else f"gpnd:{self.outliers}"

    @property
    def about(self) -> str:
        """Say what trains and what tests, and which F1 is which."""
        drawn = "" if self.outliers is None else f"; of the outliers of either, {self.outliers:,} are drawn"
        trivial = ", ".join(f"{f1_at_prevalence(1, 1, 1 - share / 100):.3f}"[1:] for share in SHARES)
        return (
            "The class is the inlier. The inliers of three fifths of all images train, one fifth places the cut, one "
            f"fifth tests{drawn}. *Inlier F1* is the paper's: the positive class is the inlier, and the cut is the one "
            "with the best such F1 on the validation fifth at the same share of outliers, found with its labels "
            "(outliers among them): an oracle. *Outlier F1* is of the same cut with the outlier as the positive class. "
            "The number is the percentage of outliers, reached by weights where the published code repeats images. To "
            f"call everything an inlier gives an inlier F1 of {trivial}. The published code balances its folds over "
            "the ten classes, here over inliers and outliers; every seed shuffles anew, where the paper takes its five "
            "folds in turn."
        )

    def split(self, y: Ints, seed: int) -> Split:
        """Return the inliers of three fifths; a fifth of everything."""
        train, _, test = _fifths(np.flatnonzero(y == 0), seed)
        return Split(train, np.concatenate([test, self._outliers(y, seed)[1]]))

    def validation(self, y: Ints, seed: int) -> Ints:
        """Return another fifth of everything."""
        _, valid, _ = _fifths(np.flatnonzero(y == 0), seed)
        return np.concatenate([valid, self._outliers(y, seed)[0]])

    def oracle(self, y: Ints, scores: Floats, y_valid: Ints, scores_valid: Floats) -> dict[str, float]:
        """Return F1 at the shares, of inliers and of outliers."""
        found = {}
        for percent in SHARES:
            share = percent / 100
            cut = best_inlier_cut(y_valid, scores_valid, share)
            kept, passed = (float(np.mean(scores[y == label] <= cut)) for label in (0, 1))
            found[f"inlier_f1_{percent}"] = f1_at_prevalence(kept, passed, 1 - share)
            found[f"outlier_f1_{percent}"] = f1_at_prevalence(1 - passed, 1 - kept, share)
        return found

    def _outliers(self, y: Ints, seed: int) -> tuple[Ints, Ints]:
        """Return outliers for the validation and for the test."""
        _, valid, test = _fifths(np.flatnonzero(y == 1), seed)
        return valid[: self.outliers], test[: self.outliers]


def best_inlier_cut(y: Ints, scores: Floats, share: float) -> float:
    """Return the cut with the best F1 of the inliers, those whose score is at most the cut; an oracle.

    Parameters
    ----------
    y : array of 0 and 1, shape (rows,)
        1 = outlier.
    scores : array, shape (rows,)
    share : float
        Of outliers; inliers and outliers are weighted so that it is exact.
    """
    order = np.argsort(scores, kind="stable")
    ranked, outliers = scores[order], y[order]
    kept = np.cumsum(1 - outliers) / np.sum(1 - y)
    passed = np.cumsum(outliers) / np.sum(y)
    f1 = 2 * (1 - share) * kept / ((1 - share) * (kept + 1) + share * passed)
    last = np.append(ranked[1:] > ranked[:-1], True)  # tied images pass together
    return float(ranked[np.argmax(np.where(last, f1, -1.0))])


def _shuffled(places: Ints, seed: int) -> Ints:
    return numpy_generator(seed, "bench", "images").permutation(places)


def _fifths(places: Ints, seed: int) -> tuple[Ints, Ints, Ints]:
    """Return three fifths, one and one of these places at random; what is left over tests."""
    order = _shuffled(places, seed)
    fifth = len(order) // 5
    return order[: 3 * fifth], order[3 * fifth : 4 * fifth], order[4 * fifth :]


def _drawn(y: Ints, wanted: int, seed: int) -> Ints:
    return numpy_generator(seed, "bench", "anomalies").choice(np.flatnonzero(y == 1), wanted, replace=False)
