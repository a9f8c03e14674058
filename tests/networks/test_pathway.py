"""Pathway differences by hand, and their spread against one decomposition of the whole table."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from offnormal.batches import Batches
from offnormal.networks.autoencoding import Autoencoding
from offnormal.networks.pathway import Spread, pathway_difference, pathway_widths
from offnormal.random import generator


class Tiny(Autoencoding, nn.Module):
    """1 -> 1 -> 1 and back: h₁ = tanh(2x), h₂ = 3h₁ + 1, x′ = 0.5 tanh(h₂)."""

    def __init__(self) -> None:
        super().__init__()
        first, second, last = nn.Linear(1, 1), nn.Linear(1, 1), nn.Linear(1, 1)
        with torch.no_grad():
            for layer, weight, bias in ((first, 2.0, 0.0), (second, 3.0, 1.0), (last, 0.5, 0.0)):
                layer.weight.fill_(weight)
                layer.bias.fill_(bias)
        self.encoder = nn.Sequential(first, nn.Tanh(), second)
        self.decoder = nn.Sequential(nn.Tanh(), last)


def test_the_rebuilt_row_goes_through_the_encoder_again() -> None:
    """By hand; the decoder's own hidden value tanh(h₂) would stand beside h₁ otherwise."""
    x = 0.3
    h1 = math.tanh(2 * x)
    h2 = 3 * h1 + 1
    rebuilt = 0.5 * math.tanh(h2)
    again1 = math.tanh(2 * rebuilt)
    again2 = 3 * again1 + 1
    by_hand = [x - rebuilt, h1 - again1, h2 - again2]
    assert abs(again1 - math.tanh(h2)) > 0.1
    with torch.no_grad():
        for first in range(3):
            got = pathway_difference(Tiny(), torch.tensor([[x]]), first)
            assert got.dtype == torch.float64
            assert got[0].tolist() == pytest.approx(by_hand[first:], abs=1e-6)
    assert pathway_widths(Tiny(), (1,)) == [1, 1, 1]


def learned(vectors: Tensor, floor: float, batch_size: int = 70) -> Spread:
    spread = Spread(vectors.shape[1], floor)
    spread.learn(Batches(vectors, batch_size), lambda rows: rows)
    return spread


def test_one_pass_over_batches_equals_one_decomposition_of_the_whole() -> None:
    """NAP as the paper writes it, U Σ Vᵀ of the centered table, less the factor n; with a mean far from zero."""
    mixing = torch.randn(7, 7, generator=generator(0, "mixing"), dtype=torch.float64)
    rows = torch.randn(500, 7, generator=generator(0, "rows"), dtype=torch.float64) @ mixing + 1e5
    query = rows[:50] + torch.randn(50, 7, generator=generator(0, "query"), dtype=torch.float64)
    mean = rows.numpy().mean(0)
    _, singular, directions = np.linalg.svd(rows.numpy() - mean, full_matrices=False)
    paper = ((((query.numpy() - mean) @ directions.T) / singular) ** 2).sum(1)
    spread = learned(rows, 1e-6)
    np.testing.assert_allclose(spread.squared_distance(query).numpy() / len(rows), paper, rtol=1e-7)
    assert float(spread.squared_distance(rows).mean()) == pytest.approx(7), "the mean over its own rows is the rank"


def test_a_move_where_training_never_went_is_seen_and_not_blown_up() -> None:
    """Two axes of deviation 2 and 1, a third that never moves: it counts as the floor's share of the largest."""
    plane = torch.randn(400, 2, generator=generator(0, "plane"), dtype=torch.float64)
    plane = torch.linalg.qr(plane - plane.mean(0)).Q * 20 * torch.tensor([2.0, 1.0])
    rows = torch.cat([plane, torch.full((400, 1), 5.0)], dim=1)
    spread = learned(rows, 0.01)
    query = torch.tensor([[3.0, 1.0, 5.0], [3.0, 1.0, 5.1], [0.0, 0.0, 5.0]], dtype=torch.float64)
    seen = (3 / 2) ** 2 + 1
    expected = [seen, seen + (0.1 / (0.01 * 2)) ** 2, 0.0]
    assert spread.squared_distance(query).tolist() == pytest.approx(expected, abs=1e-6)
    assert learned(rows, 1.0).squared_distance(query).tolist() == pytest.approx([10 / 4, 10.01 / 4, 0.0], abs=1e-9)


def test_rows_that_are_all_alike_leave_a_finite_spread() -> None:
    spread = learned(torch.full((30, 4), 0.7), 0.01)
    assert all(bool(value.isfinite().all()) for value in spread.buffers())
    distance = spread.squared_distance(torch.tensor([[0.7, 0.7, 0.7, 0.7], [3e38, 0.7, 0.7, 0.7]]))
    assert float(distance[0]) == pytest.approx(0, abs=1e-3)
    assert bool(distance.isfinite().all())
    assert distance[1] > 1
