"""Reconstruction error of kernel principal component analysis.

Hoffmann: Kernel PCA for novelty detection. Pattern Recognition 40 (2007).

A Gaussian kernel maps rows into a space of as many dimensions as there are rows; there the q directions of greatest
variance are kept, and the score is the squared distance of a row's image to the plane they span: the spherical
potential less the squared projections. Closed form: no training phases.

Letters: b rows, n features, m kept rows, q directions, w the kept rows' weights, which sum to one.

Differences from the paper
--------------------------
1. At most `max_rows` distinct training rows are kept. The sample is a random prefix of the rows, long enough to hold
   that many distinct ones; copies become weight, not further rows, so a row repeated a million times takes one place
   and the mean and covariance in feature space are exactly those of the sample with its copies.
2. The bandwidth is half the median distance between kept rows unless given (the paper tunes it per data set).
3. q is a count or a share of the variance in feature space, at most 256 directions for a share.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from offnormal.batches import Batches
from offnormal.detector import Detector
from offnormal.method import Method
from offnormal.networks.residuals import ResidualModel, replacement_falls
from offnormal.parameters import count_or_share, param

MOST_DIRECTIONS = 256
"""Directions kept at most where a share of the variance was asked for, so that a model file's size is known."""
RELATIVE_ZERO = 1e-9
"""Eigenvalues below this share of the largest are rounding; dividing by their roots would magnify it."""

PAIRED_ROWS = 1_000
"""Kept rows whose distances to each other are looked at for the bandwidth; half a million pairs."""


class KernelPCANetwork(Method):
    """The kept rows and the directions, as combinations of them, as buffers.

    Parameters
    ----------
    n_features : int
    n_rows : int
        Places for rows; those that the training rows do not fill have weight zero.
    n_components : int or float
        A count, or the share of variance to explain (in (0, 1)).
    bandwidth : float or None
        σ; None: half the median distance between kept rows.
    """

    rows: Tensor
    center: Tensor
    weights: Tensor
    coefficients: Tensor
    offset: Tensor
    potential: Tensor
    sigma: Tensor

    def __init__(self, n_features: int, n_rows: int, n_components: int | float, bandwidth: float | None) -> None:
        super().__init__()
        self.n_components, self.bandwidth = n_components, bandwidth
        most = n_components if isinstance(n_components, int) else MOST_DIRECTIONS
        q = max(min(most, n_rows - 1), 0)
        self.usual = ResidualModel(n_features)  # of the rows themselves, for reasons: this method rebuilds no row
        for name, shape in {
            "rows": (n_rows, n_features),
            "center": (n_features,),
            "weights": (n_rows,),  # w
            "coefficients": (n_rows, q),  # α, one column per direction
            "offset": (q,),
            "potential": (),  # wᵀ K w
            "sigma": (),
        }.items():
            self.register_buffer(name, torch.zeros(shape, dtype=torch.float64))

    def summarize(self, batches: Batches) -> None:
        """Keep a sample of distinct rows with their weights; find the directions of greatest variance (§2)."""
        sample, weights = distinct_sample(batches.rows, len(self.rows))
        m = len(sample)
        self.usual.learn(batches, torch.zeros_like)
        self.center.copy_(weights @ sample)
        self.rows.zero_()[:m] = sample - self.center
        self.weights.zero_()[:m] = weights
        paired = self.rows[: min(m, PAIRED_ROWS)]
        self.sigma.fill_(self.bandwidth if self.bandwidth is not None else median_distance(paired) / 2)
        gram = self._kernel(self.rows[:m])[:, :m]
        mean = gram @ weights
        self.potential.copy_(weights @ mean)
        centered = gram - mean[:, None] - mean[None, :] + self.potential
        root = weights.sqrt()
        values, vectors = torch.linalg.eigh(root[:, None] * centered * root[None, :])
        values, vectors = values.flip(0).clamp_min(0), vectors.flip(1)
        q = self._count(values)
        alpha = root[:, None] * vectors[:, :q] / values[:q].sqrt()  # unit length in feature space: αᵀ K̃ α = 1
        self.coefficients.zero_()[:m, :q] = alpha
        self.offset.zero_()[:q] = mean @ alpha

    def _count(self, values: Tensor) -> int:
        """Return q: the asked count, or as many as explain the asked share, of eigenvalues that are not rounding."""
        usable = int((values > RELATIVE_ZERO * values[:1]).sum())
        most = min(self.coefficients.shape[1], usable)
        if isinstance(self.n_components, int):
            return most
        explained = values.cumsum(0) / values.sum().clamp_min(torch.finfo(values.dtype).tiny)
        return min(int((explained < self.n_components).sum()) + 1, most)

    def _kernel(self, centered: Tensor) -> Tensor:
        """Return k(x, x_i) = exp(−‖x − x_i‖² / 2σ²), shape (b, m), for rows less `center`."""
        return torch.exp(-_squared_distances(centered, self.rows) / (2 * self.sigma.square()))

    def _coordinates(self, kernel: Tensor) -> Tensor:
        # f_l(x) = Σ_i α_il k̃(x, x_i); the terms that do not depend on i vanish, since Σ_i α_il = 0.
        return kernel @ self.coefficients - self.offset

    def _distance(self, kernel: Tensor) -> Tensor:
        spherical = 1 - 2 * kernel @ self.weights + self.potential  # p_S(x)
        return (spherical - self._coordinates(kernel).square().sum(1)).clamp_min(0)

    def encode(self, x: Tensor) -> Tensor:
        """Return f_1(x) … f_q(x), shape (b, q), float64; at least one column."""
        return self._coordinates(self._kernel(x.double() - self.center))[:, : self._kept()]

    def _kept(self) -> int:
        return max(int(self.coefficients.abs().sum(0).ne(0).sum()), 1)

    def code_names(self) -> tuple[str, ...]:
        """Name the coordinates."""
        return tuple(f"kpc_{i + 1}" for i in range(self._kept()))

    def score(self, x: Tensor) -> Tensor:
        """Return p_S(x) − Σ_l f_l(x)², float64, shape (b,), in [0, 2]."""
        return self._distance(self._kernel(x.double() - self.center))

    def contributions(self, x: Tensor, groups: Tensor, n_groups: int) -> Mapping[str, Tensor]:
        """Return, per column, how much falls if that column alone took its best replacement.

        Two measures are added: the score, and −log Σ_i w_i k(x, x_i), the nats of improbability under the kernel
        density of the kept rows. The score saturates far from all rows, where moving one of several odd columns back
        does not lower it; the density does not. The replacement is the one with the greatest summed fall among a
        handful: the value that the other columns predict linearly, and three quantiles of training (categories: the
        three commonest).
        """

        def measures(rows: Tensor) -> Tensor:
            exponent = -_squared_distances(rows.double() - self.center, self.rows) / (2 * self.sigma.square())
            density = torch.logsumexp(exponent + self.weights.log(), dim=1)
            return torch.stack([self._distance(exponent.exp()), -density], dim=1)

        once, place = torch.unique(x, dim=0, return_inverse=True)  # a block's padding is copies of one row
        distance, density = replacement_falls(once, measures, self.usual, once, groups, n_groups)
        return {"distance": distance[place], "density": density[place]}


