"""Autoencoders with a map for a code: sizes against the study's, and the penalty against a closed form."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from offnormal.networks.adversarial import gradient_penalty
from offnormal.networks.backbones import Plan
from offnormal.networks.residual_blocks import layer_norm
from offnormal.networks.spatial import (
    column_penalty,
    dense_code,
    halving_channels,
    map_decoder,
    map_encoder,
    mirrored_channels,
    spatial_code,
)
from offnormal.random import generator


@pytest.mark.parametrize(
    ("shape", "side", "channels"),
    [
        ((1, 128, 128), 8, (32, 64, 128, 128)), ((1, 256, 256), 16, (32, 64, 128, 128)),
        ((1, 64, 64), 8, (32, 64, 128)), ((3, 240, 160), 8, (32, 64, 128, 128)),
        ((1, 28, 28), 8, (32,)), ((1, 12, 10), 8, (32,)),
        ((1, 3, 3), 8, (32,)),
        ((1, 5, 64, 64), 8, (32, 64)), ((1, 16, 64, 64), 8, (32, 64, 128)),
    ],
)  # fmt: skip
def test_channels_follow_the_size(shape: tuple[int, ...], side: int, channels: tuple[int, ...]) -> None:
    assert halving_channels(shape, side) == channels
    assert min(Plan(shape, channels, kernel_sizes=(5,)).feature_map[1:]) >= min(min(shape[-2:]) / 2, side, 1)


def test_the_way_back_is_the_studys_or_what_was_given_backward() -> None:
    assert mirrored_channels(None, 4) == (128, 64, 32, 32)
    assert mirrored_channels(None, 2) == (128, 64)
    assert mirrored_channels((8, 16, 24), 3) == (24, 16, 8)


@pytest.mark.parametrize("shape", [(1, 12, 10), (3, 17, 23), (1, 5, 12, 12)])
@pytest.mark.parametrize("parts", [1, 2])
def test_chains_meet_for_any_shape(shape: tuple[int, ...], parts: int) -> None:
    plan = Plan(shape, (4, 6), activation="leaky_relu", kernel_sizes=(5,))
    x = torch.rand(2, *shape, generator=generator(0, "x"))
    mapped = map_encoder(plan, layer_norm)(x)
    assert mapped.shape[1:] == plan.feature_map
    for there, back in (spatial_code(plan, parts, 0.2), dense_code(plan, 7, parts, 0.2)):
        code = nn.Sequential(*there)(mapped)
        assert code.shape[1] in (parts * mapped[0].numel(), parts * 7)
        again = nn.Sequential(*back)(code.chunk(parts, 1)[0])
        assert again.shape == mapped.shape
        assert map_decoder(plan, (6, 4), layer_norm)(again).shape == x.shape


def test_a_place_in_a_spatial_code_is_a_place_in_the_image() -> None:
    plan = Plan((1, 64, 64), (4, 4, 4), activation="leaky_relu", kernel_sizes=(5,))
    decoder = map_decoder(plan, (4, 4, 4), lambda _: nn.Identity())
    code = torch.zeros(1, 4, 8, 8)
    touched = code.clone()
    touched[0, :, 2, 6] = 1.0
    with torch.no_grad():
        rows, columns = (decoder(touched) - decoder(code))[0, 0].abs().gt(1e-7).nonzero().T
    center = 8 * torch.tensor([2, 6])
    assert (rows - center[0]).abs().max() <= 14 >= (columns - center[1]).abs().max()  # 2·(4 + 2 + 1) pixels of kernels


@pytest.mark.parametrize("shape", [(1, 3, 4), (2, 2, 3, 4)])
def test_the_penalty_by_columns_is_that_of_a_linear_critic(shape: tuple[int, ...]) -> None:
    weight = torch.randn(*shape, generator=generator(0, "w"))
    real, fake = torch.randn(2, 5, *shape, generator=generator(0, "rows")).unbind(0)

    def critic(rows: torch.Tensor) -> torch.Tensor:
        return (rows * weight).flatten(1).sum(1, keepdim=True)

    expected = torch.stack([(column.norm() - 1) ** 2 for column in weight.movedim(-2, -1).reshape(-1, shape[-2])])
    torch.testing.assert_close(column_penalty(critic, real, fake), expected.mean())
    torch.testing.assert_close(gradient_penalty(critic, real, fake), (weight.norm() - 1) ** 2)
