"""EGBAD: an encoder learned together with the generator, so that a row is rebuilt without a search.

Zenati, Foo, Lecouat, Manek and Chandrasekhar, "Efficient GAN-Based Anomaly Detection", arXiv 1802.06222, ICLR 2018
workshop track; the game is BiGAN's (Donahue, Krähenbühl and Darrell, "Adversarial Feature Learning", ICLR 2017) and
ALI's (Dumoulin et al., "Adversarially Learned Inference", ICLR 2017), with an encoder that draws nothing. Published
code: houssamzenati/Efficient-GAN-Anomaly-Detection.

A generator makes rows of codes, an encoder makes codes of rows, and a discriminator sees pairs: a row of the data with
its code, or a code of the prior with its row. When it can no longer tell them apart, the two networks invert each
other, although nothing ever compared a row with the row rebuilt from it. The score is how far a row is from its own
rebuilding, in plain units and in what the discriminator sees of the two.

Letters: b rows, d code; E encoder, G generator, D discriminator of pairs, f its features, w a weight.

Differences from the paper
--------------------------
1. The cross-entropy score: the paper, as it is quoted, takes the pair (x, E(x)), its code the pair (G(E(x)), E(x)).
   `cross_entropy_of="rebuilt"`, the default, is the code; "real" is the paper.
2. The published tables are unscaled in effect: the code scales them and throws the result away. `kddcup_raw` is that;
   `kddcup` standardizes.
3. The moving average of weights warms up over the first steps, and running statistics of norms are taken anew from the
   training rows under it; the code's average begins at the first weights, and its running statistics are those of
   training. Batch norms have epsilon 1e-5, not 1e-3.
4. E and G take one step together, with one optimizer: Adam treats each weight by itself, so this is the code's two.
5. Images: a norm by channel follows the generator's second linear layer, the code's is by value; convolutions of
   kernel 3 and stride 2 pad on both sides.
6. Outside the presets: layer sizes follow the shape of a row, columns are standardized, Adam's step is ours
   (parameters below) over a budget of steps; and the code has at most half as many axes as the row.
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
from offnormal.networks.adversarial import called_fake, called_real
from offnormal.networks.autoencoding import Autoencoding
from offnormal.networks.averaging import averages_of, hooks
from offnormal.networks.backbones import SLOPE, Plan
from offnormal.networks.pairs import RowCodeDiscriminator, row_code_discriminator
from offnormal.networks.residuals import ResidualModel, falls_of_parts
from offnormal.parameters import param

SCORES = ("features", "cross_entropy")
PAIRS = ("rebuilt", "real")
IMAGE_START = 0.02
"""Standard deviation of the first weights of convolutional networks."""


class EGBADNetwork(Autoencoding, Method):
    """Encoder, generator, and the discriminator of pairs.

    Parameters
    ----------
    encoder, generator : nn.Sequential
        E: (b, *shape) -> (b, d), G: (b, d) -> (b, *shape).
    discriminator : RowCodeDiscriminator
        D: (b, *shape), (b, d) -> features (b, f) and logit (b,).
    shape : tuple of int
        Of a row: (n,), (c, h, w) or (c, t, h, w).
    code_dim : int
    score_by : {"features", "cross_entropy"}
    cross_entropy_of : {"rebuilt", "real"}
    discriminator_weight : float
        w.
    learning_rate, beta1 : float
    weight_average : float
    epochs : int
    """

    exportable = True

    def __init__(
        self,
        encoder: nn.Sequential,
        generator: nn.Sequential,
        discriminator: RowCodeDiscriminator,
        *,
        shape: tuple[int, ...],
        code_dim: int,
        score_by: str,
        cross_entropy_of: str,
        discriminator_weight: float,
        learning_rate: float,
        beta1: float,
        weight_average: float,
        epochs: int,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder, self.discriminator = encoder, generator, discriminator
        self.code_dim, self.score_by, self.cross_entropy_of = code_dim, score_by, cross_entropy_of
        self.discriminator_weight = discriminator_weight
        self.learning_rate, self.beta1, self.epochs = learning_rate, beta1, epochs
        self.averages = averages_of(self.scoring_networks, weight_average)
        self.residuals = ResidualModel(*shape) if len(shape) == 1 else None

    @property
    def scoring_networks(self) -> nn.ModuleList:
        """All three: their averages score."""
        return nn.ModuleList([self.encoder, self.decoder, self.discriminator])

    # --- the game -------------------------------------------------------------------------------------------------

    def _drawn(self, x: Tensor) -> Tensor:
        """Return codes from N(0, I), as many as there are rows, (b, d)."""
        return torch.randn(len(x), self.code_dim, dtype=x.dtype, device=x.device)

    def discriminator_losses(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return the means of −log D(x, E(x)) and of −log(1 − D(G(z), z)), z ~ N(0, I)."""
        z = self._drawn(batch.x)
        with torch.no_grad():
            codes, made = self.encoder(batch.x), self.decoder(z)
        return {
            "real": called_real(self.discriminator(batch.x, codes)),
            "fake": called_fake(self.discriminator(made, z)),
        }

    def inverse_losses(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return the means of −log D(G(z), z), G's, and of −log(1 − D(x, E(x))), E's."""
        z = self._drawn(batch.x)
        return {
            "generator": called_real(self.discriminator(self.decoder(z), z)),
            "encoder": called_fake(self.discriminator(batch.x, self.encoder(batch.x))),
        }

    def phases(self) -> Sequence[Phase]:
        """On every batch train D, then E and G against it on another batch."""
        adam = partial(torch.optim.Adam, lr=self.learning_rate, betas=(self.beta1, 0.999), fused=True)
        inverses = (*self.encoder.parameters(), *self.decoder.parameters())
        updates = (
            Update("discriminator", self.discriminator_losses, tuple(self.discriminator.parameters()), adam),
            Update("inverses", self.inverse_losses, inverses, adam, fresh_batch=True),
        )
        return (Phase("adversarial", updates, self.epochs, **hooks(self.averages, self.scoring_networks)),)

    def generate(self, x: Tensor) -> Tensor:
        """Return G(z), z ~ N(0, I), as many rows as `x`."""
        made: Tensor = self.decoder(self._drawn(x))
        return made

    def summarize(self, batches: Batches) -> None:
        """Note what residuals look like, for reasons; the score needs nothing."""
        if self.residuals is not None:
            self.residuals.learn(batches, self.reconstruct)

    # --- scoring --------------------------------------------------------------------------------------------------

    def score_parts(self, x: Tensor) -> dict[str, Tensor]:
        """Return (1 − w) ‖x − G(E(x))‖₁ and w times what D says, each float64, shape (b,)."""
        code = self.encode(x)
        rebuilt = self.decoder(code)
        apart = (x.double() - rebuilt.double()).abs().flatten(1).sum(1)
        seen, logit = self.discriminator.features_and_logit(rebuilt, code)
        if self.score_by == "features" or self.cross_entropy_of == "real":
            features, real_logit = self.discriminator.features_and_logit(x, code)
        if self.score_by == "features":
            said = (features.double() - seen.double()).abs().sum(1)
        else:
            chosen = real_logit if self.cross_entropy_of == "real" else logit
            said = nn.functional.softplus(-chosen.double())
        w = self.discriminator_weight
        return {"reconstruction": (1 - w) * apart, self.score_by: w * said}

    def score(self, x: Tensor) -> Tensor:
        """Return the sum of the two parts, float64, shape (b,), never negative."""
        return torch.stack(list(self.score_parts(x).values())).sum(0)

    def score_map(self, x: Tensor) -> Tensor:
        """Return |x − G(E(x))| summed over channels, (b, c, …) -> (b, …)."""
        return (x - self.reconstruct(x)).abs().sum(1)

    def contributions(self, x: Tensor, groups: Tensor, n_groups: int) -> Mapping[str, Tensor]:
        """Return, per column, how far each part of the score falls with its best replacement (`falls_of_parts`)."""
        return falls_of_parts(self.score_parts, self.residuals, x, self.reconstruct(x), groups, n_groups)


_KDDCUP: Mapping[str, Any] = {
    "hidden_sizes": (64,), "generator_sizes": (128, 64), "latent_dim": 32, "activation": "leaky_relu", "slope": 0.1,
    "discriminator_sizes": (128,), "discriminator_code_sizes": (128,), "discriminator_joint_sizes": (128,),
    "discriminator_dropout": 0.2, "learning_rate": 1e-5, "batch_size": 50, "epochs": 50, "weight_average": 0.9999,
}  # fmt: skip


@dataclass(kw_only=True, eq=False, repr=False)
class EGBAD(AdversarialDetector):
    """Distance of a row from the row that an adversarially learned encoder and generator make of it.

    The score is at least 0, in units of the scaled columns or pixels; greater = more anomalous.
    """

    key: ClassVar[str] = "egbad"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "kddcup": _KDDCUP,
        "kddcup_raw": {**_KDDCUP, "scaling": "none"},
        "mnist": {
            "hidden_sizes": (32, 64, 128), "encoder_kernel_sizes": (3,), "encoder_strides": (1, 2, 2),
            "generator_sizes": (64, 128), "generator_dense_sizes": (1024,), "latent_dim": 200, "slope": 0.1,
            "discriminator_sizes": (64, 64), "discriminator_code_sizes": (512,), "discriminator_joint_sizes": (1024,),
            "discriminator_dropout": 0.5, "learning_rate": 1e-5, "batch_size": 100, "epochs": 100,
            "weight_average": 0.999,
        },
    }  # fmt: skip

    latent_dim: int = param(
        8, "Width of the code; at most half of the row's.", ge=1, source="as `dagmm`; the paper's in the presets"
    )
    learning_rate: float = param(
        1e-3, "Adam's step size, in both parts of the game.", gt=0,
        source="a hundred times the published 1e-5, for a hundredth of the steps",
    )  # fmt: skip
    score_by: str = param(
        "features", "What D says of a row: its features of the row and of the row rebuilt, or cross-entropy.",
        choices=SCORES, source="the published code's 'fm'; its 'cross-e': cross_entropy",
    )  # fmt: skip
    cross_entropy_of: str = param(
        "rebuilt", "Which pair must look real to 'cross_entropy': (G(E(x)), E(x)), or (x, E(x)).", choices=PAIRS,
        source="rebuilt: the published code; real: the paper, as quoted",
    )  # fmt: skip
    discriminator_weight: float = param(
        0.1, "Share w of what D says in the score; 1 − w: the L1 distance.", ge=0, le=1, source="the published code"
    )
    generator_sizes: tuple[int, ...] | None = param(
        None, "hidden_sizes of the network that the generator mirrors. None: the encoder's.", kind="ints", ge=1,
        source="the papers' in the presets",
    )  # fmt: skip
    generator_dense_sizes: tuple[int, ...] = param(
        (), "Widths of linear layers of a generator of images, between its convolutions and the code.", ge=1,
        source="none; the published 1024 in the preset",
    )  # fmt: skip
    encoder_kernel_sizes: tuple[int, ...] | None = param(
        None, "kernel_sizes of the encoder alone. None: those of all.", kind="ints", ge=1,
        source="the published 3 in the preset",
    )  # fmt: skip
    encoder_strides: tuple[int, ...] = param(
        (2,), "Strides of the encoder's convolutions.", ge=1, source="DCGAN's; the published 1, 2, 2 in the preset"
    )
    discriminator_code_sizes: tuple[int, ...] = param(
        (128,), "Hidden widths of the discriminator's branch of codes.", ge=1, source="the published code, KDDCUP"
    )
    discriminator_joint_sizes: tuple[int, ...] = param(
        (128,), "Hidden widths of its layers that see row and code.", ge=1, source="the published code, KDDCUP"
    )
    slope: float = param(
        SLOPE, "Of leaky ReLUs below 0.", ge=0, lt=1, source="DCGAN's; the published .1 in the presets"
    )

    def build(self, shape: tuple[int, ...]) -> Method:
        """Return the network for rows of `shape`."""
        encoder_plan, generator_plan, judge_plan = self._plans(shape)
        code_dim = min(self.latent_dim, max(encoder_plan.n_features // 2, 1))
        judge = row_code_discriminator(
            judge_plan,
            code_dim,
            self.discriminator_code_sizes,
            self.discriminator_joint_sizes,
            dropout=float(self.discriminator_dropout),
        )
        network = EGBADNetwork(
            encoder_plan.encoder(code_dim),
            self.bounded(generator_plan.decoder(code_dim), shape),
            judge.normed() if self.spectral_norm else judge,
            shape=shape,
            code_dim=code_dim,
            score_by=self.score_by,
            cross_entropy_of=self.cross_entropy_of,
            discriminator_weight=float(self.discriminator_weight),
            learning_rate=float(self.learning_rate),
            beta1=float(self.beta1),
            weight_average=float(self.weight_average),
            epochs=self.planned_epochs_,
        )
        for module in network.modules():
            if isinstance(module, nn.LeakyReLU):
                module.negative_slope = float(self.slope)
        return network

    def _plans(self, shape: tuple[int, ...]) -> tuple[Plan, Plan, Plan]:
        """Return the plans of the encoder, of the generator and of the discriminator's branch of rows."""
        start = IMAGE_START if self.plan(shape).convolutional else None
        encoder = replace(self.plan(shape), strides=self.encoder_strides, first_norm=False, start=start)
        generator = replace(self.generator_plan(shape), dense_sizes=self.generator_dense_sizes, start=start)
        return (
            replace(encoder, kernel_sizes=self.encoder_kernel_sizes or encoder.kernel_sizes),
            replace(generator, hidden_sizes=self.generator_sizes or generator.hidden_sizes),
            replace(self.discriminator_plan(shape), start=start),
        )
