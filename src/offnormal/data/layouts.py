"""How images lie in their folders: which are for training, which for testing, of which kind each is, where masks are.

Four layouts are known: that of MVTec AD (`train/good`, `test/<kind>`, `ground_truth/<kind>/<stem>_mask.png`), a folder
`good` beside folders of other kinds and of masks, a list of paths in a CSV file, and any other folder. Names and paths
only: no image is opened here, and no network library is loaded.
"""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from offnormal.errors import DataError, EnvironmentFailure, FileUnreadable, UnknownName

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".pgm", ".ppm", ".pnm")
LIST_SUFFIXES = (".csv", ".tsv", ".txt")
PATH_COLUMNS = ("path", "image", "file", "filename")
"""The columns of a list that are looked through for paths where none is named."""
NORMAL_KIND = "good"

_MASK_FOLDERS = ("masks", "ground_truth")
_NORMAL_LABELS, _ABNORMAL_LABELS = ("0", "false"), ("1", "true")


@dataclass(frozen=True)
class ImageFile:
    """One image and what its place says of it.

    Attributes
    ----------
    name : str
        Its path below the folder, with forward slashes; of a list, the path that stands there.
    path : Path
    kind : str or None
        The folder it lies in, or its label in the list: "good", "scratch".
    anomalous : bool or None
        None where that is not known.
    mask : Path or None
        The file that marks its anomalous pixels.
    """

    name: str
    path: Path
    kind: str | None = None
    anomalous: bool | None = None
    mask: Path | None = None


@dataclass(frozen=True)
class Layout:
    """Images and what they are for.

    Attributes
    ----------
    style : {"benchmark", "kinds", "list", "plain"}
    training, test, every : tuple of ImageFile
        To fit, to score, and all but masks; in the order of their names, of a list in its own.
    training_place : str
        What `training` is: "train/good"; empty if it is all images.
    """

    style: Literal["benchmark", "kinds", "list", "plain"]
    training: tuple[ImageFile, ...]
    test: tuple[ImageFile, ...]
    every: tuple[ImageFile, ...]
    training_place: str = ""

    @property
    def is_labeled(self) -> bool:
        """Return whether normal and anomalous images are known among those to score."""
        return {True, False} <= {file.anomalous for file in self.test}


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


def plain(folder: Path) -> Layout:
    """Return all images of a folder, whatever its folders are named."""
    files = tuple(ImageFile(file.relative_to(folder).as_posix(), file) for file in image_files(folder))
    return Layout("plain", files, files, files)


def layout_of(folder: Path) -> Layout:
    """Return the layout of a folder, by the names of its folders.

    Parameters
    ----------
    folder : Path
        With images in `train/good` and below `test`: the layout of MVTec AD; images beside these are neither for
        training nor for testing. With images in `good`: a folder of kinds. Folders of masks are `ground_truth` and
        `masks`, and for a folder named `test` the `ground_truth` beside it.

    Raises
    ------
    DataError
        If it has no images.
    """
    found = plain(folder)
    names = [file.name for file in found.every]
    if _any_below(names, f"train/{NORMAL_KIND}/") and _any_below(names, "test/"):
        return _benchmark(folder, found.every)
    if _any_below(names, f"{NORMAL_KIND}/"):
        images = [file for file in found.every if not file.name.startswith(tuple(f"{name}/" for name in _MASK_FOLDERS))]
        masks = _first_of(folder / name for name in _MASK_FOLDERS)
        if not masks and folder.resolve().name == "test":
            masks = _masks(folder.resolve().parent / "ground_truth")
        files = _with_kinds(images, "", masks)
        good = tuple(file for file in files if file.anomalous is False)
        return Layout("kinds", good, files, files, NORMAL_KIND if len(good) < len(files) else "")
    return found


def _benchmark(folder: Path, found: Sequence[ImageFile]) -> Layout:
    good = f"train/{NORMAL_KIND}/"
    training = tuple(
        ImageFile(file.name, file.path, NORMAL_KIND, False) for file in found if file.name.startswith(good)
    )
    test = _with_kinds(
        [file for file in found if file.name.startswith("test/")],
        "test/",
        _first_of(folder / name for name in reversed(_MASK_FOLDERS)),
    )
    beside = (good, "test/", *(f"{name}/" for name in _MASK_FOLDERS))
    rest = [file for file in found if not file.name.startswith(beside)]
    every = sorted([*training, *test, *rest], key=lambda file: file.name)
    return Layout("benchmark", training, test, tuple(every), good.rstrip("/"))


def _any_below(names: Iterable[str], folder: str) -> bool:
    return any(name.startswith(folder) for name in names)


# --- kinds and masks --------------------------------------------------------------------------------------------------


def _first_of(folders: Iterable[Path]) -> Mapping[str, Path]:
    return next((masks for folder in folders if (masks := _masks(folder))), {})


def _masks(folder: Path) -> Mapping[str, Path]:
    """Return path below the folder without ending -> file; empty where there is no folder with images."""
    try:
        return {file.relative_to(folder).with_suffix("").as_posix(): file for file in image_files(folder)}
    except (DataError, EnvironmentFailure):
        return {}


