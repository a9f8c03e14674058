"""Deep autoencoding Gaussian mixture model.

Zong, Song, Min, Cheng, Lumezanu, Cho, Chen: Deep Autoencoding Gaussian Mixture Model for Unsupervised Anomaly
Detection. ICLR 2018. Section and table numbers below are the paper's.

A compression network gives each row a short code and two features of its reconstruction error; an estimation network
gives that vector soft memberships in a Gaussian mixture whose parameters follow from the batch; reconstruction error,
mixture energy and a penalty on thin covariances are minimized together. The score is the energy, under the mixture of
the whole training set.

Letters: b rows, n features, d axes of z = [code, relative distance, cosine similarity], k mixture components.

Differences from the paper
--------------------------
1. After training φ, μ and Σ are recomputed once over all fitted rows, dropout off (the paper does not say how).
2. 1e-6 is added to each covariance's diagonal, in training and in scoring alike (the paper does not say).
3. Mixture algebra is float64.
4. Outside the presets: the code has 8 axes (paper: 1 or 2), layer sizes follow the width of the table, columns are
   standardized, Adam's step is 1e-3 over a budget of steps with early stopping on held-out rows, and λ₂ follows the
   scaling (0.005 for min-max, 1e-4 for standard).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from offnormal.batches import Batch, Batches
from offnormal.detector import TrainedDetector
from offnormal.method import Method, Phase, Update
from offnormal.networks.mixture import Mixture, Moments, Whitening, batch_energy, energy, whiten
from offnormal.networks.mlp import funnel, mlp
from offnormal.networks.reconstruction import reconstruction_features
from offnormal.networks.residuals import ResidualModel, replacement_falls
from offnormal.parameters import param

ROWS_FOR_REASONS = 20_000
"""Training rows whose residuals are looked at for the explanation; more change it in the third digit."""


class DAGMMNetwork(Method):
    """The paper as one module.

    Parameters
    ----------
    encoder, decoder : nn.Module
        h: (b, n) -> (b, code), g: (b, code) -> (b, n).
    estimation : nn.Module
        (b, d) -> (b, k) membership logits.
    n_features, code_dim, n_components : int
    energy_weight, covariance_weight : float
        λ₁ and λ₂.
    learning_rate : float
    epochs : int
    """

    exportable = True
    may_be_minus_infinity = frozenset({"whitening_constant"})

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        estimation: nn.Module,
        *,
        n_features: int,
        code_dim: int,
        n_components: int,
        energy_weight: float,
        covariance_weight: float,
        learning_rate: float,
        epochs: int,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder, self.estimation = encoder, decoder, estimation
        self.energy_weight, self.covariance_weight = energy_weight, covariance_weight
        self.learning_rate, self.epochs = learning_rate, epochs
        self.residuals = ResidualModel(n_features)
        d, k = code_dim + 2, n_components
        self._code_dim = code_dim
        for name, shape in {
            "weight": (k,),  # φ
            "mean": (k, d),  # μ
            "covariance": (k, d, d),  # Σ
            "whitening_matrix": (d, k * d),
            "whitening_shift": (k * d,),
            "whitening_constant": (k,),
        }.items():
            self.register_buffer(name, torch.zeros(shape, dtype=torch.float64))

    # --- forward pieces -------------------------------------------------------------------------------------------

    def _compress(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the squared errors (b,) and z (b, d) = [z_c, relative distance, cosine similarity] (§3.2)."""
        code = self.encoder(x)
        return self._features(x, code, self.decoder(code))

    @staticmethod
    def _features(x: Tensor, code: Tensor, rebuilt: Tensor) -> tuple[Tensor, Tensor]:
        squared_error, relative, cosine = reconstruction_features(x, rebuilt.to(x.dtype))
        return squared_error, torch.cat([code.to(x.dtype), relative[:, None], cosine[:, None]], dim=1)

    def reconstruct(self, x: Tensor) -> Tensor:
        """Return x′ = g(h(x)), shape (b, n)."""
        rebuilt: Tensor = self.decoder(self.encoder(x))
        return rebuilt

    def encode(self, x: Tensor) -> Tensor:
        """Return z = [z_c, z_r], shape (b, d)."""
        return self._compress(x)[1]

    def code_names(self) -> tuple[str, ...]:
        """Name the axes of z."""
        return (*(f"code_{i + 1}" for i in range(self._code_dim)), "relative_distance", "cosine_similarity")

    # --- losses ---------------------------------------------------------------------------------------------------

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return the three terms of J(θ) (equation 7): reconstruction, λ₁ energy, λ₂ covariance penalty."""
        squared_error, z = self._compress(batch.x)
        gamma = torch.softmax(self.estimation(z).double(), dim=1)
        sample_energy, penalty = batch_energy(z, gamma)
        return {
            "reconstruction": squared_error.mean(),
            "energy": self.energy_weight * sample_energy.mean(),
            "covariance": self.covariance_weight * penalty,
        }

    def phases(self) -> Sequence[Phase]:
        """One joint phase (§3.5: trained end to end, no pre-training)."""
        adam = partial(torch.optim.Adam, lr=self.learning_rate, fused=True)
        joint = Update("joint", self.losses, tuple(self.parameters()), adam)
        return (Phase("joint", (joint,), self.epochs),)

    # --- after training -------------------------------------------------------------------------------------------

    def summarize(self, batches: Batches) -> None:
        """Recompute φ, μ, Σ (equations 4 to 6) over all training rows; note what residuals look like, for reasons."""
        moments = Moments()
        sample = []
        for batch in batches:
            _, z = self._compress(batch.x)
            moments.add(z, torch.softmax(self.estimation(z).double(), dim=1))
            sample.append(_spaced(batch.x, ROWS_FOR_REASONS // len(batches) + 1))
        rows = torch.cat(sample)
        self.residuals.fit(rows - self.reconstruct(rows), rows)
        mixture = moments.mixture()
        for name, value in {**mixture._asdict(), **_prefixed(whiten(mixture))}.items():
            self.get_buffer(name).copy_(value)

    @property
    def mixture(self) -> Mixture:
        """The fitted φ, μ, Σ."""
        return Mixture(*(self.get_buffer(name) for name in Mixture._fields))

    def _whitening(self) -> Whitening:
        return Whitening(*(self.get_buffer(f"whitening_{name}") for name in Whitening._fields))

    def score(self, x: Tensor) -> Tensor:
        """Return the energy E(z) (equation 5), float64, shape (b,); negative where the density is above one."""
        return energy(self._compress(x)[1], self._whitening())

    def contributions(self, x: Tensor, groups: Tensor, n_groups: int) -> Mapping[str, Tensor]:
        """Return, per column, how many nats fall if that column alone took its best replacement.

        Two measures are added: the energy (the score itself), and the deviance ½ rᵀ Σ_r⁻¹ r of the residual r = x − x′
        under the covariance of the training residuals, since the score sees r only through two norms and cannot tell
        columns apart by itself. The replacement is the one with the greatest summed fall among a handful: the value
        that suits the other residuals best and three quantiles of training (categories: the three commonest).
        """

        def measures(rows: Tensor) -> Tensor:
            code = self.encoder(rows)
            rebuilt = self.decoder(code)
            deviance = self.residuals.deviance(rows - rebuilt)
            return torch.stack([deviance, energy(self._features(rows, code, rebuilt)[1], whitening)], dim=1)

        whitening = self._whitening()
        residual = x - self.reconstruct(x)
        reconstruction, energy_ = replacement_falls(x, measures, self.residuals, residual, groups, n_groups)
        return {"reconstruction": reconstruction, "energy": energy_}


def _spaced(rows: Tensor, count: int) -> Tensor:
    """Return at most `count` of the rows, evenly spaced."""
    return rows[torch.linspace(0, len(rows) - 1, min(count, len(rows)), device=rows.device).long()]


def _prefixed(whitening: Whitening) -> dict[str, Tensor]:
    return {f"whitening_{name}": value for name, value in whitening._asdict().items()}


_PAPER = {
    "latent_dim": 1,
    "scaling": "minmax",
    "learning_rate": 1e-4,
    "early_stopping": False,
    "covariance_weight": 0.005,
}


@dataclass(kw_only=True, eq=False, repr=False)
class DAGMM(TrainedDetector):
    """Deep autoencoding Gaussian mixture model (Zong et al. 2018).

    The score is the energy of a row's code and reconstruction features under a Gaussian mixture, trained jointly with
    the autoencoder that makes them. Unbounded; greater = more anomalous; differences of energies are log-likelihood
    ratios, so they compare rows within one fitted model and not across models.
    """

    key: ClassVar[str] = "dagmm"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "kddcup": _PAPER | {"hidden_sizes": (60, 30, 10), "n_components": 4, "epochs": 200, "batch_size": 1024},
        "kddcup_rev": _PAPER | {"hidden_sizes": (60, 30, 10), "n_components": 2, "epochs": 400, "batch_size": 1024},
        "thyroid": _PAPER | {"hidden_sizes": (12, 4), "n_components": 2, "epochs": 20000, "batch_size": 1024},
        "arrhythmia": _PAPER
        | {"hidden_sizes": (10,), "latent_dim": 2, "n_components": 2, "epochs": 10000, "batch_size": 128},
    }

    latent_dim: int = param(
        8, "Width of the code z_c.", ge=1,
        source="8 did best over eight public tables with standard scaling; the paper: 1 or 2 (§4.3), in the presets",
    )  # fmt: skip
    n_components: int = param(4, "Gaussian components K of the mixture.", ge=1, source="§4.3, KDDCUP")
    hidden_sizes: tuple[int, ...] | None = param(
        None, "Hidden widths of the encoder; the decoder mirrors them. None: from the table's width.",
        kind="ints", ge=1, source="§4.3 per data set; None: at least 64-32, up to 256-128 for wide tables",
    )  # fmt: skip
    estimation_sizes: tuple[int, ...] = param((10,), "Hidden widths of the estimation network.", ge=1, source="§4.3")
    dropout: float = param(0.5, "Share of estimation units dropped in training.", ge=0, lt=1, source="§4.3")
    energy_weight: float = param(0.1, "λ₁, weight of the energy.", ge=0, source="§4.3")
    covariance_weight: float | None = param(
        None, "λ₂, weight of the penalty on thin covariances. None: 0.005 for min-max scaling, 1e-4 for standard.",
        kind="float", ge=0, source="§4.3: 0.005, with columns in [0, 1]; it scales with the columns",
    )  # fmt: skip

    def build(self, shape: tuple[int, ...]) -> Method:
        """Return the network for rows of `shape` (n,)."""
        (n,) = shape
        hidden = tuple(self.hidden_sizes) if self.hidden_sizes is not None else funnel(n)
        weight = self.covariance_weight
        return DAGMMNetwork(
            mlp((n, *hidden, self.latent_dim)),
            mlp((self.latent_dim, *reversed(hidden), n)),
            mlp((self.latent_dim + 2, *self.estimation_sizes, self.n_components), dropout=self.dropout),
            n_features=n,
            code_dim=self.latent_dim,
            n_components=self.n_components,
            energy_weight=self.energy_weight,
            covariance_weight=weight if weight is not None else (1e-4 if self.scaling == "standard" else 0.005),
            learning_rate=self.learning_rate,
            epochs=self.planned_epochs_,
        )
