"""The schema: what is learned about columns, and how later tables are held against it."""

from __future__ import annotations

import datetime
import decimal
import json
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import OrdinalEncoder

from offnormal.data.columns import Column, Schema
from offnormal.data.tables import read_table
from offnormal.errors import DataError, InvalidParameter, ModelFileError, SchemaMismatch, UnknownName


def small_table() -> pa.Table:
    return pa.table(
        {
            "age": [31, None, 58, 44],
            "premium": [True, False, None, True],
            "country": ["KR", "DE", None, "KR"],
            "joined": pa.array([0, 86400, None, 90000], pa.timestamp("s")),
            "customer": ["c1", "c2", "c3", "c4"],
        }
    )


class TestLearn:
    def test_decides_each_kind(self) -> None:
        schema = Schema.learn(small_table(), ids=["customer"])
        assert [(c.name, c.kind) for c in schema.columns] == [
            ("age", "numeric"),
            ("premium", "boolean"),
            ("country", "category"),
            ("joined", "datetime"),
        ]
        assert schema.columns[2].categories == ("DE", "KR")
        assert schema.ids == ("customer",)

    @pytest.mark.parametrize(
        ("array", "kind"),
        [
            (pa.array([1, 2], pa.uint8()), "numeric"),
            (pa.array([1, 2], pa.float16()), "numeric"),
            (pa.array([decimal.Decimal("1.5"), None]), "numeric"),
            (pa.array([1, 2], pa.duration("ms")), "numeric"),
            (pa.nulls(2), "numeric"),
            (pa.array([1.5, 1.5]).dictionary_encode(), "numeric"),
            (pa.array(["a", "b"], pa.large_string()), "category"),
            (pa.array(["a", "b"], pa.string_view()), "category"),
            (pa.array(["a", "b"]).dictionary_encode(), "category"),
            (pa.array([None, None], pa.string()), "category"),
            (pa.array([b"a", b"b"]), "category"),
            (pa.array([True, None]), "boolean"),
            (pa.array([1, 2], pa.date32()), "datetime"),
            (pa.array([86_400_000, None], pa.date64()), "datetime"),
            (pa.array([1, 2], pa.time32("s")), "datetime"),
            (pa.array([1, 2], pa.timestamp("ns", "Asia/Seoul")), "datetime"),
        ],
        ids=lambda value: str(value.type) if isinstance(value, pa.Array) else None,
    )
    def test_every_arrow_type_with_a_number_for_each_row(self, array: pa.Array, kind: str) -> None:
        table = pa.table({"x": array})
        schema = Schema.learn(table)
        assert schema.columns[0].kind == kind
        missing = np.isnan(schema.encode(table)[:, 0])
        assert missing.tolist() == [cell is None for cell in array.to_pylist()]

    @pytest.mark.parametrize("array", [pa.array([[1], [2]]), pa.array([{"a": 1}, {"a": 2}]), pa.array([[], None])])
    def test_nested_columns_are_refused_by_name(self, array: pa.Array) -> None:
        with pytest.raises(DataError, match=r"'tags' holds (list|struct)<.*--ignore"):
            Schema.learn(pa.table({"tags": array, "x": [1, 2]}))
        assert Schema.learn(pa.table({"tags": array, "x": [1, 2]}), ignored=["tags"]).names == ("x",)

    def test_many_values_are_coded_by_frequency(self) -> None:
        table = pa.table({"few": ["a", "b"] * 60, "many": [f"v{i % 60}" for i in range(120)]})
        few, many = Schema.learn(table, max_categories=50).columns
        assert (few.coding, many.coding) == ("one_hot", "frequency")
        assert len(many.categories) == 60

    def test_the_vocabulary_of_a_frequency_coded_column_keeps_the_most_frequent(self) -> None:
        frequent = [f"f{i:05d}" for i in range(10_000)]
        table = pa.table({"url": frequent * 2 + [f"rare{i}" for i in range(500)]})
        (column,) = Schema.learn(table).columns
        assert column.categories == tuple(frequent)

    def test_all_distinct_texts_look_like_an_identifier(self) -> None:
        table = pa.table({"session": [f"s{i}" for i in range(30)], "x": range(30)})
        with pytest.warns(UserWarning, match=r"'session'.*--id"):
            Schema.learn(table)
        Schema.learn(table, ids=["session"])
        Schema.learn(table.slice(0, 15))

    def test_numbers_can_be_declared_categories(self) -> None:
        table = pa.table({"code": [7, 7, 9], "share": [0.5, 2.0, None], "x": [1, 2, 3]})
        schema = Schema.learn(table, categorical=["code", "share"])
        assert schema.columns[0].categories == ("7", "9")
        assert schema.columns[1].categories == ("0.5", "2")
        floats = table.set_column(0, "code", [[7.0, None, 9.0]])  # as pandas gives integers with a gap
        np.testing.assert_array_equal(schema.encode(floats)[:, 0], [0, np.nan, 1])
        assert schema.text_columns == ("code", "share")

    def test_names_that_do_not_exist_get_a_suggestion(self) -> None:
        with pytest.raises(UnknownName, match="Did you mean 'customer'"):
            Schema.learn(small_table(), ids=["custumer"])
        with pytest.raises(InvalidParameter, match="'country'"):
            Schema.learn(small_table(), ignored=["country"], categorical=["country"])

    @pytest.mark.parametrize("rows", [0, 1])
    def test_needs_two_rows(self, rows: int) -> None:
        with pytest.raises(DataError, match=f"n_samples={rows}"):
            Schema.learn(small_table().slice(0, rows))

    def test_needs_a_column(self) -> None:
        with pytest.raises(DataError, match="No column is left"):
            Schema.learn(pa.table({"id": [1, 2]}), ids=["id"])

    def test_duplicate_names_are_named(self) -> None:
        table = pa.Table.from_arrays([pa.array([1, 2])] * 3, names=["a", "b", "a"])
        with pytest.raises(DataError, match=r"'a' came more than once.*header"):
            Schema.learn(table)
        with pytest.raises(DataError, match="'a' came more than once"):
            Schema.of_array(3).encode(table)


