"""The measured statistic of a generator: it flags games that were made to collapse, and no healthy one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import pytest
import torch
from torch import Tensor

from offnormal.batches import Batch
from offnormal.method import Method, Phase, Update
from offnormal.networks.adversarial import taken_for_real, told_apart
from offnormal.networks.backbones import Plan
from offnormal.networks.diversity import COLLAPSED_BELOW, LEAST_STEPS
from offnormal.random import generator, scoped
from offnormal.trainer import Settings, Training, train

HEALTHY, EAGER, CONSTANT = "healthy", "eager", "constant"
EPOCHS = 63
"""Of 16 steps each."""


def ring(n: int = 512) -> Tensor:
    """Eight narrow Gaussians on a circle."""
    own = generator(0, "ring")
    angle = torch.randint(8, (n,), generator=own) * (torch.pi / 4)
    return torch.stack([angle.cos(), angle.sin()], 1) + 0.05 * torch.randn(n, 2, generator=own)


def table(n: int = 512) -> Tensor:
    """Ten standardized columns that follow three causes, one of them with a long tail."""
    own = generator(0, "table")
    causes = torch.randn(n, 3, generator=own)
    causes[:, 0] = causes[:, 0].exp()
    rows = causes @ torch.randn(3, 10, generator=own) + 0.3 * torch.randn(n, 10, generator=own)
    return (rows - rows.mean(0)) / rows.std(0)


class Game(Method):
    """A generator and a discriminator as Goodfellow et al. have them, with two ways to go wrong."""

    def __init__(self, width: int, fault: str) -> None:
        super().__init__()
        self.generator = Plan((width,), (32, 32), activation="relu").decoder(4)
        self.discriminator = Plan((width,), (32, 32), activation="leaky_relu").encoder(1)
        self.fault = fault

    def made(self, n: int) -> Tensor:
        codes = torch.randn(n, 4)
        return self.generator(torch.ones_like(codes) if self.fault == CONSTANT else codes)

    def judged(self, batch: Batch) -> Mapping[str, Tensor]:
        return told_apart(self.discriminator, batch.x, self.made(len(batch.x)))

    def played(self, batch: Batch) -> Mapping[str, Tensor]:
        return {"fooled": taken_for_real(self.discriminator, self.made(len(batch.x)))}

    def phases(self) -> Sequence[Phase]:
        judging = partial(torch.optim.Adam, lr=1e-3, betas=(0.5, 0.999))
        making = partial(judging, lr=2e-2 if self.fault == EAGER else 1e-3)
        updates = (
            Update("discriminator", self.judged, tuple(self.discriminator.parameters()), judging),
            Update("generator", self.played, tuple(self.generator.parameters()), making),
        )
        return (Phase("adversarial", updates, EPOCHS),)

    def generate(self, x: Tensor) -> Tensor:
        return self.made(len(x))

    def score(self, x: Tensor) -> Tensor:
        return -self.discriminator(x)[:, 0]


def play(rows: Tensor, seed: int, fault: str = HEALTHY) -> tuple[Game, Training]:
    with scoped(seed, "build"):
        game = Game(rows.shape[1], fault)
    return game, train(game, rows, Settings(batch_size=64, seed=seed))


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("rows", [ring(), table()], ids=["ring", "table"])
def test_healthy_games_are_not_called_collapsed(rows: Tensor, seed: int) -> None:
    _, training = play(rows, seed)
    assert training.steps >= LEAST_STEPS
    assert len([record["diversity"] for record in training.history]) == EPOCHS
    assert not training.collapsed
    assert 3 * COLLAPSED_BELOW < training.history[-1]["diversity"] < 3, "far from the line"


@pytest.mark.parametrize(
    ("rows", "fault", "seed"),
    [(table(), EAGER, 0), (table(), EAGER, 1), (table(), EAGER, 2), (table(), CONSTANT, 0), (ring(), CONSTANT, 1)],
    ids=["eager-0", "eager-1", "eager-2", "constant", "constant-ring"],
)
def test_games_made_to_collapse_are(rows: Tensor, fault: str, seed: int) -> None:
    """On the ring an eager generator wanders from Gaussian to Gaussian, and where it ends depends on the seed."""
    game, training = play(rows, seed, fault)
    assert training.collapsed
    assert training.history[-1]["diversity"] < COLLAPSED_BELOW / 2
    with scoped(seed, "codes"), torch.no_grad():
        made = game.generate(rows)
    assert (made.std(0) < 0.2 * rows.std(0)).all(), "every column says the same"
