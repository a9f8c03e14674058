"""Preprocessing and method as one torch module: what is scored, saved, exported and served.

It starts at the encoded matrix of a table (numbers, 0/1, category codes, seconds; NaN = missing) or at the pixels of
images. Rows go through in blocks of one fixed size, the last one padded, so a row's score is the same bit for bit
whatever rows it came with. Letters: b rows, c h w channels, height, width.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from offnormal.errors import ModelFileError
from offnormal.method import Method

if TYPE_CHECKING:
    from offnormal.data.images import ImageSchema
    from offnormal.data.preprocess import TablePreprocessor

BLOCK = 1024
"""Rows per block: near the best throughput for small networks, and a single row still costs only a millisecond."""
VALUES_PER_BLOCK = 2**17
"""The same for images, in pixel values: 128 images of 28×28, 2 of 256×256."""

_FIXED = {"unit": (0.0, 1.0), "symmetric": (0.5, 0.5), "standard": (0.0, 1.0)}
_FLATTEST = 1e-6  # a smaller spread is rounding
_AT_ONCE = 2**22  # values turned into floats at a time where the whole set is gone through


class Scorer(nn.Module):
    """Encoded rows (b, …) -> scores (b,) float64, greater = more anomalous.

    Parameters
    ----------
    preprocess : TablePreprocessor or ImagePreprocessor
        (b, c) float64 -> (b, n) float32, or (b, c, h, w) uint8 -> (b, *shape) float32.
    method : Method
    """

    def __init__(self, preprocess: TablePreprocessor | ImagePreprocessor, method: Method) -> None:
        super().__init__()
        self.preprocess = preprocess
        self.method = method

    def forward(self, encoded: Tensor) -> Tensor:
        """Score one block."""
        features: Tensor = self.preprocess(encoded)
        return self.method.score(features).double()

    @property
    def device(self) -> torch.device:
        """Return the device the tensors are on."""
        return next(self.buffers()).device

    def in_blocks(
        self, function: Callable[[Tensor], Tensor], encoded: NDArray[Any], dtype: torch.dtype = torch.float64
    ) -> NDArray[Any]:
        """Apply `function` (encoded block -> one row per row) to all rows, in blocks of fixed size.

        Parameters
        ----------
        function : callable
            (block, …) -> (block, …).
        encoded : array, shape (rows, …)
        dtype : torch.dtype
            Of the answer.

        Returns
        -------
        array, shape (rows, …)
        """
        rows, size = len(encoded), block_size(encoded.shape[1:])
        result = torch.empty(0)
        device = self.device
        with torch.inference_mode():
            for start in range(0, rows, size):
                part = np.require(encoded[start : start + size], requirements=["C", "W"])
                block = torch.from_numpy(part)
                if len(block) < size:
                    block = torch.cat([block, block[-1:].expand(size - len(block), *block.shape[1:])])
                answer = function(block.to(device))
                if start == 0:
                    result = torch.empty((rows, *answer.shape[1:]), dtype=dtype)
                result[start : start + size] = answer[: min(size, rows - start)].to(dtype)
        found: NDArray[Any] = result.numpy()
        return found

    def score_rows(self, encoded: NDArray[Any]) -> NDArray[np.float64]:
        """Return the scores of all rows, shape (rows,)."""
        return self.in_blocks(self, encoded)


def block_size(shape: tuple[int, ...]) -> int:
    """Return how many rows of this shape go through at a time: a power of two, smaller for larger images."""
    if len(shape) == 1:
        return BLOCK
    return min(1 << int(math.log2(max(VALUES_PER_BLOCK / math.prod(shape), 1))), BLOCK)


class ImagePreprocessor(nn.Module):
    """Pixels (b, c, h, w), uint8 or float32 -> model input float32: (b, c, h, w), or (b, c·h·w) if flat.

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
            self.register_buffer(name, torch.full((schema.shape[0], 1, 1), value), persistent=learned)
        self._plain = pixel_scaling == "unit"
        self.register_load_state_dict_post_hook(_check_state)  # type: ignore[no-untyped-call]

    @classmethod
    def fit(cls, pixels: NDArray[Any], schema: ImageSchema, pixel_scaling: str, *, flat: bool) -> ImagePreprocessor:
        """Learn what `pixel_scaling` needs from the training images."""
        module = cls(schema, pixel_scaling, flat=flat)
        if pixel_scaling == "standard":
            mean, spread = _channel_moments(pixels)
            module.center.copy_(torch.from_numpy(mean)[:, None, None])
            module.scale.copy_(torch.from_numpy(np.where(spread > _FLATTEST, spread, 1.0))[:, None, None])
        return module

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the model input of some images."""
        x = pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels
        if not self._plain:
            x = (x - self.center) / self.scale
        return x.flatten(1) if self.flat else x

    def restore(self, x: Tensor) -> Tensor:
        """Return model input, or what a method made of it, as images (b, c, h, w) within [0, 1]; clipped there."""
        images = x.reshape(-1, *self.image_shape) * self.scale + self.center
        return images.clamp(0, 1)


def _channel_moments(pixels: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and standard deviation of each channel, in units of [0, 1]."""
    total, squares = np.zeros(pixels.shape[1]), np.zeros(pixels.shape[1])
    block = max(_AT_ONCE // math.prod(pixels.shape[1:]), 1)
    for start in range(0, len(pixels), block):
        part = pixels[start : start + block].astype(np.float64)
        total += part.sum(axis=(0, 2, 3))
        squares += np.square(part).sum(axis=(0, 2, 3))
    count = pixels.size / pixels.shape[1]
    unit = 255.0 if pixels.dtype == np.uint8 else 1.0
    mean = total / count
    return mean / unit, np.sqrt(np.maximum(squares / count - mean**2, 0)) / unit


def _check_state(module: nn.Module, incompatible: object) -> None:
    """Refuse loaded numbers that training could not have left behind."""
    center, scale = module.get_buffer("center"), module.get_buffer("scale")
    if not bool(((center >= 0) & (center <= 1) & (scale > 0) & (scale <= 1)).all()):
        raise ModelFileError("The model file is damaged: its preprocessing numbers are not usable. Get it again.")
