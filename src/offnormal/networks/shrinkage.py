"""Proximal maps: argmin_S ½ ‖S − matrix‖² + threshold · penalty(S), for the penalties that make a part sparse.

Letters: b rows, n features.
"""

from __future__ import annotations

import torch
from torch import Tensor


def shrink_entries(matrix: Tensor, threshold: float) -> Tensor:
    """Penalty Σ |S_ij|: each entry of (b, n) moved towards zero by the threshold."""
    return matrix.sign() * (matrix.abs() - threshold).clamp_min(0)


def shrink_rows(matrix: Tensor, threshold: float) -> Tensor:
    """Penalty Σ_i ‖S_i‖₂: each row of (b, n) shortened by the threshold."""
    length = torch.linalg.vector_norm(matrix, dim=1, keepdim=True)
    return matrix * remaining(length, threshold)


def shrink_singular_values(matrix: Tensor, threshold: float) -> Tensor:
    """Penalty ‖S‖_*, the sum of singular values: each of them lowered by the threshold.

    Through the eigenvectors of the smaller Gram matrix: for a long table, one product of the table with a small matrix
    instead of a decomposition of the table. Singular values below 1e-8 of the largest are lost to the squaring.
    """
    if matrix.shape[0] < matrix.shape[1]:
        return shrink_singular_values(matrix.T, threshold).T
    values, vectors = torch.linalg.eigh(matrix.T @ matrix)
    singular = values.clamp_min(0).sqrt()
    lowered: Tensor = matrix @ ((vectors * remaining(singular, threshold)) @ vectors.T)
    return lowered


def remaining(length: Tensor, threshold: float) -> Tensor:
    """Return the factor that shortens a vector of this length by the threshold: max(0, 1 − threshold/length)."""
    factor: Tensor = 1 - threshold / length.clamp_min(torch.finfo(length.dtype).tiny)
    return factor.clamp_min(0)
