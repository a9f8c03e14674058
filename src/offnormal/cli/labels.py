"""Labels of a table as 0 and 1, for `evaluate` and `report` alone."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from offnormal.cli.reading import known_columns, some
from offnormal.errors import DataError, InvalidParameter, UnknownName

if TYPE_CHECKING:
    import pyarrow as pa

Array = np.ndarray[Any, Any]


def of_table(table: pa.Table, column: str, anomaly: Sequence[str], normal: Sequence[str]) -> tuple[Array, Array]:
    """Return y in {0, 1} (1 = anomaly) and which rows have a label that counts.

    Parameters
    ----------
    table : pa.Table
    column : str
        The label column; its values are compared as text.
    anomaly, normal : sequence of str
        At least one of them has values. With `anomaly` alone all other labels are normal, with `normal` alone all
        others are anomalies, with both the rest does not count. A missing label never counts.

    Returns
    -------
    y, counted : ndarray of int64 and of bool, shape (rows,)

    Raises
    ------
    UnknownName
        If the column or a value does not exist.
    DataError
        If only one of the two classes is there.
    """
    known_columns(table, [column], "--label")
    codes, values = _coded(table, column)
    if not anomaly and not normal:
        raise InvalidParameter(
            f"Say which value of {column!r} means anomaly: --anomaly VALUE, or --normal VALUE for all others. "
            f"It has {some(values)}."
        )
    abnormal = np.isin(codes, [_position(values, text, column) for text in anomaly])
    ordinary = np.isin(codes, [_position(values, text, column) for text in normal])
    if (abnormal & ordinary).any():
        raise InvalidParameter("A label cannot be both --anomaly and --normal.")
    counted = codes >= 0
    if anomaly and normal:
        counted &= abnormal | ordinary
    y = (abnormal if anomaly else ~ordinary).astype(np.int64)
    for value, word in ((1, "anomaly"), (0, "normal row")):
        if not (y[counted] == value).any():
            raise DataError(
                f"No {word} is left among the labels in {column!r} ({some(values)}); both kinds are needed."
            )
    return y, counted


def _coded(table: pa.Table, column: str) -> tuple[Array, list[str]]:
    """Return each row's position in the list of texts of the distinct values; -1 where missing."""
    import pyarrow as pa

    encoded = table.column(column).combine_chunks()
    if not pa.types.is_dictionary(encoded.type):
        encoded = encoded.dictionary_encode()
    values = [_text(value) for value in encoded.dictionary.to_pylist()]
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    return codes, values


def _text(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _position(values: Sequence[str], text: str, column: str) -> int:
    if text in values:
        return values.index(text)
    folded = [value.lower() for value in values]
    if text.lower() in ("true", "false") and text.lower() in folded:
        return folded.index(text.lower())
    near = difflib.get_close_matches(text, values, n=3)
    hint = f"Did you mean {' or '.join(map(repr, near))}?" if near else f"It has {some(values)}."
    raise UnknownName(f"Column {column!r} has no value {text!r}. {hint}")
