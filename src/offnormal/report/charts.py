"""Charts as inline SVG: no script, no file, colors from the page's style sheet, every mark with a tooltip.

All text passes through `Markup.format`, which escapes it. Widths are in CSS pixels of the viewBox; a wide and a narrow
version of the same chart keep letters readable on a desk and on a phone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from offnormal.report.axes import Axis, Floats
from offnormal.report.numerals import number, tenths
from offnormal.report.words import Words

_LETTER = 6.6  # width of a letter at the charts' font size, on average, in pixels
_Y_TICKS = 5
_MARKED_POINTS = 60  # points of a curve that carry a tooltip


@dataclass(frozen=True)
class Histogram:
    """Rows counted by score.

    Attributes
    ----------
    edges : ndarray, shape (bins + 1,)
        In score units; the cut, if inside, is one of them, so that no bar is half flagged.
    counts, expected : ndarray, shape (bins,)
        Rows scored, and calibration rows scaled to as many rows.
    """

    axis: Axis
    edges: Floats
    counts: NDArray[np.int64]
    expected: Floats
    cut: float


@dataclass(frozen=True)
class Curve:
    """One line of a panel of curves."""

    label: str
    xs: Floats
    ys: Floats
    style: str


@dataclass(frozen=True)
class Cloud:
    """Rows in the plane of two code axes."""

    x_name: str
    y_name: str
    points: Floats
    flagged: NDArray[np.bool_]
    rows: NDArray[np.int64]


@dataclass(frozen=True)
class Frame:
    """The drawing area inside its margins, in pixels."""

    width: int
    height: int
    left: int = 52
    right: int = 16
    top: int = 30
    bottom: int = 46

    def x(self, place: float) -> float:
        """Return the pixel of a place between 0 and 1 along the horizontal axis."""
        return round(self.left + place * (self.width - self.left - self.right), 1)

    def y(self, place: float) -> float:
        """Return the pixel of a place between 0 and 1 along the vertical axis."""
        return round(self.height - self.bottom - place * (self.height - self.top - self.bottom), 1)


def histogram(data: Histogram, words: Words, *, width: int) -> Markup:
    """Draw rows by score: bars for the scored rows, an outline for the calibration rows, a line for the threshold."""
    heights = count_axis(data)
    frame = Frame(width, 320 if width > 500 else 270, left=_room_for(heights))
    rows_title = words("chart.rows_log" if heights.scale == "log" else "chart.rows")
    x_title = words("chart.score_compressed" if data.axis.scale == "compressed" else "chart.score")
    if width < 500:
        x_title = words("chart.score_short")
    parts = [_grid(frame, data.axis, heights, x_title, rows_title)]
    for i, count in enumerate(data.counts):
        if count:
            parts.append(_bar(data, i, frame, heights, words))
    parts.append(_outline(data, frame, heights))
    if np.isfinite(data.cut):
        parts.append(_threshold_line(data, frame, words))
    flagged = int(data.counts[data.edges[:-1] >= data.cut].sum())
    summary = words(
        "chart.histogram_alt",
        n=int(data.counts.sum()),
        low=number(data.axis.low),
        high=number(data.axis.high),
        cut=number(data.cut),
        flagged=flagged,
    )
    return _svg(frame, words("chart.histogram_title"), summary, parts)


def count_axis(data: Histogram) -> Axis:
    """Return the vertical axis: no rows to the greatest bar."""
    return Axis.of_counts(np.concatenate([data.counts, data.expected[data.expected >= 1]]))


def _bar(data: Histogram, i: int, frame: Frame, heights: Axis, words: Words) -> Markup:
    left, right = (frame.x(float(p)) for p in data.axis.place(data.edges[i : i + 2]))
    top = frame.y(float(heights.place(data.counts[i])))
    is_flagged = data.edges[i] >= data.cut
    text = words(
        "chart.bar_flagged" if is_flagged else "chart.bar",
        low=number(data.edges[i]),
        high=number(data.edges[i + 1]),
        rows=words.count("row", int(data.counts[i])),
        expected=number(round(float(data.expected[i]), 1)),
    )
    return Markup('<rect class="{}" x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>').format(
        "bar-flagged" if is_flagged else "bar",
        left,
        top,
        round(max(right - left - 0.8, 0.8), 1),
        round(max(frame.y(0) - top, 1.0), 1),
        text,
    )


def _outline(data: Histogram, frame: Frame, heights: Axis) -> Markup:
    xs = [frame.x(float(p)) for p in data.axis.place(data.edges)]
    ys = [frame.y(float(p)) for p in heights.place(data.expected)]
    steps = "".join(f"V{y}H{x}" for y, x in zip(ys, xs[1:], strict=True))
    return Markup('<path class="outline" d="M{} {}{}V{}"/>').format(xs[0], frame.y(0), steps, frame.y(0))


def _threshold_line(data: Histogram, frame: Frame, words: Words) -> Markup:
    x = frame.x(float(data.axis.place(data.cut)))
    label = words("chart.threshold", cut=number(data.cut))
    room = len(label) * _LETTER * (1.0 if label.isascii() else 1.4)
    at_end = x + 6 + room > frame.width
    return Markup(
        '<line class="threshold" x1="{x}" y1="{top}" x2="{x}" y2="{bottom}"/>'
        '<text class="threshold-label" x="{tx}" y="{ty}" text-anchor="{anchor}">{label}</text>'
    ).format(
        x=x,
        top=frame.top - 12,
        bottom=frame.y(0),
        tx=x - 6 if at_end else x + 6,
        ty=frame.top - 4,
        anchor="end" if at_end else "start",
        label=label,
    )


def curves(title: str, lines: Sequence[Curve], kept: int | None, words: Words) -> Markup:
    """Draw one loss over the epochs: training and held-out rows as lines, the epoch that was kept as a mark."""
    xs = np.concatenate([line.xs for line in lines])
    axis = Axis(float(xs.min()), float(max(xs.max(), xs.min() + 1)))
    heights = Axis.of_losses(np.concatenate([line.ys for line in lines]))
    frame = Frame(300, 210, left=_room_for(heights), right=12)
    y_title = f"{title} ({words('chart.log')})" if heights.scale == "log" else title
    parts = [_grid(frame, axis, heights, words("chart.epoch"), y_title, whole=True)]
    if kept is not None:
        x = frame.x(float(axis.place(kept)))
        parts.append(
            Markup('<line class="kept" x1="{x}" y1="{}" x2="{x}" y2="{}"><title>{}</title></line>').format(
                frame.y(1), frame.y(0), words("chart.kept", epoch=kept), x=x
            )
        )
    parts += [_line(line, frame, axis, heights, words) for line in lines]
    summary = " ".join(
        words(
            "chart.curve_alt",
            label=line.label,
            first=number(float(line.ys[0])),
            last=number(float(line.ys[-1])),
            epoch=int(line.xs[-1]),
        )
        for line in lines
    )
    return _svg(frame, title, summary, parts)


def _line(line: Curve, frame: Frame, axis: Axis, heights: Axis, words: Words) -> Markup:
    kept = np.flatnonzero(np.isfinite(line.ys))
    xs, ys = axis.place(line.xs[kept]), heights.place(line.ys[kept])
    path = "".join(
        f"{'L' if i else 'M'}{frame.x(float(x))} {frame.y(float(y))}"
        for i, (x, y) in enumerate(zip(xs, ys, strict=True))
    )
    stride = -(-len(kept) // _MARKED_POINTS) or 1
    marks = [
        Markup('<circle class="hit {}" cx="{}" cy="{}" r="5"><title>{}</title></circle>').format(
            line.style,
            frame.x(float(xs[i])),
            frame.y(float(ys[i])),
            words(
                "chart.point",
                epoch=int(line.xs[kept[i]]),
                label=line.label,
                value=number(float(line.ys[kept[i]]), 4),
            ),
        )
        for i in range(0, len(kept), stride)
    ]
    return Markup('<path class="line {}" d="{}"/>').format(line.style, path) + Markup("").join(marks)


def scatter(cloud: Cloud, words: Words) -> Markup:
    """Draw rows by two code axes: dots for the rest, triangles for flagged rows."""
    axes, titles = [], []
    for i, title in enumerate((cloud.x_name, cloud.y_name)):
        values = cloud.points[:, i]
        rest = values[~cloud.flagged]
        axis = Axis.of_values(values, rest if len(rest) else values)
        axes.append(axis)
        titles.append(f"{title} ({words('chart.compressed')})" if axis.scale == "compressed" else title)
    frame = Frame(300, 270, left=_room_for(axes[1]), right=12)
    parts = [_grid(frame, axes[0], axes[1], titles[0], titles[1])]
    # Five pixels of air, so that rows at the ends of an axis are drawn whole.
    xs, ys = (0.02 + 0.96 * axis.place(cloud.points[:, i]) for i, axis in enumerate(axes))
    at = [(frame.x(float(x)), frame.y(float(y))) for x, y in zip(xs, ys, strict=True)]
    dots = "".join(f"M{x} {y}h0" for (x, y), marked in zip(at, cloud.flagged, strict=True) if not marked)
    parts.append(Markup('<path class="dots" d="{}"/>').format(dots))
    for i in np.flatnonzero(cloud.flagged).tolist():
        x, y = at[i]
        text = words(
            "chart.flagged_point",
            row=int(cloud.rows[i]),
            x_name=cloud.x_name,
            x=number(cloud.points[i, 0]),
            y_name=cloud.y_name,
            y=number(cloud.points[i, 1]),
        )
        parts.append(
            Markup('<path class="mark" d="M{} {}l4 7h-8z"><title>{}</title></path>').format(x, round(y - 4, 1), text)
        )
    summary = words("chart.scatter_alt", n=len(cloud.rows), flagged=int(cloud.flagged.sum()))
    return _svg(frame, f"{cloud.x_name} × {cloud.y_name}", summary, parts)


def bars(shares: Sequence[tuple[str, float]], greatest: float) -> Markup:
    """Draw one table cell's bar from (style, share) pieces side by side; decoration, the number stands beside it."""
    pieces, left = [], 0.0
    for style, share in shares:
        width = 100 * max(share, 0.0) / greatest if greatest > 0 else 0.0
        if width > 0:
            pieces.append(
                Markup('<rect class="{}" x="{}%" y="1" width="{}%" height="10"><title>{}</title></rect>').format(
                    style, round(left, 2), round(width, 2), tenths(share)
                )
            )
        left += width
    return Markup('<svg class="cell-bar" height="12" aria-hidden="true">{}</svg>').format(Markup("").join(pieces))


