"""How well scores rank and cut, with bootstrap intervals: the only place here that holds labels to scores."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from offnormal.cli.console import noun_of
from offnormal.cli.threshold import ALTERNATIVES, alternatives
from offnormal.metrics import ranking
from offnormal.report.words import speaking_of

if TYPE_CHECKING:
    from offnormal.detector import Detector

Array = np.ndarray[Any, Any]
Metric = Callable[[Array, Array], float]


def measured(detector: Detector, y: Array, scores: Array, draws: int | None, seed: int) -> dict[str, Any]:
    """Return every figure of the evaluation.

    Parameters
    ----------
    y : array of 0 and 1, shape (rows,)
        1 = anomaly.
    scores : array, shape (rows,)
    draws : int or None
        Bootstrap draws; 0 for none, None to go by the number of rows.
    seed : int
        Of the bootstrap.

    Returns
    -------
    dict
        "auroc", "average_precision", "best_f1" {value, low, high}, and "rules", one record per threshold rule, the
        model's own first.
    """
    if draws is None:
        draws = ranking.draws_for(len(y))

    def figure(metric: Metric) -> dict[str, float | None]:
        if draws == 0:
            return {"value": float(metric(y, scores)), "low": None, "high": None}
        value, low, high = ranking.bootstrap(metric, y, scores, draws, seed)
        return {"value": value, "low": low, "high": high}

    cut = detector.threshold_
    words = speaking_of(noun_of(detector), cut.promise)
    own = {"rule": cut.rule, "value": cut.value, "promise": words, "current": True}
    others = [rule for rule in ALTERNATIVES if rule != cut.rule]
    rules = [own, *(other | {"current": False} for other in alternatives(detector, tuple(others)))]
    return {
        "draws": draws,
        "auroc": figure(ranking.auroc),
        "average_precision": figure(ranking.average_precision),
        "best_f1": figure(_best_f1),
        "rules": [rule if rule["value"] is None else rule | _at_cut(rule["value"], scores, figure) for rule in rules],
    }


def _at_cut(cut: float, scores: Array, figure: Callable[[Metric], dict[str, float | None]]) -> dict[str, Any]:
    def part(number: int) -> Metric:
        return lambda y, drawn: float(ranking.precision_recall_f1(y, drawn > cut)[number])

    return {
        "flagged": int((scores > cut).sum()),
        "precision": figure(part(0)),
        "recall": figure(part(1)),
        "f1": figure(part(2)),
    }


def _best_f1(y: Array, scores: Array) -> float:
    return float(ranking.best_f1(y, scores)[0])
