"""RaPP: reconstruction along the projection pathway.

Kim, Shim, Lim, Jeon, Choi, Kim, Yoon, "RaPP: Novelty Detection with Reconstruction along Projection Pathway", ICLR
2020. Facts of its code are those of a co-author's repository.

An autoencoder of any kind is trained as it is; only the score is new. The rebuilt row x′ is put through the encoder
again, and the activations of all its layers are compared with those that x gave: an odd row that the decoder happens to
rebuild well still leaves other traces in the hidden layers. SAP is the squared norm of these differences; NAP first
divides them by how far they spread over the training rows, which is a Mahalanobis distance.

Letters: b rows, D numbers along the pathway; h(x) the activations of the chosen layers side by side, d(x) = h(x) −
h(x′), μ and Σ mean and covariance of d over the training rows.

Differences from the paper
--------------------------
1. Directions in which d hardly moves over the training rows, or never: the paper divides by their singular values. Here
   no standard deviation counts as less than `spread_floor` times the largest.
2. NAP is divided by the number of training rows: the squared Mahalanobis distance. The order is the same.
3. A VAE's last layer is the mean of its code, and x′ the mean of the rebuilt row; the paper averages reconstructions
   over ten samples, and its code compares the log-variances too.
4. Batch norm and activation follow the hidden layers only, as the paper says; its code has batch norm on code and
   output too. Leaky ReLU's slope is 0.2; the paper's is unknown to us.
5. The preset keeps the last weights, as the code; the paper (from memory) keeps those of the lowest validation loss.
   Its epochs, batch size and step are the code's; the paper's are unknown to us.
6. Outside the preset: layer sizes, code and training are those of `autoencoder`, and the pathway of a table starts
   with the row itself. Bounded activations saturate: from the first layer on, far rows would all be equally far.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, cast

from torch import Tensor

from offnormal.backbone_detector import BackboneDetector
from offnormal.batches import Batches
from offnormal.errors import InvalidParameter
from offnormal.method import Encodes, Method, Phase
from offnormal.networks.autoencoding import squared_error
from offnormal.networks.mlp import interpolated
from offnormal.networks.pathway import Layered, Spread, pathway_difference, pathway_widths
from offnormal.networks.residuals import ResidualModel, falls_of_parts
from offnormal.parameters import declared, param

BASES = {"autoencoder": "Autoencoder", "vae": "VAE", "aae": "AAE"}
AS_IN_THE_PAPER: dict[str, dict[str, Any]] = {"aae": {"adversarial_weight": 1.0}}
"""Parameters of a base that RaPP does not have itself, where its code differs from the base's default."""
LARGEST_PATHWAY = 5_000
"""Numbers along a pathway up to which NAP is offered: its matrix then takes 200 MB of the model file."""


class AnyAutoencoder(Layered, Encodes, Protocol):
    """What RaPP asks of the network it stands on."""

    residuals: ResidualModel | None

    def score_map(self, x: Tensor) -> Tensor:
        """Return the squared error of each pixel, (b, h, w)."""


