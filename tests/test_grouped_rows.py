"""Rows that belong together stay together: what is held out, and what the threshold then promises of new groups."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import offnormal
from offnormal import calibration, container, thresholds
from offnormal.calibration import codes_of, folds, hold_out
from offnormal.errors import DataError, ModelFileError
from offnormal.thresholds.cuts import group_rate

codes = st.lists(st.integers(0, 6), min_size=3, max_size=60).map(np.array)
shares = st.sampled_from([0.1, 0.3, 0.5])


@given(codes, shares, st.integers(0, 99))
def test_a_group_is_held_out_whole_or_not_at_all(groups: Any, share: float, seed: int) -> None:
    kept, held = hold_out(len(groups), share, seed, "calibration", groups)
    assert sorted([*kept, *held]) == list(range(len(groups)))
    assert len(kept) > 0
    assert len(held) > 0
    several = len(np.unique(groups)) > 1
    if several:
        assert not set(groups[kept]) & set(groups[held])
        # No more than is asked for, but for the group that fills it.
        sizes = np.bincount(groups[held])
        assert len(held) - sizes[sizes > 0].max() < max(round(share * len(groups)), 1) or len(held) == sizes.max()


@given(codes, st.integers(0, 99))
def test_folds_cut_no_group(groups: Any, seed: int) -> None:
    codes_ = np.unique(groups, return_inverse=True)[1]
    parts = folds(len(groups), seed, codes_)
    assert sorted(np.concatenate(parts)) == list(range(len(groups)))
    assert len(parts) == min(5, codes_.max() + 1)
    assert all(len(part) for part in parts)
    for number, part in enumerate(parts):
        rest = np.concatenate([other for n, other in enumerate(parts) if n != number] or [np.empty(0, int)])
        assert not set(codes_[part]) & set(codes_[rest.astype(int)])


def test_rows_without_groups_are_held_out_as_before() -> None:
    kept, held = hold_out(30, 0.1, 5, "calibration")
    alone = hold_out(30, 0.1, 5, "calibration", np.zeros(30, np.int64))
    assert np.array_equal(kept, alone[0])
    assert np.array_equal(held, alone[1])


def rows_of(groups: int, each: int, seed: int) -> tuple[Any, Any]:
    """Return rows whose groups lie apart by far more than the rows of one: each has a place of its own."""
    draw = np.random.default_rng(seed)
    labels = np.repeat(np.arange(groups), each)
    return draw.normal(size=(groups, 60))[labels] + 0.02 * draw.normal(size=(groups * each, 60)), labels


@pytest.mark.parametrize("kind", ["holdout", "folds"])
def test_the_promise_holds_for_new_groups_only_if_groups_are_known(kind: str) -> None:
    rates: dict[str, list[float]] = {"rows": [], "groups": [], "odd": []}
    for seed in range(20):
        X, labels = rows_of(60, 30, seed)
        new, _ = rows_of(60, 30, 100 + seed)
        for name, groups in (("rows", None), ("groups", labels)):
            detector = offnormal.PCAReconstruction(n_components=30, calibration=kind, random_state=seed)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # six groups are held out
                detector.fit(X, groups=groups).set_threshold("conformal:0.05")
            rates[name].append((detector.predict(new) == -1).mean())
        rates["odd"].append((detector.predict(4 * new) == -1).mean())
    assert np.mean(rates["rows"]) > 0.8, "a held-out row has its like among the training rows"
    assert detector.calibration_.groups == (60 if kind == "folds" else 6)
    promised = group_rate(0.05, detector.calibration_.groups)
    assert promised == pytest.approx((1 + 0.05 * 60) / 61 if kind == "folds" else 1.3 / 7)
    spread = np.std(rates["groups"], ddof=1) / np.sqrt(20)
    assert np.mean(rates["groups"]) < promised + 2 * spread
    assert np.mean(rates["odd"]) > 0.9, "a cut that lets everything pass keeps the promise too"
    assert detector.calibration_.n == (1800 if kind == "folds" else 180)


def test_the_promise_names_the_groups_and_the_model_file_keeps_them(tmp_path: Path) -> None:
    X, labels = rows_of(20, 30, 0)
    detector = offnormal.PCAReconstruction(calibration="folds", random_state=0).fit(X, groups=labels)
    assert detector.calibration_.groups == 20
    assert "the 600 calibration rows are of 20 groups" in detector.threshold_.promise
    assert "at most 5.71% of the normal rows of new groups" in detector.threshold_.promise  # (1 + 0.01 · 20) / 21
    assert "in 9 of 10 cases" not in detector.threshold_.promise, "that takes rows for independent"
    assert "approximate" in detector.threshold_.promise
    korean = thresholds.promise(detector.threshold_, "ko", groups=20)
    assert "묶음 20개" in korean
    assert "열에 아홉" not in korean
    detector.set_threshold("quantile:0.9")
    assert detector.threshold_.promise.count("of 20 groups") == 1
    detector.set_threshold("fixed:3")
    assert "groups" not in detector.threshold_.promise, "it promises no rate"
    offnormal.save(detector, tmp_path / "m.offnormal")
    assert offnormal.load(tmp_path / "m.offnormal").calibration_.groups == 20
    plain = offnormal.PCAReconstruction(random_state=0).fit(X)
    assert plain.calibration_.groups is None
    assert "in 9 of 10 cases" in plain.threshold_.promise


@pytest.mark.parametrize("groups", [0, 10_000, -1, True, "20", 1.5])
def test_a_model_file_with_impossible_groups_is_refused(groups: Any, tmp_path: Path) -> None:
    X, labels = rows_of(20, 30, 0)
    path = tmp_path / "m.offnormal"
    offnormal.save(offnormal.PCAReconstruction(random_state=0).fit(X, groups=labels), path)
    manifest, arrays = container.read(path)
    container.write(path, {**manifest, "calibration_groups": groups}, arrays)
    with pytest.raises(ModelFileError):
        offnormal.load(path)


def test_early_stopping_holds_out_whole_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}
    real = calibration.hold_out

    def watched(rows: int, share: float, seed: int, purpose: str, groups: Any = None) -> Any:
        seen[purpose] = groups
        return real(rows, share, seed, purpose, groups)

    monkeypatch.setattr(calibration, "hold_out", watched)
    X, labels = rows_of(20, 30, 0)
    with pytest.warns(UserWarning, match="The calibration rows are of 2 groups"):
        offnormal.Autoencoder(epochs=1, calibration="holdout", random_state=0).fit(X, groups=labels)
    kept, _ = real(600, 0.1, 0, "calibration", labels)
    assert np.array_equal(seen["calibration"], labels)
    assert np.array_equal(seen["early stopping"], labels[kept]), "those of the rows that are left"


def test_labels_may_be_of_any_kind() -> None:
    assert codes_of(None, 3) is None
    assert list(codes_of(["b", "a", "b"], 3)) == [1, 0, 1]  # type: ignore[arg-type]
    assert list(codes_of(np.array([7, 7, 2]), 3)) == [1, 1, 0]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        ([1, 2], "one label for each of the 30 rows"),
        (np.zeros((30, 1)), "one label for each of the 30 rows"),
        ([np.nan] * 30, "NaN"),
        ([None, "a"] * 15, "labels of one kind"),
        ([4] * 30, "All rows are of one group"),
    ],
)
def test_wrong_groups_are_refused(groups: Any, said: str) -> None:
    X = np.random.default_rng(0).normal(size=(30, 3))
    with pytest.raises(DataError, match=said):
        offnormal.PCAReconstruction(random_state=0).fit(X, groups=groups)


def test_one_group_can_be_learned_without_calibration() -> None:
    X = np.random.default_rng(0).normal(size=(30, 3))
    plain = offnormal.PCAReconstruction(calibration="none", random_state=0)
    assert np.array_equal(plain.fit(X, groups=[4] * 30).anomaly_score(X), plain.fit(X).anomaly_score(X)), (
        "nothing else sees the groups"
    )


def test_a_checkpoint_of_other_groups_is_refused(tmp_path: Path) -> None:
    X, labels = rows_of(20, 10, 0)
    model = offnormal.Autoencoder(epochs=2, calibration="none", random_state=0)
    model.fit(X, groups=labels, checkpoint=tmp_path)
    model.fit(X, groups=labels, checkpoint=tmp_path, resume=True)
    with pytest.raises(ModelFileError, match="belongs to other data"):
        model.fit(X, groups=labels // 2, checkpoint=tmp_path, resume=True)
