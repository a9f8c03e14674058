"""Residual maps, or masks of the pixels beyond the cut, as a folder of PNG files: whole or not at all."""

from __future__ import annotations

import itertools
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from offnormal.cli import pictures
from offnormal.cli.console import how_many
from offnormal.cli.progress import counting
from offnormal.errors import EnvironmentFailure, InvalidParameter

if TYPE_CHECKING:
    from offnormal.data.images import Images
    from offnormal.detector import Detector

WHITE = 65_535
"""The greatest value of a 16-bit file."""
_VALUES_AT_ONCE = 2**22

Rows = np.ndarray[Any, Any]


def expect_folder(folder: str, data: str, option: str) -> None:
    """Make sure, before the work starts, that `folder` can be made: it is new or empty, and not within DATA.

    Raises
    ------
    InvalidParameter
        If it is not.
    """
    target = Path(folder)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InvalidParameter(f"{option} must be a new or empty folder; {folder!r} is neither.")
    if not target.resolve().parent.is_dir():
        raise InvalidParameter(f"The folder of {option} {folder!r} does not exist; create it first.")
    if Path(data).is_dir() and target.resolve().is_relative_to(Path(data).resolve()):
        raise InvalidParameter(f"{option} {folder!r} lies in {data!r}, where the files would be taken for images.")


def expect_maps(detector: Detector) -> None:
    """Raise `NotSupported` if the method has no residual maps."""
    detector.residual_maps(_blank(detector))


def expect_masks(detector: Detector) -> None:
    """Raise `NotSupported` if the method has no residual maps, or its cut is on another score than that of pixels."""
    detector.defect_masks(_blank(detector))


def _blank(detector: Detector) -> Images:
    from offnormal.data.images import Images

    return Images(np.zeros((1, *detector.schema_.shape), np.uint8))


