"""Images from files: a folder, an image file or an array file becomes bytes in memory, at once or part by part.

Arrays of images, and what training saw of them, are in `offnormal.data.pixel_arrays`; which files there are, in
`offnormal.data.layouts`. Names of both are offered here too.
Letters: b rows, c h w channels, height, width.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from offnormal.data.layouts import SUFFIXES, ImageFile, image_files, plain
from offnormal.data.pixel_arrays import MOST_VALUES, Images, ImageSchema, as_pixels, is_images, resized
from offnormal.errors import DataError, EnvironmentFailure, FileUnreadable, InvalidParameter, OffnormalError

if TYPE_CHECKING:
    from PIL import Image

__all__ = [
    "ARRAY_SUFFIXES",
    "SUFFIXES",
    "FilesToScore",
    "ImageSchema",
    "Images",
    "Unusable",
    "as_pixels",
    "image_files",
    "is_images",
    "read_files",
    "read_images",
    "read_mask",
    "resized",
]

ARRAY_SUFFIXES = (".npy", ".npz")

_FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF", "PPM")  # no other decoder of Pillow's is ever called
_ORIENTATION, _TURNED = 0x0112, (5, 6, 7, 8)  # of EXIF: the camera was held upright
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow has it
_LOSSY = ("JPEG", "MPO", "WEBP")  # black is not quite 0 in them
_FEW = 10  # one file in so many may be left out for its colors; more, and the user has to say what all should be
_NAMED = 3  # of the files left out, in a message


class _Header(NamedTuple):
    """What a file says before it is decoded."""

    size: tuple[int, int]
    grey: bool


class Unusable(NamedTuple):
    """A file that was left out, by its name, and why."""

    name: str
    reason: str


def read_images(
    path: str | Path,
    *,
    size: int | tuple[int, int] | None = None,
    color: str = "auto",
    on_error: str = "raise",
) -> Images:
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
    on_error : {"raise", "skip"}
        "skip": leave out the files of a folder that cannot be used, with one warning; `names` has those that were read.
        With `color="auto"`, up to a tenth of the files may be left out because they are grey among color or the other
        way round.

    Returns
    -------
    Images
        Transparency is dropped, 16-bit grey keeps its upper 8 bits, floats of an array file are rounded to 1/255.

    Raises
    ------
    InvalidParameter
        If `size`, `color` or `on_error` is not one of the above.
    DataError, FileUnreadable
        If there is no image, a file is damaged or too large, or grey and color are mixed; the file is named. With
        "skip", if no file can be used.
    EnvironmentFailure
        If a file may not be read, or memory is short.
    """
    wanted = _wanted_size(size)
    if color not in ("auto", "grey", "color"):
        raise InvalidParameter(f"color must be one of 'auto', 'grey', 'color'; got {color!r}.")
    if on_error not in ("raise", "skip"):
        raise InvalidParameter(f"on_error must be 'raise' or 'skip'; got {on_error!r}.")
    place = Path(path)
    if not place.exists():
        raise DataError(f"There is no file or folder {str(path)!r}.")
    if place.suffix.lower() in ARRAY_SUFFIXES and place.is_file():
        with _enough_memory(str(path)):
            pixels = _recolored(_from_array_file(place), color)
            return Images(pixels if wanted is None else resized(pixels, wanted))
    files = plain(place).every if place.is_dir() else (ImageFile(place.name, place),)
    images, left_out = read_files(files, size=wanted, color=color, on_error=on_error)
    if left_out:
        warnings.warn(in_words(left_out, len(files)), UserWarning, stacklevel=2)
    return images


