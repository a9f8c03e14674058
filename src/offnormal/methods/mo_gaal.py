"""MO-GAAL: multiple-objective generative adversarial active learning.

Liu, Li, Zhou, Jiang, Sun, Wang and He: Generative Adversarial Active Learning for Unsupervised Outlier Detection. TKDE
2020, arXiv 1809.10816. "The code" is the authors' repository, leibinghe/GAAL-based-outlier-detection.

A classifier that tells the data from potential outliers finds outliers; a single generator of them (`so_gaal`) may end
up making one kind only. So there are k generators, and each aims at rows of its own rank: generator i wants its points
to look as real as the row at the i/k quantile of the discriminator's verdicts on the data does. The generators of the
lowest aims make the most points, so that the reference is thick where data are rare, and a row is odd if the
discriminator takes it for generated.

Letters: b rows, n features, k generators; z noise, G_i generator, T_i its aim, D discriminator (1 = real).

Differences from the paper
--------------------------
1. T_i is the quantile over the rows of the batch (code: over all rows, at each step). The code's batches have 500 rows,
   which in seven of its twelve data sets are all rows or about half of them.
2. The score is −logit D(x) = log((1 − D(x)) / D(x)) in place of 1 − D(x): the same order, and no ties where D(x) rounds
   to 0 or 1.
3. D is linear beyond what it was shown and may call a row real that is far outside of it. The paper scores only the
   rows it trained on. Here any other row is judged at the nearest point of the box of the training rows, and the
   distance to that point is added (`ActiveLearning.score_parts`); 0 for training rows.
4. Of a batch of b points generator i makes b (k − i) / (k(k + 1)/2), rounded, and at least one. The code rounds
   b / (k(k + 1)/2) down first and gives the rest to the last generator: below 55 points, with k = 10, all of them.
5. The generators stop after exactly `game_epochs` (code: one batch later), and the means over real and over generated
   rows have equal weight. Rows are in a new order in every epoch, and the last, smaller batch is kept.
6. The step does not decay (code: by 1e-6 per step, under 1 % in most presets).
7. Outside the presets: 100 steps after the game, and 256 hidden units of D (code: the root of the number of rows). From
   513 features on the layers of G_i are the identity and a matrix of low rank, for memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from offnormal.batches import Batch
from offnormal.detector import TrainedDetector
from offnormal.method import Method, Phase, Update
from offnormal.networks.active_learning import ActiveLearning, ActiveLearningParameters, published
from offnormal.parameters import param


class MOGAALNetwork(ActiveLearning, Method):
    """The paper as one module, score and networks of which are `ActiveLearning`'s.

    Parameters
    ----------
    learning_rate, generator_learning_rate, momentum : float
        Of SGD.
    game_epochs, epochs : int
        With the generators, and after they are stopped.
    **networks
        Of `ActiveLearning`.
    """

    def __init__(
        self,
        *,
        learning_rate: float,
        generator_learning_rate: float,
        momentum: float,
        game_epochs: int,
        epochs: int,
        **networks: int,
    ) -> None:
        super().__init__(**networks)
        self.learning_rate, self.generator_learning_rate = learning_rate, generator_learning_rate
        self.momentum, self.game_epochs, self.epochs = momentum, game_epochs, epochs

    @torch.no_grad()
    def aims(self, x: Tensor) -> Tensor:
        """Return T_i, the i/k quantiles of D(x) over rows, i from 0, shape (k,); between two rows, on a line."""
        verdicts = torch.sigmoid(self.discriminator(x).float()).flatten()
        return torch.quantile(verdicts, torch.arange(self.n_generators, device=x.device) / self.n_generators)

    def generator_losses(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return, for each i, the mean of −T_i log D(G_i(z)) − (1 − T_i) log(1 − D(G_i(z))), b draws of z each."""
        made = self.generators(self.noise(len(batch.x)))
        logits = self.discriminator(made).squeeze(2)  # (k, b)
        aims = self.aims(batch.x)[:, None].expand_as(logits)
        terms = binary_cross_entropy_with_logits(logits.float(), aims, reduction="none").mean(1)
        return {f"generator_{i + 1}": term for i, term in enumerate(terms)}

    def phases(self) -> Sequence[Phase]:
        """The game, D before all G_i on every batch; then D alone, against generators that stand still.

        No parameter belongs to two generators, so one optimizer does what one for each would.
        """
        sgd = partial(torch.optim.SGD, momentum=self.momentum)
        judge, makers = tuple(self.discriminator.parameters()), tuple(self.generators.parameters())
        judging = Update("discriminator", self.discriminator_losses, judge, partial(sgd, lr=self.learning_rate))
        making = Update("generators", self.generator_losses, makers, partial(sgd, lr=self.generator_learning_rate))
        return (Phase("game", (judging, making), self.game_epochs), Phase("discriminator", (judging,), self.epochs))


@dataclass(kw_only=True, eq=False, repr=False)
class MOGAAL(ActiveLearningParameters, TrainedDetector):
    """A discriminator against several generators of potential outliers, each with an aim of its own (Liu et al. 2020).

    The score is the discriminator's log-odds that the row is generated, in nats, of either sign; a row outside the
    range of the training rows has more. Greater = more anomalous.
    """

    key: ClassVar[str] = "mo_gaal"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = published(
        {
            "annthyroid": 22, "arrhythmia": 70, "ionosphere": 300, "one_cluster": 1500, "page_blocks": 40,
            "pen_digits": 9, "pima": 250, "shuttle": 120, "spam_base": 40, "stamps": 200, "waveform": 30, "wdbc": 200,
        }
    )  # fmt: skip

    n_generators: int = param(10, "k, generators.", ge=1, le=100, source="authors' code")

    def _plan(self, rows: int) -> tuple[int, int]:
        _, batch = super()._plan(rows)
        return self.epochs_for(rows, batch), batch

    def build(self, shape: tuple[int, ...]) -> Method:
        """Return the network for rows of `shape` (n,)."""
        (n,) = shape
        game_epochs, epochs = self.lengths(self.planned_epochs_)
        return MOGAALNetwork(
            learning_rate=self.learning_rate,
            generator_learning_rate=self.generator_learning_rate,
            momentum=float(self.momentum),
            game_epochs=game_epochs,
            epochs=epochs,
            **self.networks(n, int(self.n_generators)),
        )
