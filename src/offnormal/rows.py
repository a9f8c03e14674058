"""How an estimator takes rows: arrays by position through scikit-learn's checks, frames by name through the schema."""

from __future__ import annotations

import warnings
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import validate_data

from offnormal.data.columns import Schema
from offnormal.data.tables import from_frame, is_frame
from offnormal.errors import DataError
from offnormal.scorer import Scorer

Floats = NDArray[np.float64]


class TableFace:
    """The part of a detector that turns user tables into encoded matrices and columns back into words.

    The estimator provides `id_columns`, `ignored_columns`, `categorical_columns` and `max_categories`.
    """

    id_columns: tuple[str, ...]
    ignored_columns: tuple[str, ...]
    categorical_columns: tuple[str, ...]
    max_categories: int
    schema_: Schema
    scorer_: Scorer
    reference_: Floats
    n_features_in_: int
    feature_names_in_: NDArray[np.object_]

    def _learn(self, X: Any) -> Floats:
        """Learn the schema of the training rows and encode them, (rows, columns)."""
        _refuse_paths(X)
        if is_frame(X):
            table = from_frame(X)
            self.schema_ = Schema.learn(
                table,
                ids=self.id_columns,
                ignored=self.ignored_columns,
                categorical=self.categorical_columns,
                max_categories=self.max_categories,
            )
            self.n_features_in_ = len(self.schema_.columns)
            self.feature_names_in_ = np.asarray(self.schema_.names, dtype=object)
            return self.schema_.encode(table)
        if named := [name for name in ("id_columns", "ignored_columns", "categorical_columns") if getattr(self, name)]:
            raise DataError(f"{named[0]} names columns, and an array has no names. Pass a data frame.")
        matrix = self._checked(X, reset=True)
        self.schema_ = Schema.of_array(matrix.shape[1])
        vars(self).pop("feature_names_in_", None)
        return matrix

    def _encode(self, X: Any) -> Floats:
        """Encode rows to score, (rows, columns)."""
        _refuse_paths(X)
        if is_frame(X):
            encoded = self.schema_.encode(from_frame(X))
        else:
            encoded = self._checked(X, reset=False)
            if self.schema_.named:
                encoded = self.schema_.encode_array(encoded)
        self._warn_of_gaps(encoded)
        return encoded

    def _warn_of_gaps(self, encoded: Floats) -> None:
        """Warn where numbers are missing in a column that was complete in training: a dead sensor looks normal."""
        if not np.isnan(encoded.min(initial=0.0)):  # one fast pass; most tables end here
            return
        empty = np.isnan(encoded).sum(axis=0)
        known_gaps = set(self.scorer_.preprocess.plan["missing"])
        for j in np.flatnonzero(empty):
            column = self.schema_.columns[j]
            if int(j) not in known_gaps and column.kind in ("numeric", "boolean"):
                warnings.warn(
                    f"Column {column.name!r} is missing in {empty[j]} of {len(encoded)} rows and was never missing in "
                    "training. The training median stands in, so these rows look more normal than they may be.",
                    UserWarning,
                    stacklevel=4,
                )

    def _encode_with_texts(self, X: Any) -> tuple[Floats, list[list[str]]]:
        """Encode rows and write every cell as text."""
        encoded = self._encode(X)
        columns = self.schema_.columns
        texts = [[column.text(value) for column, value in zip(columns, row, strict=True)] for row in encoded]
        if is_frame(X) and any(column.kind == "category" for column in columns):
            table = from_frame(X)
            for j, column in enumerate(columns):
                if column.kind == "category":
                    for i in np.flatnonzero(encoded[:, j] == len(column.categories)):
                        texts[i][j] = f"{self.schema_.display(table, int(i), column.name)} (never seen)"
        return encoded, texts

    def _checked(self, X: Any, *, reset: bool) -> Floats:
        matrix: Floats = validate_data(
            self,
            np.ma.filled(X.astype(np.float64), np.nan) if isinstance(X, np.ma.MaskedArray) else X,
            reset=reset,
            dtype=np.float64,
            ensure_all_finite="allow-nan",
            ensure_min_samples=2 if reset else 1,
        )
        return matrix

    def _reference(self, encoded: Floats) -> Floats:
        """Return what is usual in each column, (columns, 2).

        Numbers: the 5 % and 95 % quantiles. Categories and booleans: the commonest code and its share. Times: NaN.
        """
        reference = np.full((encoded.shape[1], 2), np.nan)
        for j, column in enumerate(self.schema_.columns):
            known = encoded[~np.isnan(encoded[:, j]), j]
            if not len(known) or column.kind == "datetime":
                continue
            if column.kind == "numeric":
                reference[j] = np.quantile(known, [0.05, 0.95])
            else:
                counts = np.bincount(known.astype(np.int64))
                reference[j] = counts.argmax(), counts.max() / len(encoded)
        return reference

    def _usual(self) -> tuple[str, ...]:
        """Say what is usual in each column."""
        words = []
        for column, (first, second) in zip(self.schema_.columns, self.reference_, strict=True):
            if np.isnan(first):
                words.append("any time" if column.kind == "datetime" else "missing")
            elif column.kind != "numeric":
                words.append(f"{column.text(first)}, {second:.0%}")
            elif first == second:
                words.append(column.text(first))
            else:
                words.append(f"{column.text(first)} to {column.text(second)}")
        return tuple(words)


def _refuse_paths(X: Any) -> None:
    if isinstance(X, (str, PathLike)):
        raise DataError(
            f"Expected rows, got the path {str(X)!r}. Read it first: offnormal.read_table({str(X)!r}) returns a table."
        )
