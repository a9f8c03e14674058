"""f-AnoGAN.

Schlegl, Seeböck, Waldstein, Langs and Schmidt-Erfurth, "f-AnoGAN: Fast unsupervised anomaly detection with generative
adversarial networks", Medical Image Analysis 54, 2019; its game is WGAN-GP's: Gulrajani et al., "Improved Training of
Wasserstein GANs", NeurIPS 2017.

A generator and a critic play until the generator makes normal rows out of codes. Then both stand still, and an encoder
learns the code from which the generator rebuilds a row, so that no code has to be searched for at scoring. A row is odd
if it is badly rebuilt, in its values or in the critic's last hidden layer.

Letters: b rows, n features (all values of an image), n_f features of the critic, d code, z a code from N(0, I);
G generator, C critic, f its last hidden layer, E encoder.

Differences from the paper
--------------------------
1. Outside the preset: plain networks, dense for tables; wider steps, Adam for the encoder too, a moving average of all
   weights that score. The critic has no norm (the paper's has layer norm, as `blocks="residual"` does).
2. The paper trains its game for 7 epochs of a set whose size we do not know; "paper" gives it as many steps as the
   encoder, 50,000.
3. Networks other than for 64×64 images are ours: the published ones with fewer blocks, one fewer for sides of 28 or 32,
   and odd sides halved upward.
4. Batch norm of the generator: after the game its statistics are taken anew over draws of z, and kept. The code has the
   running ones of the game. Those of the encoder are taken anew at the end, as of all our methods.
5. Rows are not mirrored at random in training (the code: left to right, half of them); the last batch is kept.
6. First weights are He's and Glorot's in their usual form; that library's own may differ by a factor.
7. A map of pixels is the squared difference; the paper shows the absolute one (from memory). Same order of pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from offnormal.adversarial_detector import AdversarialDetector
from offnormal.batches import Batch, Batches
from offnormal.detector import STEP_BUDGET
from offnormal.method import Method, Phase, Update
from offnormal.networks.adversarial import features_and_logit, gradient_penalty, normed_spectrally
from offnormal.networks.autoencoding import Autoencoding
from offnormal.networks.averaging import averages_of, hooks
from offnormal.networks.norms import settle_norms
from offnormal.networks.residual_blocks import (
    batch_norm,
    layer_norm,
    residual_channels,
    residual_encoder,
    residual_generator,
)
from offnormal.networks.residuals import ResidualModel, falls_of_parts
from offnormal.parameters import param

ENCODER_TRAININGS = ("izi_f", "izi", "ziz")
BETA2 = 0.9
"""Adam's decay of the mean squared gradient; WGAN-GP's."""
SETTLING_BATCHES = 20
"""Batches of codes over which the statistics of the generator's norms are taken."""


