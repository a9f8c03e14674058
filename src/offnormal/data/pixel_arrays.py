"""Images and clips as arrays: what is taken for them, in one layout and type, and what training saw of them.

Pixels stay uint8 (arrays of floats: float32 within [0, 1]), channels first; `offnormal.data.pixels.ImagePreprocessor`
makes floats of them batch by batch. An `ImageSchema` is to them what the column schema is to tables: what training saw,
held against every later image or clip.
Letters: b rows, c t h w channels, frames, height, width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from offnormal.errors import DataError, ModelFileError, SchemaMismatch

Pixels = NDArray[Any]
"""(rows, c, h, w), of clips (rows, c, t, h, w); uint8, or float32 within [0, 1]."""

MOST_VALUES = 2**26
"""Most values of one image or clip; a file of a few kilobytes may claim any size."""

_CHANNELS = (1, 3, 4)
_AT_ONCE = 2**22  # values turned into floats at a time


@dataclass(frozen=True, eq=False)
class Images:
    """Images of one size in memory.

    Attributes
    ----------
    pixels : array of uint8, shape (rows, c, h, w)
        1 channel: grey, 3: red, green, blue, 4: these and another.
    names : tuple of str
        Of each image: its path below the folder that was read; by default its number.
    """

    pixels: NDArray[np.uint8]
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Hold pixels and names against each other.

        Raises
        ------
        DataError
            If they do not fit.
        """
        if getattr(self.pixels, "dtype", None) != np.uint8 or self.pixels.ndim != 4:
            raise DataError("Images are made of uint8 pixels of shape (rows, channels, height, width).")
        if not self.names:
            object.__setattr__(self, "names", tuple(map(str, range(len(self.pixels)))))
        if len(self.names) != len(self.pixels):
            raise DataError(f"There are {len(self.pixels)} images and {len(self.names)} names; give one for each.")

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.pixels)

    def __getitem__(self, rows: Any) -> Images:
        """Return some of the images: a number, a slice, numbers or a mask, as for an array."""
        places = np.atleast_1d(np.arange(len(self))[rows])
        return Images(self.pixels[places], tuple(self.names[i] for i in places))


# --- arrays -----------------------------------------------------------------------------------------------------------


def is_images(X: Any) -> bool:
    """Return whether `X` is taken for images or clips: `Images`, or an array or tensor of three to five axes."""
    return isinstance(X, Images) or getattr(X, "ndim", None) in (3, 4, 5)


def noun_of(X: Any) -> str:
    """Return what a row of images or clips is called."""
    return "clip" if getattr(X, "ndim", None) == 5 else "image"


def as_pixels(X: Any, shape: Sequence[int] | None = None) -> Pixels:
    """Return images or clips as checked pixels.

    Parameters
    ----------
    X : Images, or array
        Images: (rows, h, w), (rows, h, w, c) or (rows, c, h, w). Clips: (rows, t, h, w, c) or (rows, c, t, h, w).
        uint8, or floats within [0, 1]; 1, 3 or 4 channels. Where an array can be read both ways, channels come first.
    shape : (c, h, w), (c, t, h, w) or None
        The shape to look for.

    Returns
    -------
    array of uint8 or float32, shape (rows, c, h, w) or (rows, c, t, h, w)

    Raises
    ------
    DataError
        If there is no image, the axes cannot be told apart, or the pixels are of another type or range.
    """
    if isinstance(X, Images):
        array: Pixels = X.pixels
    else:
        if isinstance(X, np.ma.MaskedArray):
            raise DataError("Images with masked pixels cannot be used; fill the masked pixels first.")
        array = X.detach().cpu().numpy() if isinstance(X, torch.Tensor) else np.asarray(X)
        array = _channels_first(array, None if shape is None else tuple(shape))
    if array.size == 0:
        raise DataError(f"There are no pixels in {noun_of(array)}s of shape {array.shape} (n_samples={len(array)}).")
    if math.prod(array.shape[1:]) > MOST_VALUES or array.shape[1] not in _CHANNELS:
        raise DataError(
            f"An image or clip has 1, 3 or 4 channels and at most {MOST_VALUES:,} values; "
            f"got {shape_in_words(array.shape[1:])}."
        )
    if array.dtype.kind == "f":
        array = array.astype(np.float32, copy=False)
        _check_range(array)
    elif array.dtype != np.uint8:
        raise DataError(
            f"Pixels must be uint8, or floats within [0, 1]; got {array.dtype}. Convert them, e.g. "
            "X.astype('uint8') for values from 0 to 255, or (X / 65535).astype('float32') for 16 bits."
        )
    return np.ascontiguousarray(array)


def _channels_first(array: Pixels, shape: tuple[int, ...] | None) -> Pixels:
    if array.ndim == 3:
        return array[:, None]
    first, last = array.shape[1:], (array.shape[-1], *array.shape[1:-1])
    if shape in (first, last):
        return array if shape == first else np.moveaxis(array, -1, 1)
    if first[0] in _CHANNELS or last[0] in _CHANNELS:
        return array if first[0] in _CHANNELS else np.moveaxis(array, -1, 1)
    raise DataError(
        f"An array of shape {array.shape} is no set of images or clips: expected (rows, height, width), or 1, 3 or 4 "
        "channels on the second or the last axis, of four for images and of five for clips (grey ones: X[:, None])."
    )


