"""Robust deep autoencoder.

Zhou, Paffenroth: Anomaly Detection with Robust Deep Autoencoders. KDD 2017.

The training rows X, which may hold outliers, are split into L_D + S: an autoencoder learns to rebuild L_D, and S, which
is sparse, takes what it cannot. Training alternates: some passes on L_D, then L_D ← the rebuilt rows, S ← X − L_D, and
S is shrunk by the proximal map of its penalty: over rows (outliers, the paper's l₂,₁ on Sᵀ), entries (noise, l₁) or
features (broken columns, l₂,₁). The score is the squared error of a row.

Letters: b rows, n features, d code, λ weight of S, k rounds.

Differences from the paper
--------------------------
1. New rows are scored by the squared error of the row itself; the paper calls training rows with S ≠ 0 outliers.
2. λ is per root of the size of a group: a row (n numbers), an entry (1), a feature (as many as rows). So S begins where
   the root mean square of a group's error exceeds `sparsity_weight`, whatever the size of the table.
3. S is not stored. A row's S follows from the row and from the networks as they stood at the ends of the rounds before,
   so these are kept while training lasts. Held-out rows of early stopping have an S too.
4. The number of rounds is fixed (paper: until L_D + S stops changing), and each begins with a new optimizer.
5. Outside of S the networks are those of our other autoencoders: tanh, linear code and output, not tied (published
   code: sigmoids everywhere, tied weights, columns in [0, 1]).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from offnormal.batches import Batch, Batches
from offnormal.detector import TrainedDetector
from offnormal.method import Method, Phase, Update
from offnormal.networks.autoencoding import Autoencoding
from offnormal.networks.mlp import funnel, mlp
from offnormal.networks.residuals import ResidualModel, replacement_falls
from offnormal.networks.shrinkage import remaining, shrink_entries, shrink_rows
from offnormal.parameters import param


class Round(nn.Module):
    """The autoencoder as it stood at the end of a round, and how much of each feature stays in S.

    Parameters
    ----------
    encoder, decoder : nn.Module
        Their values now are taken by `take`, at the end of the round.
    n_features : int
    """

    kept: Tensor

    def __init__(self, encoder: nn.Module, decoder: nn.Module, n_features: int) -> None:
        super().__init__()
        self.encoder, self.decoder = copy.deepcopy(encoder), copy.deepcopy(decoder)
        self.requires_grad_(False)
        self.register_buffer("kept", torch.zeros(n_features, device=next(encoder.parameters()).device))

    def take(self, encoder: nn.Module, decoder: nn.Module) -> None:
        """Copy the weights."""
        self.encoder.load_state_dict(encoder.state_dict())
        self.decoder.load_state_dict(decoder.state_dict())

    def forward(self, x: Tensor) -> Tensor:
        """Rebuild rows (b, n)."""
        rebuilt: Tensor = self.decoder(self.encoder(x))
        return rebuilt


class RobustAutoencoderNetwork(Autoencoding, Method):
    """The paper as one module.

    Parameters
    ----------
    encoder, decoder : nn.Module
        E: (b, n) -> (b, d), D: (b, d) -> (b, n).
    n_features, code_dim : int
    penalty : str
        "rows", "entries" or "features".
    sparsity_weight : float
        λ per root of the size of a group.
    rounds : int
        How often S is found anew, and once at the start, as zero.
    learning_rate : float
    epochs : int
        Passes of a round.
    """

    exportable = True

    def __init__(
        self,
        encoder: nn.Sequential,
        decoder: nn.Sequential,
        *,
        n_features: int,
        code_dim: int,
        penalty: str,
        sparsity_weight: float,
        rounds: int,
        learning_rate: float,
        epochs: int,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.penalty, self.sparsity_weight, self.rounds = penalty, sparsity_weight, rounds
        self.learning_rate, self.epochs = learning_rate, epochs
        self.residuals = ResidualModel(n_features)
        self.past = nn.ModuleList()  # only while training lasts: a model file has no use for it
        self._n_features, self.code_dim = n_features, code_dim

    # --- forward pieces -------------------------------------------------------------------------------------------

    # --- the split ------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def sparse_part(self, x: Tensor, rounds: int) -> Tensor:
        """Return S of rows (b, n) after the first `rounds` rounds (algorithm 1): zero after none."""
        sparse = torch.zeros_like(x)
        for number in range(rounds):
            sparse = self._shrink(self._error(x, sparse, number), number)
        return sparse

    def _error(self, x: Tensor, sparse: Tensor, number: int) -> Tensor:
        """Return X − D(E(L_D)), L_D = X − S: what a round cannot rebuild."""
        rebuilt: Tensor = self.past[number](x - sparse)
        return x - rebuilt

    def _shrink(self, error: Tensor, number: int) -> Tensor:
        if self.penalty == "rows":
            return shrink_rows(error, self.sparsity_weight * math.sqrt(self._n_features))
        if self.penalty == "entries":
            return shrink_entries(error, self.sparsity_weight)
        return error * cast(Round, self.past[number]).kept

    def _end_round(self, number: int, batches: Batches) -> None:
        """Keep the networks as they are; for the penalty on features, see how long each feature's error is."""
        past = cast(Round, self.past[number])
        past.take(self.encoder, self.decoder)
        if self.penalty == "features":
            squares = torch.stack(
                [self._error(b.x, self.sparse_part(b.x, number), number).square().sum(0) for b in batches]
            )
            past.kept.copy_(remaining((squares.sum(0) / batches.n_rows).sqrt(), self.sparsity_weight))

    # --- losses ---------------------------------------------------------------------------------------------------

    def losses(self, batch: Batch, number: int) -> Mapping[str, Tensor]:
        """Return the mean of ‖L_D − D(E(L_D))‖² in round `number`, counted from 0; λ‖S‖ acts through the shrinking."""
        low_dimensional = batch.x - self.sparse_part(batch.x, number)
        return {"reconstruction": (low_dimensional - self.reconstruct(low_dimensional)).square().sum(1).mean()}

    def phases(self) -> Sequence[Phase]:
        """One phase per round, each on its own L_D; makes room for the networks of the rounds before the last."""
        self.past = nn.ModuleList(Round(self.encoder, self.decoder, self._n_features) for _ in range(self.rounds - 1))
        adam = partial(torch.optim.Adam, lr=self.learning_rate, fused=True)
        params = (*self.encoder.parameters(), *self.decoder.parameters())
        return tuple(
            Phase(
                f"round_{number + 1}",
                (Update("autoencoder", partial(self.losses, number=number), params, adam),),
                self.epochs,
                begin=partial(self._end_round, number - 1) if number else None,
            )
            for number in range(self.rounds)
        )

    # --- after training -------------------------------------------------------------------------------------------

    def summarize(self, batches: Batches) -> None:
        """Note what residuals look like, for reasons; forget the rounds."""
        self.past = nn.ModuleList()
        self.residuals.learn(batches, self.reconstruct)

    def score(self, x: Tensor) -> Tensor:
        """Return ‖x − D(E(x))‖², float64, shape (b,), never negative."""
        return (x.double() - self.reconstruct(x).double()).square().sum(1)

    def contributions(self, x: Tensor, groups: Tensor, n_groups: int) -> Mapping[str, Tensor]:
        """Return, per column, how far the score falls if that column alone takes its best replacement.

        The replacement is the best of a handful: the value that suits the other residuals best and three quantiles of
        training (categories: the three commonest).
        """
        (falls,) = replacement_falls(
            x, lambda rows: self.score(rows)[:, None], self.residuals, x - self.reconstruct(x), groups, n_groups
        )
        return {"reconstruction": falls}


