"""The U-Net: its sum by hand, sizes that meet whatever the shape, ways across that carry, and where the norms are."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from offnormal.errors import InvalidParameter
from offnormal.networks.backbones import SLOPE, Plan
from offnormal.networks.unet import UNet
from offnormal.random import generator, scoped

SHAPES: list[tuple[tuple[int, ...], dict[str, Any]]] = [
    ((7,), {"hidden_sizes": (5, 3)}),
    ((1,), {"hidden_sizes": (1,)}),
    ((7,), {"hidden_sizes": (5, 4, 3), "batch_norm": True, "activation": "leaky_relu", "start": 0.02}),
    ((3, 6, 5), {"hidden_sizes": (9, 4), "network": "dense"}),
    ((1, 28, 28), {"hidden_sizes": (4, 5, 6, 7), "batch_norm": True}),
    ((3, 17, 23), {"hidden_sizes": (4, 5), "kernel_sizes": (3,)}),
    ((1, 21, 9), {"hidden_sizes": (4, 5, 6), "kernel_sizes": (5, 3, 2), "strides": (1, 2, 2)}),
    ((1, 5, 12, 12), {"hidden_sizes": (3, 4), "batch_norm": True}),
]


def rows(shape: tuple[int, ...], n: int = 4) -> Tensor:
    return torch.randn(n, *shape, generator=generator(0, "rows"))


def built(shape: tuple[int, ...], **changes: Any) -> UNet:
    with scoped(0, "build"):
        return UNet(Plan(shape, **changes))


@pytest.mark.parametrize(("shape", "changes"), SHAPES)
def test_it_leads_back_to_the_shape_of_a_row_and_uses_every_weight(
    shape: tuple[int, ...], changes: dict[str, Any]
) -> None:
    net, x = built(shape, **changes), rows(shape)
    made = net(x)
    assert made.shape == x.shape
    assert net.encode(x).ndim == 2
    (made - x).pow(3).sum().backward()
    for name, weight in net.named_parameters():
        if name.endswith("weight"):
            assert weight.grad is not None
            assert float(weight.grad.abs().sum()) > 0, name


def test_a_fully_connected_one_by_hand() -> None:
    net = built((4,), hidden_sizes=(3, 2), activation="tanh")
    x = rows((4,))
    down, up = ([m for m in part.modules() if isinstance(m, nn.Linear)] for part in (net.down, net.up))
    assert [tuple(m.weight.shape) for m in (*down, *up)] == [(3, 4), (2, 3), (3, 2), (4, 6)]
    first = (x @ down[0].weight.T + down[0].bias).tanh()
    second = (first @ down[1].weight.T + down[1].bias).tanh()
    back = (second @ up[0].weight.T + up[0].bias).clamp(min=0)
    expected = torch.cat([back, first], 1) @ up[1].weight.T + up[1].bias
    torch.testing.assert_close(net(x), expected)
    torch.testing.assert_close(net.encode(x), second)


def test_convolutions_by_hand() -> None:
    net = built((2, 8, 8), hidden_sizes=(3, 5), activation="leaky_relu", start=0.5)
    x = rows((2, 8, 8))
    (first, second), (third, fourth) = (
        [m for m in part.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)] for part in (net.down, net.up)
    )
    high = nn.functional.leaky_relu(nn.functional.conv2d(x, first.weight, first.bias, 2, 1), SLOPE)
    low = nn.functional.leaky_relu(nn.functional.conv2d(high, second.weight, second.bias, 2, 1), SLOPE)
    back = nn.functional.conv_transpose2d(low, third.weight, third.bias, 2, 1).relu()
    expected = nn.functional.conv_transpose2d(torch.cat([back, high], 1), fourth.weight, fourth.bias, 2, 1)
    torch.testing.assert_close(net(x), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(net.encode(x), low.flatten(1))


def test_detail_goes_across_and_need_not_pass_the_narrowest_place() -> None:
    """With one unit there four columns can be copied by the level above it; one principal axis would leave 0.7."""
    net = built((4,), hidden_sizes=(8, 1), activation="tanh")
    x = rows((4,), 128)
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-2)
    for _ in range(200):
        optimizer.zero_grad()
        (net(x) - x).square().mean().backward()
        optimizer.step()
    with torch.no_grad():
        assert float((net(x) - x).square().mean()) < 0.1


def test_the_first_and_the_narrowest_level_of_the_encoder_have_no_norm() -> None:
    net = built((1, 32, 32), hidden_sizes=(2, 3, 4, 5, 6), batch_norm=True)
    norms = [sum(isinstance(m, nn.BatchNorm2d) for m in level.modules()) for level in (*net.down, *net.up)]
    assert norms == [0, 1, 1, 1, 0, 1, 1, 1, 1, 0]
    assert net.encode(rows((1, 32, 32))).shape == (4, 6), "one pixel; a norm over it alone would fail for one row"
    assert net.train()(rows((1, 32, 32), 1)).shape == (1, 1, 32, 32)


def test_what_cannot_be_built_is_said() -> None:
    with pytest.raises(InvalidParameter, match="at least one level"):
        built((4,), hidden_sizes=())
    with pytest.raises(InvalidParameter, match="too small"):
        built((1, 8, 8), hidden_sizes=(2, 2, 2, 2))
