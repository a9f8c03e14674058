"""Patches of images: cut at random places, shifted, turned and mirrored for training; overlapping ones put together.

Letters: b images, k patches of each, c h w channels, height, width; p the height and width of a patch, in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

Size = tuple[int, int]


@dataclass(frozen=True)
class Variation:
    """How patches differ from the image they come from, beyond their place.

    Attributes
    ----------
    rotation : float
        Greatest turn either way, in degrees.
    shift : float
        Greatest move either way of a patch as large as the image, in parts of its sides.
    mirror : bool
        Whether half of the patches are mirrored left to right.
    """

    rotation: float = 0.0
    shift: float = 0.0
    mirror: bool = False


def random_patches(x: Tensor, size: Size, per_image: int, variation: Variation) -> Tensor:
    """Return patches from random places, (b, c, h, w) -> (b·k, c, *p), those of an image one after the other.

    Drawn from the current random state. What lies beyond the border of an image is the image reflected.
    """
    source = x.repeat_interleave(per_image, 0) if per_image > 1 else x
    tops, lefts = (_places(side, part, len(source)).to(x.device) for side, part in zip(x.shape[2:], size, strict=True))
    if variation.rotation == 0 and variation.shift == 0:
        patches = _cut(source, size, tops, lefts)
    else:
        patches = _turned(source, size, tops, lefts, variation)
    if variation.mirror:
        mirrored = (torch.rand(len(patches)) < 0.5).to(x.device)
        patches = torch.where(mirrored[:, None, None, None], patches.flip(3), patches)
    return patches


def middle_patches(x: Tensor, size: Size) -> Tensor:
    """Return the patch in the middle of each image, (b, c, h, w) -> (b, c, *p)."""
    top, left = ((side - part) // 2 for side, part in zip(x.shape[2:], size, strict=True))
    return x[:, :, top : top + size[0], left : left + size[1]]


def averaged_over_patches(function: Callable[[Tensor], Tensor], x: Tensor, size: Size, stride: int) -> Tensor:
    """Apply `function` to overlapping patches of each image and average what it says of a pixel.

    Parameters
    ----------
    function : callable
        Patches (n, c, *p) -> (n, …, *p).
    x : Tensor, shape (b, c, h, w)
    size : (height, width) of a patch
    stride : int
        Pixels from one patch to the next, at most the patch's side; the last ones end at the border.

    Returns
    -------
    Tensor, shape (b, …, h, w)
    """
    height, width = x.shape[2:]
    tops, lefts = _steps(height, size[0], stride), _steps(width, size[1], stride)
    total, count = torch.empty(0), x.new_zeros(height, width)
    for top in tops:  # one row of patches at a time, so that memory does not grow with the height
        patches = torch.stack([x[:, :, top : top + size[0], left : left + size[1]] for left in lefts])
        found = function(patches.flatten(0, 1))
        found = found.reshape(len(lefts), len(x), *found.shape[1:])
        if not len(total):
            total = found.new_zeros(*found.shape[1:-2], height, width)
        for one, left in zip(found, lefts, strict=True):
            total[..., top : top + size[0], left : left + size[1]] += one
            count[top : top + size[0], left : left + size[1]] += 1
    return total / count.to(total.dtype)


def _steps(side: int, part: int, stride: int) -> list[int]:
    """Return where patches begin along one axis."""
    return [*range(0, side - part, min(stride, part)), side - part]


def _places(side: int, part: int, n: int) -> Tensor:
    return torch.randint(0, side - part + 1, (n,))


def _cut(source: Tensor, size: Size, tops: Tensor, lefts: Tensor) -> Tensor:
    if source.shape[2:] == size:
        return source
    windows = source.unfold(2, size[0], 1).unfold(3, size[1], 1)  # a view: (n, c, h − p + 1, w − p + 1, *p)
    return windows[torch.arange(len(source), device=source.device), :, tops, lefts]


def _turned(source: Tensor, size: Size, tops: Tensor, lefts: Tensor, variation: Variation) -> Tensor:
    """Return patches turned about their middles, between pixels bilinear."""
    n, _, height, width = source.shape
    device = source.device
    angles = (math.radians(variation.rotation) * (2 * torch.rand(n) - 1)).to(device)
    moved = ((2 * torch.rand(n, 2) - 1) * variation.shift).to(device)
    middles = torch.stack((lefts + (size[1] - 1) / 2, tops + (size[0] - 1) / 2), 1)
    sides = torch.tensor([width, height], device=device)
    middles = middles + torch.where(sides == torch.tensor(size[::-1], device=device), moved * sides, 0.0)
    down, right = (torch.arange(part, device=device) - (part - 1) / 2 for part in size)
    y, x = torch.meshgrid(down, right, indexing="ij")  # pixels from the middle
    cos, sin = angles.cos()[:, None, None], angles.sin()[:, None, None]
    seen = torch.stack((cos * x - sin * y, sin * x + cos * y), 3) + middles[:, None, None]
    unit = 2 * seen / (sides - 1).clamp(min=1) - 1
    return grid_sample(source, unit, mode="bilinear", padding_mode="reflection", align_corners=True)