def read_files(
    files: Sequence[ImageFile],
    *,
    size: tuple[int, int] | None = None,
    color: str = "auto",
    on_error: str = "raise",
    advance: Callable[[int], None] = lambda _: None,
    tell: Callable[[int, int], None] = lambda _, __: None,
) -> tuple[Images, list[Unusable]]:
    """Read image files into memory: all headers first, then one image after the other into its place.

    Parameters
    ----------
    files : sequence of ImageFile
    size, color, on_error
        Of `read_images`.
    advance : callable
        Told the number of images after each.
    tell : callable
        Told how many images were resized and how many changed their colors.

    Returns
    -------
    Images, list of Unusable
    """
    left_out: list[Unusable] = []

    def attempted(file: ImageFile, work: Callable[..., Any], *details: Any) -> Any:
        return work(file.path, *details) if on_error == "raise" else _attempted(file, left_out, work, *details)

    with warnings.catch_warnings(), _enough_memory(f"{len(files):,} files"):
        warnings.simplefilter("ignore")  # decoders warn of oddities in what is not pixels
        found = [(file, attempted(file, _header)) for file in files]
        sound = [(file, header) for file, header in found if header is not None]
        if not sound:
            raise none_usable(left_out, len(files))
        sound, grey = _of_one_color(sound, color, left_out if on_error == "skip" else None)
        height, width = size or Counter(header.size for _, header in sound).most_common(1)[0][0]
        pixels = np.empty((len(sound), 1 if grey else 3, height, width), np.uint8)
        kept: list[tuple[str, _Header]] = []
        for file, header in sound:
            image = attempted(file, _image, grey, (height, width))
            advance(1)
            if image is not None:
                pixels[len(kept)] = image[0]
                kept.append((file.name, header))
    if not kept:
        raise none_usable(left_out, len(files))
    resizes = sum(header.size != (height, width) for _, header in kept)
    tell(resizes, sum(header.grey != grey for _, header in kept))
    order = {file.name: number for number, file in enumerate(files)}
    left_out.sort(key=lambda one: order[one.name])
    return Images(pixels[: len(kept)], tuple(name for name, _ in kept)), left_out


class FilesToScore:
    """Images that stay in their files until they are asked for, and then come in the size and colors of a model.

    Parameters
    ----------
    files : sequence of ImageFile
    shape : (c, h, w)
        Of the model; 1 or 3 channels.
    on_error : {"raise", "skip"}
        What `usable` does with a file that cannot be used.

    Attributes
    ----------
    unusable : dict of int -> Unusable
        The files that could not be used, by their number; grows as they are read.
    resized, recolored : set of int
        The images that were changed.
    sizes : dict of int -> (height, width)
        Of the files that were read.
    """

    def __init__(self, files: Sequence[ImageFile], shape: Sequence[int], on_error: str = "skip") -> None:
        self.files = tuple(files)
        self.names = tuple(file.name for file in files)
        self.shape = tuple(shape)
        self.on_error = on_error
        self.unusable: dict[int, Unusable] = {}
        self.resized: set[int] = set()
        self.recolored: set[int] = set()
        self.sizes: dict[int, tuple[int, int]] = {}

    def __len__(self) -> int:
        """Return the number of files."""
        return len(self.files)

    def __getitem__(self, rows: Any) -> Images:
        """Read some of the images, as `Images` would give them.

        Raises
        ------
        DataError, EnvironmentFailure
            If one cannot be used.
        """
        places = np.atleast_1d(np.arange(len(self))[rows])
        with warnings.catch_warnings(), _enough_memory(f"{len(places):,} files"):
            warnings.simplefilter("ignore")
            pixels = np.empty((len(places), *self.shape), np.uint8)
            for row, place in enumerate(places):
                pixels[row] = self._read(int(place))
        return Images(pixels, tuple(self.names[place] for place in places))

    def usable(self, rows: Any) -> tuple[NDArray[np.int64], Images | None]:
        """Read those of some images that can be used: their numbers, and the images; None where there is none."""
        places = np.atleast_1d(np.arange(len(self))[rows])
        kept: list[int] = []
        with warnings.catch_warnings(), _enough_memory(f"{len(places):,} files"):
            warnings.simplefilter("ignore")
            pixels = np.empty((len(places), *self.shape), np.uint8)
            for place in map(int, places):
                left_out: list[Unusable] = []
                if self.on_error == "raise":
                    image = self._read(place)
                else:
                    image = _attempted(self.files[place], left_out, lambda _, place=place: self._read(place))
                if image is None:
                    self.unusable[place] = left_out[0]
                else:
                    pixels[len(kept)] = image
                    kept.append(place)
        names = tuple(self.names[place] for place in kept)
        return np.array(kept, np.int64), Images(pixels[: len(kept)], names) if kept else None

    def _read(self, place: int) -> NDArray[np.uint8]:
        channels, height, width = self.shape
        image, header = _image(self.files[place].path, channels == 1, (height, width))
        self.sizes[place] = header.size
        if header.size != (height, width):
            self.resized.add(place)
        if header.grey != (channels == 1):
            self.recolored.add(place)
        return image


def _attempted(file: ImageFile, left_out: list[Unusable], work: Callable[..., Any], *details: Any) -> Any:
    """Return what `work` makes of the file, or None, with the reason noted, if the file cannot be used."""
    try:
        return work(file.path, *details)
    except (DataError, EnvironmentFailure) as error:
        left_out.append(Unusable(file.name, str(error)))
        return None


