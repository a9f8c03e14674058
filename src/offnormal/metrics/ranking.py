"""How well scores rank and cut when labels are known: y in {0, 1}, 1 = anomaly; greater score = more anomalous.

AUROC and average precision are scikit-learn's. The F1 rules are here, and they are different numbers: F1 at a cut
chosen without labels (`f1_at_cut`), F1 when a given share of the rows is flagged (`f1_at_share`; with the true share of
the test rows, the rule of most papers), and the best F1 of any cut (`best_f1`; an oracle: the labels choose it). F1 and
average precision change with the share of anomalies in the test rows, AUROC does not; `f1_at_prevalence` says what a
detector's F1 is at another share (Fourure, Javaid, Posocco and Tihon, ECML-PKDD 2021).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from offnormal.errors import DataError, InvalidParameter
from offnormal.random import numpy_generator

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
Metric = Callable[[Ints, Floats], float]
FEWEST_DRAWS, MOST_DRAWS = 50, 1_000
DRAWN_ROWS = 10_000_000
"""Bootstrap draws times rows that are quick enough: an evaluation within about a minute."""


class Detection(NamedTuple):
    """Precision, recall and F1 of the anomalies, each 0 to 1.

    Precision is 0 where nothing is flagged, recall is 0 where nothing is an anomaly, F1 is 0 where both are.
    """

    precision: float
    recall: float
    f1: float


class Share(NamedTuple):
    """What flagging a share of the rows gives.

    Attributes
    ----------
    precision, recall, f1 : float
        As in `Detection`.
    flagged : int
        Rows flagged; not `wanted` where ties were left out or taken whole.
    wanted : int
        The share in rows, to the nearest one.
    tied : int
        Rows whose score equals that of the `wanted`-th.
    """

    precision: float
    recall: float
    f1: float
    flagged: int
    wanted: int
    tied: int


class Best(NamedTuple):
    """The best F1 that any cut gives, and the greatest cut that gives it (flagged: score > cut; −inf flags all)."""

    f1: float
    cut: float
    precision: float
    recall: float
    flagged: int


class Interval(NamedTuple):
    """A value and the ends of its bootstrap interval."""

    value: float
    low: float
    high: float


def auroc(y: ArrayLike, scores: ArrayLike) -> float:
    """Return the probability that an anomaly outranks a normal row, ties counted half.

    Parameters
    ----------
    y : array of 0 and 1, shape (n,)
    scores : array, shape (n,)
        Finite.

    Raises
    ------
    DataError
        If the labels are not 0 and 1 with both present, or the scores do not fit them or are not finite.
    """
    from sklearn.metrics import roc_auc_score

    labels, values = _both_classes(y, scores)
    return float(roc_auc_score(labels, values))


def average_precision(y: ArrayLike, scores: ArrayLike) -> float:
    """Return Σ (R_n − R_{n−1}) P_n over the cuts, without interpolation; the share of anomalies for random scores.

    Parameters and errors as in `auroc`.
    """
    from sklearn.metrics import average_precision_score

    labels, values = _both_classes(y, scores)
    return float(average_precision_score(labels, values))


def precision_recall_f1(y: ArrayLike, flagged: ArrayLike) -> Detection:
    """Return precision, recall and F1 of flags.

    Parameters
    ----------
    y : array of 0 and 1, shape (n,)
    flagged : array of bool, shape (n,)
    """
    labels, flags = _labels(y), np.asarray(flagged)
    if flags.shape != labels.shape:
        raise DataError(f"Expected one flag per label, {len(labels):,} in all; got an array of shape {flags.shape}.")
    if flags.dtype != bool:
        raise DataError(f"Flags must be True or False; got {flags.dtype}. Compare the scores with a cut first.")
    return _detection(float(np.count_nonzero(labels[flags])), int(np.count_nonzero(flags)), int(labels.sum()))


def f1_at_cut(y: ArrayLike, scores: ArrayLike, cut: float) -> Detection:
    """Return precision, recall and F1 of the rows whose score is strictly greater than `cut`."""
    labels, values = _checked(y, scores)
    return precision_recall_f1(labels, values > cut)


def f1_at_share(
    y: ArrayLike, scores: ArrayLike, share: float, ties: Literal["split", "leave", "take"] = "split"
) -> Share:
    """Return what flagging the rows with the greatest scores gives, that share of them.

    Parameters
    ----------
    share : float
        Above 0, below 1; the true share of anomalies gives the papers' "nominal" rule, where precision = recall = F1.
    ties : {"split", "leave", "take"}
        Rows tied at the cut: "split" flags exactly the share and gives the tied rows' expectation under any order;
        "leave" flags none of them (score > cut); "take" flags all of them (score >= cut).
    """
    labels, values = _checked(y, scores)
    if not 0 < share < 1:
        raise InvalidParameter(f"The share of rows to flag must be above 0 and below 1; got {share!r}.")
    if ties not in ("split", "leave", "take"):
        raise InvalidParameter(f"ties must be 'split', 'leave' or 'take'; got {ties!r}.")
    wanted = max(round(share * len(labels)), 1)
    at = np.partition(values, len(values) - wanted)[len(values) - wanted]
    above, tied = values > at, values == at
    n_above, n_tied = int(above.sum()), int(tied.sum())
    flagged = {"split": wanted, "leave": n_above, "take": n_above + n_tied}[ties]
    hits = float(labels[above].sum()) + float(labels[tied].sum()) * (flagged - n_above) / n_tied
    return Share(*_detection(hits, flagged, int(labels.sum())), flagged, wanted, n_tied)


def best_f1(y: ArrayLike, scores: ArrayLike) -> Best:
    """Return the best F1 over all cuts: an oracle, since only the labels can tell the cut."""
    labels, values = _both_classes(y, scores)
    order = np.argsort(-values, kind="stable")
    ranked, hits = values[order], np.cumsum(labels[order])
    last = np.flatnonzero(np.append(ranked[1:] < ranked[:-1], True))  # tied rows are flagged together
    f1 = 2 * hits[last] / (last + 1 + hits[-1])
    best = int(np.argmax(f1))
    flagged = int(last[best]) + 1
    detection = _detection(float(hits[last[best]]), flagged, int(hits[-1]))
    cut = float(ranked[flagged]) if flagged < len(ranked) else -np.inf
    return Best(detection.f1, cut, detection.precision, detection.recall, flagged)


def f1_at_prevalence(tpr: float, fpr: float, prevalence: float) -> float:
    """Return the F1 that a detector with these two rates has where `prevalence` of the rows are anomalies.

    2Pt / (P + t) with P = πt / (πt + (1 − π)f).

    Parameters
    ----------
    tpr, fpr : float
        Share of anomalies and of normal rows that are flagged, 0 to 1.
    prevalence : float
        Share of anomalies π among the rows, 0 to 1.
    """
    for name, value in (("tpr", tpr), ("fpr", fpr), ("prevalence", prevalence)):
        if not 0 <= value <= 1:
            raise InvalidParameter(f"{name} must lie in [0, 1]; got {value!r}.")
    hits, false = prevalence * tpr, (1 - prevalence) * fpr
    return 2 * hits / (hits + false + prevalence) if hits > 0 else 0.0


def draws_for(rows: int) -> int:
    """Return how many bootstrap draws of so many rows are worth their time: 1,000, fewer of over 10,000 rows."""
    return int(np.clip(DRAWN_ROWS // max(rows, 1), FEWEST_DRAWS, MOST_DRAWS))


def bootstrap(
    metric: Metric, y: ArrayLike, scores: ArrayLike, n: int = 1_000, seed: int = 0, level: float = 0.95
) -> Interval:
    """Return a metric and its bootstrap percentile interval.

    Anomalies and normal rows are drawn apart, so that every draw has as many of each as the data. The interval is about
    the test rows; it says nothing of another split, another training seed or another share of anomalies. Small samples
    make it a little narrow: simulated, the 95 % interval of an AUROC of 0.8 holds the truth in 94.5 % of samples with
    200 anomalies and 400 normal rows, in 93.7 % with 60 and 120.

    Parameters
    ----------
    metric : callable
        (y, scores) -> float; must not depend on the order of the rows. Rows come by ascending score.
    n : int
        Draws, at least 1.
    seed : int
    level : float
        Above 0, below 1.

    Returns
    -------
    value, low, high : float
    """
    labels, values = _both_classes(y, scores)
    if n < 1 or not 0 < level < 1:
        raise InvalidParameter(f"bootstrap needs n of at least 1 and a level above 0 and below 1; got {n} and {level}.")
    order = np.argsort(values, kind="stable")  # sorted once, every draw stays sorted, and ranking it again is quick
    ranked_labels, ranked_values = labels[order], values[order]
    classes = [np.flatnonzero(ranked_labels == label) for label in (0, 1)]
    random = numpy_generator(seed, "bootstrap")
    draws = np.empty(n)
    for i in range(n):
        counts = np.zeros(len(labels), dtype=np.int64)
        for rows in classes:
            counts[rows] = np.bincount(random.integers(len(rows), size=len(rows)), minlength=len(rows))
        draws[i] = metric(np.repeat(ranked_labels, counts), np.repeat(ranked_values, counts))
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(metric(labels, values)), float(low), float(high))


def _detection(hits: float, flagged: int, anomalies: int) -> Detection:
    return Detection(
        hits / flagged if flagged else 0.0,
        hits / anomalies if anomalies else 0.0,
        2 * hits / (flagged + anomalies) if flagged + anomalies else 0.0,
    )


def _labels(y: ArrayLike) -> Ints:
    labels = np.asarray(y)
    if labels.ndim != 1 or len(labels) == 0:
        raise DataError(f"Expected one label per row in a flat array; got shape {labels.shape}.")
    if labels.dtype.kind not in "biuf" or not ((labels == 0) | (labels == 1)).all():
        raise DataError(
            "Labels must be 0 (normal) or 1 (anomaly); others came. Convert them, e.g. scikit-learn's with y == -1."
        )
    return labels.astype(np.int64)


def _checked(y: ArrayLike, scores: ArrayLike) -> tuple[Ints, Floats]:
    labels, values = _labels(y), np.asarray(scores, dtype=np.float64)
    if values.shape != labels.shape:
        raise DataError(f"Expected one score per label, {len(labels):,} in all; got an array of shape {values.shape}.")
    if not np.isfinite(values).all():
        raise DataError(f"Scores must be finite; {int((~np.isfinite(values)).sum()):,} are NaN or infinite.")
    return labels, values


def _both_classes(y: ArrayLike, scores: ArrayLike) -> tuple[Ints, Floats]:
    labels, values = _checked(y, scores)
    if labels.min() == labels.max():
        only = "anomalies" if labels[0] else "normal rows"
        raise DataError(
            f"Ranking can be measured on normal rows and anomalies together; all {len(labels):,} are {only}."
        )
    return labels, values
