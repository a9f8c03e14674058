"""The report on video: a timeline of each recording, and the frames at the highest peaks.

Scores of frames are those of their clips. Recordings are gone through one after the other; what is kept of each is its
scores and the clips at a few of its peaks. Letters: t frames, c h w channels, height, width.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from offnormal.data.video import Recording, resized_to
from offnormal.errors import DataError, NotSupported
from offnormal.frame_scores import place_in_clip, score_frames
from offnormal.metrics.frames import regularity
from offnormal.report import card, curves
from offnormal.report.axes import Axis, nice_values
from offnormal.report.explore import Explorable, explored
from offnormal.report.images import Pictured, shown
from offnormal.report.numerals import number, percent, tick
from offnormal.report.words import Words
from offnormal.residual_places import places

Floats = NDArray[np.float64]

WIDE, NARROW, HEIGHT, LEFT, BOTTOM = 920, 360, 130, 8, 22
TOP, TALL = 8, HEIGHT - BOTTOM - 16
_TICK_ROOM = 150  # pixels
_NEAR_THE_END = 0.95  # of the timeline: a label in the middle of its place would leave the picture


@dataclass(frozen=True)
class Peak:
    """A frame whose score is the highest for a clip's length around it, the clip, and the frame's place in it."""

    film: int
    frame: int
    score: float
    clip: NDArray[np.uint8]
    place: int


@dataclass(frozen=True)
class Film:
    """The scores of one recording.

    Attributes
    ----------
    scores : array, shape (t,)
        NaN where no whole clip belongs to the frame.
    labels : array of 0 and 1, shape (t,), or None
    """

    name: str
    scores: Floats
    fps: float | None
    labels: NDArray[np.int64] | None = None

    def moment(self, frame: int) -> str:
        """Return when a frame is, in words without a language: "frame / seconds"."""
        return f"{frame:,}" if self.fps is None else f"{frame:,} ({frame / self.fps:.2f} s)"


def gather(
    detector: Any,
    recordings: Iterable[Recording],
    *,
    align: str = "center",
    labels: Mapping[str, NDArray[np.int64]] | None = None,
    top: int = 12,
) -> tuple[list[Film], list[Peak]]:
    """Score every recording; return them, and the highest peaks of all, highest first.

    Raises
    ------
    DataError
        If no frame of any recording has a score.
    """
    _, length, height, width = detector.schema_.shape
    place = place_in_clip(length, align)
    films: list[Film] = []
    peaks: list[Peak] = []
    for recording in recordings:
        scores = score_frames(detector, recording, align=align)
        frames = resized_to(recording, (height, width)).frames
        for frame in _peaks(scores, length)[:top]:
            clip = frames[frame - place : frame - place + length].transpose(1, 0, 2, 3)
            peaks.append(Peak(len(films), frame, float(scores[frame]), np.ascontiguousarray(clip), place))
        peaks = sorted(peaks, key=lambda peak: -peak.score)[:top]  # of many recordings only these are kept
        films.append(Film(recording.name, scores, recording.fps, (labels or {}).get(recording.name)))
    if not peaks:
        raise DataError(f"No recording has {length} frames, as many as a clip of the model; nothing has a score.")
    return films, peaks


def _peaks(scores: Floats, apart: int) -> list[int]:
    """Return the frames of the highest scores, highest first, no two nearer than `apart`."""
    left = np.where(np.isfinite(scores), scores, -np.inf)
    found = []
    while len(left) and np.isfinite(left.max()):
        frame = int(left.argmax())
        found.append(frame)
        left[max(frame - apart + 1, 0) : frame + apart] = -np.inf
    return found


def page(
    detector: Any, films: Sequence[Film], peaks: Sequence[Peak], words: Words, title: str | None
) -> dict[str, Any]:
    """Return the template's context."""
    method, cut = type(detector).__name__, detector.threshold_
    known = [np.isfinite(film.scores) for film in films]
    scores = np.concatenate([film.scores[mask] for film, mask in zip(films, known, strict=True)])
    axis = Axis.of_values(np.append(scores, cut.value if np.isfinite(cut.value) else scores[0]), scores)
    kinds = [film.name for film, mask in zip(films, known, strict=True) for _ in range(int(mask.sum()))]
    flagged = int((scores > cut.value).sum())
    share = percent(flagged / len(scores))
    return {
        "t": words,
        "title": title or words("film.title"),
        "subtitle": words("film.of", method=method, recordings=len(films), frames=len(scores)),
        "made": words(
            "page.made", version=card.version_of("offnormal"), date=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
        ),
        "alarm": flagged > 0,
        "headline": words(
            "film.headline" if flagged else "film.none", flagged=flagged, frames=len(scores), share=share
        ),
        "cut": words(
            "film.cut" if detector.calibration_.n else "film.cut_of_training",
            cut=number(cut.value),
            rule=cut.rule,
            clips=detector.calibration_.n,
        ),
        "explore": explored(Explorable(scores, float(cut.value), tuple(kinds), in_order=True), words),
        "timelines": [
            {
                "name": film.name,
                "wide": timeline(film, cut.value, axis, words, WIDE),
                "narrow": timeline(film, cut.value, axis, words, NARROW),
                "said": _said(film, cut.value, words),
            }
            for film in films
        ],
        "axis": json.dumps({**asdict(axis), "top": TOP, "tall": TALL}),
        "labeled": any(film.labels is not None for film in films),
        "peaks": _pictured(detector, films, peaks, words),
        "training": curves.training(detector, words, method),
        "model": card.model(detector, words, method),
    }


