"""What the columns of a table are, learned once and held against every later table.

A `Schema` turns a table into one float64 matrix: columns in training order, numbers as they are, booleans as 0 and 1,
categories as their code, times as seconds, missing values as NaN. It is the part of a model that stays JSON; the
numeric part of preprocessing is `offnormal.data.preprocess`.
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from offnormal.data import values
from offnormal.data.encoding import Column, encode_column, learn_column
from offnormal.data.values import Kind
from offnormal.errors import DataError, InvalidParameter, ModelFileError, SchemaMismatch, UnknownName

__all__ = ["Column", "Kind", "Schema"]


@dataclass(frozen=True)
class Schema:
    """The columns of a training table.

    Attributes
    ----------
    columns : tuple of Column
        In training order; identifiers and ignored columns are not among them.
    ids : tuple of str
        Columns carried to the output and never used.
    ignored : tuple of str
        Columns never used; they may be absent later.
    named : bool
        False if learned from an array without names: later tables are then matched by position.
    """

    columns: tuple[Column, ...]
    ids: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    named: bool = True

    @classmethod
    def learn(
        cls,
        table: Any,
        *,
        ids: Sequence[str] = (),
        ignored: Sequence[str] = (),
        categorical: Sequence[str] = (),
        max_categories: int = 100,
    ) -> Schema:
        """Decide from a training table what each column is.

        Parameters
        ----------
        table : pyarrow.Table, at least 2 rows
        ids, ignored : sequence of str
            Columns to leave out.
        categorical : sequence of str
            Columns to take as categories although they hold numbers, booleans or times.
        max_categories : int
            A category with more distinct values is coded by frequency.

        Raises
        ------
        DataError
            If the table has fewer than two rows, no usable column, nested columns or the same name twice.
        UnknownName
            If `ids`, `ignored` or `categorical` name a column that does not exist.
        """
        _check_names(table.column_names)
        for name in (*ids, *ignored, *categorical):
            if name not in table.column_names:
                raise UnknownName.among("column", name, table.column_names)
        left_out = {*ids, *ignored}
        if clash := sorted(left_out & set(categorical)):
            raise InvalidParameter(f"Column {clash[0]!r} cannot be both left out and categorical; drop one of the two.")
        if table.num_rows < 2:
            raise DataError(f"At least 2 rows are needed to learn what is normal; got n_samples={table.num_rows}.")
        used = [name for name in table.column_names if name not in left_out]
        if not used:
            raise DataError("No column is left to learn from: the table has no other than the ID and ignored columns.")
        columns = tuple(learn_column(table.column(n), n, n in categorical, max_categories) for n in used)
        return cls(columns, tuple(ids), tuple(ignored))

    @classmethod
    def of_array(cls, n_columns: int) -> Schema:
        """Return the schema of a numeric array: columns x0, x1, ..., matched by position."""
        return cls(tuple(Column(f"x{i}", "numeric") for i in range(n_columns)), named=False)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the used columns, in training order."""
        return tuple(column.name for column in self.columns)

    @property
    def text_columns(self) -> tuple[str, ...]:
        """Names of the categories; a file reader must keep them as text, so that "007" does not become 7."""
        return tuple(column.name for column in self.columns if column.kind == "category")

    def encode(self, table: Any) -> np.ndarray:
        """Return the used columns as one matrix, whatever their order in `table`.

        Parameters
        ----------
        table : pyarrow.Table

        Returns
        -------
        ndarray of float64, shape (rows, len(columns))
            Numbers as they are; booleans 0 or 1; the code of a category, `len(categories)` for an unseen value; POSIX
            seconds in UTC for times; NaN where a value is missing.

        Warns
        -----
        UserWarning
            If the table has columns that training did not know; they are not used.

        Raises
        ------
        DataError
            If the table is empty or a used column is infinite somewhere.
        SchemaMismatch
            If columns are missing, or hold what cannot be read as their kind.
        """
        _check_names(table.column_names)
        if table.num_rows == 0:
            raise DataError("The table has no rows; at least one row is needed to score.")
        places = self._places(table)
        matrix = np.empty((table.num_rows, len(self.columns)))
        misfits = []
        for j, (column, place) in enumerate(zip(self.columns, places, strict=True)):
            try:
                matrix[:, j] = encode_column(column, table.column(place))
            except SchemaMismatch as misfit:
                misfits.append(str(misfit))
        if misfits:
            raise SchemaMismatch(
                f"The table does not fit the one of training: {'; '.join(misfits)} (rows counted from 0). "
                "Convert the values, or train again on tables like this one."
            )
        _check_finite(matrix, self.names)
        return matrix

    def encode_array(self, array: Any) -> np.ndarray:
        """Return a two-dimensional array of numbers as the matrix of `encode`, columns by position.

        Raises
        ------
        DataError
            If it is not two-dimensional and numeric, has no rows, or is infinite somewhere.
        SchemaMismatch
            If the number of columns differs, or training knew columns other than numbers and booleans.
        """
        if np.iscomplexobj(array):
            raise DataError("An array must hold numbers. Complex data not supported; pass real and imaginary parts.")
        try:
            matrix = np.array(array, dtype=np.float64, order="C")
        except (TypeError, ValueError) as error:
            raise DataError(f"An array must hold numbers ({error}); pass a data frame for text or dates.") from None
        if matrix.ndim != 2:
            raise DataError(f"Expected a 2D array of rows and columns, got {matrix.ndim}D. Reshape it first.")
        if matrix.shape[1] != len(self.columns):
            raise SchemaMismatch(
                f"Expected {len(self.columns)} columns as in training, got an array with {matrix.shape[1]}."
            )
        if others := [c.name for c in self.columns if c.kind not in ("numeric", "boolean")]:
            raise SchemaMismatch(f"Training knew {_listed(others)} as text or times; pass a data frame, not an array.")
        if len(matrix) == 0:
            raise DataError("The array has no rows; at least one row is needed.")
        _check_finite(matrix, self.names)
        return matrix

    def display(self, table: Any, row: int, column: str) -> str:
        """Return the cell of a table as a reader would write it; an unseen category keeps its own text."""
        index = self.names.index(column)
        known = self.columns[index]
        place = column if column in table.column_names else index  # learned without names: by position
        cell = table.column(place).slice(row, 1)
        if known.kind == "category":
            return str(values.texts(values.plain(cell), column)[0].as_py() or "missing")
        return known.text(float(encode_column(known, cell)[0]))

    def to_json(self) -> dict[str, Any]:
        """Return plain lists, dicts and strings for the manifest of a model file."""
        columns: list[dict[str, Any]] = []
        for column in self.columns:
            entry: dict[str, Any] = {"name": column.name, "kind": column.kind}
            if column.kind == "category":
                entry |= {"categories": list(column.categories), "coding": column.coding}
            columns.append(entry)
        return {"columns": columns, "ids": list(self.ids), "ignored": list(self.ignored), "named": self.named}

    @classmethod
    def from_json(cls, document: object) -> Schema:
        """Return the schema that `to_json` wrote.

        Raises
        ------
        ModelFileError
            If anything in the document is not what `to_json` writes.
        """
        entry = _fields(document, {"columns", "ids", "ignored", "named"}, "The column schema")
        if not isinstance(entry["named"], bool) or not isinstance(entry["columns"], list) or not entry["columns"]:
            raise _altered("the column schema has no columns or an odd 'named'")
        columns = tuple(_read_column(column) for column in entry["columns"])
        names = [column.name for column in columns]
        ids, ignored = _strings(entry["ids"], "ids"), _strings(entry["ignored"], "ignored")
        if len(set(names)) < len(names) or set(names) & {*ids, *ignored}:
            raise _altered("the column schema names a column twice")
        return cls(columns, ids, ignored, entry["named"])

    def _places(self, table: Any) -> list[int]:
        """Return where each used column stands in `table`; complain about missing and extra ones."""
        found = {name: place for place, name in enumerate(table.column_names)}
        if not self.named and not set(self.names) <= set(found):
            if len(found) != len(self.columns):
                raise SchemaMismatch(
                    f"Expected {len(self.columns)} columns as in the training array, got a table with {len(found)}."
                )
            return list(range(len(self.columns)))
        missing = [name for name in self.names if name not in found]
        known = {*self.names, *self.ids, *self.ignored}
        extra = [name for name in table.column_names if name not in known]
        if missing:
            raise SchemaMismatch(_missing_text(missing, extra))
        if extra:
            warnings.warn(f"Columns unknown to the model are not used: {_listed(extra)}.", UserWarning, stacklevel=3)
        return [found[name] for name in self.names]


