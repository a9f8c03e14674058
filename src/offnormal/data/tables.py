"""Tables from frames and files, as Arrow tables.

Columns keep the type they arrive with; what they mean is decided by `offnormal.data.columns`. Files are recognized by
their name (`.csv`, `.tsv`, `.txt`, each also with `.gz`, and `.parquet`) and read whole.
"""

from __future__ import annotations

import codecs
import io
import numbers
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from offnormal.data.conditions import select_rows
from offnormal.data.values import MISSING_MARKERS
from offnormal.data.writing import write_rows
from offnormal.errors import DataError, EnvironmentFailure, FileUnreadable, InvalidParameter

__all__ = ["MISSING_MARKERS", "from_frame", "is_frame", "read_table", "select_rows", "write_rows"]

FORMATS = ("csv", "tsv", "parquet")
_GZIP, _PARQUET, _UTF16 = b"\x1f\x8b", b"PAR1", (b"\xff\xfe", b"\xfe\xff")
_NAME_ENCODING = "Save it as UTF-8, or name its encoding (--encoding cp949, encoding='cp949')."
_PEEK = 1 << 16
_LONGEST_ROW = 1 << 28  # bytes; a longer row is taken for a file that is no table
_LONGEST_TEXT, _MOST_LINES = 10_000, 1_000  # a longer cell with more line breaks is a quote gone wrong
_INDEX_COLUMN = re.compile(r"__index_level_\d+__")  # how pandas writes an unnamed index into Parquet


def is_frame(X: Any) -> bool:
    """Return whether `X` is a data frame: pyarrow, pandas, polars or any other that narwhals knows."""
    if isinstance(X, (pa.Table, pa.RecordBatch)):
        return True
    import narwhals as nw

    if nw.dependencies.is_pandas_dataframe(X):  # before narwhals refuses a name that stands twice
        return True
    return isinstance(nw.from_native(X, pass_through=True), (nw.DataFrame, nw.LazyFrame))


def from_frame(X: Any) -> Any:
    """Return a data frame as a `pyarrow.Table`; the index of a pandas frame is not a column.

    Raises
    ------
    DataError
        If it has the same column name twice, or a column that has no Arrow type.
    """
    if isinstance(X, pa.Table):
        return X
    if isinstance(X, pa.RecordBatch):
        return pa.Table.from_batches([X])
    import narwhals as nw

    if nw.dependencies.is_pandas_dataframe(X):
        return _from_pandas(X)
    try:
        frame = nw.from_native(X)
        frame = frame.collect() if isinstance(frame, nw.LazyFrame) else frame
        if objects := [name for name, kind in frame.schema.items() if kind == nw.Object]:
            raise DataError(f"Column {objects[0]!r} holds Python objects; convert it to numbers, text or times.")
        return frame.to_arrow()
    except DataError:
        raise
    except TypeError:
        raise DataError(f"Expected a data frame, got {type(X).__name__}; pass pandas, polars or pyarrow.") from None
    except Exception as error:  # noqa: BLE001  each frame library has its own error for a column without Arrow type
        raise DataError(f"The data frame could not be read: {_first_line(error)}") from None


def read_table(
    path: str | Path,
    *,
    names: Sequence[str] | None = None,
    format: str | None = None,  # noqa: A002
    text_columns: Sequence[str] = (),
    encoding: str = "utf-8",
) -> Any:
    """Read a file as a `pyarrow.Table`, one table row per file row.

    Parameters
    ----------
    path : str or Path
        `.csv`, `.txt`, `.tsv` (each may be gzipped) or `.parquet`; "-" is standard input, CSV unless `format` says
        otherwise. A CSV file whose first line has no comma but tabs, semicolons or bars is separated by those.
    names : sequence of str or None
        Column names of a file without a header row.
    format : {"csv", "tsv", "parquet"} or None
        None goes by the name of the file.
    text_columns : sequence of str
        Columns to keep as text even if they look like numbers ("007").
    encoding : str
        Of a text file; a UTF-16 byte order mark is obeyed.

    Returns
    -------
    pyarrow.Table
        In text files, empty cells and NA, N/A, NaN, nan, null, NULL, None and ? are missing values.

    Raises
    ------
    FileUnreadable
        If the file is missing, empty, cut off, or not what its name says.
    EnvironmentFailure
        If the file may not be read, or memory runs out.
    """
    place = "standard input" if str(path) == "-" else f"'{path}'"
    kind = _format_of(path, format)
    try:
        codecs.lookup(encoding)
    except LookupError:
        raise InvalidParameter(f"There is no text encoding {encoding!r}; try 'utf-8', 'cp949' or 'latin-1'.") from None
    try:
        with _opened(path, place) as stream:
            if kind == "parquet":
                return _read_parquet(stream, place, names)
            return _read_text(stream, place, kind, names, text_columns, encoding)
    except (pa.ArrowMemoryError, MemoryError):
        raise EnvironmentFailure(f"Memory ran out while reading {place}; read a part of the rows.") from None
    except UnicodeDecodeError:
        raise FileUnreadable(f"{place} is not {encoding} text. {_NAME_ENCODING}") from None
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, (FileUnreadable, EnvironmentFailure)):
            raise
        raise FileUnreadable(_unreadable(place, kind, error)) from None


