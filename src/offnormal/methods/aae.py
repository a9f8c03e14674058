"""Adversarial autoencoder.

Makhzani, Shlens, Jaitly, Goodfellow and Frey, "Adversarial Autoencoders", arXiv 1511.05644, 2015; as a detector, the
AAE of Kim et al., "RaPP: Novelty Detection with Reconstruction along Projection Pathway", ICLR 2020 (`rapp_mnist`).

An encoder squeezes a row into a code, a decoder rebuilds the row, and a discriminator of codes learns to tell codes of
rows from draws of a prior, while the encoder learns to pass for the prior. So the codes of normal rows, taken together,
follow a distribution that is known. A row is odd if it is badly rebuilt, or if its code lies where the prior is rare.

Letters: b rows, n features (all values of an image), d code; E encoder, D decoder, D_z discriminator of codes.

Differences from the papers
---------------------------
1. The encoder is deterministic. The step is Adam's (RaPP's code), not that of SGD with momentum.
2. A factor on a loss does nothing to Adam, which divides each gradient by its size, and every update has an optimizer
   of its own. So the reconstruction error, however many values it sums, cannot drown the game; and
   `adversarial_weight` multiplies the step of the update in which the encoder plays, not its loss.
3. Outside the preset the discriminator is GPND's, 128-128 with leaky ReLU.
4. Scores by the code, and by both, are not in the papers. "both" adds the two in units of their standard deviations
   over the training rows.
5. The mixture's components are at the corners of a simplex, or on a circle, not petals of a swirl.
6. Outside the preset `adversarial_weight` is 0.3, not 1: the same step for the game as for rebuilding left an error of
   training of 1.3 to 3 times a plain autoencoder's on most tables, and of six times on digits with dense layers.
7. `rapp_mnist`: the code's batch norm on the layers of code, output and verdict is left out; leaky ReLU has slope 0.2.
   Its discriminator normalizes real and fake codes each by their own batch, and so hardly sees their mean and spread;
   it is kept in the preset, and is not our default.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from offnormal.backbone_detector import BackboneDetector
from offnormal.batches import Batch, Batches
from offnormal.method import Method, Phase, Update
from offnormal.networks.adversarial import code_discriminator, taken_for_real, told_apart
from offnormal.networks.autoencoding import Autoencoding, squared_error
from offnormal.networks.mlp import interpolated
from offnormal.networks.priors import PRIORS, Prior, make_prior
from offnormal.networks.residuals import ResidualModel, falls_of_parts
from offnormal.parameters import param

SCORES = ("reconstruction", "latent", "both")
_LEAST_SPREAD = 1e-9  # of a part over the training rows: the uniform prior's is 0 if all codes are inside


class AAENetwork(Autoencoding, Method):
    """Encoder, decoder, and the discriminator that holds the codes against the prior.

    Parameters
    ----------
    encoder, decoder, discriminator : nn.Sequential
        E: (b, *shape) -> (b, d), D: (b, d) -> (b, *shape), D_z: (b, d) -> (b, 1), logits.
    prior : Prior
    shape : tuple of int
        Of a row: (n,), (c, h, w) or (c, t, h, w).
    code_dim : int
    adversarial_weight : float
        The encoder's step in the game, in units of `learning_rate`; 0: no game.
    score_by : {"reconstruction", "latent", "both"}
    learning_rate : float
    epochs : int
    """

    exportable = True
    usual: Tensor
    spread: Tensor

    def __init__(
        self,
        encoder: nn.Sequential,
        decoder: nn.Sequential,
        discriminator: nn.Sequential,
        prior: Prior,
        *,
        shape: tuple[int, ...],
        code_dim: int,
        adversarial_weight: float,
        score_by: str,
        learning_rate: float,
        epochs: int,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder, self.discriminator = encoder, decoder, discriminator
        self.prior, self.code_dim, self.score_by = prior, code_dim, score_by
        self.adversarial_weight, self.learning_rate, self.epochs = adversarial_weight, learning_rate, epochs
        self.residuals = ResidualModel(*shape) if len(shape) == 1 else None
        self.register_buffer("usual", torch.zeros(2, dtype=torch.float64))
        self.register_buffer("spread", torch.ones(2, dtype=torch.float64))

    # --- the three updates ----------------------------------------------------------------------------------------

    def reconstruction_losses(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return the mean of ‖x − D(E(x))‖²."""
        return {"reconstruction": squared_error(batch.x, self.reconstruct(batch.x)).mean()}

    def discriminator_losses(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return the means of −log D_z(z), z from the prior, and of −log(1 − D_z(E(x)))."""
        with torch.no_grad():
            codes = self.encoder(batch.x)
        return told_apart(self.discriminator, self.prior.draw(codes), codes)

    def prior_losses(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return the mean of −log D_z(E(x))."""
        return {"prior": taken_for_real(self.discriminator, self.encoder(batch.x))}

    def phases(self) -> Sequence[Phase]:
        """On every batch rebuild the rows, then train the discriminator, then the encoder against it."""

        def adam(weight: float) -> Callable[[Iterable[nn.Parameter]], Optimizer]:
            return partial(torch.optim.Adam, lr=weight * self.learning_rate, fused=True)

        encoder, decoder = tuple(self.encoder.parameters()), tuple(self.decoder.parameters())
        judge = tuple(self.discriminator.parameters())
        updates = [Update("reconstruction", self.reconstruction_losses, (*encoder, *decoder), adam(1))]
        if self.adversarial_weight > 0:
            updates.append(Update("discriminator", self.discriminator_losses, judge, adam(1)))
            updates.append(Update("prior", self.prior_losses, encoder, adam(self.adversarial_weight)))
        return (Phase("adversarial", tuple(updates), self.epochs),)

    def summarize(self, batches: Batches) -> None:
        """Note mean and spread of the two parts of the score, and what residuals look like, for reasons."""
        parts = torch.cat([self.raw_parts(batch.x) for batch in batches])
        self.usual.copy_(parts.mean(0))
        self.spread.copy_(parts.std(0, correction=0))
        if self.residuals is not None:
            self.residuals.learn(batches, self.reconstruct)

    # --- scoring --------------------------------------------------------------------------------------------------

    def raw_parts(self, x: Tensor) -> Tensor:
        """Return ‖x − D(E(x))‖² and −log p(E(x)) under the prior, float64, shape (b, 2)."""
        code = self.encode(x)
        rebuilt = self.decoder(code)
        return torch.stack([squared_error(x.double(), rebuilt.double()), self.prior.misfit(code)], dim=1)

    def score_parts(self, x: Tensor) -> dict[str, Tensor]:
        """Return the parts whose sum is the score, each float64, shape (b,)."""
        parts = self.raw_parts(x)
        if self.score_by == "both":
            parts = (parts - self.usual) / self.spread.clamp(min=_LEAST_SPREAD)
        named = dict(zip(("reconstruction", "latent"), parts.unbind(1), strict=True))
        return named if self.score_by == "both" else {self.score_by: named[self.score_by]}

    def score(self, x: Tensor) -> Tensor:
        """Return what `score_by` names, float64, shape (b,)."""
        return torch.stack(list(self.score_parts(x).values())).sum(0)

    def contributions(self, x: Tensor, groups: Tensor, n_groups: int) -> Mapping[str, Tensor]:
        """Return, per column, how far each part of the score falls with its best replacement (`falls_of_parts`)."""
        return falls_of_parts(self.score_parts, self.residuals, x, self.reconstruct(x), groups, n_groups)


@dataclass(kw_only=True, eq=False, repr=False)
class AAE(BackboneDetector):
    """Adversarial autoencoder: reconstruction error, and codes that follow a known distribution.

    The score is in squared units of the scaled values, at least 0; with "latent" it is −log p in nats, with "both" in
    standard deviations. Greater = more anomalous.
    """

    key: ClassVar[str] = "aae"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "rapp_mnist": {
            "network": "dense",
            "hidden_sizes": interpolated(784, 20, 10),
            "latent_dim": 20,
            "activation": "leaky_relu",
            "batch_norm": True,
            "discriminator_sizes": interpolated(20, 1, 10),
            "discriminator_batch_norm": True,
            "adversarial_weight": 1.0,
            "epochs": 200,
            "batch_size": 256,
            "learning_rate": 1e-3,
        },
    }

    early_stopping: bool = param(
        False, "Watch a tenth of the rows (from 200 on) and keep the weights of the least sum of all terms.",
        source="off: the terms of a game work against each other, so their sum says little",
    )  # fmt: skip
    prior: str = param(
        "gaussian", "What the codes are to follow: a standard normal, separate Gaussians, or a cube; all around 0.",
        choices=PRIORS, source="Makhzani et al.; RaPP: gaussian",
    )  # fmt: skip
    n_components: int = param(
        10, "Gaussians of the mixture: corners of a simplex, on a circle if there are more than latent_dim + 1.",
        ge=1, source="one for each digit",
    )  # fmt: skip
    adversarial_weight: float = param(
        0.3, "The encoder's step against the discriminator, in units of learning_rate; 0: a plain autoencoder.", ge=0,
        source="1, RaPP's, in the preset; with 0.3 codes are about as near the prior, and rows are rebuilt",
    )  # fmt: skip
    score_by: str = param(
        "reconstruction", "Squared error, −log p(code) under the prior, or the sum of both, standardized.",
        choices=SCORES, source="RaPP's tables: reconstruction",
    )  # fmt: skip
    discriminator_sizes: tuple[int, ...] = param(
        (128, 128), "Hidden widths of the discriminator of codes.", ge=1, source="GPND's; RaPP's in the preset"
    )
    discriminator_batch_norm: bool = param(
        False, "Normalize its hidden layers over the batch; it then hardly sees mean and spread of the codes.",
        source="off: real and fake are normalized apart; RaPP's code has it",
    )  # fmt: skip

    def build(self, shape: tuple[int, ...]) -> Method:
        """Return the network for rows of `shape`."""
        encoder, decoder = self.plan(shape).backbone(self.latent_dim)
        return AAENetwork(
            encoder,
            decoder,
            code_discriminator(self.latent_dim, self.discriminator_sizes, batch_norm=self.discriminator_batch_norm),
            make_prior(self.prior, self.latent_dim, self.n_components),
            shape=shape,
            code_dim=self.latent_dim,
            adversarial_weight=float(self.adversarial_weight),
            score_by=self.score_by,
            learning_rate=self.learning_rate,
            epochs=self.planned_epochs_,
        )
