"""Deep structured energy-based model.

Zhai, Cheng, Lu, Zhang: Deep Structured Energy Based Models for Anomaly Detection. ICML 2016. The fully connected model;
the paper's convolutional and recurrent ones are not built.

A network gives each row an energy, low where rows are common. The gradient of the energy turns a row into a
reconstruction, x minus the gradient, and training asks that the reconstruction of a row with noise added be the row
without (denoising score matching), so no normalizing constant and no sampling is needed. The score is the energy
(DSEBM-e) or the length of its gradient (DSEBM-r).

Letters: b rows, n features, h_l layers, W_l and b_l their weights and biases, b′ the bias of the input, σ the noise.

Differences from the paper
--------------------------
1. The paper's loss is a sum over rows; here it is the mean over rows of the squared error summed over features.
2. The energy is float64 in scoring: it is a difference of two large sums.
3. `mirrored` puts the layers once more on top, transposed, as a published re-implementation does; the paper's energy
   ends at h_L, and its mirror is in the gradient alone. That re-implementation keeps a row of b′ for each position of a
   batch; here b′ is one vector.
4. Outside the presets: layer sizes follow the width of the table, columns are standardized, Adam's step is 1e-3 over a
   budget of steps with early stopping on held-out rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from offnormal.batches import Batch, Batches
from offnormal.detector import TrainedDetector
from offnormal.errors import InvalidParameter
from offnormal.method import Method, Phase, Update
from offnormal.networks.mlp import funnel
from offnormal.networks.residuals import ResidualModel, replacement_falls
from offnormal.parameters import param


class DSEBMNetwork(Method):
    """The paper as one module.

    Parameters
    ----------
    sizes : sequence of int
        n and the widths of h_1, …, h_L.
    mirrored : bool
        Continue with the transposed weights back to n units, with biases of their own.
    noise : float
        σ, in units of the scaled columns.
    score_by : str
        "energy" or "reconstruction".
    learning_rate : float
    epochs : int
    """

    exportable = True

    def __init__(
        self, sizes: Sequence[int], *, mirrored: bool, noise: float, score_by: str, learning_rate: float, epochs: int
    ) -> None:
        super().__init__()
        self.mirrored, self.noise, self.by_energy = mirrored, noise, score_by == "energy"
        self.learning_rate, self.epochs = learning_rate, epochs
        widths = [*sizes[1:], *reversed(sizes[:-1])] if mirrored else sizes[1:]
        self.weights = nn.ParameterList([torch.empty(wide, out) for wide, out in pairwise(sizes)])
        for weight in self.weights:
            nn.init.xavier_uniform_(weight)
        self.biases = nn.ParameterList([torch.zeros(width) for width in widths])
        self.visible_bias = nn.Parameter(torch.zeros(sizes[0]))  # b′
        self.residuals = ResidualModel(sizes[0])

    # --- energy and its gradient ----------------------------------------------------------------------------------

    def _layers(self, dtype: torch.dtype) -> list[tuple[Tensor, Tensor]]:
        """Return (W_l, b_l) in order, h_l = softplus(h_{l−1} W_l + b_l)."""
        weights = [weight.to(dtype) for weight in self.weights]
        if self.mirrored:
            weights += [weight.T for weight in reversed(weights)]
        return list(zip(weights, (bias.to(dtype) for bias in self.biases), strict=True))

    def _ascend(self, x: Tensor) -> list[Tensor]:
        """Return what goes into each softplus, shapes (b, width of h_l)."""
        inputs, h = [], x
        for weight, bias in self._layers(x.dtype):
            inputs.append(torch.addmm(bias, h, weight))
            h = nn.functional.softplus(inputs[-1])
        return inputs

    def energy(self, x: Tensor) -> Tensor:
        """Return E(x) = ½‖x − b′‖² − Σ_j h_L,j(x), shape (b,), in the type of `x`."""
        top = nn.functional.softplus(self._ascend(x)[-1])
        return 0.5 * (x - self.visible_bias.to(x.dtype)).square().sum(1) - top.sum(1)

    def reconstruct(self, x: Tensor) -> Tensor:
        """Return f(x) = x − ∇E(x), shape (b, n).

        The chain rule written out: from g_L = 1, down by g_{l−1} = (g_l ⊙ sigmoid(input of h_l)) W_lᵀ to f = b′ + g_0.
        So training needs first derivatives only, and scoring none.
        """
        inputs = self._ascend(x)
        g = torch.ones_like(inputs[-1])
        for (weight, _), into in zip(reversed(self._layers(x.dtype)), reversed(inputs), strict=True):
            g = (g * torch.sigmoid(into)) @ weight.T
        return self.visible_bias.to(x.dtype) + g

    def encode(self, x: Tensor) -> Tensor:
        """Return the last layer before any mirror, shape (b, d)."""
        return nn.functional.softplus(self._ascend(x)[len(self.weights) - 1])

    def code_names(self) -> tuple[str, ...]:
        """Name the units of the code."""
        return tuple(f"hidden_{i + 1}" for i in range(self.weights[-1].shape[1]))

    # --- training -------------------------------------------------------------------------------------------------

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return the one term: ‖x − f(x + ε)‖², ε ~ N(0, σ² I)."""
        noisy = batch.x + self.noise * torch.randn_like(batch.x)
        return {"denoising": (batch.x - self.reconstruct(noisy)).square().sum(1).mean()}

    def phases(self) -> Sequence[Phase]:
        """One phase, one optimizer."""
        params = (*self.weights, *self.biases, self.visible_bias)
        adam = partial(torch.optim.Adam, lr=self.learning_rate, fused=True)
        return (Phase("score_matching", (Update("score_matching", self.losses, params, adam),), self.epochs),)

    def summarize(self, batches: Batches) -> None:
        """Learn what residuals x − f(x) and columns usually look like, for reasons; the score needs nothing."""
        self.residuals.learn(batches, self.reconstruct)

    # --- scoring --------------------------------------------------------------------------------------------------

    def score(self, x: Tensor) -> Tensor:
        """Return E(x), or ‖x − f(x)‖ = ‖∇E(x)‖, float64, shape (b,)."""
        x = x.double()
        return self.energy(x) if self.by_energy else (x - self.reconstruct(x)).norm(dim=1)

    def contributions(self, x: Tensor, groups: Tensor, n_groups: int) -> Mapping[str, Tensor]:
        """Return, per column, how many nats fall if that column alone takes its best replacement.

        Two measures are added. `energy`: E(x)/σ², −log density of the rows with noise added, up to a constant.
        `reconstruction`: the deviance ½ rᵀ Σ_r⁻¹ r of the residual r = x − f(x) under the covariance of the training
        residuals; without it a departure smaller than the noise, such as that of a category from 0 to 1, would hardly
        count. The replacement is the one with the greatest summed fall among a handful: the value that suits the other
        residuals best and three quantiles of training (categories: the three commonest). Both scores have the same
        reasons: the gradient is long where the energy is steep.
        """

        def measures(rows: Tensor) -> Tensor:
            deviance = self.residuals.deviance(rows - self.reconstruct(rows))
            return torch.stack([deviance, self.energy(rows.double()) / self.noise**2], dim=1)

        residual = x - self.reconstruct(x)
        reconstruction, energy = replacement_falls(x, measures, self.residuals, residual, groups, n_groups)
        return {"reconstruction": reconstruction, "energy": energy}


