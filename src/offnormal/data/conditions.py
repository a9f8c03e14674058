"""Rows chosen by a condition in words: `label=benign`, `amount>=100 and country!=KR`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from offnormal.data import values
from offnormal.errors import DataError, InvalidParameter, SchemaMismatch, UnknownName

_COMPARISONS = {"<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal}
_OPERATOR = re.compile(r"!=|<=|>=|==|=|<|>")


def select_rows(table: Any, condition: str) -> Any:
    """Return the rows of a table that meet a condition, in their order.

    Parameters
    ----------
    table : pyarrow.Table
    condition : str
        `column=value`, `column!=value`, or `<`, `<=`, `>`, `>=` on numbers and times; several joined by " and ". A
        value may stand in quotes. A missing value meets `!=` only.

    Raises
    ------
    UnknownName
        If the condition names a column that does not exist.
    InvalidParameter
        If the condition cannot be read.
    DataError
        If no row meets it.
    """
    keep = np.ones(table.num_rows, dtype=bool)
    for column, operator, value in _clauses(condition, table.column_names):
        keep &= _meets(table.column(column), column, operator, value)
    if not keep.any():
        raise DataError(f"No row meets the condition {condition!r}.{_frequent(table, condition)}")
    return table.filter(pa.array(keep))


def _clauses(condition: str, names: Sequence[str]) -> list[tuple[str, str, str]]:
    pieces: list[str] = []
    for piece in condition.split(" and "):
        if pieces and not _OPERATOR.search(piece):
            pieces[-1] += " and " + piece  # "name=rock and roll"
        else:
            pieces.append(piece)
    return [_clause(piece.strip(), names) for piece in pieces]


def _clause(text: str, names: Sequence[str]) -> tuple[str, str, str]:
    # A column name may hold an operator itself, so the names of the table are tried first, the longest first.
    for name in sorted(names, key=len, reverse=True):
        rest = text.removeprefix(name).lstrip()
        if name and text.startswith(name) and (found := _OPERATOR.match(rest)):
            return name, found[0].replace("==", "="), _unquoted(rest[found.end() :])
    found = _OPERATOR.search(text)
    if found is None or not text[: found.start()].strip():
        raise InvalidParameter(
            f"The condition {text!r} cannot be read; write column=value, column!=value or column>number."
        )
    raise UnknownName.among("column", text[: found.start()].strip(), names)


def _unquoted(text: str) -> str:
    text = text.strip()
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text


def _meets(column: Any, name: str, operator: str, value: str) -> np.ndarray:
    column = values.plain(column)
    kind = values.kind_of(column, name)
    if operator in _COMPARISONS:
        if kind in ("category", "boolean"):
            raise InvalidParameter(
                f"Column {name!r} holds text or booleans, so {operator} has no meaning; use = or !=."
            )
        convert = values.seconds if kind == "datetime" else values.numbers
        bound = _converted(convert, value, name)
        return np.asarray(_COMPARISONS[operator](convert(column, name), bound))
    equal = _equals(column, name, kind, value)
    return equal if operator == "=" else ~equal


def _equals(column: Any, name: str, kind: values.Kind, value: str) -> np.ndarray:
    if kind == "category":
        same = pc.equal(values.texts(column, name), pa.scalar(value, pa.large_string()))
        return np.asarray(pc.fill_null(same, False).to_numpy(), dtype=bool)
    convert = {"numeric": values.numbers, "boolean": values.booleans, "datetime": values.seconds}[kind]
    return np.asarray(convert(column, name) == _converted(convert, value, name))


def _converted(convert: Any, value: str, name: str) -> float:
    try:
        return float(convert(pa.chunked_array([pa.array([value])]), name)[0])
    except SchemaMismatch:
        raise InvalidParameter(f"Column {name!r} cannot be compared with {value!r}; it holds another type.") from None


def _frequent(table: Any, condition: str) -> str:
    """Return the most frequent values of the first column of the condition, as a hint."""
    name = _clauses(condition, table.column_names)[0][0]
    counts = pc.value_counts(values.texts(values.plain(table.column(name)), name).combine_chunks()).to_pylist()
    top = sorted(counts, key=lambda entry: -entry["counts"])[:5]
    return f" Frequent values of {name!r}: {', '.join(repr(entry['values']) for entry in top)}." if top else ""
