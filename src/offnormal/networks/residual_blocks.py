"""Residual networks of images and clips: the generator, critic and encoder of WGAN-GP, as f-AnoGAN takes them.

A block is normed before its convolutions (He et al., "Identity Mappings in Deep Residual Networks", ECCV 2016):

    y = shortcut(x) + second(ReLU(norm(first(ReLU(norm(x))))))

Down: `second` is followed by the mean of each 2×2 pixels, and the shortcut is that mean, then a 1×1 convolution. Up:
`first` and the shortcut see every pixel twice along each side. An odd side is halved upward, its last pixel alone, and
an up block names the size it leads to, so that any shape works; of sides that halve evenly this is the published
network. The published blocks have four numbers of channels: 64·(1, 2, 4, 8, 8) at the ends of the blocks.

Letters: b rows, d code, c t h w channels, frames, height, width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

from torch import Tensor, nn

from offnormal.errors import InvalidParameter

CHANNELS = (64, 128, 256, 512, 512)
"""Of the first convolution and after each block, for 64×64; fewer blocks for smaller images."""
LAST_SIDE = 4
"""The shorter side that the blocks lead to, or to half of it at least."""

Norm = Callable[[int], nn.Module]
"""Channels -> what normalizes them."""

_CONVOLUTION: Mapping[int, Callable[..., nn.Conv2d | nn.Conv3d]] = {2: nn.Conv2d, 3: nn.Conv3d}
_BATCH_NORM: Mapping[int, Norm] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_MEAN_POOL: Mapping[int, Callable[..., nn.Module]] = {2: nn.AvgPool2d, 3: nn.AvgPool3d}


def batch_norm(axes: int) -> Norm:
    """Return the norm over the rows of a batch, for images (2 axes) or clips (3)."""
    return _BATCH_NORM[axes]


def layer_norm(channels: int) -> nn.Module:
    """Return the norm of each row by itself, over all channels and pixels, with a scale and shift per channel."""
    return nn.GroupNorm(1, channels)


class ResidualBlock(nn.Module):
    """One block, (b, came, *grid) -> (b, out, *new grid).

    Parameters
    ----------
    came, out : int
        Channels.
    grid, new_grid : tuple of int
        Sizes before and after; each side stays, is halved (rounded up) or comes back from that.
    norm : callable
    """

    def __init__(self, came: int, out: int, grid: tuple[int, ...], new_grid: tuple[int, ...], norm: Norm) -> None:
        super().__init__()
        axes, up = len(grid), math.prod(new_grid) > math.prod(grid)
        inner = out if up else came
        self.repeat = nn.Upsample(size=new_grid, mode="nearest") if up else nn.Identity()
        self.mean = nn.Identity() if up or new_grid == grid else _mean_of_two(grid)
        self.before, self.between, self.relu = norm(came), norm(inner), nn.ReLU()
        self.first = _started(_CONVOLUTION[axes](came, inner, 3, padding=1, bias=False), he=True)
        self.second = _started(_CONVOLUTION[axes](inner, out, 3, padding=1), he=True)
        straight = new_grid == grid and came == out
        self.shortcut = nn.Identity() if straight else _started(_CONVOLUTION[axes](came, out, 1), he=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (b, came, *grid) to (b, out, *new_grid)."""
        inner = self.first(self.repeat(self.relu(self.before(x))))
        added: Tensor = self.mean(self.second(self.relu(self.between(inner))))
        straight: Tensor = self.shortcut(self.mean(self.repeat(x)))
        return added + straight


def residual_channels(shape: tuple[int, ...], given: Sequence[int] | None) -> tuple[int, ...]:
    """Return the channels of the first convolution and after each block, for rows of `shape`.

    None given: the published ones, with as many blocks as lead to a shorter side of 4, one to four of them.

    Raises
    ------
    InvalidParameter
        If rows are vectors, or no channels are given.
    """
    if len(shape) == 1:
        raise InvalidParameter("Residual blocks are convolutions, for images; for the columns of a table use 'plain'.")
    if given is not None:
        if not given:
            raise InvalidParameter("Residual networks need at least one number in hidden_sizes.")
        return tuple(given)
    blocks = math.ceil(math.log2(max(min(shape[-2:]) / LAST_SIDE, 2)))
    return CHANNELS[: blocks + 1]


def residual_encoder(shape: tuple[int, ...], outputs: int, channels: Sequence[int], norm: Norm) -> nn.Sequential:
    """Return a chain (b, *shape) -> (b, outputs): a convolution, blocks down, flattened, linear.

    What goes into the linear layer is the sum of the last block, without norm or activation.

    Parameters
    ----------
    shape : tuple of int
        (c, h, w) or (c, t, h, w).
    outputs : int
    channels : sequence of int
        Of the first convolution and after each block.
    norm : callable
    """
    grids = _grids(shape, len(channels) - 1)
    first = _started(_CONVOLUTION[len(grids[0])](shape[0], channels[0], 3, padding=1), he=False)
    blocks = [
        ResidualBlock(came, out, grid, new_grid, norm)
        for (came, out), (grid, new_grid) in zip(pairwise(channels), pairwise(grids), strict=True)
    ]
    last = _started(nn.Linear(channels[-1] * math.prod(grids[-1]), outputs), he=False)
    return nn.Sequential(first, *blocks, nn.Flatten(), last)


def residual_generator(shape: tuple[int, ...], inputs: int, channels: Sequence[int]) -> nn.Sequential:
    """Return a chain (b, inputs) -> (b, *shape) with batch norm: linear, blocks up, norm, ReLU, convolution.

    Parameters
    ----------
    shape : tuple of int
        (c, h, w) or (c, t, h, w).
    inputs : int
        d.
    channels : sequence of int
        Those of the encoder, in its order.
    """
    grids = _grids(shape, len(channels) - 1)
    axes, widths = len(grids[0]), tuple(reversed(channels))
    spread = _started(nn.Linear(inputs, widths[0] * math.prod(grids[-1])), he=False)
    blocks = [
        ResidualBlock(came, out, grid, new_grid, batch_norm(axes))
        for (came, out), (grid, new_grid) in zip(pairwise(widths), pairwise(reversed(grids)), strict=True)
    ]
    last = _started(_CONVOLUTION[axes](widths[-1], shape[0], 3, padding=1), he=False)
    unflattened = nn.Unflatten(1, (widths[0], *grids[-1]))
    return nn.Sequential(spread, unflattened, *blocks, batch_norm(axes)(widths[-1]), nn.ReLU(), last)


def _grids(shape: tuple[int, ...], blocks: int) -> list[tuple[int, ...]]:
    """Return the sizes before the first block and after each."""
    grids = [tuple(shape[1:])]
    for _ in range(blocks):
        grids.append(tuple(-(-side // 2) for side in grids[-1]))
    return grids


def _mean_of_two(grid: tuple[int, ...]) -> nn.Module:
    """Return the mean of each two pixels along every side that has two; at an odd side's end, of those there are."""
    kernel = tuple(min(2, side) for side in grid)
    return _MEAN_POOL[len(grid)](kernel, ceil_mode=True, count_include_pad=False)


def _started(layer: nn.Module, *, he: bool) -> nn.Module:
    """Give a layer its first weights, He's or Glorot's uniform, its biases zero."""
    for name, weight in layer.named_parameters():
        if name == "bias":
            nn.init.zeros_(weight)
        elif he:
            nn.init.kaiming_uniform_(weight, nonlinearity="relu")
        else:
            nn.init.xavier_uniform_(weight)
    return layer