def in_words(unusable: Sequence[Unusable], files: int, *, scored: bool = False) -> str:
    """Return how many of the files cannot be used, what became of them, and of the first few which and why.

    Parameters
    ----------
    scored : bool
        They keep a row, with no score; otherwise they are left out.
    """
    one = len(unusable) == 1
    fate = f"{'has' if one else 'have'} no score" if scored else f"{'is' if one else 'are'} left out"
    reasons = " ".join(each.reason for each in unusable[:_NAMED])
    more = f" And {len(unusable) - _NAMED:,} more." if len(unusable) > _NAMED else ""
    return f"{len(unusable):,} of {files:,} images cannot be used and {fate}. {reasons}{more}"


def none_usable(left_out: Sequence[Unusable], files: int) -> DataError:
    """Return the error for files of which none can be used."""
    if files == 1:
        return FileUnreadable(left_out[0].reason)
    return FileUnreadable(f"None of the {files:,} images can be used. The first: {left_out[0].reason}")


@contextmanager
def _enough_memory(what: str) -> Iterator[None]:
    try:
        yield
    except MemoryError:
        raise EnvironmentFailure(
            f"There is not enough memory for the images of {what!r}. Give a smaller size, or fewer images."
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
        raise FileUnreadable(f"The file '{file}' is no image that can be read. Replace or remove it.") from None
    except Exception as error:  # each decoder has its own errors for damaged files
        if isinstance(error, OSError) and error.errno is not None:
            raise EnvironmentFailure(f"The image '{file}' could not be read: {error.strerror}.") from error
        reason = (str(error).splitlines() or [""])[0][:150] or type(error).__name__
        raise FileUnreadable(f"The image '{file}' is damaged ({reason}). Replace or remove it.") from None


def _header(file: Path) -> _Header:
    with _opened(file) as image:
        return _header_of(image, file)


def _header_of(image: Image.Image, file: Path) -> _Header:
    width, height = image.size
    turned = image.getexif().get(_ORIENTATION) in _TURNED
    if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
        raise DataError(f"The file '{file}' holds several images; save each in a file of its own.")
    if image.mode in ("I", "F"):
        raise DataError(f"The image '{file}' has 32-bit pixels; save it with 8 or 16 bits.")
    grey = image.mode in ("1", "L", "LA", "La") or image.mode.startswith("I;16")
    return _Header((width, height) if turned else (height, width), grey)


def _of_one_color(
    found: list[tuple[ImageFile, _Header]], color: str, left_out: list[Unusable] | None
) -> tuple[list[tuple[ImageFile, _Header]], bool]:
    """Return the files of one color and whether that is grey; the few of the other color are left out."""
    if color != "auto":
        return found, color == "grey"
    grey = [header.grey for _, header in found]
    if len(set(grey)) == 1:
        return found, grey[0]
    most = sum(grey) > len(grey) / 2
    odd = [file for file, header in found if header.grey != most]
    if left_out is None or len(odd) * _FEW > len(found):
        raise DataError(
            f"'{found[grey.index(True)][0].path}' is grey and '{found[grey.index(False)][0].path}' is in color. Say "
            "what all should be: color='grey' or color='color'."
        )
    has, others = ("in color", "grey") if most else ("grey", "in color")
    why = f"is {has} and most are {others}. Say what all should be: color='grey' or color='color'."
    left_out += [Unusable(file.name, f"The image '{file.path}' {why}") for file in odd]
    return [(file, header) for file, header in found if header.grey == most], most


def _image(file: Path, grey: bool, size: tuple[int, int]) -> tuple[NDArray[np.uint8], _Header]:
    """Return one image as wanted, (1 or 3, h, w), and what its file says of it."""
    with _opened(file) as image:
        header = _header_of(image, file)
        return resized(_decoded(image, grey)[None], size)[0], header


def read_mask(file: Path) -> NDArray[np.bool_]:
    """Return which pixels a mask marks, (h, w): those that are not black, in lossy files those brighter than 127.

    Raises
    ------
    DataError, FileUnreadable, EnvironmentFailure
        If it cannot be read, as for an image.
    """
    with warnings.catch_warnings(), _opened(file) as image:
        warnings.simplefilter("ignore")
        least = 127 if image.format in _LOSSY else 0
        opaque = {"RGBA": "RGB", "LA": "L", "PA": "P"}.get(image.mode)
        values = np.asarray(image if opaque is None else image.convert(opaque))
    marked = np.asarray(values > least)
    return np.asarray(marked.any(axis=2) if marked.ndim == 3 else marked)


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
            f"The file '{file}' holds clips, an array of five axes: `offnormal fit --video` takes them. "
            "In Python, load it with numpy and pass the array to fit or anomaly_score."
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
