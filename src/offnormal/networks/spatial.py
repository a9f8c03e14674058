"""Convolutional autoencoders whose code is a vector or stays a map: the networks of the comparative study of brain MRI.

Baur, Denner, Wiestler, Navab and Albarqouni, "Autoencoders for unsupervised anomaly segmentation in brain MR images: a
comparative study", Medical Image Analysis 69, 2021. Strided convolutions halve an image down to a small map; from it a
vector is taken ("dense"), or the map itself is the code ("spatial"), so that a place in the code is a place in the
image. Letters: b rows, d code, c t h w channels, frames, height, width; C channels of the smallest map.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from offnormal.networks.adversarial import NORM_FLOOR
from offnormal.networks.backbones import ACTIVATIONS, SLOPE, Plan

LEAST, MOST = 32, 128
"""Channels of the first convolution, and the most of any."""
REDUCTION = 8
"""A dense code is read from a map of C/8 channels."""

Norm = Callable[[int], nn.Module]
"""Channels -> what normalizes them."""

_CONVOLUTION: Mapping[int, Callable[..., nn.Conv2d | nn.Conv3d]] = {2: nn.Conv2d, 3: nn.Conv3d}


def halving_channels(shape: tuple[int, ...], smallest_side: int) -> tuple[int, ...]:
    """Return min(128, 32·2^i) for each convolution i that halves the image, down to `smallest_side`; one at least.

    Parameters
    ----------
    shape : tuple of int
        (c, h, w), or (c, t, h, w), whose frames are halved along and bound the convolutions too.
    smallest_side : int
        The shorter side is not halved below it (unless the image is smaller to begin with).
    """
    halvings = [int(math.log2(max(min(shape[-2:]) / smallest_side, 1))), *(int(math.log2(t)) for t in shape[1:-2])]
    return tuple(min(MOST, LEAST * 2**i) for i in range(max(min(halvings), 1)))


def mirrored_channels(given: Sequence[int] | None, convolutions: int) -> tuple[int, ...]:
    """Return the channels after each upward convolution: those given, backward, or the study's max(32, 128/2^i)."""
    if given is not None:
        return tuple(reversed(given))
    return tuple(max(LEAST, MOST // 2**i) for i in range(convolutions))


def map_encoder(plan: Plan, norm: Norm) -> nn.Sequential:
    """Return a chain (b, *shape) -> (b, C, *grid): convolutions that halve, each normed and activated."""
    return _normed(list(replace(plan, batch_norm=False).encoder(None))[:-1], norm)


def map_decoder(plan: Plan, channels: Sequence[int], norm: Norm) -> nn.Sequential:
    """Return a chain (b, C, *grid) -> (b, *shape): norm, ReLU, as many convolutions upward, a 1×1 convolution.

    Parameters
    ----------
    plan : Plan
        The encoder's.
    channels : sequence of int
        After each convolution upward.
    norm : callable
    """
    code, axes = plan.feature_map[0], len(plan.shape) - 1
    upward = replace(
        plan, shape=(channels[-1], *plan.shape[1:]), hidden_sizes=(*reversed(channels[:-1]), code), batch_norm=False
    )
    activation = nn.LeakyReLU(SLOPE) if plan.activation == "leaky_relu" else ACTIVATIONS[plan.activation]()
    layers = _normed([*list(upward.decoder(None))[1:], activation], norm)
    return nn.Sequential(norm(code), nn.ReLU(), *layers, pointwise(channels[-1], plan.shape[0], axes))


def pointwise(came: int, out: int, axes: int) -> nn.Module:
    """Return a 1×1 convolution of images (2 axes) or clips (3), Glorot's first weights."""
    layer = _CONVOLUTION[axes](came, out, 1)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


def spatial_code(plan: Plan, parts: int, dropout: float) -> tuple[list[nn.Module], list[nn.Module]]:
    """Return what makes a code of the map, and a map of the code: dropout, no more.

    Parameters
    ----------
    plan : Plan
    parts : int
        1: the code is the map. 2: two 1×1 convolutions give its mean and the log of its standard deviation.
    dropout : float
    """
    code, *_ = plan.feature_map
    heads = [] if parts == 1 else [pointwise(code, parts * code, len(plan.shape) - 1)]
    return [*heads, nn.Dropout(dropout), nn.Flatten()], [nn.Unflatten(1, plan.feature_map)]


def dense_code(plan: Plan, width: int, parts: int, dropout: float) -> tuple[list[nn.Module], list[nn.Module]]:
    """Return what makes a code of the map, (b, C, *grid) -> (b, parts·width), and a map of the code, (b, width).

    A 1×1 convolution to C/8 channels, then linear, then dropout; and all this backward.
    """
    code, *grid = plan.feature_map
    few, axes = max(code // REDUCTION, 1), len(plan.shape) - 1
    flat = few * math.prod(grid)
    there = [pointwise(code, few, axes), nn.Flatten(), _linear(flat, parts * width), nn.Dropout(dropout)]
    back = [_linear(width, flat), nn.Dropout(dropout), nn.Unflatten(1, (few, *grid)), pointwise(few, code, axes)]
    return there, back


def column_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor) -> Tensor:
    """Return WGAN-GP's penalty with the norm of each column of pixels by itself, as the study's code takes it.

    (‖∂C/∂x̂[:, j]‖₂ − 1)², a mean over the columns j and channels of an image drawn between a real and a fake one; the
    norm is over the h pixels of the column. `gradient_penalty` takes the norm over the whole image. Of rows of numbers
    there are no columns of pixels: each number is one.

    Parameters
    ----------
    critic : callable
        (b, *shape) -> (b, …).
    real, fake : Tensor, shape (b, *shape)
    """
    place = torch.rand(len(real), *(1 for _ in real.shape[1:]), dtype=real.dtype, device=real.device)
    with torch.enable_grad():  # also where held-out rows are only looked at
        between = torch.lerp(fake.detach(), real, place).requires_grad_()
        (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
        columns = slope if slope.ndim > 2 else slope[:, None, None]
        norm = (columns.square().sum(-2) + NORM_FLOOR).sqrt()
    return (norm - 1).square().mean()


def _linear(came: int, out: int) -> nn.Module:
    layer = nn.Linear(came, out)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _normed(chain: Sequence[nn.Module], norm: Norm) -> nn.Sequential:
    """Put a norm after every convolution."""
    layers: list[nn.Module] = []
    for layer in chain:
        layers.append(layer)
        if isinstance(layer, (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)):
            layers.append(norm(layer.out_channels))
    return nn.Sequential(*layers)
