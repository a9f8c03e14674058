from __future__ import annotations

import pyarrow as pa
import pytest

from offnormal.cli import reading
from offnormal.errors import EnvironmentFailure, InvalidParameter, UnknownName


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a.csv", "csv"),
        ("a.CSV.gz", "csv"),
        ("b.tsv", "tsv"),
        ("c.parquet", "parquet"),
        ("d.ndjson", "jsonl"),
        ("e", None),
    ],
)
def test_formats_by_ending(path, expected):
    assert reading.row_format(path) == expected


@pytest.mark.parametrize("path", ["x.csv", "x.tsv.gz", "x.parquet", "-"])
def test_data_in_the_place_of_the_model_is_named(path):
    with pytest.raises(InvalidParameter, match="MODEL must be a model file"):
        reading.refuse_data_as_model(path)


def test_swapped_arguments_are_named():
    with pytest.raises(InvalidParameter, match="swap them"):
        reading.refuse_data_as_model("x.csv", "m.offnormal")


def test_two_models_are_no_swap():
    with pytest.raises(InvalidParameter, match="DATA must be a table"):
        reading.refuse_data_as_model("m.offnormal", "n.offnormal")


def test_names_from_a_list_and_from_files(tmp_path):
    one, many = tmp_path / "one.txt", tmp_path / "many.txt"
    one.write_text("a, b,c\n")
    many.write_text('"a"\nb\nc\n')
    assert reading.column_names(None) is None
    assert [reading.column_names(text) for text in ("a,b,c", str(one), str(many))] == [["a", "b", "c"]] * 3


def test_a_list_of_names_may_be_longer_than_a_path():
    names = [f"column_{i}" for i in range(2_000)]
    assert reading.column_names(",".join(names)) == names


@pytest.mark.parametrize(
    ("text", "said"), [("a,b,a", "'a' more than once"), ("a,,b", "an empty name"), ("", "--names")]
)
def test_bad_names_are_refused(text, said):
    with pytest.raises(InvalidParameter, match=said):
        reading.column_names(text)


def test_an_unknown_column_is_an_error_with_the_option_and_the_nearest_name():
    table = pa.table({"label": [1], "amount": [2]})
    reading.known_columns(table, ["label"], "--label")
    with pytest.raises(UnknownName, match=r"--label: There is no column 'lable'. Did you mean 'label'"):
        reading.known_columns(table, ["lable"], "--label")


def test_one_single_column_hints_at_the_separator():
    with pytest.raises(UnknownName, match="separated"):
        reading.known_columns(pa.table({"a|b|c": [1]}), ["a"], "--id")


def test_an_unknown_encoding_is_refused(tmp_path):
    with pytest.raises(InvalidParameter, match="--encoding"):
        reading.table_of(str(tmp_path / "x.csv"), encoding="utf-ate")


def test_outputs_are_checked_before_the_work(tmp_path, monkeypatch):
    source = tmp_path / "data.csv"
    source.write_text("a\n1\n")
    monkeypatch.chdir(tmp_path)
    for path, said in [
        ("m.pkl", r"must end in \.offnormal"),
        ("missing/m.offnormal", "does not exist"),
    ]:
        with pytest.raises(InvalidParameter, match=said):
            reading.expect_writable(path, [".offnormal"])
    with pytest.raises(InvalidParameter, match="is a folder"):
        reading.expect_writable(str(tmp_path))
    with pytest.raises(InvalidParameter, match="overwrite an input"):
        reading.expect_writable("data.csv", inputs=[str(source)])
    reading.expect_writable("m.offnormal", [".offnormal"])
    reading.expect_writable("-", [".html"])
    assert [path.name for path in tmp_path.iterdir()] == ["data.csv"]


def test_a_folder_that_cannot_be_written_is_the_environment(tmp_path, monkeypatch):
    def refuse(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(reading.tempfile, "TemporaryFile", refuse)
    with pytest.raises(EnvironmentFailure, match="Permission denied"):
        reading.expect_writable(str(tmp_path / "m.offnormal"))
