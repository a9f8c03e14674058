"""The game of a discriminator and what it judges, as terms of the trainer's updates.

A discriminator gives each row a logit: how much it looks like a real one. Goodfellow et al., "Generative Adversarial
Nets", NeurIPS 2014. Real and fake rows go through it in passes of their own, so that no norm over the batch tells one
from the other. Letters: b rows, d code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partialmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from offnormal.networks.backbones import Map, Plan

NORM_FLOOR = 1e-12
"""Added under the root of a squared gradient norm: at 0 the root has no slope."""


def called_real(logits: Tensor) -> Tensor:
    """Return the mean of −log sigmoid(logit): what is minimized where rows should be taken for real."""
    return nn.functional.softplus(-logits).mean()


def called_fake(logits: Tensor) -> Tensor:
    """Return the mean of −log(1 − sigmoid(logit)): the same where they should be taken for fake."""
    return nn.functional.softplus(logits).mean()


def told_apart(discriminator: nn.Module, real: Tensor, fake: Tensor) -> Mapping[str, Tensor]:
    """Return the two terms the discriminator minimizes, −log D(real) and −log(1 − D(fake)), means over rows.

    The terms are named `real` and `fake`. Nothing flows back into `fake`.
    """
    return {
        "real": called_real(discriminator(real)),
        "fake": called_fake(discriminator(fake.detach())),
    }


def taken_for_real(discriminator: nn.Module, fake: Tensor) -> Tensor:
    """Return what the maker of `fake` minimizes, the mean of −log D(fake) (non-saturating)."""
    return called_real(discriminator(fake))


def features_and_logit(discriminator: nn.Sequential, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return what goes into the last layer of a discriminator, (b, w), and the logit, (b,), of one pass."""
    features: Tensor = discriminator[:-1](x).flatten(1)
    return features, discriminator[-1](features).squeeze(1)


def gradient_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor) -> Tensor:
    """Return the mean of (‖∇_x̂ C(x̂)‖₂ − 1)², x̂ drawn on the line between a real and a fake row.

    Gulrajani et al., "Improved Training of Wasserstein GANs", NeurIPS 2017. The critic must judge each row by itself
    (no norm over the batch) and bear a second derivative (`mlp` with tanh does not). Nothing flows back into `fake`.

    Parameters
    ----------
    critic : callable
        (b, *shape) -> (b, 1).
    real, fake : Tensor, shape (b, *shape)
    """
    place = torch.rand(len(real), *(1 for _ in real.shape[1:]), dtype=real.dtype, device=real.device)
    with torch.enable_grad():  # also where held-out rows are only looked at
        between = torch.lerp(fake.detach(), real, place).requires_grad_()
        (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
        norm = (slope.flatten(1).square().sum(1) + NORM_FLOOR).sqrt()
    return (norm - 1).square().mean()


def normed_spectrally(network: nn.Sequential) -> nn.Sequential:
    """Divide the weights of every layer by their largest singular value, estimated by one power iteration a step.

    Miyato et al., "Spectral Normalization for Generative Adversarial Networks", ICLR 2018. In place; returned too.
    """
    for module in network.modules():
        if isinstance(module, Map):
            plain = type(module)
            spectral_norm(module)
            # torch makes a class of its own for such a layer, which refuses to be pickled, as scikit-learn's tools do.
            normed: Any = type(module)
            normed.__reduce__ = partialmethod(_taken_apart, plain)
    return network


def _taken_apart(layer: nn.Module, plain: type[nn.Module]) -> tuple[Any, ...]:
    """Return what `_put_together` needs: the class without the norm, what an object of it holds, all tensors."""
    weight = layer.get_parameter("parametrizations.weight.original")
    held = dict(layer.__dict__)
    held["_modules"] = {name: inner for name, inner in layer.named_children() if name != "parametrizations"}
    held["_parameters"] = {"weight": weight, **dict(layer.named_parameters(recurse=False))}
    return _put_together, (plain, held, layer.state_dict())


def _put_together(plain: type[nn.Module], held: dict[str, Any], tensors: dict[str, Tensor]) -> nn.Module:
    """Return the layer with its spectral norm; the random start of the power iteration is overwritten."""
    layer = plain.__new__(plain)
    layer.__dict__.update(held)
    with torch.random.fork_rng(devices=[]):
        normed_spectrally(nn.Sequential(layer))
    layer.load_state_dict(tensors)
    return layer


def code_discriminator(code_dim: int, hidden_sizes: Sequence[int], *, batch_norm: bool = False) -> nn.Sequential:
    """Return a fresh discriminator of codes, (b, d) -> (b, 1), with leaky ReLU between its linear layers."""
    return Plan((code_dim,), hidden_sizes, "dense", "leaky_relu", batch_norm).encoder(1)
