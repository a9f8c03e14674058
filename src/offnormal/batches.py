"""Rows in memory, served in batches: one tensor and one permutation per pass.

A `Batches` object can be iterated any number of times. The order of a pass depends only on the seed and the number of
the pass, so training can restart at any epoch without a stored generator state.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from offnormal.random import generator


class Batch(NamedTuple):
    """Some rows and where they stand in the training set.

    Attributes
    ----------
    x : Tensor, shape (b, *shape)
    indices : Tensor of int64, shape (b,)
    """

    x: Tensor
    indices: Tensor


class Batches:
    """Re-iterable, sized batches over one tensor.

    Parameters
    ----------
    rows : Tensor, shape (n, *shape)
    batch_size : int
        Upper end of the usual batch; the last batch is kept if at least half full and otherwise joins the one before
        it, so that no statistic is ever taken over a few stray rows.
    seed : int or None
        None serves the rows in their order.
    """

    def __init__(self, rows: Tensor, batch_size: int, *, seed: int | None = None) -> None:
        self.rows = rows
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0
        n = len(rows)
        starts = list(range(0, n, batch_size))
        if len(starts) > 1 and n - starts[-1] < batch_size / 2:
            starts.pop()
        self._bounds = [*starts, n]

    def __len__(self) -> int:
        """Return the number of batches of one pass."""
        return len(self._bounds) - 1

    @property
    def n_rows(self) -> int:
        """Return the number of rows of one pass."""
        return len(self.rows)

    def __iter__(self) -> Iterator[Batch]:
        """Serve one pass; the order is that of `self.epoch`."""
        n = len(self.rows)
        device = self.rows.device
        if self.seed is None:
            for start, stop in pairwise(self._bounds):
                yield Batch(self.rows[start:stop], torch.arange(start, stop, device=device))
            return
        order = torch.randperm(n, generator=generator(self.seed, "order", self.epoch)).to(device)
        for start, stop in pairwise(self._bounds):
            index = order[start:stop]
            yield Batch(self.rows.index_select(0, index), index)