def _grid(frame: Frame, x_axis: Axis, y_axis: Axis, x_title: str, y_title: str, *, whole: bool = False) -> Markup:
    """Draw grid lines, tick labels and the titles of both axes; `whole` keeps horizontal ticks to whole numbers."""
    parts = []
    for place, label in y_axis.ticks(_Y_TICKS):
        parts.append(
            Markup(
                '<line class="grid" x1="{}" y1="{y}" x2="{}" y2="{y}"/><text x="{}" y="{}" text-anchor="end">{}</text>'
            ).format(frame.x(0), frame.x(1), frame.left - 7, frame.y(place) + 4, label, y=frame.y(place))
        )
    many = max(2, int((frame.width - frame.left - frame.right) // 56))
    for place, label in x_axis.ticks(many):
        if whole and "." in label:
            continue
        parts.append(
            Markup(
                '<line class="tick" x1="{x}" y1="{}" x2="{x}" y2="{}"/>'
                '<text x="{x}" y="{}" text-anchor="middle">{}</text>'
            ).format(frame.y(0), frame.y(0) + 5, frame.y(0) + 18, label, x=frame.x(place))
        )
    parts.append(
        Markup('<line class="base" x1="{}" y1="{y}" x2="{}" y2="{y}"/>').format(frame.x(0), frame.x(1), y=frame.y(0))
    )
    middle = (frame.x(0) + frame.x(1)) / 2
    parts.append(
        Markup('<text class="axis-title" x="{}" y="{}" text-anchor="middle">{}</text>').format(
            middle, frame.height - 8, _fitted(x_title, frame.width - frame.left)
        )
    )
    parts.append(Markup('<text class="y-title" x="2" y="13">{}</text>').format(_fitted(y_title, frame.width - 8)))
    return Markup("").join(parts)


def _room_for(axis: Axis) -> int:
    """Return the left margin that the labels of a vertical axis need, in pixels."""
    longest = max((len(label) for _, label in axis.ticks(_Y_TICKS)), default=1)
    return max(36, round(16 + 7.2 * longest))


def _fitted(text: str, room: float) -> str:
    """Return `text`, shortened to `room` pixels."""
    letters = int(room / (_LETTER if text.isascii() else 1.4 * _LETTER))
    return text if len(text) <= letters else text[: max(1, letters - 1)] + "…"


def _svg(frame: Frame, title: str, summary: str, parts: Sequence[Markup]) -> Markup:
    return Markup(
        '<svg viewBox="0 0 {w} {h}" style="max-width:{most}px" role="img" aria-label="{title}. {summary}">{parts}</svg>'
    ).format(
        w=frame.width,
        h=frame.height,
        most=round(frame.width * 1.25) if frame.width < 500 else frame.width,
        title=title,
        summary=summary,
        parts=Markup("").join(parts),
    )