class TestEncode:
    def test_numbers_booleans_codes_and_seconds(self) -> None:
        table = small_table()
        matrix = Schema.learn(table, ids=["customer"]).encode(table)
        nan = np.nan
        expected = [[31, 1, 1, 0], [nan, 0, 0, 86400], [58, nan, nan, nan], [44, 1, 1, 90000]]
        np.testing.assert_array_equal(matrix, expected)
        assert matrix.dtype == np.float64
        assert matrix.flags.c_contiguous

    def test_codes_agree_with_scikit_learn(self) -> None:
        rng = np.random.default_rng(0)
        train, later = rng.choice(list("abcdef"), (50, 2)), rng.choice(list("abcdefgh"), (50, 2))
        theirs = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=6).fit(train)
        schema = Schema.learn(pa.table({"u": train[:, 0], "v": train[:, 1]}))
        ours = schema.encode(pa.table({"v": later[:, 1], "u": later[:, 0]}))
        np.testing.assert_array_equal(ours, theirs.transform(later))

    def test_times_of_every_unit_are_the_same_moment(self) -> None:
        moment = datetime.datetime(2026, 3, 1, 12, 30, 15, tzinfo=datetime.UTC)
        schema = Schema.learn(pa.table({"t": pa.array([0, 1], pa.timestamp("s"))}))
        naive = moment.replace(tzinfo=None)
        arrays = [pa.array([naive], pa.timestamp(unit)) for unit in ("s", "ms", "us", "ns")]
        arrays += [pa.array([moment], pa.timestamp("us", zone)) for zone in ("UTC", "Asia/Seoul")]
        arrays += [pa.array([text]) for text in ("2026-03-01 12:30:15", "2026-03-01T21:30:15+09:00")]
        for array in arrays:
            assert schema.encode(pa.table({"t": array}))[0, 0] == moment.timestamp()
        mixed = pa.array(["2026-03-01 12:30:15Z", "2026-03-01 12:30:15.5", "NA", "2026-03-01"])
        expected = [moment.timestamp(), moment.timestamp() + 0.5, np.nan, moment.timestamp() - 45015]
        np.testing.assert_array_equal(schema.encode(pa.table({"t": mixed}))[:, 0], expected)

    def test_durations_are_seconds_and_times_of_day_count_from_midnight(self) -> None:
        table = pa.table({"d": pa.array([1500, 2500], pa.duration("ms")), "t": pa.array([61, 62], pa.time32("s"))})
        np.testing.assert_array_equal(Schema.learn(table).encode(table), [[1.5, 61], [2.5, 62]])

    def test_columns_are_put_in_order_and_extra_ones_named(self) -> None:
        train = pa.table({"a": [1, 2], "b": [3, 4], "id": [5, 6], "note": ["x", "y"]})
        schema = Schema.learn(train, ids=["id"], ignored=["note"])
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            np.testing.assert_array_equal(schema.encode(train.select(["note", "b", "a"])), [[1, 3], [2, 4]])
        with pytest.warns(UserWarning, match="'c', 'd'") as caught:
            schema.encode(train.append_column("c", [[0, 0]]).append_column("d", [[0, 0]]))
        assert len(caught) == 1

    def test_missing_columns_are_all_named_with_a_suggestion(self) -> None:
        schema = Schema.learn(pa.table({"age": [1, 2], "income": [1, 2], "x": [1, 2]}))
        with pytest.raises(SchemaMismatch, match=r"Columns 'age', 'income' .* are missing.*'Age ' for 'age'"):
            schema.encode(pa.table({"Age ": [1, 2], "x": [1, 2]}))

    def test_mistyped_columns_are_all_named_with_the_first_value(self) -> None:
        schema = Schema.learn(small_table(), ids=["customer"])
        odd = pa.table(
            {
                "age": ["31", "?", "old", "older"],
                "premium": ["true", "FALSE", "1", "maybe"],
                "country": ["KR"] * 4,
                "joined": [1, 2, 3, 4],
            }
        )
        with pytest.raises(SchemaMismatch) as caught:
            schema.encode(odd)
        message = str(caught.value)
        assert "'age' should hold numbers but row 2 has 'old'" in message
        assert "'premium' should hold true or false but row 3 has 'maybe'" in message
        assert "'joined' should hold dates or times but holds int64" in message
        assert "country" not in message

    @pytest.mark.parametrize("bad", [pa.array([1, 2], pa.timestamp("s")), pa.array([[1], [2]])])
    def test_times_and_lists_are_no_numbers(self, bad: pa.Array) -> None:
        with pytest.raises(SchemaMismatch, match="'x' should hold numbers but holds"):
            Schema.learn(pa.table({"x": [1, 2]})).encode(pa.table({"x": bad}))

    @pytest.mark.parametrize(
        "values",
        [
            pa.array([1, 0, None], pa.int8()),
            pa.array([1.0, 0.0, None]),
            pa.array([True, False, None]),
            pa.array([decimal.Decimal(1), decimal.Decimal(0), None]),
            pa.array(["1", " 0 ", "NA"]),
            pa.array(["+1.0", "0e5", ""]),
            pa.array([1, 0, None]).dictionary_encode(),
        ],
        ids=lambda array: str(array.type),
    )
    def test_numbers_in_any_clothing(self, values: pa.Array) -> None:
        schema = Schema.learn(pa.table({"x": [1.5, 2.5]}))
        np.testing.assert_array_equal(schema.encode(pa.table({"x": values}))[:, 0], [1, 0, np.nan])

    def test_booleans_in_any_clothing(self) -> None:
        schema = Schema.learn(pa.table({"x": [True, False]}))
        for values in ([1, 0, None], [1.0, 0.0, None], ["True", "false", "?"], [True, False, None]):
            np.testing.assert_array_equal(schema.encode(pa.table({"x": values}))[:, 0], [1, 0, np.nan])
        with pytest.raises(SchemaMismatch, match="row 1 has 2"):
            schema.encode(pa.table({"x": [1, 2]}))

    def test_categories_in_any_clothing(self) -> None:
        digits = Schema.learn(pa.table({"x": ["7", "8", "unknown"]}))
        for values in (
            [7, 8, None],
            [7.0, 8.0, np.nan],
            ["7", "8", None],
            pa.array(["7", "8", None]).dictionary_encode(),
        ):
            np.testing.assert_array_equal(digits.encode(pa.table({"x": values}))[:, 0], [0, 1, np.nan])
        spelled = Schema.learn(pa.table({"x": ["True", "False", "maybe"]}))
        np.testing.assert_array_equal(spelled.encode(pa.table({"x": [True, False]}))[:, 0], [2 - 1, 0])

    def test_unseen_categories_share_one_code_and_missing_stays_missing(self) -> None:
        schema = Schema.learn(pa.table({"x": ["a", "b", "a"]}))
        encoded = schema.encode(pa.table({"x": ["b", "new", "newer", None, ""]}))[:, 0]
        np.testing.assert_array_equal(encoded, [1, 2, 2, np.nan, 2])

    def test_a_column_without_any_value(self) -> None:
        table = pa.table({"empty": pa.nulls(3), "text": pa.array([None] * 3, pa.string()), "x": [1, 2, 3]})
        schema = Schema.learn(table)
        assert np.isnan(schema.encode(table)[:, :2]).all()
        later = pa.table({"empty": [1.5], "text": ["a"], "x": [1]})
        np.testing.assert_array_equal(schema.encode(later), [[1.5, 0, 1]])

    @pytest.mark.parametrize("infinite", [np.inf, -np.inf])
    def test_infinity_is_named_with_its_place(self, infinite: float) -> None:
        schema = Schema.learn(pa.table({"x": [1.0, 2.0], "y": [1.0, 2.0]}))
        table = pa.table({"x": [1.0, np.nan, 2.0], "y": [1.0, 2.0, infinite]})
        with pytest.raises(DataError, match="'y' is infinite in row 2"):
            schema.encode(table)
        with pytest.raises(DataError, match="'x1' is infinite in row 0"):
            Schema.of_array(2).encode_array([[np.nan, infinite]])

    def test_no_rows(self) -> None:
        with pytest.raises(DataError, match="no rows"):
            Schema.learn(small_table()).encode(small_table().slice(0, 0))

    def test_one_row_is_enough_to_score(self) -> None:
        schema = Schema.learn(small_table(), ids=["customer"])
        np.testing.assert_array_equal(schema.encode(small_table().slice(3, 1)), [[44, 1, 1, 90000]])

    def test_numbers_at_the_end_of_the_range_pass(self) -> None:
        table = pa.table({"x": [1.7e308, -1.7e308], "y": [1e308, 1e308]})
        np.testing.assert_array_equal(Schema.learn(table).encode(table), [[1.7e308, 1e308], [-1.7e308, 1e308]])


