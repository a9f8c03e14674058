"""Preprocessing: every kind of column against scikit-learn or a closed form, and the laws of a row-wise module."""

from __future__ import annotations

import copy
import datetime
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler

from offnormal.data.columns import Column, Schema
from offnormal.data.preprocess import Scaling, TablePreprocessor
from offnormal.data.tables import read_table
from offnormal.errors import DataError, ModelFileError

SKLEARN = {"standard": StandardScaler, "minmax": MinMaxScaler}


def fitted(table: pa.Table, scaling: Scaling = "standard", **options: Any) -> tuple[TablePreprocessor, Schema]:
    schema = Schema.learn(table, **options)
    return TablePreprocessor.fit(schema.encode(table), schema, scaling), schema


def features(module: TablePreprocessor, schema: Schema, table: pa.Table) -> dict[str, np.ndarray]:
    """Return name -> values of each feature."""
    result = module.transform(schema.encode(table))
    assert result.dtype == torch.float32
    assert result.shape == (table.num_rows, module.n_features)
    return dict(zip(module.feature_names, result.numpy().T, strict=True))


def mixed_table(rows: int = 400, seed: int = 0) -> pa.Table:
    """Every kind of column, with missing values in each."""
    rng = np.random.default_rng(seed)

    def holes(values: Any, kind: pa.DataType) -> pa.Array:
        return pa.array(values, kind, mask=rng.random(rows) < 0.1)

    return pa.table(
        {
            "amount": holes(rng.lognormal(size=rows), pa.float64()),
            "count": holes(rng.integers(0, 9, rows), pa.int64()),
            "active": holes(rng.random(rows) < 0.3, pa.bool_()),
            "color": holes(rng.choice(["red", "green", "blue"], rows), pa.string()),
            "url": holes([f"u{int(u)}" for u in rng.exponential(40, rows)], pa.string()),
            "when": holes(rng.integers(1.6e9, 1.7e9, rows), pa.int64()).cast(pa.timestamp("s")),
            "empty": pa.nulls(rows),
            "constant": pa.array([0.1] * rows),
        }
    )


