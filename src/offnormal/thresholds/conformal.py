"""Conformal p-values, and the rows to flag at a false discovery rate.

Source: Bates, Candès, Lei, Romano and Sesia, "Testing for outliers with conformal p-values", Annals of Statistics 2023.
"""

from __future__ import annotations

import numbers

import numpy as np
from numpy.typing import ArrayLike, NDArray

from offnormal.errors import DataError, InvalidParameter
from offnormal.thresholds.scores import Floats, ascending


def p_values(calibration: ArrayLike, scores: ArrayLike) -> Floats:
    """Return conformal p-values (1 + #{calibration scores >= score}) / (n + 1).

    Parameters
    ----------
    calibration : array, shape (n,)
        Scores of rows the model was not fitted to, in any order; finite.
    scores : array, shape (b,)
        Scores to judge; not NaN.

    Returns
    -------
    array, shape (b,)
        In [1 / (n + 1), 1]; smaller = more anomalous. For a new normal row P(p <= α) <= α. For rows used in
        training p is too large: the model has seen them.
    """
    known, asked = ascending(calibration), np.asarray(scores, dtype=np.float64)
    if np.isnan(asked).any():
        raise DataError("A p-value needs scores that are numbers; some are NaN. Check the model and the rows.")
    n = len(known)
    p: Floats = (1 + n - np.searchsorted(known, asked, side="left")) / (n + 1)
    return p


def benjamini_hochberg(p: ArrayLike, fdr: float) -> NDArray[np.bool_]:
    """Return which rows to flag so that the expected share of false flags among them is at most `fdr`.

    Flags the k smallest p-values, k the largest number with p_(k) <= fdr · k / b. Conformal p-values of one batch share
    their calibration rows; the bound holds for that dependence. `discovery_note` says what few calibration rows mean.

    Parameters
    ----------
    p : array, shape (b,)
        The p-values of the whole batch, in [0, 1].
    fdr : float
        Above 0, below 1.

    Returns
    -------
    array of bool, shape (b,)
    """
    _check_fdr(fdr)
    values = np.asarray(p, dtype=np.float64)
    if not ((values >= 0) & (values <= 1)).all():
        raise DataError("p-values must lie in [0, 1]; some do not. Pass what `p_value` returns.")
    ordered = np.sort(values)
    bounds = fdr * np.arange(1, len(ordered) + 1) / max(len(ordered), 1)
    within = np.flatnonzero(ordered <= bounds * (1 + 1e-12))
    return values <= ordered[within[-1]] if len(within) else np.zeros(len(values), dtype=bool)


def _check_fdr(fdr: float) -> None:
    if isinstance(fdr, bool) or not isinstance(fdr, numbers.Real) or not 0 < fdr < 1:
        raise InvalidParameter(f"A false discovery rate must be a number above 0 and below 1; got {fdr!r}.")