class TestArrays:
    def test_encoding_is_the_array(self) -> None:
        array = np.array([[1, 2], [3, 4]], dtype=np.float32)
        schema = Schema.of_array(2)
        encoded = schema.encode_array(array)
        np.testing.assert_array_equal(encoded, array)
        assert not np.shares_memory(encoded, schema.encode_array(encoded))
        assert not schema.named

    def test_tables_are_matched_by_position(self) -> None:
        schema = Schema.of_array(2)
        np.testing.assert_array_equal(schema.encode(pa.table({"u": [1], "v": [2]})), [[1, 2]])
        np.testing.assert_array_equal(schema.encode(pa.table({"x1": [1], "x0": [2]})), [[2, 1]])
        with pytest.raises(SchemaMismatch, match="2 columns"):
            schema.encode(pa.table({"u": [1], "v": [2], "w": [3]}))

    @pytest.mark.parametrize(
        ("array", "error", "words"),
        [
            (np.zeros(3), DataError, "Expected a 2D array"),
            (np.zeros((2, 3)), SchemaMismatch, "Expected 2 columns"),
            (np.zeros((0, 2)), DataError, "no rows"),
            (np.array([["a", "b"]]), DataError, "must hold numbers"),
            (np.array([[1j, 2]]), DataError, "must hold numbers"),
        ],
    )
    def test_other_arrays_are_refused(self, array: np.ndarray, error: type[Exception], words: str) -> None:
        with pytest.raises(error, match=words):
            Schema.of_array(2).encode_array(array)

    def test_an_array_cannot_stand_for_a_table_with_text(self) -> None:
        schema = Schema.learn(pa.table({"x": [1, 2], "c": ["a", "b"]}))
        with pytest.raises(SchemaMismatch, match="'c' as text or times"):
            schema.encode_array(np.zeros((1, 2)))