class TestNumbers:
    @pytest.mark.parametrize("scaling", ["standard", "minmax"])
    def test_equal_scikit_learn(self, scaling: Scaling) -> None:
        rng = np.random.default_rng(1)
        train = rng.lognormal(2, 2, (500, 6)) * 10.0 ** np.arange(-4, 8, 2)
        later = rng.lognormal(2, 3, (200, 6)) * 10.0 ** np.arange(-4, 8, 2)
        module = TablePreprocessor.fit(train, Schema.of_array(6), scaling)
        theirs = SKLEARN[scaling]().fit(train)
        for rows in (train, later):
            np.testing.assert_allclose(module.transform(rows), theirs.transform(rows), rtol=3e-7, atol=1e-7)

    @pytest.mark.parametrize("scaling", ["standard", "minmax"])
    def test_missing_values_equal_scikit_learn(self, scaling: Scaling) -> None:
        rng = np.random.default_rng(2)
        train = rng.normal(5, 3, (301, 3))
        train[rng.random(train.shape) < 0.2] = np.nan
        module = TablePreprocessor.fit(train, Schema.of_array(3), scaling)
        # Scaled by the values present, then filled with the median; the scaling is monotone, so both orders agree.
        scaled = SKLEARN[scaling]().fit_transform(train)
        imputed = SimpleImputer(strategy="median", add_indicator=True).fit_transform(scaled)
        np.testing.assert_allclose(module.transform(train), imputed, rtol=3e-7, atol=1e-7)
        assert module.feature_names == ("x0", "x1", "x2", "x0 (missing)", "x1 (missing)", "x2 (missing)")

    def test_no_indicator_without_a_missing_value_in_training(self) -> None:
        module = TablePreprocessor.fit(np.array([[1.0], [2.0], [9.0]]), Schema.of_array(1), "none")
        assert module.feature_names == ("x0",)
        np.testing.assert_array_equal(module.transform(np.array([[np.nan]])), [[2.0]])

    def test_unscaled_numbers_stay(self) -> None:
        rows = np.array([[1.0, -5.0], [2.0, 7.5]])
        np.testing.assert_array_equal(TablePreprocessor.fit(rows, Schema.of_array(2), "none").transform(rows), rows)

    @pytest.mark.parametrize("scaling", ["standard", "minmax", "none"])
    def test_outliers_are_not_clipped(self, scaling: Scaling) -> None:
        train = np.array([[0.0], [2.0], [4.0]])
        module = TablePreprocessor.fit(train, Schema.of_array(1), scaling)
        deviation = {"standard": math.sqrt(8 / 3), "minmax": 4.0, "none": 1.0}[scaling]
        center = {"standard": 2.0, "minmax": 0.0, "none": 0.0}[scaling]
        far = np.array([[1e6], [-1e9], [1e14]])
        np.testing.assert_allclose(module.transform(far), (far - center) / deviation, rtol=1e-6)

    @pytest.mark.parametrize("scaling", ["standard", "minmax"])
    @pytest.mark.parametrize("value", [0.0, 0.1, -3e-5, 1e9 + 0.1, 1e300, 5e-324])
    def test_constant_columns_are_only_centered(self, scaling: Scaling, value: float) -> None:
        module = TablePreprocessor.fit(np.full((1001, 1), value), Schema.of_array(1), scaling)
        np.testing.assert_allclose(module.transform(np.array([[value]])), 0, atol=1e-6 + abs(value) * 1e-15)
        assert module.scale.item() == 1.0

    @pytest.mark.parametrize("scaling", ["standard", "minmax"])
    def test_rounding_noise_is_no_spread(self, scaling: Scaling) -> None:
        train = np.array([[0.3], [0.1 + 0.2]] * 50)
        assert train.std() > 0
        module = TablePreprocessor.fit(train, Schema.of_array(1), scaling)
        np.testing.assert_allclose(module.transform(train), 0, atol=1e-12)

    @pytest.mark.parametrize("scaling", ["standard", "minmax"])
    def test_a_small_spread_on_a_large_offset_is_kept(self, scaling: Scaling) -> None:
        train = 1.7e9 + np.arange(100.0)[:, None]  # seconds of two minutes
        module = TablePreprocessor.fit(train, Schema.of_array(1), scaling)
        np.testing.assert_allclose(module.transform(train), SKLEARN[scaling]().fit_transform(train), atol=1e-6)

    @pytest.mark.parametrize("scaling", ["standard", "minmax", "none"])
    def test_finite_input_gives_finite_output(self, scaling: Scaling) -> None:
        train = np.array([[1e300, 1e-300, 1.7e308], [-1e300, 2e-300, -1.7e308], [0.0, 3e-300, 1.0]])
        module = TablePreprocessor.fit(train, Schema.of_array(3), scaling)
        assert module.transform(train).isfinite().all()
        assert module.transform(np.full((1, 3), 1.7e308)).isfinite().all()
        if scaling == "standard":
            np.testing.assert_allclose(module.transform(train)[:, 0], np.sqrt([1.5, 1.5, 0]) * [1, -1, 0], rtol=1e-6)

    def test_a_column_without_any_value_is_zero_and_its_indicator(self) -> None:
        train = np.array([[np.nan, 1.0], [np.nan, 3.0]])
        module = TablePreprocessor.fit(train, Schema.of_array(2), "standard")
        np.testing.assert_array_equal(module.transform(train), [[0, -1, 1], [0, 1, 1]])
        np.testing.assert_array_equal(module.transform(np.array([[1e6, 3.0]])), [[0, 1, 0]])

    @pytest.mark.parametrize("scaling", ["standard", "minmax"])
    def test_booleans_are_not_scaled(self, scaling: Scaling) -> None:
        table = pa.table({"b": [True, False, False, None]})
        module, schema = fitted(table, scaling)
        found = features(module, schema, table)
        np.testing.assert_array_equal(found["b"], [1, 0, 0, 0])
        np.testing.assert_array_equal(found["b (missing)"], [0, 0, 0, 1])