def in_parts(detector: Detector, images: Images, rows: Rows, *, masks: bool = False) -> Iterator[tuple[Rows, Rows]]:
    """Yield some of the rows and their residual maps, (rows, h, w) float32, so that few maps are in memory at once.

    With `masks`: which pixels are beyond the model's cut, bool.
    """
    _, height, width = detector.schema_.shape
    size = max(_VALUES_AT_ONCE // (height * width), 1)
    pictured = detector.defect_masks if masks else detector.residual_maps
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        yield part, pictured(images[part])


def write(detector: Detector, images: Images, rows: Rows, folder: str, advance: Callable[[int], None]) -> float:
    """Write the residual maps of some images as 16-bit grey PNG files; return the residual that is white.

    One scale for all of them: black is 0 (or less), white (65535) the greatest residual in any of these maps; each file
    says so. A file goes by its image's path. The folder appears when all files are in it; of no image, never.

    Parameters
    ----------
    rows : array of int
    advance : callable
        Told the number of images after each part.
    """
    peak = max((float(maps.max(initial=0)) for _, maps in in_parts(detector, images, rows)), default=0.0)

    def write_one(file: Path, residuals: Rows) -> None:
        levels = np.clip(residuals.astype(np.float64) / (peak or 1.0), 0, 1) * WHITE
        _write_png(file, levels.round().astype(np.uint16), f"Residual map; 0 is 0, {WHITE} is {peak:.9g}.")

    _write_folder(in_parts(detector, images, rows), images, folder, write_one, advance)
    return peak


def write_masks(detector: Detector, images: Images, rows: Rows, folder: str, advance: Callable[[int], None]) -> None:
    """Write which pixels of some images are beyond the model's cut as 8-bit grey PNG files, white where one is.

    Names and the folder as `write` has them; sides are those of the model's images.
    """
    cut = detector.threshold_.value

    def write_one(file: Path, mask: Rows) -> None:
        _write_png(file, mask.astype(np.uint8) * 255, f"White: pixels beyond the cut {cut:.9g}.")

    _write_folder(in_parts(detector, images, rows, masks=True), images, folder, write_one, advance)


def _write_folder(
    parts: Iterator[tuple[Rows, Rows]],
    images: Images,
    folder: str,
    write_one: Callable[[Path, Rows], None],
    advance: Callable[[int], None],
) -> None:
    target = Path(folder)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    names = file_names(images.names)
    try:
        for part, pictures in parts:
            temporary.mkdir(exist_ok=True)
            for row, picture in zip(part, pictures, strict=True):
                write_one(temporary / names[int(row)], picture)
            advance(len(part))
        if temporary.exists():
            if target.exists():
                target.rmdir()
            temporary.rename(target)
    except OSError as error:
        reason = error.strerror or str(error)
        raise EnvironmentFailure(f"The files could not be written to {folder!r}: {reason}.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def file_names(images: tuple[str, ...]) -> list[str]:
    """Return the path of each image's map: its own with .png; behind its own ending if two would else be the same.

    Images of a list, which may lie anywhere or stand twice, go by number and file name.
    """
    outside = any(PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts for name in images)
    if outside or "\\" in "".join(images) or len(set(images)) < len(images):
        stems = [PurePosixPath(name.replace("\\", "/")).stem for name in images]
        return [f"{number:06d}_{stem}.png" for number, stem in enumerate(stems)]
    stems = [PurePosixPath(name).with_suffix("").as_posix() for name in images]
    return [f"{name}.png" for name in (stems if len(set(stems)) == len(stems) else images)]


def _write_png(file: Path, levels: Rows, description: str) -> None:
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("Description", description)
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(levels).save(file, format="PNG", pnginfo=info)


# --- what `score` asks for --------------------------------------------------------------------------------------------


def expect_folders(detector: Detector, folders: dict[str, str], maps_of: str, data: str, fdr: float | None) -> None:
    """Refuse folders of maps and masks that cannot be made, before anything is read."""
    if not folders:
        if maps_of == "all":
            raise InvalidParameter("--maps-of says of which images --maps and --masks are written; give one of them.")
        return
    first = next(iter(folders))
    if not pictures.seen_by(detector):
        raise InvalidParameter(f"{first} is for images, and the model was fitted to a table: leave it out.")
    places = [Path(folder).resolve() for folder in folders.values()]
    if any(a.is_relative_to(b) for a, b in itertools.permutations(places, 2)):
        raise InvalidParameter("--maps and --masks need a folder each, neither within the other.")
    for option, folder in folders.items():
        expect_folder(folder, data, option)
    expect_maps(detector)
    if "--masks" in folders:
        if fdr is not None:
            raise InvalidParameter("--masks marks the pixels beyond the model's cut, and --fdr puts the cut elsewhere: "
                                   "leave one of them out.")  # fmt: skip
        expect_masks(detector)


def write_folders(
    detector: Detector, images: Any, columns: Any, folders: dict[str, str], maps_of: str, quiet: bool
) -> dict[str, dict[str, Any]]:
    """Return, of "maps" and "masks" that were asked for, the folder, how many images, and the residual that is white.

    The folder is None if there was no image to write.
    """
    found: dict[str, dict[str, Any]] = {}
    usable = np.isfinite(columns["anomaly_score"])
    chosen = np.flatnonzero(usable & columns["is_anomaly"] if maps_of == "flagged" else usable)
    for option, folder in folders.items():
        kind = option.removeprefix("--")
        found[kind] = {"folder": folder if len(chosen) else None, "images": len(chosen)}
        with counting(f"Writing {kind}", len(chosen), quiet or not len(chosen), noun="image") as advance:
            if kind == "maps":
                found[kind]["white"] = write(detector, images, chosen, folder, advance)
            else:
                write_masks(detector, images, chosen, folder, advance)
    return found


def told(kind: str, found: dict[str, Any], maps_of: str) -> str:
    """Say where the maps or the masks are."""
    name = "Residual maps" if kind == "maps" else "Masks of the pixels beyond the cut"
    if not found["images"]:
        return f"{name}: none, since no image is flagged; --maps-of all writes those of every image."
    of = how_many(found["images"], "flagged image" if maps_of == "flagged" else "image")
    white = f"; black is 0, white {found['white']:.4g}" if kind == "maps" else ""
    return f"{name} of {of} are in {found['folder']}{white}."
