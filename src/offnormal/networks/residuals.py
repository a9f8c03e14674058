"""What residuals usually look like, and which column's replacement would make a row usual again.

Letters: b rows, n features, c columns (groups of features).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from offnormal.batches import Batches
from offnormal.errors import NotSupported

FULL_UP_TO = 1024
"""Features up to which the residuals' full covariance is kept; beyond, their variances."""
QUANTILES = (0.05, 0.5, 0.95)
ROWS_FOR_REASONS = 20_000
"""Training rows whose residuals are looked at; more change the explanation in the third digit."""

Measure = Callable[[Tensor], Tensor]


class ResidualModel(nn.Module):
    """Mean and precision of the training residuals, and usual values of each feature, as buffers; no row is kept.

    Parameters
    ----------
    n_features : int
    """

    mean: Tensor
    precision: Tensor
    levels: Tensor
    share: Tensor

    def __init__(self, n_features: int) -> None:
        super().__init__()
        wide = n_features > FULL_UP_TO
        self.register_buffer("mean", torch.zeros(n_features, dtype=torch.float64))
        self.register_buffer("precision", torch.zeros(n_features, 1 if wide else n_features, dtype=torch.float64))
        self.register_buffer("levels", torch.zeros(len(QUANTILES), n_features))
        # Of features that are 0 or 1 in training, how often they are 1; −1 for all others.
        self.register_buffer("share", torch.zeros(n_features))

    def learn(self, batches: Batches, reconstruct: Callable[[Tensor], Tensor]) -> None:
        """Fit to at most about 20,000 training rows, evenly spaced, and what `reconstruct`, (b, n) -> (b, n), makes."""
        share = ROWS_FOR_REASONS // len(batches) + 1
        sample = []
        for batch in batches:
            places = torch.linspace(0, len(batch.x) - 1, min(share, len(batch.x)), device=batch.x.device)
            sample.append(batch.x[places.long()])
        rows = torch.cat(sample)
        self.fit(rows - reconstruct(rows), rows)

    def fit(self, residuals: Tensor, rows: Tensor) -> None:
        """Take the residuals of training rows, and the rows, both (b, n).

        A thousandth of the mean variance is added to every variance, so that features the network rebuilds
        perfectly do not outweigh all others.
        """
        residuals = residuals.double()
        self.mean.copy_(residuals.mean(0))
        centered = residuals - self.mean
        if self.precision.shape[1] == 1:
            variance = centered.square().mean(0)
            self.precision.copy_((variance + 1e-3 * variance.mean() + 1e-12).reciprocal()[:, None])
        else:
            covariance = centered.T @ centered / len(centered)
            floor = 1e-3 * covariance.diagonal().mean() + 1e-12
            self.precision.copy_(torch.linalg.inv(covariance + floor * torch.eye(len(covariance)).to(covariance)))
        places = [round(q * (len(rows) - 1)) for q in QUANTILES]
        self.levels.copy_(rows.sort(dim=0).values[places])
        is_flag = ((rows == 0) | (rows == 1)).all(0)
        self.share.copy_(torch.where(is_flag, rows.mean(0), -torch.ones_like(rows[0])))

    def _pulled(self, centered: Tensor) -> Tensor:
        precision = self.precision.to(centered.dtype)
        return centered * precision[:, 0] if precision.shape[1] == 1 else centered @ precision

    def deviance(self, residual: Tensor) -> Tensor:
        """Return ½ rᵀ Σ⁻¹ r, r the residual about its training mean: nats of unusualness, float64, shape (b,).

        The product is taken in the residual's own float32: it is where the time of an explanation goes.
        """
        centered = residual - self.mean.to(residual.dtype)
        return 0.5 * (self._pulled(centered) * centered).sum(1).double()

    def best_values(self, x: Tensor, residual: Tensor) -> Tensor:
        """Return, for each feature alone, the value of least deviance for a fixed reconstruction, shape (b, n)."""
        own = self.precision[:, 0] if self.precision.shape[1] == 1 else self.precision.diagonal()
        return (x.double() - self._pulled(residual.double() - self.mean) / own).to(x.dtype)

    def replacements(self, best: Tensor, features: Tensor) -> list[Tensor]:
        """Return candidate values of one column's `features` (f,), each (b, f).

        A number: its best value, and three quantiles of training. One-hot features: each of the three commonest values.
        """
        if len(features) > 1 and bool((self.share[features] >= 0).all()):
            commonest = self.share[features].topk(min(len(QUANTILES), len(features))).indices
            one_hot = nn.functional.one_hot(commonest, len(features)).to(best.dtype)
            return [value.expand(len(best), -1) for value in one_hot]
        usual = [value.expand(len(best), -1) for value in self.levels[:, features]]
        return [best[:, features], *usual]


