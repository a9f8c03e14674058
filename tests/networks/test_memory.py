"""The memory against cases by hand and the published formula; where nothing is left, it stays finite and learns."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from offnormal.networks.memory import Memory, address, entropy, hard_shrinkage
from offnormal.random import generator, scoped


def random_weights(m: int, rows: int = 200) -> Tensor:
    return torch.randn(rows, m, generator=generator(0, "weights"), dtype=torch.float64).mul(0.7).softmax(-1)


def memory(
    n_slots: int = 7, width: int = 3, cut: float = 0.0, addressing: str = "cosine", positions: int = 1
) -> Memory:
    with scoped(0, "memory"):
        return Memory(n_slots, width, addressing=addressing, cut=cut, positions=positions)


def test_addressing_by_hand() -> None:
    """z = (3, 4): cosines 3/5, 4/5, −3/5 with the slots, whatever their lengths; dot products 3, 8, −1.5."""
    z, slots = torch.tensor([[3.0, 4.0]]), torch.tensor([[1.0, 0.0], [0.0, 2.0], [-0.5, 0.0]])
    for addressing, likeness in (("cosine", (0.6, 0.8, -0.6)), ("dot", (3.0, 8.0, -1.5))):
        total = sum(math.exp(value) for value in likeness)
        expected = torch.tensor([[math.exp(value) / total for value in likeness]])
        torch.testing.assert_close(address(z, slots, addressing), expected)
    torch.testing.assert_close(address(10 * z, 3 * slots, "cosine"), address(z, slots, "cosine"))
    assert float((address(10 * z, slots, "dot") - address(z, slots, "dot")).abs().max()) > 1e-3


def test_shrinkage_by_hand() -> None:
    weights = torch.tensor([[0.5, 0.3, 0.2]])
    torch.testing.assert_close(hard_shrinkage(weights, 0.25), torch.tensor([[0.625, 0.375, 0.0]]))
    torch.testing.assert_close(hard_shrinkage(weights, 0.35), torch.tensor([[1.0, 0.0, 0.0]]))
    torch.testing.assert_close(hard_shrinkage(weights, 0.0), weights)


@pytest.mark.parametrize("c", [1.0, 2.0, 3.0])
def test_shrinkage_is_the_published_formula_where_a_weight_is_left(c: float) -> None:
    """w ← max(w − λ, 0) · w / (|w − λ| + 1e-12), then divided by the sum of absolute values."""
    weights, cut = random_weights(20), c / 20
    published = (weights - cut).clamp_min(0) * weights / ((weights - cut).abs() + 1e-12)
    left = published.sum(-1) > 0
    assert bool(left.any())
    published = published / published.abs().sum(-1, keepdim=True)
    torch.testing.assert_close(hard_shrinkage(weights, cut)[left], published[left], rtol=1e-5, atol=0)
    if c == 1:
        assert bool(left.all()), "the largest of m weights is above 1/m"


def test_a_row_whose_weights_are_all_cut_keeps_them_and_a_gradient() -> None:
    weights = torch.tensor([[0.25, 0.25, 0.25, 0.25], [0.3, 0.2, 0.25, 0.25]])
    torch.testing.assert_close(hard_shrinkage(weights, 0.9), weights)
    for cut in (1 / 7, 3 / 7):
        full = memory(cut=cut)
        code = torch.cat([torch.zeros(1, 3), 1e-20 * torch.ones(1, 3), torch.full((1, 3), 1e15)]).requires_grad_()
        read, kept = full(code)
        assert bool(read.isfinite().all())
        torch.testing.assert_close(kept.sum(-1), torch.ones(3, 1))
        (read.square().sum() + entropy(kept).sum()).backward()
        assert code.grad is not None
        assert bool(code.grad.isfinite().all())
        assert full.slots.grad is not None
        assert bool(full.slots.grad.isfinite().all())
        assert bool((full.slots.grad.abs().sum(1) > 0).all()), "every slot learns from uniform weights"


def test_entropy_is_that_of_a_categorical_distribution() -> None:
    weights = random_weights(9)
    torch.testing.assert_close(entropy(weights), torch.distributions.Categorical(probs=weights).entropy())
    sparse = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]], requires_grad=True)
    torch.testing.assert_close(entropy(sparse), torch.tensor([0.0, math.log(2)]))
    entropy(sparse).sum().backward()
    assert sparse.grad is not None
    assert bool(sparse.grad.isfinite().all())


@pytest.mark.parametrize("addressing", ["cosine", "dot"])
def test_a_step_down_the_entropy_makes_addressing_sparser(addressing: str) -> None:
    """Codes and slots together: along minus the gradient the entropy of the weights falls, by as much as it says."""
    store = memory(addressing=addressing).double()
    code = torch.randn(5, 3, generator=generator(0, "code"), dtype=torch.float64).requires_grad_()
    before = entropy(store(code)[1]).sum()
    of_code, of_slots = torch.autograd.grad(before, [code, store.slots])
    step = 1e-5
    with torch.no_grad():
        store.slots -= step * of_slots
        fallen = before - entropy(store(code - step * of_code)[1]).sum()
    predicted = step * float(of_code.square().sum() + of_slots.square().sum())
    assert predicted > 0
    assert float(fallen) == pytest.approx(predicted, rel=1e-3)


def test_gradients_are_those_of_finite_differences_away_from_the_cut() -> None:
    store = memory(cut=1 / 7).double()
    code = torch.randn(4, 3, generator=generator(0, "code"), dtype=torch.float64).requires_grad_()
    with torch.no_grad():
        weights = address(code, store.slots, "cosine")
    assert float((weights - store.cut).abs().min()) > 1e-4, "no weight crosses the cut"
    assert torch.autograd.gradcheck(lambda z, _: store(z), (code, store.slots), eps=1e-7, atol=1e-5)


def test_positions_of_a_feature_map_are_read_one_by_one() -> None:
    """A map (d, h, w), flattened: each position's channels are a query of their own."""
    store = memory(n_slots=6, width=4, cut=1 / 6, positions=6)
    features = torch.randn(5, 4, 2, 3, generator=generator(0, "map"))
    read, weights = store(features.flatten(1))
    alone = memory(n_slots=6, width=4, cut=1 / 6)
    for i in range(2):
        for j in range(3):
            expected, slots = alone(features[:, :, i, j])
            torch.testing.assert_close(read.reshape(5, 4, 2, 3)[:, :, i, j], expected)
            torch.testing.assert_close(weights[:, 3 * i + j], slots[:, 0])
