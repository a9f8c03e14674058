"""Result tables to files: whole or not at all."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import os
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, time
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from offnormal.data.values import plain
from offnormal.errors import EnvironmentFailure, InvalidParameter, OffnormalError

_SUFFIXES = {".csv": "csv", ".tsv": "tsv", ".txt": "csv", ".parquet": "parquet", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_ROWS_AT_ONCE = 10_000


def write_rows(
    columns: Mapping[str, Any],
    destination: str | Path,
    format: str | None = None,  # noqa: A002
) -> None:
    """Write columns of equal length as a table; an existing file is replaced only when the new one is complete.

    Parameters
    ----------
    columns : mapping of str to array, list or pyarrow column
    destination : str or Path
        `.csv`, `.tsv`, `.jsonl` (each also with `.gz`) or `.parquet`; "-" is standard output, CSV unless `format`
        says otherwise.
    format : {"csv", "tsv", "jsonl", "parquet"} or None

    Raises
    ------
    InvalidParameter
        If the format is unknown, or the folder of the destination does not exist.
    EnvironmentFailure
        If the disk is full or may not be written.
    """
    kind, zipped = _format_of(destination, format)
    table = _as_table(columns)
    place = "standard output" if str(destination) == "-" else f"'{destination}'"
    try:
        with replacing(destination) as stream:
            if zipped:
                with gzip.GzipFile(filename="", mode="wb", fileobj=stream, mtime=0) as inner:
                    _WRITERS[kind](table, inner)
            else:
                _WRITERS[kind](table, stream)
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
        raise InvalidParameter(f"{place} cannot hold a column of the output as {kind}: {error}.") from None
    except OSError as error:
        if isinstance(error, OffnormalError):
            raise
        reason = error.strerror or str(error)
        raise EnvironmentFailure(f"{place} could not be written: {reason}. Nothing was left behind.") from error


def _format_of(destination: str | Path, asked: str | None) -> tuple[str, bool]:
    suffixes = [] if str(destination) == "-" else [suffix.lower() for suffix in Path(destination).suffixes]
    zipped = suffixes[-1:] == [".gz"]
    last = suffixes[-2:-1] if zipped else suffixes[-1:]
    kind = asked or ("csv" if str(destination) == "-" else _SUFFIXES.get(last[0] if last else "", ""))
    if kind not in _WRITERS:
        raise InvalidParameter(
            f"The format of '{destination}' is not known; name the file .csv, .tsv, .jsonl (also .gz) or .parquet, or "
            f"name one of the formats {', '.join(_WRITERS)}."
        )
    return kind, zipped and kind != "parquet"


def _as_table(columns: Mapping[str, Any]) -> Any:
    arrays = []
    for name, column in columns.items():
        try:
            array = column if isinstance(column, (pa.Array, pa.ChunkedArray)) else pa.array(column)
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise InvalidParameter(f"Column {name!r} of the output cannot be written: {error}.") from None
        arrays.append(plain(pa.chunked_array([array]) if isinstance(array, pa.Array) else array))
    if len({len(array) for array in arrays}) > 1:
        lengths = ", ".join(f"{name!r} {len(array)}" for name, array in zip(columns, arrays, strict=True))
        raise InvalidParameter(f"Columns of one length are needed; got {lengths}.")
    return pa.Table.from_arrays(arrays, names=list(columns))


@contextmanager
def replacing(destination: str | Path) -> Iterator[BinaryIO]:
    """Open a new file beside `destination` that takes its place at the end, or is removed on any failure."""
    if str(destination) == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    target = Path(os.path.realpath(destination))  # a link stays a link
    if not target.parent.is_dir():
        raise InvalidParameter(f"There is no folder '{target.parent}' for the output; create it or name another.")
    if target.is_dir():
        raise InvalidParameter(f"'{destination}' is a folder; name a file.")
    if target.exists() and not target.is_file():  # a pipe or a device cannot be replaced
        with target.open("wb") as stream:
            yield stream
        return
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _write_separated(table: Any, stream: Any, separator: str) -> None:
    header = io.StringIO()
    csv.writer(header, delimiter=separator, lineterminator="\n").writerow(table.column_names)
    stream.write(header.getvalue().encode())
    options = pyarrow.csv.WriteOptions(include_header=False, delimiter=separator)
    pyarrow.csv.write_csv(_printable(table), stream, options)


def _printable(table: Any) -> Any:
    """Return the table with columns that CSV can hold: NaN as an empty cell, lists and other kinds as text."""
    return pa.Table.from_arrays([_printable_column(column) for column in table.columns], names=table.column_names)


def _printable_column(column: Any) -> Any:
    kind = column.type
    if pa.types.is_floating(kind):
        floats = column.cast(pa.float64()) if pa.types.is_float16(kind) else column
        return pc.if_else(pc.is_nan(floats), None, floats)
    if pa.types.is_string_view(kind):
        return column.cast(pa.large_string())
    if not (pa.types.is_nested(kind) or pa.types.is_duration(kind) or pa.types.is_interval(kind) or _is_bytes(kind)):
        return column
    return pa.array([_cell_text(_jsonable(cell)) for cell in column.to_pylist()], pa.string())


def _is_bytes(kind: Any) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind))


def _cell_text(cell: Any) -> str | None:
    return cell if cell is None or isinstance(cell, str) else json.dumps(cell, ensure_ascii=False)


def _write_lines(table: Any, stream: Any) -> None:
    for batch in table.to_batches(max_chunksize=_ROWS_AT_ONCE):
        rows = (json.dumps({k: _jsonable(v) for k, v in row.items()}, ensure_ascii=False) for row in batch.to_pylist())
        stream.write("".join(row + "\n" for row in rows).encode())


def _jsonable(value: Any) -> Any:
    """Return a cell as JSON has it: NaN and infinity are null, times ISO 8601, anything else text."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, (list, tuple)):
        return [_jsonable(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _jsonable(item) for key, item in value.items()}
    return value.isoformat() if isinstance(value, (date, time)) else str(value)


def _write_parquet(table: Any, stream: Any) -> None:
    pyarrow.parquet.write_table(table, stream)


_WRITERS: dict[str, Callable[[Any, Any], None]] = {
    "csv": lambda table, stream: _write_separated(table, stream, ","),
    "tsv": lambda table, stream: _write_separated(table, stream, "\t"),
    "jsonl": _write_lines,
    "parquet": _write_parquet,
}
