"""Reasons on real rows with one column changed: the changed column should come first.

`benchmarks/reasons.py` prints the same figures for five data sets; docs/reasons.md holds them.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer

from offnormal import DAGMM, PCAReconstruction
from offnormal.adversarial_detector import AdversarialDetector
from offnormal.registry import METHODS, make_detector, method_class

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
reasons = pytest.importorskip("reasons")


def trained_briefly(key: str) -> dict[str, Any]:
    """Return a shorter training for methods whose default takes long on few rows."""
    slow = issubclass(method_class(key), AdversarialDetector) or key == "composed_dagmm"
    return {"epochs": 300} if slow else {}


@pytest.mark.parametrize("key", METHODS)
def test_the_changed_column_ranks_first(key: str, record_property: Any) -> None:
    rows = reasons.normal_rows("breast cancer")
    shorter = {} if key in ("egbad", "f_anogan") else trained_briefly(key)  # these two need their whole training
    result = reasons.hits(make_detector(key, calibration="none", **shorter), rows, seed=0)
    record_property("ranked first", result)
    moved, _ = result["out of range"]
    swapped, by_z = result["in range"]
    assert moved >= 0.9, result
    assert swapped > 1.5 * by_z, result


def test_pca_contributions_are_the_fall_of_the_score() -> None:
    """Against a direct minimization of the score over the column's value."""
    data = load_breast_cancer().data[:100, :6]
    detector = PCAReconstruction(n_components=3, calibration="none").fit(data)
    row = data[7].copy()
    got = detector.explain(row[None]).contributions[0]
    score = detector.anomaly_score(row[None])[0]
    for j in range(6):
        spread = data[:, j].std()
        values = row[j] + np.linspace(-6, 6, 4001) * spread
        tried = np.repeat(row[None], len(values), axis=0)
        tried[:, j] = values
        assert got[j] == pytest.approx(score - detector.anomaly_score(tried).min(), abs=2e-3 * max(score, 1))


@pytest.mark.parametrize("key", METHODS)
def test_one_hot_features_are_summed_back_to_their_column(key: str) -> None:
    draw = np.random.default_rng(0)
    kind = draw.choice(["pump", "fan", "valve"], 400)
    level = np.select([kind == "pump", kind == "fan"], [1.0, 5.0], 9.0) + 0.1 * draw.normal(size=400)
    frame = pd.DataFrame({"kind": kind, "level": level, "noise": draw.normal(size=400)})
    epochs = {"epochs": 150, "early_stopping": False} if key == "dagmm" else trained_briefly(key)
    detector = make_detector(key, calibration="none", **epochs).fit(frame)
    odd = frame[:3].copy()
    odd["kind"] = "rocket"
    explanation = detector.explain(odd)
    assert explanation.columns == ("kind", "level", "noise")
    assert explanation.contributions.shape == (3, 3)
    assert (explanation.ranking()[:, 0] == 0).all()
    assert "rocket (never seen)" in explanation.reasons()[0][0]


def test_dagmm_names_its_two_parts_and_their_sum_never_raises_the_score() -> None:
    rows = reasons.normal_rows("breast cancer")
    explanation = DAGMM(epochs=30, calibration="none").fit(rows).explain(rows[:20])
    assert set(explanation.parts) == {"reconstruction", "energy"}
    assert (explanation.contributions >= 0).all()
