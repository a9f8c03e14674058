"""How well scores of frames find the anomalous frames of videos: y in {0, 1} per frame, 1 = anomaly."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from offnormal.errors import DataError
from offnormal.metrics.ranking import auroc

Floats = NDArray[np.float64]


class FrameAuroc(NamedTuple):
    """Two figures that papers both call frame-level AUROC.

    Attributes
    ----------
    micro : float
        Of the frames of all videos pooled. It compares scores across videos, so a shift of one video's scores against
        another's counts.
    macro : float or None
        Mean of the AUROC within each video that has frames of both classes; None where none has.
    videos : int
    left_out : int
        Videos of one class only, which `macro` leaves out. `micro` has them.
    """

    micro: float
    macro: float | None
    videos: int
    left_out: int


def frame_auroc(scores: Iterable[ArrayLike], labels: Iterable[ArrayLike]) -> FrameAuroc:
    """Return the AUROC of frames, pooled and as a mean over videos.

    Parameters
    ----------
    scores : iterable of array, each of shape (frames,)
        One array per video; finite, greater = more anomalous.
    labels : iterable of array of 0 and 1, each of shape (frames,)
        In the same order; from masks of pixels, `masks.any(axis=(1, 2))`.

    Raises
    ------
    DataError
        If scores and labels do not fit, a score is not finite, or all frames of all videos are of one class.
    """
    values, truths = [np.asarray(s, dtype=np.float64) for s in scores], [np.asarray(y) for y in labels]
    if len(values) != len(truths) or not values:
        raise DataError(f"Expected scores and labels of the same videos; got {len(values):,} and {len(truths):,}.")
    for number, (one, truth) in enumerate(zip(values, truths, strict=True), start=1):
        _check_video(number, one, truth)
    pooled = np.concatenate(truths)
    if pooled.min() == pooled.max():
        only = "anomalous" if pooled[0] else "normal"
        raise DataError(f"Frames can be ranked where both classes are; all {len(pooled):,} frames are {only}.")
    within = [auroc(y, s) for s, y in zip(values, truths, strict=True) if y.min() < y.max()]
    macro = float(np.mean(within)) if within else None
    return FrameAuroc(auroc(pooled, np.concatenate(values)), macro, len(values), len(values) - len(within))


def regularity(scores: ArrayLike) -> Floats:
    """Return 1 − (e − min e) / (max e − min e) over one video, shape (frames,): 1 = its most usual frame.

    For comparison with papers only, in benchmarks and reports; never a score. It looks at the whole video, the future
    included, so no frame can be judged when it comes, and every video has a frame at 0, also one without anomalies.

    Parameters
    ----------
    scores : array, shape (frames,)
        Finite, greater = more anomalous. Where all are equal the regularity is 1.
    """
    errors = np.asarray(scores, dtype=np.float64)
    if errors.ndim != 1 or len(errors) == 0 or not np.isfinite(errors).all():
        raise DataError(f"The scores of a video must be finite numbers of shape (frames,); got shape {errors.shape}.")
    span = errors.max() - errors.min()
    if span == 0:
        return np.ones_like(errors)
    result: Floats = 1 - (errors - errors.min()) / span
    return result


def _check_video(number: int, scores: Floats, labels: NDArray[np.generic]) -> None:
    if scores.ndim != 1 or len(scores) == 0 or labels.shape != scores.shape:
        raise DataError(
            f"Video {number}: expected one score and one label per frame; got shapes {scores.shape} and {labels.shape}."
        )
    if not np.isfinite(scores).all():
        raise DataError(f"Video {number}: scores must be finite; {int((~np.isfinite(scores)).sum()):,} are not.")
    if labels.dtype.kind not in "biuf" or not np.isin(labels, (0, 1)).all():
        raise DataError(f"Video {number}: labels must be 0 (normal) or 1 (anomaly); others came.")
