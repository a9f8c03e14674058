"""The mixture against torch.distributions, finite differences and closed forms."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.mixture import GaussianMixture
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from offnormal.errors import DataError
from offnormal.networks.mixture import FLOOR, Mixture, Moments, batch_energy, energy, factor, whiten


def rows_and_memberships(b: int = 40, d: int = 3, k: int = 4, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    z = torch.randn(b, d, dtype=torch.float64, generator=draw)
    gamma = torch.softmax(torch.randn(b, k, dtype=torch.float64, generator=draw), dim=1)
    return z, gamma


def mixture_of(z: torch.Tensor, gamma: torch.Tensor) -> Mixture:
    moments = Moments()
    moments.add(z, gamma)
    return moments.mixture()


def test_energy_is_the_negative_log_density_of_torch_distributions() -> None:
    z, gamma = rows_and_memberships()
    mixture = mixture_of(z, gamma)
    density = MixtureSameFamily(
        Categorical(mixture.weight), MultivariateNormal(mixture.mean, mixture.covariance, validate_args=False)
    )
    torch.testing.assert_close(energy(z, whiten(mixture)), -density.log_prob(z), rtol=1e-12, atol=1e-12)


def test_moments_are_those_of_an_m_step_of_scikit_learn() -> None:
    z, gamma = rows_and_memberships(b=200)
    model = GaussianMixture(4, reg_covar=FLOOR)
    model._initialize(z.numpy(), gamma.numpy())
    mixture = mixture_of(z, gamma)
    torch.testing.assert_close(mixture.weight, torch.from_numpy(model.weights_), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(mixture.mean, torch.from_numpy(model.means_), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(mixture.covariance, torch.from_numpy(model.covariances_), rtol=1e-9, atol=1e-10)


@given(st.lists(st.integers(1, 39), max_size=4), st.floats(-1e6, 1e6))
def test_moments_do_not_depend_on_the_batching_or_on_a_shift(cuts: list[int], shift: float) -> None:
    z, gamma = rows_and_memberships()
    whole = mixture_of(z, gamma)
    parts = Moments()
    bounds = [0, *sorted(set(cuts)), len(z)]
    for start, stop in pairwise(bounds):
        parts.add(z[start:stop] + shift, gamma[start:stop])
    pieced = parts.mixture()
    torch.testing.assert_close(pieced.mean - shift, whole.mean, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(pieced.covariance, whole.covariance, rtol=1e-6, atol=1e-7)


def test_batch_energy_agrees_with_the_energy_of_the_same_moments() -> None:
    z, gamma = rows_and_memberships()
    values, penalty = batch_energy(z, gamma)
    mixture = mixture_of(z, gamma)
    torch.testing.assert_close(values, energy(z, whiten(mixture)), rtol=1e-9, atol=1e-9)
    expected = (1 / mixture.covariance.diagonal(dim1=1, dim2=2)).sum()
    torch.testing.assert_close(penalty, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("k", [1, 2, 4])
def test_the_written_gradient_equals_finite_differences(k: int) -> None:
    z, gamma = rows_and_memberships(b=12, k=k)
    z.requires_grad_()
    gamma.requires_grad_()
    assert torch.autograd.gradcheck(batch_energy, (z, gamma))


def test_gradient_flows_through_the_covariance() -> None:
    """With the means held by symmetry, only Σ can tell a wider pair of rows from a narrower one."""
    z = torch.tensor([[-1.0], [1.0], [-2.0], [2.0]], dtype=torch.float64, requires_grad=True)
    values, penalty = batch_energy(z, torch.ones(4, 1, dtype=torch.float64))
    values.mean().backward(retain_graph=True)
    assert z.grad is not None
    # For one Gaussian the mean energy is ½ log σ² + const, σ² = mean(z²): its gradient is z_i / Σ z².
    torch.testing.assert_close(z.grad, z.detach() / z.detach().square().sum(), rtol=1e-5, atol=1e-6)
    z.grad = None
    penalty.backward()
    assert (z.grad.sign() == -z.detach().sign()).all(), "the penalty pushes rows apart"


def test_a_point_a_hundred_sigma_away_has_the_closed_form_energy() -> None:
    mixture = Mixture(
        torch.tensor([0.5, 0.5], dtype=torch.float64),
        torch.zeros(2, 3, dtype=torch.float64),
        torch.eye(3, dtype=torch.float64).repeat(2, 1, 1),
    )
    near, far, farther = energy(
        torch.tensor([[0.0, 0, 0], [100.0, 0, 0], [1e6, 0, 0]], dtype=torch.float64), whiten(mixture)
    ).tolist()
    constant = 1.5 * math.log(2 * math.pi)
    assert near == pytest.approx(constant, rel=1e-12)
    assert far == pytest.approx(constant + 100**2 / 2, rel=1e-12)
    assert farther == pytest.approx(constant + 1e12 / 2, rel=1e-12)


def test_the_determinant_is_the_determinant() -> None:
    """Scaling one axis by s adds log s to the energy at the mean: a root too many would add half of it."""
    covariance = torch.eye(2, dtype=torch.float64)[None].clone()
    covariance[0, 0, 0] = 49.0
    mixture = Mixture(torch.ones(1, dtype=torch.float64), torch.zeros(1, 2, dtype=torch.float64), covariance)
    value = energy(torch.zeros(1, 2, dtype=torch.float64), whiten(mixture)).item()
    assert value == pytest.approx(math.log(2 * math.pi) + math.log(7.0), rel=1e-12)


def test_a_collapsed_component_and_a_constant_axis_stay_finite() -> None:
    z, _ = rows_and_memberships(b=64)
    z[:, 2] = 1.0  # a perfect autoencoder: cosine similarity 1 everywhere
    gamma = torch.zeros(64, 3, dtype=torch.float64)
    gamma[:, 0] = 1.0  # components 1 and 2 own nothing
    z.requires_grad_()
    gamma.requires_grad_()
    values, penalty = batch_energy(z, gamma)
    (values.mean() + 1e-4 * penalty).backward()
    assert torch.isfinite(values).all()
    assert torch.isfinite(penalty)
    assert torch.isfinite(z.grad).all()
    assert torch.isfinite(gamma.grad).all()
    mixture = mixture_of(z.detach(), gamma.detach())
    assert torch.isfinite(energy(z.detach(), whiten(mixture))).all()


def test_identical_components_are_one_component() -> None:
    z, _ = rows_and_memberships()
    one = energy(z, whiten(mixture_of(z, torch.ones(40, 1, dtype=torch.float64))))
    four = energy(z, whiten(mixture_of(z, torch.full((40, 4), 0.25, dtype=torch.float64))))
    torch.testing.assert_close(one, four, rtol=1e-10, atol=1e-10)


def test_the_floor_is_raised_and_then_the_error_is_clear() -> None:
    slightly_negative = torch.diag(torch.tensor([1.0, -1e-4], dtype=torch.float64))[None]
    assert torch.isfinite(factor(slightly_negative)).all()
    with pytest.raises(DataError, match=r"larger batch_size.*smaller latent_dim"):
        factor(-torch.eye(2, dtype=torch.float64)[None])
