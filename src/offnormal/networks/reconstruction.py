"""Reconstruction features of a row and its reconstruction, in three passes over them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

EPSILON = 1e-10
"""Added to norms, so that an all-zero row has features."""


class _ReconstructionFeatures(torch.autograd.Function):
    """Squared error, relative Euclidean distance and cosine similarity, with the gradient in two fused passes.

    Each gradient is a row-wise combination α x + β x′, so the backward pass never forms the residual again.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, rebuilt: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        error = torch.linalg.vector_norm(x - rebuilt, dim=1)
        norm = torch.linalg.vector_norm(x, dim=1) + EPSILON
        rebuilt_norm = torch.linalg.vector_norm(rebuilt, dim=1) + EPSILON
        # A batch of dot products: one pass, no product matrix (and no cancellation, as polarization would have).
        cosine = torch.bmm(x[:, None, :], rebuilt[:, :, None]).flatten() / (norm * rebuilt_norm)
        ctx.save_for_backward(x, rebuilt, error, norm, rebuilt_norm, cosine)
        return error.square(), error / norm, cosine

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, Tensor | None]:
        on_square, on_relative, on_cosine = upstream
        x, rebuilt, error, norm, rebuilt_norm, cosine = ctx.saved_tensors
        along_residual = 2 * on_square + on_relative / ((error + EPSILON) * norm)  # times (x − x′)
        across = on_cosine / (norm * rebuilt_norm)
        on_x = on_rebuilt = None
        if ctx.needs_input_grad[1]:
            own = along_residual - on_cosine * cosine / rebuilt_norm.square()
            on_rebuilt = (x * (across - along_residual)[:, None]).addcmul_(rebuilt, own[:, None])
        if ctx.needs_input_grad[0]:
            own = along_residual - on_relative * error / norm.pow(3) - on_cosine * cosine / norm.square()
            on_x = (x * own[:, None]).addcmul_(rebuilt, (across - along_residual)[:, None])
        return on_x, on_rebuilt


def reconstruction_features(x: Tensor, rebuilt: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Compare rows with their reconstructions.

    Parameters
    ----------
    x, rebuilt : Tensor, shape (b, n)

    Returns
    -------
    squared_error : Tensor, shape (b,)
        ‖x − x′‖₂², summed over features.
    relative_distance : Tensor, shape (b,)
        ‖x − x′‖₂ / ‖x‖₂.
    cosine_similarity : Tensor, shape (b,)
        x·x′ / (‖x‖₂ ‖x′‖₂), in [−1, 1].
    """
    if torch.compiler.is_compiling():  # the compiler fuses the formulas as they stand
        square = (x - rebuilt).square().sum(1)
        norm, rebuilt_norm = x.norm(dim=1) + EPSILON, rebuilt.norm(dim=1) + EPSILON
        return square, (square + EPSILON**2).sqrt() / norm, (x * rebuilt).sum(1) / (norm * rebuilt_norm)
    result: tuple[Tensor, Tensor, Tensor] = _ReconstructionFeatures.apply(x, rebuilt)  # type: ignore[no-untyped-call]
    return result
