"""What a column has to do with a row's distance to a plane.

Letters: b rows, n features, c columns (groups of features).
"""

from __future__ import annotations

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
