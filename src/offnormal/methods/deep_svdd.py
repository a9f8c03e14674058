"""Deep support vector data description.

Ruff, Vandermeulen, Görnitz, Deecke, Siddiqui, Binder, Müller, Kloft: Deep One-Class Classification. ICML 2018. "The
authors' code" is the repository Deep-SVDD-PyTorch, and for tables Deep-SAD-PyTorch, of the same first author.

A network φ maps the rows into a small ball about a center c that is fixed before training. The score is the squared
distance to c.

Letters: b rows, n features, d axes of the code φ(x), c center, R radius, ν share of rows outside.

If φ could become constant, it would map every row to c at no cost, and all scores would be alike ("collapse"). Hence
three conditions: no bias terms, no bounded activation (a saturated unit is a bias), and c away from 0 (zero weights
give 0). c is never learned. A column that is constant after scaling is a bias too; see `DeepSVDDNetwork.summarize`.

Differences from the paper
--------------------------
1. Fully connected, for tables; the paper's networks are convolutional. No batch normalization (the authors' networks
   have it, without learned shift): it would tie a row's training to its batch.
2. Coordinates of c nearer to 0 than 0.1 move to ±0.1, as in the authors' code. Exact zeros stay 0 there; here +0.1.
3. Soft boundary: R starts as the quantile over all training rows after the warm-up, is refreshed from each batch after
   its step, and is taken once more over all fitted rows at the end. The warm-up has an optimizer of its own.
4. Collapse is looked for after training, and said.
5. Outside the presets: layer sizes follow the width of the table, the code has 8 axes (paper: 32 and more), columns are
   standardized, Adam's step is 1e-3 over a budget of steps for each training, with early stopping on held-out rows.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from offnormal.batches import Batch, Batches
from offnormal.detector import TrainedDetector
from offnormal.method import Method, Phase, Update
from offnormal.networks.mlp import funnel, mlp
from offnormal.networks.residuals import ResidualModel, replacement_falls
from offnormal.parameters import param

NEAREST_TO_ZERO = 0.1
"""Least |c_j|: a coordinate near 0 is met by weights near 0 (authors' code)."""
COLLAPSED_BELOW = 0.01
"""Least healthy `spread`: over nine tables 0.03 to 17; where a bias, a sigmoid or a constant column collapsed it, below
0.003."""


class DeepSVDDNetwork(Method):
    """The paper as one module.

    Parameters
    ----------
    encoder : nn.Module
        φ: (b, n) -> (b, d).
    decoder : nn.Module
        (b, d) -> (b, n), for pre-training alone.
    n_features, latent_dim : int
    objective : str
        "one_class" or "soft_boundary".
    nu : float
        ν of the soft boundary.
    learning_rate : float
    weight_decay, pretraining_weight_decay : float
        λ of the two trainings.
    milestone : int or None
        Epoch of each training from which the step is a tenth.
    epochs, warm_up_epochs, pretraining_epochs : int
        The warm-up is part of `epochs`.
    """

    exportable = True
    center: Tensor
    radius: Tensor
    first_spread: Tensor
    spread: Tensor
    usual_distance: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        *,
        n_features: int,
        latent_dim: int,
        objective: str,
        nu: float,
        learning_rate: float,
        weight_decay: float,
        pretraining_weight_decay: float,
        milestone: int | None,
        epochs: int,
        warm_up_epochs: int,
        pretraining_epochs: int,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.soft, self.nu = objective == "soft_boundary", nu
        self.learning_rate, self.milestone = learning_rate, milestone
        self.weight_decay, self.pretraining_weight_decay = weight_decay, pretraining_weight_decay
        self.epochs, self.warm_up_epochs, self.pretraining_epochs = epochs, warm_up_epochs, pretraining_epochs
        self._code_dim = latent_dim
        self.residuals = ResidualModel(n_features)
        self.register_buffer("center", torch.zeros(latent_dim))  # c
        self.register_buffer("radius", torch.zeros(()))  # R
        for name in ("first_spread", "spread", "usual_distance"):
            self.register_buffer(name, torch.zeros((), dtype=torch.float64))

    # --- forward pieces -------------------------------------------------------------------------------------------

    def encode(self, x: Tensor) -> Tensor:
        """Return φ(x), shape (b, d)."""
        code: Tensor = self.encoder(x)
        return code

    def code_names(self) -> tuple[str, ...]:
        """Name the axes of φ(x)."""
        return tuple(f"code_{i + 1}" for i in range(self._code_dim))

    def _distance(self, x: Tensor) -> Tensor:
        """Return ‖φ(x) − c‖², shape (b,)."""
        return (self.encode(x) - self.center).square().sum(1)

    def score(self, x: Tensor) -> Tensor:
        """Return ‖φ(x) − c‖², less R² with a soft boundary, float64, shape (b,)."""
        distance = self._distance(x).double()
        return distance - self.radius.double().square() if self.soft else distance

    # --- losses ---------------------------------------------------------------------------------------------------

    def reconstruction(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return the squared error of the autoencoder whose encoder is the φ to start with."""
        return {"reconstruction": (batch.x - self.decoder(self.encoder(batch.x))).square().sum(1).mean()}

    def distances(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return the mean squared distance of the one-class objective; its weight decay is Adam's."""
        return {"distance": self._distance(batch.x).mean()}

    def soft_boundary(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return R² + (1/ν) mean max(0, ‖φ(x) − c‖² − R²); one term, since R is set in closed form."""
        squared_radius = self.radius.square()
        outside = (self._distance(batch.x) - squared_radius).clamp_min(0)
        return {"soft_boundary": squared_radius + outside.mean() / self.nu}

    # --- phases ---------------------------------------------------------------------------------------------------

    def phases(self) -> Sequence[Phase]:
        """Pre-train an autoencoder, fix c, then shrink the ball."""
        both = (*self.encoder.parameters(), *self.decoder.parameters())
        pretraining = self._update("pretraining", self.reconstruction, both, self.pretraining_weight_decay)
        phases = [Phase("pretraining", (pretraining,), self.pretraining_epochs)] if self.pretraining_epochs else []
        losses = self.soft_boundary if self.soft else self.distances
        update = self._update("ball", losses, tuple(self.encoder.parameters()), self.weight_decay)
        if not self.soft:
            return (*phases, Phase("one_class", (update,), self.epochs, begin=self.fix_center))
        return (
            *phases,
            Phase("warm_up", (update,), self.warm_up_epochs, begin=self.fix_center),
            Phase(
                "soft_boundary",
                (update,),
                self.epochs - self.warm_up_epochs,
                begin=self.fix_radius,
                after_batch=lambda batch: self._set_radius(self._distance(batch.x)),
            ),
        )

    def _update(
        self, name: str, losses: Callable[[Batch], Mapping[str, Tensor]], params: tuple[nn.Parameter, ...], decay: float
    ) -> Update:
        def adam(own: Iterable[nn.Parameter]) -> Optimizer:
            return torch.optim.Adam(own, lr=self.learning_rate, weight_decay=decay, fused=True)

        def lowered(optimizer: Optimizer) -> LRScheduler:
            return LambdaLR(optimizer, lambda epoch: 0.1 if epoch >= milestone else 1.0)

        milestone = self.milestone or 0
        return Update(name, losses, params, adam, scheduler=lowered if milestone else None)

    def fix_center(self, batches: Batches) -> None:
        """Set c to the mean output over the training rows, each coordinate at least 0.1 from 0; note the spread."""
        ordered = _in_order(batches)
        start = torch.zeros_like(self.center, dtype=torch.float64)
        total = sum((self.encoder(batch.x).double().sum(0) for batch in ordered), start=start)
        mean = total / batches.n_rows
        least = torch.where(mean < 0, -NEAREST_TO_ZERO, NEAREST_TO_ZERO)
        self.center.copy_(torch.where(mean.abs() < NEAREST_TO_ZERO, least, mean))
        self.first_spread.copy_(self._spread(ordered))

    def fix_radius(self, batches: Batches) -> None:
        """Set R from all training rows."""
        self._set_radius(self._all_distances(_in_order(batches)))

    def _set_radius(self, distances: Tensor) -> None:
        """Set R² to the (1 − ν)-quantile of the squared distances, the best R for a fixed φ."""
        ordered = distances.sort().values
        place = (1 - self.nu) * (len(ordered) - 1)
        below, above = ordered[int(place)], ordered[math.ceil(place)]
        self.radius.copy_(torch.lerp(below, above, place - int(place)).sqrt())

    def _all_distances(self, batches: Batches) -> Tensor:
        return torch.cat([self._distance(batch.x) for batch in batches]).double()

    def _spread(self, batches: Batches) -> Tensor:
        """Return how far the squared distances of rolled rows spread: their standard deviation."""
        return torch.cat([self._distance(_rolled(batch.x)) for batch in batches]).double().std(correction=0)

    # --- after training -------------------------------------------------------------------------------------------

    def summarize(self, batches: Batches) -> None:
        """Take R over all training rows, look whether φ has become constant, and learn the columns, for reasons.

        Collapse does not show in the training distances, which are meant to shrink. It shows in rows that put together
        values of different rows: a network that is nearly constant maps those to one place as well. `spread` is what is
        left of the spread of their distances.
        """
        if not self.center.any():  # the time limit came before the center
            self.fix_center(batches)
        distances = self._all_distances(batches)
        self._set_radius(distances)
        self.usual_distance.copy_(distances.mean())
        spread = self._spread(batches)
        self.spread.copy_(torch.where(self.first_spread > 0, spread / self.first_spread, 1.0))
        self.residuals.learn(batches, torch.zeros_like)
        if self.spread < COLLAPSED_BELOW:
            warnings.warn(
                "Deep SVDD has collapsed: it maps nearly all rows to one point, whatever is in them. The distances of "
                f"shuffled rows spread {float(self.spread):.0e} times as far as before training, so the scores say "
                "little. A column that is constant after scaling acts as the bias that the method must not have: use "
                "scaling='standard', or leave such columns out. Otherwise take fewer epochs or a smaller weight_decay.",
                UserWarning,
                stacklevel=2,
            )

    def contributions(self, x: Tensor, groups: Tensor, n_groups: int) -> Mapping[str, Tensor]:
        """Return, per column, how far two measures fall if that column alone takes its best replacement.

        `distance`: d/2 log(1 + ‖φ(x) − c‖² / m), m the mean over the training rows. The logarithm, because φ can learn
        to map its training rows almost to c, and then every other row's distance is a large multiple of m.
        `deviance`: ½ (x − μ)ᵀ Σ⁻¹ (x − μ) under mean and covariance of the training rows. It knows nothing of φ; it
        stands beside the distance because φ mixes the columns and the distance alone names the changed one less often
        than a plain ranking by |z|.
        """

        def measures(rows: Tensor) -> Tensor:
            distance = self._distance(rows).double() / self.usual_distance.clamp_min(tiny)
            return torch.stack([0.5 * self._code_dim * distance.log1p(), self.residuals.deviance(rows)], dim=1)

        tiny = torch.finfo(self.usual_distance.dtype).tiny
        distance, deviance = replacement_falls(x, measures, self.residuals, x, groups, n_groups)
        return {"distance": distance, "deviance": deviance}


def _in_order(batches: Batches) -> Batches:
    """Return the same rows in their own order, so that sums do not depend on which epoch came before."""
    return Batches(batches.rows, batches.batch_size)


def _rolled(x: Tensor) -> Tensor:
    """Return rows of the same values, each column shifted by a number of rows of its own, (b, n)."""
    b, n = x.shape
    rows = torch.arange(b, device=x.device)[:, None]
    shifts = torch.arange(n, device=x.device) * max(b // n, 1)
    return x.gather(0, (rows + shifts) % b)


_AUTHORS = {
    "scaling": "minmax", "learning_rate": 1e-4, "milestone": 50, "epochs": 150, "pretraining_epochs": 150,
    "batch_size": 128, "early_stopping": False,
}  # fmt: skip


@dataclass(kw_only=True, eq=False, repr=False)
class DeepSVDD(TrainedDetector):
    """Deep support vector data description (Ruff et al. 2018).

    The score is the squared distance of a row's code to a fixed center, at least 0; with a soft boundary less the
    squared radius, so that rows inside the ball are negative. Unbounded above; greater = more anomalous. Its unit is
    the network's own: scores compare rows within one fitted model.
    """

    key: ClassVar[str] = "deep_svdd"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "arrhythmia": _AUTHORS | {"hidden_sizes": (128, 64), "latent_dim": 32},
        "cardio": _AUTHORS | {"hidden_sizes": (32, 16), "latent_dim": 8},
        "thyroid": _AUTHORS | {"hidden_sizes": (32, 16), "latent_dim": 4},
        "kddcup": _AUTHORS | {"hidden_sizes": (60, 30), "latent_dim": 10, "batch_size": 1024},
    }

    objective: str = param(
        "one_class", "Mean distance to the center, or a ball with a share of the rows outside.",
        choices=("one_class", "soft_boundary"), source="the simpler; over eight public tables no worse",
    )  # fmt: skip
    nu: float = param(
        0.1, "ν, the share of training rows outside the ball; soft boundary only.", gt=0, lt=1, source="authors' code"
    )
    latent_dim: int = param(
        8,
        "Width of the code φ(x).",
        ge=1,
        source="as `dagmm`; 4 to 32 in the presets; 32 did no better on eight tables",
    )
    hidden_sizes: tuple[int, ...] | None = param(
        None, "Hidden widths of φ. None: from the table's width.", kind="ints", ge=1,
        source="authors' code per data set; None: at least 64-32, up to 256-128 for wide tables",
    )  # fmt: skip
    pretraining_epochs: int | None = param(
        None, "Passes over the rows as an autoencoder, before the center is fixed; 0: none. None: as many as `epochs`.",
        kind="int", ge=0, source="as many: authors' code, 150 and 150",
    )  # fmt: skip
    warm_up_epochs: int | None = param(
        None, "Passes with R = 0, of `epochs`; soft boundary only. None: 10, at most a tenth of `epochs`.",
        kind="int", ge=0, source="10: authors' code",
    )  # fmt: skip
    weight_decay: float = param(5e-7, "λ of the weights of φ.", ge=0, source="authors' code")
    pretraining_weight_decay: float = param(5e-4, "λ in pre-training.", ge=0, source="authors' code, MNIST")
    milestone: int | None = param(
        None, "Epoch of each training from which Adam's step is a tenth. None: never.", kind="int", ge=1,
        source="authors' code: 50 of 150, in the presets",
    )  # fmt: skip

    def build(self, shape: tuple[int, ...]) -> Method:
        """Return the network for rows of `shape` (n,)."""
        (n,) = shape
        hidden = tuple(self.hidden_sizes) if self.hidden_sizes is not None else funnel(n)
        unbiased = partial(mlp, activation=nn.LeakyReLU, bias=False)
        epochs = self.planned_epochs_
        warm_up = min(10, epochs // 10) if self.warm_up_epochs is None else self.warm_up_epochs
        return DeepSVDDNetwork(
            unbiased((n, *hidden, self.latent_dim)),
            unbiased((self.latent_dim, *reversed(hidden), n)),
            n_features=n,
            latent_dim=self.latent_dim,
            objective=self.objective,
            nu=float(self.nu),
            learning_rate=self.learning_rate,
            weight_decay=float(self.weight_decay),
            pretraining_weight_decay=float(self.pretraining_weight_decay),
            milestone=self.milestone,
            epochs=epochs,
            warm_up_epochs=min(warm_up, epochs),
            pretraining_epochs=epochs if self.pretraining_epochs is None else self.pretraining_epochs,
        )
