"""Agreement with labels that nothing but this report has seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offnormal.errors import DataError
from offnormal.metrics import ranking

BOOTSTRAP_ROWS = 20_000

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Measure:
    """One figure of the evaluation, with its bootstrap interval where there is one."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Evaluation:
    """How the scores agree with labels that only the report has seen."""

    anomalies: int
    measures: tuple[Measure, ...]
    resampled: bool


def check_labels(labels: Any, n_rows: int) -> Rows:
    """Return the labels as integers, or complain."""
    array = np.asarray(labels).ravel()
    if len(array) != n_rows:
        raise DataError(
            f"Expected one label per row, {n_rows} in all; got {len(array)}. Pass labels in the rows' order."
        )
    if not np.isin(array, [0, 1]).all():
        found = next(value for value in array if value not in (0, 1))
        raise DataError(f"Labels must be 0 (normal) or 1 (anomaly); found {found!r}. Convert them first.")
    return array.astype(np.int64)


def evaluate(y: Rows, scores: Floats, flagged: Flags) -> Evaluation:
    """Measure ranking and the cut; intervals where resampling is quick enough."""
    anomalies = int(y.sum())
    if anomalies in (0, len(y)):
        return Evaluation(anomalies, (), False)
    resampled = len(y) <= BOOTSTRAP_ROWS
    by_rank = []
    for name, metric in (("auroc", ranking.auroc), ("ap", ranking.average_precision)):
        if resampled:
            by_rank.append(Measure(name, *ranking.bootstrap(metric, y, scores, ranking.draws_for(len(y)))))
        else:
            by_rank.append(Measure(name, float(metric(y, scores))))
    precision, recall, f1 = (float(v) for v in ranking.precision_recall_f1(y, flagged))
    # Without a flag precision is undefined, not zero.
    precision = precision if flagged.any() else float("nan")
    at_cut = [Measure("precision", precision), Measure("recall", recall), Measure("f1", f1)]
    false_alarms = Measure("false_alarms", float(flagged[y == 0].mean()))
    return Evaluation(anomalies, (*by_rank, *at_cut, false_alarms), resampled)