class TestCategories:
    @pytest.mark.parametrize("scaling", ["standard", "minmax"])
    def test_one_hot_equals_scikit_learn(self, scaling: Scaling) -> None:
        rng = np.random.default_rng(3)
        train, later = rng.choice(list("abcd"), (100, 2)), rng.choice(list("abcdxyz"), (100, 2))
        module, schema = fitted(pa.table({"u": train[:, 0], "v": train[:, 1]}), scaling)
        ours = features(module, schema, pa.table({"u": later[:, 0], "v": later[:, 1]}))
        theirs = OneHotEncoder(handle_unknown="ignore", sparse_output=False).fit(train)
        known = [f"{column}={value}" for column in "uv" for value in "abcd"]
        np.testing.assert_array_equal(np.stack([ours[name] for name in known], axis=1), theirs.transform(later))
        for place, column in enumerate("uv"):
            np.testing.assert_array_equal(ours[f"{column}=(unseen)"], np.isin(later[:, place], list("xyz")))
        assert len(ours) == 10

    def test_missing_has_its_feature_if_training_had_one(self) -> None:
        module, schema = fitted(pa.table({"c": ["a", None, "b"]}))
        found = features(module, schema, pa.table({"c": [None, "z", "a"]}))
        assert found.keys() == {"c=a", "c=b", "c=(unseen)", "c=(missing)"}
        np.testing.assert_array_equal(found["c=(missing)"], [1, 0, 0])
        np.testing.assert_array_equal(found["c=(unseen)"], [0, 1, 0])

    def test_missing_counts_as_unseen_if_training_had_none(self) -> None:
        module, schema = fitted(pa.table({"c": ["a", "b"]}))
        found = features(module, schema, pa.table({"c": [None, "z", "a"]}))
        np.testing.assert_array_equal(found["c=(unseen)"], [1, 1, 0])

    def test_each_row_has_exactly_one_of_the_one_hot_features(self) -> None:
        module, schema = fitted(mixed_table())
        found = features(module, schema, mixed_table(seed=5))
        color = np.stack([value for name, value in found.items() if name.startswith("color=")])
        np.testing.assert_array_equal(color.sum(axis=0), 1)

    def test_frequency_is_the_surprise_of_the_value(self) -> None:
        train = pa.table({"u": ["a"] * 4 + ["b"] * 2 + ["c", None]})
        module, schema = fitted(train, "none", max_categories=2)
        found = features(module, schema, pa.table({"u": ["a", "b", "c", None, "z"]}))
        np.testing.assert_allclose(found["u (rarity)"], np.log([2, 4, 8, 8, 9]), rtol=1e-6)
        assert module.n_features == 1

    @pytest.mark.parametrize("scaling", ["standard", "minmax"])
    def test_frequency_is_scaled_like_a_number(self, scaling: Scaling) -> None:
        rng = np.random.default_rng(4)
        texts = [f"u{int(value)}" for value in rng.exponential(20, 500)]
        module, schema = fitted(pa.table({"u": texts}), scaling, max_categories=5)
        shares = {text: texts.count(text) / 500 for text in set(texts)}
        surprise = -np.log([[shares[text]] for text in texts])
        theirs = SKLEARN[scaling]().fit(surprise)
        ours = features(module, schema, pa.table({"u": texts}))["u (rarity)"]
        np.testing.assert_allclose(ours, theirs.transform(surprise)[:, 0], rtol=1e-5, atol=1e-6)
        unseen = features(module, schema, pa.table({"u": ["never"]}))["u (rarity)"]
        np.testing.assert_allclose(unseen, theirs.transform([[math.log(501)]])[:, 0], rtol=1e-6)

    def test_a_value_known_to_the_schema_but_not_among_the_rows_is_as_rare_as_unseen(self) -> None:
        table = pa.table({"u": ["a", "a", "b", "c"]})
        schema = Schema.learn(table, max_categories=2)
        encoded = schema.encode(table)
        module = TablePreprocessor.fit(encoded[:3], schema, "none")
        np.testing.assert_allclose(module.transform(encoded)[3], np.log(4), rtol=1e-6)

    def test_two_frequency_columns_keep_apart(self) -> None:
        table = pa.table({"u": ["a", "b", "c", "a"], "x": [1, 2, 3, 4], "v": ["p", "p", "p", "q"]})
        module, schema = fitted(table, "none", max_categories=1)
        found = features(module, schema, table)
        np.testing.assert_allclose(found["u (rarity)"], np.log([2, 4, 4, 2]), rtol=1e-6)
        np.testing.assert_allclose(found["v (rarity)"], np.log([4 / 3, 4 / 3, 4 / 3, 4]), rtol=1e-6)


