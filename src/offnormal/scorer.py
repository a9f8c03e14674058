"""Preprocessing and method as one torch module: what is scored, saved, exported and served.

It starts at the encoded matrix (numbers, 0/1, category codes, seconds; NaN = missing). Rows go through in blocks of one
fixed size, the last one padded, so a row's score is the same bit for bit whatever rows it came with.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from offnormal.method import Method

if TYPE_CHECKING:
    from offnormal.data.preprocess import TablePreprocessor

BLOCK = 1024
"""Rows per block: near the best throughput for small networks, and a single row still costs only a millisecond."""


class Scorer(nn.Module):
    """Encoded matrix (b, c) float64 -> scores (b,) float64, greater = more anomalous.

    Parameters
    ----------
    preprocess : TablePreprocessor
        (b, c) float64 -> (b, n) float32.
    method : Method
    """

    def __init__(self, preprocess: TablePreprocessor, method: Method) -> None:
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

    def in_blocks(self, function: Callable[[Tensor], Tensor], encoded: NDArray[np.float64]) -> NDArray[np.float64]:
        """Apply `function` (encoded block -> one row per row) to all rows, in blocks of fixed size.

        Parameters
        ----------
        function : callable
            (BLOCK, c) float64 -> (BLOCK, …).
        encoded : array, shape (rows, c)

        Returns
        -------
        array of float64, shape (rows, …)
        """
        rows = len(encoded)
        parts = []
        device = self.device
        with torch.inference_mode():
            for start in range(0, rows, BLOCK):
                part = np.require(encoded[start : start + BLOCK], requirements=["C", "W"])
                block = torch.from_numpy(part)
                if len(block) < BLOCK:
                    block = torch.cat([block, block[-1:].expand(BLOCK - len(block), -1)])
                parts.append(function(block.to(device)).double().cpu()[: min(BLOCK, rows - start)])
            result: NDArray[np.float64] = torch.cat(parts).numpy()
        return result

    def score_rows(self, encoded: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the scores of all rows, shape (rows,)."""
        return self.in_blocks(self, encoded)
