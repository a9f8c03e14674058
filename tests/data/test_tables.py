"""Reading frames and files: what comes back, and one sentence for every file that is not a table."""

from __future__ import annotations

import contextlib
import datetime
import decimal
import gzip
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offnormal.data.columns import Schema
from offnormal.data.tables import MISSING_MARKERS, from_frame, is_frame, read_table
from offnormal.errors import DataError, EnvironmentFailure, FileUnreadable, InvalidParameter

FRAME = pd.DataFrame(
    {
        "age": [31.5, None, 58.0],
        "visits": [1, 2, 3],
        "premium": [True, False, True],
        "country": ["KR", None, "DE"],
        "joined": pd.to_datetime(["2026-01-31 08:00:00", None, "2025-12-24 00:00:30"]),
    }
)
ENCODED = np.array(
    [
        [31.5, 1, 1, 1, datetime.datetime(2026, 1, 31, 8, tzinfo=datetime.UTC).timestamp()],
        [np.nan, 2, 0, np.nan, np.nan],
        [58.0, 3, 1, 0, datetime.datetime(2025, 12, 24, 0, 0, 30, tzinfo=datetime.UTC).timestamp()],
    ]
)


def write(folder: Path, name: str, content: bytes | str) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


class TestFrames:
    @pytest.mark.parametrize(
        "frame",
        [
            FRAME,
            FRAME.set_axis([7, 7, 9], axis=0),
            FRAME.convert_dtypes(),
            FRAME.astype({"country": "category"}),
            FRAME.astype({"country": object, "visits": object}),
            pl.from_pandas(FRAME),
            pl.from_pandas(FRAME).lazy(),
            pl.from_pandas(FRAME).with_columns(pl.col("country").cast(pl.Categorical)),
            pa.Table.from_pandas(FRAME),
            pa.RecordBatch.from_pandas(FRAME),
        ],
        ids=["pandas", "index", "nullable", "category", "object", "polars", "lazy", "categorical", "arrow", "batch"],
    )
    def test_every_frame_gives_the_same_matrix(self, frame: Any) -> None:
        assert is_frame(frame)
        table = from_frame(frame)
        assert table.column_names == list(FRAME.columns)
        np.testing.assert_array_equal(Schema.learn(table).encode(table), ENCODED)

    @pytest.mark.parametrize("other", [np.zeros((2, 2)), [[1, 2]], {"a": [1]}, None, "data.csv", pd.Series([1])])
    def test_other_things_are_no_frames(self, other: Any) -> None:
        assert not is_frame(other)
        with pytest.raises(DataError, match="Expected a data frame"):
            from_frame(other)

    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            ([1, "a", None], ["1", "a", None]),
            ([2**70, 1, None], [float(2**70), 1.0, None]),
            (pd.arrays.SparseArray([0.0, 0.0, 2.5]), [0.0, 0.0, 2.5]),
            ([decimal.Decimal("1.5"), None, 2], [decimal.Decimal("1.5"), None, decimal.Decimal("2.0")]),
            ([datetime.date(2026, 1, 31), None, None], [datetime.date(2026, 1, 31), None, None]),
            (pd.Categorical([3, None, 4]), [3, None, 4]),
        ],
        ids=["mixed", "big", "sparse", "decimal", "date", "category"],
    )
    def test_odd_pandas_columns(self, values: Any, expected: list[Any]) -> None:
        assert from_frame(pd.DataFrame({"x": values}))["x"].to_pylist() == expected

    @pytest.mark.parametrize(
        "frame", [pd.DataFrame({"x": np.array([1j, 2])}), pl.DataFrame({"x": [object(), object()]})]
    )
    def test_columns_that_are_no_values_are_named(self, frame: Any) -> None:
        with pytest.raises(DataError, match="'x'"):
            from_frame(frame)

    def test_names_that_are_no_texts(self) -> None:
        assert from_frame(pd.DataFrame(np.zeros((2, 2)))).column_names == ["0", "1"]

    def test_duplicate_names_come_through_to_the_schema(self) -> None:
        table = from_frame(pd.DataFrame(np.zeros((2, 3)), columns=["a", "b", "a"]))
        with pytest.raises(DataError, match="'a' came more than once"):
            Schema.learn(table)


