"""What the report shows, as numbers: aggregates over all rows, details for the few rows (or images) that are listed.

No words and no markup. Every row is scored once; explanations and codes are asked for the listed and drawn rows alone,
so the page stays small however long the table is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from offnormal.calibration import Calibration
from offnormal.data.columns import Column, Schema
from offnormal.data.images import ImageSchema
from offnormal.data.tables import from_frame, is_frame
from offnormal.errors import NotSupported
from offnormal.explanation import Explanation
from offnormal.report.axes import Axis, Floats
from offnormal.report.charts import Cloud, Histogram
from offnormal.report.evaluation import Evaluation, check_labels, evaluate
from offnormal.report.explore import Explorable, kinds_of
from offnormal.report.images import ImageRows, MaskOf, Pictured, pictured
from offnormal.thresholds import Cut

Flags = NDArray[np.bool_]
Rows = NDArray[np.int64]

N_BINS = 60
DRAWN_REST, DRAWN_FLAGGED = 2_000, 500
EXPLAINED_FLAGGED = 500
ROWS_AT_ONCE = 65_536
_ALL_PAIRS_UP_TO, _AXES_BEYOND = 4, 3


class FittedDetector(Protocol):
    """What the report needs of a detector; `offnormal.detector.Detector` has it."""

    threshold_: Cut
    calibration_: Calibration
    training_: Mapping[str, Any]
    schema_: Any  # a Schema; of images an ImageSchema
    seed_: int
    reference_: Floats
    has_code: ClassVar[bool]
    key: ClassVar[str]

    def anomaly_score(self, X: Any) -> Floats:
        """Return scores, shape (rows,), greater = more anomalous."""

    def p_value(self, X: Any) -> Floats:
        """Return conformal p-values, shape (rows,)."""

    def explain(self, X: Any) -> Explanation:
        """Return contributions; `NotSupported` if the method has none."""

    def transform(self, X: Any) -> Any:
        """Return the code, shape (rows, axes); `NotSupported` if the method has none."""

    def get_feature_names_out(self) -> Any:
        """Return the names of the code's axes."""

    def get_params(self) -> dict[str, Any]:
        """Return the hyper-parameters."""


class Table:
    """The rows to report on, from an array or any frame; rows can be picked without copying the rest."""

    def __init__(self, X: Any, schema: Schema) -> None:
        self.unknown: tuple[str, ...] = ()
        self.rows: Any = X
        if isinstance(X, pa.Table) or is_frame(X):
            self.rows = X if isinstance(X, pa.Table) else from_frame(X)
            known = {column.name for column in schema.columns} | {*schema.ids, *schema.ignored}
            if schema.named:
                self.unknown = tuple(name for name in self.rows.column_names if name not in known)
                self.rows = self.rows.select([name for name in self.rows.column_names if name in known])
        else:
            self.rows = np.asarray(X)

    def take(self, rows: Rows) -> Any:
        """Return the given rows, in the given order, as the detector takes them."""
        return self.rows.take(pa.array(rows)) if isinstance(self.rows, pa.Table) else self.rows[rows]

    def cells(self, rows: Rows, names: Sequence[str]) -> list[list[str]]:
        """Return the text of the named columns for each given row; names the table lacks are left empty."""
        if not isinstance(self.rows, pa.Table):
            return [[""] * len(names) for _ in rows]
        picked = self.rows.take(pa.array(rows))
        columns = [
            ["" if cell is None else str(cell) for cell in picked.column(name).to_pylist()]
            if name in picked.column_names
            else [""] * len(rows)
            for name in names
        ]
        return [[column[i] for column in columns] for i in range(len(rows))]

    def encoded(self, schema: Schema) -> Any:
        """Yield the encoded matrix a block of rows at a time."""
        for start in range(0, len(self.rows), ROWS_AT_ONCE):
            stop = start + ROWS_AT_ONCE
            if isinstance(self.rows, pa.Table):
                yield schema.encode(self.rows.slice(start, ROWS_AT_ONCE))
            else:
                yield schema.encode_array(self.rows[start:stop])


@dataclass(frozen=True)
class ColumnSummary:
    """One column of the model and how the scored rows fill it.

    Attributes
    ----------
    reference : tuple of float
        What is usual, as the detector keeps it: 5 % and 95 % quantile, or commonest code and its share.
    low, high : float
        Least and greatest encoded value of the scored rows; NaN if all are missing.
    missing, unseen, outside : int
        Rows without a value; with a category that training did not have; with a number outside the usual range.
    """

    column: Column
    reference: tuple[float, float]
    low: float
    high: float
    missing: int
    unseen: int
    outside: int

    @property
    def constant(self) -> bool:
        """Return whether all scored rows that have a value have the same."""
        return self.low == self.high


