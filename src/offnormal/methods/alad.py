"""ALAD: an adversarially learned encoder and generator that are held to invert each other, on rows and on codes.

Zenati, Romain, Foo, Lecouat and Chandrasekhar, "Adversarially Learned Anomaly Detection", ICDM 2018, arXiv 1812.02288;
published code: houssamzenati/Adversarially-Learned-Anomaly-Detection. The game is that of ALICE (Li et al., NeurIPS
2017).

As in `egbad`, a discriminator of pairs of row and code teaches an encoder and a generator to invert each other. That
alone leaves them much freedom, so two more discriminators judge the round trips: a row beside itself against a row
beside its rebuilding, and the same of codes. The score asks the discriminator of rows: how far apart are its features
of (x, x) and of (x, G(E(x))).

Letters: b rows, d code; E encoder, G generator, D_xz, D_xx, D_zz discriminators, f_xx the features of D_xx.

Differences from the paper
--------------------------
1. The terms CE(D_xx(x, x), 0) and CE(D_zz(z, z), 0) of E and G are left out: neither network is in them.
2. The score by logits is the code's −log D_xx(x, G(E(x))); the paper, as it is quoted, writes log D_xx.
3. The published code stacks two images one above the other for D_xx; the paper speaks of it loosely.
   `cycle_axis="height"`, the default, is the code; "channels" lays one behind the other.
4. The published tables are unscaled; the presets standardize, and scaling="none" is the code's. Its Arrhythmia was
   trained on a half with the anomalies in it: that is a matter of the data, not of the preset.
5. The code norms weights spectrally on images alone, though it takes the option for tables; so do the presets. Here
   the option holds for tables too: their discriminators.
6. The moving average of weights warms up over the first steps, and running statistics of norms are taken anew from the
   training rows under it. Batch norms have epsilon 1e-5, not 1e-3.
7. Published images were stopped early by the mean score of held-out normal images, and scored with the last weights all
   the same. Here the number of epochs is fixed.
8. The code has one Adam for all networks, whose correction for the first steps fades twice as fast.
9. Images: linear layers take the place of convolutions as large as their image (the generator's first biases are one
   per value); convolutions of kernel 5 pad 2 on both sides.
10. Outside the presets: layer sizes follow the shape of a row, columns are standardized, Adam's step is ours over a
    budget of steps, and the code has at most half as many axes as the row.
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
from offnormal.networks.adversarial import called_fake, called_real, normed_spectrally
from offnormal.networks.autoencoding import Autoencoding
from offnormal.networks.averaging import averages_of, hooks
from offnormal.networks.backbones import Plan
from offnormal.networks.pairs import (
    AXES,
    RowCodeDiscriminator,
    TwinDiscriminator,
    row_code_discriminator,
    twin_discriminator,
)
from offnormal.networks.residuals import ResidualModel, falls_of_parts
from offnormal.parameters import param

SCORES = ("features", "logits", "l1", "l2")
IMAGE_START = 0.01
"""Standard deviation of the first weights of convolutional networks."""
CYCLE_SIZES = (128,)
"""Hidden widths of a fully connected D_xx where nobody says: the published code's on KDDCUP."""