class RaPPNetwork(Method):
    """A network of another method, and how its pathway differences spread.

    Parameters
    ----------
    base : Method
        With the pieces of `AnyAutoencoder`.
    shape : tuple of int
        Of a row.
    score_by : {"nap", "sap", "reconstruction"}
    first_layer : int
    spread_floor : float

    Raises
    ------
    InvalidParameter
        If there is no such layer, or the pathway is too wide for NAP.
    """

    exportable = True

    def __init__(
        self, base: Method, *, shape: tuple[int, ...], score_by: str, first_layer: int, spread_floor: float
    ) -> None:
        super().__init__()
        self.base, self.score_by, self.first_layer = base, score_by, first_layer
        base.eval()
        widths = pathway_widths(self._network, shape)
        base.train()
        if first_layer >= len(widths):
            raise InvalidParameter(
                f"first_layer is {first_layer}, and the encoder has {len(widths) - 1} layers; give at most that many."
            )
        width = sum(widths[first_layer:])
        if score_by == "nap" and width > LARGEST_PATHWAY:
            raise InvalidParameter(
                f"The pathway from layer {first_layer} on has {width:,} numbers, and NAP takes at most "
                f"{LARGEST_PATHWAY:,}: the row and its layers have {', '.join(f'{w:,}' for w in widths)}. Give a later "
                "first_layer, network='dense' or smaller hidden_sizes, or score_by='sap'."
            )
        self.spread = Spread(width, spread_floor) if score_by == "nap" else None

    @property
    def _network(self) -> AnyAutoencoder:
        return cast(AnyAutoencoder, self.base)

    # --- of the base ----------------------------------------------------------------------------------------------

    def phases(self) -> Sequence[Phase]:
        """Return the base's: nothing about training is RaPP's own."""
        return self.base.phases()

    def encode(self, x: Tensor) -> Tensor:
        """Return the code, shape (b, d)."""
        return self._network.encode(x)

    def code_names(self) -> tuple[str, ...]:
        """Name the axes of the code."""
        return self._network.code_names()

    def reconstruct(self, x: Tensor) -> Tensor:
        """Return the rebuilt rows, (b, *shape)."""
        return self._network.reconstruct(x)

    def score_map(self, x: Tensor) -> Tensor:
        """Return the squared error of each pixel, (b, h, w): where the row was changed, whatever the score."""
        return self._network.score_map(x)

    # --- RaPP -----------------------------------------------------------------------------------------------------

    def difference(self, x: Tensor) -> Tensor:
        """Return d(x), float64, shape (b, D)."""
        return pathway_difference(self._network, x, self.first_layer)

    def summarize(self, batches: Batches) -> None:
        """Let the base take what it needs, then μ and Σ of the differences."""
        self.base.summarize(batches)
        if self.spread is not None:
            self.spread.learn(batches, self.difference)

    def score(self, x: Tensor) -> Tensor:
        """Return SAP ‖d‖², NAP (d − μ)ᵀ Σ⁻¹ (d − μ), or ‖x − x′‖²; float64, shape (b,), never negative."""
        if self.score_by == "reconstruction":
            return squared_error(x.double(), self.reconstruct(x).double())
        d = self.difference(x)
        return d.square().sum(1) if self.spread is None else self.spread.squared_distance(d)

    def contributions(self, x: Tensor, groups: Tensor, n_groups: int) -> Mapping[str, Tensor]:
        """Return, per column, how far the score falls with its best replacement (`falls_of_parts`)."""
        model = self._network.residuals
        return falls_of_parts(
            lambda rows: {"pathway": self.score(rows)}, model, x, self.reconstruct(x), groups, n_groups
        )


@dataclass(kw_only=True, eq=False, repr=False)
class RaPP(BackboneDetector):
    """How far a row and its reconstruction differ along the layers of the encoder (Kim et al. 2020).

    NAP is a squared Mahalanobis distance, over the fitted rows at most D on average (D: numbers along the pathway); SAP
    is in squared units of activations. At least 0; greater = more anomalous. A table's score grows without bound.
    """

    key: ClassVar[str] = "rapp"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "mnist": {
            "hidden_sizes": interpolated(784, 20, 10),
            "latent_dim": 20,
            "network": "dense",
            "activation": "leaky_relu",
            "batch_norm": True,
            "first_layer": 1,
            "learning_rate": 1e-3,
            "epochs": 200,
            "batch_size": 256,
            "early_stopping": False,
        },
    }

    network: str = param(
        "dense", "Fully connected, convolutional, or by the shape of a row.",
        choices=("auto", "dense", "convolutional"), source="the paper's: images flattened",
    )  # fmt: skip
    base: str = param(
        "autoencoder", "The network RaPP stands on.", choices=tuple(BASES), source="the paper's three; no default there"
    )
    score_by: str = param(
        "nap", "Differences divided by their spread (NAP), as they are (SAP), or those of the row alone.",
        choices=("nap", "sap", "reconstruction"), source="NAP: above SAP in 40 of 45 cells of Table 2",
    )  # fmt: skip
    first_layer: int | None = param(
        None, "Where the pathway starts; 0: the row itself, 1: the encoder's first layer. None: 0 for tables, 1 for "
        "images.",
        kind="int", ge=0, source="images: 1, as MNIST in the paper; tables: 0 did better over eight of them",
    )  # fmt: skip
    spread_floor: float = param(
        1e-2, "Least standard deviation of a direction in NAP, as a share of the largest.", gt=0, le=1,
        source="as good as any below over eight public tables, and far above rounding; the paper: none",
    )  # fmt: skip

    def build(self, shape: tuple[int, ...]) -> Method:
        """Return the base's network for rows of `shape`, with the pathway around it.

        Raises
        ------
        InvalidParameter
            If there is no such layer, or the pathway is too wide for NAP.
        """
        cls = getattr(importlib.import_module(f"offnormal.methods.{self.base}"), BASES[self.base])
        base = cls(
            **{name: getattr(self, name) for name in declared(BackboneDetector)}, **AS_IN_THE_PAPER.get(self.base, {})
        )
        base.planned_epochs_ = self.planned_epochs_
        first_layer = int(len(shape) > 1) if self.first_layer is None else self.first_layer
        return RaPPNetwork(
            base.build(shape),
            shape=shape,
            score_by=self.score_by,
            first_layer=first_layer,
            spread_floor=float(self.spread_floor),
        )