def _from_pandas(frame: Any) -> Any:
    names = [str(name) for name in frame.columns]
    columns = [_from_series(frame.iloc[:, i], name) for i, name in enumerate(names)]
    return pa.Table.from_arrays(columns, names=names) if columns else pa.table({})


def _from_series(series: Any, name: str) -> Any:
    try:
        return pa.Array.from_pandas(series)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        present = series[~series.isna()]
    try:
        if series.dtype != object:  # a sparse column, for example
            return pa.array(np.asarray(series), from_pandas=True)
        if all(isinstance(value, numbers.Real) for value in present):  # whole numbers beyond 64 bits
            return pa.array(series.astype(np.float64), from_pandas=True)
        return pa.array(present.map(str).reindex(series.index).to_numpy(object), pa.large_string(), from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise DataError(
            f"Column {name!r} ({series.dtype}) cannot be read as numbers, text or times: {_first_line(error)}."
        ) from None


def _format_of(path: str | Path, asked: str | None) -> str:
    if asked is not None:
        if asked not in FORMATS:
            raise InvalidParameter(f"format must be one of {', '.join(FORMATS)}; got {asked!r}.")
        return asked
    if str(path) == "-":
        return "csv"
    suffixes = [suffix.lower() for suffix in Path(path).suffixes]
    last = suffixes[-2:-1] if suffixes[-1:] == [".gz"] else suffixes[-1:]
    known = {".csv": "csv", ".txt": "csv", ".tsv": "tsv", ".tab": "tsv", ".parquet": "parquet", ".pq": "parquet"}
    if not last or last[0] not in known:
        raise FileUnreadable(
            f"'{path}' is not a kind of table offnormal reads by its name: .csv, .tsv, .txt (also .gz) and .parquet "
            "are. Convert it, or name its format (--data-format csv, format='csv')."
        )
    return known[last[0]]


def _opened(path: str | Path, place: str) -> BinaryIO:
    if str(path) == "-":
        return io.BytesIO(sys.stdin.buffer.read())
    try:
        return Path(path).open("rb")
    except FileNotFoundError:
        raise FileUnreadable(f"There is no file {place}; check the path.") from None
    except IsADirectoryError:
        raise FileUnreadable(f"{place} is a folder; name one file.") from None
    except PermissionError:
        raise EnvironmentFailure(f"No permission to read {place}.") from None


def _read_parquet(stream: BinaryIO, place: str, names: Sequence[str] | None) -> Any:
    head = stream.read(4)
    stream.seek(0)
    if head != _PARQUET:
        raise FileUnreadable(f"{place} is not a Parquet file: {'it is empty' if not head else 'it starts otherwise'}.")
    table = pyarrow.parquet.ParquetFile(stream).read()
    table = table.select([i for i, name in enumerate(table.column_names) if not _INDEX_COLUMN.fullmatch(name)])
    if names is None:
        return table
    if len(names) != table.num_columns:
        raise FileUnreadable(f"{place} has {table.num_columns} columns, but {len(names)} names were given.")
    return table.rename_columns(list(names))


def _read_text(
    stream: BinaryIO, place: str, kind: str, names: Sequence[str] | None, text_columns: Sequence[str], encoding: str
) -> Any:
    source = _unzipped(stream)
    head = source.read(_PEEK)
    if head.startswith(_UTF16):
        encoding = "utf-16"
    elif b"\0" in head:
        raise FileUnreadable(f"{place} is not a text file: it holds zero bytes. Check the name of the file.")
    first = head.decode(encoding, errors="replace").removeprefix("\ufeff").lstrip("\r\n").partition("\n")[0].strip("\r")
    if not head.strip():
        raise FileUnreadable(f"{place} is empty; a table with at least one row is needed.")
    separator = "\t" if kind == "tsv" else _separator(first)
    if names is not None and first.split(separator) == list(names):
        names = None  # the header row is there after all
    table = _parsed(stream, separator, names, text_columns, encoding)
    _check_texts(table, place, encoding)
    return table


def _check_texts(table: Any, place: str, encoding: str) -> None:
    """Refuse texts that come from a wrong encoding or from a quote that is never closed."""
    for name, column in zip(table.column_names, table.columns, strict=True):
        if pa.types.is_binary(column.type):
            raise FileUnreadable(f"{place} is not {encoding} text (column {name!r}). {_NAME_ENCODING}")
        if pa.types.is_string(column.type):
            lengths = pc.binary_length(column)
            if (pc.max(lengths).as_py() or 0) > _LONGEST_TEXT:
                row = int(np.argmax(pc.fill_null(lengths, 0).to_numpy()))
                if column[row].as_py().count("\n") > _MOST_LINES:
                    raise FileUnreadable(
                        f"{place} has a quote in column {name!r} of row {row} (counted from 0) that is opened and "
                        "never closed. Close or remove it."
                    )


def _unzipped(stream: BinaryIO) -> Any:
    stream.seek(0)
    zipped = stream.read(2) == _GZIP
    stream.seek(0)
    return pa.CompressedInputStream(stream, "gzip") if zipped else pa.PythonFile(stream, "r")


def _separator(first: str) -> str:
    bare = re.sub(r'"[^"]*"', "", first)
    return next((mark for mark in (",", "\t", ";", "|") if mark in bare), ",")


def _parsed(
    stream: BinaryIO, separator: str, names: Sequence[str] | None, text_columns: Sequence[str], encoding: str
) -> Any:
    """Parse, with larger blocks if a row is longer than a block and row by row if rows differ in length."""
    convert = pyarrow.csv.ConvertOptions(
        null_values=list(MISSING_MARKERS),
        strings_can_be_null=True,
        column_types=dict.fromkeys(text_columns, pa.string()),
    )
    block_size, threads, single = 1 << 20, True, False
    while True:
        read = pyarrow.csv.ReadOptions(
            column_names=None if names is None else list(names),
            block_size=block_size,
            use_threads=threads,
            encoding=encoding,
        )
        # In a table of one column an empty line is a missing value, not a gap between rows.
        parse = pyarrow.csv.ParseOptions(delimiter=separator, newlines_in_values=True, ignore_empty_lines=not single)
        try:
            table = pyarrow.csv.read_csv(
                _unzipped(stream), read_options=read, parse_options=parse, convert_options=convert
            )
        except pa.ArrowInvalid as error:
            if "block" in str(error) and block_size < _LONGEST_ROW:
                block_size *= 16
            elif "columns, got" in str(error) and threads:
                threads = False  # only then does the message name the row
            else:
                raise
            continue
        if table.num_columns > 1 or single:
            return table
        single = True


def _unreadable(place: str, kind: str, error: Exception) -> str:
    text = _first_line(error)
    if kind == "parquet":
        return f"{place} is not a whole Parquet file ({text}). Copy or write it again."
    if "ompressed stream" in text or "zlib" in text:
        return f"{place} is cut off or damaged: its gzip data end too early or do not check. Copy it again."
    if "straddling" in text:
        return f"{place} has a row of more than 256 MB; most likely a quote is opened and never closed."
    if found := re.search(r"(Row #\d+: )?Expected (\d+) columns, got (\d+)", text):
        row = found[1].removeprefix("Row #").rstrip(": ") if found[1] else "one"
        return (
            f"{place} has rows of different length: line {row} has {found[3]} cells where {found[2]} are expected. "
            "Check the separator and the quotes there."
        )
    return f"{place} could not be read as {kind.upper()} ({text})."


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200].rstrip(".")
