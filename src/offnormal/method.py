"""What a paper must say: its networks, its losses in their order, what it takes from the training set, and its score.

A `Method` knows no files, devices, labels or thresholds. Axis letters: b batch, n features, d code, k mixture
components, m memory slots, t c h w video and images.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Protocol, runtime_checkable

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler

from offnormal.batches import Batch, Batches

Losses = Callable[[Batch], Mapping[str, Tensor]]


def falling(epochs: int) -> Callable[[Optimizer], LRScheduler]:
    """Return a scheduler: the step falls along half a cosine, from its full size to nothing, over the epochs."""
    return partial(CosineAnnealingLR, T_max=max(epochs, 1))


@dataclass(frozen=True)
class Update:
    """One optimizer's step on one batch: minimize the sum of `losses(batch)` over `params`, and nothing else.

    Attributes
    ----------
    name : str
        As in the paper ("joint", "discriminator").
    losses : callable
        Batch -> weighted scalar terms, named as in the paper. Evaluated at the moment of the update, so alternating
        schemes see the step before.
    params : tuple of Parameter
        The only parameters that receive a gradient.
    optimizer : callable
        Parameters -> optimizer.
    every : int
        Step on each `every`-th batch (WGAN: the generator at each fifth).
    scheduler : callable or None
        Optimizer -> learning-rate scheduler, stepped once per epoch.
    fresh_batch : bool
        Draw a batch of its own (EGBAD, ALAD).
    clip_norm : float or None
        Upper bound on the gradient norm over `params`.
    """

    name: str
    losses: Losses
    params: tuple[nn.Parameter, ...]
    optimizer: Callable[[Iterable[nn.Parameter]], Optimizer]
    every: int = 1
    scheduler: Callable[[Optimizer], LRScheduler] | None = None
    fresh_batch: bool = False
    clip_norm: float | None = None


@dataclass(frozen=True)
class Phase:
    """Updates applied in order to every batch, for `epochs` passes.

    Attributes
    ----------
    begin : callable or None
        Called without gradient before the first step, with the training batches (centers, whitening).
    after_batch : callable or None
        Called without gradient after the updates of each batch (weight averages, online centers).
    end : callable or None
        Called without gradient after the last epoch, once the weights to keep are in place (averages take their place).
    """

    name: str
    updates: tuple[Update, ...]
    epochs: int
    begin: Callable[[Batches], None] | None = None
    after_batch: Callable[[Batch], None] | None = None
    end: Callable[[], None] | None = None


class Method(nn.Module, ABC):
    """A paper as one module."""

    widths_from_rows: ClassVar[frozenset[str]] = frozenset()
    """Buffers (n, q) whose columns are counted in fitting, 1 to n of them; all others have the shape `build` gives."""
    may_be_minus_infinity: ClassVar[frozenset[str]] = frozenset()
    """Buffers that may hold −∞, such as the logarithm of a weight of zero; all else in a model file is finite."""

    def phases(self) -> Sequence[Phase]:
        """Return the training phases in order; none for a closed form."""
        return ()

    def summarize(self, batches: Batches) -> None:
        """Take what the score needs from one gradient-free pass over the training rows; fill registered buffers."""

    @abstractmethod
    def score(self, x: Tensor) -> Tensor:
        """Return one number per row of `x` (b, *shape), greater = more anomalous, shape (b,).

        A row's score depends on that row alone, changes no state and draws no fresh random numbers.
        """


@runtime_checkable
class Reconstructs(Protocol):
    """A method that rebuilds its input."""

    def reconstruct(self, x: Tensor) -> Tensor:
        """Return the rebuilt rows, the shape of `x`."""


@runtime_checkable
class Encodes(Protocol):
    """A method with a code worth looking at."""

    def encode(self, x: Tensor) -> Tensor:
        """Return the codes, shape (b, d)."""

    def code_names(self) -> tuple[str, ...]:
        """Return one name per code axis."""


@runtime_checkable
class ExplainsFeatures(Protocol):
    """A method that says which features made the score.

    The definition belongs to the method and stands in its docstring.
    """

    def contributions(self, x: Tensor, groups: Tensor, n_groups: int) -> Mapping[str, Tensor]:
        """Return named parts of the explanation, each of shape (b, n_groups); their sum ranks the groups.

        Parameters
        ----------
        x : Tensor, shape (b, n)
        groups : Tensor of int64, shape (n,)
            The original column each feature came from (one-hot features of one column share a number).
        n_groups : int
        """


@runtime_checkable
class ScoresPixels(Protocol):
    """A method whose score of an image is made of parts, one for each pixel."""

    def score_map(self, x: Tensor) -> Tensor:
        """Return how unusual each pixel is, (b, c, h, w) -> (b, h, w), greater = more; the definition is the method's.

        Of clips (b, c, t, h, w) -> (b, t, h, w). Like a score, it depends on its image alone.
        """


@runtime_checkable
class Generates(Protocol):
    """A method whose generator may collapse: what it makes is held against the rows after every epoch."""

    def generate(self, x: Tensor) -> Tensor:
        """Return rows made by the generator, as many as `x` (b, *shape), from fresh codes or from the codes of `x`."""


@runtime_checkable
class Exportable(Protocol):
    """A method whose score is one graph without gradients or search."""

    exportable: bool