@dataclass(frozen=True)
class Listed:
    """The rows of the table of most anomalous rows, in its order."""

    rows: Rows
    scores: Floats
    p_values: Floats | None
    flagged: Flags
    ids: list[list[str]]
    encoded: Floats
    explanation: Explanation | None


@dataclass(frozen=True)
class Drivers:
    """How often each column is the first reason among flagged rows, most often first."""

    explained: int
    counts: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Evidence:
    """Everything the page is made from."""

    n_rows: int
    n_flagged: int
    expected: float
    histogram: Histogram
    quantiles: Mapping[str, Floats]
    listed: Listed
    drivers: Drivers | None
    clouds: tuple[Cloud, ...]
    n_code_axes: int
    columns: tuple[ColumnSummary, ...]
    evaluation: Evaluation | None
    unknown_columns: tuple[str, ...]
    pictured: Pictured | None = None
    names: tuple[str, ...] = ()
    of_one_color: int = 0
    explorable: Explorable | None = None


def of_images(detector: FittedDetector) -> bool:
    """Return whether the model was fitted to images."""
    return isinstance(detector.schema_, ImageSchema)


def gather(
    detector: FittedDetector,
    X: Any,
    *,
    labels: Any = None,
    kinds: Sequence[str | None] | None = None,
    mask_of: MaskOf | None = None,
    top: int = 20,
) -> Evidence:
    """Score the rows and collect what the report shows.

    Parameters
    ----------
    X : array, frame or images, one row per row of the report
    labels : array of 0 and 1, shape (rows,), optional
        1 = anomaly. Used for the evaluation alone.
    kinds : sequence of str or None, optional
        Of each image.
    mask_of : callable, optional
        Number of an image -> the pixels that a mask marks, (h, w) of the model's size, or None.
    top : int
        How many of the most anomalous rows to list.

    Raises
    ------
    DataError
        If `labels` is not one 0 or 1 per row.
    NotSupported
        If the model is of clips.
    """
    if of_images(detector) and detector.schema_.noun == "clip":
        raise NotSupported("The model was fitted to clips: `render_video` reports on their recordings.")
    images = ImageRows(X, detector.schema_) if of_images(detector) else None
    table: Any = images or Table(X, detector.schema_)
    scores = np.asarray(detector.anomaly_score(table.rows), dtype=np.float64)
    calibration = np.asarray(detector.calibration_.scores, dtype=np.float64)
    cut = detector.threshold_.value
    flagged = scores > cut
    clouds, n_axes = codes(detector, table, flagged)
    listed = listed_rows(detector, table, scores, flagged, top)
    y = None if labels is None else check_labels(labels, len(scores))
    return Evidence(
        n_rows=len(scores),
        n_flagged=int(flagged.sum()),
        expected=detector.calibration_.flag_rate(cut) * len(scores),
        histogram=score_histogram(scores, calibration, cut),
        quantiles={"scored": _quantiles(scores), "calibration": _quantiles(calibration)},
        listed=listed,
        drivers=drivers(detector, table, flagged) if listed.explanation else None,
        clouds=clouds,
        n_code_axes=n_axes,
        columns=() if images else summarize_columns(table, detector.schema_, detector.reference_),
        evaluation=None if y is None else evaluate(y, scores, flagged),
        unknown_columns=table.unknown,
        pictured=pictured(detector, images, listed.rows, mask_of) if images else None,
        names=tuple(images.names[i] for i in listed.rows) if images else (),
        of_one_color=images.of_one_color() if images else 0,
        explorable=Explorable(scores, float(cut), kinds_of(kinds), y) if images else None,
    )


def score_histogram(scores: Floats, calibration: Floats, cut: float) -> Histogram:
    """Count rows in bars of one width on the axis; a row on an edge is in the bar below, as `score > cut` asks."""
    everything = np.concatenate([scores, calibration, [cut] if np.isfinite(cut) else []])
    axis = Axis.of_values(everything, calibration if len(calibration) else scores)
    at = float(axis.place(cut)) if np.isfinite(cut) else 0.0
    first, last = -math.floor(at * N_BINS) - 1, math.ceil((1 - at) * N_BINS) + (at == 1)
    edges = axis.at(at + np.arange(first, last + 1) / N_BINS)
    if np.isfinite(cut):
        edges[-first] = cut
    axis = replace(axis, low=float(edges[0]), high=float(edges[-1]))
    expected = _counted(calibration, edges).astype(np.float64) * (len(scores) / max(len(calibration), 1))
    return Histogram(axis, edges, _counted(scores, edges), expected, cut)


def _counted(values: Floats, edges: Floats) -> Rows:
    bars = np.clip(np.searchsorted(edges, values, side="left") - 1, 0, len(edges) - 2)
    return np.bincount(bars, minlength=len(edges) - 1).astype(np.int64)


