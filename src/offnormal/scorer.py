"""Preprocessing and method as one torch module: what is scored, saved, exported and served.

It starts at the encoded matrix of a table (numbers, 0/1, category codes, seconds; NaN = missing) or at the pixels of
images or clips. Rows go through in blocks of one fixed size, the last one padded, so a row's score is the same bit for
bit whatever rows it came with. Letters: b rows, c t h w channels, frames, height, width.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from offnormal.method import Method
from offnormal.score_maps import MapScore, ToMaps

if TYPE_CHECKING:
    from offnormal.data.pixels import ImagePreprocessor
    from offnormal.data.preprocess import TablePreprocessor

BLOCK = 1024
"""Rows per block: near the best throughput for small networks, and a single row still costs only a millisecond."""
VALUES_PER_BLOCK = 2**17
"""The same for images and clips, in pixel values: 128 images of 28×28, 2 of 256×256."""


class Scorer(nn.Module):
    """Encoded rows (b, …) -> scores (b,) float64, greater = more anomalous.

    Parameters
    ----------
    preprocess : TablePreprocessor or ImagePreprocessor
        (b, c) float64 -> (b, n) float32, or (b, c, …, h, w) uint8 -> (b, *shape) float32.
    method : Method
    of_map : (callable, MapScore) or None
        What makes a map of model input, and a score of the map. None: the method's own score.
    """

    def __init__(
        self,
        preprocess: TablePreprocessor | ImagePreprocessor,
        method: Method,
        of_map: tuple[ToMaps, MapScore] | None = None,
    ) -> None:
        super().__init__()
        self.preprocess = preprocess
        self.method = method
        self.of_map = of_map

    def forward(self, encoded: Tensor) -> Tensor:
        """Score one block."""
        features: Tensor = self.preprocess(encoded)
        if self.of_map is None:
            return self.method.score(features).double()
        to_maps, score = self.of_map
        return score(to_maps(features))

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
        with torch.inference_mode(), repeatable(device):
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


def repeatable(device: torch.device) -> AbstractContextManager[None]:
    """Let convolutions on a GPU give the same bits every time, in float32 as the processor's do."""
    if device.type != "cuda":
        return nullcontext()
    flags: AbstractContextManager[None] = torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)
    return flags


def block_size(shape: tuple[int, ...]) -> int:
    """Return how many rows of this shape go through at a time: a power of two, smaller for larger images."""
    if len(shape) == 1:
        return BLOCK
    return min(1 << int(math.log2(max(VALUES_PER_BLOCK / math.prod(shape), 1))), BLOCK)
