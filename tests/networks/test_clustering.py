"""Mixtures and centers fitted once: those of scikit-learn, with the same bits whatever the number of threads."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from offnormal.errors import DataError
from offnormal.networks.clustering import expectation_maximization, k_means
from offnormal.random import generator


def points(rows: int = 3000) -> Tensor:
    draw = generator(0, "points")
    places = torch.tensor([[0.0, 0], [8, 0], [0, 8]], dtype=torch.float64)
    spread = torch.tensor([[1.0, 0.2], [0.5, 2], [1, 1]], dtype=torch.float64)
    own = torch.randint(3, (rows,), generator=draw)
    return places[own] + spread[own] * torch.randn(rows, 2, generator=draw, dtype=torch.float64)


def test_the_mixture_finds_what_the_points_were_drawn_from() -> None:
    mixture = expectation_maximization(points(), 3, restarts=2, seed=0)
    order = mixture.mean @ torch.tensor([1.0, 2.0], dtype=torch.float64)
    weight, mean, covariance = (part[order.argsort()] for part in mixture)
    torch.testing.assert_close(weight, torch.full((3,), 1 / 3, dtype=torch.float64), atol=0.03, rtol=0)
    torch.testing.assert_close(mean, torch.tensor([[0.0, 0], [8, 0], [0, 8]], dtype=torch.float64), atol=0.2, rtol=0)
    expected = torch.tensor([[1.0, 0.04], [0.25, 4], [1, 1]], dtype=torch.float64)
    torch.testing.assert_close(covariance.diagonal(dim1=1, dim2=2), expected, atol=0.3, rtol=0)


def test_a_mixture_that_cannot_be_fitted_is_refused_in_words() -> None:
    line = torch.arange(20, dtype=torch.float64)[:, None] * torch.tensor([1e10, 3e9, 7e9], dtype=torch.float64)
    with pytest.raises(DataError, match="No Gaussian mixture could be fitted"):
        expectation_maximization(line, 2, restarts=1, seed=0)


def test_centers_and_assignments_are_those_of_scikit_learn() -> None:
    z = points()
    centers, own = k_means(z, 3, restarts=5, seed=0)
    assert torch.equal(own, torch.cdist(z, centers).argmin(1))
    for k in range(3):
        torch.testing.assert_close(centers[k], z[own == k].mean(0))


def test_the_same_seed_gives_the_same_bits() -> None:
    """scikit-learn's k-means on several threads does not: it adds up in the order in which they finish."""
    z = points()
    first, second = (k_means(z, 5, restarts=3, seed=1)[0] for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, k_means(z, 5, restarts=1, seed=2)[0])
