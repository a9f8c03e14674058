"""Moving averages of weights: the networks that score are steadier than those of the last step.

w̄ ← d·w̄ + (1 − d)·w after every step, with d = min(decay, (1 + t)/(10 + t)) at step t, so that a short training is not
an average of its start. The codes of EGBAD and ALAD average so, without that warm-up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypedDict

import torch
from torch import Tensor, nn


class WeightAverages(nn.Module):
    """The averages of some networks' weights; running statistics of norms are not averaged.

    Parameters
    ----------
    networks : nn.Module
        Whose weights. This module keeps copies of them, not the networks.
    decay : float
        In [0, 1); 0: the averages are the last weights.
    """

    steps: Tensor

    def __init__(self, networks: nn.Module, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("steps", torch.zeros((), dtype=torch.float64))
        for name, weight in networks.named_parameters():
            self.register_buffer(_buffer(name), weight.detach().clone())

    def take(self, networks: nn.Module) -> None:
        """Take the weights that a step led to into the averages."""
        keep = ((1 + self.steps) / (10 + self.steps)).clamp(max=self.decay)
        self.steps += 1
        for name, weight in networks.named_parameters():
            self.get_buffer(_buffer(name)).lerp_(weight, (1 - keep).to(weight.dtype))

    def put_into(self, networks: nn.Module) -> None:
        """Give the networks the averages as their weights."""
        for name, weight in networks.named_parameters():
            weight.copy_(self.get_buffer(_buffer(name)))


class Hooks(TypedDict, total=False):
    """What a `Phase` needs so that averages are taken, and are the weights at its end."""

    after_batch: Callable[[object], None]
    end: Callable[[], None]


def averages_of(networks: nn.Module, decay: float) -> WeightAverages | None:
    """Return averages of the networks' weights; None if the last weights are to score (decay 0)."""
    return WeightAverages(networks, decay) if decay > 0 else None


def hooks(averages: WeightAverages | None, networks: nn.Module) -> Hooks:
    """Return the hooks of a phase that trains the networks; none where there are no averages."""
    if averages is None:
        return {}
    return {"after_batch": lambda _: averages.take(networks), "end": lambda: averages.put_into(networks)}


def _buffer(name: str) -> str:
    return name.replace(".", "/")
