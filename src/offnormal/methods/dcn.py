"""Deep clustering network.

Yang, Fu, Sidiropoulos, Hong, "Towards K-means-friendly Spaces: Simultaneous Deep Learning and Clustering", ICML 2017;
as an anomaly score in Zong et al., ICLR 2018.

An autoencoder is pre-trained layer by layer, and k-means on its codes gives the first centers. Then network and centers
take turns: the network is trained to rebuild its rows and to bring each code nearer to the center it is assigned to;
the codes are assigned anew; the centers move towards their codes. The score is the distance of a row's code to the
nearest center.

Letters: b rows, n features, d code, k clusters; f encoder, g decoder, M centers, s assignments, c counts.

Differences from the paper
--------------------------
1. The network's step takes for s the nearest center at that moment; the paper keeps the assignment of the row's last
   visit. Nothing is kept per row.
2. A batch is assigned to the centers as they were before it, and then moves them, as in the authors' code; the paper
   goes row by row. Given the assignments, the move equals that of its rows one after another.
3. Counts start at 100 per center, as in the authors' code. The code also repeats k-means over all rows every ten
   epochs; the paper does not, nor do we.
4. Adam instead of gradient descent with momentum; encoder and decoder do not share weights; the decoder learns before
   its ReLU in pre-training.
5. Clusters, code and network of the anomaly score in Zong et al. are unknown to us: the presets take DAGMM's, with
   a tenth of the epochs as pre-training per pair of layers.
6. Outside the presets: the code has 8 axes, layer sizes follow the width of the table, columns are standardized, Adam's
   step is 1e-3 over a budget of steps with early stopping on held-out rows.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from offnormal.batches import Batch, Batches
from offnormal.detector import TrainedDetector
from offnormal.method import Method, Phase, Update
from offnormal.networks.autoencoding import Autoencoding
from offnormal.networks.clustering import k_means
from offnormal.networks.mlp import funnel, mlp
from offnormal.networks.residuals import ResidualModel, replacement_falls
from offnormal.parameters import param
from offnormal.pretraining import layer_wise

FIRST_COUNT = 100.0
"""Rows that a center from k-means stands for; the authors' code."""
RESTARTS = 10
"""Starts of k-means; the authors' code."""
ROWS_FOR_CENTERS = 100_000
"""Most rows that k-means looks at."""
COLLAPSED = 0.02
"""Share of its first value below which a spread counts as gone."""


class Spread(NamedTuple):
    """Mean squared distances in the space of the code.

    Attributes
    ----------
    within : float
        Of the rows to their nearest center.
    between : float
        Of those centers to their mean, each counted as often as it has rows.
    """

    within: float
    between: float


def collapse(first: Spread, last: Spread) -> str | None:
    """Return in words what became of the spread after pre-training if it is all but gone, else None.

    A λ too large draws every row onto its center, or the centers together. Either way the loss looks fine.
    """
    if first.between == 0 or first.within == 0:  # one center, or no more different rows than centers
        return None
    if last.between < COLLAPSED * first.between:
        left = last.between / first.between
        return f"The cluster centers drew together: their spread is {left:.1g} of what it was before."
    tightness = (last.within / last.between) / (first.within / first.between)
    if tightness < COLLAPSED:
        return (
            "The rows collapsed onto the cluster centers: relative to the spread of the centers, their mean squared "
            f"distance is {tightness:.1g} of what it was before."
        )
    return None


