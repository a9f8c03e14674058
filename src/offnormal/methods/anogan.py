"""Generative adversarial network with a latent search (AnoGAN).

Schlegl, Seeböck, Waldstein, Schmidt-Erfurth and Langs, "Unsupervised Anomaly Detection with Generative Adversarial
Networks to Guide Marker Discovery", IPMI 2017, arXiv 1703.05921. No code was published; the presets are of the
re-implementations of Zenati et al., from the code of "Efficient GAN-Based Anomaly Detection" (EGBAD, 2018) and of
"Adversarially Learned Anomaly Detection" (ALAD, 2018).

A generator learns to make normal rows of Gaussian codes, against a discriminator. For a new row the code is searched
whose row is most like it, by steps of gradient descent on the code alone. What remains unlike is the score.

Letters: b rows, d code, r starts; G generator, D discriminator (logits), f what goes into its last layer, w the weight
λ of the discrimination, z* the code that is found.

Differences from the paper
--------------------------
1. The weights that score are moving averages, those of D too (EGBAD's code averages G's alone in effect).
2. All rows start their search at the same code, drawn once and kept in the model, where the codes draw one per row and
   query: the score depends on its row alone. `restarts` takes the best of several.
3. By default a search has 30 steps whose size falls along half a cosine from 0.2, and rows of tables have four
   searches; the paper has one of 500, the presets have those of the codes. Searches are in float64, those of
   convolutions in float32 (networks.latent_search says why).
4. Convolutions of a 1×1 image are linear layers: biases of G's first are one per value. Networks of convolutions start
   at N(0, 0.02), in ALAD's code at N(0, 0.01). Norms have torch's constants.
5. Epochs of the codes are given on the command line; the presets take what is said of EGBAD and ALAD. They standardize
   tables; scaling="none" is what the codes do in effect.
6. Outside the presets the code has 8 axes, and never more than half of the row's; the discriminator of a fully
   connected network has a spectral norm, which the papers' have not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from offnormal.adversarial_detector import AdversarialDetector
from offnormal.batches import Batch
from offnormal.errors import NotSupported
from offnormal.method import Method, Phase, Update
from offnormal.networks.adversarial import features_and_logit, normed_spectrally, taken_for_real, told_apart
from offnormal.networks.averaging import averages_of, hooks
from offnormal.networks.backbones import SLOPE
from offnormal.networks.latent_search import best_of_starts, frozen, in_parts, search_rates
from offnormal.parameters import param

DISCRIMINATIONS = ("features", "cross_entropy")
DCGAN_START = 0.02


class Unlikeness:
    """How unlike rows are to generated ones.

    Parameters
    ----------
    generator, discriminator : nn.Sequential
        Frozen, of the type of `x`.
    x : Tensor, shape (b, *shape)
    weight : float
        w.
    discrimination : {"features", "cross_entropy"}
    """

    def __init__(
        self, generator: nn.Sequential, discriminator: nn.Sequential, x: Tensor, *, weight: float, discrimination: str
    ) -> None:
        self.generator, self.discriminator, self.x = generator, discriminator, x
        self.weight, self.by_features = weight, discrimination == "features"
        with torch.inference_mode(False), torch.no_grad():
            self.features = self.judged(x)[0]

    def judged(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return f, (b, w), and the logit of D, (b,)."""
        return features_and_logit(self.discriminator, rows)

    def parts(self, z: Tensor) -> dict[str, Tensor]:
        """Return (1 − w) ‖x − G(z)‖₁ and w times the discrimination, each float64, (b,)."""
        made = self.generator(z)
        parts = {"residual": (1 - self.weight) * (self.x - made).double().abs().flatten(1).sum(1)}
        if self.weight > 0:
            features, logit = self.judged(made)
            if self.by_features:
                parts["discrimination"] = self.weight * (self.features - features).double().abs().sum(1)
            else:
                parts["discrimination"] = self.weight * nn.functional.softplus(-logit.double())
        return parts

    def __call__(self, z: Tensor) -> Tensor:
        """Return the sum of the parts, (b,)."""
        return torch.stack(list(self.parts(z).values())).sum(0)