class TestTimes:
    def test_day_and_week_are_circles(self) -> None:
        moments = [
            datetime.datetime(2026, 1, 5, 6) + datetime.timedelta(days=d, hours=h) for d, h in ((0, 0), (2, 6), (9, 6))
        ]
        module, schema = fitted(pa.table({"t": moments}))
        found = features(module, schema, pa.table({"t": moments}))
        # 06:00 is a quarter of the day, 12:00 a half; the second and third are the same weekday.
        np.testing.assert_allclose(found["t time of day (sin)"], [1, 0, 0], atol=1e-6)
        np.testing.assert_allclose(found["t time of day (cos)"], [0, -1, -1], atol=1e-6)
        week = np.stack([found["t day of week (sin)"], found["t day of week (cos)"]])
        np.testing.assert_allclose((week**2).sum(axis=0), 1, rtol=1e-6)
        np.testing.assert_array_equal(week[:, 1], week[:, 2])
        angle = math.acos(float(week[:, 0] @ week[:, 1]))
        assert angle == pytest.approx(2 * 2 * math.pi / 7, abs=1e-5)

    def test_the_date_itself_does_not_matter(self) -> None:
        day = datetime.datetime(1999, 12, 31, 23, 59, 59)
        moments = [day, day + datetime.timedelta(weeks=1500), day - datetime.timedelta(weeks=3000)]
        module, schema = fitted(pa.table({"t": moments}))
        for feature in features(module, schema, pa.table({"t": moments})).values():
            np.testing.assert_allclose(feature, feature[0], atol=1e-6)

    def test_a_missing_time_is_the_center_with_an_indicator(self) -> None:
        table = pa.table({"t": pa.array([0, None], pa.timestamp("s"))})
        module, schema = fitted(table)
        found = features(module, schema, table)
        np.testing.assert_array_equal(found.pop("t (missing)"), [0, 1])
        assert all(feature[1] == 0 for feature in found.values())


class TestLaws:
    @pytest.mark.parametrize("scaling", ["standard", "minmax", "none"])
    def test_a_row_does_not_depend_on_the_other_rows(self, scaling: Scaling) -> None:
        module, schema = fitted(mixed_table(), scaling, max_categories=10)
        encoded = torch.from_numpy(schema.encode(mixed_table(seed=1)))
        whole = module(encoded)
        for size in (1, 2, 3, 7, 33, 129):
            parts = torch.cat([module(block) for block in encoded.split(size)])
            assert torch.equal(parts, whole)
        order = torch.randperm(len(encoded), generator=torch.Generator().manual_seed(0))
        assert torch.equal(module(encoded[order]), whole[order])
        assert torch.equal(module.transform(encoded.numpy()), whole)

    @settings(deadline=None, derandomize=True, max_examples=50)
    @given(st.data())
    def test_any_matrix_gives_finite_rows_of_the_promised_width(self, data: st.DataObject) -> None:
        cells = st.one_of(st.just(np.nan), st.floats(allow_infinity=False, allow_nan=False))
        train = data.draw(arrays(np.float64, st.tuples(st.integers(2, 8), st.just(3)), elements=cells))
        later = data.draw(arrays(np.float64, st.tuples(st.integers(1, 8), st.just(3)), elements=cells))
        for scaling in ("standard", "minmax", "none"):
            module = TablePreprocessor.fit(train, Schema.of_array(3), scaling)
            assert module.transform(later).isfinite().all()
            assert module.transform(later).shape == (len(later), module.n_features)

    def test_every_feature_names_its_column(self) -> None:
        module, schema = fitted(mixed_table(), max_categories=10)
        assert len(module.feature_names) == len(set(module.feature_names)) == module.n_features
        assert module.source_column.dtype == torch.int64
        for feature, source in zip(module.feature_names, module.source_column.tolist(), strict=True):
            assert feature.startswith(schema.names[source])
        assert set(module.source_column.tolist()) == set(range(8))

    def test_changing_one_column_changes_only_its_features(self) -> None:
        module, schema = fitted(mixed_table(), max_categories=10)
        encoded = schema.encode(mixed_table())
        for j in range(encoded.shape[1]):
            changed = encoded.copy()
            changed[:, j] = np.where(np.isnan(encoded[:, j]), 0, encoded[:, j] + 4321)
            if schema.columns[j].kind == "category":
                changed[:, j] = len(schema.columns[j].categories)
            differs = (module.transform(changed) != module.transform(encoded)).any(dim=0)
            assert set(module.source_column[differs].tolist()) <= {j}

    def test_the_state_is_all_there_is(self) -> None:
        module, schema = fitted(mixed_table(), max_categories=10)
        plan = json.loads(json.dumps(module.plan))
        rebuilt = TablePreprocessor.from_plan(Schema.from_json(schema.to_json()), "standard", plan)
        rebuilt.load_state_dict(module.state_dict())
        encoded = schema.encode(mixed_table(seed=9))
        assert torch.equal(rebuilt.transform(encoded), module.transform(encoded))
        assert rebuilt.feature_names == module.feature_names
        empty = TablePreprocessor.empty(schema, "standard", module.missing)
        assert {k: v.shape for k, v in empty.state_dict().items()} == {
            k: v.shape for k, v in module.state_dict().items()
        }
        assert all(isinstance(tensor, torch.Tensor) for tensor in module.state_dict().values())
        assert torch.equal(copy.deepcopy(module).transform(encoded), module.transform(encoded))

    @pytest.mark.parametrize(
        "plan",
        [
            None,
            {},
            {"missing": 3},
            {"missing": [8]},
            {"missing": [-1]},
            {"missing": [1, 1]},
            {"missing": [True]},
            {"missing": ["0"]},
            {"missing": [2, 1]},
        ],
    )
    def test_altered_plans_are_refused(self, plan: Any) -> None:
        schema = Schema.learn(mixed_table())
        with pytest.raises(ModelFileError):
            TablePreprocessor.from_plan(schema, "standard", plan)
        with pytest.raises(ModelFileError):
            TablePreprocessor.from_plan(schema, "robust", {"missing": []})

    @pytest.mark.parametrize(
        ("name", "column", "value"),
        [
            ("scale", "amount", 0.0),
            ("scale", "amount", -1.0),
            ("scale", "color", 2.0),
            ("center", "amount", np.nan),
            ("center", "url", 1.0),
            ("fill", "amount", np.inf),
            ("fill", "url", 1e9),
            ("rarity", "amount", np.nan),
        ],
    )
    def test_altered_state_is_refused(self, name: str, column: str, value: float) -> None:
        module, schema = fitted(mixed_table(), max_categories=10)
        state = {key: tensor.clone() for key, tensor in module.state_dict().items()}
        state[name][0 if name == "rarity" else schema.names.index(column)] = value
        with pytest.raises(ModelFileError, match="damaged"):
            TablePreprocessor.from_plan(schema, "standard", module.plan).load_state_dict(state)

    def test_one_graph_without_branches_on_data(self) -> None:
        module, schema = fitted(mixed_table(), max_categories=10)
        encoded = torch.from_numpy(schema.encode(mixed_table(seed=3)))
        rows = torch.export.Dim("rows", min=2, max=100_000)
        program = torch.export.export(module, (encoded[:10],), dynamic_shapes=({0: rows},))
        assert torch.equal(program.module()(encoded), module(encoded))

    def test_too_few_rows_or_other_columns(self) -> None:
        with pytest.raises(DataError, match="n_samples=1"):
            TablePreprocessor.fit(np.zeros((1, 2)), Schema.of_array(2), "standard")
        with pytest.raises(DataError, match="3 columns"):
            TablePreprocessor.fit(np.zeros((5, 2)), Schema.of_array(3), "standard")

    def test_fitting_changes_neither_its_input_nor_the_random_state(self) -> None:
        schema = Schema.learn(mixed_table())
        encoded = schema.encode(mixed_table())
        before, state = encoded.copy(), torch.random.get_rng_state()
        TablePreprocessor.fit(encoded, schema, "standard").transform(encoded)
        np.testing.assert_array_equal(encoded, before)
        assert torch.equal(torch.random.get_rng_state(), state)