class ALADNetwork(Autoencoding, Method):
    """Encoder, generator, and three discriminators.

    Parameters
    ----------
    encoder, generator : nn.Sequential
        E: (b, *shape) -> (b, d), G: (b, d) -> (b, *shape).
    joint : RowCodeDiscriminator
        D_xz.
    rows : TwinDiscriminator
        D_xx.
    codes : TwinDiscriminator or None
        D_zz; None: codes are not held to their round trip.
    shape : tuple of int
        Of a row: (n,), (c, h, w) or (c, t, h, w).
    code_dim : int
    score_by : {"features", "logits", "l1", "l2"}
    learning_rate, beta1 : float
    weight_average : float
    epochs : int
    """

    exportable = True

    def __init__(
        self,
        encoder: nn.Sequential,
        generator: nn.Sequential,
        joint: RowCodeDiscriminator,
        rows: TwinDiscriminator,
        codes: TwinDiscriminator | None,
        *,
        shape: tuple[int, ...],
        code_dim: int,
        score_by: str,
        learning_rate: float,
        beta1: float,
        weight_average: float,
        epochs: int,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder, self.joint, self.rows, self.codes = encoder, generator, joint, rows, codes
        self.code_dim, self.score_by = code_dim, score_by
        self.learning_rate, self.beta1, self.epochs = learning_rate, beta1, epochs
        self.averages = averages_of(self.scoring_networks, weight_average)
        self.residuals = ResidualModel(*shape) if len(shape) == 1 else None

    @property
    def scoring_networks(self) -> nn.ModuleList:
        """E, G and D_xx: their averages score."""
        return nn.ModuleList([self.encoder, self.decoder, self.rows])

    # --- the game -------------------------------------------------------------------------------------------------

    def _drawn(self, x: Tensor) -> Tensor:
        """Return codes from N(0, I), as many as there are rows, (b, d)."""
        return torch.randn(len(x), self.code_dim, dtype=x.dtype, device=x.device)

    def discriminator_losses(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return the means of −log D(real pair) and −log(1 − D(fake pair)) of each discriminator, z ~ N(0, I).

        (x, E(x)) and (G(z), z); (x, x) and (x, G(E(x))); (z, z) and (z, E(G(z))).
        """
        x, z = batch.x, self._drawn(batch.x)
        with torch.no_grad():
            codes, made = self.encoder(x), self.decoder(z)
            rebuilt = self.decoder(codes)
        terms = {
            "xz_real": called_real(self.joint(x, codes)),
            "xz_fake": called_fake(self.joint(made, z)),
            "xx_real": called_real(self.rows(x, x)),
            "xx_fake": called_fake(self.rows(x, rebuilt)),
        }
        if self.codes is not None:
            with torch.no_grad():
                read_back = self.encoder(made)
            terms["zz_real"] = called_real(self.codes(z, z))
            terms["zz_fake"] = called_fake(self.codes(z, read_back))
        return terms

    def inverse_losses(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return the means of −log D_xz(G(z), z), G's, of −log(1 − D_xz(x, E(x))), E's, and of both networks' cycles.

        The cycles: −log D_xx(x, G(E(x))) and −log D_zz(z, E(G(z))).
        """
        x, z = batch.x, self._drawn(batch.x)
        codes, made = self.encoder(x), self.decoder(z)
        terms = {
            "generator": called_real(self.joint(made, z)),
            "encoder": called_fake(self.joint(x, codes)),
            "row_cycle": called_real(self.rows(x, self.decoder(codes))),
        }
        if self.codes is not None:
            terms["code_cycle"] = called_real(self.codes(z, self.encoder(made)))
        return terms

    def phases(self) -> Sequence[Phase]:
        """On every batch train the three discriminators, then E and G against them on another batch."""
        adam = partial(torch.optim.Adam, lr=self.learning_rate, betas=(self.beta1, 0.999), fused=True)
        judges = [judge for judge in (self.joint, self.rows, self.codes) if judge is not None]
        weights = tuple(weight for judge in judges for weight in judge.parameters())
        inverses = (*self.encoder.parameters(), *self.decoder.parameters())
        updates = (
            Update("discriminators", self.discriminator_losses, weights, adam),
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

    def score(self, x: Tensor) -> Tensor:
        """Return what `score_by` names, float64, shape (b,), never negative.

        features ‖f_xx(x, x) − f_xx(x, x′)‖₁, logits −log D_xx(x, x′), l1 ‖x − x′‖₁, l2 ‖x − x′‖₂; x′ = G(E(x)).
        """
        rebuilt = self.reconstruct(x)
        if self.score_by in ("l1", "l2"):
            apart = (x.double() - rebuilt.double()).flatten(1)
            return apart.abs().sum(1) if self.score_by == "l1" else apart.square().sum(1).sqrt()
        features, logit = self.rows.features_and_logit(x, rebuilt)
        if self.score_by == "logits":
            return nn.functional.softplus(-logit.double())
        own, _ = self.rows.features_and_logit(x, x)
        return (own.double() - features.double()).abs().sum(1)

    def score_map(self, x: Tensor) -> Tensor:
        """Return |x − G(E(x))| summed over channels, (b, c, …) -> (b, …); with "l1" its sum is the score."""
        return (x - self.reconstruct(x)).abs().sum(1)

    def contributions(self, x: Tensor, groups: Tensor, n_groups: int) -> Mapping[str, Tensor]:
        """Return, per column, how far the score falls with its best replacement (`falls_of_parts`)."""
        return falls_of_parts(
            lambda rows: {self.score_by: self.score(rows)}, self.residuals, x, self.reconstruct(x), groups, n_groups
        )


_TABLE: Mapping[str, Any] = {
    "activation": "leaky_relu", "discriminator_sizes": (128,), "discriminator_code_sizes": (128,),
    "discriminator_batch_norm": True, "discriminator_dropout": 0.5, "cycle_dropout": 0.2, "learning_rate": 1e-5,
    "weight_average": 0.999,
}  # fmt: skip


@dataclass(kw_only=True, eq=False, repr=False)
class ALAD(AdversarialDetector):
    """Distance of a row from its rebuilding, in the eyes of a discriminator of such pairs.

    The score is at least 0; greater = more anomalous. "features" is in units of the discriminator's features, "logits"
    in nats, "l1" and "l2" in units of the scaled columns or pixels.
    """

    key: ClassVar[str] = "alad"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "kddcup": {
            **_TABLE, "hidden_sizes": (64,), "generator_sizes": (128, 64), "latent_dim": 32,
            "discriminator_joint_sizes": (128,), "cycle_sizes": (128,), "latent_cycle_sizes": (32,), "batch_size": 50,
            "epochs": 100,
        },
        "arrhythmia": {
            **_TABLE, "hidden_sizes": (256, 128), "latent_dim": 64, "discriminator_joint_sizes": (256,),
            "cycle_sizes": (256, 128), "latent_cycle_sizes": (64, 32), "batch_size": 32, "epochs": 1000,
        },
        "cifar10": {
            "hidden_sizes": (128, 256, 512), "latent_dim": 100, "discriminator_code_sizes": (512, 512),
            "discriminator_joint_sizes": (1024,), "discriminator_dropout": 0.2, "cycle_sizes": (64, 128),
            "cycle_kernel_sizes": (5,), "cycle_dropout": 0.2, "latent_cycle_sizes": (64, 32), "spectral_norm": True,
            "learning_rate": 2e-4, "batch_size": 32, "epochs": 100, "weight_average": 0.999,
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
        "features", "Distance of D_xx's features, its verdict, or the distance of the rows themselves.",
        choices=SCORES, source="features: the paper's method",
    )  # fmt: skip
    latent_cycle: bool = param(True, "Hold codes to their round trip too, by D_zz.", source="the paper's")
    generator_sizes: tuple[int, ...] | None = param(
        None, "hidden_sizes of the network that the generator mirrors. None: the encoder's.", kind="ints", ge=1,
        source="the paper's in the presets",
    )  # fmt: skip
    discriminator_code_sizes: tuple[int, ...] = param(
        (128,), "Hidden widths of D_xz's branch of codes.", ge=1, source="the published code, KDDCUP"
    )
    discriminator_joint_sizes: tuple[int, ...] = param(
        (128,), "Hidden widths of D_xz's layers that see row and code.", ge=1, source="the published code, KDDCUP"
    )
    discriminator_batch_norm: bool | None = param(
        None, "Normalize D_xz's branch of rows over the batch. None: convolutions but the first.", kind="bool",
        source="on tables it hardly sees mean and spread of what is generated; the presets have it",
    )  # fmt: skip
    cycle_sizes: tuple[int, ...] | None = param(
        None, "hidden_sizes of D_xx. None: 128, of convolutions the encoder's.", kind="ints", ge=1,
        source="128: the published code, KDDCUP",
    )  # fmt: skip
    cycle_kernel_sizes: tuple[int, ...] | None = param(
        None, "kernel_sizes of D_xx. None: those of all.", kind="ints", ge=1, source="the published 5 in the preset"
    )
    cycle_axis: str = param(
        "height", "Where D_xx has the second of two images: below the first, or behind it.", choices=AXES,
        source="the published code: height",
    )  # fmt: skip
    latent_cycle_sizes: tuple[int, ...] = param(
        (32,), "Hidden widths of D_zz.", ge=1, source="the published code, KDDCUP"
    )
    cycle_dropout: float = param(
        0.0,
        "Share of the hidden units of D_xx and D_zz dropped in training; never at scoring.",
        ge=0,
        lt=1,
        source="0: rows are rebuilt better; the published .2 in the presets",
    )

    def build(self, shape: tuple[int, ...]) -> Method:
        """Return the network for rows of `shape`."""
        start = IMAGE_START if self.plan(shape).convolutional else None
        there = replace(self.plan(shape), start=start)
        back = replace(self.generator_plan(shape), hidden_sizes=self.generator_sizes or there.hidden_sizes, start=start)
        code_dim = min(self.latent_dim, max(there.n_features // 2, 1))
        encoder, generator = there.encoder(code_dim), self.bounded(back.decoder(code_dim), shape)
        if self.spectral_norm and there.convolutional:
            normed_spectrally(nn.Sequential(*list(encoder)[:-1]))  # the code's stay, as the published code has it
        joint, rows, codes = self._judges(shape, code_dim, start)
        return ALADNetwork(
            encoder,
            generator,
            joint,
            rows,
            codes,
            shape=shape,
            code_dim=code_dim,
            score_by=self.score_by,
            learning_rate=float(self.learning_rate),
            beta1=float(self.beta1),
            weight_average=float(self.weight_average),
            epochs=self.planned_epochs_,
        )

    def _judges(
        self, shape: tuple[int, ...], code_dim: int, start: float | None
    ) -> tuple[RowCodeDiscriminator, TwinDiscriminator, TwinDiscriminator | None]:
        """Return D_xz, D_xx and D_zz."""
        plan = replace(self.discriminator_plan(shape), dropout=0.0, start=start)  # the branch of rows drops nothing
        if self.discriminator_batch_norm is not None:
            plan = replace(plan, batch_norm=self.discriminator_batch_norm, first_norm=not plan.convolutional)
        joint = row_code_discriminator(
            plan,
            code_dim,
            self.discriminator_code_sizes,
            self.discriminator_joint_sizes,
            dropout=float(self.discriminator_dropout),
        )
        cycle = replace(
            plan,
            hidden_sizes=self.cycle_sizes or (self.plan(shape).hidden_sizes if plan.convolutional else CYCLE_SIZES),
            kernel_sizes=self.cycle_kernel_sizes or plan.kernel_sizes,
            batch_norm=False,
            dropout=float(self.cycle_dropout),
        )
        code_cycle = Plan(
            (code_dim,), self.latent_cycle_sizes, "dense", plan.activation, dropout=cycle.dropout, start=start
        )
        rows, codes = twin_discriminator(cycle, self.cycle_axis), twin_discriminator(code_cycle)
        if self.spectral_norm:
            for judge in (joint, rows, codes):
                judge.normed()
        return joint, rows, codes if self.latent_cycle else None
