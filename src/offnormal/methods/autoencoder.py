"""Reconstruction error of an autoencoder.

No single paper: Rumelhart, Hinton, Williams 1986 for the network; Hawkins et al. 2002 and Sakurada and Yairi 2014 for
its error as a score. The presets are the baselines of Zong et al., "Deep Autoencoding Gaussian Mixture Model", ICLR
2018 (E2E-AE, trained end to end, and PAE, pre-trained layer by layer) and of Gong et al., "Memorizing Normality",
ICCV 2019 (AE).

An encoder squeezes a row into a code, a decoder rebuilds the row from it, and the squared error of the rebuilt rows is
minimized. The score is the squared error of a row. With noise the network sees a corrupted row and rebuilds the clean
one (denoising: Vincent et al., JMLR 2010).

Letters: b rows, n features, d code.

Differences from the papers
---------------------------
1. PAE's pre-training is not described in the paper; here each pair of layers learns for a tenth of the epochs, then the
   whole is trained as E2E-AE is.
2. The MemAE paper's epochs and batch size for its tables are unknown to us; DAGMM's are taken.
3. Outside the presets: the code has 8 axes, layer sizes follow the width of the table, columns are standardized, Adam's
   step is 1e-3 over a budget of steps with early stopping on held-out rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from offnormal.backbone_detector import BackboneDetector
from offnormal.batches import Batch, Batches
from offnormal.errors import InvalidParameter, NotSupported
from offnormal.method import Method, Phase, Update
from offnormal.networks.autoencoding import Autoencoding, squared_error
from offnormal.networks.residuals import ResidualModel, replacement_falls
from offnormal.parameters import param
from offnormal.pretraining import layer_wise


class AutoencoderNetwork(Autoencoding, Method):
    """Encoder, decoder, and what their residuals usually look like.

    Parameters
    ----------
    encoder, decoder : nn.Sequential
        h: (b, *shape) -> (b, d), g: (b, d) -> (b, *shape), its mirror.
    shape : tuple of int
        Of a row: (n,), (c, h, w) or (c, t, h, w).
    code_dim : int
    noise : float
        Standard deviation of the Gaussian noise on the input in training, in units of the scaled columns.
    learning_rate : float
    pretraining_epochs : int
        Per pair of layers.
    epochs : int
    """

    exportable = True

    def __init__(
        self,
        encoder: nn.Sequential,
        decoder: nn.Sequential,
        *,
        shape: tuple[int, ...],
        code_dim: int,
        noise: float,
        learning_rate: float,
        pretraining_epochs: int,
        epochs: int,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.noise, self.learning_rate = noise, learning_rate
        self.pretraining_epochs, self.epochs = pretraining_epochs, epochs
        self.residuals = ResidualModel(*shape) if len(shape) == 1 else None
        self.code_dim = code_dim

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return the mean of ‖x − g(h(x + ε))‖², ε the noise of training."""
        noisy = self.noise > 0 and self.training
        seen = batch.x + self.noise * torch.randn_like(batch.x) if noisy else batch.x
        return {"reconstruction": squared_error(batch.x, self.reconstruct(seen)).mean()}

    def phases(self) -> Sequence[Phase]:
        """Pre-train each pair of layers if asked to, then train the whole."""
        adam = partial(torch.optim.Adam, lr=self.learning_rate, fused=True)
        whole = Phase("end_to_end", (Update("end_to_end", self.losses, tuple(self.parameters()), adam),), self.epochs)
        if self.pretraining_epochs == 0:
            return (whole,)
        layers = layer_wise(
            self.encoder, self.decoder, epochs=self.pretraining_epochs, optimizer=adam, noise=self.noise
        )
        return (*layers, whole)

    def summarize(self, batches: Batches) -> None:
        """Note what residuals look like, for reasons; the score needs nothing."""
        if self.residuals is not None:
            self.residuals.learn(batches, self.reconstruct)

    def score(self, x: Tensor) -> Tensor:
        """Return ‖x − x′‖², float64, shape (b,), never negative."""
        return squared_error(x.double(), self.reconstruct(x).double())

    def contributions(self, x: Tensor, groups: Tensor, n_groups: int) -> Mapping[str, Tensor]:
        """Return, per column, how far the score falls if that column alone takes its best replacement.

        A column's own squared residual is no such measure: one wrong value spoils the reconstruction of the others too.
        The replacement is the best of a handful: the value that suits the other residuals best and three quantiles of
        training (categories: the three commonest).
        """
        if self.residuals is None:
            raise NotSupported("Reasons by column are for tables; an image has its map of residuals.")
        (falls,) = replacement_falls(
            x, lambda rows: self.score(rows)[:, None], self.residuals, x - self.reconstruct(x), groups, n_groups
        )
        return {"reconstruction": falls}


_PAPER = {"latent_dim": 1, "scaling": "minmax", "learning_rate": 1e-4, "early_stopping": False}
_E2E_AE: Mapping[str, Mapping[str, Any]] = {
    "kddcup": _PAPER | {"hidden_sizes": (60, 30, 10), "epochs": 200, "batch_size": 1024},
    "kddcup_rev": _PAPER | {"hidden_sizes": (60, 30, 10), "epochs": 400, "batch_size": 1024},
    "thyroid": _PAPER | {"hidden_sizes": (12, 4), "epochs": 20000, "batch_size": 1024},
    "arrhythmia": _PAPER | {"hidden_sizes": (10,), "latent_dim": 2, "epochs": 10000, "batch_size": 128},
}


@dataclass(kw_only=True, eq=False, repr=False)
class Autoencoder(BackboneDetector):
    """Squared reconstruction error of an autoencoder.

    The score is in squared units of the scaled columns, at least 0; greater = more anomalous. It grows without bound
    with the distance of a row, unless the code is as wide as the table.
    """

    key: ClassVar[str] = "autoencoder"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        **_E2E_AE,
        **{
            f"{name}_pretrained": {**preset, "pretraining_epochs": preset["epochs"] // 10}
            for name, preset in _E2E_AE.items()
        },
        "memae_kddcup": {**_E2E_AE["kddcup"], "latent_dim": 3},
    }

    noise: float = param(
        0.0, "Standard deviation of Gaussian noise on the rows in training, in units of the scaled columns.",
        ge=0, source="0: plain; denoising: Vincent et al. 2010",
    )  # fmt: skip
    pretraining_epochs: int = param(
        0, "Passes of layer-wise pre-training, per pair of layers; 0: none.", ge=0,
        source="0: DAGMM's E2E-AE; its PAE does not say, a tenth of the epochs in the presets",
    )  # fmt: skip

    def build(self, shape: tuple[int, ...]) -> Method:
        """Return the network for rows of `shape`.

        Raises
        ------
        InvalidParameter
            If layer-wise pre-training is asked for on images.
        """
        if self.pretraining_epochs and len(shape) > 1:
            raise InvalidParameter("Layer-wise pre-training is for tables; leave pretraining_epochs at 0 for images.")
        encoder, decoder = self.plan(shape).backbone(self.latent_dim)
        return AutoencoderNetwork(
            encoder,
            decoder,
            shape=shape,
            code_dim=self.latent_dim,
            noise=float(self.noise),
            learning_rate=self.learning_rate,
            pretraining_epochs=self.pretraining_epochs,
            epochs=self.planned_epochs_,
        )
