"""GANomaly: an encoder, a decoder, and a second encoder that looks at what was rebuilt.

Akcay, Atapour-Abarghouei and Breckon, "GANomaly: Semi-Supervised Anomaly Detection via Adversarial Training",
ACCV 2018, arXiv 1805.06725; published code: samet-akcay/ganomaly, whose losses of August 2019 these are.

A generator squeezes a row into a code and rebuilds the row from it; a second encoder squeezes what was rebuilt into a
code again. A discriminator learns to tell rows from rebuilt rows, and the generator learns to rebuild rows that have
the features the discriminator sees in the real ones. All this is learned on normal rows, so for an odd row the two
codes are expected to differ: their distance is the score.

Letters: b rows, n features (all values of an image), d code; G_E and G_D the generator's encoder and decoder, G both of
them, E second encoder, D discriminator, f what goes into its last layer; z = G_E(x), x′ = G_D(z), z′ = E(x′).

Differences from the paper and its code
---------------------------------------
1. The code had three adversarial losses over the years; this is the last, and the paper's formula: features of D are
   matched. Weights are those of means over all values, as in the code.
2. Scoring is in evaluation mode. The code scores with the statistics of the test batch.
3. Weights of the last epoch, or their moving average; the code takes the epoch with the best AUROC on the test set.
4. Scores are not scaled by the least and the greatest of the query.
5. Where the discriminator's loss falls under 1e-5 the code starts it anew; here the user is told if the generator has
   collapsed. The discriminator judges rows rebuilt after the generator's step, not before it.
6. Convolutions have biases. A linear layer takes the place of a convolution as large as its image; norms start at 1,
   not at N(1, 0.02).
7. Tables have fully connected networks; `adbench` is ADBench's, as far as the options reach.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from offnormal.adversarial_detector import AdversarialDetector
from offnormal.batches import Batch, Batches
from offnormal.method import Method, Phase, Update
from offnormal.networks.adversarial import features_and_logit, normed_spectrally, told_apart
from offnormal.networks.autoencoding import Autoencoding
from offnormal.networks.averaging import averages_of, hooks
from offnormal.networks.residuals import ResidualModel, falls_of_parts
from offnormal.parameters import param

SCORES = ("l1", "squared")
CODE_ERRORS = ("squared", "absolute")
OPTIMIZERS = ("adam", "sgd")
CODES = ("linear", "tanh")
START = 0.02
"""Standard deviation of the convolutions' first weights; DCGAN's."""
IMAGE_CODE = 100
"""Width of the code of images."""
BETA2 = 0.999


class GANomalyNetwork(Autoencoding, Method):
    """Generator, second encoder and discriminator.

    Parameters
    ----------
    encoder, decoder, second_encoder, discriminator : nn.Sequential
        G_E: (b, *shape) -> (b, d), G_D: (b, d) -> (b, *shape), E as G_E, D: (b, *shape) -> (b, 1), logits.
    shape : tuple of int
        Of a row: (n,), (c, h, w) or (c, t, h, w).
    code_dim : int
    adversarial_weight, contextual_weight, encoder_weight : float
        Of the generator's three terms; an adversarial weight of 0 leaves the discriminator out.
    code_error : {"squared", "absolute"}
    score_by : {"l1", "squared"}
    optimizer : callable
        Parameters -> optimizer, for both parts of the game.
    weight_average : float
    epochs : int
    """

    exportable = True

    def __init__(
        self,
        encoder: nn.Sequential,
        decoder: nn.Sequential,
        second_encoder: nn.Sequential,
        discriminator: nn.Sequential,
        *,
        shape: tuple[int, ...],
        code_dim: int,
        adversarial_weight: float,
        contextual_weight: float,
        encoder_weight: float,
        code_error: str,
        score_by: str,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        weight_average: float,
        epochs: int,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder, self.second_encoder = encoder, decoder, second_encoder
        self.discriminator, self.code_dim = discriminator, code_dim
        self.adversarial_weight, self.contextual_weight = adversarial_weight, contextual_weight
        self.encoder_weight, self.code_error, self.score_by = encoder_weight, code_error, score_by
        self.optimizer, self.epochs = optimizer, epochs
        self.averages = averages_of(self.scoring_networks, weight_average)
        self.residuals = ResidualModel(*shape) if len(shape) == 1 else None

    @property
    def scoring_networks(self) -> nn.ModuleList:
        """Return G_E, G_D and E: what a score goes through."""
        return nn.ModuleList([self.encoder, self.decoder, self.second_encoder])

    def generate(self, x: Tensor) -> Tensor:
        """Return the rows that the generator makes of the codes of `x`, (b, *shape)."""
        return self.reconstruct(x)

    # --- the two updates ------------------------------------------------------------------------------------------

    def generator_losses(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return the weighted means of (f(x) − f(x′))², |x − x′| and (z − z′)²; the first only if D plays."""
        code = self.encoder(batch.x)
        rebuilt = self.decoder(code)
        between = code - self.second_encoder(rebuilt)
        terms = {
            "contextual": self.contextual_weight * (batch.x - rebuilt).abs().mean(),
            "encoder": self.encoder_weight
            * (between.square() if self.code_error == "squared" else between.abs()).mean(),
        }
        if self.adversarial_weight == 0:
            return terms
        with torch.no_grad():
            real, _ = features_and_logit(self.discriminator, batch.x)
        fake, _ = features_and_logit(self.discriminator, rebuilt)
        return {"adversarial": self.adversarial_weight * (real - fake).square().mean(), **terms}

    def discriminator_losses(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return half the means of −log D(x) and of −log(1 − D(x′))."""
        with torch.no_grad():
            rebuilt = self.reconstruct(batch.x)
        return {name: 0.5 * term for name, term in told_apart(self.discriminator, batch.x, rebuilt).items()}

    def phases(self) -> Sequence[Phase]:
        """On every batch train the generator and the second encoder, then the discriminator."""
        updates = [
            Update("generator", self.generator_losses, tuple(self.scoring_networks.parameters()), self.optimizer)
        ]
        if self.adversarial_weight > 0:
            judge = tuple(self.discriminator.parameters())
            updates.append(Update("discriminator", self.discriminator_losses, judge, self.optimizer))
        return (Phase("adversarial", tuple(updates), self.epochs, **hooks(self.averages, self.scoring_networks)),)

    def summarize(self, batches: Batches) -> None:
        """Note what residuals look like, for reasons."""
        if self.residuals is not None:
            self.residuals.learn(batches, self.reconstruct)

    # --- scoring --------------------------------------------------------------------------------------------------

    def score_parts(self, x: Tensor) -> dict[str, Tensor]:
        """Return ‖z − z′‖₁, or the mean of (z − z′)², as the only part, float64, shape (b,)."""
        code = self.encode(x)
        between = code.double() - self.second_encoder(self.decoder(code)).double()
        return {"latent": between.abs().sum(1) if self.score_by == "l1" else between.square().mean(1)}

    def score(self, x: Tensor) -> Tensor:
        """Return the distance of the two codes, float64, shape (b,)."""
        return self.score_parts(x)["latent"]

    def contributions(self, x: Tensor, groups: Tensor, n_groups: int) -> Mapping[str, Tensor]:
        """Return, per column, how far each part falls with its best replacement (`falls_of_parts`).

        Beside the score's parts there is `residual`, the deviance of x − x′ under the covariance of the training
        residuals, in nats: both codes can be near each other where one column does not go with the others.
        """
        model = self.residuals

        def parts(rows: Tensor) -> Mapping[str, Tensor]:
            scored = self.score_parts(rows)
            return scored if model is None else scored | {"residual": model.deviance(rows - self.reconstruct(rows))}

        return falls_of_parts(parts, model, x, self.reconstruct(x), groups, n_groups)


@dataclass(kw_only=True, eq=False, repr=False)
class GANomaly(AdversarialDetector):
    """The distance between the code of a row and the code of the row rebuilt from it.

    The score is in units of the code, at least 0; greater = more anomalous. The code has no scale of its own, so scores
    compare rows within one fitted model.
    """

    key: ClassVar[str] = "ganomaly"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        **{
            name: {
                "hidden_sizes": (64, 128, 256),
                "latent_dim": IMAGE_CODE,
                "learning_rate": 2e-4,
                "epochs": 15,
                "batch_size": 64,
                "weight_average": 0.0,
            }
            for name in ("mnist", "cifar10")
        },
        "adbench": {
            "latent_dim": None,
            "hidden_sizes": (),
            "code_activation": "tanh",
            "discriminator_sizes": (100, 20),
            "adversarial_weight": 1 / 3,
            "contextual_weight": 1 / 3,
            "encoder_weight": 1 / 3,
            "code_error": "absolute",
            "optimizer": "sgd",
            "beta1": 0.7,
            "learning_rate": 1e-2,
            "epochs": 50,
            "batch_size": 64,
            "scaling": "minmax",
            "weight_average": 0.0,
        },
    }

    beta1: float = param(
        0.5, "Adam's decay of the mean gradient; of 'sgd' the momentum.", ge=0, lt=1, source="the code; DCGAN's"
    )
    latent_dim: int | None = param(  # type: ignore[assignment]  # None is this method's alone
        32, "Width of the code. None: a quarter of the features of a table, half of fewer than 8; 100 for images.",
        kind="int", ge=1, optional=True, source="a wide code did better on tables; None: ADBench's, the code's",
    )  # fmt: skip
    activation: str = param(
        "leaky_relu", "Activation of the hidden units of fully connected encoders; the code is linear.",
        choices=("tanh", "relu", "leaky_relu"), source="as the convolutions'; with tanh scores have a bound",
    )  # fmt: skip
    code_activation: str = param("linear", "What ends an encoder.", choices=CODES, source="the code; ADBench: tanh")
    adversarial_weight: float = param(
        1.0, "Weight of the mean squared difference of D's features; 0: no discriminator.", ge=0, source="the code"
    )
    contextual_weight: float = param(50.0, "Weight of the mean of |x − x′|.", gt=0, source="the code and the paper")
    encoder_weight: float = param(1.0, "Weight of the mean difference of the codes.", gt=0, source="the code")
    code_error: str = param(
        "squared", "That difference in training.", choices=CODE_ERRORS, source="the code; ADBench: absolute"
    )
    score_by: str = param(
        "l1",
        "The sum of |z − z′|, or the mean of its squares.",
        choices=SCORES,
        source="l1: the paper; squared: the code",
    )
    optimizer: str = param("adam", "Both parts'.", choices=OPTIMIZERS, source="the code; ADBench: sgd")

    def build(self, shape: tuple[int, ...]) -> Method:
        """Return the network for rows of `shape`."""
        there, back, judge = self.plan(shape), self.generator_plan(shape), self.discriminator_plan(shape)
        if there.convolutional:
            there, back, judge = (replace(plan, start=START) for plan in (there, back, judge))
        there = replace(there, first_norm=False)
        code_dim = self.latent_dim or usual_code(shape)
        end = [nn.Tanh()] if self.code_activation == "tanh" else []
        discriminator = judge.encoder(1)
        return GANomalyNetwork(
            nn.Sequential(*there.encoder(code_dim), *end),
            self.bounded(back.decoder(code_dim), shape),
            nn.Sequential(*there.encoder(code_dim), *end),
            normed_spectrally(discriminator) if self.spectral_norm else discriminator,
            shape=shape,
            code_dim=code_dim,
            adversarial_weight=float(self.adversarial_weight),
            contextual_weight=float(self.contextual_weight),
            encoder_weight=float(self.encoder_weight),
            code_error=self.code_error,
            score_by=self.score_by,
            optimizer=self._optimizer(),
            weight_average=float(self.weight_average),
            epochs=self.planned_epochs_,
        )

    def _optimizer(self) -> Callable[[Iterable[nn.Parameter]], Optimizer]:
        if self.optimizer == "sgd":
            return partial(torch.optim.SGD, lr=self.learning_rate, momentum=self.beta1)
        return partial(torch.optim.Adam, lr=self.learning_rate, betas=(self.beta1, BETA2), fused=True)


def usual_code(shape: tuple[int, ...]) -> int:
    """Return the width of the code where nobody says."""
    if len(shape) > 1:
        return IMAGE_CODE
    return max(shape[0] // (2 if shape[0] < 8 else 4), 1)