class TestFiles:
    @pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.txt", "t.csv.gz", "t.tsv.gz", "T.CSV", "t.parquet", "t.pq"])
    def test_every_format_gives_the_same_matrix(self, tmp_path: Path, name: str) -> None:
        path = tmp_path / name
        if name.endswith(("parquet", "pq")):
            FRAME.to_parquet(path)
        else:
            separator = "\t" if ".tsv" in name else ","
            FRAME.to_csv(path, sep=separator, index=False, compression="gzip" if name.endswith("gz") else None)
        table = read_table(path)
        np.testing.assert_array_equal(Schema.learn(table).encode(table), ENCODED)
        np.testing.assert_array_equal(Schema.learn(table).encode(read_table(str(path))), ENCODED)

    def test_missing_markers(self, tmp_path: Path) -> None:
        rows = "".join(f"{marker},{marker},{marker}\n" for marker in MISSING_MARKERS)
        table = read_table(write(tmp_path, "t.csv", "n,s,b\n1.5,x,true\n" + rows))
        assert [str(kind) for kind in table.schema.types] == ["double", "string", "bool"]
        assert [column.null_count for column in table.columns] == [9, 9, 9]

    def test_types_that_change_after_the_first_block(self, tmp_path: Path) -> None:
        rows = "1,1,2026-01-01\n" * 150_000
        table = read_table(write(tmp_path, "t.csv", f"a,b,c\n{rows}x,2.5,2026-01-01 08:00:00\n"))
        assert [str(kind) for kind in table.schema.types] == ["string", "double", "timestamp[s]"]
        assert table.num_rows == 150_001
        assert (table["a"][0].as_py(), table["b"][0].as_py()) == ("1", 1.0)

    def test_files_without_a_header_row(self, tmp_path: Path) -> None:
        path = write(tmp_path, "t.csv", "1,tcp\n2,udp\n")
        table = read_table(path, names=["duration", "protocol"])
        assert table.to_pydict() == {"duration": [1, 2], "protocol": ["tcp", "udp"]}
        with pytest.raises(FileUnreadable, match="line 1 has 2 cells where 3 are expected"):
            read_table(path, names=["a", "b", "c"])
        headed = write(tmp_path, "h.csv", "duration,protocol\n1,tcp\n")
        assert read_table(headed, names=["duration", "protocol"]).num_rows == 1

    def test_a_header_row_of_data_is_pointed_out(self, tmp_path: Path) -> None:
        table = read_table(write(tmp_path, "t.csv", "0,tcp,0\n0,udp,1\n1,udp,1\n"))
        with pytest.raises(DataError, match=r"'0' came more than once.*without a header row"):
            Schema.learn(table)

    @pytest.mark.parametrize("header", ["a;b", "a\tb", "a|b", '"a,x";b', "a,b;c"])
    def test_the_separator_is_found(self, tmp_path: Path, header: str) -> None:
        mark = next(mark for mark in ",\t;|" if mark in header.replace('"a,x"', ""))
        assert read_table(write(tmp_path, "t.csv", f"{header}\n1{mark}2\n")).num_columns == 2

    def test_texts_that_look_like_numbers_can_stay_texts(self, tmp_path: Path) -> None:
        path = write(tmp_path, "t.csv", "zip,n\n00123,1\n00456,2\n")
        assert read_table(path)["zip"].to_pylist() == [123, 456]
        assert read_table(path, text_columns=["zip", "absent"])["zip"].to_pylist() == ["00123", "00456"]

    def test_one_row_per_row(self, tmp_path: Path) -> None:
        assert read_table(write(tmp_path, "one.csv", "a\n1\n\n3\n"))["a"].to_pylist() == [1, None, 3]
        assert read_table(write(tmp_path, "two.csv", "a,b\n1,2\n\n3,4\n\n")).num_rows == 2
        assert read_table(write(tmp_path, "crlf.csv", "a,b\r\n1,2\r\n3,4")).num_rows == 2
        assert read_table(write(tmp_path, "quoted.csv", 'a,b\n"x\ny",2\n'))["a"].to_pylist() == ["x\ny"]

    def test_line_breaks_in_cells_across_blocks(self, tmp_path: Path) -> None:
        path = write(tmp_path, "t.csv", "a,b\n" + '"x\ny",2\n' * 300_000)
        assert read_table(path).num_rows == 300_000

    def test_rows_longer_than_a_block(self, tmp_path: Path) -> None:
        long = "x" * 3_000_000
        table = read_table(write(tmp_path, "t.csv", f"a,b\n1,{long}\n2,y\n"))
        assert table["b"].to_pylist() == [long, "y"]

    def test_encodings(self, tmp_path: Path) -> None:
        text = "이름,값\n가나,2\n"
        expected = {"이름": ["가나"], "값": [2]}
        assert read_table(write(tmp_path, "bom.csv", text.encode("utf-8-sig"))).to_pydict() == expected
        assert read_table(write(tmp_path, "u16.csv", text.encode("utf-16"))).to_pydict() == expected
        korean = write(tmp_path, "k.csv", text.encode("cp949"))
        assert read_table(korean, encoding="cp949").to_pydict() == expected
        with pytest.raises(FileUnreadable, match=r"not utf-8 text.*--encoding cp949, encoding='cp949'"):
            read_table(korean)
        with pytest.raises(FileUnreadable, match="not utf-8 text"):
            read_table(write(tmp_path, "v.csv", "a,b\n가,1\n".encode("cp949")))
        with pytest.raises(InvalidParameter, match="no text encoding 'klingon'"):
            read_table(korean, encoding="klingon")

    def test_gzip_is_recognized_by_its_content(self, tmp_path: Path) -> None:
        assert read_table(write(tmp_path, "t.csv", gzip.compress(b"a,b\n1,2\n"))).num_rows == 1
        assert read_table(write(tmp_path, "t.csv.gz", b"a,b\n1,2\n")).num_rows == 1
        members = gzip.compress(b"a,b\n1,2\n") + gzip.compress(b"3,4\n")
        assert read_table(write(tmp_path, "m.csv.gz", members)).num_rows == 2

    def test_standard_input(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a,b\n1,2\n")))
        assert read_table("-").to_pydict() == {"a": [1], "b": [2]}
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
        with pytest.raises(FileUnreadable, match="standard input is empty"):
            read_table("-")

    def test_an_index_that_pandas_wrote_is_no_column(self, tmp_path: Path) -> None:
        FRAME.set_axis(["r", "s", "t"], axis=0).to_parquet(tmp_path / "t.parquet")
        table = read_table(tmp_path / "t.parquet")
        assert table.column_names == list(FRAME.columns)
        assert read_table(tmp_path / "t.parquet", names=list("vwxyz")).column_names == list("vwxyz")
        with pytest.raises(FileUnreadable, match="5 columns, but 1 names"):
            read_table(tmp_path / "t.parquet", names=["a"])

    def test_the_format_can_be_named(self, tmp_path: Path) -> None:
        assert read_table(write(tmp_path, "t.dat", "a\tb\n1\t2\n"), format="tsv").num_columns == 2
        with pytest.raises(InvalidParameter, match="csv, tsv, parquet"):
            read_table(tmp_path / "t.dat", format="xlsx")


def parquet(change: Callable[[bytes], bytes]) -> bytes:
    buffer = io.BytesIO()
    FRAME.to_parquet(buffer)
    return change(buffer.getvalue())


UNREADABLE = {
    "empty.csv": (b"", "is empty"),
    "blank.csv": (b"\n\n  \n", "is empty"),
    "empty.csv.gz": (gzip.compress(b""), "is empty"),
    "empty.parquet": (b"", "not a Parquet file: it is empty"),
    "cut.csv.gz": (gzip.compress(b"a,b\n" + b"1,2\n" * 99)[:-12], "cut off or damaged"),
    "short.csv.gz": (b"\x1f\x8b\x08", "cut off or damaged"),
    "crc.csv.gz": (gzip.compress(b"a,b\n1,2\n")[:-8] + b"\0" * 8, "cut off or damaged"),
    "tail.csv.gz": (gzip.compress(b"a,b\n1,2\n") + b"junk", "cut off or damaged"),
    "cut.parquet": (parquet(lambda raw: raw[:-20]), "not a whole Parquet file"),
    "hole.parquet": (parquet(lambda raw: raw[:60] + bytes(200) + raw[260:]), "not a whole Parquet file"),
    "text.parquet": (b"a,b\n1,2\n", "not a Parquet file"),
    "ragged.csv": (b"a,b\n1,2\n3\n", "line 3 has 1 cells where 2 are expected"),
    "late.csv": (b"a,b\n" + b"1,2\n" * 400_000 + b"1,2,3\n", "line 400002 has 3 cells where 2 are expected"),
    "quote.csv": (b'a,b\n1,"x\n' + b"2,3\n" * 9_000, "column 'b' of row 0 .* never closed"),
    "image.csv": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "not a text file"),
    "archive.csv.gz": (gzip.compress(bytes(500)), "not a text file"),
    "sheet.xlsx": (b"PK\x03\x04", "not a kind of table"),
    "bare": (b"a,b\n1,2\n", "not a kind of table"),
    "bare.gz": (gzip.compress(b"a,b\n1,2\n"), "not a kind of table"),
}


