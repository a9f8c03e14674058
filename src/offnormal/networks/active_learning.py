"""Generators that start as the identity, a discriminator of one hidden layer, and what its verdict says of a row.

What SO-GAAL and MO-GAAL share: noise from the unit cube becomes potential outliers, the discriminator learns to tell
the training rows from them, and a row is odd if the discriminator takes it for generated. Letters: b rows, n features,
k generators, h hidden units; G generators, D discriminator.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from offnormal.batches import Batch, Batches
from offnormal.networks.adversarial import told_apart
from offnormal.networks.residuals import ResidualModel, replacement_falls
from offnormal.parameters import param

FULL_UP_TO = 512
"""Features up to which the layers of a generator are full matrices by default."""
VALUES_OF_LAYER = 2**18
"""Beyond, about so many values make a layer, at the rank that this allows but at most 32."""
STEP_BUDGET = 100
"""Steps of the discriminator alone in a default training, after half as many of the game."""
LEAST_REACH = 1.0
"""Least `reach`, in nats, so that a row outside the box is odd to a discriminator that learned nothing, too."""


class NearIdentity(nn.Module):
    """k linear layers side by side, each the identity at the start: (k, b, n) -> (k, b, n).

    Parameters
    ----------
    k, n : int
    rank : int
        0: full matrices, as the paper. Otherwise the identity stays and a learned matrix of this rank is added to it.
    """

    def __init__(self, k: int, n: int, rank: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(k, 1, n))
        if rank == 0:
            self.weight = nn.Parameter(torch.eye(n).repeat(k, 1, 1))
        else:
            self.down = nn.Parameter(torch.randn(k, n, rank) / n**0.5)
            self.up = nn.Parameter(torch.zeros(k, rank, n))
        self.rank = rank

    def forward(self, x: Tensor) -> Tensor:
        """Map the rows of each layer."""
        if self.rank == 0:
            return torch.baddbmm(self.bias, x, self.weight)
        return x + torch.baddbmm(self.bias, x @ self.down, self.up)


def generators(k: int, n: int, rank: int) -> nn.Sequential:
    """Return k generators n-n-n side by side, (k, b, n) -> (k, b, n), ReLU after both layers: no value is below 0."""
    return nn.Sequential(NearIdentity(k, n, rank), nn.ReLU(), NearIdentity(k, n, rank), nn.ReLU())


def discriminator(n: int, hidden: int) -> nn.Sequential:
    """Return a fresh discriminator, (b, n) -> (b, 1), logits: one hidden layer of ReLU, weights N(0, 1/fan-in)."""
    layers = nn.Linear(n, hidden), nn.Linear(hidden, 1)
    for layer in layers:
        nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
        nn.init.zeros_(layer.bias)
    return nn.Sequential(layers[0], nn.ReLU(), layers[1])


def rows_of_each(k: int, rows: int) -> tuple[int, ...]:
    """Return how many rows each of k generators makes: in proportion to k, k − 1, …, 1, and at least one.

    They sum to `rows`, or to more if that is too few for one each.
    """
    ends = [round(rows * (i + 1) * (2 * k - i) / (k * (k + 1))) for i in range(k)]
    return tuple(max(end - start, 1) for start, end in pairwise([0, *ends]))


class ActiveLearning(nn.Module):
    """The networks and the score; a part of a method's module, which adds what the generators minimize.

    Parameters
    ----------
    n_features : int
    n_generators : int
        k.
    hidden : int
        h, of the discriminator.
    rank : int
        Of the layers of the generators, as `NearIdentity`.

    Attributes
    ----------
    low, high : Tensor, shape (n,)
        The box of the training rows.
    reach : Tensor
        Greatest less least −logit D over the training rows, at least 1.
    """

    exportable = True
    low: Tensor
    high: Tensor
    reach: Tensor

    def __init__(self, *, n_features: int, n_generators: int, hidden: int, rank: int) -> None:
        super().__init__()
        self.n_features, self.n_generators, self.hidden = n_features, n_generators, hidden
        self.generators = generators(n_generators, n_features, rank)
        self.discriminator = discriminator(n_features, hidden)
        self.residuals = ResidualModel(n_features)
        self.register_buffer("low", torch.zeros(n_features))
        self.register_buffer("high", torch.ones(n_features))
        self.register_buffer("reach", torch.tensor(LEAST_REACH, dtype=torch.float64))

    # --- training -------------------------------------------------------------------------------------------------

    def noise(self, rows: int) -> Tensor:
        """Return fresh noise of U[0, 1] for each generator, (k, rows, n)."""
        return torch.rand(self.n_generators, rows, self.n_features, device=self.low.device)

    def potential_outliers(self, rows: int) -> Tensor:
        """Return about as many generated rows as asked for, those of the first generator first.

        Generator i makes (k − i) of k(k + 1)/2 parts, i from 0.
        """
        counts = rows_of_each(self.n_generators, rows)
        made: Tensor = self.generators(self.noise(max(counts)))
        return torch.cat([part[:count] for part, count in zip(made, counts, strict=True)])

    def generate(self, x: Tensor) -> Tensor:
        """Return as many generated rows as `x`, the generators mixed."""
        made = self.potential_outliers(len(x))
        return made[torch.randperm(len(made), device=x.device)[: len(x)]]

    def discriminator_losses(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return the cross-entropy of D over real and generated rows together: half of −log D(x), −log(1 − D(G(z)))."""
        with torch.no_grad():
            made = self.potential_outliers(len(batch.x))
        return {name: 0.5 * term for name, term in told_apart(self.discriminator, batch.x, made).items()}

    def summarize(self, batches: Batches) -> None:
        """Take the box of the training rows and the range of their scores, and what rows look like, for reasons."""
        verdicts = []
        low, high = torch.full_like(self.low, torch.inf), torch.full_like(self.high, -torch.inf)
        for batch in batches:
            low, high = torch.minimum(low, batch.x.amin(0)), torch.maximum(high, batch.x.amax(0))
            verdicts.append(self.discriminator(batch.x).double())
        self.low.copy_(low)
        self.high.copy_(high)
        logits = torch.cat(verdicts)
        self.reach.copy_((logits.max() - logits.min()).clamp(min=LEAST_REACH))
        self.residuals.learn(batches, torch.zeros_like)

    # --- scoring --------------------------------------------------------------------------------------------------

    def score_parts(self, x: Tensor) -> dict[str, Tensor]:
        """Return the parts whose sum is the score, each float64, shape (b,).

        `discriminator`: −logit D at the nearest point of the box of the training rows. `outside`: `reach` times the
        distance to that point, in widths of the box; 0 for every row of training.
        """
        inside = torch.minimum(torch.maximum(x, self.low), self.high)
        width = (self.high - self.low).double()
        beyond = (x.double() - inside.double()) / torch.where(width > 0, width, 1)
        logit = self.discriminator(inside).squeeze(1)
        return {"discriminator": -logit.double(), "outside": self.reach * beyond.norm(dim=1)}

    def score(self, x: Tensor) -> Tensor:
        """Return −logit D(x) = log((1 − D(x)) / D(x)), and more outside the box of training; float64, shape (b,)."""
        return torch.stack(list(self.score_parts(x).values())).sum(0)

    def encode(self, x: Tensor) -> Tensor:
        """Return the hidden layer of the discriminator, shape (b, h)."""
        code: Tensor = self.discriminator[:2](x)
        return code

    def code_names(self) -> tuple[str, ...]:
        """Name the hidden units."""
        return tuple(f"hidden_{i + 1}" for i in range(self.hidden))

    def contributions(self, x: Tensor, groups: Tensor, n_groups: int) -> Mapping[str, Tensor]:
        """Return, per column, how many nats fall if that column alone takes its best replacement.

        The parts of the score, and `deviance`: ½ (x − μ)ᵀ Σ⁻¹ (x − μ) under mean and covariance of the training rows.
        It knows nothing of D; it stands beside the score because D hardly looks at how two columns go together.
        """

        def measures(rows: Tensor) -> Tensor:
            return torch.stack([*self.score_parts(rows).values(), self.residuals.deviance(rows)], dim=1)

        falls = replacement_falls(x, measures, self.residuals, x, groups, n_groups)
        return dict(zip(("discriminator", "outside", "deviance"), falls, strict=True))


