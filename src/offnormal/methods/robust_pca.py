"""Robust principal component analysis: the plane of the low-rank part of a corrupted table.

Variant "pcp": Candès, Li, Ma, Wright: Robust Principal Component Analysis? Journal of the ACM 58 (2011).
Variant "outlier_pursuit": Xu, Caramanis, Sanghavi: Robust PCA via Outlier Pursuit. IEEE Transactions on Information
Theory 58 (2012).

The table M is split into L + S: L of low rank, S sparse, either in its entries (corrupted cells, "pcp") or in its rows
(corrupted rows, "outlier_pursuit"), by the convex program

    minimize ‖L‖_* + λ ‖S‖    subject to L + S = M,

‖L‖_* the sum of singular values, ‖S‖ the sum of absolute entries or of row lengths. The split is found by the
augmented Lagrangian method. Closed form: no training phases.

Letters: b rows, n features, q directions, N rows of M, Y multipliers, μ penalty.

Differences from the papers
---------------------------
1. The papers split one table and score nothing else. Here the directions V of L are kept, and a new row's score is its
   squared distance to the plane they span, as in PCA.
2. Column medians are subtracted first, and again before scoring (the papers center nothing; an offset would cost the
   plane one direction, and the mean would be moved by the corruption).
3. Of real tables L is seldom of exact low rank, so V are the directions that hold a share of ‖L‖².
4. At most `max_rows` rows, drawn at random, are split.
5. λ of "outlier_pursuit" is √(0.75 n/N); the paper's 3/(7√(γN)), γ the share of corrupted rows, is for tables without
   noise: with γ = 0.1 it left L without a direction on seven of eight public tables.
6. The penalty μ is adapted in the first iterations so that both residuals of the method fall alike, and L is
   over-relaxed (papers: fixed, plain); the minimum is the same.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from offnormal.batches import Batches
from offnormal.detector import Detector
from offnormal.method import Method
from offnormal.networks.shrinkage import shrink_entries, shrink_rows, shrink_singular_values
from offnormal.networks.subspace import DistanceToPlane
from offnormal.parameters import count_or_share, param

TOLERANCE = 1e-5
"""Of the split, as a share of the table."""
ADAPTED_UNTIL = 100
"""Iterations in which μ may change (Boyd et al. 2011, §3.4.1); with a fixed one the method is known to converge."""
RELAXATION = 1.6
"""Over-relaxation of L (Boyd et al. 2011, §3.4.3: 1.5 to 1.8)."""
LEVERAGE = 0.75
"""How many times the mean leverage a row may have before outlier pursuit sets it aside; best of 0.5 to 2 over seven
public tables."""
RELATIVE_ZERO = 1e-12
"""Eigenvalues of LᵀL below this share of the largest are rounding."""


class Split(NamedTuple):
    """L and S, and how the method ended.

    Attributes
    ----------
    low_rank, sparse : Tensor, shape (N, n)
    multiplier : Tensor, shape (N, n)
        Y; scaled into ‖Y‖ ≤ 1 and the dual of the penalty ≤ λ, ⟨Y, M⟩ bounds the minimum from below.
    iterations : int
    converged : bool
    """

    low_rank: Tensor
    sparse: Tensor
    multiplier: Tensor
    iterations: int
    converged: bool


def default_sparsity_weight(variant: str, shape: tuple[int, int]) -> float:
    """Return λ: 1/√max(N, n) for PCP (theorem 1.1); for outlier pursuit √(0.75 min/max).

    In L = U Σ Vᵀ of full rank the squared length of a row of U Vᵀ is the row's leverage, n/N on average, and rows where
    it would exceed λ² are moved to S in part.
    """
    longer, shorter = max(shape), min(shape)
    return math.sqrt((1 if variant == "pcp" else LEVERAGE * shorter) / longer)


def split(
    matrix: Tensor, shrink: Callable[[Tensor, float], Tensor], weight: float, *, tolerance: float, max_iterations: int
) -> Split:
    """Minimize ‖L‖_* + λ ‖S‖ subject to L + S = M, by alternating directions (PCP: algorithm 1).

    Parameters
    ----------
    matrix : Tensor, float64, shape (N, n)
        M.
    shrink : callable
        The proximal map of ‖S‖.
    weight : float
        λ.
    tolerance : float
        Ends when ‖M − L − S‖ is below this share of ‖M‖, and the last change of μS below this share of ‖Y‖.
    max_iterations : int
    """
    size = torch.linalg.vector_norm(matrix)
    low_rank, sparse, multiplier = (torch.zeros_like(matrix) for _ in range(3))
    if not bool(size > 0):
        return Split(low_rank, sparse, multiplier, 0, converged=True)
    mu = float(matrix.numel() / (4 * matrix.abs().sum()))
    for iteration in range(1, max_iterations + 1):
        low_rank = shrink_singular_values(matrix - sparse + multiplier / mu, 1 / mu)
        ahead = RELAXATION * low_rank + (1 - RELAXATION) * (matrix - sparse)
        before, sparse = sparse, shrink(matrix - ahead + multiplier / mu, weight / mu)
        multiplier += mu * (matrix - ahead - sparse)
        primal = float(torch.linalg.vector_norm(matrix - low_rank - sparse) / size)
        dual = float(mu * torch.linalg.vector_norm(sparse - before) / torch.linalg.vector_norm(multiplier))
        if max(primal, dual) < tolerance:
            return Split(low_rank, sparse, multiplier, iteration, converged=True)
        if iteration % 10 == 0 and iteration <= ADAPTED_UNTIL:
            mu *= 2 if primal > 10 * dual else (0.5 if dual > 10 * primal else 1)
    return Split(low_rank, sparse, multiplier, max_iterations, converged=False)


class RobustPCANetwork(DistanceToPlane, Method):
    """Center and directions as buffers.

    Parameters
    ----------
    n_features : int
    variant : str
        "pcp" or "outlier_pursuit".
    n_components : int or float
        A count, or the share of ‖L‖² to hold (in (0, 1)).
    sparsity_weight : float or None
        λ; None: `default_sparsity_weight`.
    max_rows, max_iterations : int
    """

    axis = "rpc"
    exportable = True
    center: Tensor
    directions: Tensor

    def __init__(
        self,
        n_features: int,
        *,
        variant: str,
        n_components: int | float,
        sparsity_weight: float | None,
        max_rows: int,
        max_iterations: int,
    ) -> None:
        super().__init__()
        self.variant, self.n_components, self.sparsity_weight = variant, n_components, sparsity_weight
        self.max_rows, self.max_iterations = max_rows, max_iterations
        self.register_buffer("center", torch.zeros(n_features, dtype=torch.float64))
        self.register_buffer("directions", torch.zeros(n_features, 1, dtype=torch.float64))  # q columns once fitted

    def summarize(self, batches: Batches) -> None:
        """Split the rows, or a sample of them; keep the directions of L."""
        rows = batches.rows
        if len(rows) > self.max_rows:
            rows = rows[torch.randperm(len(rows))[: self.max_rows].to(rows.device)]
        self.center.copy_(rows.double().median(0).values)
        parts = self.split(rows)
        if not parts.converged:
            warnings.warn(
                f"Robust PCA did not converge in {parts.iterations} iterations; the plane may be a poor one. "
                "Raise max_iterations.",
                UserWarning,
                stacklevel=2,
            )
        values, vectors = torch.linalg.eigh(parts.low_rank.T @ parts.low_rank)
        values, vectors = values.flip(0).clamp_min(0), vectors.flip(1)
        self.keep(vectors[:, : self._count(values)])

    def split(self, rows: Tensor) -> Split:
        """Split rows (N, n), less the center, into L + S."""
        matrix = rows.double() - self.center
        weight = self.sparsity_weight
        return split(
            matrix,
            shrink_entries if self.variant == "pcp" else shrink_rows,
            default_sparsity_weight(self.variant, (len(rows), len(self.center))) if weight is None else weight,
            tolerance=TOLERANCE,
            max_iterations=self.max_iterations,
        )

    def _count(self, values: Tensor) -> int:
        """Return q: the asked count, or as many as hold the asked share, within L's rank; one direction is left."""
        rank = int((values > RELATIVE_ZERO * values[0]).sum())
        most = min(rank, len(values) - 1)
        if isinstance(self.n_components, int):
            return min(self.n_components, most)
        held = values.cumsum(0) / values.sum().clamp_min(torch.finfo(values.dtype).tiny)
        return min(int((held < self.n_components).sum()) + 1, most)

    def origin(self) -> Tensor:
        """Return the center of the training rows."""
        return self.center


