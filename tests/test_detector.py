"""What fit promises beyond the laws of a score: small tables, limits, seeds, devices, odd columns, extreme rows."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from offnormal import DAGMM, PCAReconstruction
from offnormal.calibration import KEPT_TRAINING_SCORES
from offnormal.detector import Detector
from offnormal.errors import DataError, InvalidParameter, NotSupported, UnknownName
from offnormal.trainer import Progress

ROWS = np.random.default_rng(0).normal(size=(80, 4))


def dagmm(**changes: Any) -> DAGMM:
    return DAGMM(**{"epochs": 2, "early_stopping": False, "calibration": "none", **changes})


def pca(**changes: Any) -> PCAReconstruction:
    return PCAReconstruction(**changes)


BOTH = pytest.mark.parametrize("make", [dagmm, pca])


# --- small tables -----------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("frame", [False, True])
def test_one_row_teaches_nothing(make: Any, frame: bool) -> None:
    row = pd.DataFrame({"a": [1.0]}) if frame else np.ones((1, 2))
    with pytest.raises(ValueError, match=r"1 sample|At least 2 rows .* n_samples=1"):
        make().fit(row)


@BOTH
@pytest.mark.parametrize("rows", [2, 3, 4, 5, 9])
def test_a_handful_of_rows_is_learned_from(make: Any, rows: int) -> None:
    detector = make(calibration="auto").fit(ROWS[:rows])
    assert detector.calibration_.kind == ("none" if rows == 2 else "folds")
    assert detector.calibration_.n == (0 if rows == 2 else rows)
    assert np.isfinite(detector.anomaly_score(ROWS)).all()
    assert np.isfinite(detector.threshold_.value)
    assert len(detector.explain(ROWS[:3]).reasons()) == 3


@BOTH
@pytest.mark.parametrize("kind", ["holdout", "folds"])
def test_calibration_asked_for_needs_three_rows(make: Any, kind: str) -> None:
    with pytest.raises(DataError, match=rf"calibration='{kind}' needs at least 3 rows, got 2"):
        make(calibration=kind).fit(ROWS[:2])
    assert make(calibration=kind).fit(ROWS[:3]).calibration_.n >= 1


@BOTH
def test_without_calibration_there_are_no_p_values(make: Any) -> None:
    detector = make(calibration="none").fit(ROWS)
    with pytest.raises(NotSupported, match="fitted with calibration='none'"):
        detector.p_value(ROWS)
    with pytest.raises(NotSupported):
        detector.flag(ROWS)
    assert set(detector.predict(ROWS)) <= {-1, 1}


def test_training_scores_are_thinned_to_order_statistics() -> None:
    rows = np.random.default_rng(1).normal(size=(KEPT_TRAINING_SCORES + 2_345, 2))
    detector = pca(calibration="none", contamination=0.1).fit(rows)
    scores = np.sort(detector.anomaly_score(rows))
    kept = detector.training_scores_
    assert len(kept) == KEPT_TRAINING_SCORES
    assert (kept[0], kept[-1]) == (scores[0], scores[-1])
    assert np.isin(kept, scores).all()
    assert (detector.predict(rows) == -1).sum() == round(0.1 * len(rows)), "the cut is made before"


# --- odd columns and extreme rows -------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize(
    "rows",
    [np.full((30, 3), 7.5), np.full((30, 2), np.nan), np.zeros((30, 1)), ROWS[:30, :1], np.c_[ROWS, np.ones((80, 2))]],
    ids=["constant", "all missing", "one column of zeros", "one column", "constant beside others"],
)
def test_columns_that_say_nothing(make: Any, rows: Any) -> None:
    detector = make(calibration="holdout").fit(rows)
    assert np.isfinite(detector.anomaly_score(rows)).all()
    if len(np.unique(rows[~np.isnan(rows)])) <= 1:
        assert (detector.predict(rows) == 1).all(), "equal rows are all normal"
    assert len(detector.explain(rows[:2]).contributions) == 2


def test_a_change_in_a_constant_column_is_seen() -> None:
    rows = np.c_[ROWS, np.full(80, 5.0)]
    odd = rows[:1].copy()
    odd[0, 4] = 5.5
    detector = pca().fit(rows)
    assert detector.anomaly_score(odd)[0] > detector.anomaly_score(rows[:1])[0]
    assert any(reason == "x4 = 5.5 (usually 5)" for reason in detector.explain(odd).reasons(5)[0])


@BOTH
@pytest.mark.parametrize("scaling", ["standard", "minmax", "none"])
def test_the_most_extreme_numbers_have_finite_scores(make: Any, scaling: str) -> None:
    detector = make(scaling=scaling).fit(ROWS)
    far = np.tile(ROWS[0], (12, 1))
    far[:, 2] = [1e10, 1e15, 1e20, 1e30, 1e38, 1e300, -1e20, -1e38, -1.7e308, 1.7e308, 5e-324, -1e160]
    assert np.isfinite(detector.anomaly_score(far)).all()
    assert np.isfinite(detector.explain(far).contributions).all()
    if make is pca:
        assert (detector.predict(far[:10]) == -1).all()


def test_a_score_that_is_not_finite_is_an_error_and_not_a_normal_row() -> None:
    detector = pca().fit(ROWS)
    detector.scorer_.method.mean[1] = torch.nan
    for method in (detector.anomaly_score, detector.predict, detector.decision_function, detector.p_value):
        with pytest.raises(DataError, match=r"score of row 0 \(counted from 0\) is not finite"):
            method(ROWS)


# --- seeds ------------------------------------------------------------------------------------------------------------


def test_no_seed_draws_one_and_says_which() -> None:
    first, second = (dagmm(random_state=None).fit(ROWS) for _ in range(2))
    assert first.seed_ != second.seed_
    assert not np.array_equal(first.anomaly_score(ROWS), second.anomaly_score(ROWS))
    again = dagmm(random_state=first.seed_).fit(ROWS)
    assert np.array_equal(again.anomaly_score(ROWS), first.anomaly_score(ROWS))


def test_fitting_neither_depends_on_nor_changes_the_global_random_state() -> None:
    scores = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002  to show that it does not matter
        before = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
        scores.append(dagmm(calibration="folds").fit(ROWS).anomaly_score(ROWS))
        assert torch.equal(torch.random.get_rng_state(), before[0])
        assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
    assert np.array_equal(*scores)


def test_fitting_leaves_the_parameters_as_they_were() -> None:
    detector = DAGMM(epochs=2, calibration="folds")
    before = detector.get_params()
    detector.fit(ROWS)
    assert detector.get_params() == before


# --- limits and reports -----------------------------------------------------------------------------------------------


def test_the_time_limit_ends_all_training_together() -> None:
    start = time.perf_counter()
    detector = DAGMM(epochs=10**6, calibration="folds", early_stopping=False)
    with pytest.warns(UserWarning, match=r"time limit ended training in epoch \d+ of 1000000"):
        detector.fit(ROWS, time_limit=1.0)
    assert time.perf_counter() - start < 6
    assert detector.training_["stopped"] == "time limit"
    assert 1 <= detector.training_["epochs"] < 10**6
    assert np.isfinite(detector.p_value(ROWS)).all()


def test_no_time_at_all_is_one_epoch() -> None:
    detector = DAGMM(epochs=50, calibration="none", early_stopping=False)
    with pytest.warns(UserWarning, match="time limit"):
        detector.fit(ROWS, time_limit=0)
    assert detector.training_["epochs"] == 1


@pytest.mark.parametrize("limit", [-1, float("nan"), "60", True, [1]])
def test_a_time_limit_is_a_number_of_seconds(limit: Any) -> None:
    with pytest.raises(InvalidParameter, match="time_limit must be a number of seconds"):
        dagmm().fit(ROWS, time_limit=limit)


def test_progress_tells_every_stage() -> None:
    seen: list[Progress] = []
    dagmm(calibration="folds").fit(ROWS, on_progress=seen.append)
    stages = list(dict.fromkeys(progress.stage for progress in seen))
    assert stages == ["final", *(f"fold {i} of 5" for i in range(1, 6))]
    assert all(1 <= progress.epoch <= progress.epochs for progress in seen)
    first, last = seen[0], seen[-1]
    assert last.eta_seconds == pytest.approx(0, abs=1e-6)
    at_least = 5 * first.epochs * first.batches / first.rows_per_second  # of a row a batch: the five folds to come
    assert first.eta_seconds > at_least


def test_the_training_record_has_what_a_report_needs() -> None:
    record = dagmm(epochs=4).fit(ROWS).training_
    assert {"rows", "features", "epochs", "steps", "seconds", "stopped", "history", "best_epoch"} <= set(record)
    assert (record["rows"], record["features"], record["epochs"], record["stopped"]) == (80, 4, 4, "completed")
    assert [epoch["epoch"] for epoch in record["history"]] == [1, 2, 3, 4]
    assert pca().fit(ROWS).training_["history"] == []


# --- devices and thresholds -------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("device", ["tpu", "", "meta", "mps", "cuda:99", "cpu:x", "gpu"])
def test_a_device_that_is_not_there_is_named_before_anything_is_read(make: Any, device: str) -> None:
    with pytest.raises(InvalidParameter, match=f"device.*{device!r}"):
        make(device=device).fit(object())


def test_cuda_without_a_gpu_says_what_to_use() -> None:
    if torch.cuda.is_available():
        assert dagmm(device="cuda").fit(ROWS).scorer_.device.type == "cuda"
    else:
        with pytest.raises(InvalidParameter, match="'cuda' is not available here; use 'auto' or 'cpu'"):
            dagmm(device="cuda").fit(ROWS)


@BOTH
def test_one_cut_from_one_source(make: Any) -> None:
    with pytest.raises(InvalidParameter, match="contamination or threshold, not both"):
        make(contamination=0.1, threshold="mad:3").fit(ROWS)
    with pytest.raises(UnknownName, match="'mda"):
        make(threshold="mda:3").fit(ROWS)
    detector = make(threshold="mad:3", calibration="holdout").fit(ROWS)
    assert detector.threshold_.rule == "mad:3"
    assert detector.set_threshold("fixed:2.5") is detector
    assert (detector.threshold_.value, detector.offset_) == (2.5, -2.5)
    assert np.array_equal(detector.predict(ROWS) == -1, detector.anomaly_score(ROWS) > 2.5)
    with pytest.raises(UnknownName):
        detector.set_threshold("magic")
    assert detector.threshold_.rule == "fixed:2.5", "a failed change changes nothing"


def test_flag_controls_the_batch_and_predict_the_row() -> None:
    rows = np.random.default_rng(5).normal(size=(400, 4))
    detector = pca(calibration="holdout").fit(rows)
    batch = np.r_[rows[:50], rows[:10] + 100]
    flagged = detector.flag(batch, fdr=0.2)
    assert flagged.dtype == np.bool_
    assert flagged[50:].all()
    assert flagged[:50].sum() <= 10


@pytest.mark.parametrize("method", ["anomaly_score", "predict", "p_value", "explain", "transform", "flag"])
def test_before_fit_every_answer_is_refused_alike(method: str) -> None:
    detector: Detector = pca()
    with pytest.raises(ValueError, match="not fitted yet"):
        getattr(detector, method)(ROWS)
    with pytest.raises(ValueError, match="not fitted yet"):
        detector.set_threshold("mad:3")
