"""SO-GAAL: single-objective generative adversarial active learning.

Liu, Li, Zhou, Jiang, Sun, Wang and He: Generative Adversarial Active Learning for Unsupervised Outlier Detection. TKDE
2020, arXiv 1809.10816. "The code" is the authors' repository, leibinghe/GAAL-based-outlier-detection.

Outliers are where data are rare, so a classifier that tells the data from points spread over their whole range finds
them; but in many columns such points are almost all far away and teach it little. A generator moves them: it starts as
the identity on noise of the unit cube and learns to make points that the discriminator takes for real, which are the
informative ones. Before it has moved onto the data it is stopped, the discriminator learns on, and a row is odd if the
discriminator takes it for generated.

Letters: b rows, n features; z noise, G generator, D discriminator (1 = real).

Differences from the paper
--------------------------
1. The score is −logit D(x) = log((1 − D(x)) / D(x)) in place of 1 − D(x): the same order, and no ties where D(x) rounds
   to 0 or 1.
2. D is linear beyond what it was shown and may call a row real that is far outside of it. The paper scores only the
   rows it trained on. Here any other row is judged at the nearest point of the box of the training rows, and the
   distance to that point is added (`ActiveLearning.score_parts`); 0 for training rows.
3. G learns from fresh noise (code: from that of D's step). G stops after exactly `game_epochs` (code: one more). Rows
   are in a new order in every epoch, and the last, smaller batch is kept.
4. The step does not decay (code: by 1e-6 per step, under 1 % in most presets).
5. Outside the presets: 100 steps after the game, and 256 hidden units of D (code: the root of the number of rows). From
   513 features on the layers of G are the identity and a matrix of low rank, for memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from offnormal.batches import Batch
from offnormal.detector import TrainedDetector
from offnormal.method import Method, Phase, Update
from offnormal.networks.active_learning import ActiveLearning, ActiveLearningParameters, published
from offnormal.networks.adversarial import taken_for_real


class SOGAALNetwork(ActiveLearning, Method):
    """The paper as one module, score and networks of which are `ActiveLearning`'s.

    Parameters
    ----------
    learning_rate, generator_learning_rate, momentum : float
        Of SGD.
    game_epochs, epochs : int
        With the generator, and after it is stopped.
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

    def generator_losses(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return the mean of −log D(G(z)), z ~ U[0, 1]ⁿ."""
        return {"generator": taken_for_real(self.discriminator, self.potential_outliers(len(batch.x)))}

    def phases(self) -> Sequence[Phase]:
        """The game, D before G on every batch; then D alone, against a generator that stands still."""
        sgd = partial(torch.optim.SGD, momentum=self.momentum)
        judge, maker = tuple(self.discriminator.parameters()), tuple(self.generators.parameters())
        judging = Update("discriminator", self.discriminator_losses, judge, partial(sgd, lr=self.learning_rate))
        making = Update("generator", self.generator_losses, maker, partial(sgd, lr=self.generator_learning_rate))
        return (Phase("game", (judging, making), self.game_epochs), Phase("discriminator", (judging,), self.epochs))


@dataclass(kw_only=True, eq=False, repr=False)
class SOGAAL(ActiveLearningParameters, TrainedDetector):
    """A discriminator against one generator of potential outliers (Liu et al. 2020).

    The score is the discriminator's log-odds that the row is generated, in nats, of either sign; a row outside the
    range of the training rows has more. Greater = more anomalous.
    """

    key: ClassVar[str] = "so_gaal"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = published(
        {
            "annthyroid": 22, "arrhythmia": 70, "ionosphere": 100, "one_cluster": 1000, "page_blocks": 28,
            "pen_digits": 6, "pima": 200, "shuttle": 90, "spam_base": 40, "stamps": 200, "waveform": 10, "wdbc": 200,
        }
    )  # fmt: skip

    def _plan(self, rows: int) -> tuple[int, int]:
        _, batch = super()._plan(rows)
        return self.epochs_for(rows, batch), batch

    def build(self, shape: tuple[int, ...]) -> Method:
        """Return the network for rows of `shape` (n,)."""
        (n,) = shape
        game_epochs, epochs = self.lengths(self.planned_epochs_)
        return SOGAALNetwork(
            learning_rate=self.learning_rate,
            generator_learning_rate=self.generator_learning_rate,
            momentum=float(self.momentum),
            game_epochs=game_epochs,
            epochs=epochs,
            **self.networks(n, 1),
        )
