"""A row and its reconstruction followed through the layers of an encoder, and how their differences usually spread.

Letters: b rows, n training rows, D numbers along the pathway.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

from offnormal.batches import Batches

SMALLEST_SPREAD = 1e-6
"""No standard deviation counts as less: where all rows are alike, float32 makes differences of a tenth of it."""


class Layered(Protocol):
    """A network with a pathway: an autoencoder of any kind."""

    def encoder_layers(self, x: Tensor) -> list[Tensor]:
        """Return what each layer of the encoder gives, the code last: [(b, …), …, (b, d)]."""

    def reconstruct(self, x: Tensor) -> Tensor:
        """Return the rebuilt rows, (b, *shape)."""


def pathway_difference(network: Layered, x: Tensor, first_layer: int) -> Tensor:
    """Return d(x) = h(x) − h(x′): layers side by side, x′ the rebuilt row put through the same encoder.

    Parameters
    ----------
    network : Layered
    x : Tensor, shape (b, *shape)
    first_layer : int
        0: from the row itself; i: from the i-th layer of the encoder on.

    Returns
    -------
    Tensor, float64, shape (b, D)
    """
    rebuilt = network.reconstruct(x)
    pairs = list(zip([x, *network.encoder_layers(x)], [rebuilt, *network.encoder_layers(rebuilt)], strict=True))
    return torch.cat([(came.double() - back.double()).flatten(1) for came, back in pairs[first_layer:]], dim=1)


def pathway_widths(network: Layered, shape: tuple[int, ...]) -> list[int]:
    """Return how many numbers the row and each layer of the encoder have; works on a network without memory.

    The network must be in evaluation mode: one row has no batch statistics.
    """
    with torch.no_grad():
        row = torch.zeros(1, *shape)
        return [layer[0].numel() for layer in (row, *network.encoder_layers(row))]


class Spread(nn.Module):
    """Mean and covariance of vectors, kept as what turns them into independent axes of variance one.

    The covariance Σ has eigenvectors V and standard deviations σ (the singular values of the centered table over √n).
    Deviations under `floor` · max σ count as that: a vector that moves where the training vectors never did is far
    away, and is not divided by the rounding errors that such a σ is made of.

    Parameters
    ----------
    width : int
        D.
    floor : float
        In (0, 1]; beside it stands `SMALLEST_SPREAD`.
    """

    mean: Tensor
    whitening: Tensor

    def __init__(self, width: int, floor: float) -> None:
        super().__init__()
        self.floor = floor
        self.register_buffer("mean", torch.zeros(width, dtype=torch.float64))
        self.register_buffer("whitening", torch.zeros(width, width, dtype=torch.float64))  # V diag(1 / σ)

    def learn(self, batches: Batches, vectors: Callable[[Tensor], Tensor]) -> None:
        """Take μ and Σ of `vectors`, (b, *shape) -> (b, D), in one pass; only sums and products are kept.

        Sums are taken about the mean of the first batch, so that a mean far from zero costs no digits.
        """
        total, gram = torch.zeros_like(self.mean), torch.zeros_like(self.whitening)
        about: Tensor | None = None
        for batch in batches:
            rows = vectors(batch.x).double()
            about = rows.mean(0) if about is None else about
            rows = rows - about
            total += rows.sum(0)
            gram.addmm_(rows.T, rows)
        assert about is not None, "there is at least one batch"
        shift = total / batches.n_rows
        variances, directions = torch.linalg.eigh(gram / batches.n_rows - torch.outer(shift, shift))
        spread = variances.clamp_min(0).sqrt()
        least = (self.floor * spread[-1]).clamp_min(SMALLEST_SPREAD)
        self.mean.copy_(about + shift)
        self.whitening.copy_(directions / torch.maximum(spread, least))

    def squared_distance(self, vectors: Tensor) -> Tensor:
        """Return ‖(d − μ)ᵀ V diag(1/σ)‖², float64, shape (b,): over the training vectors its mean is at most D."""
        return ((vectors.double() - self.mean) @ self.whitening).square().sum(1)