class TestDisplay:
    def test_cells_read_as_a_person_would_write_them(self) -> None:
        table = small_table().append_column("area", [[2501.0, 0.12345, 1e6, None]])
        schema = Schema.learn(table, ids=["customer"])
        shown = [schema.display(table, 0, name) for name in schema.names]
        assert shown == ["31", "true", "KR", "1970-01-01 00:00:00", "2,501"]
        assert schema.display(table, 1, "area") == "0.1235"
        assert schema.display(table, 2, "country") == "missing"

    def test_an_unseen_category_keeps_its_own_text(self) -> None:
        schema = Schema.learn(small_table(), ids=["customer"])
        table = small_table().set_column(2, "country", [["FR"] * 4])
        assert schema.display(table, 0, "country") == "FR"
        assert schema.columns[2].text(schema.encode(table)[0, 2]) == "unseen value"


KINDS = st.sampled_from(["numeric", "boolean", "datetime"])
NAMES = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=8)


@st.composite
def schemas(draw: Any) -> Schema:
    names = draw(st.lists(NAMES, min_size=1, max_size=6, unique=True))
    n_used = draw(st.integers(1, len(names)))
    columns = []
    for name in names[:n_used]:
        if draw(st.booleans()):
            categories = tuple(sorted(draw(st.lists(NAMES, max_size=4, unique=True))))
            columns.append(Column(name, "category", categories, draw(st.sampled_from(["one_hot", "frequency"]))))
        else:
            columns.append(Column(name, draw(KINDS)))
    return Schema(tuple(columns), tuple(names[n_used:]), (), draw(st.booleans()))