def _check_names(names: Iterable[str]) -> None:
    seen: set[str] = set()
    twice = sorted({name for name in names if name in seen or seen.add(name)})  # type: ignore[func-returns-value]
    if twice:
        raise DataError(
            f"Column names must differ, but {_listed(twice)} came more than once. Rename the columns; for a file "
            "without a header row, give the names (--names id,size,label; names=[...])."
        )


def _check_finite(matrix: np.ndarray, names: Sequence[str]) -> None:
    infinite = np.isinf(matrix)
    if infinite.any():
        place = int(infinite.any(axis=0).argmax())
        raise DataError(
            f"Column {names[place]!r} is infinite in row {int(infinite[:, place].argmax())} (counted from 0). Replace "
            "infinities by numbers, or by missing values if they are unknown."
        )


def _missing_text(missing: Sequence[str], extra: Sequence[str]) -> str:
    folded = {name.strip().casefold(): name for name in extra}
    hints = []
    for name in missing:
        near = difflib.get_close_matches(name.strip().casefold(), folded, n=1)
        if near:
            hints.append(f"{folded[near[0]]!r} for {name!r}")
    noun, verb = ("Column", "is") if len(missing) == 1 else ("Columns", "are")
    hint = f" Did you mean {', '.join(hints)}?" if hints else " Add them, or train again without them."
    return f"{noun} {_listed(missing, len(missing))} of the training table {verb} missing.{hint}"


