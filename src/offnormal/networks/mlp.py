"""Fully connected networks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import nn


def mlp(
    sizes: Sequence[int],
    *,
    activation: type[nn.Module] = nn.Tanh,
    dropout: float = 0.0,
    gain: float = 1.0,
) -> nn.Sequential:
    """Build a chain of linear layers with an activation after each but the last.

    Parameters
    ----------
    sizes : sequence of int
        Widths from input to output; `(6, 12, 4, 1)` gives 6→12 act, 12→4 act, 4→1 linear.
    activation : module class
    dropout : float
        Share of units dropped after each activation, in training only.
    gain : float
        Factor on the Glorot-uniform initial weights (the initialization of the frameworks of these papers' time);
        biases start at zero.

    Returns
    -------
    nn.Sequential
        Maps (b, sizes[0]) to (b, sizes[-1]).
    """
    layers: list[nn.Module] = []
    for position, (wide, out) in enumerate(pairwise(sizes)):
        linear = nn.Linear(wide, out)
        nn.init.xavier_uniform_(linear.weight, gain=gain)
        nn.init.zeros_(linear.bias)
        layers.append(linear)
        if position < len(sizes) - 2:
            layers.append(activation())
            if dropout > 0:
                layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers)


def funnel(n_features: int) -> tuple[int, int]:
    """Return hidden widths from the width of the table: its half and its quarter, within 64 to 256 and 32 to 128.

    The floor is for narrow tables: with the 12-4 that a published preset gives six columns, training stalls far more
    often than with 64-32.
    """
    return (min(256, max(64, n_features // 2)), min(128, max(32, n_features // 4)))
