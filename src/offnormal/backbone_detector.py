"""Detectors whose networks follow the shape of a row: the reconstruction and adversarial families."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from offnormal.detector import TrainedDetector
from offnormal.networks.backbones import ACTIVATIONS, Plan
from offnormal.parameters import param


@dataclass(kw_only=True, eq=False, repr=False)
class BackboneDetector(TrainedDetector):
    """A detector on any backbone: fully connected layers for vectors, convolutions for images and clips."""

    sees_images: ClassVar[bool] = True

    latent_dim: int = param(8, "Width of the code.", ge=1, source="as `dagmm`; the papers' in the presets")
    hidden_sizes: tuple[int, ...] | None = param(
        None, "Hidden widths of the encoder, for images the channels of its convolutions; the decoder mirrors them. "
        "None: from the shape of a row.",
        kind="ints", ge=1, source="None: at least 64-32, up to 256-128 for wide tables; images 32-64-128",
    )  # fmt: skip
    network: str = param(
        "auto", "Fully connected, convolutional, or by the shape of a row.",
        choices=("auto", "dense", "convolutional"), source="the papers': convolutional for images; RaPP: dense",
    )  # fmt: skip
    activation: str = param(
        "tanh", "Activation of the hidden units of a fully connected network; code and output are linear.",
        choices=tuple(ACTIVATIONS), source="DAGMM §4.3",
    )  # fmt: skip
    image_activation: str = param(
        "leaky_relu", "The same of a convolutional network.", choices=tuple(ACTIVATIONS), source="DCGAN's; GPND, MemAE"
    )
    batch_norm: bool | None = param(
        None, "Normalize hidden layers over the batch. None: convolutions only.", kind="bool",
        source="MemAE and GPND: convolutions; DAGMM's networks have none",
    )  # fmt: skip
    kernel_sizes: tuple[int, ...] = param(
        (4,), "Sides of the convolutions' kernels, one for all or one for each; strides are 2.", ge=1, source="DCGAN's"
    )

    def plan(self, shape: tuple[int, ...]) -> Plan:
        """Return how to build networks for rows of `shape`."""
        plan = Plan(shape, self.hidden_sizes, self.network, kernel_sizes=self.kernel_sizes)
        convolutional = plan.convolutional
        return Plan(
            shape,
            self.hidden_sizes,
            self.network,
            self.image_activation if convolutional else self.activation,
            convolutional if self.batch_norm is None else bool(self.batch_norm),
            self.kernel_sizes,
        )
