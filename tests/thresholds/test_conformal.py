"""p-values against their definition, Benjamini-Hochberg against exact arithmetic and SciPy, both by simulation."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from offnormal.errors import DataError, InvalidParameter
from offnormal.thresholds import benjamini_hochberg, p_values

scores = st.lists(st.one_of(st.floats(-1e9, 1e9), st.integers(-3, 3).map(float)), min_size=1, max_size=50)


@settings(deadline=None, derandomize=True)
@given(scores, scores)
def test_p_values_follow_their_definition_fall_with_the_score_and_stay_in_range(
    calibration: list[float], asked: list[float]
) -> None:
    p = p_values(calibration, asked)
    n = len(calibration)
    assert p.tolist() == [(1 + sum(c >= s for c in calibration)) / (n + 1) for s in asked]
    assert ((p >= 1 / (n + 1)) & (p <= 1)).all()
    assert (np.diff(p[np.argsort(asked)]) <= 0).all()


@pytest.mark.parametrize("draw", ["exponential", "poisson"])
def test_the_p_value_of_a_new_normal_row_is_at_most_alpha_with_probability_at_most_alpha(draw: str) -> None:
    # One new row per calibration sample: the promise is over both.
    rows = getattr(np.random.default_rng(0), draw)(size=(20_000, 50))
    p = np.array([p_values(row[:-1], row[-1:])[0] for row in rows])
    for alpha in (0.02, 0.05, 0.1, 0.5):
        assert (p <= alpha).sum() <= stats.binom.ppf(0.9999, len(p), alpha)
        if draw == "exponential":  # without ties the promise is met, not only kept
            assert (p <= alpha).sum() >= stats.binom.ppf(0.0001, len(p), np.floor(alpha * 50) / 50)


def test_p_values_of_infinite_scores_and_of_none() -> None:
    assert p_values([1.0, 2.0], [np.inf, -np.inf]).tolist() == [1 / 3, 1.0]
    assert p_values([1.0, 2.0], []).shape == (0,)
    with pytest.raises(DataError, match="NaN"):
        p_values([1.0, 2.0], [np.nan])
    with pytest.raises(DataError, match="finite"):
        p_values([1.0, np.nan], [0.0])
    with pytest.raises(DataError, match="none"):
        p_values([], [0.0])


def naive(p: list[Fraction], fdr: Fraction) -> list[bool]:
    """Flag what has k p-values at or below it and fdr·k/b at or above the k-th: quadratic, exact."""
    greatest = max((q for q in p if q <= fdr * sum(other <= q for other in p) / len(p)), default=Fraction(-1))
    return [q <= greatest for q in p]


@settings(deadline=None, derandomize=True)
@given(st.integers(1, 200).flatmap(lambda n: st.lists(st.integers(1, n).map(lambda k: Fraction(k, n)), max_size=40)),
       st.integers(1, 99).map(lambda percent: Fraction(percent, 100)))  # fmt: skip
def test_benjamini_hochberg_is_exact_on_conformal_p_values(p: list[Fraction], fdr: Fraction) -> None:
    assert benjamini_hochberg([float(q) for q in p], float(fdr)).tolist() == naive(p, fdr)


@pytest.mark.parametrize("seed", range(20))
def test_benjamini_hochberg_agrees_with_scipy(seed: int) -> None:
    random = np.random.default_rng(seed)
    p = random.uniform(size=300) ** random.uniform(1, 6)
    for fdr in (0.01, 0.1, 0.5):
        assert (benjamini_hochberg(p, fdr) == (stats.false_discovery_control(p) <= fdr)).all()


@pytest.mark.parametrize("fdr", [0.05, 0.2])
def test_the_false_discovery_rate_is_held_on_a_mixture_and_the_anomalies_are_found(fdr: float) -> None:
    shares, found = [], []
    for seed in range(500):
        random = np.random.default_rng(seed)
        calibration = random.normal(size=400)
        batch = np.r_[random.normal(size=180), random.normal(4.5, 1, size=20)]
        flagged = benjamini_hochberg(p_values(calibration, batch), fdr)
        shares.append(flagged[:180].sum() / max(flagged.sum(), 1))
        found.append(flagged[180:].mean())
    assert np.mean(shares) <= fdr + 4 * np.std(shares) / np.sqrt(len(shares))
    assert np.mean(shares) > fdr * 0.4
    assert np.mean(found) > 0.6


def test_without_anomalies_anything_is_flagged_in_at_most_a_share_fdr_of_the_batches() -> None:
    false = 0
    for seed in range(1_000):
        random = np.random.default_rng(seed)
        false += benjamini_hochberg(p_values(random.normal(size=300), random.normal(size=30)), 0.1).any()
    assert false <= stats.binom.ppf(0.9999, 1_000, 0.1)


@pytest.mark.parametrize("fdr", [0, 1, -0.1, np.nan, "0.1", True])
def test_a_false_discovery_rate_outside_its_range_is_refused(fdr: float) -> None:
    with pytest.raises(InvalidParameter, match="above 0 and below 1"):
        benjamini_hochberg([0.5], fdr)


@pytest.mark.parametrize("bad", [-0.1, 1.1, np.nan])
def test_what_is_no_p_value_is_refused(bad: float) -> None:
    with pytest.raises(DataError, match="p-values"):
        benjamini_hochberg([0.5, bad], 0.1)