def test_a_wide_table_has_one_feature_per_column() -> None:
    schema = Schema((*(Column(f"n{i}", "numeric") for i in range(500)), Column("c", "category", ("a",))))
    module = TablePreprocessor.fit(np.zeros((3, 501)), schema, "minmax")
    assert module.n_features == 502


def test_the_kdd_table_equals_scikit_learn(shared_data: Path) -> None:
    parsed = np.load(shared_data / "tabular" / "kddcup99_10_percent.npz")
    names = [*map(str, parsed["columns"]), "label"]
    table = read_table(shared_data / "tabular" / "kddcup99_10_percent.csv.gz", names=names)
    schema = Schema.learn(table, ignored=["label"])
    encoded = schema.encode(table)
    module = TablePreprocessor.fit(encoded, schema, "minmax")
    assert module.n_features == 38 + 80 + 3  # and an "unseen" feature for each of the three texts

    rows = np.random.default_rng(0).choice(len(encoded), 20_000, replace=False)
    numbers = MinMaxScaler().fit(parsed["X_num"]).transform(parsed["X_num"][rows])
    ours = module.transform(encoded[rows]).numpy()
    np.testing.assert_allclose(ours[:, :38], numbers, rtol=1e-6, atol=1e-7)
    codes = OneHotEncoder(sparse_output=False).fit(parsed["X_cat"]).transform(parsed["X_cat"][rows])
    np.testing.assert_array_equal(np.sort(ours[:, 38:].sum(axis=0))[3:], np.sort(codes.sum(axis=0)))
    np.testing.assert_array_equal(ours[:, 38:].sum(axis=1), 3)
