"""Reconstruction error of an autoencoder.

No single paper: Rumelhart, Hinton, Williams 1986 for the network; Hawkins et al. 2002 and Sakurada and Yairi 2014 for
its error as a score; Bergmann et al., VISAPP 2019, for structural similarity in its place. The presets are the
baselines of Zong et al., "Deep Autoencoding Gaussian Mixture Model", ICLR 2018 (E2E-AE, trained end to end, and PAE,
pre-trained layer by layer), of Gong et al., "Memorizing Normality", ICCV 2019, and of Kim et al., "RaPP", ICLR 2020.

An encoder squeezes a row into a code, a decoder rebuilds the row from it, and the difference of the two rows is
minimized: squared, absolute, or for images structural. The score is that difference. With noise the network sees a
corrupted row and rebuilds the clean one (denoising: Vincent et al., JMLR 2010).

Letters: b rows, n features, d code, c t h w channels, frames, height, width; D the difference.

Differences from the papers
---------------------------
1. PAE's pre-training is not described in the paper; here each pair of layers learns for a tenth of the epochs, then the
   whole is trained as E2E-AE is.
2. The MemAE paper's epochs and batch sizes are unknown to us; DAGMM's are taken for the table, and for images 100
   epochs, the most of its video code.
3. RaPP's network has no norm after code and output, as its paper has it (a co-author's code has one after each). Step,
   epochs, batch size and the last weights are that code's; the paper takes the best epoch. Leaky ReLU has slope 0.2.
4. Structural similarity: the constants are Wang's (0.01 L)² and (0.03 L)² for pixels in [0, 1], L = 1, where Bergmann
   et al. are quoted with 0.01 and 0.03; windows at the border see the image reflected; the window is Gaussian (the
   paper's is unknown to us); color by channel, not turned to grey.
5. Outside the presets: the code has 8 axes, layer sizes follow the width of the table, columns are standardized, Adam's
   step is 1e-3 over a budget of steps with early stopping on held-out rows.
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
from offnormal.networks.autoencoding import Autoencoding
from offnormal.networks.mlp import interpolated
from offnormal.networks.residuals import ReconstructionReasons, ResidualModel
from offnormal.networks.similarity import DIFFERENCES, WINDOW, Difference, difference_named
from offnormal.parameters import param
from offnormal.pretraining import layer_wise


class AutoencoderNetwork(ReconstructionReasons, Autoencoding, Method):
    """Encoder, decoder, and what their residuals usually look like.

    Parameters
    ----------
    encoder, decoder : nn.Sequential
        h: (b, *shape) -> (b, d), g: (b, d) -> (b, *shape), its mirror.
    shape : tuple of int
        Of a row: (n,), (c, h, w) or (c, t, h, w).
    code_dim : int
    difference : callable
        D: x, x′ -> the parts of their difference, all (b, *shape).
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
        difference: Difference,
        noise: float,
        learning_rate: float,
        pretraining_epochs: int,
        epochs: int,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder, self.difference = encoder, decoder, difference
        self.noise, self.learning_rate = noise, learning_rate
        self.pretraining_epochs, self.epochs = pretraining_epochs, epochs
        self.residuals = ResidualModel(*shape) if len(shape) == 1 else None
        self.code_dim = code_dim

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return the mean of Σ D(x, g(h(x + ε))), ε the noise of training."""
        noisy = self.noise > 0 and self.training
        seen = batch.x + self.noise * torch.randn_like(batch.x) if noisy else batch.x
        return {"reconstruction": self.difference(batch.x, self.reconstruct(seen)).flatten(1).sum(1).mean()}

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

    def score(self, x: Tensor) -> Tensor:
        """Return Σ D(x, x′), float64, shape (b,), never negative; of the default D, ‖x − x′‖²."""
        return self.difference(x.double(), self.reconstruct(x).double()).flatten(1).sum(1)

    def score_map(self, x: Tensor) -> Tensor:
        """Return D(x, x′) summed over channels, (b, c, h, w) -> (b, h, w); its sum over pixels is the score."""
        return self.difference(x, self.reconstruct(x)).sum(1)


_PAPER = {"latent_dim": 1, "scaling": "minmax", "learning_rate": 1e-4, "early_stopping": False}
_E2E_AE: Mapping[str, Mapping[str, Any]] = {
    "kddcup": _PAPER | {"hidden_sizes": (60, 30, 10), "epochs": 200, "batch_size": 1024},
    "kddcup_rev": _PAPER | {"hidden_sizes": (60, 30, 10), "epochs": 400, "batch_size": 1024},
    "thyroid": _PAPER | {"hidden_sizes": (12, 4), "epochs": 20000, "batch_size": 1024},
    "arrhythmia": _PAPER | {"hidden_sizes": (10,), "latent_dim": 2, "epochs": 10000, "batch_size": 128},
}
_MEMAE_IMAGES: Mapping[str, Any] = {
    "image_activation": "relu", "linear_code": False, "decoder_kernel_sizes": (3,), "learning_rate": 1e-4,
    "epochs": 100, "early_stopping": False,
}  # fmt: skip


@dataclass(kw_only=True, eq=False, repr=False)
class Autoencoder(UnmirroredDetector):
    """Reconstruction error of an autoencoder.

    The score is at least 0; greater = more anomalous. It is in squared units of the scaled columns or pixels, and grows
    without bound with the distance of a row, unless the code is as wide as the table. "l1": the same in plain units.
    "ssim": a number of pixels, at most twice those of an image.
    """

    key: ClassVar[str] = "autoencoder"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        **_E2E_AE,
        **{
            f"{name}_pretrained": {**preset, "pretraining_epochs": preset["epochs"] // 10}
            for name, preset in _E2E_AE.items()
        },
        "memae_kddcup": {**_E2E_AE["kddcup"], "latent_dim": 3},
        "memae_mnist": {
            **_MEMAE_IMAGES, "hidden_sizes": (16, 32, 64), "kernel_sizes": (1, 3, 3),
            "decoder_hidden_sizes": (32, 64, 64),
        },
        "memae_cifar10": {
            **_MEMAE_IMAGES, "hidden_sizes": (64, 128, 128, 256), "kernel_sizes": (3,),
            "decoder_hidden_sizes": (128, 128, 256, 256),
        },
        "memae_video": {
            "hidden_sizes": (96, 128, 256, 256), "kernel_sizes": (3,), "time_strides": (1, 2, 2, 2),
            "linear_code": False, "pixel_scaling": "symmetric", "learning_rate": 1e-4, "epochs": 100, "batch_size": 14,
            "early_stopping": False,
        },
        "rapp_mnist": {
            "network": "dense", "hidden_sizes": interpolated(784, 20, 10), "latent_dim": 20,
            "activation": "leaky_relu", "batch_norm": True, "learning_rate": 1e-3, "epochs": 200, "batch_size": 256,
            "early_stopping": False,
        },
    }  # fmt: skip

    noise: float = param(
        0.0, "Standard deviation of Gaussian noise on the rows in training, in units of the scaled columns.",
        ge=0, source="0: plain; denoising: Vincent et al. 2010",
    )  # fmt: skip
    pretraining_epochs: int = param(
        0, "Passes of layer-wise pre-training, per pair of layers; 0: none.", ge=0,
        source="0: DAGMM's E2E-AE; its PAE does not say, a tenth of the epochs in the presets",
    )  # fmt: skip
    difference: str = param(
        "l2", "What is minimized and scored: squared or absolute error, or for images structural dissimilarity.",
        choices=DIFFERENCES, source="l2: usual; ssim: Bergmann et al. 2019",
    )  # fmt: skip
    ssim_window: int = param(
        WINDOW, "Side of the window of 'ssim', odd, at most the image's.", ge=3, source="Bergmann et al., CVPR 2019"
    )
    linear_code: bool = param(
        True, "Convolutional networks: a code of latent_dim axes, not the feature map of the last convolution.",
        source="a feature map is hardly a bottleneck; MemAE's image networks: in the presets",
    )  # fmt: skip

    def build(self, shape: tuple[int, ...]) -> Method:
        """Return the network for rows of `shape`.

        Raises
        ------
        InvalidParameter
            If layer-wise pre-training is asked for on images, structural similarity on anything but images of pixels
            within [0, 1], or the decoder does not fit the encoder.
        """
        if self.pretraining_epochs and len(shape) > 1:
            raise InvalidParameter("Layer-wise pre-training is for tables; leave pretraining_epochs at 0 for images.")
        if self.difference == "ssim" and self.pixel_scaling != "unit":
            raise InvalidParameter("difference='ssim' compares light with dark, for pixels within [0, 1]; take "
                                   f"pixel_scaling='unit', not {self.pixel_scaling!r}.")  # fmt: skip
        difference = difference_named(self.difference, shape, window=self.ssim_window)
        encoder, decoder, code_dim = self._chains(shape)
        return AutoencoderNetwork(
            encoder,
            decoder,
            shape=shape,
            code_dim=code_dim,
            difference=difference,
            noise=float(self.noise),
            learning_rate=self.learning_rate,
            pretraining_epochs=self.pretraining_epochs,
            epochs=self.planned_epochs_,
        )

    def _chains(self, shape: tuple[int, ...]) -> tuple[nn.Sequential, nn.Sequential, int]:
        """Return encoder, decoder and the width of the code between them."""
        there, back = self.plans(shape, linear_code=self.linear_code)
        if self.linear_code or not there.convolutional:
            return there.encoder(self.latent_dim), back.decoder(self.latent_dim), self.latent_dim
        return there.encoder(None), back.decoder(None), math.prod(there.feature_map)