class DCNNetwork(Autoencoding, Method):
    """The paper as one module.

    Parameters
    ----------
    encoder, decoder : nn.Sequential
        f: (b, n) -> (b, d), g: (b, d) -> (b, n), its mirror.
    n_features, code_dim, n_clusters : int
    clustering_weight : float
        λ.
    learning_rate : float
    pretraining_epochs : int
        Per pair of layers.
    epochs : int
    """

    exportable = True
    centers: Tensor
    counts: Tensor
    spreads: Tensor

    def __init__(
        self,
        encoder: nn.Sequential,
        decoder: nn.Sequential,
        *,
        n_features: int,
        code_dim: int,
        n_clusters: int,
        clustering_weight: float,
        learning_rate: float,
        pretraining_epochs: int,
        epochs: int,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.clustering_weight, self.learning_rate = clustering_weight, learning_rate
        self.pretraining_epochs, self.epochs = pretraining_epochs, epochs
        self.residuals = ResidualModel(n_features)
        self.code_dim = code_dim
        self.register_buffer("centers", torch.zeros(n_clusters, code_dim, dtype=torch.float64))  # M
        self.register_buffer("counts", torch.zeros(n_clusters, dtype=torch.float64))  # c
        self.register_buffer("spreads", torch.zeros(2, len(Spread._fields), dtype=torch.float64))  # first, last

    # --- forward pieces -------------------------------------------------------------------------------------------

    def _squared_distances(self, code: Tensor) -> Tensor:
        """Return the squared distances to all centers, float64, shape (b, k)."""
        return (code.double()[:, None, :] - self.centers).square().sum(2)

    # --- losses ---------------------------------------------------------------------------------------------------

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return the two terms of equation 6: reconstruction, and λ/2 ‖f(x) − M s‖² with M and s fixed."""
        code = self.encoder(batch.x)
        to_own_center = self._squared_distances(code).amin(1)
        return {
            "reconstruction": (batch.x - self.decoder(code)).square().sum(1).mean(),
            "clustering": 0.5 * self.clustering_weight * to_own_center.mean(),
        }

    def phases(self) -> Sequence[Phase]:
        """Pre-train layer by layer; then k-means, and the turns of network and centers (algorithm 1)."""
        adam = partial(torch.optim.Adam, lr=self.learning_rate, fused=True)
        pretraining = layer_wise(self.encoder, self.decoder, epochs=self.pretraining_epochs, optimizer=adam)
        network = Update("network", self.losses, tuple(self.parameters()), adam)
        clustering = Phase(
            "clustering", (network,), self.epochs, begin=self.place_centers, after_batch=self.move_centers
        )
        return (*pretraining, clustering)

    # --- centers --------------------------------------------------------------------------------------------------

    def place_centers(self, batches: Batches) -> None:
        """Set the centers by k-means on the codes of the training rows."""
        codes = torch.cat([self.encode(batch.x).double() for batch in batches]).cpu()
        if len(codes) > ROWS_FOR_CENTERS:
            codes = codes[torch.randperm(len(codes))[:ROWS_FOR_CENTERS]]
        k = min(len(self.centers), len(codes))
        found, _ = k_means(codes, k, restarts=RESTARTS, seed=int(torch.randint(2**31 - 1, ())))
        self.centers.copy_(torch.cat([found, found[:1].expand(len(self.centers) - k, -1)]))
        self.counts.fill_(FIRST_COUNT)
        self._note_spread(0, batches)

    def move_centers(self, batch: Batch) -> None:
        """Assign the batch, and move each center by m ← m − (m − f(x)) / c for its rows one after another (§3.3).

        With r rows of sum Σ that is m ← (c m + Σ) / (c + r): c counts before them.
        """
        code = self.encode(batch.x).double()
        own = nn.functional.one_hot(self._squared_distances(code).argmin(1), len(self.centers)).to(code.dtype)
        counts = self.counts + own.sum(0)
        self.centers.copy_((self.counts[:, None] * self.centers + own.T @ code) / counts[:, None])
        self.counts.copy_(counts)

    def _note_spread(self, place: int, batches: Batches) -> None:
        sizes, within = torch.zeros_like(self.counts), self.counts.new_zeros(())
        for batch in batches:
            nearest = self._squared_distances(self.encode(batch.x)).min(1)
            within = within + nearest.values.sum()
            sizes += nearest.indices.bincount(minlength=len(sizes))
        share = sizes / sizes.sum()
        between = share @ (self.centers - share @ self.centers).square().sum(1)
        self.spreads[place].copy_(torch.stack([within / batches.n_rows, between]))

    @property
    def first_spread(self) -> Spread:
        """The spread after pre-training and k-means."""
        return Spread(*self.spreads[0].tolist())

    @property
    def spread(self) -> Spread:
        """The spread after training."""
        return Spread(*self.spreads[1].tolist())

    # --- after training -------------------------------------------------------------------------------------------

    def summarize(self, batches: Batches) -> None:
        """Measure the spread and say so if it collapsed; note what residuals look like, for reasons."""
        if not bool(self.counts.any()):  # training ended before the clustering began
            self.place_centers(batches)
        self._note_spread(1, batches)
        self.residuals.learn(batches, self.reconstruct)
        problem = collapse(self.first_spread, self.spread)
        if problem is not None:
            warnings.warn(
                f"{problem} The clustering outweighs the reconstruction, and distances to the centers say little about "
                f"the rows. Lower clustering_weight (now {self.clustering_weight:g}).",
                UserWarning,
                stacklevel=2,
            )

    def score(self, x: Tensor) -> Tensor:
        """Return min_k ‖f(x) − m_k‖, float64, shape (b,), never negative."""
        return self._squared_distances(self.encode(x)).amin(1).sqrt()

    def contributions(self, x: Tensor, groups: Tensor, n_groups: int) -> Mapping[str, Tensor]:
        """Return, per column, how many nats fall if that column alone took its best replacement.

        Two measures are added: half the squared distance to the nearest center over its mean per axis (the score, as
        −log p of equal round clusters, less a constant), and the deviance ½ rᵀ Σ_r⁻¹ r of the residual r = x − g(f(x))
        under the covariance of the training residuals, since a relation between columns that the code does not hold is
        seen there alone. The replacement is the best of a handful: the value that suits the residuals of the other
        columns best and three quantiles of training (categories: the three commonest).
        """

        def measures(rows: Tensor) -> Tensor:
            code = self.encode(rows)
            deviance = self.residuals.deviance(rows - self.decoder(code))
            return torch.stack([deviance, self._squared_distances(code).amin(1) / (2 * variance)], dim=1)

        variance = self.spreads[1, 0] / self.code_dim + 1e-12  # identical rows have none
        residual = x - self.reconstruct(x)
        reconstruction, distance = replacement_falls(x, measures, self.residuals, residual, groups, n_groups)
        return {"reconstruction": reconstruction, "distance": distance}


_PAPER = {"latent_dim": 1, "scaling": "minmax", "learning_rate": 1e-4, "early_stopping": False, "batch_size": 1024}
_KDDCUP = {"hidden_sizes": (60, 30, 10)}


@dataclass(kw_only=True, eq=False, repr=False)
class DCN(TrainedDetector):
    """Deep clustering network (Yang et al. 2017).

    The score is the distance of a row's code to the nearest cluster center, at least 0 and without bound, in units of
    the code; it compares rows within one fitted model and not across models. Greater = more anomalous.
    """

    key: ClassVar[str] = "dcn"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "kddcup": _PAPER | _KDDCUP | {"n_clusters": 4, "epochs": 200, "pretraining_epochs": 20},
        "kddcup_rev": _PAPER | _KDDCUP | {"n_clusters": 2, "epochs": 400, "pretraining_epochs": 40},
        "thyroid": _PAPER | {"hidden_sizes": (12, 4), "n_clusters": 2, "epochs": 20000, "pretraining_epochs": 2000},
        "arrhythmia": _PAPER
        | {"hidden_sizes": (10,), "latent_dim": 2, "n_clusters": 2, "batch_size": 128}
        | {"epochs": 10000, "pretraining_epochs": 1000},
    }

    latent_dim: int = param(8, "Width of the code.", ge=1, source="as `dagmm`; the authors' code: 10 for MNIST")
    n_clusters: int = param(4, "Clusters K.", ge=1, source="as DAGMM's components, KDDCUP; unknown for tables")
    hidden_sizes: tuple[int, ...] | None = param(
        None, "Hidden widths of the encoder, with ReLU; the decoder mirrors them. None: from the table's width.",
        kind="ints", ge=1, source="None: at least 64-32, up to 256-128 for wide tables; presets: DAGMM §4.3",
    )  # fmt: skip
    clustering_weight: float = param(
        0.1, "λ, weight of the squared distance to the own center.", ge=0,
        source="best of 0.1, 1, 5 and 50 over four public tables; the larger, the worse",
    )  # fmt: skip
    pretraining_epochs: int | None = param(
        None, "Passes of layer-wise pre-training, per pair of layers; 0: none. None: a tenth of the epochs.",
        kind="int", ge=0, source="the authors' code: 250 before 50 on MNIST; a tenth as in the other presets",
    )  # fmt: skip

    def build(self, shape: tuple[int, ...]) -> Method:
        """Return the network for rows of `shape` (n,)."""
        (n,) = shape
        hidden = tuple(self.hidden_sizes) if self.hidden_sizes is not None else funnel(n)
        tenth = math.ceil(self.planned_epochs_ / 10)
        return DCNNetwork(
            mlp((n, *hidden, self.latent_dim), activation=nn.ReLU),
            mlp((self.latent_dim, *reversed(hidden), n), activation=nn.ReLU),
            n_features=n,
            code_dim=self.latent_dim,
            n_clusters=self.n_clusters,
            clustering_weight=self.clustering_weight,
            learning_rate=self.learning_rate,
            pretraining_epochs=tenth if self.pretraining_epochs is None else self.pretraining_epochs,
            epochs=self.planned_epochs_,
        )
