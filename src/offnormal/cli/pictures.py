"""Images as DATA: what counts as images, reading them file by file, and what is refused in words."""

from __future__ import annotations

import os
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from offnormal.cli.console import how_many, image_in_words, listed, messages, say
from offnormal.cli.progress import counting, working
from offnormal.errors import DataError, InvalidParameter, NotSupported, SchemaMismatch, UnknownName

if TYPE_CHECKING:
    import numpy as np

    from offnormal.data.images import Images
    from offnormal.detector import Detector

    Array = np.ndarray[Any, Any]

Size = tuple[int, int]

_INSTEAD = {
    "--label": "their subfolders are the labels (--anomaly SUBFOLDER, --normal SUBFOLDER), and training needs none",
    "--train-where": "--only SUBFOLDER picks the images to train on",
    "--id": "each image goes by its path in the folder",
    "--data-format": "the ending of a file says its format",
    "--encoding": "they are no text",
}
_COLORS = {"grey": "grey", "rgb": "color"}  # as typed, and as `read_images` has it


def are_images(data: str) -> bool:
    """Return whether the DATA argument is taken for images: a folder, an image file, or an array file."""
    from offnormal.data.images import ARRAY_SUFFIXES, SUFFIXES

    if data.endswith(("/", os.sep)):
        return True
    place = Path(data)
    return place.is_dir() or place.suffix.lower() in (*SUFFIXES, *ARRAY_SUFFIXES)


def seen_by(detector: Detector) -> bool:
    """Return whether the model was fitted to images."""
    from offnormal.data.images import ImageSchema

    return isinstance(detector.schema_, ImageSchema)


def refuse_table_options(data: str, given: Mapping[str, object]) -> None:
    """Raise for the first option that was given and that only tables have."""
    for option, value in given.items():
        if value:
            instead = _INSTEAD.get(option, "they have no columns")
            raise InvalidParameter(f"{option} is for tables, and {data!r} holds images: {instead}.")


def refuse_image_options(data: str, given: Mapping[str, object]) -> None:
    """Raise for the first option that was given and that only images have."""
    for option, value in given.items():
        if value:
            instead = "--train-where picks its rows" if option == "--only" else "leave it out"
            raise InvalidParameter(f"{option} is for images, and {data!r} is a table: {instead}.")


def expect_kind(data: str, detector: Detector) -> None:
    """Raise if the model is of images and DATA is a table, or the other way round, or the model is of clips."""
    if seen_by(detector) and detector.schema_.noun == "clip":
        raise NotSupported(
            "The model was fitted to clips, and the command line reads none yet. Score them in Python: "
            "offnormal.load(MODEL).anomaly_score(array)."
        )
    if seen_by(detector) and not are_images(data):
        raise SchemaMismatch(
            f"The model was fitted to images of {image_in_words(detector.schema_.shape)}, and {data!r} is a table. "
            "Give a folder of images, or fit a model to the table."
        )
    if not seen_by(detector) and are_images(data):
        raise SchemaMismatch(
            f"The model was fitted to a table of {how_many(len(detector.schema_.columns), 'column')}, and {data!r} "
            "holds images. Give a table, or fit a model to the images."
        )


def wanted_size(text: str | None) -> Size | None:
    """Return (height, width) from "64" or "64x48".

    Raises
    ------
    InvalidParameter
        If it is neither.
    """
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,6})(?:\s*[x×*]\s*(\d{1,6}))?", text.strip().lower())
    height, width = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if height < 1 or width < 1:
        raise InvalidParameter(f"--image-size must be a number of pixels, 64, or HEIGHTxWIDTH, 64x48; got {text!r}.")
    return height, width


@dataclass(frozen=True)
class Wanted:
    """How images are to be read.

    Attributes
    ----------
    size : (height, width) or None
        None: the size that most of them have.
    color : {"auto", "grey", "rgb"}
        "auto": as they are.
    only : tuple of str
        The subfolders to read; none: all.
    skip_unreadable : bool
        Whether to pass over files that cannot be read.
    of_model : bool
        Whether size and color are a model's and nobody's wish.
    """

    size: Size | None = None
    color: str = "auto"
    only: tuple[str, ...] = ()
    skip_unreadable: bool = False
    of_model: bool = False


def to_score(data: str, detector: Detector, *, skip_unreadable: bool, quiet: bool) -> Images:
    """Read images in the size and the colors of the model."""
    channels, height, width = detector.schema_.shape
    color = {1: "grey", 3: "rgb"}.get(channels, "auto")
    images = read(data, Wanted((height, width), color, (), skip_unreadable, of_model=True), quiet)
    if images.pixels.shape[1] != channels:
        raise SchemaMismatch(
            f"The model was fitted to images of {image_in_words(detector.schema_.shape)}; {data!r} has images of "
            f"{image_in_words(images.pixels.shape[1:])}. Give images with {channels} channels, in an array file."
        )
    return images


def read(data: str, wanted: Wanted, quiet: bool) -> Images:
    """Read the DATA argument as images.

    Raises
    ------
    DataError, UnknownName, InvalidParameter
        If there are none, one cannot be read, they are grey and in color, or `only` names no subfolder with images.
    """
    from offnormal.data.images import SUFFIXES, Images, image_files

    place, changes = Path(data), _Changes(wanted.of_model)
    if place.is_dir():
        names = [file.relative_to(place).as_posix() for file in image_files(place)]
        images = _from_folder(place, _chosen(names, wanted.only, data), wanted, changes, quiet)
    elif wanted.only:
        raise InvalidParameter(f"--only picks a subfolder, and {data!r} is one file.")
    else:
        with working(f"Reading {data}", quiet):
            pixels = _pixels(place, wanted, changes)
        images = Images(pixels, (place.name,) if place.suffix.lower() in SUFFIXES else ())
    if not quiet:
        changes.tell(images)
    return images


