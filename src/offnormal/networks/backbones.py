"""The network follows the shape of a row: vectors get fully connected layers, images and clips convolutions.

A backbone is an encoder (b, *shape) -> (b, d) and a decoder (b, d) -> (b, *shape), both flat chains of layers, so that
a method written for one works on all. Convolutional chains may also end at, and begin from, the flattened feature map
of the last convolution. Letters: b rows, n features, d code, c t h w channels, frames, height, width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from torch import Tensor, nn

from offnormal.errors import InvalidParameter
from offnormal.networks.mlp import funnel, mlp

CHANNELS = (32, 64, 128)
"""Channels of the convolutions where nobody says: each halves the image."""
SLOPE = 0.2
"""Leaky ReLU's, as in the DCGAN family."""
STRIDE = 2
"""Of a convolution, where nobody says."""

Map = nn.Linear | nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d
"""The layers that hold weights."""

ACTIVATIONS: Mapping[str, type[nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU, "leaky_relu": nn.LeakyReLU}
_CONVOLUTION: Mapping[int, Callable[..., Map]] = {2: nn.Conv2d, 3: nn.Conv3d}
_TRANSPOSED: Mapping[int, Callable[..., Map]] = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
_NORM: Mapping[int, Callable[[int], nn.Module]] = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


class Backbone(NamedTuple):
    """An encoder (b, *shape) -> (b, d) and the decoder (b, d) -> (b, *shape) that mirrors it."""

    encoder: nn.Sequential
    decoder: nn.Sequential


@dataclass(frozen=True)
class Plan:
    """How to build networks for rows of one shape.

    Attributes
    ----------
    shape : tuple of int
        (n,) a vector, (c, h, w) an image, (c, t, h, w) a clip.
    hidden_sizes : sequence of int or None
        Widths of the hidden layers; of convolutions, their channels. None: from the shape.
    network : {"auto", "dense", "convolutional"}
        "auto": dense for vectors, convolutional otherwise. "dense" flattens images.
    activation : {"tanh", "relu", "leaky_relu"}
    batch_norm : bool
        Normalize each hidden layer before its activation.
    kernel_sizes : sequence of int
        One for all convolutions, or one for each.
    strides : sequence of int
        The same.
    time_strides : sequence of int or None
        The same along the frames of clips. None: as `strides`.
    dense_sizes : sequence of int
        Widths of linear layers between the convolutions and the code.
    dropout : float
        Share of the hidden units dropped after each activation, in training only.
    first_norm : bool
        Whether `batch_norm` holds for the first layer of an encoder too; the DCGAN family has none there.
    start : float or None
        Standard deviation of the normal weights at the start, DCGAN's 0.02. None: Glorot's uniform.
    """

    shape: tuple[int, ...]
    hidden_sizes: Sequence[int] | None = None
    network: str = "auto"
    activation: str = "tanh"
    batch_norm: bool = False
    kernel_sizes: Sequence[int] = (4,)
    strides: Sequence[int] = (STRIDE,)
    time_strides: Sequence[int] | None = None
    dense_sizes: Sequence[int] = ()
    dropout: float = 0.0
    first_norm: bool = True
    start: float | None = None

    @property
    def convolutional(self) -> bool:
        """Return whether rows go through convolutions.

        Raises
        ------
        InvalidParameter
            If convolutions are asked for on vectors.
        """
        if self.network == "convolutional" and len(self.shape) == 1:
            raise InvalidParameter("Convolutions need images; for the columns of a table use network='dense'.")
        return len(self.shape) > 1 and self.network != "dense"

    @property
    def n_features(self) -> int:
        """Return how many numbers a row has."""
        return math.prod(self.shape)

    @property
    def feature_map(self) -> tuple[int, ...]:
        """Return the shape of what the last convolution gives, (channels, *grid).

        Raises
        ------
        InvalidParameter
            If the network has no convolutions, or the image is too small for them.
        """
        if not self.convolutional:
            raise InvalidParameter(
                "A fully connected network has no feature map: its code is linear, of a given width."
            )
        return ((self.shape[0], *self.sizes())[-1], *self._grids()[-1])

    def sizes(self) -> tuple[int, ...]:
        """Return the hidden widths, or the channels of the convolutions."""
        if self.hidden_sizes is not None:
            return tuple(self.hidden_sizes)
        if not self.convolutional:
            return funnel(self.n_features)
        side, frames = min(self.shape[-2:]), self.shape[1:-2]  # time may end at one frame, sides at two pixels
        halvings = min([len(CHANNELS), int(math.log2(max(side, 2))) - 1, *(int(math.log2(t)) for t in frames)])
        return CHANNELS[: max(1, halvings)]

    def backbone(self, latent_dim: int) -> Backbone:
        """Return a fresh encoder and decoder."""
        return Backbone(self.encoder(latent_dim), self.decoder(latent_dim))

    def encoder(self, outputs: int | None) -> nn.Sequential:
        """Return a chain (b, *shape) -> (b, outputs), its last layer linear.

        Parameters
        ----------
        outputs : int or None
            None: the chain of convolutions ends with its `feature_map`, flattened, after the last activation.
        """
        if outputs is not None and not self.convolutional:
            return _flat(self.shape, self._dense((self.n_features, *self.sizes(), outputs)))
        flat, channels = math.prod(self.feature_map), (self.shape[0], *self.sizes())
        layers: list[nn.Module] = []
        for i, (came, out) in enumerate(pairwise(channels)):
            kernel, stride = self._each(self.kernel_sizes, i), self._steps(i)
            convolution = _CONVOLUTION[self._axes](came, out, kernel, stride=stride, padding=(kernel - 1) // 2)
            layers += [self._started(convolution), *self._after(out, self._axes, norm=self.first_norm or i > 0)]
        layers.append(nn.Flatten())
        if outputs is not None:
            for came, out in pairwise((flat, *self.dense_sizes)):
                layers += [self._started(nn.Linear(came, out)), *self._after(out, 1)]
            layers.append(self._started(nn.Linear((flat, *self.dense_sizes)[-1], outputs)))
        return nn.Sequential(*layers)

    def decoder(self, inputs: int | None, *, outputs_per_value: int = 1) -> nn.Sequential:
        """Return a chain (b, inputs) -> (b, outputs_per_value · c, …), its last layer linear.

        Parameters
        ----------
        inputs : int or None
            None: the chain begins with the flattened `feature_map` and has no linear layer.
        outputs_per_value : int
            2 for a mean and a log-variance of every value: the first half of the axis 1 and the second.

        Raises
        ------
        InvalidParameter
            If a kernel is smaller than the stride: most pixels would be made of a bias alone.
        """
        shape = (outputs_per_value * self.shape[0], *self.shape[1:])
        if inputs is not None and not self.convolutional:
            chain = self._dense((inputs, *reversed(self.sizes()), math.prod(shape)))
            return chain if len(shape) == 1 else nn.Sequential(*chain, nn.Unflatten(1, shape))
        if any(self._each(self.kernel_sizes, i) < max(self._steps(i), default=0) for i in range(len(self.sizes()))):
            raise InvalidParameter(
                "A decoder with kernels of 1 and strides of 2 makes only every second pixel; give kernel_sizes of 2 or "
                "more, or decoder_kernel_sizes where the method has them."
            )
        channels = (shape[0], *self.sizes())
        first, grids = (channels[-1], *self.feature_map[1:]), self._grids()
        layers: list[nn.Module] = [nn.Unflatten(1, first)]
        if inputs is not None:
            widths = (inputs, *reversed(self.dense_sizes))
            spread = self._started(nn.Linear(widths[-1], math.prod(first)))
            layers = [spread, *layers, *self._after(channels[-1], self._axes)]
            for came, out in reversed(list(pairwise(widths))):
                layers = [self._started(nn.Linear(came, out)), *self._after(out, 1), *layers]
        for i in reversed(range(len(channels) - 1)):
            kernel, stride = self._each(self.kernel_sizes, i), self._steps(i)
            padding = (kernel - 1) // 2
            # What rounding down lost on the way in comes back, so that the sizes meet exactly.
            lost = tuple(
                big - ((small - 1) * step - 2 * padding + kernel)
                for big, small, step in zip(grids[i], grids[i + 1], stride, strict=True)
            )
            up = _TRANSPOSED[self._axes](
                channels[i + 1], channels[i], kernel, stride=stride, padding=padding, output_padding=lost
            )
            layers += [self._started(up), *(self._after(channels[i], self._axes) if i > 0 else ())]
        return nn.Sequential(*layers)

    # --- pieces ---------------------------------------------------------------------------------------------------

    @property
    def _axes(self) -> int:
        return len(self.shape) - 1

    def _each(self, given: Sequence[int], i: int) -> int:
        return given[i] if len(given) > 1 else given[0]

    def _steps(self, i: int) -> tuple[int, ...]:
        """Return the stride of convolution `i` along each axis of the grid."""
        stride = self._each(self.strides, i)
        if self._axes < 3 or self.time_strides is None:
            return (stride,) * self._axes
        return (self._each(self.time_strides, i), *(stride,) * (self._axes - 1))

    def _grids(self) -> list[tuple[int, ...]]:
        """Return the size of the image before and after each convolution.

        Raises
        ------
        InvalidParameter
            If the image is too small for so many, or there is not a kernel for each.
        """
        time_strides = (STRIDE,) if self.time_strides is None else self.time_strides
        for given, what in (
            (self.kernel_sizes, "kernel sizes"), (self.strides, "strides"), (time_strides, "strides of time")
        ):  # fmt: skip
            if len(given) not in (1, len(self.sizes())):
                raise InvalidParameter(
                    f"There are {len(self.sizes())} convolutions and {len(given)} {what}; "
                    "give one for all, or one for each."
                )
        grids = [self.shape[1:]]
        for i in range(len(self.sizes())):
            kernel, stride = self._each(self.kernel_sizes, i), self._steps(i)
            padding = (kernel - 1) // 2
            if min(grids[-1]) + 2 * padding < kernel or min(grids[-1]) < 2:
                rows = "images" if len(self.shape) == 3 else "clips"
                raise InvalidParameter(
                    f"{rows.capitalize()} of {'×'.join(map(str, self.shape[1:]))} are too small for "
                    f"{len(self.sizes())} convolutions that halve them; give fewer hidden_sizes, larger {rows}, or "
                    "network='dense'."
                )
            grids.append(
                tuple((n + 2 * padding - kernel) // step + 1 for n, step in zip(grids[-1], stride, strict=True))
            )
        return grids

    def _after(self, channels: int, axes: int, *, norm: bool = True) -> list[nn.Module]:
        """Return what follows a hidden layer."""
        norms = [_NORM[axes](channels)] if self.batch_norm and norm else []
        return [*norms, _activation(self.activation), *([nn.Dropout(self.dropout)] if self.dropout > 0 else [])]

    def _dense(self, sizes: tuple[int, ...]) -> nn.Sequential:
        if self.activation == "tanh" and not self.batch_norm and self.dropout == 0 and self.start is None:
            return mlp(sizes)
        layers: list[nn.Module] = []
        for i, (came, out) in enumerate(pairwise(sizes)):
            after = self._after(out, 1, norm=self.first_norm or i > 0) if i < len(sizes) - 2 else ()
            layers += [self._started(nn.Linear(came, out)), *after]
        return nn.Sequential(*layers)

    def _started(self, layer: Map) -> Map:
        """Give a layer its first weights, its biases zero."""
        if self.start is None:
            nn.init.xavier_uniform_(layer.weight)
        else:
            nn.init.normal_(layer.weight, std=self.start)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
        return layer


def hidden_activations(chain: nn.Sequential, x: Tensor) -> list[Tensor]:
    """Return what each layer of an encoder gives, in order, the code last: [(b, …), …].

    A layer is a linear or convolutional map with the norm and activation that follow it.
    """
    values: list[Tensor] = []
    seen_map = False
    for module in chain:
        if isinstance(module, (nn.Linear, nn.Conv2d, nn.Conv3d)):
            if seen_map:
                values.append(x)
            seen_map = True
        x = module(x)
    return [*values, x]


def _activation(name: str) -> nn.Module:
    return nn.LeakyReLU(SLOPE) if name == "leaky_relu" else ACTIVATIONS[name]()


def _flat(shape: tuple[int, ...], chain: nn.Sequential) -> nn.Sequential:
    return chain if len(shape) == 1 else nn.Sequential(nn.Flatten(), *chain)
