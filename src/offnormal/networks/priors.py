"""Distributions of codes: those imposed on them, and those fitted to them.

Letters: b rows, d code, k components, e edges of a histogram.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

PRIORS = ("gaussian", "mixture", "uniform")

COMPONENT_DEVIATION = 1 / 3
"""Standard deviation of a component of the mixture; the nearest centers are 2 apart, six of these."""
CUBE_SIDE = math.sqrt(12)
"""Side of the uniform prior's cube: each axis has variance 1."""
CUBE_EDGE = 0.1
"""Beyond the cube −log p rises as that of a Gaussian of this standard deviation."""

SHAPES = (0.3, 10.0)
"""Range of the shape of a generalized Gaussian: beyond 10 it is a box to the eye, below 0.3 a spike."""
LEAST_SCALE = 1e-3
"""Least scale of a generalized Gaussian: a code that never varies has none of its own."""
FITTING_ROWS = 20_000
"""Codes from which the generalized Gaussians are fitted; more change the shape in the third digit."""
_ROUNDS, _NARROWINGS = 6, 40
_GREATEST_LOG = 500.0  # e^500 is far beyond any row and far within float64


class Prior(nn.Module, ABC):
    """A distribution of codes to draw from and to hold codes against."""

    @abstractmethod
    def draw(self, like: Tensor) -> Tensor:
        """Return codes in the number, type and place of `like`, (b, d), from the global generator."""

    @abstractmethod
    def misfit(self, z: Tensor) -> Tensor:
        """Return −log p(z), (b, d) -> (b,), float64, finite, greater the farther from the mass."""


class GaussianPrior(Prior):
    """N(0, I)."""

    def draw(self, like: Tensor) -> Tensor:
        """Return standard normal codes, (b, d)."""
        return torch.randn_like(like)

    def misfit(self, z: Tensor) -> Tensor:
        """Return ½‖z‖² + ½ d log 2π, shape (b,)."""
        return 0.5 * (z.double().square() + math.log(2 * math.pi)).sum(1)


class MixturePrior(Prior):
    """Equal Gaussians around `component_centers`.

    Parameters
    ----------
    code_dim : int
    n_components : int
    """

    centers: Tensor

    def __init__(self, code_dim: int, n_components: int) -> None:
        super().__init__()
        self.register_buffer("centers", torch.tensor(component_centers(n_components, code_dim)))

    def draw(self, like: Tensor) -> Tensor:
        """Return codes around centers drawn at random, (b, d)."""
        which = torch.randint(len(self.centers), like.shape[:1], device=like.device)
        return self.centers[which].to(like.dtype) + COMPONENT_DEVIATION * torch.randn_like(like)

    def misfit(self, z: Tensor) -> Tensor:
        """Return −log mean_k N(z; c_k, σ² I), shape (b,)."""
        squares = (z.double()[:, None] - self.centers.double()).square().sum(2) / COMPONENT_DEVIATION**2  # (b, k)
        constant = math.log(len(self.centers)) + z.shape[1] * math.log(COMPONENT_DEVIATION * math.sqrt(2 * math.pi))
        return constant - (-0.5 * squares).logsumexp(1)


class UniformPrior(Prior):
    """Uniform on the cube of variance 1 per axis, [−√3, √3]ᵈ."""

    def draw(self, like: Tensor) -> Tensor:
        """Return codes uniform in the cube, (b, d)."""
        return CUBE_SIDE * (torch.rand_like(like) - 0.5)

    def misfit(self, z: Tensor) -> Tensor:
        """Return d log(2√3), and beyond the cube ½ (distance to it / `CUBE_EDGE`)² more, shape (b,)."""
        beyond = (z.double().abs() - CUBE_SIDE / 2).clamp(min=0)
        return z.shape[1] * math.log(CUBE_SIDE) + 0.5 * (beyond / CUBE_EDGE).square().sum(1)


def make_prior(name: str, code_dim: int, n_components: int) -> Prior:
    """Return the prior of this name, one of `PRIORS`; `n_components` is the mixture's."""
    if name == "mixture":
        return MixturePrior(code_dim, n_components)
    return GaussianPrior() if name == "gaussian" else UniformPrior()


