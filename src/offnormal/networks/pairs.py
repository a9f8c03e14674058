"""Discriminators of pairs: of a row with a code, of two rows, of two codes.

Each gives, in one pass, the logit of a pair and the features that its last layer sees. Rows may be vectors, images or
clips; the network follows their shape. Letters: b rows, d code, f features, c t h w channels, frames, height, width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from offnormal.networks.adversarial import features_and_logit, normed_spectrally
from offnormal.networks.backbones import Plan

AXES = ("height", "channels")
"""Where the second of two images is put: below the first, or behind it."""


class RowCodeDiscriminator(nn.Module):
    """D(x, z): a branch for each, and layers that see both.

    Parameters
    ----------
    rows, codes : nn.Sequential
        (b, *shape) -> (b, v) and (b, d) -> (b, w), each ending after an activation.
    joint : nn.Sequential
        (b, v + w) -> (b, 1), its last layer linear.
    """

    def __init__(self, rows: nn.Sequential, codes: nn.Sequential, joint: nn.Sequential) -> None:
        super().__init__()
        self.rows, self.codes, self.joint = rows, codes, joint

    def features_and_logit(self, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features, (b, f), and the logit, (b,), of the pairs (x, z)."""
        return features_and_logit(self.joint, torch.cat([self.rows(x), self.codes(z)], dim=1))

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """Return the logits of the pairs (x, z), (b,)."""
        return self.features_and_logit(x, z)[1]

    def normed(self) -> RowCodeDiscriminator:
        """Norm the weights spectrally, in place; those of the last layer stay, as in ALAD's code."""
        for network in (self.rows, self.codes, _but_the_last(self.joint)):
            normed_spectrally(network)
        return self


class TwinDiscriminator(nn.Module):
    """D(x, x′) of two of one shape, put together along one axis; the order counts.

    Parameters
    ----------
    chain : nn.Sequential
        What is put together -> (b, 1), its last layer linear.
    axis : int
    """

    def __init__(self, chain: nn.Sequential, axis: int) -> None:
        super().__init__()
        self.chain, self.axis = chain, axis

    def features_and_logit(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features, (b, f), and the logit, (b,), of the pairs."""
        return features_and_logit(self.chain, torch.cat([first, second], dim=self.axis))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the logits of the pairs, (b,)."""
        return self.features_and_logit(first, second)[1]

    def normed(self) -> TwinDiscriminator:
        """Norm the weights spectrally, in place; those of the last layer stay, as in ALAD's code."""
        normed_spectrally(_but_the_last(self.chain))
        return self


def row_code_discriminator(
    plan: Plan, code_dim: int, code_sizes: Sequence[int], joint_sizes: Sequence[int], *, dropout: float
) -> RowCodeDiscriminator:
    """Return a fresh D(x, z).

    Parameters
    ----------
    plan : Plan
        Of the branch of rows, with its own dropout: all its hidden layers.
    code_dim : int
    code_sizes, joint_sizes : sequence of int
        Widths of the branch of codes, and of the hidden layers that see both. No width: the code itself; a verdict
        that is linear in the branches.
    dropout : float
        Share of the units dropped after each of these layers, in training only.
    """
    rows, v = _hidden(plan)
    codes, w = _hidden(_dense(plan, code_dim, code_sizes, dropout))
    return RowCodeDiscriminator(rows, codes, _dense(plan, v + w, joint_sizes, dropout).encoder(1))


def twin_discriminator(plan: Plan, axis: str = "height") -> TwinDiscriminator:
    """Return a fresh D(x, x′) for rows of `plan.shape`, two images lying along `axis`; vectors have but one."""
    vector = len(plan.shape) == 1
    place = 0 if vector or axis == "channels" else len(plan.shape) - 2
    shape = tuple(2 * side if i == place else side for i, side in enumerate(plan.shape))
    return TwinDiscriminator(replace(plan, shape=shape).encoder(1), place + 1)


def _hidden(plan: Plan) -> tuple[nn.Sequential, int]:
    """Return the hidden layers of an encoder, and the width of what they give."""
    width = math.prod(plan.feature_map) if plan.convolutional else (plan.n_features, *plan.sizes())[-1]
    return _but_the_last(plan.encoder(1)), width


def _but_the_last(chain: nn.Sequential) -> nn.Sequential:
    return nn.Sequential(*list(chain)[:-1])


def _dense(like: Plan, inputs: int, sizes: Sequence[int], dropout: float) -> Plan:
    return Plan((inputs,), tuple(sizes), "dense", like.activation, dropout=dropout, start=like.start)
