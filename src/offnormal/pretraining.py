"""Greedy layer-wise pre-training of an autoencoder, as phases of the one trainer.

Bengio, Lamblin, Popovici, Larochelle (2007) and, with noise, Vincent et al. (JMLR 2010): each pair of an encoder layer
and the decoder layer that mirrors it learns to rebuild the activations that the layers below it give, outermost pair
first; what is below stays as it is. The network that comes out is the whole chain, trained further by its method.

Letters: b rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from offnormal.batches import Batch
from offnormal.errors import InvalidParameter
from offnormal.method import Phase, Update


def layer_wise(
    encoder: nn.Sequential,
    decoder: nn.Sequential,
    *,
    epochs: int,
    optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
    noise: float = 0.0,
) -> tuple[Phase, ...]:
    """Return one phase per pair of layers, outermost first; none if `epochs` is 0.

    Put them before a method's own phases. Each phase has one loss term, `reconstruction`: the squared error of the
    pair, summed over units and averaged over rows.

    Parameters
    ----------
    encoder, decoder : nn.Sequential
        Chains as `networks.mlp.mlp` builds them, (n, *hidden, latent) and its mirror: linear layers, each with the
        activation that follows it.
    epochs : int
        Passes per pair.
    optimizer : callable
        Parameters -> optimizer; every phase gets a new one.
    noise : float
        Standard deviation of Gaussian noise on a pair's input, in training only and not on its target (stacked
        denoising, Vincent et al. 2010); in units of that input.

    Raises
    ------
    InvalidParameter
        If the decoder does not mirror the encoder.
    """
    down, up = _layers(encoder), _layers(decoder)[::-1]
    if [_widths(layer) for layer in down] != [_widths(layer)[::-1] for layer in up]:
        raise InvalidParameter(
            "Layer-wise pre-training needs a decoder that mirrors the encoder; "
            f"the encoder's widths are {[_widths(layer) for layer in down]}, "
            f"the decoder's, from its output, {[_widths(layer) for layer in up]}."
        )
    if epochs == 0:
        return ()
    phases = []
    for i in range(len(down)):
        below = nn.Sequential(*(_without(layer, nn.Dropout) for layer in down[:i]))
        pair = _Pair(below, down[i], _without(up[i], nn.ReLU, nn.Dropout), noise)
        params = (*down[i].parameters(), *up[i].parameters())
        phases.append(Phase(f"pretraining_{i + 1}", (Update("pretraining", pair.losses, params, optimizer),), epochs))
    return tuple(phases)


@dataclass(frozen=True)
class _Pair:
    """An encoder layer and its mirror, and the frozen layers below them, whose dropout is off.

    The mirror learns before its ReLU: the target is never negative, so cutting at zero afterwards only brings the
    output nearer to it, and a unit that starts below zero on every row still learns.
    """

    below: nn.Sequential
    down: nn.Sequential
    up: nn.Sequential
    noise: float

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return the squared error with which the pair rebuilds the activations below."""
        with torch.no_grad():
            target = self.below(batch.x)
        noisy = self.noise > 0 and self.down[0].training  # the layer's own flag: these parts belong to no module
        seen = target + self.noise * torch.randn_like(target) if noisy else target
        return {"reconstruction": (target - self.up(self.down(seen))).square().sum(1).mean()}


def _layers(chain: nn.Sequential) -> list[nn.Sequential]:
    """Split a chain before each linear layer; the parts share its modules."""
    starts = [i for i, module in enumerate(chain) if isinstance(module, nn.Linear)]
    modules = list(chain)
    return [nn.Sequential(*modules[i:j]) for i, j in zip(starts, [*starts[1:], len(modules)], strict=True)]


def _without(layer: nn.Sequential, *kinds: type[nn.Module]) -> nn.Sequential:
    return nn.Sequential(*(module for module in layer if not isinstance(module, kinds)))


def _widths(layer: nn.Sequential) -> tuple[int, int]:
    linear = layer[0]
    if not isinstance(linear, nn.Linear):
        raise InvalidParameter(f"Layer-wise pre-training knows linear layers; got {type(linear).__name__}.")
    return linear.in_features, linear.out_features
