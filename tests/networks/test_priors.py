"""Priors against torch.distributions, generalized Gaussians against scipy, radial densities against integrals."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch import Tensor
from torch.distributions import Categorical, Distribution, Independent, MixtureSameFamily, Normal

from offnormal.networks.priors import (
    COMPONENT_DEVIATION,
    CUBE_EDGE,
    CUBE_SIDE,
    SHAPES,
    GeneralizedGaussian,
    RadialDensity,
    component_centers,
    make_prior,
)
from offnormal.random import generator, scoped


def codes(rows: int = 200, dim: int = 3) -> Tensor:
    return torch.randn(rows, dim, generator=generator(0, "codes"))


def mixture_of_torch(dim: int, k: int) -> Distribution:
    centers = torch.tensor(component_centers(k, dim)).double()
    parts = Independent(Normal(centers, COMPONENT_DEVIATION), 1)
    return MixtureSameFamily(Categorical(torch.ones(k, dtype=torch.float64)), parts)


def test_the_misfits_are_minus_the_log_densities() -> None:
    z = codes()
    standard = Independent(Normal(torch.zeros(3).double(), 1.0), 1)
    torch.testing.assert_close(make_prior("gaussian", 3, 1).misfit(z), -standard.log_prob(z.double()))
    for k in (1, 4, 7):
        expected = -mixture_of_torch(3, k).log_prob(z.double())
        torch.testing.assert_close(make_prior("mixture", 3, k).misfit(z), expected, rtol=1e-5, atol=1e-5)


def test_the_cube_is_flat_inside_and_orders_by_distance_outside() -> None:
    prior, half = make_prior("uniform", 3, 1), math.sqrt(3)
    inside = half * torch.rand(100, 3, generator=generator(0, "in"))
    assert stats.uniform(-half, 2 * half).std() == pytest.approx(1)
    log_density = stats.uniform(-half, 2 * half).logpdf(inside.numpy()).sum(1)
    np.testing.assert_allclose(prior.misfit(inside).numpy(), -log_density, rtol=1e-6)
    away = torch.tensor([0.0, 0.1, 1.0, 1e10, 1e20])
    outside = torch.stack([half + away, torch.zeros(5), -half - away], 1)
    risen = prior.misfit(outside) - prior.misfit(torch.zeros(1, 3))
    expected = (outside[:, 0].double() - half).square() / CUBE_EDGE**2
    torch.testing.assert_close(risen, expected, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize(("k", "dim"), [(1, 2), (2, 1), (3, 2), (5, 4), (9, 8), (10, 2), (4, 3), (6, 1), (12, 8)])
def test_the_nearest_centers_are_two_apart_around_zero(k: int, dim: int) -> None:
    centers = np.array(component_centers(k, dim))
    assert centers.shape == (k, dim)
    np.testing.assert_allclose(centers.mean(0), 0, atol=1e-12)
    apart = np.linalg.norm(centers[:, None] - centers, axis=2)[~np.eye(k, dtype=bool)]
    if k > 1:
        assert apart.min() == pytest.approx(2)
    if k <= dim + 1:
        np.testing.assert_allclose(apart, 2)


def test_draws_follow_the_prior() -> None:
    like = torch.zeros(4000, 2)
    with scoped(0, "draws"):
        drawn = {name: make_prior(name, 2, 3).draw(like).numpy() for name in ("gaussian", "mixture", "uniform")}
    cube = stats.uniform(-CUBE_SIDE / 2, CUBE_SIDE)
    for j in range(2):
        assert stats.kstest(drawn["gaussian"][:, j], stats.norm.cdf).pvalue > 0.01
        assert stats.kstest(drawn["uniform"][:, j], cube.cdf).pvalue > 0.01
    centers = np.array(component_centers(3, 2))
    offsets = drawn["mixture"][:, None] - centers
    nearest = np.linalg.norm(offsets, axis=2).argmin(1)
    assert stats.chisquare(np.bincount(nearest, minlength=3)).pvalue > 0.01
    own = offsets[np.arange(len(nearest)), nearest].ravel()
    assert stats.kstest(own, stats.norm(0, COMPONENT_DEVIATION).cdf).pvalue > 0.01


def test_the_generalized_gaussian_is_at_least_as_likely_as_scipy_finds() -> None:
    draw = np.random.default_rng(0)
    true = [(1.0, 0.5, 2.0), (2.0, -3.0, 0.1), (5.0, 10.0, 1.0), (0.7, 0.0, 1.0)]
    z = np.stack([stats.gennorm(b, m, a).rvs(2000, random_state=draw) for b, m, a in true], 1)
    fitted = GeneralizedGaussian(4)
    fitted.fit(torch.from_numpy(z))
    for j, (beta, _, _) in enumerate(true):
        own = (float(fitted.shape[j]), float(fitted.location[j]), float(fitted.scale[j]))
        theirs = stats.gennorm.fit(z[:, j], 2, loc=np.median(z[:, j]), scale=z[:, j].std())
        assert stats.gennorm(*own).logpdf(z[:, j]).sum() > stats.gennorm(*theirs).logpdf(z[:, j]).sum() - 0.5
        assert own[0] == pytest.approx(theirs[0], rel=0.02)
        assert own[0] == pytest.approx(beta, rel=0.25)
    log_density = sum(
        stats.gennorm(float(fitted.shape[j]), float(fitted.location[j]), float(fitted.scale[j])).logpdf(z[:, j])
        for j in range(4)
    )
    np.testing.assert_allclose(fitted.misfit(torch.from_numpy(z)).numpy(), -log_density, rtol=1e-9)


def test_codes_without_spread_or_far_away_have_finite_misfits_that_keep_the_order() -> None:
    fitted = GeneralizedGaussian(2)
    fitted.fit(torch.stack([torch.ones(50), torch.linspace(-1, 1, 50)], 1))
    assert bool((fitted.shape >= SHAPES[0]).all() and (fitted.shape <= SHAPES[1] + 1e-9).all())
    away = torch.tensor([[1.0, 0.0], [1.1, 0.0], [10.0, 0.0], [1e6, 0.0], [1e18, 0.0], [1e18, 1e18]])
    misfit = fitted.misfit(away)
    assert bool(misfit.isfinite().all())
    assert bool((misfit.diff() >= 0).all())
    assert bool((misfit.diff()[:3] > 0).all())


def surface(dimension: float) -> float:
    return float(2 * math.pi ** (dimension / 2) / math.gamma(dimension / 2))


@pytest.mark.parametrize("dimension", [0.4, 1.0, 3.0, 24.0])
def test_a_radial_density_integrates_to_one_and_goes_on_without_a_jump(dimension: float) -> None:
    distances = 1 + torch.randn(400, generator=generator(0, "far")).abs()
    density = RadialDensity(dimension, 30)
    density.fit(distances)

    def shell(r: float) -> float:
        misfit = float(density.misfit(torch.tensor([r], dtype=torch.float64)))
        return surface(dimension) * r ** (dimension - 1) * math.exp(-misfit)

    edges = density.edges.tolist()
    low, high = edges[0], edges[-1]
    total = sum(integrate.quad(shell, a, b)[0] for a, b in pairwise(edges))
    total += integrate.quad(shell, high, high + 60 / float(density.rate))[0]
    # Flat below the first edge: a ball's volume times its height.
    flat = math.exp(-float(density.misfit(torch.zeros(1))))
    total += flat * surface(dimension) * low**dimension / dimension
    assert total == pytest.approx(1, abs=1e-6)
    for edge in (low, high):
        around = density.misfit(torch.tensor([edge * (1 - 1e-9), edge * (1 + 1e-9)], dtype=torch.float64))
        assert float(around.diff().abs()) < 1e-6
    far = density.misfit(torch.tensor([high, 2 * high, 1e6, 1e30]))
    assert bool(far.isfinite().all() and (far.diff() > 0).all())
    assert torch.equal(density.misfit(torch.zeros(1)), density.misfit(torch.tensor([0.5 * low])))


def test_a_radial_density_finds_the_entropy_of_a_gaussian() -> None:
    vectors = torch.randn(4000, 5, generator=generator(0, "vectors"))
    density = RadialDensity(5, 30)
    density.fit(vectors[:2000].norm(dim=1))
    exact = stats.multivariate_normal(np.zeros(5)).entropy()
    assert float(density.misfit(vectors[2000:].norm(dim=1)).mean()) == pytest.approx(exact, abs=0.1)


def test_equal_distances_and_perfect_rows_leave_finite_state() -> None:
    for distances in (torch.zeros(20), torch.ones(20), torch.cat([torch.zeros(5), torch.ones(20)])):
        density = RadialDensity(4, 30)
        density.fit(distances)
        assert all(bool(buffer.isfinite().all()) for buffer in density.buffers())
        assert bool(density.misfit(torch.tensor([0.0, 1e-9, 1.0, 1e9])).isfinite().all())
