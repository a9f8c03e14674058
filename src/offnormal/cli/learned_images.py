"""Images to train on: which of DATA are meant, how they are wanted, reading them, and what a person is told of it."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from offnormal.cli import pictures
from offnormal.cli.console import how_many, messages, say
from offnormal.cli.progress import counting
from offnormal.errors import DataError, InvalidParameter

if TYPE_CHECKING:
    from offnormal.cli.pictures import Size
    from offnormal.data.images import Images, Unusable
    from offnormal.data.layouts import ImageFile

_FRAMES = 16  # in a folder, from which on its numbered images may be a recording


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
    strict : bool
        Whether to stop at a file that cannot be used.
    column : str or None
        The column of paths, of a list.
    """

    size: Size | None = None
    color: str = "auto"
    only: tuple[str, ...] = ()
    strict: bool = False
    column: str | None = None


@dataclass(frozen=True)
class Learned:
    """The images to train on.

    Attributes
    ----------
    images : Images
    unusable : tuple of Unusable
        The files that were left out.
    place : str
        Which images of DATA these are, "train/good"; empty for all.
    tested : bool
        Whether DATA also says which images are for testing, without a further option.
    """

    images: Images
    unusable: tuple[Unusable, ...] = ()
    place: str = ""
    tested: bool = False

    def record(self) -> dict[str, Any]:
        """Return what a script wants to know of them."""
        return {"trained_on": self.place or None, "unusable": pictures.record_of(self.unusable)}

    def to_score(self, data: str) -> str:
        """Return what there is to score next: DATA itself where it holds images for testing."""
        return data if self.tested else "NEW_IMAGES"


def hint_at_list(table: Any, data: str) -> None:
    """Warn if a table that is about to be learned has a column of paths to images."""
    from offnormal.data.layouts import path_column

    named = path_column(table.column_names, lambda name: table.column(name)[0].as_py() if len(table) else None)
    if named is not None and (Path(data).parent / str(table.column(named)[0].as_py())).is_file():
        warnings.warn(
            f"Column {named!r} holds paths of images, and this trains on the table of {data!r}. To train on the "
            f"images: --image-column {named}.",
            UserWarning,
            stacklevel=2,
        )


def read(data: str, wanted: Wanted, quiet: bool) -> Learned:
    """Read the images of DATA to train on: those that its layout or `only` says.

    Raises
    ------
    DataError, UnknownName, InvalidParameter
        If there are none, none can be used, many are grey and many in color, or `only` names no subfolder with images.
    """
    from offnormal.data.images import read_files
    from offnormal.data.layouts import PATH_COLUMNS

    if pictures.is_array_file(data):
        pictures.refuse_column(data, wanted.column)
        if wanted.only:
            raise InvalidParameter(f"--only picks a subfolder, and {data!r} is one file.")
        return Learned(pictures.from_array_file(data, wanted.size, wanted.color, quiet))
    found = pictures.layout(data, wanted.column, by_folder=bool(wanted.only))
    if found is None:
        raise InvalidParameter(f"{data!r} has no column of image paths.")
    files, place = found.training, found.training_place
    if wanted.only:
        if not Path(data).is_dir():
            raise InvalidParameter(f"--only picks a subfolder, and {data!r} is one file.")
        files = _chosen(found.every, wanted.only, data)
    if place and not quiet:
        say(messages(), f"Training on {place} of {data} ({how_many(len(files), 'image')}).")
    told: list[int] = []
    try:
        with counting(f"Reading {data}", len(files), quiet, noun="image") as advance:
            images, left_out = read_files(
                files,
                size=wanted.size,
                color=pictures.COLORS[wanted.color],
                on_error="raise" if wanted.strict else "skip",
                advance=advance,
                tell=lambda *counts: told.extend(counts),
            )
    except DataError as error:
        raise type(error)(pictures.as_options(str(error))) from None
    pictures.warn_of(left_out, len(files))
    if not quiet:
        pictures.tell_changes(len(images), images.pixels.shape[1:], *told)
        if found.style == "plain" and not wanted.only:
            _hint_at_frames(found.every)
    listed = found.style == "list" and len(found.test) < len(found.every)
    tested = found.style == "benchmark" or (listed and str(wanted.column).lower() in PATH_COLUMNS)
    return Learned(images, tuple(left_out), place, tested)


def _hint_at_frames(files: Sequence[ImageFile]) -> None:
    """Say how video is asked for if all of several folders hold images numbered without a gap, as frames are."""
    numbers: dict[str, list[int]] = {}
    for file in files:
        path = PurePosixPath(file.name)
        digits = re.search(r"(\d+)$", path.stem)
        if digits is None:
            return
        numbers.setdefault(path.parent.as_posix(), []).append(int(digits[1]))
    whole = [
        len(seen) >= _FRAMES and len({*seen}) == len(seen) == max(seen) - min(seen) + 1 for seen in numbers.values()
    ]
    if len(whole) > 1 and all(whole):
        say(messages(), "The images are numbered like the frames of video. If they are: fit again with --video, which "
            "looks at frames together.")  # fmt: skip


def _chosen(files: Sequence[ImageFile], only: Sequence[str], data: str) -> tuple[ImageFile, ...]:
    import numpy as np

    names = [file.name for file in files]
    inside = np.any([pictures.lies_in(names, folder, "--only", data) for folder in only], axis=0)
    return tuple(file for file, chosen in zip(files, inside, strict=True) if chosen)