def _quantiles(values: Floats) -> Floats:
    if len(values) == 0:
        return np.full(4, np.nan)
    return np.asarray(np.quantile(values, [0.5, 0.95, 0.99, 1.0]))


def evenly(rows: Rows, most: int) -> Rows:
    """Return at most `most` of the rows, evenly spaced; always the same ones."""
    if len(rows) <= most:
        return rows
    return rows[np.floor(np.linspace(0, len(rows), most, endpoint=False)).astype(np.int64)]


def listed_rows(detector: FittedDetector, table: Any, scores: Floats, flagged: Flags, top: int) -> Listed:
    """Pick the rows with the highest scores; among equals, the earlier row first."""
    rows = np.argsort(-scores, kind="stable")[: max(1, top)].astype(np.int64)
    picked = table.take(rows)
    p_values = np.asarray(detector.p_value(picked), dtype=np.float64) if detector.calibration_.n else None
    if of_images(detector):
        ids = [[table.names[i]] if table.are_named else [] for i in rows]
        return Listed(rows, scores[rows], p_values, flagged[rows], ids, np.empty((len(rows), 0)), None)
    return Listed(
        rows,
        scores[rows],
        p_values,
        flagged[rows],
        table.cells(rows, detector.schema_.ids),
        next(iter(Table(picked, detector.schema_).encoded(detector.schema_))),
        explained(detector, picked),
    )


def explained(detector: FittedDetector, X: Any) -> Explanation | None:
    """Return the explanation, or None for a method that has none."""
    try:
        return detector.explain(X)
    except NotSupported:
        return None


def drivers(detector: FittedDetector, table: Table, flagged: Flags) -> Drivers | None:
    """Count first reasons over the flagged rows, or evenly over some of them where they are many."""
    rows = evenly(np.flatnonzero(flagged), EXPLAINED_FLAGGED)
    explanation = explained(detector, table.take(rows)) if len(rows) else None
    if explanation is None:
        return None
    counts = np.bincount(explanation.ranking()[:, 0], minlength=len(explanation.columns))
    order = np.argsort(-counts, kind="stable")
    return Drivers(len(rows), tuple((explanation.columns[j], int(counts[j])) for j in order if counts[j]))


def codes(detector: FittedDetector, table: Any, flagged: Flags) -> tuple[tuple[Cloud, ...], int]:
    """Return the planes of the code to draw and the number of its axes; none for a method without a code."""
    if not detector.has_code:
        return (), 0
    rows = np.sort(
        np.concatenate([evenly(np.flatnonzero(~flagged), DRAWN_REST), evenly(np.flatnonzero(flagged), DRAWN_FLAGGED)])
    ).astype(np.int64)
    try:
        points = np.asarray(detector.transform(table.take(rows)), dtype=np.float64)
    except NotSupported:
        return (), 0
    points = points.reshape(len(rows), -1)
    n_axes = points.shape[1]
    names = tuple(str(name) for name in detector.get_feature_names_out())
    if n_axes == 1:
        points, names = np.column_stack([points, rows]), (*names, "row")
    drawn = points.shape[1] if points.shape[1] <= _ALL_PAIRS_UP_TO else _AXES_BEYOND
    return tuple(
        Cloud(names[i], names[j], points[:, [i, j]], flagged[rows], rows)
        for i in range(drawn)
        for j in range(i + 1, drawn)
    ), n_axes


def summarize_columns(table: Table, schema: Schema, reference: Floats) -> tuple[ColumnSummary, ...]:
    """Take each column's range, missing, unseen and unusual values over all rows, a block at a time."""
    n = len(schema.columns)
    low, high = np.full(n, np.inf), np.full(n, -np.inf)
    missing, unseen, outside = (np.zeros(n, dtype=np.int64) for _ in range(3))
    known = np.array([len(c.categories) if c.kind == "category" else np.inf for c in schema.columns])
    numeric = np.array([column.kind == "numeric" for column in schema.columns])
    for block in table.encoded(schema):
        low = np.fmin(low, np.fmin.reduce(block))
        high = np.fmax(high, np.fmax.reduce(block))
        missing += np.isnan(block).sum(0)
        unseen += (block >= known).sum(0)
        outside += numeric * ((block < reference[:, 0]) | (block > reference[:, 1])).sum(0)
    empty = missing == len(table.rows)
    low[empty] = high[empty] = np.nan
    return tuple(
        ColumnSummary(
            column,
            (float(reference[j, 0]), float(reference[j, 1])),
            float(low[j]),
            float(high[j]),
            int(missing[j]),
            int(unseen[j]),
            int(outside[j]),
        )
        for j, column in enumerate(schema.columns)
    )
