"""Scores of frames from a model of clips: each frame gets the score of the clip that belongs to it.

Which clip that is, is a choice: the one around the frame, which needs frames that come later, or the one that ends
with it, which a camera can have at once. Clips overlap in all frames but one, so every frame passes through the network
once for each frame of a clip. Letters: t frames, c h w channels, height, width.
"""

from __future__ import annotations

import math
import warnings
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from offnormal.data.pixel_arrays import as_pixels, resized, shape_in_words
from offnormal.data.video import Recording, clips_of
from offnormal.errors import DataError, InvalidParameter, NotSupported, SchemaMismatch

VALUES_AT_ONCE = 2**22
"""Pixel values of the clips that are copied at a time."""

Floats = NDArray[np.float64]


class ScoresClips(Protocol):
    """What is needed of a fitted detector."""

    schema_: Any

    def anomaly_score(self, X: Any) -> Floats:
        """Return one score per clip."""
        ...

    def residual_maps(self, X: Any) -> NDArray[np.float32]:
        """Return (clips, t, h, w)."""
        ...


def score_frames(detector: ScoresClips, recording: Any, *, align: str = "center", of: str = "clip") -> Floats:
    """Return one score per frame; NaN where no whole clip belongs to the frame.

    Parameters
    ----------
    detector : Detector
        Fitted to clips; `detector.schema_` says of how many frames.
    recording : Recording, or array of frames
        (t, h, w), (t, h, w, c) or (t, c, h, w) in the channels of training; other heights and widths are resized.
    align : {"center", "last"}
        Which frame a clip of l frames stands for. "center": the frame with l // 2 others before it, counted as the
        published code of MemAE does (of 16 frames the first 8 and the last 7 of the recording have no score).
        "last": the last one, so that no later frame is needed (the first 15 have none).
    of : {"clip", "frame"}
        "clip": `anomaly_score` of the clip, to which the threshold and the p-values of the model belong. "frame": the
        sum of `residual_maps` over the frame alone; threshold and p-values do not belong to it.

    Returns
    -------
    array of float64, shape (t,)
        Memory is that of a few clips, beside the frames.

    Raises
    ------
    NotSupported
        If the detector is not of clips, or has no maps and `of` is "frame".
    InvalidParameter, DataError, SchemaMismatch
    """
    shape = _shape_of(detector)
    place = place_in_clip(shape[1], align)
    if of not in ("clip", "frame"):
        raise InvalidParameter(f"of must be 'clip' or 'frame'; got {of!r}.")
    frames = _frames(recording, shape)
    scores = np.full(len(frames), np.nan)
    clips = len(frames) - shape[1] + 1
    if clips < 1:
        name = f" {recording.name!r}" if isinstance(recording, Recording) else ""
        warnings.warn(
            f"The recording{name} has {len(frames)} frames, fewer than the {shape[1]} of a clip: none has a score.",
            UserWarning,
            stacklevel=2,
        )
    block = max(VALUES_AT_ONCE // math.prod(shape), 1)
    for start in range(0, clips, block):
        stop = min(start + block, clips)
        part = clips_of(_sized(frames[start : stop + shape[1] - 1], shape), shape[1])
        scores[start + place : stop + place] = (
            detector.anomaly_score(part)
            if of == "clip"
            else detector.residual_maps(part)[:, place].sum(axis=(1, 2), dtype=np.float64)
        )
    return scores


def place_in_clip(length: int, align: str) -> int:
    """Return which frame of a clip its score belongs to, counted from 0.

    >>> place_in_clip(16, "center"), place_in_clip(16, "last")
    (8, 15)
    """
    if align not in ("center", "last"):
        raise InvalidParameter(f"align must be 'center' or 'last'; got {align!r}.")
    return length // 2 if align == "center" else length - 1


class LiveScorer:
    """Scores of frames as they come: bit for bit those of `score_frames(…, align="last")`.

    Parameters
    ----------
    detector : Detector
        Fitted to clips.

    Examples
    --------
    >>> live = LiveScorer(detector)                                       # doctest: +SKIP
    >>> for frame in camera:                                              # doctest: +SKIP
    ...     score = live.push(frame)
    ...     if score is not None and score > detector.threshold_.value:
    ...         alarm()
    """

    def __init__(self, detector: ScoresClips) -> None:
        self._detector, self._shape = detector, _shape_of(detector)
        channels, length, height, width = self._shape
        self._recent = np.zeros((length, channels, height, width), np.uint8)  # the newest last
        self._seen = 0

    def push(self, frame: Any) -> float | None:
        """Return the score of the clip that ends with this frame; None until there are enough frames for one.

        Parameters
        ----------
        frame : array of uint8, or of floats within [0, 1]
            (h, w), (h, w, c) or (c, h, w), in the channels of training; another height or width is resized.
        """
        new = _sized(_frames(np.asarray(frame)[None], self._shape), self._shape)
        self._recent[:-1] = self._recent[1:]
        self._recent[-1] = new[0]
        self._seen += 1
        if self._seen < len(self._recent):
            return None
        return float(self._detector.anomaly_score(clips_of(self._recent, len(self._recent)))[0])

    def reset(self) -> None:
        """Forget all frames: the next one begins another recording."""
        self._seen = 0


def _shape_of(detector: ScoresClips) -> tuple[int, ...]:
    """Return (c, t, h, w) of the model's clips."""
    shape: tuple[int, ...] = getattr(getattr(detector, "schema_", None), "shape", ())
    if len(shape) != 4:
        raise NotSupported(
            f"Frames are scored by a model of clips, and this {type(detector).__name__} was not fitted to any. "
            "Fit it to clips, an array of five axes, as `clips_of` returns."
        )
    return tuple(shape)


def _frames(recording: Any, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return frames (t, c, h', w') in the channels of the model, not yet in its size."""
    if isinstance(recording, Recording):
        frames = recording.frames
    else:
        if np.ndim(recording) not in (3, 4):
            raise DataError(
                "Frames are an array (frames, height, width), with channels behind or before height; got "
                f"{np.ndim(recording)} axes."
            )
        frames = as_pixels(recording, (shape[0], *shape[2:]))
        frames = frames if frames.dtype == np.uint8 else (frames * 255).round().astype(np.uint8)
    if frames.shape[1] != shape[0]:
        raise SchemaMismatch(
            f"The model was fitted to clips of {shape_in_words(shape)}; got frames of "
            f"{shape_in_words(frames.shape[1:])}. Read them with color={'grey' if shape[0] == 1 else 'color'!r}."
        )
    return frames


def _sized(frames: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    return resized(frames, (shape[2], shape[3]))
