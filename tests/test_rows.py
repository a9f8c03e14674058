"""How an estimator takes rows: arrays by position, frames by name, everything else refused in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch

from offnormal import PCAReconstruction
from offnormal.errors import DataError, SchemaMismatch, UnknownName

ROWS = np.random.default_rng(0).normal(size=(40, 3))
FRAME = pd.DataFrame(ROWS, columns=list("abc"))


def pca(**changes: Any) -> PCAReconstruction:
    return PCAReconstruction(calibration="none", **changes)


def mixed(rows: int = 60) -> pd.DataFrame:
    draw = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "area": draw.uniform(380, 1210, rows),
            "country": draw.choice(["KR", "DE", "US"], rows, p=[0.8, 0.1, 0.1]),
            "urgent": draw.random(rows) < 0.2,
            "when": pd.Timestamp("2026-03-01") + pd.to_timedelta(draw.integers(0, 10**6, rows), unit="s"),
            "gap": [None] * rows,
            "fixed": 1.5,
        }
    )


# --- arrays and frames ------------------------------------------------------------------------------------------------


def test_the_same_numbers_in_any_clothing_have_the_same_scores() -> None:
    expected = pca().fit(ROWS).anomaly_score(ROWS)
    forms = [
        ROWS, ROWS.tolist(), torch.tensor(ROWS), np.asfortranarray(ROWS), ROWS.astype(object), FRAME,
        pl.DataFrame(FRAME), pl.LazyFrame(FRAME), pa.Table.from_pandas(FRAME), pa.RecordBatch.from_pandas(FRAME),
    ]  # fmt: skip
    for form in forms:
        assert np.array_equal(pca().fit(form).anomaly_score(form), expected), type(form)


@pytest.mark.parametrize("learned", [ROWS, FRAME, pl.DataFrame(FRAME)], ids=["array", "pandas", "polars"])
def test_learned_on_one_and_scored_on_the_other(learned: Any) -> None:
    detector = pca().fit(learned)
    expected = detector.anomaly_score(learned)
    for rows in (FRAME, pl.DataFrame(FRAME), pa.Table.from_pandas(FRAME)):
        assert np.array_equal(detector.anomaly_score(rows), expected)
    if learned is ROWS:
        assert np.array_equal(detector.anomaly_score(FRAME.rename(columns=str.upper)), expected), "by position"
        assert not hasattr(detector, "feature_names_in_")
    else:
        with pytest.warns(UserWarning, match="does not have valid feature names"):
            assert np.array_equal(detector.anomaly_score(ROWS), expected)
        assert detector.feature_names_in_.tolist() == list("abc")


def test_a_second_fit_forgets_the_names_of_the_first() -> None:
    detector = pca().fit(FRAME).fit(ROWS[:, :2])
    assert detector.n_features_in_ == 2
    assert not hasattr(detector, "feature_names_in_")
    assert not detector.schema_.named
    detector.fit(FRAME)
    assert detector.n_features_in_ == 3
    assert detector.schema_.names == ("a", "b", "c")


def test_masked_values_are_missing_values() -> None:
    masked = np.ma.masked_array(ROWS, mask=ROWS > 1)
    missing = np.where(ROWS > 1, np.nan, ROWS)
    detector = pca().fit(masked)
    assert np.array_equal(detector.anomaly_score(masked), pca().fit(missing).anomaly_score(missing))


def test_the_rows_are_left_as_they_were() -> None:
    array, frame = ROWS.copy(), FRAME.copy()
    detector = pca().fit(array)
    detector.anomaly_score(array)
    detector.explain(array)
    pca().fit(frame).anomaly_score(frame)
    assert np.array_equal(array, ROWS)
    pd.testing.assert_frame_equal(frame, FRAME)


# --- columns ----------------------------------------------------------------------------------------------------------


def test_columns_in_another_order_are_found_by_name() -> None:
    rows = mixed()
    detector = pca().fit(rows)
    expected = detector.anomaly_score(rows)
    shuffled = rows[["fixed", "when", "gap", "area", "urgent", "country"]]
    assert np.array_equal(detector.anomaly_score(shuffled), expected)
    assert detector.explain(shuffled).columns == tuple(rows.columns)
    assert detector.explain(shuffled[:5]).reasons() == detector.explain(rows[:5]).reasons()


def test_id_and_ignored_columns_are_never_used_and_may_be_absent() -> None:
    rows = mixed().drop(columns="gap").assign(customer=[f"C{i}" for i in range(60)], label=np.arange(60) % 2)
    detector = pca(id_columns=("customer",), ignored_columns=["label"]).fit(rows)
    assert "customer" not in detector.schema_.names
    assert detector.n_features_in_ == 5
    expected = detector.anomaly_score(rows)
    assert np.array_equal(detector.anomaly_score(rows.drop(columns=["customer", "label"])), expected)
    assert np.array_equal(detector.anomaly_score(rows.assign(customer=None, label="x")), expected)
    used = rows.drop(columns=["customer", "label"])
    assert np.array_equal(pca().fit(used).anomaly_score(used), expected)


def test_numbers_that_are_names_become_categories() -> None:
    rows = pd.DataFrame({"port": [80, 443, 80, 22] * 5, "size": np.arange(20.0)})
    detector = pca(categorical_columns=("port",)).fit(rows)
    assert detector.schema_.columns[0].categories == ("22", "443", "80")
    reasons = detector.explain(pd.DataFrame({"port": [8080], "size": [3.0]})).reasons()
    assert any("port = 8080 (never seen) (usually 80, 50%)" in reason for reason in reasons[0])


def test_unknown_columns_are_named_and_not_used() -> None:
    detector = pca().fit(FRAME)
    with pytest.warns(UserWarning, match="not used: 'd'"):
        scores = detector.anomaly_score(FRAME.assign(d=1))
    assert np.array_equal(scores, detector.anomaly_score(FRAME))
    with pytest.raises(SchemaMismatch, match="'b'"):
        detector.anomaly_score(FRAME.drop(columns="b"))


@pytest.mark.parametrize("name", ["id_columns", "ignored_columns", "categorical_columns"])
def test_named_columns_need_names(name: str) -> None:
    with pytest.raises(DataError, match=f"{name} names columns, and an array has no names"):
        pca(**{name: ("x0",)}).fit(ROWS)
    with pytest.raises(UnknownName, match="'aa'"):
        pca(**{name: ("aa",)}).fit(FRAME)


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["rows.csv", Path("rows.csv"), "/no/such/rows.parquet"])
def test_a_path_is_no_table_and_the_way_to_one_is_told(path: Any) -> None:
    words = r"got the path '.*rows\.\w+'\. Read it first: offnormal\.read_table\('"
    with pytest.raises(DataError, match=words):
        pca().fit(path)
    detector = pca().fit(FRAME)
    for method in (detector.anomaly_score, detector.predict, detector.explain, detector.transform):
        with pytest.raises(DataError, match=words):
            method(path)


def test_duplicate_names_are_named() -> None:
    frame = pd.DataFrame(ROWS, columns=["a", "a", "b"])
    with pytest.raises(DataError, match="'a'"):
        pca().fit(frame)
    with pytest.raises(DataError, match="'a'"):
        pca().fit(frame.set_axis(list("abc"), axis=1)).anomaly_score(frame)


@pytest.mark.parametrize("rows", [ROWS[:0], FRAME[:0], pl.DataFrame(FRAME)[:0]], ids=["array", "pandas", "polars"])
def test_no_rows(rows: Any) -> None:
    with pytest.raises(ValueError, match=r"0 sample|n_samples=0"):
        pca().fit(rows)
    detector = pca().fit(ROWS if isinstance(rows, np.ndarray) else FRAME)
    with pytest.raises(ValueError, match=r"0 sample|no rows"):
        detector.anomaly_score(rows)


# --- texts of reasons -------------------------------------------------------------------------------------------------


def test_what_stood_there_and_what_is_usual_in_every_kind_of_column() -> None:
    rows = mixed()
    detector = pca().fit(rows)
    odd = pd.DataFrame(
        {
            "area": [2501.0, None],
            "country": ["FR", None],
            "urgent": pd.array([True, None], dtype="boolean"),
            "when": [pd.Timestamp("2027-01-01 05:06:07"), pd.NaT],
            "gap": [3.5, None],
            "fixed": [2.0, 1.5],
        }
    )
    with pytest.warns(UserWarning, match="missing in 1 of 2 rows and was never missing in training"):
        explanation = detector.explain(odd)
    assert explanation.values[0] == ["2,501", "FR (never seen)", "true", "2027-01-01 05:06:07", "3.5", "2"]
    assert explanation.values[1] == ["missing"] * 5 + ["1.5"]
    low, high = np.quantile(rows["area"], [0.05, 0.95])
    share = (rows["country"] == "KR").mean()
    assert explanation.usual == (
        f"{low:,.4g} to {high:,.4g}", f"KR, {share:.0%}", f"false, {1 - rows['urgent'].mean():.0%}", "any time",
        "missing", "1.5",
    )  # fmt: skip
    assert any(reason.startswith("country = FR (never seen) (usually KR, ") for reason in explanation.reasons(6)[0])


def test_a_dead_sensor_is_told_and_a_known_gap_is_not() -> None:
    rows = pd.DataFrame({"a": np.arange(20.0), "b": [np.nan, *np.arange(19.0)]})
    detector = pca().fit(rows)
    detector.anomaly_score(pd.DataFrame({"a": [1.0], "b": [np.nan]}))
    with pytest.warns(UserWarning, match="'a' is missing in 2 of 3 rows"):
        detector.anomaly_score(pd.DataFrame({"a": [1.0, np.nan, np.nan], "b": [1.0, 2.0, 3.0]}))


def test_texts_that_are_all_times_are_times_as_in_a_file() -> None:
    stamps = [f"2026-01-{day:02d} 08:00:00" for day in range(1, 29)]
    detector = pca().fit(pd.DataFrame({"when": stamps, "x": np.arange(28.0)}))
    assert [column.kind for column in detector.schema_.columns] == ["datetime", "numeric"]
    words = pca(categorical_columns=("when",)).fit(pd.DataFrame({"when": stamps[:9] * 2, "x": np.arange(18.0)}))
    assert words.schema_.columns[0].kind == "category"


def test_a_frequency_coded_column_speaks_in_its_own_words() -> None:
    rows = pd.DataFrame({"code": [f"A{i % 7}" for i in range(70)] + ["A0"] * 10, "x": np.arange(80.0)})
    detector = pca(max_categories=3).fit(rows)
    assert detector.schema_.columns[0].coding == "frequency"
    values = detector.explain(pd.DataFrame({"code": ["A3", "B9", None], "x": [1.0, 2, 3]})).values
    assert [row[0] for row in values] == ["A3", "B9 (never seen)", "missing"]
    assert detector.explain(rows[:1]).usual[0] == "A0, 25%"


def test_rows_without_names_are_explained_by_position() -> None:
    detector = pca(n_components=1).fit(ROWS)  # with two of three directions kept, every column would explain alike
    far = ROWS[:1].copy()
    far[0, 1] = 1e4
    assert detector.explain(far).columns == ("x0", "x1", "x2")
    assert detector.explain(far).reasons(1)[0][0].startswith("x1 = 10,000 (usually -")
    named = pd.DataFrame(far, columns=["p", "q", "r"])
    assert detector.explain(named).reasons() == detector.explain(far).reasons()
