"""Residual networks: one block by hand, the published layout, and sizes that meet whatever the shape."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm as normed_over_rows
from torch.nn.functional import conv2d
from torch.nn.functional import layer_norm as normed_by_row

from offnormal.errors import InvalidParameter
from offnormal.networks.residual_blocks import (
    ResidualBlock,
    batch_norm,
    layer_norm,
    residual_channels,
    residual_encoder,
    residual_generator,
)
from offnormal.random import generator, scoped


def halved(x: Tensor) -> Tensor:
    """Return the mean of each 2×2 pixels."""
    return (x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]) / 4


def test_a_block_down_and_a_block_up_are_those_of_the_equations() -> None:
    x = torch.randn(4, 3, 6, 6, generator=generator(0, "x"))
    with scoped(0, "blocks"):
        down = ResidualBlock(3, 5, (6, 6), (3, 3), layer_norm)
        up = ResidualBlock(3, 5, (6, 6), (12, 12), batch_norm(2))
    a = conv2d(normed_by_row(x, x.shape[1:]).relu(), down.first.weight, padding=1)
    a = conv2d(normed_by_row(a, a.shape[1:]).relu(), down.second.weight, down.second.bias, padding=1)
    by_hand = halved(a) + conv2d(halved(x), down.shortcut.weight, down.shortcut.bias)
    torch.testing.assert_close(down(x), by_hand, rtol=1e-4, atol=1e-5)

    def twice(v: Tensor) -> Tensor:
        return v.repeat_interleave(2, 2).repeat_interleave(2, 3)

    b = conv2d(twice(normed_over_rows(x, None, None, training=True).relu()), up.first.weight, padding=1)
    b = conv2d(normed_over_rows(b, None, None, training=True).relu(), up.second.weight, up.second.bias, padding=1)
    by_hand = b + conv2d(twice(x), up.shortcut.weight, up.shortcut.bias)
    torch.testing.assert_close(up(x), by_hand, rtol=1e-4, atol=1e-5)
    assert down.first.bias is None
    assert up.first.bias is None
    assert down.first.weight.shape[:2] == (3, 3), "the first convolution down keeps the channels"
    assert up.first.weight.shape[:2] == (5, 3), "the first convolution up leads to the new ones"


def test_the_networks_for_64_pixels_are_the_published_ones() -> None:
    shape = (1, 64, 64)
    channels = residual_channels(shape, None)
    with torch.device("meta"):
        critic = residual_encoder(shape, 1, channels, layer_norm)
        made = residual_generator(shape, 128, channels)
    assert [(b.second.in_channels, b.second.out_channels) for b in critic if isinstance(b, ResidualBlock)] == [
        (64, 128), (128, 256), (256, 512), (512, 512)
    ]  # fmt: skip
    assert [(b.first.in_channels, b.first.out_channels) for b in made if isinstance(b, ResidualBlock)] == [
        (512, 512), (512, 256), (256, 128), (128, 64)
    ]  # fmt: skip
    assert isinstance(critic[-2], nn.Flatten)
    assert (critic[-1].in_features, critic[-1].out_features) == (8192, 1)
    assert (made[0].in_features, made[0].out_features) == (128, 4 * 4 * 512)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in critic.modules())
    assert not any(isinstance(m, nn.GroupNorm) for m in made.modules())
    x = torch.empty(2, *shape, device="meta")
    assert critic[:-2](x).shape == (2, 512, 4, 4)
    assert made(torch.empty(2, 128, device="meta")).shape == x.shape


@pytest.mark.parametrize(
    ("shape", "blocks"),
    [((1, 28, 28), 3), ((3, 32, 32), 3), ((1, 8, 8), 1), ((2, 17, 23), 3), ((1, 4, 16, 16), 2), ((1, 3, 5, 9), 1)],
)
def test_sizes_meet_whatever_the_shape_and_every_weight_feels_the_end(shape: tuple[int, ...], blocks: int) -> None:
    assert len(residual_channels(shape, None)) == blocks + 1
    channels = (4, 6, 8, 8)[: blocks + 1]
    with scoped(0, "build"):
        encoder = residual_encoder(shape, 3, channels, batch_norm(len(shape) - 1))
        made = residual_generator(shape, 3, channels)
    x = torch.randn(4, *shape, generator=generator(0, "rows"))
    rebuilt = made(encoder(x))
    assert rebuilt.shape == x.shape
    rebuilt.pow(3).sum().backward()
    parameters = [*encoder.parameters(), *made.parameters()]
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in parameters if p.dim() > 1)


def test_the_mean_at_an_odd_end_is_of_the_pixels_there_are() -> None:
    block = ResidualBlock(1, 1, (3, 3), (2, 2), layer_norm)
    x = torch.arange(9.0).reshape(1, 1, 3, 3)
    torch.testing.assert_close(block.mean(x), torch.tensor([[[[2.0, 3.5], [6.5, 8.0]]]]))


def test_a_critic_with_layer_norm_judges_each_row_by_itself_and_bears_second_derivatives() -> None:
    with scoped(0, "critic"):
        critic = residual_encoder((1, 4, 4), 1, (2, 3), layer_norm).double()
    x = torch.randn(3, 1, 4, 4, dtype=torch.float64, generator=generator(0, "x")).requires_grad_()
    torch.testing.assert_close(critic(x)[1:2], critic(x[1:2]))
    assert torch.autograd.gradgradcheck(critic, (x,), atol=1e-4)


def test_what_cannot_be_built_says_why() -> None:
    with pytest.raises(InvalidParameter, match="for the columns of a table use 'plain'"):
        residual_channels((7,), None)
    with pytest.raises(InvalidParameter, match="at least one number"):
        residual_channels((1, 8, 8), ())
