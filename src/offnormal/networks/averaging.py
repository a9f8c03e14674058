"""Moving averages of weights: the networks that score are steadier than those of the last step.

w̄ ← d·w̄ + (1 − d)·w after every step, with d = min(decay, (1 + t)/(10 + t)) at step t, so that a short training is not
an average of its start. The codes of EGBAD and ALAD average so, without that warm-up.
"""

from __future__ import annotations

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


def _buffer(name: str) -> str:
    return name.replace(".", "/")
