"""MemAE: an autoencoder that may rebuild a row only from a few learned prototypes.

Gong, Liu, Le, Saha, Mansour, Venkatesh, van den Hengel, "Memorizing Normality to Detect Anomaly: Memory-Augmented Deep
Autoencoder for Unsupervised Anomaly Detection", ICCV 2019.

A plain autoencoder can rebuild anomalies too. Here the decoder never sees the code of a row, only a sparse convex
combination of memory slots that are like it, and the slots are learned to rebuild normal rows. So an anomaly is rebuilt
as something normal, and its squared error is large.

Letters: b rows, p positions, m slots (the paper's N), d width of a slot (its C), z code, w addressing weights, λ cut.

Differences from the paper
--------------------------
1. The loss takes the mean squared error over the features, as the published code does; the paper writes the sum. The
   entropy's weight is relative to it, so that 2e-4 means the same for any width of a row.
2. A query whose weights are all cut is read with its weights before the cut. In the published code it reads zeros, and
   no gradient flows. The cosine leaves weights so alike that at λ = 3/m all are cut in every row of a fresh memory, in
   wide codes already just above 1/m: it would never learn.
3. The gradient of a kept weight is that of w itself; the step at λ, which the paper's quotient smooths over 1e-12, has
   none.
4. λ is 1/m, the low end of the paper's [1/m, 3/m]; its choice per data set is unknown to us, as are the epochs and
   batch sizes of its tables and images. DAGMM's are taken for the table; for images 100 epochs, the video code's most.
   The layers of the presets and the step 1e-4 are from memory, not re-read.
5. The score of a clip is its squared error, where the published code has the absolute one. Errors scaled per video are
   the evaluation's. The weights of the preset "video" begin as Glorot's, not as normal ones of 0.02.
6. Outside the presets: as `autoencoder`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from offnormal.backbone_detector import UnmirroredDetector
from offnormal.batches import Batch
from offnormal.errors import InvalidParameter
from offnormal.method import Method, Phase, Update
from offnormal.networks.autoencoding import Autoencoding, squared_error
from offnormal.networks.backbones import Plan
from offnormal.networks.memory import Memory, entropy
from offnormal.networks.residuals import ReconstructionReasons, ResidualModel
from offnormal.parameters import param


class MemAENetwork(ReconstructionReasons, Autoencoding, Method):
    """Encoder, memory, decoder, and what their residuals usually look like.

    Parameters
    ----------
    encoder, decoder : nn.Sequential
        f_e: (b, *shape) -> (b, p · d), f_d: (b, p · d) -> (b, *shape).
    memory : Memory
    shape : tuple of int
        Of a row: (n,), (c, h, w) or (c, t, h, w).
    entropy_weight : float
        α.
    learning_rate : float
    epochs : int
    """

    exportable = True

    def __init__(
        self,
        encoder: nn.Sequential,
        decoder: nn.Sequential,
        memory: Memory,
        *,
        shape: tuple[int, ...],
        entropy_weight: float,
        learning_rate: float,
        epochs: int,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder, self.memory = encoder, decoder, memory
        self.entropy_weight, self.learning_rate, self.epochs = entropy_weight, learning_rate, epochs
        self.n_features = math.prod(shape)
        self.code_dim = memory.positions * memory.slots.shape[1]
        self.residuals = ResidualModel(*shape) if len(shape) == 1 else None

    def reconstruct(self, x: Tensor) -> Tensor:
        """Return f_d(ŵ M), the rows rebuilt from the memory alone, (b, *shape)."""
        return self.remember(x)[0]

    def remember(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the rebuilt rows (b, *shape) and the weights of the slots (b, p, m) they were rebuilt from."""
        read, weights = self.memory(self.encoder(x))
        return self.decoder(read), weights

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return the mean of ‖x − x̂‖²/n and α times the mean entropy of the weights."""
        rebuilt, weights = self.remember(batch.x)
        return {
            "reconstruction": squared_error(batch.x, rebuilt).mean() / self.n_features,
            "entropy": self.entropy_weight * entropy(weights).mean(),
        }

    def phases(self) -> Sequence[Phase]:
        """Train encoder, memory and decoder together."""
        adam = partial(torch.optim.Adam, lr=self.learning_rate, fused=True)
        return (Phase("end_to_end", (Update("end_to_end", self.losses, tuple(self.parameters()), adam),), self.epochs),)

    def score(self, x: Tensor) -> Tensor:
        """Return ‖x − x̂‖², float64, shape (b,), never negative."""
        return squared_error(x.double(), self.reconstruct(x).double())


_IMAGES = {
    "image_activation": "relu", "decoder_kernel_sizes": (3,), "learning_rate": 1e-4, "epochs": 100,
    "early_stopping": False,
}  # fmt: skip


@dataclass(kw_only=True, eq=False, repr=False)
class MemAE(UnmirroredDetector):
    """Squared error of rows rebuilt from a memory of normal prototypes.

    The score is in squared units of the scaled columns, at least 0; greater = more anomalous. It grows without bound
    with the distance of a row: what is rebuilt lies in the image of the slots' convex hull.
    """

    key: ClassVar[str] = "memae"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "kddcup": {
            "hidden_sizes": (60, 30, 10), "latent_dim": 3, "n_slots": 50, "scaling": "minmax", "learning_rate": 1e-4,
            "epochs": 200, "batch_size": 1024, "early_stopping": False,
        },
        "mnist": {
            **_IMAGES, "hidden_sizes": (16, 32, 64), "kernel_sizes": (1, 3, 3), "n_slots": 100,
            "decoder_hidden_sizes": (32, 64, 64),
        },
        "cifar10": {
            **_IMAGES, "hidden_sizes": (64, 128, 128, 256), "kernel_sizes": (3,), "n_slots": 500,
            "decoder_hidden_sizes": (128, 128, 256, 256),
        },
        "video": {
            "hidden_sizes": (96, 128, 256, 256), "kernel_sizes": (3,), "time_strides": (1, 2, 2, 2), "n_slots": 2000,
            "pixel_scaling": "symmetric", "learning_rate": 1e-4, "epochs": 100, "batch_size": 14,
            "early_stopping": False,
        },
    }  # fmt: skip

    n_slots: int | None = param(
        None, "Slots of the memory. None: 50 for tables, 100 for images, 2,000 for positions of feature maps.",
        kind="int", ge=1, source="the paper's for KDDCUP, MNIST and video",
    )  # fmt: skip
    addressing: str = param(
        "cosine", "How alike a code and a slot are: cosine, or dot product.", choices=("cosine", "dot"),
        source="the paper; its published code: dot",
    )  # fmt: skip
    shrinkage: float = param(
        1.0, "Weights of at most this over the number of slots are cut; 0: none are.", ge=0,
        source="the paper: 1 to 3; at 1 no row loses every weight",
    )  # fmt: skip
    entropy_weight: float = param(
        2e-4, "Weight of the entropy of the addressing weights, against the mean squared error of a feature; 0: none.",
        ge=0, source="the paper, all experiments",
    )  # fmt: skip
    linear_code: bool | None = param(
        None, "Convolutional networks: a code of latent_dim axes, not the feature map of the last convolution. "
        "None: the feature map.",
        kind="bool", source="the paper's image networks have no linear layer",
    )  # fmt: skip
    memory_per_position: bool | None = param(
        None, "Read the memory at every position of the feature map, not with the whole of it. None: clips only.",
        kind="bool", source="the paper's: whole image codes, positions of clips",
    )  # fmt: skip

    def build(self, shape: tuple[int, ...]) -> Method:
        """Return the network for rows of `shape`.

        Raises
        ------
        InvalidParameter
            If positions are asked for where there is no feature map, or the decoder does not fit the encoder.
        """
        there, back = self.plans(shape, linear_code=bool(self.linear_code))
        linear = not there.convolutional or bool(self.linear_code)
        return MemAENetwork(
            there.encoder(self.latent_dim if linear else None),
            back.decoder(self.latent_dim if linear else None),
            self._memory(there, linear=linear),
            shape=shape,
            entropy_weight=float(self.entropy_weight),
            learning_rate=self.learning_rate,
            epochs=self.planned_epochs_,
        )

    def _memory(self, there: Plan, *, linear: bool) -> Memory:
        """Return a fresh memory for the codes of an encoder."""
        clips = len(there.shape) == 4
        by_position = clips and not linear if self.memory_per_position is None else bool(self.memory_per_position)
        if by_position and linear:
            raise InvalidParameter("Only feature maps have positions; memory_per_position needs convolutions without "
                                   "a linear code.")  # fmt: skip
        width = self.latent_dim if linear else math.prod(there.feature_map)
        positions = math.prod(there.feature_map[1:]) if by_position else 1
        usual = 2000 if by_position else 100 if len(there.shape) > 1 else 50
        n_slots = usual if self.n_slots is None else self.n_slots
        cut = float(self.shrinkage) / n_slots
        return Memory(n_slots, width // positions, addressing=self.addressing, cut=cut, positions=positions)