_REIMPLEMENTED = {
    "mirrored": True,
    "noise": 1.0,
    "scaling": "minmax",
    "learning_rate": 1e-4,
    "early_stopping": False,
}


@dataclass(kw_only=True, eq=False, repr=False)
class DSEBM(TrainedDetector):
    """Deep structured energy-based model (Zhai et al. 2016).

    The score is the energy of a row, which can be negative, or the length of its gradient, at least 0; both are
    unbounded above; greater = more anomalous. Divided by σ², differences of energies are log-likelihood ratios under
    the density of the rows with noise added; they compare rows within one fitted model, not across models.
    """

    key: ClassVar[str] = "dsebm"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "kddcup": _REIMPLEMENTED | {"hidden_sizes": (128, 512), "epochs": 20, "batch_size": 100},
        "arrhythmia": _REIMPLEMENTED | {"hidden_sizes": (10, 2), "epochs": 1000, "batch_size": 26},
    }

    hidden_sizes: tuple[int, ...] | None = param(
        None, "Widths of the layers of the energy, at least one. None: from the table's width.", kind="ints", ge=1,
        source="a re-implementation per data set; None: at least 64-32, up to 256-128 for wide tables",
    )  # fmt: skip
    noise: float = param(
        1.0, "σ, standard deviation of the noise in training, in units of the scaled columns.", gt=0,
        source="1 in a re-implementation; over eight public tables 0.2 and 0.5 did worse, 2 no better",
    )  # fmt: skip
    score_by: str = param(
        "energy", "The energy (DSEBM-e) or the length of its gradient, the reconstruction error (DSEBM-r).",
        choices=("energy", "reconstruction"), source="both: the paper",
    )  # fmt: skip
    mirrored: bool = param(
        False, "Put the layers on top once more, transposed, with biases of their own.",
        source="False: the paper; True: a re-implementation, in the presets",
    )  # fmt: skip

    def build(self, shape: tuple[int, ...]) -> Method:
        """Return the network for rows of `shape` (n,)."""
        (n,) = shape
        hidden = tuple(self.hidden_sizes) if self.hidden_sizes is not None else funnel(n)
        if not hidden:
            raise InvalidParameter("DSEBM: hidden_sizes must name at least one layer; got ().")
        return DSEBMNetwork(
            (n, *hidden),
            mirrored=self.mirrored,
            noise=float(self.noise),
            score_by=self.score_by,
            learning_rate=self.learning_rate,
            epochs=self.planned_epochs_,
        )
