"""The figures of a record against scikit-learn and by hand; what reaches a fit, and every table in a fast run."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import metrics
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from offnormal.bench import datasets
from offnormal.bench.choosing_tables import CHOOSING_TABLES
from offnormal.bench.contenders import Contender, Fitted, FittedMethod
from offnormal.bench.datasets import DataSet
from offnormal.bench.image_protocols import (
    Gpnd,
    MemaeImages,
    RappMultimodal,
    RappUnimodal,
    SoundParts,
    best_inlier_cut,
)
from offnormal.bench.jobs import Cell, Job, cells
from offnormal.bench.measure import figures, measured, measured_together
from offnormal.bench.pixel_tables import STRUCTURE
from offnormal.bench.protocols import Dagmm, Protocol
from offnormal.bench.runner import together
from offnormal.bench.table import Table
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
    for label, name in enumerate(("mean_normal_score", "mean_anomaly_score")):
        assert record[name] == pytest.approx(errors(X[test])[y[test] == label].mean(), rel=1e-4)
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


@pytest.mark.parametrize("protocol", [RappMultimodal(), RappUnimodal(), MemaeImages(), Gpnd()], ids=lambda p: p.name)
def test_no_label_reaches_a_fit_of_images(protocol: Protocol, toy_images: DataSet) -> None:
    SEEN.clear()
    contender = Recorder("k-NN", "knn", parameters={"scaling": "unit"})
    record = measured(Job(Cell("toy", toy_images, protocol, contender, 1), 0))
    X, of_class = datasets.load(toy_images)
    y = protocol.anomalies(of_class)
    (((rows, _, seed), named),) = SEEN
    train, test = protocol.split(y, 0)
    assert rows.dtype == np.uint8
    assert np.array_equal(rows, X[train])
    assert (seed, named) == (0, {"fast": False})
    assert (record["rows_given"], record["anomalies_given"], record["features"]) == (len(train), 0, 16)
    assert (record["rows_tested"], record["anomalies_tested"]) == (len(test), int(y[test].sum()))
    pixels = X.reshape(len(X), -1) / 255
    distances = NearestNeighbors(n_neighbors=5).fit(pixels[train]).kneighbors(pixels)[0].mean(1)
    assert record["auroc"] == pytest.approx(metrics.roc_auc_score(y[test], distances[test]))
    valid = protocol.validation(y, 0)
    if len(valid):
        cut = best_inlier_cut(y[valid], distances[valid], 0.3)
        kept, passed = ((distances[test] <= cut)[y[test] == label].mean() for label in (0, 1))
        expected = 2 * 0.7 * kept / (0.7 * (kept + 1) + 0.3 * passed)
        assert record["inlier_f1_30"] == pytest.approx(expected)


def test_the_error_of_images_is_the_sum_over_their_pixels(toy_images: DataSet) -> None:
    contender = Contender("PCA", "pca", parameters={"n_components": 2})
    record = measured(Job(Cell("toy", toy_images, RappUnimodal(), contender, 1), 0))
    X, of_class = datasets.load(toy_images)
    train, _ = RappUnimodal().split(1 - of_class, 0)
    pixels = X[train].reshape(-1, 16) / 255
    rebuilt = (pca := PCA(2).fit(pixels)).inverse_transform(pca.transform(pixels))
    assert record["reconstruction_error"] == pytest.approx(((pixels - rebuilt) ** 2).sum(1).mean(), rel=1e-4)


def test_the_figures_of_a_map_are_over_all_pixels_of_images_whose_defect_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = np.random.default_rng(0)
    x = draw.normal(100, 20, size=(60, 4, 4))
    y, mask = np.repeat([0, 1], [40, 20]), np.zeros((60, 4, 4), dtype=bool)
    mask[40:, 1, 2] = True
    x[mask] += 100
    mask[55:] = False  # defects nobody marked
    folder = tmp_path / "parts"
    folder.mkdir()
    np.savez(folder / "parts.npz", x=x.clip(0, 255).astype(np.uint8), y=y, mask_shape=mask.shape,
             mask_packed=np.packbits(mask.reshape(60, -1), axis=1))  # fmt: skip
    monkeypatch.setenv(datasets.VARIABLE, str(folder))
    data = DataSet("parts", "parts.npz", masked=True)
    contender = Contender("PCA", "pca", parameters={"n_components": 3})
    record = measured(Job(Cell("toy", data, SoundParts(), contender, 1), 0))
    train, test = SoundParts().split(y, 0)
    pixels = datasets.load(data)[0].reshape(60, -1) / 255
    pca = PCA(3).fit(pixels[train])
    maps = (pixels - pca.inverse_transform(pca.transform(pixels))) ** 2
    known = test[test < 55]
    labels, values = mask.reshape(60, -1)[known].ravel(), maps[known].ravel()
    assert record["pixel_auroc"] == pytest.approx(metrics.roc_auc_score(labels, values), rel=1e-4)
    expected = metrics.average_precision_score(labels, values)
    assert record["pixel_average_precision"] == pytest.approx(expected, rel=1e-3)
    neighbors = Contender("k-NN", "knn", parameters={"scaling": "unit"})
    assert "pixel_auroc" not in measured(Job(Cell("toy", data, SoundParts(), neighbors, 1), 0))


def test_how_a_memory_is_read_is_in_the_record(toy: DataSet) -> None:
    net = {"n_slots": 5, "hidden_sizes": (4,), "latent_dim": 2, "epochs": 1, "shrinkage": 0.0}
    record = measured(job(toy, Contender("MemAE", "memae", parameters=net)))
    assert record["slots_read"] == 5  # a softmax without a cut reads every slot
    assert 1 / 5 < record["largest_weight"] < 1
    cut = measured(job(toy, Contender("MemAE", "memae", parameters=net | {"shrinkage": 1.0})))
    assert 1 <= cut["slots_read"] < 5
    assert cut["largest_weight"] > record["largest_weight"]
    assert "slots_read" not in measured(job(toy, Contender("PCA", "pca")))


def test_rows_that_are_scores_of_one_network_are_trained_once_and_as_if_alone(toy: DataSet) -> None:
    parameters = {"epochs": 3, "early_stopping": True}
    energy = Contender("energy", "dsebm", parameters=parameters)
    error = Contender("error", "dsebm", parameters={**parameters, "score_by": "reconstruction"}, scores_of="energy")
    jobs = [job(toy, energy), job(toy, error)]
    first, second = measured_together(jobs)
    alone = measured(jobs[1])
    assert first["last_losses"] == second["last_losses"]
    assert first["fit_seconds"] == second["fit_seconds"]
    rows, _ = datasets.load(toy)
    trained = energy.fit(rows, "toy", 0)
    scores = error.rescore(trained, rows, "toy", 0).score(rows)
    assert np.array_equal(scores, error.fit(rows, "toy", 0).score(rows))
    assert not np.allclose(scores, trained.score(rows))
    costs = {"fit_seconds", "score_seconds", "peak_memory_mb", "date"}
    assert {k: v for k, v in second.items() if k not in costs} == {k: v for k, v in alone.items() if k not in costs}
    assert jobs[1].cell.matches(json.loads(json.dumps(second)))


def test_a_network_without_the_weights_is_refused(toy: DataSet) -> None:
    rows, _ = datasets.load(toy)
    small = Contender("a", "dsebm", parameters={"epochs": 1, "hidden_sizes": (3,)}).fit(rows, "toy", 0)
    assert isinstance(small, FittedMethod)
    small.parameters["hidden_sizes"] = (4,)
    with pytest.raises(RuntimeError, match="has no weights for"):
        Contender("b", "dsebm", parameters={"score_by": "reconstruction"}).rescore(small, rows, "toy", 0)
    with pytest.raises(TypeError, match="no trained network"):
        Contender("k-NN", "knn").rescore(Contender("k-NN", "knn").fit(rows, "toy", 0), rows, "toy", 0)


def test_the_last_losses_are_those_of_the_last_epoch(toy: DataSet) -> None:
    fitted = Contender("DAGMM", "dagmm", parameters={"epochs": 3}).fit(datasets.load(toy)[0], "toy", 0)
    history = fitted.detector.training_["history"]  # type: ignore[attr-defined]
    assert fitted.history == {f"joint/{term}": value for term, value in history[-1]["terms"].items()}
    assert len(fitted.history) == 3


RAN: set[str] = set()
"""Fingerprints of the runs made in this process."""
BASELINES_RAN: set[str] = set()
"""Keys of the baselines that ran on images."""


def of_images(name: str) -> bool:
    return any(data.group or data.masked or data.frames for data in TABLES[name].data_sets)


SLOW_IN_ONE_ROW = {"magnetic_tile_small": STRUCTURE, "mvtec_leather_sample": "mean image", "ped2_small": "MemAE"}


def _of_each_kind(table: Table, found: Sequence[Cell]) -> Iterator[Job]:
    """Yield the runs to make, nothing twice: of a paper's own size a baseline, since the small table has its rows too;
    of the scores of one training two; of images no untrained net beside the trained one, and a baseline once; and of
    the tables of every method at its defaults, whose methods train in many other tests, a few.
    """
    if f"{table.name}_small" in TABLES:
        found = [cell for cell in found if cell.contender.baseline][:1]
    if table in CHOOSING_TABLES:
        found = found[::8]
    if table.name in SLOW_IN_ONE_ROW:
        found = [cell for cell in found if cell.contender.name == SLOW_IN_ONE_ROW[table.name]]
    rescored: set[str] = set()
    for cell in found:
        row = cell.contender
        known = row.key in BASELINES_RAN if row.baseline else row.untrained_of is not None
        if cell.fingerprint in RAN or row.scores_of in rescored or (known and of_images(table.name)):
            continue
        if row.baseline and of_images(table.name) and found[1:]:
            BASELINES_RAN.add(row.key)
        if row.scores_of:
            rescored.add(row.scores_of)
        yield Job(cell, 0)


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow) if of_images(name) else name
                                  for name in TABLES])  # fmt: skip
def test_every_row_of_a_table_runs(name: str, shared_data: Path) -> None:
    """Every row that trains; see `_of_each_kind` for those that are left out because others do the same."""
    table = TABLES[name]
    quick = replace(table, data=table.data[:1], protocols=table.protocols[-1:])
    every = list(_of_each_kind(table, cells(quick, fast=True)))
    RAN.update(job.cell.fingerprint for job in every)
    pairs = (pair for batch in together(every) for pair in zip(batch, measured_together(batch), strict=True))
    for job, record in pairs:
        assert job.cell.matches(record), job.cell.contender.name
        assert 0 <= record["auroc"] <= 1
        assert record["rows_tested"] <= datasets.FAST_ROWS
        assert set(job.cell.protocol.figures) <= set(record)


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
