"""Scores, p-values, flags and reasons as columns, each row through the network once."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from offnormal import thresholds
from offnormal.cli import maps, pictures
from offnormal.cli.console import how_many, noun_of
from offnormal.cli.progress import working
from offnormal.cli.reading import Rows
from offnormal.errors import NotSupported
from offnormal.report.words import speaking_of
from offnormal.residual_places import Place, places

if TYPE_CHECKING:
    from offnormal.detector import Detector

RESULT_COLUMNS = ("row", "anomaly_score", "p_value", "is_anomaly", "reasons")
SPREAD = "spread over the image"
EXPLAINED_ANYWAY = 100  # the most anomalous rows have reasons even if the cut lets them pass
ROWS_PER_EXPLANATION = 2_048  # two of the scorer's blocks: little memory, and progress every few seconds

Array = np.ndarray[Any, Any]


def scored(detector: Detector, rows: Rows, fdr: float | None, quiet: bool = True) -> dict[str, Any]:
    """Return the columns row, anomaly_score, p_value and is_anomaly; NaN, NaN and False for files of no use.

    Parameters
    ----------
    fdr : float or None
        The false discovery rate to flag by; None flags by the model's cut.

    Raises
    ------
    NotSupported
        If `fdr` is given and the model has no calibration rows; without `fdr` its p-values are then missing.
    """
    calibration = detector.calibration_.scores
    if fdr is not None and not len(calibration):
        raise NotSupported("--fdr needs p-values, and this model was fitted with calibration none; fit it with auto.")
    scores = scores_of(detector, rows, quiet)
    known = np.isfinite(scores)
    p = np.full(len(scores), np.nan)
    if len(calibration):
        p[known] = thresholds.p_values(calibration, scores[known])
    flagged = scores > detector.threshold_.value
    if fdr is not None:
        flagged[known] = thresholds.benjamini_hochberg(p[known], fdr)
    return {"row": np.arange(len(scores)), "anomaly_score": scores, "p_value": p, "is_anomaly": flagged}


def scores_of(detector: Detector, rows: Rows, quiet: bool) -> Array:
    """Return the scores of rows; images in files are read block by block, and NaN where they are of no use."""
    if hasattr(rows, "unusable"):
        return pictures.scores(detector, rows, quiet)
    with working(f"Scoring {how_many(len(rows), noun_of(detector))}", quiet):
        return detector.anomaly_score(rows)


def with_gaps(columns: dict[str, Any], unusable: Mapping[int, str]) -> dict[str, Any]:
    """Return the columns with empty cells, and the reason, for the rows that could not be scored."""
    if not unusable:
        return columns
    import pyarrow as pa

    gaps = np.zeros(len(columns["row"]), dtype=bool)
    gaps[list(unusable)] = True
    emptied = {name: pa.array(columns[name], mask=gaps) for name in ("anomaly_score", "p_value", "is_anomaly")}
    texts = list(columns["reasons"])
    for row, reason in unusable.items():
        texts[row] = f"not scored: {reason}"
    return columns | emptied | {"reasons": texts}


def rows_with_reasons(columns: dict[str, Any], which: str) -> Array:
    """Return the rows to give reasons for, ascending.

    Parameters
    ----------
    columns : dict
        Of `scored`.
    which : {"flagged", "all", "none"}
        "flagged" includes the most anomalous rows, flagged or not.
    """
    if which == "none":
        return np.arange(0)
    known = np.isfinite(columns["anomaly_score"])
    if which == "all":
        return np.flatnonzero(known)
    highest = np.argsort(-columns["anomaly_score"], kind="stable")[: min(EXPLAINED_ANYWAY, int(known.sum()))]
    return np.union1d(np.flatnonzero(columns["is_anomaly"]), highest)


def reasons(detector: Detector, rows: Rows, which: Array, top: int, advance: Callable[[int], None]) -> list[str]:
    """Return each row's reasons as one text, empty for all but `which`.

    Parameters
    ----------
    which : array of int
    top : int
        How many columns, or places in an image, to name.
    advance : callable
        Told the number of rows after each part.
    """
    texts = [""] * len(rows)
    said = _by_place if pictures.seen_by(detector) else _by_column
    try:
        for part, words in said(detector, rows, which, top):
            for row, text in zip(part, words, strict=True):
                texts[row] = text
            advance(len(part))
    except NotSupported as error:
        warnings.warn(f"{error} The reasons are left empty.", stacklevel=2)
    return texts


def _by_column(detector: Detector, table: Any, which: Array, top: int) -> Iterator[tuple[Array, list[str]]]:
    for start in range(0, len(which), ROWS_PER_EXPLANATION):
        part = which[start : start + ROWS_PER_EXPLANATION]
        explanation = detector.explain(table.take(part))
        yield part, ["; ".join(said) for said in explanation.reasons(top)]


def _by_place(detector: Detector, images: Any, which: Array, top: int) -> Iterator[tuple[Array, list[str]]]:
    for part, residuals in maps.in_parts(detector, images, which):
        yield part, ["; ".join(map(place_in_words, places(one, top))) or SPREAD for one in residuals]


def place_in_words(place: Place) -> str:
    """Return where the residual lies, in pixels of the model's images.

    >>> place_in_words(Place(10, 18, 4, 4, 0.62, 0.01))
    'rows 10–18, column 4: 62% of the residual'
    """
    rows, columns = _span("row", place.top, place.bottom), _span("column", place.left, place.right)
    return f"{rows}, {columns}: {place.share:.0%} of the residual"


def _span(noun: str, first: int, last: int) -> str:
    return f"{noun} {first}" if first == last else f"{noun}s {first}–{last}"


def carried(detector: Detector, rows: Rows) -> dict[str, Any]:
    """Return the ID columns, one named like a column of the result with "_id" behind; of images, their paths."""
    if pictures.seen_by(detector):
        return {"image": list(rows.names)}
    carried = {}
    for name in detector.schema_.ids:
        if name in rows.column_names:
            carried[f"{name}_id" if name in RESULT_COLUMNS else name] = rows.column(name)
    return carried


def discovery_note(detector: Detector, rows: int, fdr: float) -> str:
    """Say what the number of calibration rows means for flags by false discovery rate."""
    return speaking_of(noun_of(detector), thresholds.discovery_note(detector.calibration_.n, rows, fdr))
