"""Images as data: from a folder, a file or an array to bytes in memory.

Pixels stay uint8 (arrays of floats: float32 within [0, 1]), channels first; `offnormal.scorer.ImagePreprocessor` makes
floats of them batch by batch. An `ImageSchema` is to images what the column schema is to tables: what training saw,
held against every later image.
Letters: b rows, c h w channels, height, width.
"""

from __future__ import annotations

import math
import os
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from offnormal.errors import (
    DataError,
    EnvironmentFailure,
    FileUnreadable,
    InvalidParameter,
    ModelFileError,
    OffnormalError,
    SchemaMismatch,
)

if TYPE_CHECKING:
    from PIL import Image

Pixels = NDArray[Any]
"""(rows, c, h, w), uint8, or float32 within [0, 1]."""

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".pgm", ".ppm", ".pnm")
ARRAY_SUFFIXES = (".npy", ".npz")

_CHANNELS = (1, 3, 4)
_FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF", "PPM")  # no other decoder of Pillow's is ever called
_MOST_VALUES = 2**26  # of one image; a file of a few kilobytes may claim any size
_AT_ONCE = 2**22  # values turned into floats at a time
_ORIENTATION, _TURNED = 0x0112, (5, 6, 7, 8)  # of EXIF: the camera was held upright
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow has it


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
    """Return whether `X` is taken for images: `Images`, or an array or tensor of three or four axes."""
    return isinstance(X, Images) or getattr(X, "ndim", None) in (3, 4)


