"""Recordings: files of video, folders of frames and arrays become frames in memory, and these become clips.

Files of video are decoded by PyAV, which `pip install 'offnormal[video]'` brings; everything else does without.
Letters: t frames, c h w channels, height, width.
"""

from __future__ import annotations

import math
import os
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offnormal.data.images import ARRAY_SUFFIXES, SUFFIXES, read_images
from offnormal.data.pixel_arrays import MOST_VALUES, Pixels, as_pixels, resized
from offnormal.errors import DataError, EnvironmentFailure, FileUnreadable, InvalidParameter, OffnormalError

__all__ = [
    "VIDEO_SUFFIXES",
    "Recording",
    "Recordings",
    "Source",
    "clips_of",
    "find_recordings",
    "read_recordings",
    "resized_to",
]

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv")
CLIP_LENGTH = 16
"""Frames of a clip, as in MemAE."""

_CONTAINERS = "mov,mp4,matroska,webm,avi,mpeg,mpegvideo,asf,flv"  # no other demuxer is called: a playlist opens files
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as for images
_COLORS = ("auto", "grey", "color")

Size = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Recording:
    """The frames of one recording, in memory.

    Attributes
    ----------
    name : str
        Its path below the folder that was read, or its number.
    frames : array of uint8, shape (t, c, h, w)
        1 channel: grey, 3: red, green, blue.
    fps : float or None
        Frames per second of these frames; None: not known.
    """

    name: str
    frames: NDArray[np.uint8]
    fps: float | None = None

    def __post_init__(self) -> None:
        """Refuse what are no frames.

        Raises
        ------
        DataError
            If they are of another type or shape.
        """
        if getattr(self.frames, "dtype", None) != np.uint8 or self.frames.ndim != 4:
            raise DataError("A recording is made of uint8 frames of shape (frames, channels, height, width).")

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.frames)

    def __repr__(self) -> str:
        """Name the recording and its size; the frames themselves would fill the screen."""
        frames, channels, height, width = self.frames.shape
        return f"Recording({self.name!r}, {frames} frames of {channels}×{height}×{width}, fps={self.fps})"


