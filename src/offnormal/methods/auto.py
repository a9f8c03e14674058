"""Five views of what is normal, added up: the default of `offnormal fit`.

No paper: a method of this library, chosen by evidence (docs/findings.md). It answers three questions that DAGMM leaves
open. A better reduction: denoising autoencoders with a code as wide as the table allows (Vincent et al., JMLR 2010),
and the whole residual instead of its two norms. A better mixture: a generous covariance floor, fitted by expectation
maximization to all rows at once. A larger gap between normal and abnormal: views that fail on different tables are
added up in one unit, the surprise −log of the share of training rows that score as high (Fisher's combination of
p-values).

- `marginal`: each column by itself, as a histogram. It counts three times: anomalies among the training rows, which a
  mixture takes for a cluster of their own, are still rare values.
- `joint`: a mixture on the columns.
- `compressed`: the same on asinh of the columns, which draws long tails together.
- `learned`: the same on code and residual of each of two denoising autoencoders.
- `robust`: one Gaussian on code and residual without the rows that fit it worst.

Letters: b rows, n features, d axes of a view, k mixture components.

Differences from the paper: there is none to differ from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from offnormal.batches import Batch, Batches
from offnormal.detector import TrainedDetector
from offnormal.errors import InvalidParameter, UnknownName
from offnormal.method import Method, Phase, Update, falling
from offnormal.networks.clustering import expectation_maximization
from offnormal.networks.mixture import Mixture, Whitening, energy, whiten
from offnormal.networks.mlp import mlp
from offnormal.networks.residuals import ResidualModel, replacement_falls
from offnormal.networks.views import Marginals, PrincipalAxes, TailSurprise, TrimmedGaussian
from offnormal.parameters import param

HIDDEN = (128, 64)
LARGEST_CODE = 32
NOISE = (1.0, 0.3)
"""Standard deviation of each network's noise, in units of the scaled columns: coarse structure, and fine."""
COMPONENTS = 8
FLOOR = 0.1
"""On the covariances of standardized axes: a component is never thinner than about a third of a deviation."""
ITERATIONS = 25
TRIMMED = 0.3
ROUNDS = 3
ROBUST_FLOOR = 1e-2
MOST_AXES = 48
MOST_ROWS = 10_000
"""Training rows to which the views are fitted and by which surprises are measured."""
WEIGHTS = {"marginal": 3.0, "joint": 1.0, "compressed": 1.0, "learned": 1.0, "robust": 1.0}
"""Chosen once, with their labels, for thirteen public tables together, clean and contaminated (docs/findings.md)."""


