"""Rows in memory, served in batches: one tensor and one permutation per pass.

Images stay bytes; `prepare` makes the floats of one batch at a time, on the device.

A `Batches` object can be iterated any number of times. The order of a pass depends only on the seed and the number of
the pass, so training can restart at any epoch without a stored generator state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from offnormal.random import generator

Prepare = Callable[[Tensor], Tensor]
"""Stored rows -> rows as the method takes them, each on its own."""


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
    rows : Tensor, shape (n, …)
    batch_size : int
        Upper end of the usual batch; the last batch is kept if at least half full and otherwise joins the one before
        it, so that no statistic is ever taken over a few stray rows.
    seed : int or None
        None serves the rows in their order.
    prepare : callable or None
        Makes model input, (b, *shape), of some stored rows; None: they are it.
    """

    def __init__(
        self, rows: Tensor, batch_size: int, *, seed: int | None = None, prepare: Prepare | None = None
    ) -> None:
        self._stored, self._prepare = rows, prepare
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
        return len(self._stored)

    @property
    def rows(self) -> Tensor:
        """Return all rows at once, (n, *shape), for methods that need the whole matrix; of images, a float copy."""
        if self._prepare is None:
            return self._stored
        return torch.cat([self._served(self._stored[start:stop]) for start, stop in pairwise(self._bounds)])

    def reordered(self, seed: int | None) -> Batches:
        """Return batches of the same rows in an order of their own, at the same epoch."""
        own = Batches(self._stored, self.batch_size, seed=seed, prepare=self._prepare)
        own.epoch = self.epoch
        return own

    def __iter__(self) -> Iterator[Batch]:
        """Serve one pass; the order is that of `self.epoch`."""
        n, device = len(self._stored), self._stored.device
        if self.seed is None:
            for start, stop in pairwise(self._bounds):
                yield Batch(self._served(self._stored[start:stop]), torch.arange(start, stop, device=device))
            return
        order = torch.randperm(n, generator=generator(self.seed, "order", self.epoch)).to(device)
        for start, stop in pairwise(self._bounds):
            index = order[start:stop]
            yield Batch(self._served(self._stored.index_select(0, index)), index)

    def _served(self, stored: Tensor) -> Tensor:
        return stored if self._prepare is None else self._prepare(stored)
