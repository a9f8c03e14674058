"""Public data sets by name, read from the folder that OFFNORMAL_DATA names; y is 1 for an anomaly.

A set of images is one data set per class, "mnist_3": y is 1 for the images of that class, and the protocol says whether
they are the anomalies or the only normal ones. `shared/data` beside the working directory, or beside the source tree,
is taken where the variable is not set.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offnormal.errors import DataError, FileUnreadable, UnknownName
from offnormal.random import numpy_generator

Ints = NDArray[np.int64]

VARIABLE = "OFFNORMAL_DATA"
FAST_ROWS = 2_000
"""Rows of a data set in a fast run."""
FAST_IMAGES = 200
"""The same of images."""
N_CLASSES = 10
"""Of each set of images."""
PED2_FRAME = (120, 180)
"""Height and width of UCSD Ped2's frames as they are kept: half of the published ones."""
CLIP, CENTER = 16, 8
"""Frames of a clip, and the place in it of the frame that the clip is about."""

KDD_COLUMNS = (
    "duration", "protocol_type", "service", "flag", "src_bytes", "dst_bytes", "land", "wrong_fragment", "urgent",
    "hot", "num_failed_logins", "logged_in", "num_compromised", "root_shell", "su_attempted", "num_root",
    "num_file_creations", "num_shells", "num_access_files", "num_outbound_cmds", "is_host_login", "is_guest_login",
    "count", "srv_count", "serror_rate", "srv_serror_rate", "rerror_rate", "srv_rerror_rate", "same_srv_rate",
    "diff_srv_rate", "srv_diff_host_rate", "dst_host_count", "dst_host_srv_count", "dst_host_same_srv_rate",
    "dst_host_diff_srv_rate", "dst_host_same_src_port_rate", "dst_host_srv_diff_host_rate", "dst_host_serror_rate",
    "dst_host_srv_serror_rate", "dst_host_rerror_rate", "dst_host_srv_rerror_rate", "label",
)  # fmt: skip
KDD_NORMAL = "normal."
_KDD_TEXTS = ("protocol_type", "service", "flag", "label")
_KDD_FILE = "tabular/kddcup99_10_percent.csv.gz"
_NORMAL_TRAFFIC = "normal traffic"