@dataclass(kw_only=True, eq=False, repr=False)
class RobustPCA(Detector):
    """Squared distance to the plane of a table's low-rank part (Candès et al. 2011; Xu et al. 2012).

    For training rows that hold corrupted cells ("pcp") or corrupted rows ("outlier_pursuit"). The score is in squared
    units of the scaled columns; 0 means on the plane; greater = more anomalous. Closed form: `epochs` is accepted and
    unused.
    """

    key: ClassVar[str] = "robust_pca"

    variant: str = param(
        "pcp", "What may be corrupted: cells ('pcp') or whole rows ('outlier_pursuit').",
        choices=("pcp", "outlier_pursuit"), source="Candès et al. 2011; Xu et al. 2012",
    )  # fmt: skip
    n_components: float = param(
        0.9, "Directions kept: a count (1, 2, …) or the share of the low-rank part's sum of squares, in (0, 1).",
        gt=0, source="0.9 did best over seven public tables, for both variants",
    )  # fmt: skip
    sparsity_weight: float | None = param(
        None, "λ, weight of the sparse part. None: 1/√max(N, n) for 'pcp', √(0.75 n/N) for 'outlier_pursuit'.",
        kind="float", gt=0, source="pcp: theorem 1.1; outlier_pursuit: 0.5 to 2 n/N tried on seven public tables",
    )  # fmt: skip
    max_rows: int = param(10_000, "Rows split at most, drawn at random.", ge=2, source="time: seconds for 120 columns")
    max_iterations: int = param(
        2_000, "Iterations at most; a warning if they are not enough.", ge=1, source="eight public tables: up to 300"
    )

    def build(self, shape: tuple[int, ...]) -> Method:
        """Return the module for rows of `shape` (n,)."""
        wanted = count_or_share("n_components", self.n_components)
        return RobustPCANetwork(
            shape[0],
            variant=self.variant,
            n_components=wanted,
            sparsity_weight=self.sparsity_weight,
            max_rows=self.max_rows,
            max_iterations=self.max_iterations,
        )
