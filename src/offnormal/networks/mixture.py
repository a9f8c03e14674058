"""Gaussian mixtures for networks: moments, energy through Cholesky factors, and their gradient in closed form.

Everything here is float64: mixtures in a learned space are thin in some direction sooner or later.
Letters: b rows, d axes of the space, k components.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from offnormal.errors import DataError

FLOOR = 1e-6
"""Added to each covariance's diagonal; raised tenfold up to 1e-2 where a Cholesky factor does not exist."""
TINY = 1e-12
"""Added to a component's total weight, so that an empty component has moments."""


class Mixture(NamedTuple):
    """Weights (k,), means (k, d) and covariances with the floor added (k, d, d)."""

    weight: Tensor
    mean: Tensor
    covariance: Tensor


class Moments:
    """Responsibility-weighted moments over any number of batches, in one pass.

    Sums are taken about a fixed center (the first batch's mean), which keeps Σγzzᵀ − μμᵀ from cancelling.
    """

    def __init__(self) -> None:
        self._center: Tensor | None = None

    def add(self, z: Tensor, gamma: Tensor) -> None:
        """Take a batch: `z` (b, d) and responsibilities `gamma` (b, k)."""
        z, gamma = z.double(), gamma.double()
        if self._center is None:
            self._center = z.mean(0)
            k, d = gamma.shape[1], z.shape[1]
            self._rows = 0
            self._zeroth = z.new_zeros(k)
            self._first = z.new_zeros(k, d)
            self._second = z.new_zeros(k, d * d)
        z = z - self._center
        self._rows += len(z)
        self._zeroth += gamma.sum(0)
        self._first += gamma.T @ z
        self._second += gamma.T @ (z[:, :, None] * z[:, None, :]).flatten(1)

    def mixture(self, floor: float = FLOOR) -> Mixture:
        """Return the mixture of all rows taken so far."""
        if self._center is None:
            raise DataError("A mixture needs at least one row.")
        k, d = self._first.shape
        total = self._zeroth + TINY
        mean = self._first / total[:, None]
        covariance = self._second.view(k, d, d) / total[:, None, None] - mean[:, :, None] * mean[:, None, :]
        eye = torch.eye(d, dtype=mean.dtype, device=mean.device)
        return Mixture(self._zeroth / self._rows, mean + self._center, covariance + floor * eye)


def factor(covariance: Tensor) -> Tensor:
    """Return the lower Cholesky factors of `covariance` (k, d, d), raising the floor where needed.

    Raises
    ------
    DataError
        If no factor exists even with 1e-2 on the diagonal (the values are not finite, or absurdly scaled).
    """
    eye = torch.eye(covariance.shape[-1], dtype=covariance.dtype, device=covariance.device)
    lower: Tensor
    raised = 0.0
    while True:
        lower, failed = torch.linalg.cholesky_ex(covariance + raised * eye if raised else covariance)
        if not bool(failed.any()):
            return lower
        raised = max(10 * FLOOR, 10 * raised)
        if raised > 1.1e-2:
            raise DataError(
                "The mixture's covariance is not positive definite even with 0.01 added to its diagonal. "
                "Check the columns for extreme values, use a larger batch_size, or a smaller latent_dim."
            )


class Whitening(NamedTuple):
    """A mixture made ready for scoring: one matrix product gives all distances.

    Attributes
    ----------
    matrix : Tensor, shape (d, k * d)
        The transposed inverse Cholesky factors, side by side.
    shift : Tensor, shape (k * d,)
        The means, whitened.
    constant : Tensor, shape (k,)
        log φ_k − ½ (d log 2π + log |Σ_k|).
    """

    matrix: Tensor
    shift: Tensor
    constant: Tensor


def whiten(mixture: Mixture) -> Whitening:
    """Prepare a mixture for `energy`."""
    k, d = mixture.mean.shape
    lower = factor(mixture.covariance)
    eye = torch.eye(d, dtype=lower.dtype, device=lower.device).expand(k, d, d)
    inverse = torch.linalg.solve_triangular(lower, eye, upper=False)
    matrix = inverse.permute(2, 0, 1).reshape(d, k * d)
    shift = torch.einsum("kij,kj->ki", inverse, mixture.mean).flatten()
    half_log_det = lower.diagonal(dim1=1, dim2=2).log().sum(1)
    return Whitening(matrix, shift, mixture.weight.log() - 0.5 * d * math.log(2 * math.pi) - half_log_det)


def energy(z: Tensor, whitening: Whitening) -> Tensor:
    """Return −log Σ_k φ_k N(z; μ_k, Σ_k) for each row of `z` (b, d), float64, shape (b,)."""
    k = whitening.constant.shape[0]
    whitened = (z.double() @ whitening.matrix - whitening.shift).square()
    distance = whitened.view(len(z), k, -1).sum(2)
    return -torch.logsumexp(whitening.constant - 0.5 * distance, dim=1)


