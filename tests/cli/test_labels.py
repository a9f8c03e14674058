from __future__ import annotations

import pyarrow as pa
import pytest

from offnormal.cli import labels
from offnormal.errors import DataError, InvalidParameter, UnknownName

TABLE = pa.table(
    {
        "kind": ["ok", "bad", None, "worse", "ok"],
        "number": [0, 1, 1, 0, None],
        "share": [0.0, 1.0, 1.0, 0.5, None],
        "flag": [True, False, False, None, True],
        "same": ["ok"] * 5,
        "coded": pa.array(["a", "b", "a", None, "b"]).dictionary_encode(),
    }
)


def of(column, anomaly=(), normal=()):
    y, counted = labels.of_table(TABLE, column, anomaly, normal)
    return [int(value) if counts else None for value, counts in zip(y, counted, strict=True)]


def test_named_anomalies_all_others_normal():
    assert of("kind", ["bad", "worse"]) == [0, 1, None, 1, 0]


def test_named_normals_all_others_anomalies():
    assert of("kind", normal=["ok"]) == [0, 1, None, 1, 0]


def test_with_both_the_rest_does_not_count():
    assert of("kind", ["worse"], ["ok"]) == [0, None, None, 1, 0]


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("number", "1", [0, 1, 1, 0, None]),
        ("share", "1", [0, 1, 1, 0, None]),
        ("flag", "true", [1, 0, 0, None, 1]),
        ("coded", "b", [0, 1, 0, None, 1]),
    ],
)
def test_values_are_compared_as_text(column, value, expected):
    assert of(column, [value]) == expected


def test_chunks_are_one_column():
    table = pa.concat_tables([TABLE, TABLE])
    y, _ = labels.of_table(table, "kind", ["bad"], [])
    assert y.tolist() == [0, 1, 0, 0, 0] * 2


def test_an_unknown_value_is_an_error_with_the_nearest():
    with pytest.raises(UnknownName, match="Did you mean 'worse'"):
        of("kind", ["worze"])


def test_an_unknown_column_is_an_error():
    with pytest.raises(UnknownName, match="--label"):
        of("knd", ["bad"])


def test_without_a_value_the_values_are_listed():
    with pytest.raises(InvalidParameter, match="'ok', 'bad', 'worse'"):
        of("kind")


def test_one_value_cannot_be_both():
    with pytest.raises(InvalidParameter, match="both"):
        of("kind", ["ok"], ["ok"])


@pytest.mark.parametrize(("anomaly", "normal"), [(["ok"], []), ([], ["ok"])])
def test_both_kinds_are_needed(anomaly, normal):
    with pytest.raises(DataError, match="both kinds are needed"):
        of("same", anomaly, normal)