def as_pixels(X: Any, shape: Sequence[int] | None = None) -> Pixels:
    """Return images as checked pixels.

    Parameters
    ----------
    X : Images, or array of shape (rows, h, w), (rows, h, w, c) or (rows, c, h, w)
        uint8, or floats within [0, 1]; 1, 3 or 4 channels. Where an array can be read both ways, channels come first.
    shape : (c, h, w) or None
        The shape to look for.

    Returns
    -------
    array of uint8 or float32, shape (rows, c, h, w)

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
        raise DataError(f"There are no pixels in images of shape {array.shape} (n_samples={len(array)}).")
    if math.prod(array.shape[1:]) > _MOST_VALUES or array.shape[1] not in _CHANNELS:
        raise DataError(
            f"An image has 1, 3 or 4 channels and at most {_MOST_VALUES:,} values; got {_words(array.shape[1:])}."
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
    first, last = array.shape[1:], (array.shape[3], *array.shape[1:3])
    if shape in (first, last):
        return array if shape == first else np.moveaxis(array, 3, 1)
    if first[0] in _CHANNELS or last[0] in _CHANNELS:
        return array if first[0] in _CHANNELS else np.moveaxis(array, 3, 1)
    raise DataError(
        f"An array of shape {array.shape} is no set of images: expected (rows, height, width), or 1, 3 or 4 channels "
        "on the second or the last of four axes."
    )


def _check_range(array: Pixels) -> None:
    if array.min() >= 0 and array.max() <= 1:  # false where a pixel is NaN
        return
    flat = array.reshape(len(array), -1)
    bad = ~((flat >= 0) & (flat <= 1))
    row = int(bad.any(axis=1).argmax())
    raise DataError(
        f"Pixels given as floats must lie within [0, 1]; image {row} (counted from 0) holds "
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


# --- files ------------------------------------------------------------------------------------------------------------


class _Header(NamedTuple):
    """What a file says before it is decoded."""

    size: tuple[int, int]
    grey: bool


def read_images(path: str | Path, *, size: int | tuple[int, int] | None = None, color: str = "auto") -> Images:
    """Read a folder of images, one image file, or an array file.

    Parameters
    ----------
    path : str or Path
        A folder (and all folders in it, files in the order of their paths), an image file (PNG, JPEG, BMP, TIFF, WebP,
        GIF, PPM), or a `.npy` or `.npz` file with one array of images. Files of a folder that are not
        named like images are passed over.
    size : int, (height, width) or None
        Resize to this. None: the size most files have.
    color : {"auto", "grey", "color"}
        "auto": as the files are, which must then all be grey or all be in color.

    Returns
    -------
    Images
        Transparency is dropped, 16-bit grey keeps its upper 8 bits, floats of an array file are rounded to 1/255.

    Raises
    ------
    InvalidParameter
        If `size` or `color` is not one of the above.
    DataError, FileUnreadable
        If there is no image, a file is damaged or too large, or grey and color are mixed; the file is named.
    EnvironmentFailure
        If a file may not be read, or memory is short.
    """
    wanted = _wanted_size(size)
    if color not in ("auto", "grey", "color"):
        raise InvalidParameter(f"color must be one of 'auto', 'grey', 'color'; got {color!r}.")
    place = Path(path)
    if not place.exists():
        raise DataError(f"There is no file or folder {str(path)!r}.")
    try:
        if place.suffix.lower() in ARRAY_SUFFIXES and place.is_file():
            pixels = _recolored(_from_array_file(place), color)
            return Images(pixels if wanted is None else resized(pixels, wanted))
        return _from_files(place, wanted, color)
    except MemoryError:
        raise EnvironmentFailure(
            f"There is not enough memory for the images of {str(path)!r}. Give a smaller size, or fewer images."
        ) from None


def _wanted_size(size: Any) -> tuple[int, int] | None:
    if size is None:
        return None
    sides = (size, size) if isinstance(size, (int, np.integer)) else tuple(size) if _is_pair(size) else (0, 0)
    if not all(isinstance(side, (int, np.integer)) and not isinstance(side, bool) and side > 0 for side in sides):
        raise InvalidParameter(f"size must be a whole number, or height and width; got {size!r}.")
    if math.prod(map(int, sides)) > _MOST_VALUES:
        raise InvalidParameter(f"size must stay below {_MOST_VALUES:,} pixels; got {size!r}.")
    return int(sides[0]), int(sides[1])


def _is_pair(size: Any) -> bool:
    return isinstance(size, (tuple, list)) and len(size) == 2


def _from_files(place: Path, wanted: tuple[int, int] | None, color: str) -> Images:
    """Read all headers, then decode one image after the other into its place."""
    files = image_files(place) if place.is_dir() else [place]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # decoders warn of oddities in what is not pixels
        headers = [_header(file) for file in files]
        grey = _all_grey(files, headers, color)
        size = wanted or Counter(header.size for header in headers).most_common(1)[0][0]
        pixels = np.empty((len(files), 1 if grey else 3, *size), np.uint8)
        for row, file in enumerate(files):
            with _opened(file) as image:
                pixels[row] = resized(_decoded(image, grey)[None], size)[0]
    names = [file.relative_to(place).as_posix() if place.is_dir() else file.name for file in files]
    return Images(pixels, tuple(names))


def image_files(folder: Path) -> list[Path]:
    """Return the files below a folder that are named like images, in the order of their paths.

    Raises
    ------
    DataError
        If there is none.
    EnvironmentFailure
        If a folder may not be read.
    """

    def refuse(error: OSError) -> None:
        raise EnvironmentFailure(f"The folder {error.filename} could not be read: {error.strerror}.") from error

    found = [
        Path(parent, name)
        for parent, _, names in os.walk(folder, onerror=refuse)
        for name in names
        if name.lower().endswith(SUFFIXES) and not name.startswith(".")
    ]
    if not found:
        raise DataError(f"The folder '{folder}' has no images in it (files named {', '.join(SUFFIXES)}).")
    return sorted(found, key=lambda file: file.relative_to(folder).as_posix())


@contextmanager
def _opened(file: Path) -> Iterator[Image.Image]:
    """Open one image; whatever is wrong with the file is said in one sentence that names it."""
    from PIL import Image, UnidentifiedImageError

    Image.init()
    try:
        if file.stat().st_size == 0:
            raise FileUnreadable(f"The image '{file}' is empty (0 bytes). Replace or remove it.")
        with Image.open(file, formats=[name for name in _FORMATS if name in Image.OPEN]) as image:
            width, height = image.size
            if width * height * 3 > _MOST_VALUES or min(width, height) < 1:
                raise Image.DecompressionBombError
            yield image
    except (OffnormalError, MemoryError):
        raise
    except Image.DecompressionBombError:
        raise DataError(
            f"The image '{file}' is larger than {_MOST_VALUES // 3:,} pixels. Make it smaller, or cut it into tiles."
        ) from None
    except UnidentifiedImageError:
        raise FileUnreadable(f"The file '{file}' is named like an image and is none. Replace or remove it.") from None
    except Exception as error:  # each decoder has its own errors for damaged files
        if isinstance(error, OSError) and error.errno is not None:
            raise EnvironmentFailure(f"The image '{file}' could not be read: {error.strerror}.") from error
        reason = (str(error).splitlines() or [""])[0][:150] or type(error).__name__
        raise FileUnreadable(f"The image '{file}' is damaged ({reason}). Replace or remove it.") from None


def _header(file: Path) -> _Header:
    with _opened(file) as image:
        width, height = image.size
        turned = image.getexif().get(_ORIENTATION) in _TURNED
        if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
            raise DataError(f"The file '{file}' holds several images; save each in a file of its own.")
        if image.mode in ("I", "F"):
            raise DataError(f"The image '{file}' has 32-bit pixels; save it with 8 or 16 bits.")
        grey = image.mode in ("1", "L", "LA", "La") or image.mode.startswith("I;16")
        return _Header((width, height) if turned else (height, width), grey)


def _all_grey(files: Sequence[Path], headers: Sequence[_Header], color: str) -> bool:
    if color != "auto":
        return color == "grey"
    grey = [header.grey for header in headers]
    if len(set(grey)) > 1:
        raise DataError(
            f"'{files[grey.index(True)]}' is grey and '{files[grey.index(False)]}' is in color. Say which all should "
            "be: color='grey' or color='color'."
        )
    return grey[0]


def _decoded(image: Image.Image, grey: bool) -> NDArray[np.uint8]:
    """Return one image upright, (1 or 3, h, w)."""
    from PIL import ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        values = (np.asarray(image) >> 8).astype(np.uint8)[None]  # Pillow itself would cut off at 255
        return values if grey else values.repeat(3, axis=0)
    if "transparency" in image.info:
        image = image.convert("RGBA")
    array = np.asarray(image.convert("L" if grey else "RGB"))
    return array[None] if grey else np.moveaxis(array, 2, 0)


def _from_array_file(file: Path) -> NDArray[np.uint8]:
    try:
        with file.open("rb") as stream:
            loaded = np.load(stream, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                arrays = {file.name: loaded}
            else:
                arrays = {name: array for name in loaded.files if (array := loaded[name]).ndim in (3, 4)}
    except MemoryError:
        raise
    except Exception as error:  # zip, zlib and NumPy each have their own
        if isinstance(error, OSError) and error.errno is not None:
            raise EnvironmentFailure(f"The file '{file}' could not be read: {error.strerror}.") from error
        raise FileUnreadable(f"The file '{file}' is no array file, or damaged. Save it again with numpy.") from None
    if len(arrays) != 1:
        found = f"several arrays of images ({', '.join(arrays)})" if arrays else "no array of three or four axes"
        raise DataError(f"The file '{file}' holds {found}. Save one alone, or load it with numpy and pass the array.")
    try:
        pixels = as_pixels(next(iter(arrays.values())))
    except DataError as error:
        raise DataError(f"The file '{file}' cannot be used. {error}") from None
    return pixels if pixels.dtype == np.uint8 else (pixels * 255).round().astype(np.uint8)


def _recolored(pixels: NDArray[np.uint8], color: str) -> NDArray[np.uint8]:
    """Return the pixels of an array with 1 channel, with 3, or as they are."""
    if color == "auto" or pixels.shape[1] == (1 if color == "grey" else 3):
        return pixels
    if color == "color":
        return pixels[:, :3] if pixels.shape[1] == 4 else pixels.repeat(3, axis=1)
    grey = np.empty((len(pixels), 1, *pixels.shape[2:]), np.uint8)
    for row, image in enumerate(pixels):
        grey[row, 0] = np.tensordot(_LUMA, image[:3], axes=1).round()
    return grey


# --- what training saw ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ImageSchema:
    """The shape of the training images.

    Attributes
    ----------
    shape : (c, h, w)
    """

    shape: tuple[int, int, int]

    @classmethod
    def of(cls, pixels: Pixels) -> ImageSchema:
        """Return the schema of some images, (rows, c, h, w)."""
        return cls(cast(tuple[int, int, int], pixels.shape[1:]))

    @property
    def n_features(self) -> int:
        """Return how many numbers an image has."""
        return math.prod(self.shape)

    def encode(self, X: Any) -> Pixels:
        """Return images as pixels of the shape of training.

        Parameters
        ----------
        X : as `as_pixels` takes it
            `Images` of another size are resized; an array must have the size.

        Raises
        ------
        DataError
            If the pixels cannot be used.
        SchemaMismatch
            If the channels, or the size of an array, are others than in training, or it is no set of images at all.
        """
        trained = f"The model was fitted to images of {_words(self.shape)}"
        if not is_images(X):
            raise SchemaMismatch(f"{trained}; got a table. Pass images, a single one as X[None].")
        pixels = as_pixels(X, self.shape)
        if pixels.shape[1] != self.shape[0]:
            raise SchemaMismatch(
                f"{trained}; got images of {_words(pixels.shape[1:])}. Read them with color="
                f"{'grey' if self.shape[0] == 1 else 'color'!r}, or train again."
            )
        if isinstance(X, Images):
            return resized(pixels, self.shape[1:])
        if pixels.shape[1:] != self.shape:
            raise SchemaMismatch(
                f"{trained}; got an array of images of {_words(pixels.shape[1:])}. Resize them, as `Images` and "
                "`read_images` do, or train again."
            )
        return pixels

    def like(self, X: Any, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return images (rows, c, h, w) with their axes where those of `X` are."""
        if isinstance(X, Images) or tuple(X.shape[1:]) == self.shape:
            return images
        return images[:, 0] if X.ndim == 3 else np.moveaxis(images, 1, 3)

    def to_json(self) -> dict[str, Any]:
        """Return the entry of a model file's manifest; `image_shape` tells it from a table's."""
        return {"image_shape": list(self.shape)}

    @classmethod
    def from_json(cls, document: object) -> ImageSchema:
        """Return the schema that `to_json` wrote.

        Raises
        ------
        ModelFileError
            If it did not write this.
        """
        shape: Any = document.get("image_shape") if isinstance(document, dict) and len(document) == 1 else None
        sound = isinstance(shape, list) and len(shape) == 3 and all(type(side) is int and side > 0 for side in shape)
        if not sound or shape[0] not in _CHANNELS or math.prod(shape) > _MOST_VALUES:
            raise ModelFileError("The model file is altered or damaged: its image shape is not one. Get it again.")
        return cls((shape[0], shape[1], shape[2]))


def _words(shape: Sequence[int]) -> str:
    channels = f"{shape[0]} channel{'s' * (shape[0] != 1)}"
    return f"{channels}, {shape[1]}×{shape[2]} (height × width)"
