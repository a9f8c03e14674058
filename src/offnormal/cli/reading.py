"""What comes in and where the result goes: tables, images, models, and outputs checked before the work starts."""

from __future__ import annotations

import codecs
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from offnormal.cli import pictures
from offnormal.cli.console import listed
from offnormal.cli.progress import working
from offnormal.errors import EnvironmentFailure, FileUnreadable, InvalidParameter, SchemaMismatch, UnknownName

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from offnormal.detector import Detector

Rows = Any
"""A `pyarrow.Table`, `Images` or `FilesToScore`; all have a length."""

MODEL_SUFFIX = ".offnormal"
STANDARD_STREAM = "-"
ROW_FORMATS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".txt": "csv",
    ".parquet": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}


def model(path: str, data: str | None = None) -> Detector:
    """Load a model file.

    Parameters
    ----------
    path : str
        The MODEL argument.
    data : str, optional
        The DATA argument, to notice when the two are swapped.
    """
    from offnormal import io

    refuse_data_as_model(path, data)
    return io.load(path)


def refuse_data_as_model(path: str, data: str | None = None) -> None:
    """Raise if `path` is not named like a model file, and say so if MODEL and DATA are swapped."""
    if data is not None and is_model_name(data):
        if not is_model_name(path):
            raise InvalidParameter(
                f"MODEL comes before DATA: got {path!r} first and the model {data!r} second; swap them."
            )
        refuse_model_as_data(data)
    if path == STANDARD_STREAM or row_format(path) is not None or pictures.are_images(path):
        raise InvalidParameter(
            f"MODEL must be a model file that `offnormal fit` wrote (*{MODEL_SUFFIX}); got {path!r}, which is data."
        )


def refuse_model_as_data(data: str) -> None:
    """Raise if the DATA argument is a model file."""
    if is_model_name(data):
        raise InvalidParameter(
            f"DATA must be a table (CSV, TSV, Parquet) or a folder of images; got the model file {data!r}."
        )


def is_model_name(path: str) -> bool:
    """Return whether `path` ends like a model file."""
    return path.lower().endswith(MODEL_SUFFIX)


def row_format(path: str) -> str | None:
    """Return the table format that the ending of `path` stands for (".csv.gz" is csv); None if it stands for none."""
    name = Path(path.lower().removesuffix(".gz"))
    return ROW_FORMATS.get(name.suffix)


def rows(
    data: str,
    detector: Detector,
    *,
    names: str | None = None,
    data_format: str | None = None,
    encoding: str = "utf-8",
    label: str | None = None,
    image_column: str | None = None,
    strict: bool = False,
    every: bool = False,
    quiet: bool = True,
) -> Rows:
    """Read the DATA argument for a model: a table, CSV on standard input for "-", or images.

    Parameters
    ----------
    data : str
    detector : Detector
        The model that will see the rows: its ID and category columns stay text, and it is an error if none of its
        columns are there. Images come in its size and colors, and from their files when asked for.
    names, data_format, encoding, label
        Options of tables; the label column stays text.
    image_column, strict
        Options of images.
    every : bool
        Of images: take all of DATA, not only those that its layout has for testing.
    """
    refuse_model_as_data(data)
    pictures.expect_kind(data, detector)
    if pictures.seen_by(detector):
        text = {"--names": names, "--data-format": data_format, "--encoding": encoding != "utf-8", "--label": label}
        pictures.refuse_table_options(data, text)
        return pictures.to_score(data, detector, strict=strict, quiet=quiet, column=image_column, every=every)
    pictures.refuse_image_options(data, {"--strict": strict, "--image-column": image_column})
    texts = [*detector.schema_.ids, *detector.schema_.text_columns, *([] if label is None else [label])]
    table = table_of(data, names, data_format, encoding, texts, quiet)
    _expect_trained_columns(table, detector)
    return table


