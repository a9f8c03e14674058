"""Rows chosen by a condition in words, compared with pandas' own selection."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa
import pytest

from offnormal.data.conditions import select_rows
from offnormal.errors import DataError, InvalidParameter, UnknownName

FRAME = pd.DataFrame(
    {
        "label": ["benign", "attack", None, "benign"],
        "worst area": [1.0, 2.5, None, -3.0],
        "day": pd.to_datetime(["2026-01-01", "2026-02-01", None, "2026-03-01"]),
        "ok": pd.array([True, False, None, True], dtype="boolean"),
        "code": [1, 2, 3, 4],
        "a=b": ["x", "y", "x and y", "y"],
    }
)
TABLE = pa.Table.from_pandas(FRAME, preserve_index=False)


@pytest.mark.parametrize(
    ("condition", "rows"),
    [
        ("label=benign", [0, 3]),
        ("label==benign", [0, 3]),
        (" label = 'benign' ", [0, 3]),
        ("label!=attack", [0, 2, 3]),
        ("worst area>=1", [0, 1]),
        ("worst area<1", [3]),
        ("worst area<=1e0", [0, 3]),
        ("worst area>-4", [0, 1, 3]),
        ("worst area=2.5", [1]),
        ("worst area!=2.5", [0, 2, 3]),
        ("code=2", [1]),
        ("code=2.0", [1]),
        ("ok=true", [0, 3]),
        ("ok!=1", [1, 2]),
        ("day>2026-01-15", [1, 3]),
        ("day=2026-01-01 00:00:00", [0]),
        ("a=b=y", [1, 3]),
        ("a=b=x and y", [2]),
        ("label=benign and worst area>0", [0]),
        ("a=b=x and y and code>2", [2]),
    ],
)
def test_selects(condition: str, rows: list[int]) -> None:
    assert select_rows(TABLE, condition)["code"].to_pylist() == [row + 1 for row in rows]


def test_agrees_with_pandas() -> None:
    ours = select_rows(TABLE, "worst area>-10 and worst area<2 and label!=attack").to_pandas()
    theirs = FRAME.query("`worst area` > -10 and `worst area` < 2 and label != 'attack'")
    assert ours["code"].tolist() == theirs["code"].tolist()


def test_unknown_columns_get_a_suggestion() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'label'"):
        select_rows(TABLE, "lable=benign")


@pytest.mark.parametrize("condition", ["", "label", "=benign", "and", "code like 3"])
def test_conditions_that_cannot_be_read(condition: str) -> None:
    with pytest.raises(InvalidParameter, match="cannot be read"):
        select_rows(TABLE, condition)


@pytest.mark.parametrize("condition", ["label<3", "ok>0", "code=two", "code>two", "day>soon"])
def test_comparisons_without_a_meaning(condition: str) -> None:
    with pytest.raises(InvalidParameter, match=condition[:2]):
        select_rows(TABLE, condition)


def test_no_row_left_names_what_there_is() -> None:
    with pytest.raises(DataError, match=r"No row meets .* Frequent values of 'label': 'benign'"):
        select_rows(TABLE, "label=normal")
