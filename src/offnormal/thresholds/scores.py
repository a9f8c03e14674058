"""What every threshold takes: finite scores in ascending order."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from offnormal.errors import DataError

Floats = NDArray[np.float64]


def ascending(scores: ArrayLike, what: str = "calibration", at_least: int = 1) -> Floats:
    """Return finite scores in ascending order."""
    values = np.asarray(scores, dtype=np.float64).ravel()
    if len(values) < at_least:
        raise DataError(f"A threshold needs {what} scores, and there are none. Fit with calibration rows.")
    odd = np.flatnonzero(~np.isfinite(values))
    if len(odd):
        raise DataError(
            f"The {what} scores must be finite; {len(odd):,} of {len(values):,} are not (the first is {values[odd[0]]} "
            f"at position {odd[0]:,}). Check the columns for extreme values, or use scaling='standard'."
        )
    return np.sort(values)
