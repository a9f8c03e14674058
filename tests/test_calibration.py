"""Promises of the threshold, kept by whole detectors on data they have not seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from offnormal import DAGMM, PCAReconstruction, io
from offnormal.calibration import carry, folds, hold_out, resolve
from offnormal.detector import Detector
from offnormal.errors import InvalidParameter, NotSupported, UnsupportedLevel
from offnormal.thresholds import promise

Floats = NDArray[np.float64]


def normal_rows(rows: int, seed: int) -> Floats:
    draw = np.random.default_rng(seed)
    return draw.normal(size=(rows, 3)) @ draw.normal(size=(3, 6)) + 0.3 * draw.standard_t(5, size=(rows, 6))


def split(rows: int, train: int, seed: int) -> tuple[Floats, Floats]:
    table = normal_rows(rows, 1)
    order = np.random.default_rng(seed).permutation(rows)
    return table[order[:train]], table[order[train:]]


def pca(**changes: object) -> Detector:
    return PCAReconstruction(n_components=3, **changes)  # type: ignore[arg-type]


def test_split_conformal_keeps_its_false_alarm_rate() -> None:
    """Averaged over fits, at most 5 % of new normal rows have p ≤ 0.05 (the mean has a standard error of 0.2 %)."""
    rates = []
    for seed in range(40):
        train, test = split(3000, 1000, seed)
        rates.append((pca(calibration="holdout", random_state=seed).fit(train).p_value(test) <= 0.05).mean())
    assert np.mean(rates) == pytest.approx(0.05, abs=0.008)


@pytest.mark.parametrize("rows", [60, 300])
def test_cross_conformal_folds_keep_theirs_approximately(rows: int) -> None:
    rates = []
    for seed in range(30):
        train, test = split(3000, rows, seed)
        rates.append((pca(random_state=seed).fit(train).p_value(test) <= 0.05).mean())
    assert 0.03 < np.mean(rates) < 0.065


@pytest.mark.slow
def test_folds_keep_their_rate_for_a_trained_method() -> None:
    rates = []
    for seed in range(6):
        train, test = split(3000, 300, seed)
        detector = DAGMM(epochs=60, random_state=seed, early_stopping=False, learning_rate=3e-3).fit(train)
        rates.append((detector.p_value(test) <= 0.1).mean())
    assert 0.05 < np.mean(rates) < 0.16, rates


def test_training_rows_have_larger_p_values_than_new_ones() -> None:
    train, test = split(600, 40, 0)
    detector = PCAReconstruction(n_components=2).fit(train)
    assert detector.p_value(train).mean() > detector.p_value(test).mean() + 0.02


def test_flag_keeps_the_false_discovery_rate() -> None:
    false_shares, found = [], []
    for seed in range(30):
        train, test = split(3000, 2000, seed)
        test = test[:500].copy()
        test[:50] += 4
        flagged = pca(calibration="holdout", random_state=seed).fit(train).flag(test, fdr=0.2)
        false_shares.append(flagged[50:].sum() / max(flagged.sum(), 1))
        found.append(flagged[:50].mean())
    assert np.mean(false_shares) < 0.2 + 0.04
    assert np.mean(found) > 0.5, "a procedure that flags nothing keeps any rate"


def test_the_default_needs_no_knowledge_and_says_what_it_promises() -> None:
    train, test = split(3000, 1000, 0)
    detector = pca().fit(train)
    assert detector.threshold_.rule.startswith("conformal")
    assert "at most 1%" in detector.threshold_.promise
    assert (detector.predict(test) == -1).mean() == pytest.approx(0.01, abs=0.012)


@pytest.mark.parametrize(
    ("calibration", "said"), [("folds", "approximate"), ("none", "promises nothing about new rows")]
)
def test_the_words_of_the_cut_fit_the_calibration(calibration: str, said: str, tmp_path: Path) -> None:
    """Nobody named a share of anomalies, so no sentence may say that somebody did."""
    detector = pca(calibration=calibration, random_state=0).fit(split(300, 10, 0)[0])
    words = [detector.threshold_.promise, promise(detector.threshold_, folds=calibration == "folds")]
    assert all(said in each and "You said" not in each for each in words)
    assert "하셨으므로" not in promise(detector.threshold_, "ko")
    io.save(detector, tmp_path / "m.offnormal")
    assert io.load(tmp_path / "m.offnormal").threshold_ == detector.threshold_


@pytest.mark.parametrize(
    "rule", ["quantile:0.9", "mad:3", "pot:0.001", "fixed:2.5", "conformal:0.2", "contamination:0.05"]
)
def test_the_threshold_changes_without_training(rule: str) -> None:
    train, _ = split(3000, 2000, 0)
    detector = pca().fit(train)
    scores = detector.anomaly_score(train)
    before = detector.threshold_.value
    detector.set_threshold(rule)
    assert detector.threshold_.rule == rule
    assert detector.threshold_.value != before
    assert np.array_equal(detector.anomaly_score(train), scores)
    assert np.array_equal(detector.predict(train) == -1, scores > detector.threshold_.value)
    assert pca(threshold=rule).fit(train).threshold_ == detector.threshold_


def test_a_level_beyond_the_calibration_rows_is_refused_in_words() -> None:
    train, _ = split(3000, 200, 0)
    with pytest.raises(UnsupportedLevel, match=r"999|1,?000"):
        pca().fit(train).set_threshold("conformal:0.001")


def test_without_calibration_rows_p_values_are_refused() -> None:
    train, _ = split(3000, 200, 0)
    detector = pca(calibration="none").fit(train)
    with pytest.raises(NotSupported, match="calibration"):
        detector.p_value(train)
    assert (detector.predict(train) == -1).sum() == 2


def test_contamination_and_threshold_together_are_refused() -> None:
    with pytest.raises(InvalidParameter, match="not both"):
        pca(contamination=0.1, threshold="mad").fit(normal_rows(50, 0))


def test_held_out_rows_do_not_shape_the_model() -> None:
    train, _ = split(3000, 500, 0)
    detector = pca(calibration="holdout").fit(train)
    kept, held = hold_out(500, 0.1, 0, "calibration")
    altered = train.copy()
    altered[held] *= 50
    again = pca(calibration="holdout").fit(altered)
    assert np.array_equal(detector.anomaly_score(train[kept]), again.anomaly_score(train[kept]))
    assert not np.array_equal(detector.calibration_.scores, again.calibration_.scores)


def test_splits_are_partitions() -> None:
    kept, held = hold_out(101, 0.1, 3, "calibration")
    assert sorted([*kept, *held]) == list(range(101))
    assert len(held) == 10
    parts = folds(101, 3)
    assert sorted(np.concatenate(parts)) == list(range(101))
    assert {len(part) for part in parts} == {20, 21}
    assert len(folds(3, 0)) == 3
    assert (resolve("auto", 4999), resolve("auto", 5000), resolve("none", 10)) == ("folds", "holdout", "none")


def test_carrying_undoes_a_change_of_scale_between_two_models() -> None:
    draw = np.random.default_rng(0)
    final = draw.exponential(size=2000)
    outside = draw.exponential(size=500)
    carried = carry(7 * outside - 3, 7 * final - 3, final)
    np.testing.assert_allclose(carried, outside, rtol=1e-9, atol=1e-9)
    assert stats.ks_2samp(carried, final).pvalue > 0.01
    np.testing.assert_array_equal(carry(np.ones(3), np.zeros(5), np.zeros(5)), np.ones(3))