@dataclass(frozen=True)
class DataSet:
    """Where a data set is and what counts as an anomaly in it.

    Attributes
    ----------
    name : str
    file : str
        Under the data folder: an `.npz` with X and y, one with x_train, y_train, x_test and y_test, or the raw KDDCUP99
        file.
    anomaly : str
        The class that is the anomaly: "y = 1" of the file, or one of two for KDDCUP99; of images the class that the
        protocol is about. Part of the fingerprint.
    share : float or None
        The share of rows to flag that the DAGMM paper names for it; None: the true share of the test rows.
    drawn : int or None
        Anomalies drawn anew by each run's seed; None: all of them take part.
    group : str
        The set of images that this is a class of; its classes are shown together. Empty: none.
    number : int or None
        Of that class in the file.
    shrink : int
        Images with masks: the side of the squares of pixels that are averaged into one.
    masked : bool
        Whether the file has the masks of the defects.
    frames : tuple of int or None
        Of recordings: the height and width they are brought to. A row is a clip of `CLIP` frames, and its y is that of
        its ninth frame, as in the published code of MemAE.
    fast_rows : int or None
        Rows of a fast run; None: FAST_ROWS, of images FAST_IMAGES.
    """

    name: str
    file: str
    anomaly: str = "y = 1"
    share: float | None = None
    drawn: int | None = None
    group: str = ""
    number: int | None = None
    shrink: int = 1
    masked: bool = False
    frames: tuple[int, int] | None = None
    fast_rows: int | None = None

    @property
    def figures(self) -> tuple[str, ...]:
        """Return the figures of a record, beyond those of rows, that the page shows."""
        if self.masked:
            return ("pixel_auroc", "pixel_average_precision", "pro_area", "oracle_dice")
        if self.frames:
            return ("frame_auroc_by_regularity", "frame_auroc", "frame_auroc_per_video")
        return ()

    def pool(self, y: Ints, seed: int, *, fast: bool = False) -> Ints:
        """Return the places of the rows that take part in the run of this seed, ascending.

        Parameters
        ----------
        y : array of 0 and 1
            Of all rows of the file.
        fast : bool
            At most `fast_rows`, with about the same share of anomalies.
        """
        places = np.arange(len(y))
        if self.drawn is not None:
            draw = numpy_generator(seed, "bench", "anomalies")
            drawn = draw.choice(np.flatnonzero(y == 1), self.drawn, replace=False)
            places = np.sort(np.concatenate([np.flatnonzero(y == 0), drawn]))
        most = self.fast_rows or (FAST_IMAGES if self.group or self.masked else FAST_ROWS)
        if fast and len(places) > most:
            draw = numpy_generator(seed, "bench", "fast")
            classes = [places[y[places] == label] for label in (0, 1)]
            kept = [
                draw.choice(
                    rows, max(round(most * len(rows) / len(places)), min(len(rows), 20, most // 3)), replace=False
                )
                for rows in classes
            ]
            places = np.sort(np.concatenate(kept))
        return places


_ADBENCH = ("annthyroid", "cardio", "letter", "mammography", "musk", "optdigits", "pendigits", "satellite",
            "satimage-2", "shuttle", "vowels", "wbc", "wbc_odds378")  # fmt: skip
_IMAGES = {"mnist": "mnist", "fashion_mnist": "fashion_mnist", "cifar10": "cifar10_subset"}
DATA_SETS = {
    data.name: data
    for data in (
        DataSet("kddcup", _KDD_FILE, _NORMAL_TRAFFIC, share=0.2),
        DataSet("kddcup_rev", _KDD_FILE, "attacks", share=0.2, drawn=24_319),
        DataSet("thyroid", "tabular/thyroid.npz", share=0.025),
        DataSet("arrhythmia", "tabular/arrhythmia.npz", share=0.15),
        *(DataSet(name, f"adbench/{name}.npz") for name in _ADBENCH),
        *(
            DataSet(f"{group}_{number}", f"images/{file}.npz", f"class {number}", group=group, number=number)
            for group, file in _IMAGES.items()
            for number in range(N_CLASSES)
        ),
        DataSet("mvtec_screw_64", "defects/mvtec_screw_256.npz", "a defect", shrink=4, masked=True),
        DataSet("magnetic_tile_64", "defects/magnetic_tile.npz", "a defect", shrink=2, masked=True),
        DataSet("mvtec_screw", "defects/mvtec_screw_256.npz", "a defect", masked=True, fast_rows=60),
        DataSet("mvtec_screw_128", "defects/mvtec_screw_256.npz", "a defect", shrink=2, masked=True, fast_rows=60),
        DataSet("mvtec_leather", "defects/mvtec_leather_sample_256.npz", "a defect", masked=True),
        DataSet("magnetic_tile", "defects/magnetic_tile.npz", "a defect", masked=True, fast_rows=60),
        DataSet("ucsd_ped2", "video/ucsd_ped2", "an unusual frame", frames=(256, 256), fast_rows=40),
        DataSet("ucsd_ped2_64", "video/ucsd_ped2", "an unusual frame", frames=(64, 96), fast_rows=40),
    )
}


def data_set(name: str) -> DataSet:
    """Return the data set of this name.

    Raises
    ------
    UnknownName
    """
    if name not in DATA_SETS:
        raise UnknownName.among("data set", name, DATA_SETS)
    return DATA_SETS[name]


def classes(group: str) -> tuple[str, ...]:
    """Return the names of the data sets that are the classes of a set of images."""
    return tuple(data.name for data in DATA_SETS.values() if data.group == group)


def data_folder() -> Path:
    """Return the folder of data sets.

    Raises
    ------
    DataError
        If there is none.
    """
    named = os.environ.get(VARIABLE)
    beside = [Path.cwd().parent, Path(__file__).parents[4]]
    places = [Path(named)] if named else [place / "shared" / "data" for place in beside]
    for place in places:
        if place.is_dir():
            return place
    where = f"{VARIABLE} names {named!r}, which is no folder" if named else f"{VARIABLE} is not set"
    raise DataError(f"The benchmark's data sets were not found: {where}. Set {VARIABLE} to the folder that holds them.")


def check_files(every: Iterable[DataSet]) -> None:
    """Check that the files of data sets are in the folder.

    Raises
    ------
    FileUnreadable
        If one or more are not; names them all.
    DataError
        If there is no folder.
    """
    folder = data_folder()
    lacking = [data for data in every if not (folder / data.file).exists()]
    if lacking:
        files = ", ".join(f"'{data.file}' (data set '{data.name}')" for data in lacking)
        raise FileUnreadable(f"The folder of data sets, '{folder}', has no file {files}; {VARIABLE} can name another.")


def load(data: DataSet) -> tuple[Any, Ints]:
    """Return all rows of the file, and y, shape (rows,).

    Rows are an array (rows, columns) of float64, a `pyarrow.Table`, an array (rows, h, w) or (rows, h, w, c) of uint8,
    training and test images together, or `Clips`. The last file read stays in memory.

    Raises
    ------
    DataError
        If the folder or the file is missing or unreadable.
    """
    check_files([data])
    if data.masked:
        images, y, _ = _read_masked(data_folder() / data.file, data.shrink)
        return images, y
    if data.frames:
        clips, y, _ = _read_clips(data_folder() / data.file, data.frames)
        return clips, y
    rows, labels = _read(data_folder() / data.file)
    if data.number is not None:
        return rows, np.where(labels == data.number, 1, 0)
    if data.file != _KDD_FILE:
        return rows, labels
    return rows, np.where((labels == KDD_NORMAL) == (data.anomaly == _NORMAL_TRAFFIC), 1, 0)


def masks(data: DataSet) -> NDArray[np.bool_]:
    """Return which pixels of each image are defects, (rows, h, w); of a defect without a mask, none."""
    check_files([data])
    return _read_masked(data_folder() / data.file, data.shrink)[2]


def videos(data: DataSet) -> Ints:
    """Return the number of the recording that each clip is cut from, (rows,)."""
    check_files([data])
    if data.frames is None:
        raise DataError(f"The data set {data.name!r} has no recordings.")
    return _read_clips(data_folder() / data.file, data.frames)[2]


def take(rows: Any, places: Ints) -> Any:
    """Return some rows of an array, a table or clips, in the order of `places`."""
    return rows[places] if isinstance(rows, np.ndarray) else rows.take(places)


@functools.lru_cache(maxsize=1)
def _read(path: Path) -> tuple[Any, Any]:
    if path.suffix == ".npz":
        with np.load(path) as file:
            if "x_train" in file.files:
                rows, labels = (np.concatenate([file[f"{axis}_train"], file[f"{axis}_test"]]) for axis in "xy")
                return rows, labels.astype(np.int64)
            return file["X"].astype(np.float64), file["y"].astype(np.int64)
    from offnormal.data.tables import read_table

    table = read_table(path, names=KDD_COLUMNS, text_columns=_KDD_TEXTS)
    return table.drop_columns(["label"]), np.asarray(table["label"])


@functools.lru_cache(maxsize=1)
def _read_masked(path: Path, side: int) -> tuple[NDArray[np.uint8], Ints, NDArray[np.bool_]]:
    """Return images, labels and masks, a square of side² pixels made one: their mean; a defect if one of them is."""
    with np.load(path) as file:
        parts = [file[name] for name in ("x_train", "x_test", "x") if name in file.files]
        labels = file["y_test"] if "y_test" in file.files else file["y"]
        images, shape = np.concatenate(parts), tuple(file["mask_shape"])
        masks = np.unpackbits(file["mask_packed"], axis=1)[:, : shape[1] * shape[2]].reshape(shape)
    sound = len(images) - len(labels)  # training images of the file come first and have no mask
    y = np.concatenate([np.zeros(sound, dtype=np.int64), labels.astype(np.int64)])
    masks = np.concatenate([np.zeros((sound, *shape[1:]), dtype=masks.dtype), masks])
    means = images if side == 1 else np.rint(_squares(images, side).mean((2, 4))).astype(np.uint8)
    return means, y, _squares(masks, side).max((2, 4)).astype(np.bool_)


def _squares(images: NDArray[Any], side: int) -> NDArray[Any]:
    rows, h, w = images.shape
    return images.reshape(rows, h // side, side, w // side, side)


class Clips:
    """Every clip of some recordings, in the order of its first frame: views of the frames until some are taken.

    Parameters
    ----------
    windows : sequence of array, each of shape (clips, 1, t, h, w)
        Views, one of each recording.
    """

    def __init__(self, windows: Sequence[NDArray[np.uint8]]) -> None:
        self.windows = windows
        self.starts = np.cumsum([0, *map(len, windows)])

    def __len__(self) -> int:
        """Return how many there are."""
        return int(self.starts[-1])

    @property
    def shape(self) -> tuple[int, ...]:
        """Return (clips, 1, t, h, w)."""
        return (len(self), *self.windows[0].shape[1:])

    def take(self, places: Ints) -> NDArray[np.uint8]:
        """Return some clips, (places, 1, t, h, w)."""
        taken = np.empty((len(places), *self.windows[0].shape[1:]), np.uint8)
        of_recording = np.searchsorted(self.starts, places, side="right") - 1
        for row, (recording, place) in enumerate(zip(of_recording, places, strict=True)):
            taken[row] = self.windows[recording][place - self.starts[recording]]
        return taken


@functools.lru_cache(maxsize=1)
def _read_clips(folder: Path, size: tuple[int, int]) -> tuple[Clips, Ints, Ints]:
    """Return every clip of every recording, those to train on first, with y and the number of its recording.

    A file of frames is one picture, each 120 high, one below the other.
    """
    from PIL import Image

    from offnormal.data.pixel_arrays import resized
    from offnormal.data.video import clips_of

    with np.load(folder / "test_labels.npz") as file:
        recording, unusual = file["clip"], file["frame_label"].astype(np.int64)
    windows, labels, numbers = [], [], []
    for number, path in enumerate(sorted(folder.glob("train_*.jpg")) + sorted(folder.glob("test_*.jpg"))):
        with Image.open(path) as strip:
            frames = np.asarray(strip).reshape(-1, 1, *PED2_FRAME)
        windows.append(clips_of(resized(frames, size), length=CLIP))
        tested = path.stem.startswith("test")
        y = unusual[recording == int(path.stem[-2:])] if tested else np.zeros(len(frames), dtype=np.int64)
        labels.append(y[CENTER : CENTER + len(windows[-1])])
        numbers.append(np.full(len(windows[-1]), number))
    return Clips(windows), np.concatenate(labels), np.concatenate(numbers)