@dataclass(kw_only=True, eq=False, repr=False)
class RobustAutoencoder(TrainedDetector):
    """Squared error of an autoencoder that was kept from learning the outliers among its training rows.

    Zhou and Paffenroth 2017. The score is in squared units of the scaled columns, at least 0; greater = more anomalous.
    """

    key: ClassVar[str] = "robust_autoencoder"

    latent_dim: int = param(8, "Width of the code.", ge=1, source="as `dagmm`, by evidence; paper: 200 for MNIST")
    hidden_sizes: tuple[int, ...] | None = param(
        None, "Hidden widths of the encoder; the decoder mirrors them. None: from the table's width.",
        kind="ints", ge=1, source="as `dagmm`; paper: 400 for MNIST",
    )  # fmt: skip
    penalty: str = param(
        "rows", "What may be corrupted in training: 'rows', 'entries' or 'features'.",
        choices=("rows", "entries", "features"), source="l₂,₁ on Sᵀ, l₁, l₂,₁",
    )  # fmt: skip
    sparsity_weight: float = param(
        0.25, "λ: the root mean square of a row's (entry's, feature's) error from which on it is taken out.",
        gt=0, source="best over seven public tables with their outliers left in training; 0.12 to 0.5 are close",
    )  # fmt: skip
    rounds: int = param(
        5, "Rounds of training and taking out; the epochs are shared evenly.", ge=1, le=100, source="10 did no better"
    )

    def _plan(self, rows: int) -> tuple[int, int]:
        """Return the passes of one round, rounded up, and the batch size."""
        epochs, batch = super()._plan(rows)
        return math.ceil(epochs / self.rounds), batch

    def build(self, shape: tuple[int, ...]) -> Method:
        """Return the network for rows of `shape` (n,)."""
        (n,) = shape
        hidden = tuple(self.hidden_sizes) if self.hidden_sizes is not None else funnel(n)
        return RobustAutoencoderNetwork(
            mlp((n, *hidden, self.latent_dim)),
            mlp((self.latent_dim, *reversed(hidden), n)),
            n_features=n,
            code_dim=self.latent_dim,
            penalty=self.penalty,
            sparsity_weight=self.sparsity_weight,
            rounds=self.rounds,
            learning_rate=self.learning_rate,
            epochs=self.planned_epochs_,
        )
