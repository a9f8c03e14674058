"""Autoencoders for brain MRI: slices of healthy brains in, lesions out as what is not rebuilt.

Baur, Wiestler, Albarqouni and Navab, "Deep Autoencoding Models for Unsupervised Anomaly Segmentation in Brain MR
Images", MICCAI BrainLes 2018 ("the paper"); Baur, Denner, Wiestler, Navab and Albarqouni, "Autoencoders for
unsupervised anomaly segmentation in brain MR images: a comparative study", Medical Image Analysis 69, 2021 ("the
study", whose code we follow).

A network sees whole slices of healthy brains and learns to rebuild them by absolute error; a lesion is something it
has not seen, so it is rebuilt as healthy tissue and stands out in the difference. The code may be a vector ("dense") or
stay a small map ("spatial"), which keeps the place of things. The network is a plain autoencoder, a variational one
(VAE), or one whose rebuilt slices a critic must take for real ones (AnoVAEGAN).

Letters: b rows, d code, c t h w channels, frames, height, width; μ, σ of the code; D the critic.

Differences from the paper and the study
----------------------------------------
1. The networks are those of the study's code, for any size: sides are halved while the shorter one stays at least
   `smallest_side`, once at least, odd sides upward; two pixels are added on every side before a convolution (the
   study's library adds one and two). Leaky ReLU has slope 0.2. Clips are halved along time too.
2. Tables, and network="dense", have no map: a dense code, whatever `code` says.
3. A dense code has at most half as many axes as a row has values: wider, it could copy small images and tables.
4. A spatial VAE is the paper's; the study's VAEs are dense. Its two heads are 1×1 convolutions, of as many channels.
5. The norms of AnoVAEGAN's decoder and critic are of each row over all channels and pixels; which axes the code takes
   is unknown to us. log σ is kept within [−5, 5].
6. The penalty on the critic is of the whole image, as WGAN-GP's; the code's, of each column of pixels, is an option.
7. Early stopping keeps the weights of the best epoch (the code those of the last) and is never used on AnoVAEGAN.
8. Scoring takes μ for the code of a VAE: no draw. The code's score of pixels after a draw, or averaged over dropout, is
   not here.
9. Epochs are unknown to us but for the code's examples, which take two: the library's budget of steps, or `epochs`.
   The values of "paper" are from memory and uncertain.
10. Outside the presets: Adam's step is 1e-3 over 2,000 steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from offnormal.backbone_detector import BackboneDetector
from offnormal.batches import Batch
from offnormal.errors import InvalidParameter
from offnormal.method import Method, Phase, Update
from offnormal.networks.adversarial import gradient_penalty
from offnormal.networks.autoencoding import Autoencoding
from offnormal.networks.backbones import Plan, hidden_activations
from offnormal.networks.residual_blocks import batch_norm, layer_norm
from offnormal.networks.residuals import ReconstructionReasons, ResidualModel
from offnormal.networks.spatial import (
    column_penalty,
    dense_code,
    halving_channels,
    map_decoder,
    map_encoder,
    mirrored_channels,
    pointwise,
    spatial_code,
)
from offnormal.parameters import param

MODELS = ("ae", "vae", "anovaegan")
LOG_DEVIATIONS = (-5.0, 5.0)
"""Range of log σ: standard deviations from 0.0067 to 148."""
GAME_BETAS = (0.5, 0.9)
"""Adam's decays where there is a critic; the study's."""

Penalty = Callable[[Callable[[Tensor], Tensor], Tensor, Tensor], Tensor]


class BrainAutoencoderNetwork(ReconstructionReasons, Autoencoding, Method):
    """Encoder, decoder, and for AnoVAEGAN a critic.

    Parameters
    ----------
    encoder, decoder : nn.Sequential
        (b, *shape) -> (b, d), of a VAE (b, 2d), μ and log σ; (b, d) -> (b, *shape).
    critic : nn.Sequential or None
        (b, *shape) -> (b, 1, …), one verdict for each place of the smallest map; None: no game.
    shape : tuple of int
        Of a row: (n,), (c, h, w) or (c, t, h, w).
    code_dim : int
    variational : bool
    kl_weight : float
        0: the term is left out.
    penalty : callable
        Critic, real, fake -> the penalty on its slope.
    penalty_weight : float
    critic_steps : int
        Steps of the critic on each batch.
    hyperintense : bool
        Whether a map has only what is brighter than it is rebuilt.
    learning_rate : float
    epochs : int
    """

    exportable = True

    def __init__(
        self,
        encoder: nn.Sequential,
        decoder: nn.Sequential,
        critic: nn.Sequential | None,
        *,
        shape: tuple[int, ...],
        code_dim: int,
        variational: bool,
        kl_weight: float,
        penalty: Penalty,
        penalty_weight: float,
        critic_steps: int,
        hyperintense: bool,
        learning_rate: float,
        epochs: int,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder, self.critic = encoder, decoder, critic
        self.code_dim, self.variational, self.kl_weight = code_dim, variational, kl_weight
        self.penalty, self.penalty_weight, self.critic_steps = penalty, penalty_weight, critic_steps
        self.hyperintense = hyperintense
        self.learning_rate, self.epochs = learning_rate, epochs
        self.residuals = ResidualModel(*shape) if len(shape) == 1 else None

    # --- the code -------------------------------------------------------------------------------------------------

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return μ and log σ of a VAE's code, both (b, d)."""
        mean, log_deviation = self.encoder(x).chunk(2, dim=1)
        return mean, log_deviation.clamp(*LOG_DEVIATIONS)

    def encode(self, x: Tensor) -> Tensor:
        """Return the code, of a VAE μ, shape (b, d)."""
        code: Tensor = self.posterior(x)[0] if self.variational else self.encoder(x)
        return code

    def encoder_layers(self, x: Tensor) -> list[Tensor]:
        """Return what each layer of the encoder gives, the code last: [(b, …), …, (b, d)]."""
        *hidden, code = hidden_activations(self.encoder, x)
        return [*hidden, code[:, : self.code_dim]]

    def reconstruct(self, x: Tensor) -> Tensor:
        """Return the rows rebuilt from the code, of a VAE from μ, (b, *shape)."""
        rebuilt: Tensor = self.decoder(self.encode(x))
        return rebuilt

    def redrawn(self, x: Tensor) -> Tensor:
        """Return the rows rebuilt from one draw of a VAE's code, (b, *shape)."""
        return self._drawn(*self.posterior(x))

    def _drawn(self, mean: Tensor, log_deviation: Tensor) -> Tensor:
        drawn: Tensor = self.decoder(mean + log_deviation.exp() * torch.randn_like(mean))
        return drawn

    # --- training -------------------------------------------------------------------------------------------------

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return the mean of Σ|x − x̂|, and of a VAE λ·KL(N(μ, σ²) ‖ N(0, I)), x̂ rebuilt from one draw of the code."""
        if not self.variational:
            return {"reconstruction": _summed(_absolute(batch.x, self.reconstruct(batch.x))).mean()}
        mean, log_deviation = self.posterior(batch.x)
        terms = {"reconstruction": _summed(_absolute(batch.x, self._drawn(mean, log_deviation))).mean()}
        if self.kl_weight > 0:
            terms["kl"] = self.kl_weight * divergence_from_prior(mean, log_deviation).mean()
        return terms

    def generator_losses(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return the mean of −D(x̂)."""
        return {"generator": -self._verdict(self.redrawn(batch.x)).mean()}

    def critic_losses(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return the means of D(x̂) and −D(x), and the weighted penalty on the slope of D between the two."""
        with torch.no_grad():
            fake = self.redrawn(batch.x)
        return {
            "fake": self._verdict(fake).mean(),
            "real": -self._verdict(batch.x).mean(),
            "penalty": self.penalty_weight * self.penalty(self._verdict, batch.x, fake),
        }

    def _verdict(self, x: Tensor) -> Tensor:
        assert self.critic is not None
        verdict: Tensor = self.critic(x)
        return verdict

    def phases(self) -> Sequence[Phase]:
        """One phase; of AnoVAEGAN, on each batch: VAE, decoder against the critic, the critic several times."""
        adam = partial(torch.optim.Adam, lr=self.learning_rate, fused=True)
        whole = (*self.encoder.parameters(), *self.decoder.parameters())
        if self.critic is None:
            return (Phase("end_to_end", (Update("end_to_end", self.losses, whole, adam),), self.epochs),)
        adam = partial(adam, betas=GAME_BETAS)
        vae = Update("vae", self.losses, whole, adam)
        generator = Update("generator", self.generator_losses, tuple(self.decoder.parameters()), adam)
        critic = Update("critic", self.critic_losses, tuple(self.critic.parameters()), adam)  # of one name: one Adam
        return (Phase("adversarial", (vae, generator, *[critic] * self.critic_steps), self.epochs),)

    # --- scoring --------------------------------------------------------------------------------------------------

    def score(self, x: Tensor) -> Tensor:
        """Return Σ|x − x̂|, float64, shape (b,), at least 0."""
        return _summed(_absolute(x.double(), self.reconstruct(x).double()))

    def score_map(self, x: Tensor) -> Tensor:
        """Return |x − x̂| of each pixel, or max(x − x̂, 0) if `hyperintense`, summed over channels: (b, c, …) -> (b, …).

        The sum of a map of |x − x̂| is the score.
        """
        rebuilt = self.reconstruct(x)
        return ((x - rebuilt).clamp(min=0) if self.hyperintense else _absolute(x, rebuilt)).sum(1)


def divergence_from_prior(mean: Tensor, log_deviation: Tensor) -> Tensor:
    """Return KL(N(μ, diag σ²) ‖ N(0, I)) = ½ Σ_j (μ_j² + σ_j² − log σ_j² − 1): (b, d), (b, d) -> (b,)."""
    return 0.5 * (mean.square() + (2 * log_deviation).exp() - 2 * log_deviation - 1).sum(1)


def _absolute(x: Tensor, rebuilt: Tensor) -> Tensor:
    return (x - rebuilt).abs()


def _summed(values: Tensor) -> Tensor:
    """Sum over everything but the rows: (b, …) -> (b,)."""
    return values.flatten(1).sum(1)


@dataclass(kw_only=True, eq=False, repr=False)
class BrainAutoencoder(BackboneDetector):
    """Absolute reconstruction error of an autoencoder, VAE or AnoVAEGAN with a dense or a spatial code.

    The score is at least 0; greater = more anomalous. It is in units of the scaled pixels, summed over them: of two
    slices, the one with more brain in it has the larger. `residual_maps` says where; `offnormal.postprocessing` makes
    lesions of the maps of a volume.
    """

    key: ClassVar[str] = "brain_autoencoder"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "study": {"learning_rate": 1e-4, "batch_size": 128},
        "paper": {
            "model": "anovaegan", "code": "spatial", "smallest_side": 16, "hidden_sizes": (32, 64, 64, 64),
            "learning_rate": 1e-3, "batch_size": 8, "epochs": 150, "early_stopping": False,
        },
    }  # fmt: skip

    latent_dim: int = param(
        128, "Width of a dense code; at most half as many axes as a row has values. A spatial code is the map.",
        ge=1, source="the study's code",
    )  # fmt: skip
    kernel_sizes: tuple[int, ...] = param(
        (5,), "Sides of the convolutions' kernels, one for all or one for each; strides are 2.", ge=1,
        source="the study's code",
    )  # fmt: skip
    model: str = param(
        "ae", "Plain autoencoder, variational one, or that with a critic of what it rebuilds.", choices=MODELS,
        source="ae: the fastest; the paper compares the three",
    )  # fmt: skip
    code: str = param(
        "spatial", "Of images: a vector, or the smallest map as it is.", choices=("dense", "spatial"),
        source="the paper: spatial codes are far better",
    )  # fmt: skip
    smallest_side: int = param(
        8, "Convolutions halve the image while its shorter side stays at least this; hidden_sizes overrule it.",
        ge=1, source="the study's code",
    )  # fmt: skip
    dropout: float = param(0.2, "Share of the code dropped in training.", ge=0, lt=1, source="the study's code")
    kl_weight: float = param(
        1.0, "Weight of the KL term of a VAE; 0: none.", ge=0, source="the study's code; the paper's is unknown to us"
    )
    critic_steps: int = param(5, "Steps of AnoVAEGAN's critic on each batch.", ge=1, source="the study's code")
    penalty_weight: float = param(
        10.0, "Weight of the penalty on the slope of the critic.", gt=0, source="WGAN-GP; the study's code"
    )
    penalty_over: str = param(
        "image", "The slope's norm is of a whole image, or of each column of its pixels.", choices=("image", "column"),
        source="image: WGAN-GP; the study's code: column",
    )  # fmt: skip
    hyperintense: bool = param(
        False, "Maps of pixels have only what is brighter than rebuilt; the score is the same.",
        source="False: nothing is known of the anomalies; the study's: True, for lesions in FLAIR",
    )  # fmt: skip

    def build(self, shape: tuple[int, ...]) -> Method:
        """Return the network for rows of `shape`."""
        plan = self.plan(shape)
        encoder, decoder, critic, code_dim = self._maps(plan) if plan.convolutional else self._dense(plan)
        return BrainAutoencoderNetwork(
            encoder,
            decoder,
            critic if self.model == "anovaegan" else None,
            shape=shape,
            code_dim=code_dim,
            variational=self.model != "ae",
            kl_weight=float(self.kl_weight),
            penalty=gradient_penalty if self.penalty_over == "image" else column_penalty,
            penalty_weight=float(self.penalty_weight),
            critic_steps=self.critic_steps,
            hyperintense=self.hyperintense,
            learning_rate=self.learning_rate,
            epochs=self.planned_epochs_,
        )

    def plan(self, shape: tuple[int, ...]) -> Plan:
        """Return how to build networks for rows of `shape`: images are halved down to `smallest_side`.

        Raises
        ------
        InvalidParameter
            If images are to go through no convolution at all.
        """
        plan = super().plan(shape)
        if plan.convolutional and self.hidden_sizes is not None and not self.hidden_sizes:
            raise InvalidParameter("hidden_sizes needs at least one number for images: their code is a smaller map.")
        if not plan.convolutional or self.hidden_sizes is not None:
            return plan
        return replace(plan, hidden_sizes=halving_channels(shape, self.smallest_side))

    def _maps(self, plan: Plan) -> tuple[nn.Sequential, nn.Sequential, nn.Sequential, int]:
        """Return encoder, decoder and critic of images, and the width of the code."""
        axes, parts, dropout = len(plan.shape) - 1, 1 if self.model == "ae" else 2, float(self.dropout)
        width = self._width(plan) if self.code == "dense" else math.prod(plan.feature_map)
        make, back = (
            dense_code(plan, width, parts, dropout) if self.code == "dense" else spatial_code(plan, parts, dropout)
        )
        norm = batch_norm(axes) if plan.batch_norm else nn.Identity
        outward = layer_norm if self.model == "anovaegan" else norm
        channels = mirrored_channels(self.hidden_sizes, len(plan.sizes()))
        critic = nn.Sequential(*map_encoder(plan, layer_norm), pointwise(plan.feature_map[0], 1, axes))
        encoder = nn.Sequential(*map_encoder(plan, norm), *make)
        return encoder, nn.Sequential(*back, *map_decoder(plan, channels, outward)), critic, width

    def _dense(self, plan: Plan) -> tuple[nn.Sequential, nn.Sequential, nn.Sequential, int]:
        """Return the same of fully connected layers."""
        width, parts = self._width(plan), 1 if self.model == "ae" else 2
        encoder = nn.Sequential(*plan.encoder(parts * width), nn.Dropout(float(self.dropout)))
        # The critic judges each row by itself and must bear a second derivative, which the fused tanh does not.
        critic = replace(plan, batch_norm=False, activation="leaky_relu").encoder(1)
        return encoder, plan.decoder(width), critic, width

    def _width(self, plan: Plan) -> int:
        return min(self.latent_dim, max(plan.n_features // 2, 1))

    def _stops_early(self) -> bool:
        return super()._stops_early() and self.model != "anovaegan"  # the terms of a game work against each other
