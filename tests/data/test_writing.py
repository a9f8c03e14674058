"""Writing result tables: what pandas and polars read back, and nothing half-written left behind."""

from __future__ import annotations

import datetime
import gzip
import io
import json
import stat
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from offnormal.data import writing
from offnormal.data.tables import read_table, write_rows
from offnormal.errors import EnvironmentFailure, InvalidParameter

COLUMNS: dict[str, Any] = {
    "row": np.arange(3),
    "anomaly_score": np.array([0.1, 1e-300, 12345.678901234567]),
    "is_anomaly": np.array([True, False, True]),
    "reasons": ['area 2,501 (usually 380)\nand "more"', "이상", None],
    "seen": pa.array([datetime.datetime(2026, 1, 31, 8), None, None]),
}


class TestFormats:
    @pytest.mark.parametrize("name", ["out.csv", "out.tsv", "out.csv.gz", "out.txt"])
    def test_pandas_reads_back_the_same(self, tmp_path: Path, name: str) -> None:
        write_rows(COLUMNS, tmp_path / name)
        frame = pd.read_csv(tmp_path / name, sep="\t" if "tsv" in name else ",", dtype={"anomaly_score": str})
        assert frame.columns.tolist() == list(COLUMNS)
        np.testing.assert_array_equal(frame["anomaly_score"].astype(float), COLUMNS["anomaly_score"])
        np.testing.assert_array_equal(frame["is_anomaly"], COLUMNS["is_anomaly"])
        assert frame["reasons"].tolist()[:2] == COLUMNS["reasons"][:2]
        assert pd.Timestamp(frame["seen"][0]) == pd.Timestamp("2026-01-31 08:00")

    def test_polars_reads_back_parquet(self, tmp_path: Path) -> None:
        write_rows(COLUMNS, tmp_path / "out.parquet")
        frame = pl.read_parquet(tmp_path / "out.parquet")
        assert frame["reasons"].to_list() == COLUMNS["reasons"]
        np.testing.assert_array_equal(frame["anomaly_score"], COLUMNS["anomaly_score"])

    @pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz"])
    def test_json_lines(self, tmp_path: Path, name: str) -> None:
        write_rows(COLUMNS | {"odd": [np.nan, np.inf, 1.0], "list": [["a"], [], None]}, tmp_path / name)
        raw = (tmp_path / name).read_bytes()
        lines = (gzip.decompress(raw) if name.endswith("gz") else raw).decode().splitlines()
        rows = [json.loads(line, parse_constant=pytest.fail) for line in lines]
        assert [row["odd"] for row in rows] == [None, None, 1.0]
        assert [row["list"] for row in rows] == [["a"], [], None]
        assert rows[0]["seen"] == "2026-01-31T08:00:00"
        assert [row["anomaly_score"] for row in rows] == COLUMNS["anomaly_score"].tolist()
        assert "이상" in lines[1]

    @pytest.mark.parametrize("name", ["out.csv", "out.tsv.gz", "out.parquet"])
    def test_our_own_reader_gives_the_same_rows(self, tmp_path: Path, name: str) -> None:
        write_rows({"a": [1, 2], "b": ["x", None], "c": [0.5, np.nan]}, tmp_path / name)
        table = read_table(tmp_path / name)
        assert table["a"].to_pylist() == [1, 2]
        assert table["b"].to_pylist() == ["x", None]
        assert table["c"].to_pandas().tolist() == pytest.approx([0.5, np.nan], nan_ok=True)

    def test_csv_cells_of_any_type(self, tmp_path: Path) -> None:
        cells = {
            "nan": np.array([np.nan, 1.5]),
            "half": np.array([1.5, 2], dtype=np.float16),
            "list": [["a", "b"], None],
            "bytes": [b"x", b"\xff"],
            "dictionary": pa.array(["u", None]).dictionary_encode(),
            "view": pa.array(["u", "v"], pa.string_view()),
            "duration": pa.array([1, 2], pa.duration("s")),
            "chunks": pa.chunked_array([[1], [2]]),
        }
        write_rows(cells, tmp_path / "out.csv")
        frame = pd.read_csv(tmp_path / "out.csv", dtype=str, keep_default_na=False)
        assert frame.iloc[0].tolist() == ["", "1.5", '["a", "b"]', "x", "u", "u", "0:00:01", "1"]
        assert frame.iloc[1].tolist() == ["1.5", "2", "", "\ufffd", "", "v", "0:00:02", "2"]

    def test_same_columns_give_the_same_bytes(self, tmp_path: Path) -> None:
        for name in ("a.csv.gz", "b.csv.gz"):
            write_rows(COLUMNS, tmp_path / name)
        assert (tmp_path / "a.csv.gz").read_bytes() == (tmp_path / "b.csv.gz").read_bytes()

    def test_standard_output(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for asked, expected in ((None, b"a,b\n1,0.5\n"), ("jsonl", b'{"a": 1, "b": 0.5}\n')):
            buffer = io.BytesIO()
            monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(buffer))
            write_rows({"a": [1], "b": [0.5]}, "-", asked)
            assert buffer.getvalue() == expected


class TestWholeOrNotAtAll:
    def test_a_failure_keeps_the_old_file_and_leaves_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "out.csv"
        path.write_text("old")

        def full(table: Any, stream: Any) -> None:
            stream.write(b"half of")
            raise OSError(28, "No space left on device")

        monkeypatch.setitem(writing._WRITERS, "csv", full)
        with pytest.raises(EnvironmentFailure, match=r"out.csv' could not be written: No space left") as caught:
            write_rows({"a": [1]}, path)
        assert caught.value.exit_code == 1
        assert path.read_text() == "old"
        assert list(tmp_path.iterdir()) == [path]

    def test_an_interruption_leaves_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def interrupted(table: Any, stream: Any) -> None:
            raise KeyboardInterrupt

        monkeypatch.setitem(writing._WRITERS, "csv", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write_rows({"a": [1]}, tmp_path / "out.csv")
        assert list(tmp_path.iterdir()) == []

    def test_a_full_disk_is_the_machine(self) -> None:
        if not Path("/dev/full").exists():
            pytest.skip("this system has no /dev/full")
        with pytest.raises(EnvironmentFailure, match="/dev/full"):
            write_rows({"a": np.arange(100_000)}, "/dev/full", "csv")
        assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)

    def test_an_existing_file_is_replaced_and_a_link_stays_a_link(self, tmp_path: Path) -> None:
        target, link = tmp_path / "real.csv", tmp_path / "link.csv"
        target.write_text("old")
        link.symlink_to(target)
        write_rows({"a": [1]}, link)
        assert link.is_symlink()
        assert target.read_text() == "a\n1\n"

    @pytest.mark.parametrize(
        ("name", "words"),
        [("out.xlsx", "not known"), ("out", "not known"), ("none/out.csv", "no folder"), ("folder.csv", "is a folder")],
    )
    def test_destinations_that_cannot_be(self, tmp_path: Path, name: str, words: str) -> None:
        (tmp_path / "folder.csv").mkdir()
        with pytest.raises(InvalidParameter, match=words):
            write_rows({"a": [1]}, tmp_path / name)

    def test_columns_that_cannot_be(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidParameter, match=r"one length.*'a' 1, 'b' 2"):
            write_rows({"a": [1], "b": [1, 2]}, tmp_path / "out.csv")
        with pytest.raises(InvalidParameter, match="'b' of the output"):
            write_rows({"a": [1, 2], "b": [1, "x"]}, tmp_path / "out.csv")
        assert list(tmp_path.iterdir()) == []