class AnoGANNetwork(Method):
    """Generator, discriminator, and the codes where every search starts.

    Parameters
    ----------
    generator, discriminator : nn.Sequential
        G: (b, d) -> (b, *shape), D: (b, *shape) -> (b, 1), logits.
    code_dim : int
    restarts : int
        r, searches per row.
    rates : sequence of float
        Of Adam in each step of a search.
    search_type : torch.dtype
    discrimination_weight : float
    discrimination : {"features", "cross_entropy"}
    learning_rate, beta1 : float
    weight_average : float
    epochs : int
    """

    exportable = False
    starts: Tensor

    def __init__(
        self,
        generator: nn.Sequential,
        discriminator: nn.Sequential,
        *,
        code_dim: int,
        restarts: int,
        rates: Sequence[float],
        search_type: torch.dtype,
        discrimination_weight: float,
        discrimination: str,
        learning_rate: float,
        beta1: float,
        weight_average: float,
        epochs: int,
    ) -> None:
        super().__init__()
        self.generator, self.discriminator = generator, discriminator
        self.code_dim, self.rates, self.search_type = code_dim, tuple(rates), search_type
        self.discrimination_weight, self.discrimination = discrimination_weight, discrimination
        self.learning_rate, self.beta1, self.epochs = learning_rate, beta1, epochs
        self.register_buffer("starts", torch.randn(restarts, code_dim))
        self.averages = averages_of(self.networks, weight_average)

    @property
    def networks(self) -> nn.ModuleList:
        """Return the networks that score."""
        return nn.ModuleList([self.generator, self.discriminator])

    # --- training -------------------------------------------------------------------------------------------------

    def generate(self, x: Tensor) -> Tensor:
        """Return G(z) of fresh codes z ~ N(0, I), as many as `x`, (b, *shape)."""
        made: Tensor = self.generator(torch.randn(len(x), self.code_dim, dtype=x.dtype, device=x.device))
        return made

    def discriminator_losses(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return the means of −log D(x) and of −log(1 − D(G(z)))."""
        with torch.no_grad():
            made = self.generate(batch.x)
        return told_apart(self.discriminator, batch.x, made)

    def generator_losses(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return the mean of −log D(G(z)), the non-saturating loss."""
        return {"generator": taken_for_real(self.discriminator, self.generate(batch.x))}

    def phases(self) -> Sequence[Phase]:
        """On every batch train the discriminator, then the generator against it."""
        adam = partial(torch.optim.Adam, lr=self.learning_rate, betas=(self.beta1, 0.999), fused=True)
        updates = (
            Update("discriminator", self.discriminator_losses, tuple(self.discriminator.parameters()), adam),
            Update("generator", self.generator_losses, tuple(self.generator.parameters()), adam),
        )
        return (Phase("adversarial", updates, self.epochs, **hooks(self.averages, self.networks)),)

    # --- scoring --------------------------------------------------------------------------------------------------

    def unlikeness(self, generator: nn.Sequential, discriminator: nn.Sequential, x: Tensor) -> Unlikeness:
        """Return what is minimized for `x`, with frozen copies of the networks."""
        return Unlikeness(
            generator, discriminator, x, weight=self.discrimination_weight, discrimination=self.discrimination
        )

    def search(self, x: Tensor) -> tuple[Unlikeness, Tensor]:
        """Return what was minimized, and the code z* found for each row, (b, d)."""
        generator, discriminator = (frozen(net, self.search_type) for net in (self.generator, self.discriminator))
        with torch.inference_mode(False):
            rows, starts = (given.detach().to(self.search_type, copy=True) for given in (x, self.starts))

        def found(part: Tensor) -> Tensor:
            return best_of_starts(self.unlikeness(generator, discriminator, part), starts, len(part), self.rates)

        return self.unlikeness(generator, discriminator, rows), in_parts(found, rows)

    def score(self, x: Tensor) -> Tensor:
        """Return (1 − w) ‖x − G(z*)‖₁ + w · discrimination after the last step, float64, shape (b,), at least 0."""
        unlike, code = self.search(x)
        return unlike(code)

    def encode(self, x: Tensor) -> Tensor:
        """Return z*, shape (b, d)."""
        return self.search(x)[1].to(x.dtype)

    def code_names(self) -> tuple[str, ...]:
        """Name the axes of the code."""
        return tuple(f"code_{i + 1}" for i in range(self.code_dim))

    def reconstruct(self, x: Tensor) -> Tensor:
        """Return G(z*), (b, *shape)."""
        unlike, code = self.search(x)
        made: Tensor = unlike.generator(code)
        return made.to(x.dtype)

    def score_map(self, x: Tensor) -> Tensor:
        """Return |x − G(z*)| summed over channels, (b, c, h, w) -> (b, h, w): the paper's residual image."""
        return (x - self.reconstruct(x)).abs().sum(1)

    def contributions(self, x: Tensor, groups: Tensor, n_groups: int) -> Mapping[str, Tensor]:
        """Return what each column has in the score, for the code z* that was found.

        `residual`: the column's own part of (1 − w) ‖x − G(z*)‖₁; over all columns they sum to it. `discrimination`:
        how far w ‖f(x) − f(G(z*))‖₁ falls if the column alone takes its value of G(z*); it may be negative. There is
        none for cross-entropy, which does not look at x.
        """
        if x.dim() > 2:
            raise NotSupported("Reasons by column are for tables; an image has its map of residuals.")
        unlike, code = self.search(x)
        made: Tensor = unlike.generator(code)
        each = (1 - unlike.weight) * (unlike.x - made).abs()
        parts = {"residual": torch.zeros(len(x), n_groups).to(each).index_add_(1, groups, each)}
        if unlike.weight > 0 and unlike.by_features:
            target = unlike.judged(made)[0]
            before = (unlike.features - target).abs().sum(1)
            after = torch.stack(
                [
                    (unlike.judged(torch.where(groups == group, made, unlike.x))[0] - target).abs().sum(1)
                    for group in range(n_groups)
                ],
                dim=1,
            )
            parts["discrimination"] = unlike.weight * (before[:, None] - after)
        return parts


_KDDCUP: dict[str, Any] = {
    "latent_dim": 32, "hidden_sizes": (128, 64), "discriminator_sizes": (256, 128, 128), "discriminator_dropout": 0.2,
    "learning_rate": 1e-5, "batch_size": 50, "spectral_norm": False,
}  # fmt: skip
_EGBAD: dict[str, Any] = {
    "learning_rate": 1e-5, "search_steps": 500, "search_learning_rate": 0.01, "restarts": 1, "slope": 0.1,
    "spectral_norm": False,
}  # fmt: skip
_ALAD: dict[str, Any] = {
    "search_steps": 500, "search_learning_rate": 1e-3, "search_drops": (), "restarts": 1,
    "discrimination_weight": 0.9, "spectral_norm": False,
}  # fmt: skip
_ALAD_IMAGES: dict[str, Any] = _ALAD | {
    "latent_dim": 100, "hidden_sizes": (128, 256, 512), "learning_rate": 2e-4, "batch_size": 32, "epochs": 100,
}  # fmt: skip


@dataclass(kw_only=True, eq=False, repr=False)
class AnoGAN(AdversarialDetector):
    """What a generator of normal rows cannot make: the distance of a row to the most alike it makes.

    The score is at least 0, in units of the scaled values, and sums over the values of a row; greater = more anomalous.
    Each row is searched by gradient steps, so that scoring is slow beside the other methods.
    """

    key: ClassVar[str] = "anogan"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "egbad_kddcup": _EGBAD | _KDDCUP | {"search_drops": (300, 400), "epochs": 50, "weight_average": 0.9999},
        "egbad_mnist": _EGBAD | {
            "latent_dim": 200, "hidden_sizes": (64, 128), "discriminator_sizes": (64, 64), "dense_sizes": (1024,),
            "search_drops": (200, 300), "epochs": 100, "batch_size": 100,
        },
        "alad_kddcup": _ALAD | _KDDCUP | {"epochs": 100},
        "alad_arrhythmia": _ALAD | {
            "latent_dim": 64, "hidden_sizes": (256, 128), "discriminator_sizes": (256, 128),
            "discriminator_dropout": 0.2, "learning_rate": 1e-5, "epochs": 1000, "batch_size": 32,
            "spectral_norm": False,
        },
        "alad_svhn": _ALAD_IMAGES,
        "alad_cifar10": _ALAD_IMAGES,
        "oct": {
            "latent_dim": 100, "hidden_sizes": (64, 128, 256, 512), "kernel_sizes": (5,), "search_steps": 500,
            "search_learning_rate": 0.01, "search_drops": (300, 400), "restarts": 1, "epochs": 20, "batch_size": 128,
            "learning_rate": 2e-4,
        },
    }  # fmt: skip

    latent_dim: int = param(
        8, "Width of the code; at most half of the row's.", ge=1,
        source="32 did worse: it reaches odd rows too; the codes' in the presets",
    )  # fmt: skip
    learning_rate: float = param(
        1e-3, "Adam's step size, in both parts of the game.", gt=0,
        source="a hundred times the published 1e-5, for a hundredth of the steps",
    )  # fmt: skip
    spectral_norm: bool | None = param(
        None, "Divide the discriminator's weights by their largest singular value. None: if fully connected.",
        kind="bool", source="ALAD's, for images; without, KDDCUP's generator collapsed; off in the presets of tables",
    )  # fmt: skip
    dense_sizes: tuple[int, ...] = param(
        (), "Convolutional networks: widths of linear layers between the convolutions and code or verdict.", ge=1,
        source="DCGAN has none; EGBAD's MNIST in the preset",
    )  # fmt: skip
    slope: float = param(
        SLOPE, "Of leaky ReLUs below 0.", ge=0, lt=1, source="DCGAN's; EGBAD's code: 0.1, in the presets"
    )
    discrimination_weight: float = param(
        0.1, "w, the part of the discrimination in what is searched and scored; the residual has 1 − w.", ge=0, le=1,
        source="the paper's; ALAD's code: 0.9",
    )  # fmt: skip
    discrimination: str = param(
        "features", "L1 of the discriminator's last features of the row and of the generated one, or −log D of the "
        "generated one.", choices=DISCRIMINATIONS, source="the paper's; cross_entropy: its older reference",
    )  # fmt: skip
    search_steps: int = param(
        30, "Gradient steps of a search.", ge=0,
        source="30 and 100 ranked alike on three tables; the paper's 500 in the presets",
    )  # fmt: skip
    search_learning_rate: float = param(
        0.2, "Adam's step size in the search.", gt=0, source="in 30 steps a code can cross the Gaussian"
    )
    search_drops: tuple[int, ...] | None = param(
        None, "Steps after which it is a tenth, then a twentieth; (): it stays. None: it falls along half a cosine.",
        kind="ints", ge=0, source="EGBAD's code in the presets",
    )  # fmt: skip
    restarts: int | None = param(
        None, "Searches per row, each from a starting code of its own; the best counts. None: 4, of images 1.",
        kind="int", ge=1, source="a search is caught in the wrong category; the paper's 1 in the presets",
    )  # fmt: skip

    def build(self, shape: tuple[int, ...]) -> Method:
        """Return the networks for rows of `shape`.

        Raises
        ------
        InvalidParameter
            If images are too small for the convolutions, or the drops of the search are out of order.
        """
        make, judge = self.generator_plan(shape), self.discriminator_plan(shape)
        if make.convolutional:
            make, judge = (replace(plan, dense_sizes=self.dense_sizes, start=DCGAN_START) for plan in (make, judge))
        code_dim = min(self.latent_dim, max(make.n_features // 2, 1))
        discriminator = judge.encoder(1)
        normed = not make.convolutional if self.spectral_norm is None else self.spectral_norm
        network = AnoGANNetwork(
            self.bounded(make.decoder(code_dim), shape),
            normed_spectrally(discriminator) if normed else discriminator,
            code_dim=code_dim,
            restarts=self.restarts or (1 if make.convolutional else 4),
            rates=search_rates(self.search_steps, self.search_learning_rate, self.search_drops),
            search_type=torch.float32 if make.convolutional else torch.float64,
            discrimination_weight=float(self.discrimination_weight),
            discrimination=self.discrimination,
            learning_rate=self.learning_rate,
            beta1=float(self.beta1),
            weight_average=float(self.weight_average),
            epochs=self.planned_epochs_,
        )
        for module in network.modules():
            if isinstance(module, nn.LeakyReLU):
                module.negative_slope = float(self.slope)
        return network