class Denoiser(nn.Module):
    """An autoencoder that rebuilds clean rows from noisy ones; (b, n) -> its code and residual, (b, code + n)."""

    def __init__(self, n_features: int, noise: float) -> None:
        super().__init__()
        code = min(n_features, LARGEST_CODE)
        self.encoder = mlp((n_features, *HIDDEN, code), activation=nn.ReLU)
        self.decoder = mlp((code, *reversed(HIDDEN), n_features), activation=nn.ReLU)
        self.noise, self.n_out = noise, code + n_features

    def loss(self, x: Tensor) -> Tensor:
        """Return the squared error of the rebuilt clean row, summed over features, mean over rows."""
        seen = x + self.noise * torch.randn_like(x)
        error: Tensor = (self.decoder(self.encoder(seen)) - x).square().sum(1).mean()
        return error

    def rebuild(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return code and rebuilt rows."""
        code: Tensor = self.encoder(x)
        return code, self.decoder(code)

    def forward(self, x: Tensor) -> Tensor:
        """Return code and residual side by side."""
        code, rebuilt = self.rebuild(x)
        return torch.cat([code, x - rebuilt], dim=1)


class RichMixture(nn.Module):
    """A Gaussian mixture of many components under a floor, on standardized axes (b, d) -> −log density (b,)."""

    def __init__(self, n_axes: int) -> None:
        super().__init__()
        self.axes = PrincipalAxes(n_axes, MOST_AXES)
        d, k = self.axes.n_out, COMPONENTS
        for name, shape in {"matrix": (d, k * d), "shift": (k * d,), "constant": (k,)}.items():
            self.register_buffer(name, torch.zeros(shape, dtype=torch.float64))

    def learn(self, points: Tensor, seed: int) -> None:
        """Take training points; fewer components where there are few of them, the missing ones weigh nothing."""
        self.axes.learn(points)
        z = self.axes(points).cpu()
        k, d = min(COMPONENTS, max(len(z) // 4, 1)), z.shape[1]
        fitted = expectation_maximization(z, k, restarts=1, seed=seed, floor=FLOOR, iterations=ITERATIONS)
        absent = COMPONENTS - k
        eye = torch.eye(d, dtype=torch.float64)
        mixture = Mixture(
            torch.cat([fitted.weight, torch.zeros(absent, dtype=torch.float64)]),
            torch.cat([fitted.mean, torch.zeros(absent, d, dtype=torch.float64)]),
            torch.cat([fitted.covariance, eye.expand(absent, d, d)]),
        )
        for name, value in whiten(mixture)._asdict().items():
            self.get_buffer(name).copy_(value)

    def forward(self, points: Tensor) -> Tensor:
        """Return −log of the density."""
        return energy(self.axes(points), Whitening(*(self.get_buffer(name) for name in Whitening._fields)))


class AutoNetwork(Method):
    """Denoisers and views as one module.

    Parameters
    ----------
    n_features : int
    views : sequence of str
        Keys of `WEIGHTS`.
    learning_rate : float
    epochs : int
    """

    exportable = True
    may_be_minus_infinity = frozenset(
        {"joint.constant", "compressed.constant", *(f"learned.{i}.constant" for i in range(len(NOISE)))}
    )

    def __init__(self, n_features: int, views: Sequence[str], *, learning_rate: float, epochs: int) -> None:
        super().__init__()
        self.names = tuple(name for name in WEIGHTS if name in views)
        self.learning_rate, self.epochs = learning_rate, epochs
        self.denoisers = nn.ModuleList(Denoiser(n_features, noise) for noise in NOISE)
        width = min(n_features, LARGEST_CODE) + n_features
        self.marginal = Marginals(n_features)
        self.joint = RichMixture(n_features)
        self.compressed = RichMixture(n_features)
        self.learned = nn.ModuleList(RichMixture(width) for _ in NOISE)
        self.robust_axes = PrincipalAxes(width, MOST_AXES)
        self.robust = TrimmedGaussian(self.robust_axes.n_out, share=TRIMMED, rounds=ROUNDS, floor=ROBUST_FLOOR)
        self.surprise = nn.ModuleDict({name: TailSurprise() for name in self.names})
        self.residuals = ResidualModel(n_features)

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return one term per denoiser; no parameter is shared, so one step trains each by itself."""
        return {f"denoising_{i + 1}": net.loss(batch.x) for i, net in enumerate(self._denoisers())}

    def _denoisers(self) -> list[Denoiser]:
        return [net for net in self.denoisers if isinstance(net, Denoiser)]

    def phases(self) -> Sequence[Phase]:
        """One phase; the step falls to zero along a cosine. None where no view needs the networks."""
        if not {"learned", "robust"} & set(self.names):
            return ()
        adam = partial(torch.optim.Adam, lr=self.learning_rate, fused=True)
        params = tuple(self.denoisers.parameters())
        return (
            Phase(
                "denoising",
                (Update("denoising", self.losses, params, adam, scheduler=falling(self.epochs)),),
                self.epochs,
            ),
        )

    # --- after training -------------------------------------------------------------------------------------------

    def summarize(self, batches: Batches) -> None:
        """Fit the views to the training rows, and measure how surprising these are to them."""
        x = batches.rows
        if len(x) > MOST_ROWS:
            x = x[torch.randperm(len(x))[:MOST_ROWS].to(x.device)]
        self.residuals.learn(batches, self.reconstruct)
        self.marginal.learn(x)
        points = [net(x).double() for net in self._denoisers()]
        mixtures = {"joint": [(self.joint, x.double())], "compressed": [(self.compressed, self.marginal.compress(x))]}
        mixtures["learned"] = list(zip(self._learned(), points, strict=True))
        for mixture, own in (pair for name in mixtures if name in self.names for pair in mixtures[name]):
            mixture.learn(own, seed=int(torch.randint(2**31 - 1, ())))
        if "robust" in self.names:
            self.robust_axes.learn(points[0])
            self.robust.learn(self.robust_axes(points[0]))
        for name, scores in self._scores(x).items():
            self._surprise(name).learn(scores)

    def _learned(self) -> list[RichMixture]:
        return [mixture for mixture in self.learned if isinstance(mixture, RichMixture)]

    def _surprise(self, name: str) -> TailSurprise:
        unit = self.surprise[name]
        if not isinstance(unit, TailSurprise):
            raise TypeError(name)
        return unit

    def _scores(self, x: Tensor) -> dict[str, Tensor]:
        """Return the score of each view in its own unit."""
        views: dict[str, Callable[[], Tensor]] = {
            "marginal": lambda: self.marginal(x),
            "joint": lambda: self.joint(x),
            "compressed": lambda: self.compressed(self.marginal.compress(x)),
            "learned": lambda: torch.stack([m(p) for m, p in zip(self._learned(), points, strict=True)]).mean(0),
            "robust": lambda: self.robust(self.robust_axes(points[0])),
        }
        points = [net(x) for net in self._denoisers()] if {"learned", "robust"} & set(self.names) else []
        return {name: views[name]() for name in self.names}

    def reconstruct(self, x: Tensor) -> Tensor:
        """Return the mean of the denoisers' rebuilt rows, shape (b, n)."""
        return torch.stack([net.rebuild(x)[1] for net in self._denoisers()]).mean(0)

    def encode(self, x: Tensor) -> Tensor:
        """Return the weighted surprise of each view in nats, shape (b, number of views)."""
        parts = [WEIGHTS[name] * self._surprise(name)(scores) for name, scores in self._scores(x).items()]
        return torch.stack(parts, dim=1)

    def code_names(self) -> tuple[str, ...]:
        """Name the views."""
        return self.names

    def score(self, x: Tensor) -> Tensor:
        """Return the summed surprise in nats, at least 0, float64, shape (b,)."""
        return self.encode(x).sum(1)

    def contributions(self, x: Tensor, groups: Tensor, n_groups: int) -> Mapping[str, Tensor]:
        """Return, per column, how many nats fall if that column alone took its best replacement.

        One part per view: their sum is the fall of the score.
        """
        falls = replacement_falls(x, self.encode, self.residuals, x - self.reconstruct(x), groups, n_groups)
        return dict(zip(self.code_names(), falls, strict=True))


@dataclass(kw_only=True, eq=False, repr=False)
class AutoDetector(TrainedDetector):
    """Five views of what is normal, added up: marginal, joint, compressed, learned, robust; nothing to choose.

    The score is a surprise in nats, at least 0; greater = more anomalous. Each of the five views adds −log of the share
    of training rows that look as odd to it (the marginal one three times that).
    """

    key: ClassVar[str] = "auto"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    views: tuple[str, ...] = param(
        tuple(WEIGHTS), "Views that take part: marginal, joint, compressed, learned, robust.", kind="strs",
        source="all: a compromise between clean and contaminated rows over thirteen public tables",
    )  # fmt: skip
    early_stopping: bool = param(
        False, "Watch a tenth of the rows (from 200 on) and keep the best weights.",
        source="the noise keeps the networks from learning rows by heart",
    )  # fmt: skip

    def _chosen(self) -> tuple[str, ...]:
        for name in self.views:
            if name not in WEIGHTS:
                raise UnknownName.among("view", name, WEIGHTS)
        if not self.views:
            raise InvalidParameter(f"AutoDetector: views must name at least one of {', '.join(WEIGHTS)}.")
        return self.views

    def build(self, shape: tuple[int, ...]) -> Method:
        """Return the module for rows of `shape` (n,)."""
        return AutoNetwork(shape[0], self._chosen(), learning_rate=self.learning_rate, epochs=self.planned_epochs_)
