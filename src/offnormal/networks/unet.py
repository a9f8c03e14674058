"""A U-Net: an encoder and a decoder of as many levels, and from each level a way across to its mirror image.

Ronneberger, Fischer and Brox, "U-Net", MICCAI 2015, here as what makes images from images. What a level of the encoder
gives is put beside what the decoder has made at the same size, so that detail need not pass the narrowest place.
Letters: b rows, d width of the narrowest place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from offnormal.errors import InvalidParameter
from offnormal.networks.backbones import Plan

_NORM: Mapping[int, type[nn.Module]] = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


class UNet(nn.Module):
    """Rows to rows of the same shape, (b, *shape) -> (b, *shape), the last layer linear.

    Level i of L of the encoder makes h_i = a(norm(W_i h_{i−1})), h_0 = x. The decoder begins with u_L = h_L and makes
    u_{i−1} = ReLU(norm(V_i [u_i, h_i])), at the narrowest level of h_L alone; V_1 ends it. W and V are convolutions
    and transposed ones, or linear layers. The first and the narrowest level of the encoder have no norm.

    Parameters
    ----------
    plan : Plan
        Shape, widths or channels, kernels, the encoder's activation a, whether there are norms, first weights.

    Raises
    ------
    InvalidParameter
        If there is no level, or the image is too small for so many.
    """

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        if not plan.sizes():
            raise InvalidParameter("A U-Net needs at least one level; give hidden_sizes.")
        self.dense = not plan.convolutional
        levels = _levels(plan)
        down: list[nn.Module] = []
        up: list[nn.Module] = []
        for i, level in enumerate(levels):
            first, narrowest = i == 0, i == len(levels) - 1
            norm = plan.batch_norm and not (first or narrowest)
            down.append(_level_down(replace(level, batch_norm=norm)))
            back = _map_up(level, 1 if narrowest else 2)
            norms = [_NORM[max(len(level.shape) - 1, 1)](level.shape[0])] if plan.batch_norm else []
            up.append(back if first else nn.Sequential(back, *norms, nn.ReLU()))
        self.down, self.up = nn.ModuleList(down), nn.ModuleList(reversed(up))

    def encode(self, x: Tensor) -> Tensor:
        """Return what is at the narrowest place, flattened, (b, d)."""
        return self._way_down(x)[-1].flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the rows made of `x`, the shape of `x`."""
        levels = self._way_down(x)
        made = levels.pop()
        for i, back in enumerate(self.up):
            made = back(made if i == 0 else torch.cat([made, levels.pop()], dim=1))
        return made.reshape(x.shape)

    def _way_down(self, x: Tensor) -> list[Tensor]:
        """Return what each level of the encoder gives, the narrowest last."""
        levels = [x.flatten(1) if self.dense else x]
        for step in self.down:
            levels.append(step(levels[-1]))
        return levels[1:]


def _levels(plan: Plan) -> list[Plan]:
    """Return the plan of each level: from the shape that comes to one hidden size."""
    levels: list[Plan] = []
    shape = plan.shape if plan.convolutional else (plan.n_features,)
    for i, size in enumerate(plan.sizes()):
        level = replace(
            plan,
            shape=shape,
            hidden_sizes=(size,),
            kernel_sizes=_each(plan.kernel_sizes, i),
            strides=_each(plan.strides, i),
        )
        levels.append(level)
        shape = level.feature_map if plan.convolutional else (size,)
    return levels


def _each(given: Sequence[int], i: int) -> tuple[int]:
    return (given[i] if len(given) > 1 else given[0],)


def _level_down(level: Plan) -> nn.Sequential:
    """Return one map with its norm and activation: the level's encoder without what follows its hidden layer."""
    chain = level.encoder(None if level.convolutional else 1)
    return nn.Sequential(*list(chain)[:-1])


def _map_up(level: Plan, times: int) -> nn.Module:
    """Return the map back to the shape that came, from `times` what the level gives."""
    (size,) = level.sizes()
    if level.convolutional:
        return replace(level, hidden_sizes=(times * size,)).decoder(None)[-1]
    return replace(level, shape=(times * size,), hidden_sizes=(), activation="tanh", batch_norm=False).encoder(
        level.shape[0]
    )[0]