def replacement_falls(
    x: Tensor, measures: Measure, model: ResidualModel, residual: Tensor, groups: Tensor, n_groups: int
) -> Tensor:
    """Return how far each measure falls when one column alone takes its best replacement.

    Parameters
    ----------
    x : Tensor, shape (b, n)
    measures : callable
        (b, n) -> (b, m): m measures of unusualness in the same unit.
    model : ResidualModel
        Offers the replacements.
    residual : Tensor, shape (b, n)
    groups : Tensor of int64, shape (n,)
        Feature -> column.
    n_groups : int

    Returns
    -------
    Tensor, shape (m, b, n_groups)
        The falls at the replacement whose summed fall is greatest; zero where none lowers the sum.
    """
    before = measures(x)
    best_values = model.best_values(x, residual)
    falls = torch.zeros(before.shape[1], len(x), n_groups, dtype=before.dtype, device=x.device)
    for group in range(n_groups):
        features = (groups == group).nonzero().flatten()
        best = falls[:, :, group]
        for values in model.replacements(best_values, features):
            changed = x.clone()
            changed[:, features] = values.to(x.dtype)
            fall = (before - measures(changed)).T
            best = torch.where(fall.sum(0) > best.sum(0), fall, best)
        falls[:, :, group] = best
    return falls


def falls_of_parts(
    parts: Callable[[Tensor], Mapping[str, Tensor]],
    model: ResidualModel | None,
    x: Tensor,
    rebuilt: Tensor,
    groups: Tensor,
    n_groups: int,
) -> Mapping[str, Tensor]:
    """Return, per column, how far each part of a score falls if that column alone takes its best replacement.

    The replacement is the best of a handful: the value that suits the other residuals best and three quantiles of
    training (categories: the three commonest). The sum of the parts chooses, so that a single one may rise.

    Parameters
    ----------
    parts : callable
        Rows (b, n) -> named parts of their score, each (b,).
    model : ResidualModel or None
        None for a method that was fitted to images.
    x, rebuilt : Tensor, shape (b, n)
    groups, n_groups
        As `ExplainsFeatures.contributions`.

    Raises
    ------
    NotSupported
        For images.
    """
    if model is None:
        raise NotSupported("Reasons by column are for tables; an image has its map of residuals.")

    def measures(rows: Tensor) -> Tensor:
        return torch.stack(list(parts(rows).values()), dim=1)

    falls = replacement_falls(x, measures, model, x - rebuilt, groups, n_groups)
    return dict(zip(parts(x[:1]), falls, strict=True))


class ReconstructionReasons:
    """Reasons for a score that is the error of a reconstruction; a part of a method's module.

    Attributes
    ----------
    residuals : ResidualModel or None
        Of the columns of a table; images have none.
    """

    residuals: ResidualModel | None
    reconstruct: Measure
    score: Measure

    def summarize(self, batches: Batches) -> None:
        """Note what the residuals of a table look like, for reasons; the score needs nothing."""
        if self.residuals is not None:
            self.residuals.learn(batches, self.reconstruct)

    def contributions(self, x: Tensor, groups: Tensor, n_groups: int) -> Mapping[str, Tensor]:
        """Return, per column, how far the score falls if that column alone takes its best replacement.

        A column's own residual is no such measure: one wrong value spoils the reconstruction of the others too.
        """
        return falls_of_parts(
            lambda rows: {"reconstruction": self.score(rows)}, self.residuals, x, self.reconstruct(x), groups, n_groups
        )