def _listed(names: Sequence[str], most: int = 10) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(repr, names[:most])) + more


def _altered(what: str) -> ModelFileError:
    return ModelFileError(f"The model file is altered or damaged: {what}. Get the file again, or train again.")


def _fields(document: object, keys: set[str], what: str) -> Mapping[str, Any]:
    if not isinstance(document, dict) or set(document) != keys:
        raise _altered(f"{what} should have exactly the entries {', '.join(sorted(keys))}")
    return document


def _strings(value: object, what: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise _altered(f"{what!r} in the column schema is not a list of texts")
    if len(set(value)) < len(value):
        raise _altered(f"{what!r} in the column schema repeats a text")
    try:
        "".join(value).encode()
    except UnicodeEncodeError:
        raise _altered(f"{what!r} in the column schema holds an invalid character") from None
    return tuple(value)


def _read_column(document: object) -> Column:
    category = isinstance(document, dict) and document.get("kind") == "category"
    keys = {"name", "kind", "categories", "coding"} if category else {"name", "kind"}
    entry = _fields(document, keys, "a column of the schema")
    (name,) = _strings([entry["name"]], "name")
    if entry["kind"] not in ("numeric", "boolean", "category", "datetime"):
        raise _altered(f"column {name!r} has an unknown kind")
    if not category:
        return Column(name, entry["kind"])
    if entry["coding"] not in ("one_hot", "frequency"):
        raise _altered(f"column {name!r} has an unknown coding")
    return Column(name, "category", _strings(entry["categories"], "categories"), entry["coding"])