def distinct_sample(rows: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Return distinct rows of a random prefix that holds at most `most` distinct ones, and their shares of it.

    Parameters
    ----------
    rows : Tensor, shape (r, n)
    most : int

    Returns
    -------
    distinct : Tensor, float64, shape (m, n), m ≤ most
        In the order of their first place in the prefix.
    shares : Tensor, float64, shape (m,)
        Sum to one. Were all rows to have no more than `most` distinct ones, these are their exact shares.
    """
    order = torch.randperm(len(rows)).to(rows.device)
    length = min(2 * most, len(rows))
    while True:
        prefix = rows[order[:length]].double()
        distinct, inverse = torch.unique(prefix, dim=0, return_inverse=True)
        if len(distinct) > most or length == len(rows):
            break
        length = min(4 * length, len(rows))  # a table of few distinct rows is read to its end
    place = torch.arange(length, device=rows.device)
    first = torch.full((len(distinct),), length, device=rows.device).scatter_reduce(0, inverse, place, "amin")
    by_first = first.argsort()
    end = int(first[by_first[most]]) if len(distinct) > most else length
    counts = torch.bincount(inverse[:end], minlength=len(distinct))[by_first[:most]].double()
    return distinct[by_first[:most]], counts / counts.sum()


def median_distance(rows: Tensor) -> float:
    """Return the median Euclidean distance between distinct rows (m, n); 1 where there is but one row."""
    if len(rows) < 2:
        return 1.0
    upper = torch.triu_indices(len(rows), len(rows), 1, device=rows.device)
    return float(_squared_distances(rows, rows)[upper[0], upper[1]].sqrt().median().clamp_min(1e-9))


def _squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """Return ‖x_i − y_j‖², shape (b, m); the rows should be centered, so that large offsets do not cancel digits."""
    return torch.addmm(x.square().sum(1)[:, None] + y.square().sum(1)[None, :], x, y.T, alpha=-2).clamp_min_(0)


@dataclass(kw_only=True, eq=False, repr=False)
class KernelPCAReconstruction(Detector):
    """Squared distance to the principal plane in the feature space of a Gaussian kernel (Hoffmann 2007).

    The score is dimensionless, 0 on the plane and bounded: rows far from all training rows share one limit, slightly
    above 1. Greater = more anomalous. Closed form: `epochs` is accepted and unused. The model keeps up to `max_rows`
    training rows, scaled.
    """

    key: ClassVar[str] = "kernel_pca"

    n_components: float = param(
        0.9, "Directions kept: a count (1, 2, …) or the share of variance in feature space, in (0, 1).",
        gt=0, le=10_000, source="0.9 to 0.99 did best over eight public tables; least to lose to outliers in training",
    )  # fmt: skip
    bandwidth: float | None = param(
        None, "σ of the kernel, in scaled units. None: half the median distance between kept rows.", kind="float",
        gt=0, source="half the median did better than the median over eight public tables; the paper tunes σ",
    )  # fmt: skip
    max_rows: int = param(
        2_000, "Distinct training rows kept, in the model and in its file.", ge=2, le=20_000,
        source="memory and time: their square and cube",
    )  # fmt: skip

    def _plan(self, rows: int) -> tuple[int, int]:
        return super()._plan(rows)[0], min(rows, self.max_rows)  # all that is looked at is one batch of kept rows

    def build(self, shape: tuple[int, ...]) -> Method:
        """Return the module for rows of `shape` (n,)."""
        wanted = count_or_share("n_components", self.n_components)
        return KernelPCANetwork(shape[0], self.planned_batch_size_, wanted, self.bandwidth)