def published(stop_epochs: Mapping[str, int]) -> Mapping[str, Mapping[str, Any]]:
    """Return the presets of the authors' code: data set -> hyper-parameters.

    Parameters
    ----------
    stop_epochs : mapping
        Data set -> epochs of the game; the discriminator alone goes on for twice as many.
    """
    rows = {
        "annthyroid": 7200, "arrhythmia": 450, "ionosphere": 351, "one_cluster": 1000, "page_blocks": 5393,
        "pen_digits": 9868, "pima": 768, "shuttle": 1013, "spam_base": 4207, "stamps": 340, "waveform": 3443,
        "wdbc": 367,
    }  # fmt: skip
    return {
        name: {
            "game_epochs": stop,
            "epochs": 2 * stop,
            "batch_size": 500,
            "discriminator_size": math.ceil(rows[name] ** 0.5),
            "generator_rank": 0,
        }
        for name, stop in stop_epochs.items()
    }


@dataclass(kw_only=True, eq=False, repr=False)
class ActiveLearningParameters:
    """The hyper-parameters of both methods; mixed into their estimators, before the base class."""

    epochs: int | None = param(
        None, "Passes of the discriminator alone, after the game; 0 (and no game): the network as initialized. None: a "
        "budget of steps.",
        kind="int", ge=0,
        source="None: 100 steps, in the range of the code's; over eight public tables 500 did worse",
    )  # fmt: skip
    game_epochs: int | None = param(
        None, "Passes before those, in which the generators learn too. None: half of `epochs`.", kind="int", ge=0,
        source="half: the code stops the generators after a third of all",
    )  # fmt: skip
    early_stopping: bool = param(
        False, "Watch a tenth of the rows (from 200 on) and keep the weights of the least sum of all terms.",
        source="off: the terms of a game work against each other, so their sum says little",
    )  # fmt: skip
    scaling: str = param(
        "minmax", "Scaling of numeric columns.",
        choices=("standard", "minmax", "none"),
        source="the code's data lie in [0, 1], and so do the noise and all that is generated",
    )  # fmt: skip
    learning_rate: float = param(0.01, "SGD's step size, discriminator.", gt=0, source="authors' code")
    generator_learning_rate: float = param(1e-4, "SGD's step size, generators.", gt=0, source="authors' code")
    momentum: float = param(0.9, "SGD's momentum, both.", ge=0, lt=1, source="authors' code")
    discriminator_size: int = param(
        256, "Hidden units of the discriminator.", ge=1,
        source="the code: the root of the number of rows, in the presets; over eight public tables 64 did worse",
    )  # fmt: skip
    generator_rank: int | None = param(
        None, "Rank of what a layer of a generator adds to the identity; 0: full matrices. None: 0 up to 512 features, "
        "at most 32 beyond.",
        kind="int", ge=0, source="0: the paper; beyond 512 features, for memory",
    )  # fmt: skip

    def networks(self, n_features: int, n_generators: int) -> dict[str, int]:
        """Return what `ActiveLearning` takes."""
        rank = self.generator_rank
        if rank is None:
            rank = 0 if n_features <= FULL_UP_TO else min(max(VALUES_OF_LAYER // n_features, 1), 32)
        return {
            "n_features": n_features,
            "n_generators": n_generators,
            "hidden": int(self.discriminator_size),
            "rank": min(int(rank), n_features),
        }

    def lengths(self, epochs: int) -> tuple[int, int]:
        """Return the epochs of the game and those after it, `epochs`."""
        return (epochs + 1) // 2 if self.game_epochs is None else int(self.game_epochs), epochs

    def epochs_for(self, rows: int, batch: int) -> int:
        """Return `epochs`, or as many as make the budget of steps."""
        return math.ceil(STEP_BUDGET / max(round(rows / batch), 1)) if self.epochs is None else self.epochs
