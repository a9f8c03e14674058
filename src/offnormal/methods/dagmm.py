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
4. With `pretraining_epochs` the autoencoder is first trained layer by layer, then as a whole, for as many epochs each;
   the paper does not describe its pre-training.
5. Outside the presets: the code has 8 axes (paper: 1 or 2), layer sizes follow the width of the table, columns are
   standardized, Adam's step falls from 1e-3 along a cosine over 4,000 steps with early stopping on held-out rows, and
   λ₂ follows the scaling (0.005 for min-max, 1e-4 for standard).
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
from offnormal.errors import InvalidParameter
from offnormal.method import Method, Phase, Update, falling
from offnormal.networks.mixture import Mixture, Moments, Whitening, batch_energy, energy, whiten
from offnormal.networks.mlp import funnel, mlp
from offnormal.networks.reconstruction import reconstruction_features
from offnormal.networks.residuals import ResidualModel, replacement_falls
from offnormal.parameters import param
from offnormal.pretraining import layer_wise


class DAGMMNetwork(Method):
    """The paper as one module.

    Parameters
    ----------
    encoder, decoder : nn.Module
        h: (b, n) -> (b, code), g: (b, code) -> (b, n).
    estimation : nn.Module
        (b, d) -> (b, k) membership logits.
    n_features, code_dim, n_components : int
    reconstruction_weight, energy_weight, covariance_weight : float
        The first is 1 in the paper; the others are λ₁ and λ₂.
    aspects : {"both", "code", "reconstruction"}
        What z is made of: the code, the two reconstruction features, or both (§3.2).
    training : {"joint", "alternating", "frozen"}
        One step on the sum of the terms; an optimizer and a step for each of the two parts in turn; or steps on the
        estimation network alone.
    learning_rate : float
    schedule : {"constant", "cosine"}
    pretraining_epochs, epochs : int
    """

    exportable = True
    may_be_minus_infinity = frozenset({"whitening_constant"})

    def __init__(
        self,
        encoder: nn.Sequential,
        decoder: nn.Sequential,
        estimation: nn.Module,
        *,
        n_features: int,
        code_dim: int,
        n_components: int,
        reconstruction_weight: float,
        energy_weight: float,
        covariance_weight: float,
        aspects: str,
        training: str,
        learning_rate: float,
        schedule: str,
        pretraining_epochs: int,
        epochs: int,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder, self.estimation = encoder, decoder, estimation
        self.reconstruction_weight = reconstruction_weight
        self.energy_weight, self.covariance_weight = energy_weight, covariance_weight
        self.aspects, self.how = aspects, training  # `training` is torch's own word for its mode
        self.learning_rate, self.schedule = learning_rate, schedule
        self.pretraining_epochs, self.epochs = pretraining_epochs, epochs
        self.residuals = ResidualModel(n_features)
        d, k = z_dim(code_dim, aspects), n_components
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
        return self._features(x, *self._coded(x))

    def _coded(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return z_c = h(x) and x′ = g(z_c)."""
        code = self.encoder(x)
        return code, self.decoder(code)

    def _features(self, x: Tensor, code: Tensor, rebuilt: Tensor) -> tuple[Tensor, Tensor]:
        squared_error, relative, cosine = reconstruction_features(x, rebuilt.to(x.dtype))
        errors = [relative[:, None], cosine[:, None]]
        parts = {"both": [code.to(x.dtype), *errors], "code": [code.to(x.dtype)], "reconstruction": errors}
        return squared_error, torch.cat(parts[self.aspects], dim=1)

    def reconstruct(self, x: Tensor) -> Tensor:
        """Return x′ = g(h(x)), shape (b, n)."""
        return self._coded(x)[1]

    def encode(self, x: Tensor) -> Tensor:
        """Return z = [z_c, z_r], shape (b, d)."""
        return self._compress(x)[1]

    def code_names(self) -> tuple[str, ...]:
        """Name the axes of z."""
        code = tuple(f"code_{i + 1}" for i in range(self._code_dim))
        errors = ("relative_distance", "cosine_similarity")
        return {"both": code + errors, "code": code, "reconstruction": errors}[self.aspects]

    # --- losses ---------------------------------------------------------------------------------------------------

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return the three terms of J(θ) (equation 7): reconstruction, λ₁ energy, λ₂ covariance penalty."""
        squared_error, z = self._compress(batch.x)
        return {"reconstruction": self.reconstruction_weight * squared_error.mean()} | self._mixture_terms(z)

    def _mixture_terms(self, z: Tensor) -> dict[str, Tensor]:
        gamma = torch.softmax(self.estimation(z).double(), dim=1)
        sample_energy, penalty = batch_energy(z, gamma)
        return {"energy": self.energy_weight * sample_energy.mean(), "covariance": self.covariance_weight * penalty}

    def reconstruction_losses(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return the reconstruction term alone."""
        squared_error, _, _ = reconstruction_features(batch.x, self.reconstruct(batch.x).to(batch.x.dtype))
        return {"reconstruction": self.reconstruction_weight * squared_error.mean()}

    def mixture_losses(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return the energy and the covariance penalty alone."""
        return self._mixture_terms(self._compress(batch.x)[1])

    def phases(self) -> Sequence[Phase]:
        """One joint phase (§3.5: end to end); before it, where asked for, the autoencoder's pre-training."""
        adam = partial(torch.optim.Adam, lr=self.learning_rate, fused=True)
        schedule = falling(self.epochs) if self.schedule == "cosine" else None
        autoencoder = (*self.encoder.parameters(), *self.decoder.parameters())
        rebuild = Update("reconstruction", self.reconstruction_losses, autoencoder, adam, scheduler=schedule)
        mix = partial(Update, losses=self.mixture_losses, optimizer=adam, scheduler=schedule)
        updates = {
            "joint": (Update("joint", self.losses, tuple(self.parameters()), adam, scheduler=schedule),),
            "alternating": (rebuild, mix("mixture", params=tuple(self.parameters()))),
            "frozen": (mix("estimation", params=tuple(self.estimation.parameters())),),
        }[self.how]
        main = Phase(self.how, updates, self.epochs)
        if self.pretraining_epochs == 0:
            return (main,)
        layers = layer_wise(self.encoder, self.decoder, epochs=self.pretraining_epochs, optimizer=adam)
        whole = Update("reconstruction", self.reconstruction_losses, autoencoder, adam)
        return (*layers, Phase("pretraining", (whole,), self.pretraining_epochs), main)

    # --- after training -------------------------------------------------------------------------------------------

    def summarize(self, batches: Batches) -> None:
        """Recompute φ, μ, Σ (equations 4 to 6) over all training rows; note what residuals look like, for reasons."""
        moments = Moments()
        for batch in batches:
            _, z = self._compress(batch.x)
            moments.add(z, torch.softmax(self.estimation(z).double(), dim=1))
        self.residuals.learn(batches, self.reconstruct)
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
            code, rebuilt = self._coded(rows)
            deviance = self.residuals.deviance(rows - rebuilt)
            return torch.stack([deviance, energy(self._features(rows, code, rebuilt)[1], whitening)], dim=1)

        whitening = self._whitening()
        residual = x - self.reconstruct(x)
        reconstruction, energy_ = replacement_falls(x, measures, self.residuals, residual, groups, n_groups)
        return {"reconstruction": reconstruction, "energy": energy_}


def z_dim(code_dim: int, aspects: str) -> int:
    """Return the number of axes of z."""
    return {"both": code_dim + 2, "code": code_dim, "reconstruction": 2}[aspects]


def _prefixed(whitening: Whitening) -> dict[str, Tensor]:
    return {f"whitening_{name}": value for name, value in whitening._asdict().items()}


_PAPER = {
    "latent_dim": 1,
    "scaling": "minmax",
    "learning_rate": 1e-4,
    "schedule": "constant",
    "early_stopping": False,
    "estimation_sizes": (10,),
    "dropout": 0.5,
    "energy_weight": 0.1,
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

    step_budgets: ClassVar[int] = 2

    epochs: int | None = param(
        None, "Passes over the training rows; 0: the network as initialized. None: a budget of steps.",
        kind="int", ge=0,
        source="None: 4,000 steps; with the falling step better than 2,000 with a constant one over nine public tables",
    )  # fmt: skip
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

    reconstruction_weight: float = param(
        1.0, "Weight of the reconstruction error. 0: the mixture alone (the paper's GMM-EN).", ge=0, source="§3.4: 1"
    )
    aspects: str = param(
        "both", "What the mixture sees: the code, the two reconstruction features, or both.",
        choices=("both", "code", "reconstruction"), source="§3.2: both",
    )  # fmt: skip
    training: str = param(
        "joint", "One step on all terms; a step for reconstruction and one for the mixture in turn; or the mixture "
        "on a frozen autoencoder (with `pretraining_epochs`: the paper's PAE-GMM).",
        choices=("joint", "alternating", "frozen"), source="§3.5: joint",
    )  # fmt: skip
    schedule: str = param(
        "cosine", "The step size over the epochs: constant, or falling to zero along a cosine.",
        choices=("constant", "cosine"), source="steadier over seeds on KDDCUP; the paper: constant, in the presets",
    )  # fmt: skip
    pretraining_epochs: int = param(
        0, "Passes of layer-wise pre-training, per layer, and of the whole autoencoder after it (DAGMM-p).",
        ge=0, source="§3.5: none",
    )  # fmt: skip

    def build(self, shape: tuple[int, ...]) -> Method:
        """Return the network for rows of `shape` (n,).

        Raises
        ------
        InvalidParameter
            If nothing would be trained, or a mixture on an autoencoder that never was.
        """
        (n,) = shape
        if not self.reconstruction_weight and not self.energy_weight and self.covariance_weight == 0:
            raise InvalidParameter("DAGMM: at least one of the three weights must be above 0, or nothing is trained.")
        if self.training == "frozen" and not self.pretraining_epochs:
            raise InvalidParameter(
                "DAGMM: training='frozen' leaves the autoencoder as it is; give pretraining_epochs of at least 1."
            )
        hidden = tuple(self.hidden_sizes) if self.hidden_sizes is not None else funnel(n)
        return DAGMMNetwork(
            mlp((n, *hidden, self.latent_dim)),
            mlp((self.latent_dim, *reversed(hidden), n)),
            self._estimation(self.latent_dim),
            **self._network_settings(n, self.latent_dim),
        )

    def _estimation(self, code_dim: int) -> nn.Module:
        sizes = (z_dim(code_dim, self.aspects), *self.estimation_sizes, self.n_components)
        return mlp(sizes, dropout=self.dropout)

    def _network_settings(self, n: int, code_dim: int) -> dict[str, Any]:
        weight = self.covariance_weight
        return {
            "n_features": n,
            "code_dim": code_dim,
            "n_components": self.n_components,
            "reconstruction_weight": self.reconstruction_weight,
            "energy_weight": self.energy_weight,
            "covariance_weight": weight if weight is not None else (1e-4 if self.scaling == "standard" else 0.005),
            "aspects": self.aspects,
            "training": self.training,
            "learning_rate": self.learning_rate,
            "schedule": self.schedule,
            "pretraining_epochs": self.pretraining_epochs,
            "epochs": self.planned_epochs_,
        }
