"""The figures of a record against scikit-learn and by hand; what reaches a fit, and every table in a fast run."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import metrics
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from offnormal.bench import datasets
from offnormal.bench.contenders import Contender, Fitted
from offnormal.bench.datasets import DataSet
from offnormal.bench.jobs import Cell, Job, cells
from offnormal.bench.measure import figures, measured
from offnormal.bench.protocols import Dagmm
from offnormal.bench.tables import TABLES

SEEN: list[tuple[Any, ...]] = []


@dataclass(frozen=True)
class Recorder(Contender):
    """Writes down what it is given."""

    def fit(self, *given: Any, **named: Any) -> Fitted:
        SEEN.append((given, named))
        return super().fit(*given, **named)


def job(data: DataSet, contender: Contender, seed: int = 0) -> Job:
    return Job(Cell("toy", data, Dagmm(), contender, 1), seed)


def test_the_figures_are_those_of_scikit_learn() -> None:
    draw = np.random.default_rng(1)
    y = (draw.random(1000) < 0.1).astype(np.int64)
    scores, training = draw.normal(size=1000) + 2 * y, draw.normal(size=500)
    found = figures(y, scores, training, 0.08)
    flags = scores >= np.sort(scores)[-80]
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(y, flags, average="binary")
    assert (found["precision"], found["recall"], found["f1"]) == pytest.approx((precision, recall, f1))
    assert (found["flagged"], found["tied"]) == (80, 1)
    assert found["auroc"] == pytest.approx(metrics.roc_auc_score(y, scores))
    assert found["average_precision"] == pytest.approx(metrics.average_precision_score(y, scores))
    assert found["best_f1"] == pytest.approx(max(metrics.f1_score(y, scores >= cut) for cut in scores))
    beyond = scores > np.sort(training)[-6]  # five of 500 training scores are above
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(y, beyond, average="binary")
    assert (found["cut_precision"], found["cut_recall"], found["cut_f1"]) == pytest.approx((precision, recall, f1))
    assert found["cut_flagged"] == beyond.sum()
    assert found["cut_fpr"] == pytest.approx(beyond[y == 0].mean())


def test_tied_rows_count_by_their_expectation() -> None:
    y, scores = np.array([1, 1, 0, 0, 0, 0, 0, 0, 0, 0]), np.array([3.0, 2, 2, 2, 0, 0, 0, 0, 0, 0])
    found = figures(y, scores, np.arange(100.0), 0.2)
    assert (found["flagged"], found["tied"]) == (2, 3)
    assert found["precision"] == pytest.approx((1 + 1 / 3) / 2)


def test_a_run_of_pca_is_what_scikit_learn_gives(toy: DataSet) -> None:
    record = measured(job(toy, Contender("PCA", "pca", parameters={"n_components": 2})))
    X, y = datasets.load(toy)
    train, test = Dagmm().split(y, 0)
    scaler = StandardScaler().fit(X[train])
    pca = PCA(2).fit(scaler.transform(X[train]))

    def errors(rows: Any) -> Any:
        scaled = scaler.transform(rows)
        return ((scaled - pca.inverse_transform(pca.transform(scaled))) ** 2).sum(1)

    assert record["reconstruction_error"] == pytest.approx(errors(X[train]).mean(), rel=1e-4)
    assert record["auroc"] == pytest.approx(metrics.roc_auc_score(y[test], errors(X[test])))
    assert (record["rows_given"], record["rows_fitted"], record["rows_tested"]) == (len(train), len(train), 150)
    assert (record["anomalies_given"], record["anomalies_tested"]) == (0, y[test].sum())
    assert record["parameters"]["n_components"] == 2
    assert record["features"] == 3
    assert record["last_losses"] == {}
    assert record["peak_memory_mb"] > 50
    assert record["command"] == "offnormal bench run toy --data toy --protocol dagmm --row PCA --seed 0"


def test_a_record_is_json_without_a_place_of_this_machine(toy: DataSet, tmp_path: Path) -> None:
    text = json.dumps(measured(job(toy, Contender("forest", "isolation_forest"))), allow_nan=False)
    assert str(tmp_path) not in text
    assert "home" not in text


def test_no_label_reaches_a_fit(toy: DataSet) -> None:
    SEEN.clear()
    measured(job(toy, Recorder("k-NN", "knn")))
    X, y = datasets.load(toy)
    (((rows, name, seed), named),) = SEEN
    assert np.array_equal(rows, X[Dagmm().split(y, 0).train])
    assert (name, seed, named) == ("toy", 0, {"fast": False})


def test_the_last_losses_are_those_of_the_last_epoch(toy: DataSet) -> None:
    fitted = Contender("DAGMM", "dagmm", parameters={"epochs": 3}).fit(datasets.load(toy)[0], "toy", 0)
    history = fitted.detector.training_["history"]  # type: ignore[attr-defined]
    assert fitted.history == {f"joint/{term}": value for term, value in history[-1]["terms"].items()}
    assert len(fitted.history) == 3


@pytest.mark.parametrize("name", TABLES)
def test_every_row_of_a_table_runs(name: str, shared_data: Path) -> None:
    table = TABLES[name]
    quick = replace(table, data=table.data[:1], protocols=table.protocols[-1:])
    for cell in cells(quick, fast=True):
        record = measured(Job(cell, 0))
        assert cell.matches(record), cell.contender.name
        assert 0 <= record["auroc"] <= 1
        assert record["rows_tested"] <= datasets.FAST_ROWS


def test_nothing_is_imported_while_the_clock_runs() -> None:
    """In a process of its own: the clock is replaced by one that notes which libraries are there."""
    code = """
import sys, time
import numpy as np
from offnormal.bench.contenders import Contender
now, there = time.process_time, []
def clock():
    there.append({name for name in sys.modules if name.split(".")[0] in ("torch", "sklearn", "scipy", "offnormal")})
    return now()
time.process_time = clock
rows = np.random.default_rng(0).normal(size=(60, 3))
Contender("k-NN", "knn").fit(rows, "toy", 0)
print(len(there), *(there[-1] - there[0]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "2\n"