class _BatchEnergy(torch.autograd.Function):
    """Energy of each row under the mixture of its own batch, with the gradient written out in matrix products.

    With a_ik = log φ_k − ½ (q_ik + d log 2π + log|Σ_k|), q_ik = (z_i−μ_k)ᵀ Σ_k⁻¹ (z_i−μ_k) and w = softmax_k(a), an
    upstream gradient g_i on E_i gives G_ik = g_i w_ik = −∂L/∂a_ik, and from there, through φ, μ and Σ as functions of
    z and γ, m_k = ∂L/∂μ_k = −Σ_i G_ik Σ_k⁻¹ (z_i−μ_k) and
    B_k = ∂L/∂Σ_k = ½ Σ_i G_ik (Σ_k⁻¹ − Σ_k⁻¹ (z_i−μ_k)(z_i−μ_k)ᵀ Σ_k⁻¹) − p diag(Σ_jj⁻²),
    where p is the upstream gradient on the penalty Σ_k Σ_j 1/Σ_k,jj. Rows are centered first: energies do not see a
    shift. Rows stand in columns throughout, so that every elementwise operation runs along them: with three or four
    numbers to a row, the other way around took twice as long.
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor, gamma: Tensor, floor: float) -> tuple[Tensor, Tensor]:
        b, d = z.shape
        k = gamma.shape[1]
        z, gamma = (z - z.mean(0)).T.contiguous(), gamma.T.contiguous()  # (d, b), (k, b)
        squares = (z[:, None, :] * z[None, :, :]).view(d * d, b)
        zeroth = gamma.sum(1)
        total = (zeroth + TINY)[:, None]
        mean = (gamma @ z.T) / total
        spread = (gamma @ squares.T / total).view(k, d, d) - mean[:, :, None] * mean[:, None, :]
        covariance = spread + floor * torch.eye(d, dtype=z.dtype, device=z.device)
        whitening = whiten(Mixture(zeroth / b, mean, covariance))
        whitened = torch.addmm(whitening.shift[:, None], whitening.matrix.T, z, beta=-1)  # (k·d, b): L⁻¹ (z − μ)
        joint = whitening.constant[:, None] - 0.5 * whitened.square().view(k, d, b).sum(1)
        energies = -torch.logsumexp(joint, dim=0)
        precision_of_axis = covariance.diagonal(dim1=1, dim2=2).reciprocal()
        ctx.save_for_backward(
            z, squares, gamma, total, mean, spread, whitening.matrix, whitened, joint, energies, precision_of_axis
        )
        return energies, precision_of_axis.sum()

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, Tensor, None]:
        on_energy, on_penalty = upstream
        z, squares, gamma, total, mean, spread, matrix, whitened, joint, energies, precision_of_axis = ctx.saved_tensors
        d, b = z.shape
        k = len(gamma)
        share = (joint + energies).exp_() * on_energy  # G (k, b)
        mass = share.sum(1)
        whitened = whitened.view(k, d, b)
        shared = whitened * share[:, None, :]
        inverse = matrix.view(d, k, d).permute(1, 2, 0)  # L⁻¹ (k, d, d)
        on_mean = -torch.bmm(shared.sum(2).view(k, 1, d), inverse).squeeze(1)  # m (k, d)
        inner = torch.bmm(shared, whitened.mT)
        eye = torch.eye(d, dtype=z.dtype, device=z.device)
        on_covariance = 0.5 * inverse.mT @ (mass[:, None, None] * eye - inner) @ inverse
        on_covariance = on_covariance - torch.diag_embed(on_penalty * precision_of_axis.square())  # B (k, d, d)
        part = gamma / total
        bent_mean = (on_covariance @ mean[:, :, None]).squeeze(2)  # B μ
        slope = on_mean - 2 * bent_mean
        on_z = torch.addmm(matrix @ shared.view(k * d, b), slope.T, part)
        weighted = (part[:, None, :] * z[None, :, :]).view(k * d, b)
        on_z = on_z.addmm_(on_covariance.permute(2, 0, 1).reshape(d, k * d), weighted, alpha=2)
        # m·(z−μ) + (z−μ)ᵀ B (z−μ) − tr(B Σ) − Σ_i G_ik, opened into powers of z.
        constant = (bent_mean * mean).sum(1) - (on_mean * mean).sum(1) - (on_covariance * spread).sum((1, 2)) - mass
        on_gamma = (on_covariance.view(k, d * d) @ squares).addmm_(slope, z) + constant[:, None]
        return on_z.T, (on_gamma / total).T, None


@torch.compiler.disable  # type: ignore[untyped-decorator]  # a data-dependent floor breaks the graph: break it cleanly
def batch_energy(z: Tensor, gamma: Tensor, floor: float = FLOOR) -> tuple[Tensor, Tensor]:
    """Return each row's energy under the mixture of its own batch, and the penalty Σ_k Σ_j 1/Σ_k,jj.

    Both are differentiable in `z` and `gamma`, through φ, μ and Σ.

    Parameters
    ----------
    z : Tensor, shape (b, d)
    gamma : Tensor, shape (b, k)
        Responsibilities; rows sum to one.
    floor : float
        Added to the covariances' diagonals.

    Returns
    -------
    energy : Tensor, float64, shape (b,)
    penalty : Tensor, float64, scalar
    """
    result: tuple[Tensor, Tensor] = _BatchEnergy.apply(z.double(), gamma.double(), floor)  # type: ignore[no-untyped-call]
    return result
