"""Skip-GANomaly: rows rebuilt by a U-Net, and seen by a discriminator.

Akcay, Atapour-Abarghouei and Breckon, "Skip-GANomaly: Skip Connected and Adversarially Trained Encoder-Decoder Anomaly
Detection", IJCNN 2019, arXiv 1901.08954; published code: samet-akcay/skip-ganomaly.

A U-Net rebuilds the rows; by its ways across detail need not pass the narrowest place. A discriminator learns to tell
rows from rebuilt rows, by way of features in which the U-Net has to match the real rows. It learns this on normal rows,
so an odd row is expected to be rebuilt badly, and to have other features than what is rebuilt of it.

Letters: b rows, n features (all values of an image), d features of the discriminator; G U-Net, f a row's features, D
the verdict on them; x′ = G(x).

Differences from the paper and its code
---------------------------------------
1. Scoring is in evaluation mode. The code scores with the statistics of a test batch that is never shuffled.
2. Weights of the last epoch, or their moving average; the code takes the epoch with the best AUROC on the test set.
3. Scores are not scaled by the least and the greatest of the query.
4. In training the code adds a buffer to the rows that nothing ever fills. No noise here.
5. The last layer of the discriminator, a 3×3 convolution of a single place, is a linear layer. Convolutions have
   biases; norms start at 1, not at N(1, 0.02).
6. Ways across start after the activation. The discriminator judges rows rebuilt after the U-Net's step.
7. Tables have linear layers in the U-Net, the first half as wide as the row: by ways across a wider one could copy it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from offnormal.adversarial_detector import AdversarialDetector
from offnormal.batches import Batch, Batches
from offnormal.method import Method, Phase, Update
from offnormal.networks.adversarial import called_fake, called_real, features_and_logit, normed_spectrally
from offnormal.networks.averaging import averages_of, hooks
from offnormal.networks.backbones import Plan
from offnormal.networks.residuals import ResidualModel, falls_of_parts
from offnormal.networks.unet import UNet
from offnormal.parameters import param

START = 0.02
"""Standard deviation of the convolutions' first weights; DCGAN's."""
BETA2 = 0.999


class SkipGANomalyNetwork(Method):
    """U-Net and discriminator.

    Parameters
    ----------
    generator, discriminator : nn.Sequential
        G: (b, *shape) -> (b, *shape); D: (b, *shape) -> (b, 1), logits, its last layer a map of the features (b, d).
    shape : tuple of int
        Of a row: (n,), (c, h, w) or (c, t, h, w).
    code_dim : int
        d.
    adversarial_weight, contextual_weight, latent_weight : float
        Of G's three terms.
    judged_latent_weight : float
        Of the difference of the features in D's loss; 0: not there.
    reconstruction_share : float
        Of the score.
    learning_rate, beta1 : float
    weight_average : float
    epochs : int
    """

    exportable = True

    def __init__(
        self,
        generator: nn.Sequential,
        discriminator: nn.Sequential,
        *,
        shape: tuple[int, ...],
        code_dim: int,
        adversarial_weight: float,
        contextual_weight: float,
        latent_weight: float,
        judged_latent_weight: float,
        reconstruction_share: float,
        learning_rate: float,
        beta1: float,
        weight_average: float,
        epochs: int,
    ) -> None:
        super().__init__()
        self.generator, self.discriminator, self.code_dim = generator, discriminator, code_dim
        self.adversarial_weight, self.contextual_weight = adversarial_weight, contextual_weight
        self.latent_weight, self.judged_latent_weight = latent_weight, judged_latent_weight
        self.reconstruction_share = reconstruction_share
        self.learning_rate, self.beta1, self.epochs = learning_rate, beta1, epochs
        self.averages = averages_of(self.scoring_networks, weight_average)
        self.residuals = ResidualModel(*shape) if len(shape) == 1 else None

    @property
    def scoring_networks(self) -> nn.ModuleList:
        """Return G and D: what a score goes through."""
        return nn.ModuleList([self.generator, self.discriminator])

    def reconstruct(self, x: Tensor) -> Tensor:
        """Return G(x), (b, *shape)."""
        rebuilt: Tensor = self.generator(x)
        return rebuilt

    def generate(self, x: Tensor) -> Tensor:
        """Return G(x), (b, *shape)."""
        return self.reconstruct(x)

    def encode(self, x: Tensor) -> Tensor:
        """Return f(x), (b, d)."""
        return features_and_logit(self.discriminator, x)[0]

    def code_names(self) -> tuple[str, ...]:
        """Name the features."""
        return tuple(f"code_{i + 1}" for i in range(self.code_dim))

    def score_map(self, x: Tensor) -> Tensor:
        """Return the squared error of each pixel, summed over channels: (b, c, …) -> (b, …)."""
        return (x - self.reconstruct(x)).square().sum(1)

    # --- the two updates ------------------------------------------------------------------------------------------

    def generator_losses(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return the weighted means of −log D(x′), |x − x′| and (f(x) − f(x′))²."""
        rebuilt = self.reconstruct(batch.x)
        with torch.no_grad():
            real = self.encode(batch.x)
        fake, logit = features_and_logit(self.discriminator, rebuilt)
        return {
            "adversarial": self.adversarial_weight * called_real(logit),
            "contextual": self.contextual_weight * (batch.x - rebuilt).abs().mean(),
            "latent": self.latent_weight * (real - fake).square().mean(),
        }

    def discriminator_losses(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return the means of −log D(x), −log(1 − D(x′)) and, if it has a weight, (f(x) − f(x′))²."""
        with torch.no_grad():
            rebuilt = self.reconstruct(batch.x)
        real, real_logit = features_and_logit(self.discriminator, batch.x)
        fake, fake_logit = features_and_logit(self.discriminator, rebuilt)
        terms = {"real": called_real(real_logit), "fake": called_fake(fake_logit)}
        if self.judged_latent_weight > 0:
            terms["latent"] = self.judged_latent_weight * (real - fake).square().mean()
        return terms

    def phases(self) -> Sequence[Phase]:
        """On every batch train G, then D."""
        adam = partial(torch.optim.Adam, lr=self.learning_rate, betas=(self.beta1, BETA2), fused=True)
        updates = (
            Update("generator", self.generator_losses, tuple(self.generator.parameters()), adam),
            Update("discriminator", self.discriminator_losses, tuple(self.discriminator.parameters()), adam),
        )
        return (Phase("adversarial", updates, self.epochs, **hooks(self.averages, self.scoring_networks)),)

    def summarize(self, batches: Batches) -> None:
        """Note what residuals look like, for reasons."""
        if self.residuals is not None:
            self.residuals.learn(batches, self.reconstruct)

    # --- scoring --------------------------------------------------------------------------------------------------

    def score_parts(self, x: Tensor) -> dict[str, Tensor]:
        """Return λ mean (x − x′)² and (1 − λ) mean (f(x) − f(x′))², each float64, shape (b,)."""
        rebuilt, share = self.reconstruct(x), self.reconstruction_share
        return {
            "reconstruction": share * _mean_square(x.double() - rebuilt.double()),
            "latent": (1 - share) * _mean_square(self.encode(x).double() - self.encode(rebuilt).double()),
        }

    def score(self, x: Tensor) -> Tensor:
        """Return the sum of the two parts, float64, shape (b,)."""
        return torch.stack(list(self.score_parts(x).values())).sum(0)

    def contributions(self, x: Tensor, groups: Tensor, n_groups: int) -> Mapping[str, Tensor]:
        """Return, per column, how far each part falls with its best replacement (`falls_of_parts`).

        Beside the score's parts there is `residual`, the deviance of x − x′ under the covariance of the training
        residuals, in nats: means over all columns hardly feel one that does not go with the others.
        """
        model = self.residuals

        def parts(rows: Tensor) -> Mapping[str, Tensor]:
            scored = self.score_parts(rows)
            return scored if model is None else scored | {"residual": model.deviance(rows - self.reconstruct(rows))}

        return falls_of_parts(parts, model, x, self.reconstruct(x), groups, n_groups)


def _mean_square(difference: Tensor) -> Tensor:
    return difference.square().flatten(1).mean(1)


@dataclass(kw_only=True, eq=False, repr=False)
class SkipGANomaly(AdversarialDetector):
    """How badly a U-Net rebuilds a row, and how other the discriminator finds what is rebuilt.

    The score is in squared units of the scaled values and of the features, at least 0; greater = more anomalous. It
    compares rows within one fitted model.
    """

    key: ClassVar[str] = "skip_ganomaly"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "cifar10": {
            "hidden_sizes": (64, 128, 256, 512, 512),
            "discriminator_sizes": (64, 128, 256),
            "latent_dim": 100,
            "learning_rate": 2e-4,
            "epochs": 25,
            "batch_size": 64,
            "weight_average": 0.0,
        },
    }

    latent_dim: int = param(
        100,
        "Width of the discriminator's features, in which rows are held against rebuilt ones.",
        ge=1,
        source="the code",
    )
    hidden_sizes: tuple[int, ...] | None = param(
        None, "Widths of the U-Net on the way down; of convolutions, their channels. None: from the shape of a row.",
        kind="ints", ge=1, source="None: half and quarter of a table's row, lest it be copied; images 32-64-128",
    )  # fmt: skip
    discriminator_sizes: tuple[int, ...] | None = param(
        None, "hidden_sizes of the discriminator. None: from the shape of a row, for tables at least 64-32.",
        kind="ints", ge=1, source="the published in the preset",
    )  # fmt: skip
    activation: str = param(
        "leaky_relu", "Activation of the hidden units of a fully connected U-Net, on the way down.",
        choices=("tanh", "relu", "leaky_relu"), source="as the convolutions'",
    )  # fmt: skip
    adversarial_weight: float = param(1.0, "Weight of the U-Net's −log D(x′).", gt=0, source="the code")
    contextual_weight: float = param(
        50.0, "Weight of the mean of |x − x′|.", gt=0, source="the code; the paper: 40, from memory"
    )
    latent_weight: float = param(1.0, "Weight of the mean of (f(x) − f(x′))².", gt=0, source="the code")
    judged_latent_weight: float = param(
        1.0, "Weight of the same in the discriminator's loss; 0: not there.", ge=0, source="the code"
    )
    reconstruction_share: float = param(
        0.9, "Share of the mean squared error in the score; the rest is the features'.", ge=0, le=1, source="the paper"
    )

    def build(self, shape: tuple[int, ...]) -> Method:
        """Return the network for rows of `shape`."""
        there, judge = self.plan(shape), self.discriminator_plan(shape)
        if there.convolutional:
            there, judge = replace(there, start=START), replace(judge, start=START)
        else:
            there = replace(there, hidden_sizes=self.hidden_sizes or halved(there.n_features))
        features = judge.encoder(self.latent_dim)
        verdict = Plan((self.latent_dim,), (), "dense", start=judge.start).encoder(1)
        discriminator = nn.Sequential(*features, *verdict)
        return SkipGANomalyNetwork(
            self.bounded(nn.Sequential(UNet(there)), shape),
            normed_spectrally(discriminator) if self.spectral_norm else discriminator,
            shape=shape,
            code_dim=self.latent_dim,
            adversarial_weight=float(self.adversarial_weight),
            contextual_weight=float(self.contextual_weight),
            latent_weight=float(self.latent_weight),
            judged_latent_weight=float(self.judged_latent_weight),
            reconstruction_share=float(self.reconstruction_share),
            learning_rate=self.learning_rate,
            beta1=self.beta1,
            weight_average=float(self.weight_average),
            epochs=self.planned_epochs_,
        )


def halved(n_features: int) -> tuple[int, int]:
    """Return the widths of a fully connected U-Net where nobody says: the half of the row and its quarter."""
    return (max(n_features // 2, 1), max(n_features // 4, 1))