def _check_range(array: Pixels) -> None:
    if array.min() >= 0 and array.max() <= 1:  # false where a pixel is NaN
        return
    flat = array.reshape(len(array), -1)
    bad = ~((flat >= 0) & (flat <= 1))
    row = int(bad.any(axis=1).argmax())
    raise DataError(
        f"Pixels given as floats must lie within [0, 1]; {noun_of(array)} {row} (counted from 0) holds "
        f"{flat[row, bad[row].argmax()]:g}. Divide by the largest possible value, or pass uint8."
    )


def resized(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return images of another height and width: bilinear with antialiasing, the aspect ratio is not kept."""
    if pixels.shape[2:] == size:
        return pixels
    result = np.empty((*pixels.shape[:2], *size), np.uint8)
    block = max(_AT_ONCE // math.prod(pixels.shape[1:]), 1)
    for start in range(0, len(pixels), block):
        part = torch.from_numpy(np.require(pixels[start : start + block], requirements=["C", "W"])).float()
        part = interpolate(part, size=size, mode="bilinear", antialias=True, align_corners=False)
        result[start : start + block] = part.round().clamp(0, 255).byte().numpy()
    return result


# --- what training saw ------------------------------------------------------------------------------------------------


SHAPE_ENTRIES: Mapping[int, str] = {3: "image_shape", 4: "clip_shape"}
"""What a model file calls the shape, by its length; no table's schema has either."""


@dataclass(frozen=True)
class ImageSchema:
    """The shape of the training images or clips.

    Attributes
    ----------
    shape : (c, h, w), of clips (c, t, h, w)
    """

    shape: tuple[int, ...]

    @classmethod
    def of(cls, pixels: Pixels) -> ImageSchema:
        """Return the schema of some images, (rows, c, h, w), or clips, (rows, c, t, h, w)."""
        return cls(pixels.shape[1:])

    @property
    def n_features(self) -> int:
        """Return how many numbers a row has."""
        return math.prod(self.shape)

    @property
    def noun(self) -> str:
        """Return what a row is called: "image" or "clip"."""
        return "clip" if len(self.shape) == 4 else "image"

    def encode(self, X: Any) -> Pixels:
        """Return images or clips as pixels of the shape of training.

        Parameters
        ----------
        X : as `as_pixels` takes it
            `Images` of another size are resized; an array must have the size.

        Raises
        ------
        DataError
            If the pixels cannot be used.
        SchemaMismatch
            If the channels, or the size of an array, are others than in training, or it is no set of images, or of
            clips, at all.
        """
        noun, clips = f"{self.noun}s", self.noun == "clip"
        trained = f"The model was fitted to {noun} of {shape_in_words(self.shape)}"
        came = f"{noun_of(X)}s" if is_images(X) else "a table"
        if came != noun:
            axes = ", five axes" if clips else ""
            raise SchemaMismatch(f"{trained}; got {came}. Pass {noun}{axes}, a single one as X[None].")
        pixels = as_pixels(X, self.shape)
        if pixels.shape[1] != self.shape[0]:
            color = "grey" if self.shape[0] == 1 else "color"
            how = f"Turn them into {color}" if clips else f"Read them with color={color!r}"
            raise SchemaMismatch(f"{trained}; got {came} of {shape_in_words(pixels.shape[1:])}. {how}, or train again.")
        if isinstance(X, Images):
            return resized(pixels, (self.shape[1], self.shape[2]))
        if pixels.shape[1:] != self.shape:
            how = "Cut or resize them" if clips else "Resize them, as `Images` and `read_images` do"
            raise SchemaMismatch(
                f"{trained}; got an array of {came} of {shape_in_words(pixels.shape[1:])}. {how}, or train again."
            )
        return pixels

    def like(self, X: Any, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return images (rows, c, h, w), or clips, with their axes where those of `X` are."""
        if isinstance(X, Images) or tuple(X.shape[1:]) == self.shape:
            return images
        return images[:, 0] if X.ndim == 3 else np.moveaxis(images, 1, -1)

    def to_json(self) -> dict[str, Any]:
        """Return the entry of a model file's manifest; `SHAPE_ENTRIES` tell it from a table's."""
        return {SHAPE_ENTRIES[len(self.shape)]: list(self.shape)}

    @classmethod
    def from_json(cls, document: object) -> ImageSchema:
        """Return the schema that `to_json` wrote.

        Raises
        ------
        ModelFileError
            If it did not write this.
        """
        entries: list[tuple[Any, Any]] = list(document.items()) if isinstance(document, dict) else []
        name, shape = entries[0] if len(entries) == 1 else (None, [])
        sound = isinstance(shape, list) and SHAPE_ENTRIES.get(len(shape), "") == name
        sound = sound and all(type(side) is int and side > 0 for side in shape)
        if not sound or shape[0] not in _CHANNELS or math.prod(shape) > MOST_VALUES:
            raise ModelFileError("The model file is altered or damaged: its image shape is not one. Get it again.")
        return cls(tuple(shape))


def shape_in_words(shape: Sequence[int]) -> str:
    """Return what (c, h, w) or (c, t, h, w) are: "1 channel, 28×28 (height × width)"; of clips the frames too."""
    channels, *frames, height, width = shape
    counted = [(channels, "channel"), *((n, "frame") for n in frames)]
    return ", ".join([*(f"{n} {noun}{'s' * (n != 1)}" for n, noun in counted), f"{height}×{width} (height × width)"])
