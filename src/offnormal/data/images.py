"""Images from files: a folder, an image file or an array file becomes bytes in memory.

Arrays of images, and what training saw of them, are in `offnormal.data.pixel_arrays`; its names are offered here too.
Letters: b rows, c h w channels, height, width.
"""

from __future__ import annotations

import math
import os
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from offnormal.data.pixel_arrays import MOST_VALUES, Images, ImageSchema, as_pixels, is_images, resized
from offnormal.errors import DataError, EnvironmentFailure, FileUnreadable, InvalidParameter, OffnormalError

if TYPE_CHECKING:
    from PIL import Image

__all__ = [
    "ARRAY_SUFFIXES",
    "SUFFIXES",
    "ImageSchema",
    "Images",
    "as_pixels",
    "image_files",
    "is_images",
    "read_images",
    "resized",
]

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".pgm", ".ppm", ".pnm")
ARRAY_SUFFIXES = (".npy", ".npz")

_FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF", "PPM")  # no other decoder of Pillow's is ever called
_ORIENTATION, _TURNED = 0x0112, (5, 6, 7, 8)  # of EXIF: the camera was held upright
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow has it


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
    if math.prod(map(int, sides)) > MOST_VALUES:
        raise InvalidParameter(f"size must stay below {MOST_VALUES:,} pixels; got {size!r}.")
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
            if width * height * 3 > MOST_VALUES or min(width, height) < 1:
                raise Image.DecompressionBombError
            yield image
    except (OffnormalError, MemoryError):
        raise
    except Image.DecompressionBombError:
        raise DataError(
            f"The image '{file}' is larger than {MOST_VALUES // 3:,} pixels. Make it smaller, or cut it into tiles."
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
                arrays = {name: array for name in loaded.files if (array := loaded[name]).ndim in (3, 4, 5)}
    except MemoryError:
        raise
    except Exception as error:  # zip, zlib and NumPy each have their own
        if isinstance(error, OSError) and error.errno is not None:
            raise EnvironmentFailure(f"The file '{file}' could not be read: {error.strerror}.") from error
        raise FileUnreadable(f"The file '{file}' is no array file, or damaged. Save it again with numpy.") from None
    if len(arrays) != 1:
        found = f"several arrays of images ({', '.join(arrays)})" if arrays else "no array of three or four axes"
        raise DataError(f"The file '{file}' holds {found}. Save one alone, or load it with numpy and pass the array.")
    array = next(iter(arrays.values()))
    if array.ndim == 5:
        raise DataError(
            f"The file '{file}' holds clips, an array of five axes: these are taken in Python, as arrays, and not yet "
            "from files. Load it with numpy and pass the array to fit or anomaly_score."
        )
    try:
        pixels = as_pixels(array)
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