def subfolders(names: Iterable[str]) -> list[str]:
    """Return the folders that images lie in, by their paths, those with the fewest parts first."""
    found = {
        "/".join(parts[:depth])
        for parts in (PurePosixPath(name).parts for name in names)
        for depth in range(1, len(parts))
    }
    return sorted(found, key=lambda folder: (folder.count("/"), folder))


def lies_in(names: Sequence[str], folder: str, option: str, data: str) -> Array:
    """Return which images lie in `folder` or below it, bool, shape (images,).

    Raises
    ------
    UnknownName
        If none does, with the subfolders there are.
    """
    import numpy as np

    wanted = PurePosixPath(folder.replace(os.sep, "/")).as_posix().rstrip("/") + "/"
    inside = np.array([name.startswith(wanted) for name in names], dtype=bool)
    if not inside.any():
        known = subfolders(names)
        if not known:
            raise UnknownName(f"{option} {folder}: {data!r} has no subfolders with images.")
        error = UnknownName.among("subfolder with images", folder, known[:100])
        raise UnknownName(f"{option}: {error}")
    return inside


def _chosen(names: Sequence[str], only: Sequence[str], data: str) -> list[str]:
    import numpy as np

    if not only:
        return list(names)
    inside = np.any([lies_in(names, folder, "--only", data) for folder in only], axis=0)
    return [name for name, chosen in zip(names, inside, strict=True) if chosen]


class _Changes:
    """How many images came in another size or with other colors than is wanted."""

    def __init__(self, unasked: bool) -> None:
        self.unasked = unasked
        self.resized = 0
        self.recolored = 0

    def tell(self, images: Images) -> None:
        """Say what was changed."""
        _, channels, height, width = images.pixels.shape
        done = [
            f"{'all' if count == len(images) else f'{count:,}'} {what}"
            for count, what in (
                (self.resized, f"resized to {height}×{width}"),
                (self.recolored, "turned to grey" if channels == 1 else "turned into color"),
            )
            if count
        ]
        if done:
            say(messages(), f"Of {how_many(len(images), 'image')}: {', '.join(done)}.")
        if self.recolored and self.unasked:
            warnings.warn(
                f"The model was fitted to {'grey' if channels == 1 else 'color'} images and these are not: their "
                "scores may mean nothing. Give images like those of training, or train again.",
                UserWarning,
                stacklevel=2,
            )


def _pixels(file: Path, wanted: Wanted, changes: _Changes) -> Array:
    """Read one file, (images, c, h, w), and bring it to what is wanted."""
    from offnormal.data.images import read_images, resized

    pixels = read_images(file).pixels
    if wanted.color != "auto" and pixels.shape[1] != (1 if wanted.color == "grey" else 3):
        changes.recolored += len(pixels)
        pixels = read_images(file, color=_COLORS[wanted.color]).pixels
    if wanted.size is not None and pixels.shape[2:] != wanted.size:
        changes.resized += len(pixels)
        pixels = resized(pixels, wanted.size)
    return pixels


def _from_folder(folder: Path, names: Sequence[str], wanted: Wanted, changes: _Changes, quiet: bool) -> Images:
    import numpy as np

    from offnormal.data.images import Images, resized

    kept: list[str] = []
    parts: list[Array] = []
    broken: list[str] = []
    with counting(f"Reading {folder}", len(names), quiet, noun="image") as advance:
        for name in names:
            try:
                parts.append(_pixels(folder / name, wanted, changes))
                kept.append(name)
            except DataError as error:
                if not wanted.skip_unreadable:
                    raise type(error)(f"{error} To pass over such files: --skip-unreadable.") from None
                broken.append(str(error))
            advance(1)
    if not parts:
        raise DataError(f"None of the {how_many(len(names), 'image')} in '{folder}' can be read. {broken[0]}")
    _warn_of_broken(broken, len(names))
    _expect_one_color(parts, kept, folder)
    size = wanted.size or Counter(part.shape[2:] for part in parts).most_common(1)[0][0]
    pixels = np.empty((len(parts), parts[0].shape[1], *size), np.uint8)
    for row, part in enumerate(parts):
        changes.resized += part.shape[2:] != size
        pixels[row] = resized(part, size)[0]
        parts[row] = part[:0]  # not held twice
    return Images(pixels, tuple(kept))


def _warn_of_broken(broken: Sequence[str], files: int) -> None:
    if broken:
        first = "" if len(broken) == 1 else "The first: "
        warnings.warn(
            f"{len(broken):,} of {how_many(files, 'image')} cannot be read and "
            f"{'is' if len(broken) == 1 else 'are'} passed over. {first}{broken[0]}",
            UserWarning,
            stacklevel=2,
        )


def _expect_one_color(parts: Sequence[Array], names: Sequence[str], folder: Path) -> None:
    channels = [part.shape[1] for part in parts]
    if len(set(channels)) > 1:
        grey, colored = channels.index(1), channels.index(3)
        raise DataError(
            f"{names[grey]!r} in '{folder}' is grey and {names[colored]!r} is in color. Say what all should be: "
            "--color grey or --color rgb."
        )


def of_subfolders(images: Images) -> str:
    """Return how many images each first-level subfolder has: "good (20), scratch (20)"; empty without subfolders."""
    firsts = Counter(PurePosixPath(name).parts[0] if "/" in name else "." for name in images.names)
    if set(firsts) == {"."}:
        return ""
    return listed(f"{name} ({count:,})" for name, count in sorted(firsts.items()))
