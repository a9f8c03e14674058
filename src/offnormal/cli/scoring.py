"""Scores, p-values, flags and reasons as columns, each row through the network once."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from offnormal import thresholds
from offnormal.errors import NotSupported

if TYPE_CHECKING:
    import pyarrow as pa

    from offnormal.detector import Detector

RESULT_COLUMNS = ("row", "anomaly_score", "p_value", "is_anomaly", "reasons")
EXPLAINED_ANYWAY = 100  # the most anomalous rows have reasons even if the cut lets them pass
ROWS_PER_EXPLANATION = 2_048  # two of the scorer's blocks: little memory, and progress every few seconds

Array = np.ndarray[Any, Any]


def scored(detector: Detector, table: pa.Table, fdr: float | None) -> dict[str, Any]:
    """Return the columns row, anomaly_score, p_value and is_anomaly.

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
    scores = detector.anomaly_score(table)
    p = thresholds.p_values(calibration, scores) if len(calibration) else np.full(len(scores), np.nan)
    flagged = scores > detector.threshold_.value if fdr is None else thresholds.benjamini_hochberg(p, fdr)
    return {"row": np.arange(len(scores)), "anomaly_score": scores, "p_value": p, "is_anomaly": flagged}


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
    if which == "all":
        return np.asarray(columns["row"])
    highest = np.argsort(-columns["anomaly_score"], kind="stable")[:EXPLAINED_ANYWAY]
    return np.union1d(np.flatnonzero(columns["is_anomaly"]), highest)


def reasons(detector: Detector, table: pa.Table, rows: Array, top: int, advance: Callable[[int], None]) -> list[str]:
    """Return each table row's reasons as one text, empty for all but `rows`.

    Parameters
    ----------
    rows : array of int
    top : int
        How many columns to name.
    advance : callable
        Told the number of rows after each part.
    """
    texts = [""] * table.num_rows
    for start in range(0, len(rows), ROWS_PER_EXPLANATION):
        part = rows[start : start + ROWS_PER_EXPLANATION]
        try:
            explanation = detector.explain(table.take(part))
        except NotSupported as error:
            warnings.warn(f"{error} The reasons are left empty.", stacklevel=2)
            break
        for row, said in zip(part, explanation.reasons(top), strict=True):
            texts[row] = "; ".join(said)
        advance(len(part))
    return texts


def carried(detector: Detector, table: pa.Table) -> dict[str, Any]:
    """Return the ID columns; one that is named like a column of the result gets "_id" behind its name."""
    carried = {}
    for name in detector.schema_.ids:
        if name in table.column_names:
            carried[f"{name}_id" if name in RESULT_COLUMNS else name] = table.column(name)
    return carried


def discovery_note(detector: Detector, rows: int, fdr: float) -> str:
    """Say what the number of calibration rows means for flags by false discovery rate."""
    return thresholds.discovery_note(detector.calibration_.n, rows, fdr)