def _with_kinds(files: Sequence[ImageFile], base: str, masks: Mapping[str, Path]) -> tuple[ImageFile, ...]:
    """Return the files with the folder below `base` as their kind, and anomalous ones with their masks."""
    kinds = [_kind(file.name.removeprefix(base)) for file in files]
    abnormal = [file.name for file, kind in zip(files, kinds, strict=True) if kind not in (None, NORMAL_KIND)]
    stems = Counter(PurePosixPath(name).stem for name in abnormal)

    def mask(name: str) -> Path | None:
        below = PurePosixPath(name.removeprefix(base)).with_suffix("").as_posix()
        keys = [f"{below}_mask", below]
        if stems[PurePosixPath(name).stem] == 1:  # else two images would share the one mask
            keys += [f"{PurePosixPath(name).stem}_mask", PurePosixPath(name).stem]
        return next((masks[key] for key in keys if key in masks), None)

    return tuple(
        ImageFile(
            file.name,
            file.path,
            kind,
            None if kind is None else kind != NORMAL_KIND,
            None if kind in (None, NORMAL_KIND) else mask(file.name),
        )
        for file, kind in zip(files, kinds, strict=True)
    )


def _kind(below: str) -> str | None:
    parts = PurePosixPath(below).parts
    return parts[0] if len(parts) > 1 else None


# --- lists of paths ---------------------------------------------------------------------------------------------------


def path_column(names: Sequence[str], first: Callable[[str], object]) -> str | None:
    """Return the column that looks like one of image paths: by its name, and by its first text.

    Parameters
    ----------
    names : sequence of str
        The columns.
    first : callable
        Returns a column's first cell that is not empty.
    """
    for wanted in PATH_COLUMNS:
        for name in names:
            if name.strip().lower() == wanted and str(first(name) or "").strip().lower().endswith(SUFFIXES):
                return name
    return None


def layout_of_list(file: Path, column: str | None = None) -> Layout | None:
    """Return the layout of a CSV file with a column of paths; None if no column is named and none looks like one.

    Parameters
    ----------
    file : Path
        CSV with a header row, UTF-8; commas, semicolons or tabs. Besides the paths it may have the columns `label`
        (or `kind`; 0 and 1, or kinds, of which "good" is the normal one), `mask` (a path) and `split` ("train" or
        "test"). Relative paths start at the folder of the file.
    column : str, optional
        The column of paths. By default the first of `PATH_COLUMNS` whose first row is named like an image.

    Raises
    ------
    UnknownName
        If there is no such column.
    DataError, FileUnreadable
        If the file has no rows, or is no such text.
    """
    names, rows = _rows_of(file)
    if column is not None and column not in names:
        raise UnknownName(f"--image-column: {UnknownName.among('column', column, names)}")
    chosen = column or path_column(names, lambda name: next((row[name] for row in rows if row[name]), ""))
    if chosen is None:
        return None
    if not any(row[chosen] for row in rows):
        raise DataError(f"Column {chosen!r} of '{file}' names no image.")
    lacking = "(row {} of the list, counted from 0, has no path)"  # listed as a file that cannot be read
    for number, row in enumerate(rows):
        row[chosen] = row[chosen] or lacking.format(number)
    of = {name.strip().lower(): name for name in reversed(names) if name != chosen}

    def cells(*wanted: str) -> list[str]:
        found = next((of[name] for name in wanted if name in of), None)
        return [""] * len(rows) if found is None else [row[found] for row in rows]

    labels, masks, splits = cells("label", "kind"), cells("mask"), [split.lower() for split in cells("split")]
    kinds, anomalous = _labels(labels)
    files = tuple(
        ImageFile(row[chosen], file.parent / row[chosen], kind, odd, _listed_mask(file, mask, odd))
        for row, kind, odd, mask in zip(rows, kinds, anomalous, masks, strict=True)
    )
    return _split(file, files, splits)


def _listed_mask(file: Path, mask: str, anomalous: bool | None) -> Path | None:
    return file.parent / mask if mask and anomalous is not False else None


def _split(file: Path, files: tuple[ImageFile, ...], splits: Sequence[str]) -> Layout:
    def of(split: str) -> tuple[ImageFile, ...]:
        return tuple(one for one, its in zip(files, splits, strict=True) if its.startswith(split))

    training, place = of("train"), "split train"
    known = [one for one in training or files if one.anomalous is not True]
    if not known:
        raise DataError(f"'{file}' lists no image to train on: all are labeled as anomalies.")
    if len(known) < len(training or files):
        place = "split train, labels of anomalies left out" if training else "labels of anomalies left out"
    elif not training:
        place = ""
    return Layout("list", tuple(known), of("test") or files, files, place)


def _labels(texts: Sequence[str]) -> tuple[list[str | None], list[bool | None]]:
    """Return kinds, and whether each is an anomaly; kinds without a "good" one among them do not tell."""
    present = {text.lower() for text in texts if text}
    if present <= {*_NORMAL_LABELS, *_ABNORMAL_LABELS}:
        anomalous: list[bool | None] = [text.lower() in _ABNORMAL_LABELS if text else None for text in texts]
        return [text or None for text in texts], anomalous
    told = NORMAL_KIND in present
    return [text or None for text in texts], [text.lower() != NORMAL_KIND if text and told else None for text in texts]


def _rows_of(file: Path) -> tuple[list[str], list[dict[str, str]]]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            first = stream.readline()
            separator = next((mark for mark in (",", "\t", ";") if mark in first), ",")
            stream.seek(0)
            table = csv.reader(stream, delimiter=separator)
            names = [name.strip() for name in next(table, [])]
            rows = [
                dict(zip(names, [*map(str.strip, row), *[""] * len(names)], strict=False))
                for row in table
                if any(map(str.strip, row))
            ]
    except FileNotFoundError:
        raise FileUnreadable(f"There is no file '{file}'; check the path.") from None
    except OSError as error:
        raise EnvironmentFailure(f"The file '{file}' could not be read: {error.strerror}.") from error
    except (UnicodeDecodeError, csv.Error):
        raise FileUnreadable(f"The list '{file}' is not CSV text in UTF-8. Save it as such.") from None
    return names, rows