class TrueRMSprop(Optimizer):
    """RMSProp as the code's library has it: w ← w − lr · g / √(v + ε), where v starts at 1.

    torch adds ε to the root and starts at 0: its first steps are of full size, whatever the gradient.

    Parameters
    ----------
    params : iterable of Parameter
    lr : float
    decay, eps : float
        v ← decay · v + (1 − decay) · g².
    """

    def __init__(self, params: Iterable[nn.Parameter], lr: float, decay: float = 0.9, eps: float = 1e-10) -> None:
        super().__init__(params, {"lr": lr, "decay": decay, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Move every weight that has a gradient."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["square"] = torch.ones_like(weight)
                square = state["square"]
                square.lerp_(weight.grad.square(), 1 - group["decay"])
                weight.addcdiv_(weight.grad, (square + group["eps"]).sqrt(), value=-group["lr"])


class NormStatistics(nn.Module):
    """Copies of the running statistics of a network's batch norms."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        for name, value in network.named_buffers():
            self.register_buffer(name.replace(".", "/"), value.detach().clone())

    def take(self, network: nn.Module) -> None:
        """Copy the statistics of the network."""
        for name, value in network.named_buffers():
            self.get_buffer(name.replace(".", "/")).copy_(value)

    def put_into(self, network: nn.Module) -> None:
        """Give them back."""
        for name, value in network.named_buffers():
            value.copy_(self.get_buffer(name.replace(".", "/")))


class FAnoGANNetwork(Autoencoding, Method):
    """Generator, critic and encoder.

    Parameters
    ----------
    encoder, decoder, critic : nn.Sequential
        E: (b, *shape) -> (b, d), G: (b, d) -> (b, *shape), C: (b, *shape) -> (b, 1), linear at its end.
    shape : tuple of int
        Of a row: (n,), (c, h, w) or (c, t, h, w).
    code_dim : int
    critic_steps : int
        Steps of the critic for one of the generator.
    penalty_weight, feature_weight : float
        λ and κ.
    encoder_training : {"izi_f", "izi", "ziz"}
    weight_average : float
        Decay of the averages of the weights; 0: none.
    game_optimizer, encoder_optimizer : callable
        Parameters -> optimizer.
    game_epochs, epochs : int
        Of the game and of the encoder.
    """

    exportable = True

    def __init__(
        self,
        encoder: nn.Sequential,
        decoder: nn.Sequential,
        critic: nn.Sequential,
        *,
        shape: tuple[int, ...],
        code_dim: int,
        critic_steps: int,
        penalty_weight: float,
        feature_weight: float,
        encoder_training: str,
        weight_average: float,
        game_optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        encoder_optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        game_epochs: int,
        epochs: int,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder, self.critic = encoder, decoder, critic
        self.code_dim, self.critic_steps = code_dim, critic_steps
        self.penalty_weight, self.feature_weight = penalty_weight, feature_weight
        self.encoder_training = encoder_training
        self.game_optimizer, self.encoder_optimizer = game_optimizer, encoder_optimizer
        self.game_epochs, self.epochs = game_epochs, epochs
        self.statistics = NormStatistics(decoder)
        self.game_averages = averages_of(self.players(), weight_average)
        self.encoder_averages = averages_of(encoder, weight_average)
        self.residuals = ResidualModel(*shape) if len(shape) == 1 else None

    def players(self) -> nn.ModuleDict:
        """Return the two networks of the game, under one roof."""
        return nn.ModuleDict({"generator": self.decoder, "critic": self.critic})

    def codes(self, rows: int) -> Tensor:
        """Return so many fresh codes from N(0, I), (rows, d)."""
        weight = next(self.decoder.parameters())
        return torch.randn(rows, self.code_dim, dtype=weight.dtype, device=weight.device)

    def generate(self, x: Tensor) -> Tensor:
        """Return rows made of fresh codes, as many as `x`, (b, *shape)."""
        made: Tensor = self.decoder(self.codes(len(x)))
        return made

    def features(self, x: Tensor) -> Tensor:
        """Return f(x), what goes into the last layer of the critic, (b, n_f)."""
        return features_and_logit(self.critic, x)[0]

    # --- the game -------------------------------------------------------------------------------------------------

    def critic_losses(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return the means of C(G(z)) and of −C(x), and λ times the penalty on the slope of C between the two."""
        with torch.no_grad():
            made = self.generate(batch.x)
        penalty = gradient_penalty(self.critic, batch.x, made)
        return {
            "fake": self.critic(made).mean(),
            "real": -self.critic(batch.x).mean(),
            "penalty": self.penalty_weight * penalty,
        }

    def generator_losses(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return the mean of −C(G(z))."""
        return {"generator": -self.critic(self.generate(batch.x)).mean()}

    def end_game(self) -> None:
        """Let the averages be the weights, and keep the statistics of the generator's norms."""
        if self.game_averages is not None:
            self.game_averages.put_into(self.players())
        self.statistics.take(self.decoder)

    def settle_generator(self, batches: Batches) -> None:
        """Take the statistics of the generator's norms anew, over draws of z, and keep them."""

        def one_pass() -> None:
            for _ in range(SETTLING_BATCHES):
                self.decoder(self.codes(batches.batch_size))

        settle_norms(self.decoder, one_pass)
        self.statistics.take(self.decoder)

    # --- the encoder ----------------------------------------------------------------------------------------------

    def hold_players(self) -> None:
        """Keep generator and critic as they are in scoring, whatever the trainer does to the norms of the whole."""
        self.decoder.eval()
        self.critic.eval()
        self.statistics.put_into(self.decoder)

    def encoder_losses(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return the mean over rows of ‖x − G(E(x))‖²/n and κ‖f(x) − f(G(E(x)))‖²/n_f; of "ziz", ‖z − E(G(z))‖²/d."""
        self.hold_players()
        if self.encoder_training == "ziz":
            codes = self.codes(len(batch.x))
            with torch.no_grad():
                made = self.decoder(codes)
            return {"code": (codes - self.encode(made)).square().mean()}
        rebuilt = self.reconstruct(batch.x)
        terms = {"reconstruction": (batch.x - rebuilt).square().mean()}
        if self.encoder_training == "izi_f" and self.feature_weight > 0:
            with torch.no_grad():
                features = self.features(batch.x)
            terms["features"] = self.feature_weight * (features - self.features(rebuilt)).square().mean()
        return terms

    # --- training -------------------------------------------------------------------------------------------------

    def phases(self) -> Sequence[Phase]:
        """Play the game, the generator at each `critic_steps`-th batch; then train the encoder, the players at rest."""
        critic = Update("critic", self.critic_losses, tuple(self.critic.parameters()), self.game_optimizer)
        generator = Update(
            "generator", self.generator_losses, tuple(self.decoder.parameters()), self.game_optimizer, self.critic_steps
        )
        encoder = Update("encoder", self.encoder_losses, tuple(self.encoder.parameters()), self.encoder_optimizer)
        return (
            Phase(
                "wgan_gp",
                (critic, generator),
                self.game_epochs,
                after_batch=hooks(self.game_averages, self.players()).get("after_batch"),
                end=self.end_game,
            ),
            Phase(
                "encoder",
                (encoder,),
                self.epochs,
                begin=self.settle_generator,
                **hooks(self.encoder_averages, self.encoder),
            ),
        )

    def summarize(self, batches: Batches) -> None:
        """Note what residuals look like, for reasons; the score needs nothing."""
        if self.residuals is not None:
            self.residuals.learn(batches, self.reconstruct)

    # --- scoring --------------------------------------------------------------------------------------------------

    def score_parts(self, x: Tensor) -> dict[str, Tensor]:
        """Return the two parts whose sum is the score, each float64, shape (b,)."""
        rebuilt = self.reconstruct(x)
        parts = {"reconstruction": _mean_square(x, rebuilt)}
        if self.feature_weight > 0:
            parts["features"] = self.feature_weight * _mean_square(self.features(x), self.features(rebuilt))
        return parts

    def score(self, x: Tensor) -> Tensor:
        """Return ‖x − G(E(x))‖²/n + κ‖f(x) − f(G(E(x)))‖²/n_f, float64, shape (b,), at least 0."""
        return torch.stack(list(self.score_parts(x).values())).sum(0)

    def contributions(self, x: Tensor, groups: Tensor, n_groups: int) -> Mapping[str, Tensor]:
        """Return, per column, how far each part of the score falls with its best replacement (`falls_of_parts`)."""
        return falls_of_parts(self.score_parts, self.residuals, x, self.reconstruct(x), groups, n_groups)


def _mean_square(values: Tensor, others: Tensor) -> Tensor:
    """Return the mean of the squared differences of each row, float64, (b, …) -> (b,)."""
    return (values.double() - others.double()).square().flatten(1).mean(1)


@dataclass(kw_only=True, eq=False, repr=False)
class FAnoGAN(AdversarialDetector):
    """A generator of normal rows, and an encoder that finds the code of a row: what is not rebuilt is odd.

    The score is at least 0; greater = more anomalous. It is a mean squared difference, in squared units of the scaled
    columns or pixels, and of the critic's features, whose unit is that of its verdict.
    """

    key: ClassVar[str] = "f_anogan"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {
            "blocks": "residual", "latent_dim": 128, "learning_rate": 1e-4, "encoder_optimizer": "rmsprop",
            "encoder_learning_rate": 5e-5, "weight_average": 0.0, "steps": 50_000, "batch_size": 64,
        },
    }  # fmt: skip

    learning_rate: float = param(
        5e-4, "Adam's step size in the game.", gt=0, source="five times the code's 1e-4, for a fraction of the steps"
    )
    beta1: float = param(0.0, "Adam's decay of the mean gradient, in the game.", ge=0, lt=1, source="WGAN-GP; the code")
    steps: int = param(
        STEP_BUDGET, "Steps of the game, and of the encoder, where `epochs` is None.", ge=1,
        source="as all methods; the code's encoder: 50,000",
    )  # fmt: skip
    gan_epochs: int | None = param(
        None, "Passes of the game. None: as many as of the encoder.", kind="int", ge=0,
        source="the code: 7, of a set of unknown size",
    )  # fmt: skip
    critic_steps: int = param(5, "Steps of the critic for one of the generator.", ge=1, source="WGAN-GP; the code")
    penalty_weight: float = param(
        10.0, "λ, weight of the penalty on the slope of the critic.", gt=0, source="WGAN-GP; the code"
    )
    feature_weight: float = param(
        1.0, "κ, weight of the critic's features in the encoder's loss and in the score.", ge=0, source="the code"
    )
    encoder_training: str = param(
        "izi_f", "What the encoder learns: rows rebuilt in value and feature, in value alone, or codes of made rows.",
        choices=ENCODER_TRAININGS, source="the method; the paper compares the three",
    )  # fmt: skip
    encoder_end: str = param(
        "tanh", "Codes within (−1, 1), or anywhere.", choices=("tanh", "linear"), source="the code's default: tanh"
    )
    encoder_optimizer: str = param(
        "adam", "Of the encoder.", choices=("adam", "rmsprop"), source="adam: as all methods; the code: rmsprop"
    )
    encoder_learning_rate: float = param(
        1e-3, "Step size of the encoder.", gt=0, source="as all methods; the code: 5e-5"
    )
    blocks: str = param(
        "plain", "Networks of images: plain convolutions, or the published residual blocks.",
        choices=("plain", "residual"), source="plain: faster; the code: residual",
    )  # fmt: skip

    def build(self, shape: tuple[int, ...]) -> Method:
        """Return the networks for rows of `shape`.

        Raises
        ------
        InvalidParameter
            If residual blocks are asked for on a table.
        """
        encoder, generator, critic = self._chains(shape)
        if self.encoder_end == "tanh":
            encoder = nn.Sequential(*encoder, nn.Tanh())
        game_adam = partial(torch.optim.Adam, lr=self.learning_rate, betas=(float(self.beta1), BETA2), fused=True)
        encoder_adam = partial(torch.optim.Adam, lr=self.encoder_learning_rate, fused=True)
        rmsprop = partial(TrueRMSprop, lr=self.encoder_learning_rate)
        return FAnoGANNetwork(
            encoder,
            self.bounded(generator, shape),
            normed_spectrally(critic) if self.spectral_norm else critic,
            shape=shape,
            code_dim=self.latent_dim,
            critic_steps=self.critic_steps,
            penalty_weight=float(self.penalty_weight),
            feature_weight=float(self.feature_weight),
            encoder_training=self.encoder_training,
            weight_average=float(self.weight_average),
            game_optimizer=game_adam,
            encoder_optimizer=encoder_adam if self.encoder_optimizer == "adam" else rmsprop,
            game_epochs=self.planned_epochs_ if self.gan_epochs is None else self.gan_epochs,
            epochs=self.planned_epochs_,
        )

    def _plan(self, rows: int) -> tuple[int, int]:
        epochs, batch = super()._plan(rows)
        return max(math.ceil(self.steps / max(round(rows / batch), 1)), 1) if self.epochs is None else epochs, batch

    def _chains(self, shape: tuple[int, ...]) -> tuple[nn.Sequential, nn.Sequential, nn.Sequential]:
        """Return encoder, generator and critic, without bounds on what they give."""
        if self.blocks == "plain":
            judge = replace(self.discriminator_plan(shape), batch_norm=False)  # the penalty is of each row by itself
            there, back = self.plan(shape), self.generator_plan(shape)
            return there.encoder(self.latent_dim), back.decoder(self.latent_dim), judge.encoder(1)
        channels = residual_channels(shape, self.hidden_sizes)
        judges = residual_channels(shape, self.discriminator_sizes or self.hidden_sizes)
        return (
            residual_encoder(shape, self.latent_dim, channels, batch_norm(len(shape) - 1)),
            residual_generator(shape, self.latent_dim, channels),
            residual_encoder(shape, 1, judges, layer_norm),
        )
