"""Reduce first, then estimate the density: the two-step methods that joint training was invented to beat.

The baselines of Zong et al., "Deep Autoencoding Gaussian Mixture Model for Unsupervised Anomaly Detection", ICLR 2018
(§2): dimension reduction by principal components or an autoencoder that was trained for reconstruction alone; then, on
what it gives, a Gaussian mixture by expectation maximization (Dempster, Laird, Rubin 1977) or k-means (Lloyd 1982),
with no way back from the second step to the first.

Letters: b rows, n features, d axes of z, k mixture components or clusters. z is the code, or the two reconstruction
features of DAGMM (relative distance and cosine similarity), or both.

Differences from the paper
--------------------------
1. The paper names these baselines and little more: restarts, stopping rule, covariance floor and the length of the
   autoencoder's pre-training (a tenth of the epochs, per pair of layers) are chosen here.
2. Beyond `max_rows` rows the second step looks at a random sample of them.
3. Everything after the reduction is float64.
4. Outside the presets: principal components, 8 of them; columns are standardized.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from offnormal.batches import Batch, Batches
from offnormal.detector import TrainedDetector
from offnormal.method import Method, Phase, Update
from offnormal.networks.clustering import expectation_maximization, k_means
from offnormal.networks.mixture import FLOOR, Mixture, Whitening, energy, whiten
from offnormal.networks.mlp import funnel, mlp
from offnormal.networks.reconstruction import reconstruction_features
from offnormal.networks.residuals import ResidualModel, replacement_falls
from offnormal.parameters import param
from offnormal.pretraining import layer_wise


class Plane(nn.Module):
    """The first q principal directions as an encoder and a decoder.

    Parameters
    ----------
    n_features, code_dim : int
    """

    mean: Tensor
    directions: Tensor

    def __init__(self, n_features: int, code_dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_features, dtype=torch.float64))
        self.register_buffer("directions", torch.zeros(n_features, code_dim, dtype=torch.float64))

    def learn(self, batches: Batches) -> None:
        """Take the eigenvectors of the covariance of all rows."""
        mean = sum((batch.x.double().sum(0) for batch in batches), start=torch.zeros_like(self.mean)) / batches.n_rows
        scatter = mean.new_zeros(len(mean), len(mean))
        for batch in batches:
            centered = batch.x.double() - mean
            scatter += centered.T @ centered
        vectors = torch.linalg.eigh(scatter / batches.n_rows).eigenvectors.flip(1)
        self.mean.copy_(mean)
        self.directions.copy_(vectors[:, : self.directions.shape[1]])

    def encode(self, x: Tensor) -> Tensor:
        """Return the coordinates in the plane, float64, shape (b, q)."""
        return (x.double() - self.mean) @ self.directions

    def decode(self, code: Tensor) -> Tensor:
        """Return the points of the plane, float64, shape (b, n)."""
        return code @ self.directions.T + self.mean


class Autoencoder(nn.Module):
    """An encoder of `sizes`, from the row's width to the code's, and its mirror."""

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.encoder, self.decoder = mlp(sizes), mlp(sizes[::-1])

    def encode(self, x: Tensor) -> Tensor:
        """Return the code, shape (b, q)."""
        code: Tensor = self.encoder(x)
        return code

    def decode(self, code: Tensor) -> Tensor:
        """Return the rebuilt rows, shape (b, n)."""
        rebuilt: Tensor = self.decoder(code)
        return rebuilt


class SecondStep(NamedTuple):
    """The settings of the second step, as `TwoStep` declares them."""

    features: str
    density: str
    n_components: int
    n_restarts: int
    max_rows: int


class TwoStepNetwork(Method):
    """The reduction, and the mixture or the cluster centers as buffers.

    Parameters
    ----------
    reduction : Plane or Autoencoder
    second : SecondStep
    n_features, code_dim : int
    learning_rate : float
    pretraining_epochs, epochs : int
        Of the autoencoder.
    """

    exportable = True
    may_be_minus_infinity = frozenset({"whitening_constant"})

    def __init__(
        self,
        reduction: Plane | Autoencoder,
        second: SecondStep,
        *,
        n_features: int,
        code_dim: int,
        learning_rate: float,
        pretraining_epochs: int,
        epochs: int,
    ) -> None:
        super().__init__()
        self.reduction, self.second = reduction, second
        self.learning_rate, self.pretraining_epochs, self.epochs = learning_rate, pretraining_epochs, epochs
        self.residuals = ResidualModel(n_features)
        self._code_dim = code_dim
        k, d = second.n_components, len(self.code_names())
        shapes: dict[str, tuple[int, ...]] = {"mean": (k, d)}  # μ, or the cluster centers
        if second.density == "gmm":
            shapes |= {"weight": (k,), "covariance": (k, d, d)}  # φ, Σ
            shapes |= {"whitening_matrix": (d, k * d), "whitening_shift": (k * d,), "whitening_constant": (k,)}
        else:
            shapes |= {"variance": ()}  # of z about the nearest center, per axis
        for name, shape in shapes.items():
            self.register_buffer(name, torch.zeros(shape, dtype=torch.float64))

    # --- forward pieces -------------------------------------------------------------------------------------------

    def reconstruct(self, x: Tensor) -> Tensor:
        """Return the rebuilt rows, shape (b, n)."""
        return self.reduction.decode(self.reduction.encode(x))

    def encode(self, x: Tensor) -> Tensor:
        """Return z, float64, shape (b, d)."""
        code = self.reduction.encode(x)
        return self._features(x, code, self.reduction.decode(code))

    def _features(self, x: Tensor, code: Tensor, rebuilt: Tensor) -> Tensor:
        code = code.double()
        if self.second.features == "code":
            return code
        _, relative, cosine = reconstruction_features(x.double(), rebuilt.double())
        how_well = torch.stack([relative, cosine], dim=1)
        return how_well if self.second.features == "reconstruction" else torch.cat([code, how_well], dim=1)

    def code_names(self) -> tuple[str, ...]:
        """Name the axes of z."""
        code = tuple(f"code_{i + 1}" for i in range(self._code_dim))
        how_well = ("relative_distance", "cosine_similarity")
        return {"code": code, "reconstruction": how_well, "both": (*code, *how_well)}[self.second.features]

    # --- first step -----------------------------------------------------------------------------------------------

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return the squared reconstruction error; nothing of the second step."""
        return {"reconstruction": (batch.x - self.reconstruct(batch.x)).square().sum(1).mean()}

    def phases(self) -> Sequence[Phase]:
        """Train the autoencoder, pre-trained layer by layer if asked to; principal components are a closed form."""
        if isinstance(self.reduction, Plane):
            return ()
        adam = partial(torch.optim.Adam, lr=self.learning_rate, fused=True)
        chain = self.reduction
        pretraining = layer_wise(chain.encoder, chain.decoder, epochs=self.pretraining_epochs, optimizer=adam)
        whole = Update("reduction", self.losses, tuple(chain.parameters()), adam)
        return (*pretraining, Phase("reduction", (whole,), self.epochs))

    # --- second step ----------------------------------------------------------------------------------------------

    def summarize(self, batches: Batches) -> None:
        """Fit the mixture, or the centers, to z of the training rows."""
        if isinstance(self.reduction, Plane):
            self.reduction.learn(batches)
        self.residuals.learn(batches, self.reconstruct)
        z = torch.cat([self.encode(batch.x) for batch in batches]).cpu()
        if len(z) > self.second.max_rows:
            z = z[torch.randperm(len(z))[: self.second.max_rows]]
        seed = int(torch.randint(2**31 - 1, ()))
        for name, value in (self._mixture(z, seed) if self.second.density == "gmm" else self._centers(z, seed)).items():
            self.get_buffer(name).copy_(value)

    def _mixture(self, z: Tensor, seed: int) -> dict[str, Tensor]:
        """Return φ, μ, Σ by expectation maximization, with the same for scoring; absent components weigh nothing."""
        k, d = min(self.second.n_components, len(z)), z.shape[1]
        fitted = expectation_maximization(z, k, restarts=self.second.n_restarts, seed=seed)
        absent = self.second.n_components - k
        eye = torch.eye(d, dtype=torch.float64)
        mixture = Mixture(
            torch.cat([fitted.weight, torch.zeros(absent, dtype=torch.float64)]),
            torch.cat([fitted.mean, torch.zeros(absent, d, dtype=torch.float64)]),
            torch.cat([fitted.covariance, eye.expand(absent, d, d)]),
        )
        ready = {f"whitening_{name}": value for name, value in whiten(mixture)._asdict().items()}
        return {**mixture._asdict(), **ready}

    def _centers(self, z: Tensor, seed: int) -> dict[str, Tensor]:
        """Return the centers by k-means, and the variance about them; absent ones repeat the first."""
        k = min(self.second.n_components, len(z))
        centers, cluster = k_means(z, k, restarts=self.second.n_restarts, seed=seed)
        repeated = centers[:1].expand(self.second.n_components - k, -1)
        variance = (z - centers[cluster]).square().mean() + FLOOR
        return {"mean": torch.cat([centers, repeated]), "variance": variance}

    @property
    def mixture(self) -> Mixture:
        """The fitted φ, μ, Σ."""
        return Mixture(*(self.get_buffer(name) for name in Mixture._fields))

    def _squared_distance(self, z: Tensor) -> Tensor:
        centers = self.get_buffer("mean")
        return (z[:, None, :] - centers).square().sum(2).amin(1)

    def _density_score(self, z: Tensor) -> Tensor:
        if self.second.density == "kmeans":
            return self._squared_distance(z).sqrt()
        return energy(z, Whitening(*(self.get_buffer(f"whitening_{name}") for name in Whitening._fields)))

    def score(self, x: Tensor) -> Tensor:
        """Return −log p(z) under the mixture, or the distance of z to its nearest center; float64, shape (b,)."""
        return self._density_score(self.encode(x))

    def contributions(self, x: Tensor, groups: Tensor, n_groups: int) -> Mapping[str, Tensor]:
        """Return, per column, how many nats fall if that column alone took its best replacement.

        Two measures are added, as for DAGMM and for its reason (z sees the residual only through two norms, or not at
        all): −log p(z), and the deviance of the residual under the covariance of training residuals. With k-means the
        first is half the squared distance over its mean per axis: −log p(z) of equal round clusters, less a constant.
        """

        def measures(rows: Tensor) -> Tensor:
            code = self.reduction.encode(rows)
            rebuilt = self.reduction.decode(code)
            z = self._features(rows, code, rebuilt)
            if self.second.density == "kmeans":
                nats = self._squared_distance(z) / (2 * self.get_buffer("variance"))
            else:
                nats = self._density_score(z)
            return torch.stack([self.residuals.deviance(rows - rebuilt.to(rows.dtype)), nats], dim=1)

        residual = x - self.reconstruct(x).to(x.dtype)
        reconstruction, density = replacement_falls(x, measures, self.residuals, residual, groups, n_groups)
        return {"reconstruction": reconstruction, "density": density}


