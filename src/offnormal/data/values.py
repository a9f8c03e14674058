"""Arrow columns as numbers, texts or seconds, whatever type they arrived in.

Every conversion works on whole columns, keeps missing values missing, and raises `SchemaMismatch` with a sentence
fragment ("'age' should hold numbers but row 3 has 'old'") that the caller joins with those of the other columns.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from offnormal.errors import DataError, SchemaMismatch

Kind = Literal["numeric", "boolean", "category", "datetime"]

MISSING_MARKERS = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "?")
"""Texts that mean "no value" in a file, and in a text column that should hold numbers, booleans or times."""

_NUMBER = r"^[+-]?((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|(?i:inf(inity)?|nan))$"
_ZONE = r"(Z|[+-]\d{2}(:?\d{2})?)$"
_DATE = r"^\d{4}-\d{2}-\d{2}"
_TRUE, _FALSE = ("true", "1"), ("false", "0")
_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def plain(column: Any) -> Any:
    """Return `column` without its packaging: dictionaries, run-end encoding and extension types are unfolded."""
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        return plain(column.cast(kind.storage_type))
    if pa.types.is_dictionary(kind):
        return plain(column.cast(kind.value_type))
    if pa.types.is_run_end_encoded(kind):
        return plain(pa.chunked_array([pc.run_end_decode(chunk) for chunk in column.chunks], type=kind.value_type))
    return column


def is_text(kind: Any) -> bool:
    """Return whether an Arrow type holds text, or bytes that may be text."""
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_binary_view(kind)
        or pa.types.is_fixed_size_binary(kind)
    )


def is_number(kind: Any) -> bool:
    """Return whether an Arrow type holds numbers; a column without any value counts as numbers."""
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_duration(kind)
        or pa.types.is_null(kind)
    )


def is_time(kind: Any) -> bool:
    """Return whether an Arrow type is a date, a time of day or both."""
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind) or pa.types.is_time(kind))


def kind_of(column: Any, name: str) -> Kind:
    """Return how a plain column is learned.

    Raises
    ------
    DataError
        If the column holds lists, structs, maps or another type without a number for each row.
    """
    kind = column.type
    if pa.types.is_boolean(kind):
        return "boolean"
    if is_number(kind):
        return "numeric"
    if is_time(kind):
        return "datetime"
    if is_text(kind):
        return "category"
    raise DataError(
        f"Column {name!r} holds {kind} values, but each cell must be one number, text, boolean or time. "
        "Flatten the column or leave it out with ignored_columns (--ignore)."
    )


def numbers(column: Any, name: str) -> np.ndarray:
    """Return a plain column as float64, missing values as NaN; durations are seconds.

    Raises
    ------
    SchemaMismatch
        If a text does not read as a number, or the column holds times or nested values.
    """
    kind = column.type
    if pa.types.is_null(kind):
        return np.full(len(column), np.nan)
    if pa.types.is_duration(kind):
        return _floats(column.cast(pa.int64())) / _SECOND[kind.unit]
    if is_text(kind):
        return _floats(_parsed(column, name, "numbers", _NUMBER, pa.float64()))
    if pa.types.is_boolean(kind) or is_number(kind):
        return _floats(pc.cast(column, pa.float64(), safe=False))
    raise SchemaMismatch(f"{name!r} should hold numbers but holds {kind} values")


def booleans(column: Any, name: str) -> np.ndarray:
    """Return a plain column as 0.0 and 1.0, missing values as NaN; true/false and 0/1 are understood as text too."""
    kind = column.type
    if is_text(kind):
        lowered = pc.utf8_lower(_marked(column, name))
        known = pc.is_in(lowered, value_set=pa.array(_TRUE + _FALSE, lowered.type))
        _refuse(pc.and_(pc.is_valid(lowered), pc.invert(known)), column, name, "true or false")
        values = pc.if_else(pc.is_valid(lowered), pc.is_in(lowered, value_set=pa.array(_TRUE, lowered.type)), None)
        return _floats(pc.cast(values, pa.float64()))
    if pa.types.is_boolean(kind) or pa.types.is_null(kind) or is_number(kind):
        result = numbers(column, name)
        odd = ~(np.isnan(result) | (result == 0) | (result == 1))
        _refuse(odd, column, name, "true or false")
        return result
    raise SchemaMismatch(f"{name!r} should hold true or false but holds {kind} values")


def seconds(column: Any, name: str) -> np.ndarray:
    """Return a plain column of times as POSIX seconds (float64, UTC), missing values as NaN.

    A time without a zone is taken as UTC; a time of day counts from midnight; text is read as ISO 8601.
    """
    kind = column.type
    if pa.types.is_null(kind):
        return np.full(len(column), np.nan)
    if pa.types.is_timestamp(kind) or pa.types.is_time64(kind):
        return _floats(column.cast(pa.int64())) / _SECOND[kind.unit]
    if pa.types.is_time32(kind):
        return _floats(column.cast(pa.int32())) / _SECOND[kind.unit]
    if pa.types.is_date(kind):
        return _floats(column.cast(pa.date32()).cast(pa.int32())) * 86400.0
    if is_text(kind):
        return _moments(column, name)
    raise SchemaMismatch(f"{name!r} should hold dates or times but holds {kind} values")


def reads_as_times(column: Any, name: str) -> bool:
    """Return whether every text of a plain column is a date or time in ISO 8601."""
    if len(column) == column.null_count:
        return False
    try:
        for part in (column.drop_null().slice(0, 20), column):  # most columns of words are told by a few
            _moments(part, name)
    except SchemaMismatch:
        return False
    return True


def texts(column: Any, name: str) -> Any:
    """Return a plain column as text (large_string, chunked); a whole number reads the same as int and as float."""
    kind = column.type
    if is_text(kind):
        return _decoded(column, name)
    if pa.types.is_floating(kind):
        values = pc.cast(column, pa.float64())
        values = pc.if_else(pc.is_nan(values), None, values)
        whole = pc.and_(pc.equal(pc.floor(values), values), pc.less(pc.abs(values), 2.0**53))
        integers = pc.cast(pc.if_else(whole, values, None), pa.int64(), safe=False)
        return pc.coalesce(pc.cast(integers, pa.large_string()), pc.cast(values, pa.large_string()))
    if pa.types.is_boolean(kind) or pa.types.is_null(kind) or is_number(kind) or is_time(kind):
        return pc.cast(column, pa.large_string())
    raise SchemaMismatch(f"{name!r} should hold text but holds {kind} values")


def _floats(column: Any) -> np.ndarray:
    return np.asarray(pc.cast(column, pa.float64(), safe=False).to_numpy(), dtype=np.float64)


def _decoded(column: Any, name: str) -> Any:
    """Return text as large_string; bytes must be UTF-8."""
    if pa.types.is_fixed_size_binary(column.type):
        column = column.cast(pa.large_binary())
    try:
        return pc.cast(column, pa.large_string())
    except pa.ArrowInvalid:
        raise DataError(
            f"Column {name!r} holds bytes that are not UTF-8 text. Convert it to text, or leave it out with "
            "ignored_columns (--ignore)."
        ) from None


def _marked(column: Any, name: str) -> Any:
    """Return text without surrounding blanks, missing markers as missing."""
    trimmed = pc.utf8_trim_whitespace(_decoded(column, name))
    return pc.if_else(pc.is_in(trimmed, value_set=pa.array(MISSING_MARKERS, trimmed.type)), None, trimmed)


def _parsed(column: Any, name: str, wanted: str, pattern: str, target: Any) -> Any:
    marked = _marked(column, name)
    _refuse(pc.invert(pc.match_substring_regex(marked, pattern)), column, name, wanted)
    try:
        return pc.cast(marked, target)
    except pa.ArrowInvalid as error:
        raise SchemaMismatch(f"{name!r} should hold {wanted} ({error})") from None


def _moments(column: Any, name: str) -> np.ndarray:
    """Return ISO 8601 texts as POSIX seconds, with and without a zone side by side."""
    wanted = "dates or times like 2026-01-31 08:00:00"
    marked = _marked(column, name)
    _refuse(pc.invert(pc.match_substring_regex(marked, _DATE)), column, name, wanted)
    zoned = pc.match_substring_regex(pc.utf8_slice_codeunits(marked, 10), _ZONE)
    try:
        with_zone = pc.cast(pc.if_else(zoned, marked, None), pa.timestamp("us", "UTC"))
        without = pc.cast(pc.if_else(zoned, None, marked), pa.timestamp("us"))
    except pa.ArrowInvalid as error:
        raise SchemaMismatch(f"{name!r} should hold {wanted} ({error})") from None
    return _floats(pc.coalesce(with_zone.cast(pa.int64()), without.cast(pa.int64()))) / 1e6


def _refuse(bad: Any, column: Any, name: str, wanted: str) -> None:
    """Raise `SchemaMismatch` naming the first row where `bad` is true."""
    rows = np.flatnonzero(bad if isinstance(bad, np.ndarray) else pc.fill_null(bad, False).to_numpy())
    if len(rows):
        row = int(rows[0])
        raise SchemaMismatch(f"{name!r} should hold {wanted} but row {row} has {column[row].as_py()!r}")
