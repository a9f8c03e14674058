"""The pixels of images and clips become model input; what is learned from the training images is a tensor.

Letters: b rows, c t h w channels, frames, height, width.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from offnormal.data.pixel_arrays import ImageSchema
from offnormal.errors import ModelFileError

_FIXED = {"unit": (0.0, 1.0), "symmetric": (0.5, 0.5), "standard": (0.0, 1.0)}
_FLATTEST = 1e-6  # a smaller spread is rounding
_AT_ONCE = 2**22  # values turned into floats at a time where the whole set is gone through


class ImagePreprocessor(nn.Module):
    """Pixels (b, c, h, w), uint8 or float32 -> model input float32: (b, c, h, w), or (b, c·h·w) if flat.

    Of clips: (b, c, t, h, w).

    Parameters
    ----------
    schema : ImageSchema
    pixel_scaling : {"unit", "symmetric", "standard"}
        [0, 1]; [−1, 1]; or each channel less its mean, divided by its standard deviation, of the training pixels.
    flat : bool
        Whether the method takes rows of numbers.

    Attributes
    ----------
    shape : tuple of int
        Of a row of the model input.
    n_features : int
    plan : dict
        Empty: the schema and the scaling say all.
    """

    center: Tensor
    scale: Tensor

    def __init__(self, schema: ImageSchema, pixel_scaling: str, *, flat: bool) -> None:
        super().__init__()
        self.image_shape, self.flat = schema.shape, flat
        self.n_features = schema.n_features
        self.shape: tuple[int, ...] = (self.n_features,) if flat else schema.shape
        self.plan: dict[str, Any] = {}
        learned = pixel_scaling == "standard"  # otherwise no state: a model file cannot alter it
        for name, value in zip(("center", "scale"), _FIXED[pixel_scaling], strict=True):
            self.register_buffer(name, torch.full(_by_channel(schema.shape), value), persistent=learned)
        self._plain = pixel_scaling == "unit"
        self.register_load_state_dict_post_hook(_check_state)  # type: ignore[no-untyped-call]

    @classmethod
    def fit(cls, pixels: NDArray[Any], schema: ImageSchema, pixel_scaling: str, *, flat: bool) -> ImagePreprocessor:
        """Learn what `pixel_scaling` needs from the training images."""
        module = cls(schema, pixel_scaling, flat=flat)
        if pixel_scaling == "standard":
            mean, spread = _channel_moments(pixels)
            module.center.copy_(torch.from_numpy(mean).reshape(module.center.shape))
            spread = np.where(spread > _FLATTEST, spread, 1.0)
            module.scale.copy_(torch.from_numpy(spread).reshape(module.scale.shape))
        return module

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the model input of some images."""
        x = pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels
        if not self._plain:
            x = (x - self.center) / self.scale
        return x.flatten(1) if self.flat else x

    def restore(self, x: Tensor) -> Tensor:
        """Return model input, or what a method made of it, as pixels (b, c, …, h, w) within [0, 1]; clipped there."""
        images = x.reshape(-1, *self.image_shape) * self.scale + self.center
        return images.clamp(0, 1)


def _by_channel(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of one number per channel, against rows of `shape`."""
    return (shape[0], *(1 for _ in shape[1:]))


def _channel_moments(pixels: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and standard deviation of each channel, in units of [0, 1]."""
    total, squares = np.zeros(pixels.shape[1]), np.zeros(pixels.shape[1])
    others = (0, *range(2, pixels.ndim))
    block = max(_AT_ONCE // math.prod(pixels.shape[1:]), 1)
    for start in range(0, len(pixels), block):
        part = pixels[start : start + block].astype(np.float64)
        total += part.sum(axis=others)
        squares += np.square(part).sum(axis=others)
    count = pixels.size / pixels.shape[1]
    unit = 255.0 if pixels.dtype == np.uint8 else 1.0
    mean = total / count
    return mean / unit, np.sqrt(np.maximum(squares / count - mean**2, 0)) / unit


def _check_state(module: nn.Module, incompatible: object) -> None:
    """Refuse loaded numbers that training could not have left behind."""
    center, scale = module.get_buffer("center"), module.get_buffer("scale")
    if not bool(((center >= 0) & (center <= 1) & (scale > 0) & (scale <= 1)).all()):
        raise ModelFileError("The model file is damaged: its preprocessing numbers are not usable. Get it again.")
