"""Labels of a table, or of images by their folders, as 0 and 1, for `evaluate` and `report` alone."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from offnormal.cli import pictures
from offnormal.cli.reading import Rows, known_columns, some
from offnormal.errors import DataError, InvalidParameter, UnknownName

if TYPE_CHECKING:
    import pyarrow as pa

    from offnormal.data.images import FilesToScore, Images
    from offnormal.data.layouts import ImageFile

Array = np.ndarray[Any, Any]


def of(rows: Rows, data: str, column: str | None, anomaly: Sequence[str], normal: Sequence[str]) -> tuple[Array, Array]:
    """Return y and which rows count: by the column of a table; of images by their layout, labels or subfolders."""
    if column is not None:
        return of_table(rows, column, anomaly, normal)
    files: tuple[ImageFile, ...] = getattr(rows, "files", ())
    known = [file.anomalous for file in files]
    if not anomaly and not normal and {True, False} <= set(known):
        counted = np.array([odd is not None for odd in known])
        return np.array([odd is True for odd in known], dtype=np.int64), counted
    if files and not pictures.are_images(data):
        return of_list(files, data, anomaly, normal)
    return of_folders(rows, data, anomaly, normal)


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

    def among(wanted: Sequence[str]) -> Array | None:
        return np.isin(codes, [_position(values, text, column) for text in wanted]) if wanted else None

    return _decided(among(anomaly), among(normal), codes >= 0, f"the labels in {column!r} ({some(values)})", "row")


def of_list(
    files: Sequence[ImageFile], data: str, anomaly: Sequence[str], normal: Sequence[str]
) -> tuple[Array, Array]:
    """Return y in {0, 1} (1 = anomaly) by the labels in a list of images, and which images count; as for a table."""
    kinds = [file.kind for file in files]
    values = sorted({kind for kind in kinds if kind is not None})
    if not anomaly and not normal:
        there = f"It has {some(values)}." if values else "Its column label (or kind) is empty or missing."
        raise InvalidParameter(
            f"Say which label of {data!r} means anomaly: --anomaly VALUE, or --normal VALUE for all others. {there}"
        )

    def among(wanted: Sequence[str]) -> Array | None:
        named = [values[_position(values, text, "label")] for text in wanted]
        return np.array([kind in named for kind in kinds]) if named else None

    labeled = np.array([kind is not None for kind in kinds])
    return _decided(among(anomaly), among(normal), labeled, f"the images of {data!r}", "image")


def of_folders(
    images: Images | FilesToScore, data: str, anomaly: Sequence[str], normal: Sequence[str]
) -> tuple[Array, Array]:
    """Return y in {0, 1} (1 = anomaly) by the subfolders that images lie in, and which images count.

    Parameters
    ----------
    images : Images or FilesToScore
    data : str
        Where they come from, for messages.
    anomaly, normal : sequence of str
        Subfolders, "scratch" or "test/scratch", each with all that is below it. As for a table: with `anomaly` alone
        all other images are normal, with `normal` alone all others are anomalies, with both the rest does not count.

    Returns
    -------
    y, counted : ndarray of int64 and of bool, shape (images,)

    Raises
    ------
    UnknownName
        If a subfolder has no images.
    DataError
        If only one of the two classes is there.
    """
    folders = pictures.subfolders(images.names)
    there = f"It has {some(folders)}." if folders else "It has no subfolders with images."
    if not anomaly and not normal:
        raise InvalidParameter(
            "Say which subfolder holds anomalies: --anomaly SUBFOLDER, or --normal SUBFOLDER for all others. " + there
        )

    def inside(wanted: Sequence[str], option: str) -> Array | None:
        found = [pictures.lies_in(images.names, folder, option, data) for folder in wanted]
        return np.any(found, axis=0) if found else None

    every = np.ones(len(images), dtype=bool)
    return _decided(inside(anomaly, "--anomaly"), inside(normal, "--normal"), every, f"the images in {data!r}", "image")


def _decided(
    abnormal: Array | None, ordinary: Array | None, labeled: Array, where: str, noun: str
) -> tuple[Array, Array]:
    """Return y and which rows count, from the rows named as anomalies, those named as normal, or both."""
    counted = labeled
    if abnormal is not None and ordinary is not None:
        if (abnormal & ordinary).any():
            what = "A label" if noun == "row" else "An image"
            raise InvalidParameter(f"{what} cannot be both --anomaly and --normal.")
        counted = labeled & (abnormal | ordinary)
    y = np.asarray(~ordinary if abnormal is None and ordinary is not None else abnormal, dtype=np.int64)
    expect_both(y[counted], noun, where)
    return y, counted


def expect_both(y: Array, noun: str, where: str = "what can be used") -> None:
    """Raise `DataError` unless there are anomalies and normal rows."""
    for value, word in ((1, "anomaly"), (0, f"normal {noun}")):
        if not (y == value).any():
            raise DataError(f"No {word} is left among {where}; both kinds are needed.")


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
