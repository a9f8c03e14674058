"""Fully connected networks: the chain run as one node equals the plain chain."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from offnormal.networks.mlp import TanhChain, funnel, mlp
from offnormal.random import scoped


def test_the_chain_equals_its_layers_one_by_one() -> None:
    with scoped(0, "net"):
        net = mlp((7, 5, 4, 3)).double()
        x = torch.randn(11, 7, dtype=torch.float64)
    assert isinstance(net, TanhChain)
    plain = nn.Sequential(*net.children())
    torch.testing.assert_close(net(x), plain(x))
    (net(x) ** 3).sum().backward()
    got = [p.grad.clone() for p in net.parameters()]
    net.zero_grad()
    (plain(x) ** 3).sum().backward()
    for ours, reference in zip(got, (p.grad for p in net.parameters()), strict=True):
        torch.testing.assert_close(ours, reference)


def test_the_gradient_of_the_chain_equals_finite_differences() -> None:
    with scoped(0, "net"):
        net = mlp((4, 3, 2)).double()
        x = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    params = tuple(net.parameters())
    assert torch.autograd.gradcheck(lambda x, *_: net(x), (x, *params))


def test_second_derivatives_are_refused_rather_than_wrong() -> None:
    net = mlp((4, 3, 2))
    x = torch.randn(5, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad(net(x).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError):
        gradient.sum().backward()


def test_initial_weights_are_glorot_uniform_and_biases_zero() -> None:
    with scoped(1, "net"):
        net = mlp((200, 100, 50))
    first = next(net.parameters())
    bound = (6 / 300) ** 0.5
    assert first.abs().max() <= bound
    assert first.std().item() == pytest.approx(bound / 3**0.5, rel=0.02)
    assert all(bool((layer.bias == 0).all()) for layer in net if isinstance(layer, nn.Linear))


@pytest.mark.parametrize(("width", "hidden"), [(1, (64, 32)), (118, (64, 32)), (274, (137, 68)), (9000, (256, 128))])
def test_hidden_widths_follow_the_table(width: int, hidden: tuple[int, int]) -> None:
    assert funnel(width) == hidden
