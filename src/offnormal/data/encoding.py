"""One column: what it is, learned from the training table, and its values as numbers."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from offnormal.data import values
from offnormal.data.values import Kind

VOCABULARY_LIMIT = 10_000
"""Most values a frequency-coded column remembers: about 200 kB of a model file, and the rest is rare by definition."""

IDENTIFIER_ROWS = 20
"""Up to this many rows, all-distinct texts are no evidence of an identifier."""

_BOOLEAN_SPELLINGS = (("true", "false"), ("True", "False"), ("TRUE", "FALSE"))


@dataclass(frozen=True)
class Column:
    """One column of the training table.

    Attributes
    ----------
    name : str
    kind : {"numeric", "boolean", "category", "datetime"}
    categories : tuple of str
        For a category, the text of code 0, 1, ...; sorted, so that it does not depend on the order of the rows.
    coding : {"one_hot", "frequency"}
        How a category becomes model input: one feature per value, or one number for how rare the value is.
    """

    name: str
    kind: Kind
    categories: tuple[str, ...] = ()
    coding: Literal["one_hot", "frequency"] = "one_hot"

    def text(self, value: float) -> str:
        """Return an encoded value as a reader would write it."""
        if np.isnan(value):
            return "missing"
        match self.kind:
            case "boolean":
                return "true" if value else "false"
            case "category":
                return self.categories[int(value)] if value < len(self.categories) else "unseen value"
            case "datetime":
                try:
                    return datetime.fromtimestamp(value, UTC).isoformat(" ", "seconds").removesuffix("+00:00")
                except (OverflowError, ValueError, OSError):
                    return f"{value:.0f} s"
            case _:
                return f"{value:,.0f}" if value == round(value) and abs(value) < 1e15 else f"{value:,.4g}"


def learn_column(column: Any, name: str, categorical: bool, max_categories: int) -> Column:
    """Return what a column of the training table is.

    A category with more than `max_categories` distinct values is coded by frequency and remembers the most frequent
    ones only. Warns if every text differs, as an identifier's do.
    """
    column = values.plain(column)
    kind: Kind = values.kind_of(column, name)
    if not categorical and kind == "category" and values.reads_as_times(column, name):
        kind = "datetime"  # as the reader of a CSV file would have taken it
    if not categorical and kind != "category":
        return Column(name, kind)
    texts = values.texts(column, name)
    counts = pc.value_counts(texts.drop_null().combine_chunks())
    distinct, count = counts.field("values"), counts.field("counts")
    if kind == "category" and len(distinct) == len(texts) - texts.null_count > IDENTIFIER_ROWS:
        warnings.warn(
            f"Every value of column {name!r} is different, so it looks like an identifier. If it is one, name it with "
            "id_columns (--id) to carry it to the output without learning from it.",
            UserWarning,
            stacklevel=4,
        )
    coding: Literal["one_hot", "frequency"] = "one_hot" if len(distinct) <= max_categories else "frequency"
    if len(distinct) > VOCABULARY_LIMIT:
        ranked = pa.table({"text": distinct, "count": count}).sort_by([("count", "descending"), ("text", "ascending")])
        distinct = ranked["text"].slice(0, VOCABULARY_LIMIT)
    return Column(name, "category", tuple(sorted(distinct.to_pylist())), coding)


def encode_column(column: Column, found: Any) -> np.ndarray:
    """Return the values of an Arrow column as float64, shape (rows,), in the coding of `Schema.encode`.

    Raises
    ------
    SchemaMismatch
        If they cannot be read as the kind of `column`; the message is a fragment for a list.
    """
    found = values.plain(found)
    match column.kind:
        case "numeric":
            return values.numbers(found, column.name)
        case "boolean":
            return values.booleans(found, column.name)
        case "datetime":
            return values.seconds(found, column.name)
    texts = values.texts(found, column.name)
    if pa.types.is_boolean(found.type):
        texts = _as_spelled(found, texts, column.categories)
    codes = pc.index_in(texts, value_set=pa.array(column.categories, pa.large_string()))
    codes = pc.if_else(pc.is_valid(texts), pc.fill_null(codes, len(column.categories)), None)
    return np.asarray(pc.cast(codes, pa.float64()).to_numpy(), dtype=np.float64)


def _as_spelled(found: Any, texts: Any, categories: tuple[str, ...]) -> Any:
    """Return booleans in the spelling the vocabulary uses: a file with only True and False is read as booleans."""
    for true, false in _BOOLEAN_SPELLINGS:
        if true in categories or false in categories:
            return pc.if_else(found, pa.scalar(true, pa.large_string()), pa.scalar(false, pa.large_string()))
    return texts
