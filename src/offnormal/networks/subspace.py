"""A row's distance to a plane, and what a column has to do with it.

Letters: b rows, n features, c columns (groups of features).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor


def column_falls(residual: Tensor, directions: Tensor, groups: Tensor, n_groups: int) -> Tensor:
    """Return how far ‖r‖² would fall if one column alone took the value that suits the others best.

    With M = I − VVᵀ and r = M(x − m), minimizing over the features G of one column gives r_Gᵀ (M_GG)⁺ r_G. For a single
    feature this is r_j² / M_jj, which for a departure along column j alone is never less than that of another column
    (Cauchy–Schwarz): the moved column ranks first (Alcala and Qin, Automatica 2009).

    Parameters
    ----------
    residual : Tensor, float64, shape (b, n)
        r.
    directions : Tensor, float64, shape (n, q)
        V: orthonormal columns, or zeros.
    groups : Tensor of int64, shape (n,)
        Feature -> column.
    n_groups : int

    Returns
    -------
    Tensor, float64, shape (b, n_groups), never negative
    """
    projector = torch.eye(len(directions), dtype=residual.dtype, device=residual.device) - directions @ directions.T
    parts = []
    for group in range(n_groups):
        features = (groups == group).nonzero().flatten()
        own = residual[:, features]
        block = projector[features][:, features]
        parts.append(((own @ torch.linalg.pinv(block, hermitian=True, rtol=1e-9)) * own).sum(1))
    return torch.stack(parts, dim=1).clamp_min(0)


class DistanceToPlane:
    """The score ‖r‖², r the residual beside a plane, and what comes with it; a part of a method's module.

    Attributes
    ----------
    directions : Tensor, float64, shape (n, q)
        Orthonormal columns; at least one, of zeros if no direction is kept.
    axis : str
        What the coordinates are called.
    """

    directions: Tensor
    axis: ClassVar[str]
    widths_from_rows: ClassVar[frozenset[str]] = frozenset({"directions"})

    @abstractmethod
    def origin(self) -> Tensor:
        """Return a point of the plane, float64, shape (n,)."""

    def keep(self, directions: Tensor) -> None:
        """Take these orthonormal columns (n, q), q ≥ 0, for the plane."""
        kept = directions if directions.shape[1] else directions.new_zeros(len(directions), 1)
        self.directions = kept.clone(memory_format=torch.contiguous_format)  # laid out as a file's, to the last bit

    def encode(self, x: Tensor) -> Tensor:
        """Return the coordinates in the plane, shape (b, q), float64; at least one column."""
        return (x.double() - self.origin()) @ self.directions[:, : self._kept()]

    def _kept(self) -> int:  # files of 0.1 and before hold as many columns as features, those beyond q zero
        return max(int(self.directions.abs().sum(0).ne(0).sum()), 1)

    def code_names(self) -> tuple[str, ...]:
        """Name the coordinates."""
        return tuple(f"{self.axis}_{i + 1}" for i in range(self._kept()))

    def _residual(self, x: Tensor) -> Tensor:
        centered = x.double() - self.origin()
        kept = self.directions[:, : self._kept()]
        return centered - (centered @ kept) @ kept.T

    def reconstruct(self, x: Tensor) -> Tensor:
        """Return the nearest point of the plane, shape (b, n)."""
        return x.double() - self._residual(x)

    def score(self, x: Tensor) -> Tensor:
        """Return ‖r‖², r the residual, float64, shape (b,), never negative."""
        return self._residual(x).square().sum(1)

    def contributions(self, x: Tensor, groups: Tensor, n_groups: int) -> Mapping[str, Tensor]:
        """Return how far the score would fall if one column alone took the value that suits the others best."""
        return {"residual": column_falls(self._residual(x), self.directions, groups, n_groups)}
