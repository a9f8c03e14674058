"""Fully connected networks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class _TanhChain(torch.autograd.Function):
    """Linear layers with tanh between them as one node of the graph, tanh and its gradient in place.

    For small networks the bookkeeping of a node per layer costs as much as the matrix products.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, *params: Tensor) -> Tensor:
        outputs = [x]
        for i in range(0, len(params), 2):
            h = torch.addmm(params[i + 1], outputs[-1], params[i].T)
            outputs.append(h.tanh_() if i < len(params) - 2 else h)
        ctx.save_for_backward(*params[::2], *outputs[:-1])
        return outputs[-1]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        n_layers = len(ctx.saved_tensors) // 2
        weights, inputs = ctx.saved_tensors[:n_layers], ctx.saved_tensors[n_layers:]
        gradients: list[Tensor | None] = []
        g = upstream
        for i in reversed(range(n_layers)):
            gradients = [g.T @ inputs[i], g.sum(0), *gradients]
            if i > 0:
                g = g @ weights[i]
                torch.ops.aten.tanh_backward.grad_input(g, inputs[i], grad_input=g)
        return (g @ weights[0] if ctx.needs_input_grad[0] else None, *gradients)


class TanhChain(nn.Sequential):
    """An MLP of linear layers and tanh, run as one node. First derivatives only.

    Compiled, under autocast, and where no gradient is asked for, it is the plain chain.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map (b, sizes[0]) to (b, sizes[-1])."""
        if (
            torch.compiler.is_compiling()  # the compiler fuses the plain layers better still
            or not torch.is_grad_enabled()
            or torch.is_autocast_enabled(x.device.type)
        ):
            plain: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
            return plain
        result: Tensor = _TanhChain.apply(x, *self.parameters())  # type: ignore[no-untyped-call]
        return result


def mlp(
    sizes: Sequence[int],
    *,
    activation: type[nn.Module] = nn.Tanh,
    dropout: float = 0.0,
    gain: float = 1.0,
    bias: bool = True,
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
    bias : bool
        Whether the linear layers have one.

    Returns
    -------
    nn.Sequential
        Maps (b, sizes[0]) to (b, sizes[-1]).
    """
    layers: list[nn.Module] = []
    for position, (wide, out) in enumerate(pairwise(sizes)):
        linear = nn.Linear(wide, out, bias=bias)
        nn.init.xavier_uniform_(linear.weight, gain=gain)
        if bias:
            nn.init.zeros_(linear.bias)
        layers.append(linear)
        if position < len(sizes) - 2:
            layers.append(activation())
            if dropout > 0:
                layers.append(nn.Dropout(dropout))
    as_one_node = activation is nn.Tanh and dropout == 0 and bias and len(sizes) > 2
    return TanhChain(*layers) if as_one_node else nn.Sequential(*layers)


def funnel(n_features: int) -> tuple[int, int]:
    """Return hidden widths from the width of the table: its half and its quarter, within 64 to 256 and 32 to 128.

    The floor is for narrow tables: with the 12-4 that a published preset gives six columns, training stalls far more
    often than with 64-32.
    """
    return (min(256, max(64, n_features // 2)), min(128, max(32, n_features // 4)))


def interpolated(first: int, last: int, layers: int) -> tuple[int, ...]:
    """Return the widths between `first` and `last` of so many layers on a straight line, rounded down (RaPP's)."""
    return tuple(first + (last - first) * i // layers for i in range(1, layers))