class TestUnreadable:
    @pytest.mark.parametrize("name", UNREADABLE)
    def test_one_sentence_names_the_file_and_the_reason(self, tmp_path: Path, name: str) -> None:
        content, words = UNREADABLE[name]
        path = write(tmp_path, name, content)
        with pytest.raises(FileUnreadable, match=words) as caught:
            read_table(path)
        message = str(caught.value)
        assert name in message
        assert "\n" not in message
        assert len(message) < 300 + len(str(path))
        assert caught.value.exit_code == 2

    def test_files_that_are_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(FileUnreadable, match="There is no file"):
            read_table(tmp_path / "none.csv")
        (tmp_path / "folder.csv").mkdir()
        with pytest.raises(FileUnreadable, match="is a folder"):
            read_table(tmp_path / "folder.csv")

    def test_no_permission_is_the_machine(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def denied(*_: Any, **__: Any) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "open", denied)
        with pytest.raises(EnvironmentFailure, match="No permission"):
            read_table(tmp_path / "t.csv")

    @settings(deadline=None, derandomize=True)
    @given(st.binary(max_size=200))
    def test_any_bytes_give_a_table_or_one_error(
        self, tmp_path_factory: pytest.TempPathFactory, content: bytes
    ) -> None:
        folder = tmp_path_factory.getbasetemp()
        for name in ("fuzz.csv", "fuzz.csv.gz", "fuzz.parquet"):
            with contextlib.suppress(FileUnreadable):
                assert read_table(write(folder, name, content)).num_columns > 0


ONE_LINE = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=6)


@settings(deadline=None, derandomize=True)
@given(
    st.lists(
        st.tuples(st.none() | st.integers(-(2**53), 2**53), st.none() | st.booleans(), ONE_LINE),
        min_size=2,
        max_size=20,
    )
)
def test_what_pandas_writes_is_what_is_read(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int | None, bool | None, str]]
) -> None:
    frame = pd.DataFrame(rows, columns=["n", "b", "s"])
    frame["n"] = frame["n"].astype("Int64")
    frame["b"] = frame["b"].astype("boolean")
    path = tmp_path_factory.getbasetemp() / "round.csv"
    frame.to_csv(path, index=False)
    table = read_table(path, text_columns=["s"])
    schema = Schema.learn(from_frame(frame))
    same = ~frame["s"].isin(MISSING_MARKERS).to_numpy()
    ours, theirs = schema.encode(table)[same], schema.encode(from_frame(frame))[same]
    np.testing.assert_array_equal(ours, theirs)
