"""Detectors of the adversarial family: a generator, one discriminator or more, and what keeps their game steady."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import nn

from offnormal.backbone_detector import BackboneDetector
from offnormal.networks.backbones import Plan
from offnormal.parameters import param

_BOUNDED: Mapping[str, type[nn.Module]] = {"symmetric": nn.Tanh, "unit": nn.Sigmoid}


@dataclass(kw_only=True, eq=False, repr=False)
class AdversarialDetector(BackboneDetector):
    """A detector with a generator. Weights of the last epoch, or their moving average; never chosen by a label."""

    early_stopping: bool = param(
        False, "Watch a tenth of the rows (from 200 on) and keep the weights of the least sum of all terms.",
        source="off: the terms of a game work against each other, so their sum says little",
    )  # fmt: skip
    learning_rate: float = param(2e-4, "Adam's step size, in both parts of the game.", gt=0, source="DCGAN's")
    beta1: float = param(
        0.5, "Adam's decay of the mean gradient; a game turns too fast for the usual 0.9.", ge=0, lt=1, source="DCGAN's"
    )
    latent_dim: int = param(32, "Width of the code.", ge=1, source="EGBAD's and ALAD's for KDDCUP")
    pixel_scaling: str = param(
        "symmetric", "Scaling of the pixels of images: 'unit' [0, 1], 'symmetric' [−1, 1], 'standard' by channel.",
        choices=("unit", "symmetric", "standard"), source="DCGAN's generator ends in tanh",
    )  # fmt: skip
    discriminator_sizes: tuple[int, ...] | None = param(
        None, "hidden_sizes of the discriminator of rows. None: the encoder's.", kind="ints", ge=1,
        source="the papers' in the presets",
    )  # fmt: skip
    discriminator_dropout: float = param(
        0.0, "Share of the discriminators' hidden units dropped in training; never at scoring.", ge=0, lt=1,
        source="the papers' in the presets",
    )  # fmt: skip
    spectral_norm: bool | None = param(  # None is for methods that decide by the network
        False, "Divide the discriminators' weights by their largest singular value.", kind="bool",
        source="ALAD's, for images",
    )  # fmt: skip
    weight_average: float = param(
        0.999, "Decay of the moving average of the weights that score; 0: the weights of the last step.", ge=0, lt=1,
        source="EGBAD's and ALAD's codes",
    )  # fmt: skip

    def generator_plan(self, shape: tuple[int, ...]) -> Plan:
        """Return the plan whose decoder is the generator: ReLU inside."""
        return replace(self.plan(shape), activation="relu")

    def discriminator_plan(self, shape: tuple[int, ...]) -> Plan:
        """Return the plan whose encoder, with one output, is the discriminator of rows: leaky ReLU and dropout.

        Convolutions have no norm in the first layer, as DCGAN's.
        """
        plan = self.plan(shape)
        return replace(
            plan,
            hidden_sizes=self.discriminator_sizes or plan.hidden_sizes,
            activation="leaky_relu",
            dropout=float(self.discriminator_dropout),
            first_norm=False,
        )

    def bounded(self, generator: nn.Sequential, shape: tuple[int, ...]) -> nn.Sequential:
        """Let a generator of images end within the range of the pixels; columns of tables have none."""
        end = _BOUNDED.get(self.pixel_scaling) if len(shape) > 1 else None
        return generator if end is None else nn.Sequential(*generator, end())