def _said(film: Film, cut: float, words: Words) -> str:
    known = film.scores[np.isfinite(film.scores)]
    if not len(known):
        return words("film.too_short")
    return words(
        "film.said",
        frames=len(known),
        flagged=int((known > cut).sum()),
        runs=len(_runs(film.scores > cut)),
        least=f"{regularity(known).mean():.2f}",
    )


def _pictured(detector: Any, films: Sequence[Film], peaks: Sequence[Peak], words: Words) -> dict[str, Any]:
    """Return the frames at the peaks: as they are, as the model rebuilds them, and where they differ."""
    clips = np.stack([peak.clip for peak in peaks])
    place = peaks[0].place
    maps = rebuilt = None
    with contextlib.suppress(NotSupported):
        maps = detector.residual_maps(clips)[:, place]
        rebuilt = (detector.reconstruct(clips)[:, :, place] * 255).round().astype(np.uint8)
    found = () if maps is None else tuple(places(one) for one in maps)
    names = tuple(f"{films[peak.film].name}, {films[peak.film].moment(peak.frame)}" for peak in peaks)
    pictures = shown(Pictured(clips[:, :, place], rebuilt, maps, found), names, words)
    cut = detector.threshold_.value
    rows = [
        {
            "name": films[peak.film].name,
            "moment": films[peak.film].moment(peak.frame),
            "score": number(peak.score, 4),
            "exact_score": repr(peak.score),
            "flagged": peak.score > cut,
        }
        for peak in peaks
    ]
    return {"rows": rows, "pictures": pictures}


def timeline(film: Film, cut: float, axis: Axis, words: Words, width: int) -> Markup:
    """Draw the scores of a recording over its frames, with the cut, what is beyond it, and its labels below."""
    scores, n = film.scores, len(film.scores)
    known = scores[np.isfinite(scores)]
    if not len(known):
        return Markup("")

    def x(frame: float) -> float:
        return round(LEFT + (width - 2 * LEFT) * frame / max(n - 1, 1), 1)

    def y(score: float) -> float:
        return round(TOP + TALL * (1 - float(axis.place(score))), 1)

    parts = [_band(film, x, scores > cut, "beyond"), *([] if film.labels is None else [_marks(film, x)])]
    step = max(2 * n // width, 1)  # a point for every two pixels
    path, pen = "", "M"
    for start in range(0, n, step):  # the highest of some frames, so that no peak is lost
        part = scores[start : start + step]
        if not np.isfinite(part).any():
            pen = "M"
            continue
        path += f"{pen}{x(start + int(np.nanargmax(part)))} {y(float(np.nanmax(part)))}"
        pen = "L"
    parts.append(Markup('<path class="line" d="{}"/>').format(path))
    if np.isfinite(cut):
        parts.append(Markup('<path class="threshold" d="M{} {y}H{}"/>').format(LEFT, width - LEFT, y=y(cut)))
    parts += _ticks(film, x, max(width // _TICK_ROOM, 2))
    low, high = number(float(known.min())), number(float(known.max()))
    parts.append(Markup('<text x="{}" y="{}">{}</text>').format(LEFT, y(float(known.max())) + 4, high))
    label = words("film.timeline", name=film.name, low=low, high=high, cut=number(cut))
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        width, HEIGHT, label, Markup("").join(parts)
    )


def _ticks(film: Film, x: Any, most: int) -> list[Markup]:
    """Return round frames, or seconds where they are known, below the timeline."""
    a_second, last = film.fps or 1.0, max(len(film.scores) - 1, 1)
    values, step = nice_values(0.0, last / a_second, most)
    if film.fps is None and step < 1:
        values, step = np.arange(last + 1, dtype=np.float64), 1.0
    ticks = []
    for value in values:
        text = f"{value:,.0f}" if film.fps is None else f"{tick(float(value), step)} s"
        anchor = "start" if value == 0 else "end" if value * a_second > _NEAR_THE_END * last else "middle"
        place = '<text x="{}" y="{}" text-anchor="{}">{}</text>'
        ticks.append(Markup(place).format(x(value * a_second), HEIGHT - 4, anchor, text))
    return ticks


def _band(film: Film, x: Any, chosen: NDArray[np.bool_], style: str) -> Markup:
    """Shade the runs of frames that are chosen."""
    return Markup("").join(
        Markup('<rect class="{}" x="{}" y="4" width="{}" height="{}"/>').format(
            style, x(start), max(round(x(end - 1) - x(start), 1), 1.5), HEIGHT - BOTTOM - 8
        )
        for start, end in _runs(chosen)
    )


def _marks(film: Film, x: Any) -> Markup:
    """Draw a bar below the frames that the labels call anomalous."""
    assert film.labels is not None
    return Markup("").join(
        Markup('<rect class="labeled" x="{}" y="{}" width="{}" height="4"/>').format(
            x(start), HEIGHT - BOTTOM - 2, max(round(x(end - 1) - x(start), 1), 1.5)
        )
        for start, end in _runs(film.labels == 1)
    )


def _runs(chosen: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return the first frame of each run of chosen ones, and the frame after its last."""
    changes = np.diff(np.concatenate([[False], chosen, [False]]).astype(np.int8))
    return list(zip(np.flatnonzero(changes == 1).tolist(), np.flatnonzero(changes == -1).tolist(), strict=True))