@dataclass(frozen=True, eq=False)
class Recordings(Sequence[Recording]):
    """What was read, and what could not be.

    Attributes
    ----------
    read : tuple of Recording
        In the natural order of their names; a sequence of recordings is what this object is.
    unreadable : mapping of str to str
        Name -> why.
    """

    read: tuple[Recording, ...]
    unreadable: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return how many were read."""
        return len(self.read)

    def __repr__(self) -> str:
        """Name the recordings, and those that could not be read."""
        lacking = f", unreadable={list(self.unreadable)}" if self.unreadable else ""
        return f"Recordings({list(self.read)}{lacking})"

    def __getitem__(self, which: Any) -> Any:
        """Return one recording, or of a slice a tuple."""
        return self.read[which]


@dataclass(frozen=True)
class Source:
    """Where recordings come from, before anything is decoded.

    Attributes
    ----------
    name : str
    place : Path
        A file of video, an array file, or a folder.
    images : tuple of Path
        Of a folder: its frames, in order.
    """

    name: str
    place: Path
    images: tuple[Path, ...] = ()

    def read(self, size: Size | None = None, color: str = "auto", every: int = 1) -> list[Recording]:
        """Read it: one recording, of an array file as many as it holds. See `read_recordings`."""
        try:
            if self.images:
                return [_from_images(self, size, color, every)]
            if self.place.suffix.lower() in ARRAY_SUFFIXES:
                return _from_array_file(self, size, color, every)
            return [_from_video(self, size, color, every)]
        except MemoryError:
            raise EnvironmentFailure(
                f"There is not enough memory for the frames of '{self.place}'. Give a smaller size, or read fewer "
                "recordings at a time."
            ) from None


def read_recordings(path: Any, size: int | Size | None = None, color: str = "auto", every: int = 1) -> Recordings:
    """Read files of video, folders of frames, or arrays.

    Parameters
    ----------
    path : str, Path or array
        A file of video; a folder that holds, at any depth, files of video or folders of frames (image files; their
        folder is the recording); a `.npy` or `.npz` file; or an array. An array of three or four axes is one
        recording, (t, h, w), (t, h, w, c) or (t, c, h, w); of five axes one per row.
    size : int, (height, width) or None
        Resize to this. None: the size most of them have.
    color : {"auto", "grey", "color"}
        "auto": as they are, which must then be all grey or all in color. Most files of video store color, also where
        the scene has none: give "grey" for these.
    every : int
        Keep one frame of so many, beginning with the first.

    Returns
    -------
    Recordings
        A sequence of `Recording`. What could not be read is left out, warned of, and listed in `unreadable`.

    Raises
    ------
    InvalidParameter
        If `size`, `color` or `every` is not one of the above.
    DataError, FileUnreadable
        If there is nothing to read, nothing can be read, or grey and color are mixed.
    EnvironmentFailure
        If PyAV is needed and missing, or memory is short.
    """
    wanted = _checked(size, color, every)
    if not isinstance(path, (str, os.PathLike)):
        return _of_one_kind(Recordings(tuple(_arranged("", path, wanted, color, every))), wanted)
    found: list[Recording] = []
    unreadable: dict[str, str] = {}
    sources = find_recordings(path)
    for source in sources:
        try:
            found += source.read(wanted, color, every)
        except DataError as error:
            unreadable[source.name] = str(error)
    expect_some(len(found), unreadable, str(path))
    return _of_one_kind(Recordings(tuple(found), unreadable), wanted)


def expect_some(found: int, unreadable: Mapping[str, str], place: str) -> None:
    """Warn of what could not be read; raise if that is all.

    Raises
    ------
    FileUnreadable
        If nothing was found.
    """
    if not unreadable:
        return
    names = list(unreadable)
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    if not found:
        many = "" if len(names) == 1 else f"None of the {len(names):,} recordings in '{place}' can be read. "
        raise FileUnreadable(f"{many}{unreadable[names[0]]}")
    warnings.warn(
        f"{len(names):,} of {len(names) + found:,} recordings cannot be read and "
        f"{'is' if len(names) == 1 else 'are'} passed over: {shown}. The first: {unreadable[names[0]]}",
        UserWarning,
        stacklevel=3,
    )


def find_recordings(path: str | os.PathLike[str]) -> list[Source]:
    """Return the recordings below a path, in the natural order of their names ("2" before "10"); nothing is decoded.

    Raises
    ------
    DataError
        If there are none.
    EnvironmentFailure
        If a folder may not be read.
    """
    place = Path(path)
    if not place.exists():
        raise DataError(f"There is no file or folder {str(place)!r}.")
    if not place.is_dir():
        if place.suffix.lower() not in (*VIDEO_SUFFIXES, *ARRAY_SUFFIXES):
            raise DataError(
                f"The file '{place}' is no recording: expected a file of video ({', '.join(VIDEO_SUFFIXES)}), an array "
                f"file ({', '.join(ARRAY_SUFFIXES)}) or a folder."
            )
        return [Source(place.name, place)]
    found = sorted(_below(place), key=lambda source: _natural(source.name))
    if not found:
        raise DataError(
            f"The folder '{place}' has no recordings in it: no files of video ({', '.join(VIDEO_SUFFIXES)}), and no "
            "folders of images."
        )
    return found


def _below(folder: Path) -> Iterator[Source]:
    def refuse(error: OSError) -> None:
        raise EnvironmentFailure(f"The folder {error.filename} could not be read: {error.strerror}.") from error

    for parent, _, names in os.walk(folder, onerror=refuse):
        here = Path(parent)
        visible = [name for name in names if not name.startswith(".")]
        for name in visible:
            if name.lower().endswith(VIDEO_SUFFIXES):
                yield Source((here / name).relative_to(folder).as_posix(), here / name)
        images = sorted((name for name in visible if name.lower().endswith(SUFFIXES)), key=_natural)
        if images:
            name = folder.resolve().name if here == folder else here.relative_to(folder).as_posix()
            yield Source(name, here, tuple(here / image for image in images))


def _natural(name: str) -> list[tuple[int, str]]:
    """Return what sorts "frame2" before "frame10"; words and numbers take turns."""
    parts = re.split(r"(\d+)", name)
    return [(int(part), part) if i % 2 else (0, part) for i, part in enumerate(parts)]


# --- one source -------------------------------------------------------------------------------------------------------


def _from_video(source: Source, size: Size | None, color: str, every: int) -> Recording:
    """Decode a file of video, frame by frame in the wanted size, so that no more is ever in memory."""
    av, file, parts, fps = _pyav(), source.place, list[Pixels](), None
    try:
        if file.stat().st_size == 0:
            raise FileUnreadable(f"The video '{file}' is empty (0 bytes). Replace or remove it.")
        options = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"}
        with av.open(str(file), options=options, metadata_errors="replace") as container:
            if not container.streams.video:
                raise FileUnreadable(f"The file '{file}' has no video in it. Replace or remove it.")
            stream = container.streams.video[0]
            if stream.width * stream.height * 3 > MOST_VALUES:
                raise DataError(f"The frames of '{file}' are larger than {MOST_VALUES // 3:,} pixels. Make it smaller.")
            fps = float(stream.average_rate) / every if stream.average_rate else None
            for number, frame in enumerate(container.decode(stream)):
                if number % every == 0:
                    parts.append(_sized(_upright(frame, _is_grey(frame, color)), size))
    except (OffnormalError, MemoryError):
        raise
    except Exception as error:  # beside FFmpeg's own, of a damaged header any
        if isinstance(error, PermissionError):
            raise EnvironmentFailure(f"The video '{file}' could not be read: {error.strerror}.") from error
        after = f" after {len(parts) * every:,} frames" if parts else ""
        reason = str(getattr(error, "strerror", None) or type(error).__name__).splitlines()[0][:150]
        raise FileUnreadable(f"The video '{file}' is damaged{after} ({reason}). Replace or remove it.") from None
    if not parts:
        raise FileUnreadable(f"The video '{file}' has no frame that can be decoded. Replace or remove it.")
    return Recording(source.name, _joined(parts, source), fps)


def _pyav() -> Any:
    try:
        import av
    except ImportError:
        raise EnvironmentFailure(
            "Files of video need PyAV, which is not installed: pip install 'offnormal[video]'. Folders of frames do "
            "without."
        ) from None
    return av


def _is_grey(frame: Any, color: str) -> bool:
    stored = frame.format
    return color == "grey" or (color == "auto" and len(stored.components) == 1 and not stored.has_palette)


def _upright(frame: Any, grey: bool) -> NDArray[np.uint8]:
    """Return one decoded frame as (1, c, h, w), turned as the camera was held."""
    pixels = frame.to_ndarray(format="gray" if grey else "rgb24")
    pixels = pixels[None] if grey else np.moveaxis(pixels, 2, 0)
    turns = round(getattr(frame, "rotation", 0) / 90)
    return np.ascontiguousarray(np.rot90(pixels, turns, axes=(1, 2)))[None]


def _from_images(source: Source, size: Size | None, color: str, every: int) -> Recording:
    """Read the frames of a folder; one that cannot be read spoils the motion, so the recording is refused."""
    parts: list[Pixels] = []
    for file in source.images[::every]:
        parts.append(read_images(file, size=size, color=color).pixels)
        if parts[-1].shape[1] != parts[0].shape[1]:
            raise DataError(
                f"The frames in '{source.place}' are partly grey, partly in color. Say which all should be."
            )
    return Recording(source.name, _joined(parts, source))


def _joined(parts: list[Pixels], source: Source) -> NDArray[np.uint8]:
    """Return frames (1, c, h, w) as one array; each is let go of once it is there, so they are not held twice."""
    frames = np.empty((len(parts), *parts[0].shape[1:]), np.uint8)
    for number, part in enumerate(parts):
        if part.shape[1:] != frames.shape[1:]:
            raise DataError(f"The frames of '{source.place}' are not of one size. Give the size they should have.")
        frames[number] = part[0]
        parts[number] = part[:0].copy()
    return frames


def _from_array_file(source: Source, size: Size | None, color: str, every: int) -> list[Recording]:
    try:
        with source.place.open("rb") as stream:
            loaded = np.load(stream, allow_pickle=False)
            arrays = {"": loaded} if isinstance(loaded, np.ndarray) else {name: loaded[name] for name in loaded.files}
    except MemoryError:
        raise
    except Exception as error:  # zip, zlib and NumPy each have their own
        if isinstance(error, OSError) and error.errno is not None:
            raise EnvironmentFailure(f"The file '{source.place}' could not be read: {error.strerror}.") from error
        raise FileUnreadable(f"The file '{source.place}' is no array file, or damaged. Save it with numpy.") from None
    arrays = {name: array for name, array in arrays.items() if array.ndim in (3, 4, 5)}
    if not arrays:
        raise DataError(f"The file '{source.place}' holds no array of three to five axes.")
    return [
        recording
        for name, array in arrays.items()
        for recording in _arranged("/".join(filter(None, [source.name, name])), array, size, color, every)
    ]


def _arranged(name: str, array: Any, size: Size | None, color: str, every: int) -> list[Recording]:
    """Return the recording, or of five axes the recordings, of an array."""
    if getattr(array, "ndim", 0) not in (3, 4, 5):
        raise DataError(
            "A recording is an array of three or four axes, (frames, height, width) and channels; got "
            f"{type(array).__name__} of shape {getattr(array, 'shape', ())}."
        )
    pixels = as_pixels(array)
    several = [np.moveaxis(clip, 1, 0) for clip in pixels] if pixels.ndim == 5 else [pixels]
    numbers = [str(number) for number in range(len(several))] if len(several) > 1 or not name else [""]
    return [
        Recording("/".join(filter(None, [name, number])), _painted(frames[::every], size, color))
        for number, frames in zip(numbers, several, strict=True)
    ]


def _painted(frames: Pixels, size: Size | None, color: str) -> NDArray[np.uint8]:
    """Return the frames of an array as bytes of the wanted size and colors."""
    frames = frames if frames.dtype == np.uint8 else (frames * 255).round().astype(np.uint8)
    if color == "grey" and frames.shape[1] > 1:
        grey = [np.tensordot(_LUMA, frame[:3], axes=1).round() for frame in frames]
        frames = np.array(grey, np.uint8)[:, None]
    elif color == "color" and frames.shape[1] != 3:
        frames = frames[:, :3] if frames.shape[1] == 4 else frames.repeat(3, axis=1)
    return np.ascontiguousarray(_sized(frames, size))


def _sized(frames: Pixels, size: Size | None) -> Pixels:
    return frames if size is None else resized(frames, size)


# --- all of them ------------------------------------------------------------------------------------------------------


def _checked(size: Any, color: str, every: Any) -> Size | None:
    """Return the wanted size as (height, width)."""
    if color not in _COLORS:
        raise InvalidParameter(f"color must be one of {', '.join(map(repr, _COLORS))}; got {color!r}.")
    if isinstance(every, bool) or not isinstance(every, (int, np.integer)) or every < 1:
        raise InvalidParameter(f"every must be a whole number from 1 on; got {every!r}.")
    if size is None:
        return None
    sides = (size, size) if isinstance(size, (int, np.integer)) else tuple(size) if np.ndim(size) == 1 else ()
    whole = [side for side in sides if isinstance(side, (int, np.integer)) and not isinstance(side, bool) and side > 0]
    if len(sides) != 2 or len(whole) != 2 or math.prod(map(int, sides)) > MOST_VALUES:
        raise InvalidParameter(f"size must be a whole number, or height and width; got {size!r}.")
    return int(sides[0]), int(sides[1])


def _of_one_kind(found: Recordings, size: Size | None) -> Recordings:
    """Return the recordings in one size, the commonest if none is wanted, and refuse two kinds of color."""
    channels = [recording.frames.shape[1] for recording in found.read]
    if len(set(channels)) > 1:
        first, other = (found.read[channels.index(count)].name for count in sorted(set(channels))[:2])
        raise DataError(
            f"'{first}' and '{other}' are not of the same colors. Say what all should be: color='grey' or "
            "color='color'."
        )
    size = size or Counter(recording.frames.shape[2:] for recording in found.read).most_common(1)[0][0]
    return replace(found, read=tuple(resized_to(recording, size) for recording in found.read))


def resized_to(recording: Recording, size: Size) -> Recording:
    """Return the recording with frames of this height and width; itself if they have it."""
    frames = resized(recording.frames, size)
    return recording if frames is recording.frames else replace(recording, frames=frames)


def clips_of(recording: Any, length: int = CLIP_LENGTH, stride: int = 1) -> NDArray[np.uint8]:
    """Return the clips of a recording: `length` frames each, one beginning every `stride` frames.

    Parameters
    ----------
    recording : Recording, or array of uint8, shape (t, c, h, w)
    length, stride : int

    Returns
    -------
    array of uint8, shape (clips, c, length, h, w)
        A read-only view of the frames, which takes no memory; none if the recording is shorter than a clip. A copy of
        it, as `fit` makes, takes `length / stride` times the frames.
    """
    for name, value in (("length", length), ("stride", stride)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
            raise InvalidParameter(f"{name} must be a whole number from 1 on; got {value!r}.")
    frames = recording.frames if isinstance(recording, Recording) else Recording("", recording).frames
    if len(frames) < length:
        return np.empty((0, frames.shape[1], length, *frames.shape[2:]), np.uint8)
    windows = np.lib.stride_tricks.sliding_window_view(frames, length, axis=0)  # (clips, c, h, w, length)
    return np.moveaxis(windows, -1, 2)[::stride]
