"""An autoencoder that compares images by their structure, on whole images or on patches of a texture.

Bergmann, Löwe, Fauser, Sattlegger, Steger, "Improving Unsupervised Defect Segmentation by Applying Structural
Similarity to Autoencoders", VISAPP 2019; the baselines AE (SSIM) and AE (L2) of Bergmann, Fauser, Sattlegger, Steger,
"MVTec AD", CVPR 2019.

A convolutional autoencoder with a narrow code rebuilds what good parts look like. Squared differences of single pixels
are large along every edge that is rebuilt a little off, and small for a defect of nearly the right brightness; the
structural similarity of small windows sees contrast and structure instead. The map of an image is that difference,
pixel by pixel; of a texture it is averaged over overlapping patches.

Letters: b images, d code, c h w channels, height, width; p patch; D the difference.

Differences from the papers
---------------------------
1. Layers, patches, code, window and training are those the papers and two open versions of them agree on. For images
   (or patches) of other sides than 128, halving convolutions are added or left out at the front, so that the last grid
   is of about 8×8; the CVPR paper adds one for 256.
2. The window is Gaussian (theirs is unknown to us), and images are continued beyond their border by reflection, so that
   the map has the image's size and nothing is cropped.
3. The constants of structural similarity are 0.01 and 0.03, as the paper is quoted; `ssim_constants="wang"` squares
   them, as is usual elsewhere.
4. Patches are cut anew in every step, in place of 10,000 cut beforehand; the presets have as many steps of 128 patches
   as 200 passes over those. How far images are turned and shifted is unknown to us.
5. The score of an image is its map's greatest pixel (`map_score`); the papers segment only, and call an image abnormal
   by the areas of regions (`map_score="area"`).
6. Outside the presets: a budget of steps with early stopping on held-out images, by the patch in their middles; Adam's
   step is 1e-3. Clips are compared frame by frame, whole. The columns of a table, which have no structure, are compared
   by squares, by fully connected layers with a code of at most 8 axes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from offnormal.backbone_detector import BackboneDetector
from offnormal.batches import Batch
from offnormal.errors import InvalidParameter
from offnormal.method import Method, Phase, Update
from offnormal.networks.autoencoding import Autoencoding
from offnormal.networks.backbones import Plan
from offnormal.networks.patches import (
    Size,
    Variation,
    averaged_over_patches,
    middle_patches,
    random_patches,
)
from offnormal.networks.residuals import ReconstructionReasons, ResidualModel
from offnormal.networks.similarity import BERGMANN, WANG, WINDOW, Difference, difference_named
from offnormal.parameters import param

LAST_GRID = 8
"""Side of the map that the code is made of."""
HALVINGS = 4
"""Of the paper's network, from 128 to `LAST_GRID`."""
LAYERS = ((1, 4, 2), (1, 4, 2), (1, 3, 1), (2, 4, 2), (2, 3, 1), (4, 4, 2), (2, 3, 1), (1, 3, 1))
"""Channels in multiples of the first, kernel and stride of the encoder's convolutions for 128×128; the decoder mirrors
them."""
CODE_OF_COLUMNS = 8
LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in grey, ITU-R BT.601."""


class PatchAutoencoder(ReconstructionReasons, Autoencoding, Method):
    """Encoder and decoder of patches, and what they make of an image.

    Parameters
    ----------
    encoder, decoder : nn.Sequential
        h: (b, *patch) -> (b, d), g: (b, d) -> (b, *patch).
    shape : tuple of int
        Of a row: (n,), (c, h, w) or (c, t, h, w).
    code_dim : int
    difference : callable
        D: x, x′ -> the parts of their difference, all (b, *shape).
    grey : bool
        Whether color images are turned grey first.
    patch : (height, width) or None
        None: whole images.
    patches : int
        Cut from each image at each step.
    stride : int
        Of overlapping patches, in scoring.
    variation : Variation
    learning_rate, weight_decay : float
    epochs : int
    """

    exportable = True

    def __init__(
        self,
        encoder: nn.Sequential,
        decoder: nn.Sequential,
        *,
        shape: tuple[int, ...],
        code_dim: int,
        difference: Difference,
        grey: bool,
        patch: Size | None,
        patches: int,
        stride: int,
        variation: Variation,
        learning_rate: float,
        weight_decay: float,
        epochs: int,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder, self.difference, self.code_dim = encoder, decoder, difference, code_dim
        self.grey, self.patch, self.patches, self.stride, self.variation = grey, patch, patches, stride, variation
        self.learning_rate, self.weight_decay, self.epochs = learning_rate, weight_decay, epochs
        self.residuals = ResidualModel(*shape) if len(shape) == 1 else None

    def seen(self, x: Tensor) -> Tensor:
        """Return the images as they are compared, (b, 3, h, w) -> (b, 1, h, w) where grey is asked for."""
        return (x * x.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True) if self.grey else x

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return the mean over patches of Σ D(x, g(h(x)))."""
        x = self.seen(batch.x)
        if x.ndim == 4:
            size = self.patch or (x.shape[2], x.shape[3])
            x = random_patches(x, size, self.patches, self.variation) if self.training else middle_patches(x, size)
        return {"reconstruction": self.difference(x, self.decoder(self.encoder(x))).flatten(1).sum(1).mean()}

    def phases(self) -> Sequence[Phase]:
        """Train encoder and decoder together."""
        adam = partial(torch.optim.Adam, lr=self.learning_rate, weight_decay=self.weight_decay, fused=True)
        step = Update("end_to_end", self.losses, tuple(self.parameters()), adam)
        return (Phase("end_to_end", (step,), self.epochs),)

    def encode(self, x: Tensor) -> Tensor:
        """Return the code (b, d); of patches, their codes' mean."""

        def spread(patches: Tensor) -> Tensor:
            code: Tensor = self.encoder(patches)
            return code[:, :, None, None].expand(-1, -1, *patches.shape[2:])

        if self.patch is None:
            code: Tensor = self.encoder(self.seen(x))
            return code
        return averaged_over_patches(spread, self.seen(x), self.patch, self.stride).mean((2, 3))

    def reconstruct(self, x: Tensor) -> Tensor:
        """Return the rebuilt images, the shape of `x`; overlapping patches are averaged, grey is grey."""
        rebuilt = self._over_patches(lambda seen: self.decoder(self.encoder(seen)), self.seen(x))
        return rebuilt.expand_as(x)

    def score_map(self, x: Tensor) -> Tensor:
        """Return D(x, x′) of each pixel, summed over channels and averaged over patches: (b, c, h, w) -> (b, h, w)."""
        return self._over_patches(
            lambda seen: self.difference(seen, self.decoder(self.encoder(seen))).sum(1), self.seen(x)
        )

    def score(self, x: Tensor) -> Tensor:
        """Return the mean of the map, (b,); of a table Σ D(x, x′)."""
        if x.ndim == 2:
            return self.difference(x.double(), self.reconstruct(x).double()).sum(1)
        return self.score_map(x).double().flatten(1).mean(1)

    def _over_patches(self, function: Callable[[Tensor], Tensor], seen: Tensor) -> Tensor:
        return function(seen) if self.patch is None else averaged_over_patches(function, seen, self.patch, self.stride)