def component_centers(n_components: int, code_dim: int) -> list[list[float]]:
    """Return centers around 0, the nearest 2 apart: (k, d).

    The corners of a regular simplex where the code has room for one (k ≤ d + 1); otherwise evenly on a circle in the
    first two axes, or on the line if the code has one axis.
    """
    k = n_components
    if k <= code_dim + 1:  # the columns of the Helmert matrix, √2 apart, times √2
        corners = [[_helmert(axis, corner) * math.sqrt(2) for axis in range(1, k)] for corner in range(k)]
    elif code_dim == 1:
        corners = [[2.0 * corner - (k - 1)] for corner in range(k)]
    else:
        radius, turn = 1 / math.sin(math.pi / k), 2 * math.pi / k
        corners = [[radius * math.cos(turn * i), radius * math.sin(turn * i)] for i in range(k)]
    return [[*corner, *[0.0] * (code_dim - len(corner))] for corner in corners]


def _helmert(axis: int, corner: int) -> float:
    if corner > axis:
        return 0.0
    return (1.0 if corner < axis else -axis) / math.sqrt(axis * (axis + 1))


class GeneralizedGaussian(nn.Module):
    """p(z) = Π_j β_j / (2 α_j Γ(1/β_j)) exp(−(|z_j − μ_j| / α_j)^β_j), fitted by maximum likelihood.

    β = 2 is the Gaussian, 1 the Laplace distribution, ∞ the uniform one.

    Parameters
    ----------
    code_dim : int

    Attributes
    ----------
    location, scale, shape : Tensor of float64, shape (d,)
        μ, α, β; β within `SHAPES`.
    """

    location: Tensor
    scale: Tensor
    shape: Tensor

    def __init__(self, code_dim: int) -> None:
        super().__init__()
        self.register_buffer("location", torch.zeros(code_dim, dtype=torch.float64))
        self.register_buffer("scale", torch.full((code_dim,), math.sqrt(2), dtype=torch.float64))
        self.register_buffer("shape", torch.full((code_dim,), 2.0, dtype=torch.float64))

    def fit(self, z: Tensor) -> None:
        """Fit to codes (b, d), at most about 20,000 of them evenly spaced.

        At the best scale the mean of −log p is log 2α Γ(1 + 1/β) + 1/β with αᵝ = β mean|z − μ|ᵝ. Location and shape
        take turns, each narrowed down between its bounds.
        """
        z = z[:: len(z) // FITTING_ROWS + 1].double()
        low, high = z.quantile(0.05, dim=0), z.quantile(0.95, dim=0)
        location, log_shape = z.median(0).values, torch.full_like(low, math.log(2))
        log_shapes = [torch.full_like(low, math.log(end)) for end in SHAPES]
        for _ in range(_ROUNDS):
            log_shape = _narrowed(lambda b, at=location: _mean_misfit(z, at, b.exp()), *log_shapes)  # type: ignore[misc]
            location = _narrowed(lambda m, b=log_shape: _mean_misfit(z, m, b.exp()), low, high)  # type: ignore[misc]
        shape = log_shape.exp()
        self.location.copy_(location)
        self.shape.copy_(shape)
        self.scale.copy_(_best_scale(z, location, shape))

    def misfit(self, z: Tensor) -> Tensor:
        """Return −log p(z), (b, d) -> (b,), float64, finite."""
        constant = (2 * self.scale).log() + (1 + 1 / self.shape).lgamma()
        units = (z.double() - self.location).abs() / self.scale
        # The logarithm of the exponent is held below 500 (never reached by a row within 1e20 of the others).
        powers = (self.shape * units.clamp(min=1e-300).log()).clamp(max=_GREATEST_LOG).exp()
        return (constant + powers).sum(1)


def _best_scale(z: Tensor, location: Tensor, shape: Tensor) -> Tensor:
    deviation = (z - location).abs()
    greatest = deviation.amax(0).clamp(min=LEAST_SCALE)
    powers = (deviation / greatest).pow(shape).mean(0)  # in units of the greatest: no overflow
    return (greatest * (shape * powers).pow(1 / shape)).clamp(min=LEAST_SCALE)


def _mean_misfit(z: Tensor, location: Tensor, shape: Tensor) -> Tensor:
    """Return the mean of −log p per axis at the best scale, less constants, shape (d,)."""
    return _best_scale(z, location, shape).log() + (1 + 1 / shape).lgamma() + 1 / shape


def _narrowed(function: Callable[[Tensor], Tensor], low: Tensor, high: Tensor) -> Tensor:
    """Return where a function with one valley per axis is least, by golden sections between the bounds."""
    golden = (math.sqrt(5) - 1) / 2
    left, right = high - golden * (high - low), low + golden * (high - low)
    at_left, at_right = function(left), function(right)
    for _ in range(_NARROWINGS):
        falls = at_left < at_right  # the valley is not right of `right`
        high, low = torch.where(falls, right, high), torch.where(falls, low, left)
        kept, at_kept = torch.where(falls, left, right), torch.where(falls, at_left, at_right)
        fresh = torch.where(falls, high - golden * (high - low), low + golden * (high - low))
        at_fresh = function(fresh)
        left, right = torch.where(falls, fresh, kept), torch.where(falls, kept, fresh)
        at_left, at_right = torch.where(falls, at_fresh, at_kept), torch.where(falls, at_kept, at_fresh)
    return (low + high) / 2


class RadialDensity(nn.Module):
    """Density of vectors in a space of N dimensions, the same in every direction, by the distances seen.

    p(w) = Γ(N/2) / (2 π^{N/2} r^{N−1}) · h(r), r = ‖w‖, h the density of the distances: a histogram between the least
    and the greatest seen, every bin with half a count more than it has; below, h falls as r^{N−1}, so that p is flat;
    above, h falls exponentially from the height of the last bin, at the rate of the farthest tenth of the distances.

    Parameters
    ----------
    dimension : float
        N > 0; need not be whole.
    n_bins : int
    """

    edges: Tensor
    log_heights: Tensor
    log_mass: Tensor
    rate: Tensor

    def __init__(self, dimension: float, n_bins: int) -> None:
        super().__init__()
        self.dimension = dimension
        self.register_buffer("edges", torch.linspace(1, 2, n_bins + 1, dtype=torch.float64))
        self.register_buffer("log_heights", torch.zeros(n_bins, dtype=torch.float64))
        self.register_buffer("log_mass", torch.zeros((), dtype=torch.float64))
        self.register_buffer("rate", torch.ones((), dtype=torch.float64))

    def fit(self, distances: Tensor) -> None:
        """Take the distances of training rows, (b,), not negative."""
        distances = distances.double().clamp(min=1e-12)
        distances = distances.clamp(min=1e-3 * float(distances.median()))  # a perfect row must not stretch the bins
        low, n_bins = distances.min(), len(self.log_heights)
        high = torch.maximum(distances.max(), low * (1 + 1e-6))
        self.edges.copy_(low + (high - low) * torch.linspace(0, 1, n_bins + 1).to(low))
        places = ((distances - low) / (high - low) * n_bins).long().clamp(max=n_bins - 1)
        counts = torch.bincount(places, minlength=n_bins) + 0.5
        heights = counts / counts.sum() * n_bins / (high - low)
        far = distances.quantile(0.9)
        beyond = distances[distances > far] - far
        excess = beyond.mean() if len(beyond) else high - low
        self.rate.copy_(1 / torch.maximum(excess, 1e-3 * high))
        self.log_heights.copy_(heights.log())
        mass = 1 + heights[0] * low / self.dimension + heights[-1] / self.rate
        self.log_mass.copy_(mass.log())

    def misfit(self, distances: Tensor) -> Tensor:
        """Return −log p(w) of vectors this long, (b,) -> (b,), float64, finite."""
        r, n = distances.double(), self.dimension
        held = r.minimum(self.edges[-1]).maximum(self.edges[0])
        places = (torch.searchsorted(self.edges, held, right=True) - 1).clamp(0, len(self.log_heights) - 1)
        log_density = self.log_heights[places] - self.rate * (r - self.edges[-1]).clamp(min=0) - self.log_mass
        log_surface = math.log(2) + n / 2 * math.log(math.pi) - math.lgamma(n / 2)  # of the sphere of radius 1
        return log_surface + (n - 1) * r.maximum(self.edges[0]).log() - log_density
