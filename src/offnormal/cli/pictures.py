"""Images as DATA: what counts as images, which of them are meant, reading them, and what is refused in words."""

from __future__ import annotations

import math
import os
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from offnormal.cli.console import how_many, image_in_words, listed, messages, say
from offnormal.cli.progress import counting, working
from offnormal.errors import DataError, InvalidParameter, NotSupported, SchemaMismatch, UnknownName

if TYPE_CHECKING:
    import numpy as np

    from offnormal.data.images import FilesToScore, Images, Unusable
    from offnormal.data.layouts import Layout
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
COLORS = {"auto": "auto", "grey": "grey", "rgb": "color"}  # as typed, and as `read_images` has it
_VALUES_AT_ONCE = 2**22  # of files that are scored: a few megabytes, and progress every few seconds


def are_images(data: str) -> bool:
    """Return whether the DATA argument is taken for images: a folder, an image file, or an array file."""
    from offnormal.data.images import ARRAY_SUFFIXES
    from offnormal.data.layouts import SUFFIXES

    if data.endswith(("/", os.sep)):
        return True
    place = Path(data)
    return place.is_dir() or place.suffix.lower() in (*SUFFIXES, *ARRAY_SUFFIXES)


def is_list(data: str) -> bool:
    """Return whether the DATA argument may be a list of images; whether it is one, a model or the user has to say."""
    from offnormal.data.layouts import LIST_SUFFIXES

    return Path(data).suffix.lower() in LIST_SUFFIXES


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
            "The model was fitted to clips: `score`, `evaluate` and `report` take videos, this command does not."
        )
    if seen_by(detector) and not are_images(data) and not is_list(data):
        raise _of_a_table(data, detector)
    if not seen_by(detector) and are_images(data):
        raise SchemaMismatch(
            f"The model was fitted to a table of {how_many(len(detector.schema_.columns), 'column')}, and {data!r} "
            "holds images. Give a table, or fit a model to the images."
        )


def _of_a_table(data: str, detector: Detector) -> SchemaMismatch:
    return SchemaMismatch(
        f"The model was fitted to images of {image_in_words(detector.schema_.shape)}, and {data!r} is a table. "
        "Give a folder of images, name the column of a list of images with --image-column, or fit a model to the table."
    )


def layout(data: str, column: str | None = None, *, by_folder: bool = False) -> Layout | None:
    """Return how the images of DATA lie; None if it is a text file and no list of images.

    Parameters
    ----------
    by_folder : bool
        Whether to take all images of a folder, whatever its folders are named.
    """
    from offnormal.data import layouts

    place = Path(data)
    refuse_column(data, column)
    if place.is_dir():
        return layouts.plain(place) if by_folder else layouts.layout_of(place)
    if not are_images(data):
        if not is_list(data):
            raise InvalidParameter(f"A list of images must be a .csv, .tsv or .txt file; got {data!r}.")
        return layouts.layout_of_list(place, column)
    if not place.exists():
        raise DataError(f"There is no file or folder {data!r}.")
    one = (layouts.ImageFile(place.name, place),)
    return layouts.Layout("plain", one, one, one)


def refuse_column(data: str, column: str | None) -> None:
    if column is not None and are_images(data):
        raise InvalidParameter(f"--image-column is for a list of images, a CSV file, and {data!r} is none.")


# --- array files ------------------------------------------------------------------------------------------------------


def is_array_file(data: str) -> bool:
    from offnormal.data.images import ARRAY_SUFFIXES

    return Path(data).suffix.lower() in ARRAY_SUFFIXES and not Path(data).is_dir()


def from_array_file(data: str, size: Size | None, color: str, quiet: bool, *, of_model: bool = False) -> Images:
    from offnormal.data.images import Images, read_images, resized

    with working(f"Reading {data}", quiet):
        images = read_images(data)
        came = images.pixels.shape
        if color != "auto" and came[1] != (1 if color == "grey" else 3):
            images = read_images(data, color=COLORS[color])
        if size is not None:
            images = Images(resized(images.pixels, size), images.names)
    if not quiet:
        pixels, count = images.pixels, len(images)
        tell_changes(
            count, pixels.shape[1:], count * (came[2:] != pixels.shape[2:]), count * (came[1] != pixels.shape[1])
        )
    if of_model and came[1] != images.pixels.shape[1]:
        _warn_of_colors(images.pixels.shape[1])
    return images


def as_options(said: str) -> str:
    """Return a message of `read_images` with the options of the command line."""
    return said.replace("color='grey' or color='color'", "--color grey or --color rgb")


# --- to score ---------------------------------------------------------------------------------------------------------


def to_score(
    data: str, detector: Detector, *, strict: bool, quiet: bool, column: str | None = None, every: bool = False
) -> FilesToScore | Images:
    """Return the images of DATA in the size and the colors of the model; those in files are read when asked for.

    Parameters
    ----------
    every : bool
        Whether to take all images but masks, instead of those that the layout has for testing.
    """
    from offnormal.data.images import FilesToScore

    channels, height, width = detector.schema_.shape
    if is_array_file(data):
        refuse_column(data, column)
        images = from_array_file(
            data, (height, width), {1: "grey", 3: "rgb"}.get(channels, "auto"), quiet, of_model=True
        )
        if images.pixels.shape[1] != channels:
            raise _other_channels(data, detector, f"images of {image_in_words(images.pixels.shape[1:])}")
        return images
    found = layout(data, column)
    if found is None:
        raise _of_a_table(data, detector)
    if channels not in (1, 3):
        raise _other_channels(data, detector, "image files, which give 1 or 3 channels")
    files = found.every if every else found.test
    if not quiet and len(files) < len(found.every):
        place = "test" if found.style == "benchmark" else "split test"
        say(messages(), f"Taking {place} of {data} ({how_many(len(files), 'image')}).")
    return FilesToScore(files, detector.schema_.shape, "raise" if strict else "skip")


