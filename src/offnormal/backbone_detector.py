"""Detectors whose networks follow the shape of a row: the reconstruction and adversarial families."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from offnormal.detector import TrainedDetector
from offnormal.errors import InvalidParameter
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

    time_strides: tuple[int, ...] | None = param(
        None, "Strides of convolutions along the frames of clips, one for all or one for each. None: 2, as elsewhere.",
        kind="ints", ge=1, source="MemAE's video network keeps all frames in its first: in the preset",
    )  # fmt: skip

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
            time_strides=self.time_strides,
        )


@dataclass(kw_only=True, eq=False, repr=False)
class UnmirroredDetector(BackboneDetector):
    """A detector whose decoder may be another network than the mirror of its encoder."""

    decoder_hidden_sizes: tuple[int, ...] | None = param(
        None, "hidden_sizes of the network that the decoder mirrors. None: the encoder.", kind="ints", ge=1,
        source="MemAE's decoders of images are no mirrors; in the presets",
    )  # fmt: skip
    decoder_kernel_sizes: tuple[int, ...] | None = param(
        None, "kernel_sizes of the network that the decoder mirrors. None: the encoder.", kind="ints", ge=1,
        source="MemAE's: 3 throughout; in the presets",
    )  # fmt: skip

    def plans(self, shape: tuple[int, ...], *, linear_code: bool) -> tuple[Plan, Plan]:
        """Return the plan of the encoder and that of the decoder.

        Raises
        ------
        InvalidParameter
            If the code is a feature map, and the two do not meet in the same one.
        """
        there = self.plan(shape)
        back = replace(
            there,
            hidden_sizes=there.hidden_sizes if self.decoder_hidden_sizes is None else self.decoder_hidden_sizes,
            kernel_sizes=there.kernel_sizes if self.decoder_kernel_sizes is None else self.decoder_kernel_sizes,
        )
        if there.convolutional and not linear_code and there.feature_map != back.feature_map:
            raise InvalidParameter(
                f"The encoder ends with a feature map of {there.feature_map} and the decoder begins with one of "
                f"{back.feature_map}; decoder_hidden_sizes and decoder_kernel_sizes must lead to the same."
            )
        return there, back
