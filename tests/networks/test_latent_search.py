"""The latent search: Adam by hand, rows apart, the best start, parts of a block."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from offnormal.errors import InvalidParameter
from offnormal.networks.latent_search import best_of_starts, frozen, in_parts, search_codes, search_rates
from offnormal.random import generator

MATRIX = torch.randn(3, 5, generator=generator(0, "matrix"), dtype=torch.float64)
ROWS = torch.randn(40, 5, generator=generator(0, "rows"), dtype=torch.float64)
START = torch.tensor([0.3, -1.2, 0.7], dtype=torch.float64)
RATES = search_rates(60, 0.2, None)


def misfit(rows: Tensor) -> object:
    """Return the squared distance to the rows of a linear generator."""
    return lambda z: (rows - z @ MATRIX).square().sum(1)


def test_the_codes_are_those_of_adam_written_out() -> None:
    found = search_codes(misfit(ROWS), START.expand(40, -1), RATES).numpy()
    rows, matrix = ROWS.numpy(), MATRIX.numpy()
    z = np.tile(START.numpy(), (40, 1))
    mean, square = np.zeros_like(z), np.zeros_like(z)
    for step, rate in enumerate(RATES, start=1):
        gradient = -2 * (rows - z @ matrix) @ matrix.T
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient**2
        z = z - rate * (mean / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.999**step)) + 1e-8)
    np.testing.assert_allclose(found, z, rtol=1e-9, atol=1e-9)


def test_a_long_search_ends_at_the_projection() -> None:
    found = search_codes(misfit(ROWS), START.expand(40, -1), search_rates(1500, 0.1, None))
    best = torch.linalg.lstsq(MATRIX.T, ROWS.T).solution.T
    torch.testing.assert_close(found, best, rtol=1e-3, atol=1e-3)


def test_a_row_is_searched_as_if_it_were_alone_and_in_inference_mode_too() -> None:
    together = search_codes(misfit(ROWS), START.expand(40, -1), RATES)
    alone = torch.cat([search_codes(misfit(row[None]), START[None], RATES) for row in ROWS])
    torch.testing.assert_close(together, alone, rtol=1e-10, atol=1e-10)
    with torch.inference_mode():
        inside = search_codes(misfit(ROWS), START.clone().expand(40, -1), RATES)
    assert torch.equal(inside, together)
    assert not inside.requires_grad


def test_the_best_of_several_starts_is_kept_for_each_row() -> None:
    """Two wells, at −1 and 1; a row makes the one on its side the deeper. Each start leads into another well."""
    rows = torch.tensor([-2.0, -0.5, 0.5, 2.0], dtype=torch.float64)

    def wells(z: Tensor) -> Tensor:
        return (z[:, 0].square() - 1).square() + 0.2 * (z[:, 0] - rows).abs()

    starts = torch.tensor([[1.5], [-1.5]], dtype=torch.float64)
    rates = search_rates(200, 0.05, None)
    both = best_of_starts(wells, starts, 4, rates)
    apart = torch.stack([search_codes(wells, start.expand(4, -1), rates) for start in starts])
    least = torch.stack([wells(codes) for codes in apart]).argmin(0)
    assert least.tolist() == [1, 1, 0, 0]
    assert torch.equal(both, apart[least, torch.arange(4)])


def test_rates_fall_as_they_are_told() -> None:
    assert search_rates(5, 0.01, (2, 4)) == pytest.approx((0.01, 0.01, 0.001, 0.001, 0.0005))
    assert search_rates(3, 0.01, ()) == (0.01,) * 3
    assert search_rates(4, 1.0, None) == pytest.approx([0.5 * (1 + math.cos(math.pi * i / 4)) for i in range(4)])
    assert search_rates(0, 0.01, None) == ()
    for drops in ((4, 2), (1, 2, 3)):
        with pytest.raises(InvalidParameter, match="search_drops"):
            search_rates(5, 0.01, drops)


def test_a_frozen_network_is_the_same_function_and_nothing_of_the_original_changes() -> None:
    network = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))
    network(ROWS.float())  # running statistics of their own
    before = copy.deepcopy(network.state_dict())
    copied = frozen(network, torch.float64)
    assert network.training
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert not any(parameter.requires_grad for parameter in copied.parameters())
    torch.testing.assert_close(copied(ROWS).float(), network.eval()(ROWS.float()), rtol=1e-5, atol=1e-6)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("size", [1, 2, 5, 128])
@pytest.mark.parametrize("filled", [True, False])
def test_parts_of_a_block_say_the_same_and_copies_are_not_computed_again(size: int, filled: bool) -> None:
    seen: list[int] = []

    def costly(rows: Tensor) -> Tensor:
        seen.append(len(rows))
        return rows.square().sum(1, keepdim=True)

    rows = torch.randn(size, 3, generator=generator(0, "parts"))
    if filled:
        rows[3:] = rows[min(3, size - 1)].clone()
    assert torch.equal(in_parts(costly, rows), rows.square().sum(1, keepdim=True))
    assert sum(seen) == (8 if filled else size) or size < 128
