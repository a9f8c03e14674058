"""Three simple views of what is normal, and the unit in which their scores add up.

Every view is learned in closed form from points (b, d) and gives each point a number, greater = less normal, that keeps
growing with distance. All state is in buffers, float64. Letters: b rows, d axes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

SMALLEST_SPREAD = 1e-3
"""Interquartile ranges below it count as one: columns that hardly move keep their unit."""
BIT_OF_A_ROW = 0.1
"""Rows an empty bin counts as."""
ROUNDING = 1e-5
"""Relative difference up to which two scores are one: equal rows are scored to rounding by another machine or block."""


class Marginals(nn.Module):
    """Each axis by itself: −Σ_j log of the height of a histogram, relative to its highest bin, in nats.

    Axes are drawn together first, t = asinh((x − median) / interquartile range), so that a few far rows do not stretch
    the bins. Outside the range of training the surprise of an empty bin holds, and grows with the distance in t.
    Goldstein and Dengel (2012) for histograms as scores.

    Parameters
    ----------
    n_axes : int
    n_bins : int
    """

    center: Tensor
    spread: Tensor
    low: Tensor
    width: Tensor
    surprise: Tensor

    def __init__(self, n_axes: int, n_bins: int = 20) -> None:
        super().__init__()
        for name, shape in {"center": (n_axes,), "spread": (n_axes,), "low": (n_axes,), "width": (n_axes,)}.items():
            self.register_buffer(name, torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("surprise", torch.zeros(n_axes, n_bins + 1, dtype=torch.float64))

    def compress(self, x: Tensor) -> Tensor:
        """Return t (b, d): one over the middle half of the rows, and growing as a logarithm far out."""
        return torch.asinh((x.double() - self.center) / self.spread)

    def learn(self, x: Tensor) -> None:
        """Take training points (b, d)."""
        low, middle, high = torch.quantile(x.double(), torch.tensor([0.25, 0.5, 0.75]).to(x.device).double(), dim=0)
        self.center.copy_(middle)
        self.spread.copy_(torch.where(high - low < SMALLEST_SPREAD, torch.ones_like(low), high - low))
        t = self.compress(x)
        self.low.copy_(t.amin(0))
        n_bins = self.surprise.shape[1] - 1
        # A constant axis has one bin, and everything else is outside it.
        self.width.copy_((t.amax(0) - t.amin(0)).clamp_min(1e-12) / n_bins)
        counts = torch.zeros_like(self.surprise).scatter_add_(1, self._bin(t).T, torch.ones_like(t).T)
        counts[:, -1] = 0  # outside
        self.surprise.copy_(counts.amax(1, keepdim=True).log() - (counts + BIT_OF_A_ROW).log())

    def _bin(self, t: Tensor) -> Tensor:
        n_bins = self.surprise.shape[1] - 1
        place = (t - self.low) / self.width
        inside = (place > -1e-6) & (place < n_bins + 1e-6)
        return torch.where(inside, place.floor().clamp(0, n_bins - 1), torch.full_like(place, n_bins)).long()

    def forward(self, x: Tensor) -> Tensor:
        """Return the summed surprise of each point, shape (b,)."""
        t = self.compress(x)
        n_bins = self.surprise.shape[1] - 1
        beyond = (self.low - t).clamp_min(0) + (t - self.low - n_bins * self.width).clamp_min(0)
        return (self.surprise.gather(1, self._bin(t).T).T + beyond).sum(1)


class TrimmedGaussian(nn.Module):
    """One Gaussian of the rows that fit it best: log of the squared Mahalanobis distance.

    Fitted to all points, then several times anew without the given share of those farthest away (concentration steps:
    Rousseeuw and Van Driessen, Technometrics 1999).

    Parameters
    ----------
    n_axes : int
    share : float
        Left out, in [0, 1).
    rounds : int
    floor : float
        Added to the covariance's diagonal.
    """

    mean: Tensor
    whitening: Tensor

    def __init__(self, n_axes: int, *, share: float, rounds: int, floor: float) -> None:
        super().__init__()
        self.share, self.rounds, self.floor = share, rounds, floor
        self.register_buffer("mean", torch.zeros(n_axes, dtype=torch.float64))
        self.register_buffer("whitening", torch.zeros(n_axes, n_axes, dtype=torch.float64))

    def learn(self, x: Tensor) -> None:
        """Take training points (b, d)."""
        x = x.double()
        kept = x
        for left in range(self.rounds, -1, -1):
            self.mean.copy_(kept.mean(0))
            centered = kept - self.mean
            covariance = centered.T @ centered / len(kept)
            lower = torch.linalg.cholesky(covariance + self.floor * torch.eye(len(covariance)).to(covariance))
            eye = torch.eye(len(lower)).to(lower)
            self.whitening.copy_(torch.linalg.solve_triangular(lower, eye, upper=False).T)
            if left:
                nearest = self(x).argsort(stable=True)
                kept = x[nearest[: max(math.ceil((1 - self.share) * len(x)), 1)]]

    def forward(self, x: Tensor) -> Tensor:
        """Return log ‖L⁻¹ (x − m)‖², shape (b,)."""
        tiny = torch.finfo(torch.float64).tiny
        return ((x.double() - self.mean) @ self.whitening).square().sum(1).clamp_min(tiny).log()


class PrincipalAxes(nn.Module):
    """Points on at most so many principal axes, each of unit variance, and how far they are from these.

    A mixture with full covariances costs the square of the axes, so wide points are made narrower first. Points that
    are narrow enough are only standardized.

    Parameters
    ----------
    n_axes, most : int
    """

    mean: Tensor
    directions: Tensor
    scale: Tensor

    def __init__(self, n_axes: int, most: int) -> None:
        super().__init__()
        self.turned = n_axes > most
        kept = min(n_axes, most)
        self.n_out = kept + int(self.turned)
        self.register_buffer("mean", torch.zeros(n_axes, dtype=torch.float64))
        self.register_buffer("scale", torch.ones(self.n_out, dtype=torch.float64))
        self.register_buffer("own_scale", torch.ones(n_axes, dtype=torch.float64))
        shape = (n_axes, kept) if self.turned else (0, 0)
        self.register_buffer("directions", torch.zeros(shape, dtype=torch.float64))

    def learn(self, x: Tensor) -> None:
        """Take training points (b, d)."""
        x = x.double()
        self.mean.copy_(x.mean(0))
        self.get_buffer("own_scale").copy_(_deviation(x))
        if self.turned:
            centered = (x - self.mean) / self.get_buffer("own_scale")
            _, vectors = torch.linalg.eigh(centered.T @ centered / len(x))
            self.directions.copy_(vectors.flip(1)[:, : self.directions.shape[1]])
            self.scale.fill_(1.0)
            self.scale.copy_(_deviation(self(x)))

    def forward(self, x: Tensor) -> Tensor:
        """Return (b, n_out)."""
        centered = (x.double() - self.mean) / self.get_buffer("own_scale")
        if not self.turned:
            return centered
        on = centered @ self.directions
        off = (centered.square().sum(1) - on.square().sum(1)).clamp_min(0).sqrt()
        return torch.cat([on, off[:, None]], dim=1) / self.scale


def _deviation(x: Tensor) -> Tensor:
    """Return the standard deviation of each axis; one for an axis that does not move."""
    deviation = x.std(0, correction=0)
    return torch.where(deviation > 1e-6, deviation, torch.ones_like(deviation))


class TailSurprise(nn.Module):
    """Turns the scores of a view into nats of surprise: −log of the share of training rows that score as high.

    Surprises of several views add up as in Fisher's combination of p-values. Beyond the highest training score the
    share is unknown; there the surprise goes on with the logarithm of the distance, in units of the upper spread. Where
    many training rows have one score, a row like them has the surprise of them all, whichever way it was rounded.

    Parameters
    ----------
    n_levels : int
        Training scores kept, as evenly spaced order statistics.
    """

    levels: Tensor
    spread: Tensor

    def __init__(self, n_levels: int = 1_000) -> None:
        super().__init__()
        self.register_buffer("levels", torch.zeros(n_levels, dtype=torch.float64))
        self.register_buffer("spread", torch.ones((), dtype=torch.float64))
        self.register_buffer("rows", torch.ones((), dtype=torch.float64))

    def learn(self, scores: Tensor) -> None:
        """Take the scores of training rows (b,)."""
        ordered = scores.double().sort().values
        places = torch.linspace(0, len(ordered) - 1, len(self.levels), dtype=torch.float64, device=ordered.device)
        below = places.floor().long()
        above = (below + 1).clamp_max(len(ordered) - 1)
        self.levels.copy_(torch.lerp(ordered[below], ordered[above], places - below))
        spread = self.levels[-1] - self.levels[len(self.levels) // 2]
        self.spread.copy_(spread if float(spread) > 0 else torch.ones_like(spread))
        self.get_buffer("rows").fill_(float(len(ordered)))

    def forward(self, scores: Tensor) -> Tensor:
        """Return the surprise of each score, at least 0, shape (b,)."""
        m, rows = len(self.levels), self.get_buffer("rows")
        reached = scores - ROUNDING * (1 + scores.abs())
        right = torch.searchsorted(self.levels, reached.contiguous()).clamp(1, m - 1)
        low, high = self.levels[right - 1], self.levels[right]
        within = ((reached - low) / (high - low).clamp_min(torch.finfo(torch.float64).tiny)).clamp(0, 1)
        share_below = (right - 1 + within) / (m - 1)
        surprise = -torch.log1p(-share_below * rows / (rows + 1))
        return surprise + torch.log1p((scores - self.levels[-1]).clamp_min(0) / self.spread)
