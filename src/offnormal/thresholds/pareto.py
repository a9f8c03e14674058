"""The generalized Pareto distribution: how scores fall off beyond a high threshold.

The likelihood in one parameter: Grimshaw, Technometrics 1993.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from offnormal.thresholds.scores import Floats


def fit_generalized_pareto(excesses: ArrayLike) -> tuple[float, float]:
    """Fit a generalized Pareto distribution to positive excesses by maximum likelihood, shape at least −1.

    With θ = γ/σ the likelihood's maximum over σ is known, γ(θ) = mean log(1 + θy), so one number is searched: on a
    grid, then by golden section between the neighbors of the best. Below γ = −1 the likelihood has no maximum; θ = 0,
    the exponential distribution, is always allowed, so the search cannot come back empty.

    Returns
    -------
    shape γ, scale σ : float
        P(Y > y) = (1 + γy/σ)^(−1/γ).
    """
    y = np.asarray(excesses, dtype=np.float64)
    unit = float(np.median(y))
    with np.errstate(all="ignore"):
        z = y / unit
        below = -(1 - np.geomspace(1e-6, 0.999, 60)) / float(z.max())
        grid = np.concatenate([below, [0.0], np.geomspace(1e-3, 1e3, 100)])
        best = int(np.argmax([_profile(theta, z)[0] for theta in grid]))
        left, right = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
        refined = _golden(lambda theta: _profile(theta, z)[0], left, right)
        _, shape, scale = max(_profile(grid[best], z), _profile(refined, z))
    return shape, scale * unit


def _profile(theta: float, z: Floats) -> tuple[float, float, float]:
    """Return (mean log-likelihood, γ, σ) at θ = γ/σ; −∞ outside the allowed shapes."""
    if abs(theta) < 1e-9:
        mean = float(np.mean(z))
        return -math.log(mean) - 1, 0.0, mean
    shape = float(np.mean(np.log1p(theta * z)))
    scale = shape / theta
    if not (shape >= -1 and scale > 0):
        return -math.inf, shape, scale
    return -math.log(scale) - shape - 1, shape, float(scale)


def _golden(height: Callable[[float], float], low: float, high: float) -> float:
    """Return where `height` is greatest in [low, high], by golden section."""
    ratio = (math.sqrt(5) - 1) / 2
    a, b = high - ratio * (high - low), low + ratio * (high - low)
    at_a, at_b = height(a), height(b)
    for _ in range(60):
        if at_a >= at_b:
            high, b, at_b = b, a, at_a
            a = high - ratio * (high - low)
            at_a = height(a)
        else:
            low, a, at_a = a, b, at_b
            b = low + ratio * (high - low)
            at_b = height(b)
    return (low + high) / 2


def pareto_quantile(tail: float, shape: float, scale: float) -> float:
    """Return y with P(Y > y) = `tail`: (σ/γ)(tail^−γ − 1), and −σ log(tail) as γ → 0."""
    log = math.log(tail)
    with np.errstate(over="ignore"):
        return float(-scale * log if abs(shape * log) < 1e-12 else scale * np.expm1(-shape * log) / shape)
