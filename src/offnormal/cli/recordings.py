"""Recordings as DATA: what counts as video, its clips for training, and one row of scores per frame."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from offnormal.cli.console import answers, how_many, messages, print_json, say
from offnormal.cli.progress import counting
from offnormal.cli.reading import STANDARD_STREAM
from offnormal.errors import DataError, InvalidParameter

if TYPE_CHECKING:
    import numpy as np

    from offnormal.data.video import Recording
    from offnormal.detector import Detector

    Array = np.ndarray[Any, Any]

DEFAULT_LENGTH, DEFAULT_STRIDE = 16, 4
RECORDINGS_TO_KEEP_WHOLE = 5  # of fewer, one is too much to lose
_COLORS = {"auto": "auto", "grey": "grey", "rgb": "color"}  # as typed, and as `read_recordings` has it


def are_recordings(data: str) -> bool:
    """Return whether DATA says by itself that it is video: a file of video, or a folder with such and no images."""
    from offnormal.data.images import SUFFIXES
    from offnormal.data.video import VIDEO_SUFFIXES

    place = Path(data)
    if not place.is_dir():
        return place.suffix.lower() in VIDEO_SUFFIXES
    names = [name.lower() for _, _, files in os.walk(place) for name in files if not name.startswith(".")]
    return any(name.endswith(VIDEO_SUFFIXES) for name in names) and not any(name.endswith(SUFFIXES) for name in names)


def seen_by(detector: Detector) -> bool:
    """Return whether the model was fitted to clips."""
    return getattr(detector.schema_, "noun", "row") == "clip"


def refuse_options(data: str, given: Mapping[str, object]) -> None:
    """Raise for the first option that was given and that video has not."""
    for option, value in given.items():
        if value:
            raise InvalidParameter(f"{option} has no meaning for video, and {data!r} is taken for that: leave it out.")


def refuse_video_options(data: str, given: Mapping[str, object]) -> None:
    """Raise for the first option that was given and that only video has."""
    for option, value in given.items():
        if value:
            raise InvalidParameter(
                f"{option} is for video, and {data!r} is not taken for that: leave it out, or add --video where "
                "folders of frames are meant."
            )


# --- training ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wanted:
    """How recordings are to be read and cut for training.

    Attributes
    ----------
    size : (height, width) or None
        None: the size that most of them have.
    color : {"auto", "grey", "rgb"}
    length, stride : int
        Frames of a clip, and from one beginning to the next.
    strict : bool
        Whether to stop at the first recording that cannot be read.
    """

    size: tuple[int, int] | None = None
    color: str = "auto"
    length: int = DEFAULT_LENGTH
    stride: int = DEFAULT_STRIDE
    strict: bool = False

    @classmethod
    def of(
        cls, size: tuple[int, int] | None, color: str, length: int | None, stride: int | None, *, strict: bool
    ) -> Wanted:
        """Return it as the options say, with the defaults where they say nothing."""
        return cls(size, color, length or DEFAULT_LENGTH, stride or DEFAULT_STRIDE, strict)


class Cut(NamedTuple):
    """Clips to train on, clips of frames that training never sees, and what they were cut from.

    Attributes
    ----------
    training, kept_out : array of uint8, shape (clips, c, t, h, w)
        Kept out is every clip, as every clip will be scored; none where nobody asked for it, or the recordings are too
        short.
    groups : array of int, shape (clips,), or None
        The recording of each training clip: clips of one share frames, so early stopping holds out whole ones. None of
        a single recording.
    seen : str
        "16 recordings, 2,550 frames".
    apart : int
        How many recordings the clips that are kept out come from.
    """

    training: Array
    kept_out: Array
    groups: Array | None
    seen: str
    apart: int


def cut(data: str, wanted: Wanted, seed: int | None, quiet: bool) -> Cut:
    """Read DATA and cut it into clips.

    Parameters
    ----------
    seed : int or None
        Picks the recordings to keep out; None: train on all.

    Raises
    ------
    DataError, FileUnreadable
        If there is no recording as long as a clip, or nothing can be read.
    """
    import numpy as np

    from offnormal.data.video import resized_to

    found = _all_read(data, wanted, quiet)
    long = [recording for recording in found if len(recording) >= wanted.length]
    if not long:
        raise DataError(
            f"No recording in {data!r} is as long as a clip of {wanted.length} frames; the longest has "
            f"{max(map(len, found)):,}. Make clips shorter with --clip-length."
        )
    if len(long) < len(found):
        short = [recording.name for recording in found if len(recording) < wanted.length]
        warnings.warn(
            f"{len(short):,} of {how_many(len(found), 'recording')} are shorter than a clip of {wanted.length} frames "
            f"and passed over: {short[0]!r}{' and others' if len(short) > 1 else ''}.",
            UserWarning,
            stacklevel=2,
        )
    size = wanted.size or Counter(recording.frames.shape[2:] for recording in long).most_common(1)[0][0]
    borders = _borders([len(recording) for recording in long], wanted.length, seed)
    seen = f"{how_many(len(long), 'recording')}, {how_many(sum(map(len, long)), 'frame')}"
    frames = [resized_to(recording, size).frames for recording in long]
    before = [one[:border] for one, border in zip(frames, borders, strict=True)]
    after = [one[border:] for one, border in zip(frames, borders, strict=True)]
    training = _clips_of_all(before, wanted.length, wanted.stride)
    kept_out = _clips_of_all(after, wanted.length, 1)
    counts = _counts(before, wanted.length, wanted.stride)
    groups = np.repeat(np.arange(len(counts)), counts) if np.count_nonzero(counts) > 1 else None
    return Cut(training, kept_out, groups, seen, sum(len(one) >= wanted.length for one in after))


def _borders(lengths: list[int], length: int, seed: int | None) -> list[int]:
    """Return, of each recording, the frame from which on it is kept out of training; its length: none is.

    From five recordings on a tenth of them, at least one, is kept out whole, which is what new recordings are like.
    Fewer lose their last tenth, at least two clips long; if they are too short for that, one of several is kept out.
    """
    from offnormal.random import numpy_generator

    if seed is None:
        return lengths
    tails = [max(2 * length, frames // 10) for frames in lengths]
    borders = [
        frames - tail if frames - tail >= length else frames for frames, tail in zip(lengths, tails, strict=True)
    ]
    if len(lengths) == 1 or (len(lengths) < RECORDINGS_TO_KEEP_WHOLE and borders != lengths):
        return borders
    count = max(round(len(lengths) / 10), 1)
    whole = set(numpy_generator(seed, "calibration").permutation(len(lengths))[:count].tolist())
    return [0 if number in whole else frames for number, frames in enumerate(lengths)]


def _counts(parts: list[Array], length: int, stride: int) -> list[int]:
    """Return how many clips each part has."""
    return [len(range(0, len(part) - length + 1, stride)) for part in parts]


def _clips_of_all(parts: list[Array], length: int, stride: int) -> Array:
    """Return the clips of all parts in one array, (clips, c, t, h, w)."""
    import numpy as np

    from offnormal.data.video import clips_of

    counts = _counts(parts, length, stride)
    _, channels, height, width = parts[0].shape
    clips = np.empty((sum(counts), channels, length, height, width), np.uint8)
    for part, end, count in zip(parts, np.cumsum(counts), counts, strict=True):
        if count:
            clips[end - count : end] = clips_of(part, length, stride)
    return clips


def _all_read(data: str, wanted: Wanted, quiet: bool) -> list[Recording]:
    from offnormal.data.video import expect_some

    unreadable: dict[str, str] = {}
    found = list(_each(data, wanted.size, _COLORS[wanted.color], unreadable, strict=wanted.strict, quiet=quiet))
    expect_some(len(found), unreadable, data)
    channels = [recording.frames.shape[1] for recording in found]
    if len(set(channels)) > 1:
        grey = found[channels.index(min(channels))].name
        colored = found[channels.index(max(channels))].name
        raise DataError(
            f"{grey!r} in {data!r} is grey and {colored!r} is in color. Say what all should be: --color grey or "
            "--color rgb."
        )
    return found


def _each(
    data: str,
    size: tuple[int, int] | None,
    color: str,
    unreadable: dict[str, str],
    *,
    strict: bool,
    quiet: bool,
    doing: str = "Reading",
) -> Iterator[Recording]:
    """Read one recording after the other; note in `unreadable` what cannot be read, or stop there if strict."""
    from offnormal.data.video import find_recordings

    sources = find_recordings(data)
    with counting(f"{doing} {data}", len(sources), quiet, noun="recording") as advance:
        for source in sources:
            try:
                yield from source.read(size, color)
            except DataError as error:
                if strict:
                    raise
                unreadable[source.name] = str(error)
            advance(1)


def calibrate(detector: Detector, kept_out: Array, recordings: int) -> None:
    """Let the cut and the p-values of a trained model rest on clips whose frames training never saw.

    A random tenth of the clips, as `fit` would hold out, is no such thing: each shares all frames but a few with clips
    that were trained on.
    """
    import numpy as np

    from offnormal import thresholds
    from offnormal.calibration import Calibration

    scores = np.sort(detector.anomaly_score(kept_out))
    detector.calibration_ = Calibration(scores, "holdout", recordings)
    detector.set_params(calibration="holdout")
    if detector.contamination is None:
        cut = thresholds.default_cut(scores)
        detector.threshold_ = replace(cut, promise=detector.calibration_.promise(cut, whole=False))
        detector.offset_ = -float(detector.threshold_.value)


def learned(clips: Cut, detector: Detector) -> dict[str, str]:
    """Return what a model was fitted to, and with what caution the rate that its threshold gives is to be taken."""
    from offnormal import thresholds
    from offnormal.data.pixel_arrays import shape_in_words

    rated = detector.threshold_.rule.partition(":")[0] in thresholds.WITH_RATE
    use = "the threshold" if detector.contamination is None else "p-values"
    apart = f", and {len(clips.kept_out):,} of other frames for {use}" if len(clips.kept_out) else ""
    said = {
        "video": clips.seen,
        "clips": f"{len(clips.training):,}{apart}",
        "each": shape_in_words(clips.training.shape[1:]),
    }
    if rated and len(clips.kept_out):
        said["caution"] = (
            f"the clips for the threshold come from {how_many(clips.apart, 'recording')}, and those of one are alike: "
            "on other recordings the rate of false alarms can be far from what is promised; measure it on normal ones"
        )
    return said


# --- scoring ----------------------------------------------------------------------------------------------------------


def scored(
    detector: Detector, data: str, align: str, *, strict: bool, quiet: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read and score one recording after the other.

    Returns
    -------
    dict
        The columns video, frame, time_s, anomaly_score, p_value and is_anomaly; frames without a whole clip, and times
        that are not known, have empty cells.
    dict
        How many videos and frames there were, how many frames have a score, how many are flagged, and what could not
        be read.
    """
    import numpy as np
    import pyarrow as pa

    from offnormal import thresholds
    from offnormal.data.video import expect_some
    from offnormal.frame_scores import score_frames

    names: list[str] = []
    parts: list[tuple[Array, Array, Array]] = []
    unreadable: dict[str, str] = {}
    for recording in each(detector, data, unreadable, strict=strict, quiet=quiet):
        frames = np.arange(len(recording))
        times = frames / recording.fps if recording.fps else np.full(len(frames), np.nan)
        parts.append((frames, times, score_frames(detector, recording, align=align)))
        names += [recording.name] * len(frames)
    expect_some(len(parts), unreadable, data)
    frames, times, scores = (np.concatenate(column) for column in zip(*parts, strict=True))
    known, calibration = np.isfinite(scores), detector.calibration_.scores
    p = np.full(len(scores), np.nan)
    if len(calibration):
        p[known] = thresholds.p_values(calibration, scores[known])
    flagged = scores > detector.threshold_.value
    columns = {"video": names, "frame": frames, "time_s": times, "anomaly_score": scores, "p_value": p}
    counts: dict[str, Any] = {"videos": len(parts), "frames": len(scores), "scored": int(known.sum())}
    counts |= {"flagged": int(flagged.sum()), "rule": detector.threshold_.rule, "unreadable": unreadable}
    return columns | {"is_anomaly": pa.array(flagged, mask=~known)}, counts


def each(
    detector: Detector, data: str, unreadable: dict[str, str], *, strict: bool, quiet: bool
) -> Iterator[Recording]:
    """Read one recording after the other in the size and the colors of the model; note what cannot be read."""
    channels, _, height, width = detector.schema_.shape
    color = {1: "grey", 3: "color"}.get(channels, "auto")
    yield from _each(data, (height, width), color, unreadable, strict=strict, quiet=quiet, doing="Scoring")


def tell(counts: Mapping[str, Any], output: str, *, quiet: bool, as_json: bool) -> None:
    """Say what a run of `score` found, and where the scores are."""
    if as_json:
        print_json({"output": output, **counts})
    elif not quiet:
        to_stream = output == STANDARD_STREAM
        where = "Scores went to standard output" if to_stream else f"Scores are in {output}"
        of = f"{how_many(counts['scored'], 'scored frame')} of {how_many(counts['videos'], 'recording')}"
        share = f"{counts['flagged'] / counts['scored']:.2%}; " if counts["scored"] else ""
        console = messages() if to_stream else answers()
        say(console, f"{counts['flagged']:,} of {of} flagged ({share}{counts['rule']}). {where}.")