def _other_channels(data: str, detector: Detector, came: str) -> SchemaMismatch:
    shape = detector.schema_.shape
    return SchemaMismatch(
        f"The model was fitted to images of {image_in_words(shape)}; {data!r} has {came}. Give images with "
        f"{shape[0]} channels, in an array file."
    )


def in_blocks(rows: FilesToScore, quiet: bool, what: str) -> Iterator[tuple[Array, Images]]:
    """Yield some images after the other, with their numbers, so that few are in memory; unusable ones are passed over.

    The blocks do not depend on what is in the files, and hold whole blocks of the scorer.
    """
    import numpy as np

    from offnormal.scorer import block_size

    block = block_size(rows.shape)
    size = max(_VALUES_AT_ONCE // (math.prod(rows.shape) * block), 1) * block
    with counting(what, len(rows), quiet, noun="image") as advance:
        for start in range(0, len(rows), size):
            part = np.arange(start, min(start + size, len(rows)))
            places, images = rows.usable(part)
            if images is not None:
                yield places, images
            advance(len(part))


def scores(detector: Detector, rows: FilesToScore, quiet: bool) -> Array:
    """Return the score of each image, NaN for files that cannot be used; say what was changed and what cannot be used.

    Raises
    ------
    FileUnreadable
        If no file can be used.
    """
    import numpy as np

    found = np.full(len(rows), np.nan)
    for places, images in in_blocks(rows, quiet, f"Scoring {how_many(len(rows), 'image')}"):
        found[places] = detector.anomaly_score(images)
    tell(rows, quiet)
    return found


def in_memory(rows: FilesToScore | Images, quiet: bool) -> tuple[Array, Images]:
    """Read all images at once: the numbers of the usable, and these; say what was changed and what cannot be used."""
    import numpy as np

    from offnormal.data.images import FilesToScore

    if not isinstance(rows, FilesToScore):
        return np.arange(len(rows)), rows
    with working(f"Reading {how_many(len(rows), 'image')}", quiet):
        places, images = rows.usable(slice(None))
    tell(rows, quiet)
    assert images is not None
    return places, images


def tell(rows: FilesToScore, quiet: bool) -> None:
    """Say which files cannot be used and how many images were changed.

    Raises
    ------
    FileUnreadable
        If no file could be used.
    """
    from offnormal.data.images import none_usable

    left_out = [rows.unusable[place] for place in sorted(rows.unusable)]
    if len(left_out) == len(rows):
        raise none_usable(left_out, len(rows))
    warn_of(left_out, len(rows), scored=True)
    if not quiet:
        tell_changes(len(rows) - len(left_out), rows.shape, len(rows.resized), len(rows.recolored))
        if others := _of_another_size(rows):
            say(messages(), f"Another size than the rest, so stretched: {listed(others)}.")
    if rows.recolored:
        _warn_of_colors(rows.shape[0])


def _of_another_size(rows: Any) -> list[str]:
    """Return the names of the images that were resized, if others were not: stretched, they may look odd."""
    usable = len(rows) - len(rows.unusable)
    return [rows.names[place] for place in sorted(rows.resized)] if len(rows.resized) < usable else []


def _warn_of_colors(channels: int) -> None:
    warnings.warn(
        f"The model was fitted to {'grey' if channels == 1 else 'color'} images and these are not: their scores may "
        "mean nothing. Give images like those of training, or train again.",
        UserWarning,
        stacklevel=3,
    )


def warn_of(unusable: Sequence[Unusable], files: int, *, scored: bool = False) -> None:
    """Warn of files that cannot be used, if there are any; `scored`: they keep their row, without a score."""
    from offnormal.data.images import in_words

    if unusable:
        warnings.warn(as_options(in_words(unusable, files, scored=scored)), UserWarning, stacklevel=2)


def tell_changes(images: int, shape: Sequence[int], resized: int, recolored: int) -> None:
    channels, height, width = shape
    done = [
        f"{'all' if count == images else f'{count:,}'} {what}"
        for count, what in (
            (resized, f"resized to {height}×{width}"),
            (recolored, "turned to grey" if channels == 1 else "turned into color"),
        )
        if count
    ]
    if done:
        say(messages(), f"Of {how_many(images, 'image')}: {', '.join(done)}.")


def unusable(rows: Any) -> dict[int, str]:
    """Return number -> reason of the files that could not be used, in order; empty for rows of another kind."""
    found: Mapping[int, Unusable] = getattr(rows, "unusable", {})
    return {place: as_options(found[place].reason) for place in sorted(found)}


def changes(rows: Any) -> dict[str, Any]:
    """Return what was left out and changed, for a script; empty for rows of another kind."""
    if not hasattr(rows, "unusable"):
        return {}
    left_out = record_of(rows.unusable[place] for place in sorted(rows.unusable))
    counts = {"resized": len(rows.resized), "recolored": len(rows.recolored)}
    return {"unusable": left_out, **counts, "of_another_size": _of_another_size(rows)}


def record_of(unusable: Iterable[Unusable]) -> list[dict[str, str]]:
    """Return the files that were left out, for a script."""
    return [{"image": one.name, "reason": as_options(one.reason)} for one in unusable]


# --- subfolders -------------------------------------------------------------------------------------------------------


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


def of_subfolders(images: Images) -> str:
    """Return how many images each first-level subfolder has: "good (20), scratch (20)"; empty without subfolders."""
    firsts = Counter(PurePosixPath(name).parts[0] if "/" in name else "." for name in images.names)
    if set(firsts) == {"."}:
        return ""
    return listed(f"{name} ({count:,})" for name, count in sorted(firsts.items()))
