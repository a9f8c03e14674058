"""The file of raw results: appended to, and whole again after a line that was cut off."""

from __future__ import annotations

from pathlib import Path

import pytest

from offnormal.bench import records
from offnormal.errors import EnvironmentFailure


def test_records_come_back_in_order(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.jsonl"
    for number in range(3):
        records.append(path, {"seed": number, "words": "± 한"})
    assert [record["seed"] for record in records.read(path)] == [0, 1, 2]
    assert path.read_text().count("\n") == 3
    assert records.read(tmp_path / "none.jsonl") == []


@pytest.mark.parametrize("torn", ['{"seed": 1, "auro', "{", "\xff\xfe", '{"seed": 1}'])
def test_a_line_without_its_end_is_ignored_and_removed_by_the_next(tmp_path: Path, torn: str) -> None:
    path = tmp_path / "a.jsonl"
    records.append(path, {"seed": 0})
    with path.open("ab") as file:
        file.write(torn.encode("latin-1"))
    assert records.read(path)[0] == {"seed": 0}
    records.append(path, {"seed": 2})
    assert [record["seed"] for record in records.read(path)] == [0, 2]


def test_a_file_that_is_one_torn_line_starts_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"se')
    records.append(path, {"seed": 2})
    assert records.read(path) == [{"seed": 2}]


def test_fast_runs_have_a_file_of_their_own(tmp_path: Path) -> None:
    assert records.path_of(tmp_path, "dagmm") != records.path_of(tmp_path, "dagmm", fast=True)


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentFailure, match="could not be written"):
        records.append(tmp_path / "file" / "a.jsonl", {"seed": 2})
