"""The generalized Pareto fit against SciPy's distributions and its own likelihood maximum."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from offnormal.thresholds.pareto import fit_generalized_pareto, pareto_quantile


@pytest.mark.parametrize("shape", [-0.7, -0.3, 0.0, 0.1, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("n", [30, 300, 3_000])
def test_the_fit_is_at_least_as_likely_as_scipy_finds(shape: float, n: int) -> None:
    y = 7.0 * stats.genpareto(shape).rvs(size=n, random_state=n)
    gamma, sigma = fit_generalized_pareto(y)
    ours = stats.genpareto(gamma, scale=sigma).logpdf(y).sum()
    true = stats.genpareto(shape, scale=7.0).logpdf(y).sum()
    assert ours >= true - 1e-6
    theirs, _, scale = stats.genpareto.fit(y, floc=0)
    if theirs > -1:
        assert ours >= stats.genpareto(theirs, scale=scale).logpdf(y).sum() - 1e-4


@pytest.mark.parametrize("shape", [-0.3, 0.0, 0.5, 1.0])
def test_shape_and_scale_are_recovered_within_their_standard_errors(shape: float) -> None:
    fits = [
        fit_generalized_pareto(stats.genpareto(shape, scale=3.0).rvs(size=2_000, random_state=seed))
        for seed in range(30)
    ]
    # Asymptotic standard deviations for shape > −1/2: (1 + γ)/√n and σ√(2(1 + γ))/√n.
    errors = np.array([(1 + shape), 3.0 * np.sqrt(2 * (1 + shape))]) / np.sqrt(2_000)
    assert np.abs((np.mean(fits, axis=0) - [shape, 3.0]) / (errors / np.sqrt(30))).max() < 5
    assert np.std(fits, axis=0) / errors == pytest.approx(1, rel=0.5)


@pytest.mark.parametrize("unit", [1e-200, 1e-6, 1.0, 1e6, 1e200])
def test_the_fit_does_not_depend_on_the_unit(unit: float) -> None:
    y = stats.genpareto(0.2).rvs(size=500, random_state=0)
    shape, scale = fit_generalized_pareto(y)
    assert fit_generalized_pareto(y * unit) == pytest.approx((shape, scale * unit), rel=1e-5)


def test_a_bounded_tail_ends_near_its_bound() -> None:
    y = np.random.default_rng(0).uniform(0, 2, size=5_000)
    shape, scale = fit_generalized_pareto(y)
    assert shape == pytest.approx(-1, abs=0.02)
    assert pareto_quantile(1e-9, shape, scale) == pytest.approx(2, rel=0.01)


@pytest.mark.parametrize("shape", [-0.8, -1e-9, 0.0, 1e-15, 1e-7, 0.4, 3.0])
@pytest.mark.parametrize("tail", [1.0, 0.5, 1e-3, 1e-9])
def test_the_quantile_inverts_the_distribution(shape: float, tail: float) -> None:
    assert stats.genpareto(shape, scale=2.0).sf(pareto_quantile(tail, shape, 2.0)) == pytest.approx(tail, rel=1e-6)