_PAPER: Mapping[str, Any] = {"learning_rate": 2e-4, "weight_decay": 1e-5, "early_stopping": False}
_TEXTURE: Mapping[str, Any] = {**_PAPER, "patch_size": 128, "patches": 8, "batch_size": 16, "rotation": 180.0}
_OBJECT: Mapping[str, Any] = {**_PAPER, "batch_size": 128, "rotation": 10.0, "shift": 0.05}


@dataclass(kw_only=True, eq=False, repr=False)
class SSIMAutoencoder(BackboneDetector):
    """An autoencoder compared by structural similarity or by squares, with a map of pixels.

    The score of an image is the greatest pixel of its map, at least 0; greater = more anomalous. With "ssim" a pixel of
    the map is 1 − SSIM, within [0, 2]; with "l2" squared units of the scaled pixels.
    """

    key: ClassVar[str] = "ssim_autoencoder"
    pooling: ClassVar[str] = "max"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "texture": _TEXTURE,
        "texture_l2": {**_TEXTURE, "difference": "l2"},
        "object": _OBJECT,
        "object_l2": {**_OBJECT, "difference": "l2"},
    }

    latent_dim: int = param(100, "Width of the code; of the columns of a table at most 8.", ge=1, source="CVPR 2019")
    base_channels: int = param(
        32, "Channels of the first convolution of images; the others are once, twice and four times as many.", ge=1,
        source="the papers",
    )  # fmt: skip
    difference: str = param(
        "ssim", "What is minimized and mapped: structural dissimilarity, or squared error.", choices=("ssim", "l2"),
        source="the paper's two",
    )  # fmt: skip
    ssim_window: int = param(
        WINDOW, "Side of the window of 'ssim', odd; smaller images take the largest that fits.", ge=3,
        source="CVPR 2019: 11",
    )  # fmt: skip
    ssim_constants: str = param(
        "paper", "c₁ and c₂ of 'ssim': 0.01 and 0.03, or their squares.", choices=("paper", "wang"),
        source="VISAPP 2019, as quoted",
    )  # fmt: skip
    patch_size: int | None = param(
        None, "Side of patches, for textures. None: whole images, for objects.", kind="int", ge=8,
        source="the papers: 128 for textures",
    )  # fmt: skip
    patches: int = param(1, "Patches cut from each image at each step.", ge=1, source="8 in the presets of textures")
    patch_stride: int = param(
        30, "Pixels from one overlapping patch to the next, in scoring.", ge=1, source="CVPR 2019"
    )
    rotation: float = param(
        0.0, "Greatest turn of patches and images in training, in degrees.", ge=0, le=180,
        source="0: how parts lie may matter; theirs is unknown to us",
    )  # fmt: skip
    shift: float = param(
        0.0, "Greatest move of whole images in training, in parts of their sides.", ge=0, le=0.5,
        source="as `rotation`",
    )  # fmt: skip
    mirror: bool = param(False, "Mirror half of the patches or images in training.", source="as `rotation`")
    weight_decay: float = param(0.0, "Adam's penalty of squared weights.", ge=0, source="1e-5 in the presets")

    def plan(self, shape: tuple[int, ...]) -> Plan:
        """Return how to build the networks: the paper's convolutions for images, the usual ones for clips."""
        usual = super().plan(shape)
        if len(shape) != 3 or not usual.convolutional:
            return usual
        norm = bool(self.batch_norm)
        if self.hidden_sizes is not None:
            return replace(usual, batch_norm=norm)
        channels, kernels, strides = zip(*layers_for(min(shape[1:]), self.base_channels), strict=True)
        return replace(usual, hidden_sizes=channels, kernel_sizes=kernels, strides=strides, batch_norm=norm)

    def build(self, shape: tuple[int, ...]) -> Method:
        """Return the network for rows of `shape`.

        Raises
        ------
        InvalidParameter
            If patches are asked for on anything but images that are as large, or "ssim" on pixels beyond [0, 1].
        """
        of_image = len(shape) == 3
        patch = self._patch(shape)
        structural = self.difference == "ssim" and len(shape) > 1
        if structural and self.pixel_scaling != "unit":
            raise InvalidParameter("difference='ssim' compares light with dark, for pixels within [0, 1]; take "
                                   f"pixel_scaling='unit', not {self.pixel_scaling!r}.")  # fmt: skip
        grey = structural and of_image and shape[0] == 3
        seen = (1 if grey else shape[0], *(patch or shape[1:]))
        plan = self.plan(seen)
        code_dim = self.latent_dim if len(shape) > 1 else min(self.latent_dim, CODE_OF_COLUMNS)
        return PatchAutoencoder(
            plan.encoder(code_dim),
            plan.decoder(code_dim),
            shape=shape,
            code_dim=code_dim,
            difference=self._difference(seen, structural=structural),
            grey=grey,
            patch=patch,
            patches=self.patches,
            stride=self.patch_stride,
            variation=Variation(float(self.rotation), float(self.shift), self.mirror),
            learning_rate=self.learning_rate,
            weight_decay=float(self.weight_decay),
            epochs=self.planned_epochs_,
        )

    def _patch(self, shape: tuple[int, ...]) -> Size | None:
        if self.patch_size is None:
            return None
        if len(shape) != 3 or self.patch_size > min(shape[1:]):
            rows = f"images of {shape[1]}×{shape[2]}" if len(shape) == 3 else "clips or the columns of a table"
            raise InvalidParameter(
                f"patch_size={self.patch_size} does not fit {rows}; leave it out, or make it smaller."
            )
        return None if shape[1:] == (self.patch_size, self.patch_size) else (self.patch_size, self.patch_size)

    def _difference(self, seen: tuple[int, ...], *, structural: bool) -> Difference:
        if not structural:
            return difference_named("l2", seen)
        side = min(seen[-2:])
        window = min(self.ssim_window, side - 1 + side % 2)
        constants = BERGMANN if self.ssim_constants == "paper" else WANG
        return difference_named("ssim", seen, window=window, constants=constants)


def layers_for(side: int, base: int = 32) -> tuple[tuple[int, int, int], ...]:
    """Return (channels, kernel, stride) of each convolution for images of this side, the first with `base` channels.

    The paper's for 128; for smaller images without its first halvings, for larger ones with more of them.
    """
    halvings = int(math.log2(side / LAST_GRID)) if side >= LAST_GRID else 0
    more, fewer = max(halvings - HALVINGS, 0), max(HALVINGS - halvings, 0)
    left_out = [i for i, (_, _, stride) in enumerate(LAYERS) if stride == 2][:fewer]
    kept = ((1, 4, 2),) * more + tuple(layer for i, layer in enumerate(LAYERS) if i not in left_out)
    return tuple((base * times, kernel, stride) for times, kernel, stride in kept)
