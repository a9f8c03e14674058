"""Scores, p-values, flags and reasons as columns, each row through the network once."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from offnormal import thresholds
from offnormal.errors import NotSupported

if TYPE_CHECKING:
    import pyarrow as pa

    from offnormal.detector import Detector

RESULT_COLUMNS = ("row", "anomaly_score", "p_value", "is_anomaly", "reasons")
EXPLAINED_ANYWAY = 100  # the most anomalous rows have reasons even if the cut lets them pass
ROWS_PER_EXPLANATION = 20_000  # bounds the memory: contributions are rows x columns x parts


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


def reasons(detector: Detector, table: pa.Table, columns: dict[str, Any], which: str, top: int) -> list[str]:
    """Return each row's reasons as one text, empty for the rows that have none.

    Parameters
    ----------
    columns : dict
        Of `scored`.
    which : {"flagged", "all", "none"}
    top : int
        How many columns to name.
    """
    texts = [""] * table.num_rows
    chosen = np.arange(0)
    if which == "all":
        chosen = columns["row"]
    elif which == "flagged":
        highest = np.argsort(-columns["anomaly_score"], kind="stable")[:EXPLAINED_ANYWAY]
        chosen = np.union1d(np.flatnonzero(columns["is_anomaly"]), highest)
    for start in range(0, len(chosen), ROWS_PER_EXPLANATION):
        part = chosen[start : start + ROWS_PER_EXPLANATION]
        try:
            explanation = detector.explain(table.take(part))
        except NotSupported as error:
            warnings.warn(f"{error} The reasons are left empty.", stacklevel=2)
            break
        for row, said in zip(part, explanation.reasons(top), strict=True):
            texts[row] = "; ".join(said)
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