class TestJson:
    @settings(deadline=None, derandomize=True)
    @given(schemas())
    def test_round_trip(self, schema: Schema) -> None:
        assert Schema.from_json(json.loads(json.dumps(schema.to_json()))) == schema

    @pytest.mark.parametrize(
        ("path", "value"),
        [
            ((), None),
            ((), []),
            (("columns",), []),
            (("columns",), {}),
            (("named",), 1),
            (("ids",), "customer"),
            (("ids",), ["age"]),
            (("ids",), [None]),
            (("ignored",), ["a", "a"]),
            (("columns", 0), 3),
            (("columns", 0, "name"), 3),
            (("columns", 0, "name"), "premium"),
            (("columns", 0, "kind"), "number"),
            (("columns", 0, "kind"), ["numeric"]),
            (("columns", 0, "kind"), "category"),
            (("columns", 0, "extra"), 1),
            (("columns", 2, "coding"), "hash"),
            (("columns", 2, "categories"), ["KR", "KR"]),
            (("columns", 2, "categories"), [1, 2]),
            (("columns", 2, "categories"), ["\ud800"]),
        ],
    )
    def test_altered_documents_are_refused(self, path: tuple[Any, ...], value: Any) -> None:
        document: Any = {"root": Schema.learn(small_table(), ids=["customer"]).to_json()}
        place = document
        for key in ("root", *path)[:-1]:
            place = place[key]
        place[("root", *path)[-1]] = value
        with pytest.raises(ModelFileError, match="altered or damaged"):
            Schema.from_json(document["root"])