_PAPER = {
    "reduction": "autoencoder",
    "latent_dim": 1,
    "scaling": "minmax",
    "learning_rate": 1e-4,
    "early_stopping": False,
    "batch_size": 1024,
}
_KDDCUP = {"hidden_sizes": (60, 30, 10)}


@dataclass(kw_only=True, eq=False, repr=False)
class TwoStep(TrainedDetector):
    """Dimension reduction, then a Gaussian mixture or k-means on what it gives (the baselines of Zong et al. 2018).

    The score is −log p(z) under the mixture (unbounded, negative where the density is above one) or the distance of z
    to the nearest of the cluster centers (at least 0); greater = more anomalous. With principal components `epochs` and
    the other settings of training are accepted and unused.
    """

    key: ClassVar[str] = "two_step"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "kddcup": _PAPER | _KDDCUP | {"n_components": 4, "epochs": 200, "pretraining_epochs": 20},
        "kddcup_rev": _PAPER | _KDDCUP | {"n_components": 2, "epochs": 400, "pretraining_epochs": 40},
        "thyroid": _PAPER | {"hidden_sizes": (12, 4), "n_components": 2, "epochs": 20000, "pretraining_epochs": 2000},
        "arrhythmia": _PAPER
        | {"hidden_sizes": (10,), "latent_dim": 2, "n_components": 2, "batch_size": 128}
        | {"epochs": 10000, "pretraining_epochs": 1000},
    }

    reduction: str = param(
        "pca", "First step: principal components or an autoencoder.", choices=("pca", "autoencoder"),
        source="principal components did better over five public tables, in a tenth of the time",
    )  # fmt: skip
    features: str = param(
        "both", "What the second step sees: the code, the relative distance and cosine similarity, or both.",
        choices=("both", "code", "reconstruction"), source="both: DAGMM §3.2",
    )  # fmt: skip
    density: str = param(
        "gmm", "Second step: a Gaussian mixture by expectation maximization, or k-means.", choices=("gmm", "kmeans"),
        source="DAGMM §2",
    )  # fmt: skip
    latent_dim: int = param(
        8, "Width of the code; of principal components at most one fewer than features.", ge=1,
        source="8 did better than 3 over five public tables; the paper: 1 or 2, in the presets",
    )  # fmt: skip
    n_components: int = param(4, "Gaussian components, or clusters.", ge=1, source="DAGMM §4.3, KDDCUP")
    hidden_sizes: tuple[int, ...] | None = param(
        None, "Hidden widths of the encoder; the decoder mirrors them. None: from the table's width.",
        kind="ints", ge=1, source="DAGMM §4.3 per data set; None: at least 64-32, up to 256-128 for wide tables",
    )  # fmt: skip
    pretraining_epochs: int = param(
        0, "Passes of the autoencoder's layer-wise pre-training, per pair of layers; 0: none.", ge=0,
        source="the paper does not say; a tenth of the epochs in the presets",
    )  # fmt: skip
    n_restarts: int = param(
        5, "Starts of the second step; the best end is kept.", ge=1, source="our choice; the paper does not say"
    )
    max_rows: int = param(
        100_000, "Most rows the second step looks at; beyond, a random sample of so many.", ge=2,
        source="some seconds of expectation maximization",
    )  # fmt: skip

    def _stops_early(self) -> bool:
        return self.early_stopping and self.reduction == "autoencoder"  # principal components need no held-out rows

    def build(self, shape: tuple[int, ...]) -> Method:
        """Return the module for rows of `shape` (n,)."""
        (n,) = shape
        hidden = tuple(self.hidden_sizes) if self.hidden_sizes is not None else funnel(n)
        by_plane = self.reduction == "pca"
        code_dim = min(self.latent_dim, max(n - 1, 1)) if by_plane else self.latent_dim
        return TwoStepNetwork(
            Plane(n, code_dim) if by_plane else Autoencoder((n, *hidden, code_dim)),
            SecondStep(self.features, self.density, self.n_components, self.n_restarts, self.max_rows),
            n_features=n,
            code_dim=code_dim,
            learning_rate=self.learning_rate,
            pretraining_epochs=self.pretraining_epochs,
            epochs=self.planned_epochs_,
        )
