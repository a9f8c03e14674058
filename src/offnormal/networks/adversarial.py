"""The game of a discriminator and what it judges, as terms of the trainer's updates.

A discriminator gives each row a logit: how much it looks like a real one. Goodfellow et al., "Generative Adversarial
Nets", NeurIPS 2014. Real and fake rows go through it in passes of their own, so that no norm over the batch tells one
from the other. Letters: b rows, d code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from offnormal.networks.backbones import Plan


def told_apart(discriminator: nn.Module, real: Tensor, fake: Tensor) -> Mapping[str, Tensor]:
    """Return the two terms the discriminator minimizes, −log D(real) and −log(1 − D(fake)), means over rows.

    The terms are named `real` and `fake`. Nothing flows back into `fake`.
    """
    return {
        "real": nn.functional.softplus(-discriminator(real)).mean(),
        "fake": nn.functional.softplus(discriminator(fake.detach())).mean(),
    }


def taken_for_real(discriminator: nn.Module, fake: Tensor) -> Tensor:
    """Return what the maker of `fake` minimizes, the mean of −log D(fake) (non-saturating)."""
    return nn.functional.softplus(-discriminator(fake)).mean()


def code_discriminator(code_dim: int, hidden_sizes: Sequence[int], *, batch_norm: bool = False) -> nn.Sequential:
    """Return a fresh discriminator of codes, (b, d) -> (b, 1), with leaky ReLU between its linear layers."""
    return Plan((code_dim,), hidden_sizes, "dense", "leaky_relu", batch_norm).encoder(1)
