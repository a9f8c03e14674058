"""The laws of a score, for every registered method (docs/architecture.md, "Laws")."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from registered import KEYS, quick

import offnormal
from offnormal.detector import Detector
from offnormal.scorer import BLOCK


def table(rows: int = 300, seed: int = 0) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    base = draw.normal(size=rows)
    return pd.DataFrame(
        {
            "pressure": base + 0.1 * draw.normal(size=rows),
            "flow": 2 * base + 0.1 * draw.normal(size=rows),
            "valve": draw.choice(["open", "closed", "half"], size=rows, p=[0.6, 0.3, 0.1]),
            "alarm": draw.random(rows) < 0.05,
            "gap": np.where(draw.random(rows) < 0.1, np.nan, draw.normal(size=rows)),
        }
    )


@pytest.fixture(scope="module", params=KEYS)
def fitted(request: pytest.FixtureRequest) -> Detector:
    return quick(request.param).fit(table())


QUERY = table(2 * BLOCK + 77, seed=1)


def test_scores_are_finite_float64(fitted: Detector) -> None:
    scores = fitted.anomaly_score(QUERY)
    assert scores.dtype == np.float64
    assert scores.shape == (len(QUERY),)
    assert np.isfinite(scores).all()


def test_scoring_changes_nothing(fitted: Detector) -> None:
    state = {name: tensor.clone() for name, tensor in fitted.scorer_.state_dict().items()}
    random_state = torch.random.get_rng_state()
    first, second = fitted.anomaly_score(QUERY), fitted.anomaly_score(QUERY)
    assert np.array_equal(first, second)
    assert torch.equal(random_state, torch.random.get_rng_state())
    assert not fitted.scorer_.training
    for name, tensor in fitted.scorer_.state_dict().items():
        assert torch.equal(tensor, state[name]), name


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), size=st.integers(1, len(QUERY)))
@pytest.mark.parametrize("key", KEYS)
def test_a_score_belongs_to_its_row_alone(key: str, seed: int, size: int) -> None:
    """Bit-equal whatever comes after; equal to rounding wherever in a block the row stands (BLAS rounds by place)."""
    detector = once_fitted(key)
    whole = detector.anomaly_score(QUERY)
    assert np.array_equal(detector.anomaly_score(QUERY[:size]), whole[:size])
    assert np.array_equal(detector.anomaly_score(QUERY[BLOCK:]), whole[BLOCK:])
    chosen = np.random.default_rng(seed).permutation(len(QUERY))[:size]
    np.testing.assert_allclose(detector.anomaly_score(QUERY.iloc[chosen]), whole[chosen], rtol=1e-4, atol=1e-5)


_FITTED: dict[str, Detector] = {}


def once_fitted(key: str) -> Detector:
    if key not in _FITTED:
        _FITTED[key] = quick(key).fit(table())
    return _FITTED[key]


def test_refitting_with_the_same_seed_gives_the_same_scores(fitted: Detector) -> None:
    again = quick(fitted.key).fit(table())
    assert np.array_equal(again.anomaly_score(QUERY), fitted.anomaly_score(QUERY))
    assert again.threshold_ == fitted.threshold_


def test_saving_and_loading_changes_no_bit(fitted: Detector, tmp_path: Path) -> None:
    path = tmp_path / "model.offnormal"
    offnormal.save(fitted, path)
    loaded = offnormal.load(path)
    assert np.array_equal(loaded.anomaly_score(QUERY), fitted.anomaly_score(QUERY))
    assert np.array_equal(loaded.p_value(QUERY), fitted.p_value(QUERY))
    assert np.array_equal(loaded.predict(QUERY), fitted.predict(QUERY))
    assert loaded.threshold_ == fitted.threshold_
    assert loaded.explain(QUERY[:5]).reasons() == fitted.explain(QUERY[:5]).reasons()
    first = path.read_bytes()
    offnormal.save(loaded, path)
    assert path.read_bytes() == first, "saving what was loaded writes the same file"


def test_the_sign_rule(fitted: Detector) -> None:
    score = fitted.anomaly_score(QUERY)
    assert np.array_equal(fitted.score_samples(QUERY), -score)
    assert np.array_equal(fitted.decision_function(QUERY), -score - fitted.offset_)
    assert np.array_equal(fitted.predict(QUERY) == -1, score > fitted.threshold_.value)


def test_p_values_fall_as_scores_rise(fitted: Detector) -> None:
    score, p = fitted.anomaly_score(QUERY), fitted.p_value(QUERY)
    assert ((p > 0) & (p <= 1)).all()
    order = np.argsort(score)
    assert (np.diff(p[order]) <= 0).all()


@pytest.mark.parametrize("key", KEYS)
def test_the_calibration_scores_are_those_anomaly_score_gives(key: str) -> None:
    rows = table()
    detector = quick(key, calibration="holdout").fit(rows)
    scores = detector.anomaly_score(rows)
    assert np.isin(detector.calibration_.scores, scores).all()
    assert detector.calibration_.n == 30


@pytest.mark.parametrize("key", KEYS)
def test_labels_stop_at_the_face(key: str) -> None:
    rows = table(80)
    y = np.random.default_rng(3).integers(0, 2, 80)
    assert np.array_equal(quick(key).fit(rows, y).anomaly_score(rows), quick(key).fit(rows).anomaly_score(rows))


@pytest.mark.parametrize("key", KEYS)
def test_contamination_flags_that_share_of_the_training_rows(key: str) -> None:
    rows = table()
    detector = quick(key, contamination=0.1).fit(rows)
    assert (detector.predict(rows) == -1).sum() == 30


@pytest.mark.parametrize("key", KEYS)
def test_a_gross_departure_scores_above_every_training_row(key: str) -> None:
    rows = table()
    odd = rows[:1].copy()
    odd["flow"] = 1e4
    assert once_fitted(key).anomaly_score(odd)[0] > once_fitted(key).anomaly_score(rows).max()


@pytest.mark.parametrize("key", KEYS)
def test_a_fitted_detector_can_be_copied(key: str) -> None:
    detector = once_fitted(key)
    assert np.array_equal(copy.deepcopy(detector).anomaly_score(QUERY), detector.anomaly_score(QUERY))


@pytest.mark.parametrize("key", KEYS)
def test_nan_is_data_and_infinity_is_an_error(key: str) -> None:
    rows = np.random.default_rng(0).normal(size=(50, 3))
    rows[3, 1] = np.nan
    detector = quick(key).fit(rows)
    assert np.isfinite(detector.anomaly_score(rows)).all()
    rows[4, 2] = np.inf
    with pytest.raises(ValueError, match=r"[Ii]nfin"):
        detector.anomaly_score(rows)


@pytest.mark.parametrize("key", KEYS)
def test_all_bad_parameters_are_named_at_once(key: str) -> None:
    detector: Any = quick(key)
    detector.set_params(scaling="robust", contamination=0.9)
    with pytest.raises(offnormal.errors.InvalidParameter, match=r"contamination.*scaling|scaling.*contamination"):
        detector.fit(table())