def table_of(
    data: str,
    names: str | None = None,
    data_format: str | None = None,
    encoding: str = "utf-8",
    text_columns: Sequence[str] = (),
    quiet: bool = True,
) -> pa.Table:
    """Read a table from a file, or from standard input for "-".

    Parameters
    ----------
    text_columns : sequence of str
        Columns to keep as text, so that "007" stays "007".
    """
    from offnormal.data.tables import read_table

    _expect_encoding(encoding)
    if data != STANDARD_STREAM and not Path(data).suffix and not Path(data).exists():
        raise FileUnreadable(f"There is no file or folder {data!r}; check the path.")
    with working(f"Reading {data}", quiet):
        return read_table(
            data, names=column_names(names), format=data_format, text_columns=list(text_columns), encoding=encoding
        )


def picked(rows: Rows, which: np.ndarray[Any, Any]) -> Rows:
    """Return some of the rows, in the given order."""
    return rows.take(which) if hasattr(rows, "take") else rows[which]


def column_names(text: str | None) -> list[str] | None:
    """Return the names in "a,b,c", or in the text file of that name (separated by commas or line ends).

    Raises
    ------
    InvalidParameter
        If a name is empty or stands twice.
    """
    if text is None:
        return None
    path = Path(text)
    try:
        content = path.read_text(encoding="utf-8") if path.is_file() else text
    except OSError:  # a list of names too long to be a path
        content = text
    names = [name.strip().strip('"') for line in content.strip().splitlines() for name in line.rstrip(",").split(",")]
    twice = sorted({name for name in names if names.count(name) > 1})
    if not names or "" in names or twice:
        what = f"{', '.join(map(repr, twice))} more than once" if twice else "an empty name"
        raise InvalidParameter(
            f"--names must be distinct column names, a,b,c or a file that holds them; it has {what}."
        )
    return names


def known_columns(table: pa.Table, wanted: Sequence[str], option: str) -> None:
    """Raise `UnknownName` for the first of `wanted` that is no column of `table`."""
    for name in wanted:
        if name not in table.column_names:
            error = UnknownName.among("column", name, table.column_names)
            hint = "" if len(table.column_names) > 1 else " Is the data really comma-separated, with a header row?"
            raise UnknownName(f"{option}: {error}{hint}")


def expect_writable(path: str, suffixes: Sequence[str] = (), *, inputs: Sequence[str] = ()) -> None:
    """Make sure that `path` can be written before the work starts.

    Parameters
    ----------
    path : str
    suffixes : sequence of str
        The endings it may have; none: any.
    inputs : sequence of str
        Files that must not be written over.
    """
    if path == STANDARD_STREAM:
        return
    target = Path(path)
    if suffixes and not path.lower().endswith(tuple(suffixes)):
        raise InvalidParameter(f"The output must end in {' or '.join(suffixes)}; got {path!r}.")
    if target.is_dir():
        raise InvalidParameter(f"The output {path!r} is a folder; name a file in it.")
    if any(target.exists() and Path(name).exists() and target.samefile(name) for name in inputs):
        raise InvalidParameter(f"The output {path!r} would overwrite an input; name another file.")
    if not target.parent.is_dir():
        raise InvalidParameter(
            f"The folder {str(target.parent)!r} of the output {path!r} does not exist; create it first."
        )
    try:
        with tempfile.TemporaryFile(dir=target.parent):
            pass
    except OSError as error:
        raise EnvironmentFailure(f"Cannot write to the folder {str(target.parent)!r}: {error.strerror}.") from error


def _expect_trained_columns(table: pa.Table, detector: Detector) -> None:
    """Raise with a hint if the table has none of the model's columns: most often the header row is missing."""
    schema = detector.schema_
    trained = schema.names
    if schema.named and trained and not set(trained) & set(table.column_names):
        raise SchemaMismatch(
            f"The data has none of the model's {len(trained)} columns ({some(trained)}); its first row gives "
            f"{some(table.column_names)}. If the data has no header row, name its columns with --names."
        )


def _expect_encoding(name: str) -> None:
    try:
        codecs.lookup(name)
    except LookupError:
        raise InvalidParameter(f"--encoding {name!r} is not known; utf-8, utf-16, cp949 and latin-1 are.") from None


def some(names: Sequence[str]) -> str:
    """Return the first few names in quotes and how many more there are."""
    return listed(map(repr, names))