CELLS = {
    "n": st.one_of(st.none(), st.floats(allow_infinity=False, allow_nan=False, width=32)),
    "b": st.one_of(st.none(), st.booleans()),
    "c": st.one_of(st.none(), st.sampled_from(["a", "b", "", "ü"])),
    "t": st.one_of(st.none(), st.datetimes(datetime.datetime(1950, 1, 1), datetime.datetime(2100, 1, 1))),
}
TYPES = {"n": pa.float64(), "b": pa.bool_(), "c": pa.string(), "t": pa.timestamp("us")}


@st.composite
def tables(draw: Any) -> pa.Table:
    rows = draw(st.integers(2, 12))
    columns = {name: draw(st.lists(cell, min_size=rows, max_size=rows)) for name, cell in CELLS.items()}
    return pa.table({name: pa.array(cells, TYPES[name]) for name, cells in columns.items()})


class TestInvariance:
    @settings(deadline=None, derandomize=True)
    @given(tables(), st.permutations(list(CELLS)), st.data())
    def test_column_order_row_order_and_chunks_do_not_matter(
        self, table: pa.Table, names: list[str], data: st.DataObject
    ) -> None:
        schema = Schema.learn(table)
        encoded = schema.encode(table)
        order = data.draw(st.permutations(range(table.num_rows)))
        cut = data.draw(st.integers(0, table.num_rows))

        assert Schema.learn(table.take(order)) == schema
        np.testing.assert_array_equal(schema.encode(table.take(order)), encoded[order])
        np.testing.assert_array_equal(schema.encode(table.select(names)), encoded)
        chunked = pa.concat_tables([table.slice(0, cut), table.slice(cut)])
        np.testing.assert_array_equal(schema.encode(chunked), encoded)
        assert Schema.learn(chunked) == schema

    @settings(deadline=None, derandomize=True)
    @given(tables())
    def test_dictionary_encoding_does_not_matter(self, table: pa.Table) -> None:
        schema = Schema.learn(table)
        packed = table.set_column(2, "c", table["c"].dictionary_encode())
        assert Schema.learn(packed) == schema
        np.testing.assert_array_equal(schema.encode(packed), schema.encode(table))


def test_the_raw_kdd_file_becomes_the_parsed_arrays_within_seconds(shared_data: Path) -> None:
    parsed = np.load(shared_data / "tabular" / "kddcup99_10_percent.npz")
    names = [*map(str, parsed["columns"]), "label"]
    start = time.perf_counter()
    table = read_table(shared_data / "tabular" / "kddcup99_10_percent.csv.gz", names=names)
    schema = Schema.learn(table, ignored=["label"])
    encoded = schema.encode(table)
    elapsed = time.perf_counter() - start

    assert encoded.shape == (494_021, 41)
    texts = ["protocol_type", "service", "flag"]
    numeric = [j for j, name in enumerate(schema.names) if name not in texts]
    np.testing.assert_array_equal(encoded[:, numeric], parsed["X_num"])
    for j, name in enumerate(texts):
        place = schema.names.index(name)
        codes = [schema.columns[place].categories.index(text) for text in parsed[f"cat_{name}"].astype(str)]
        np.testing.assert_array_equal(encoded[:, place], np.array(codes)[parsed["X_cat"][:, j]])
    assert elapsed < 30, "usually about 2 s on two busy cores"


def test_pandas_categories_keep_their_codes_apart_from_ours() -> None:
    frame = pd.DataFrame({"size": pd.Categorical(["S", "L", None], categories=["S", "M", "L"], ordered=True)})
    schema = Schema.learn(pa.Table.from_pandas(frame))
    assert schema.columns[0].categories == ("L", "S")
