"""One self-contained HTML page about a model and the rows it scored; it works offline and loads nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from offnormal.data.video import Recording
from offnormal.data.writing import replacing
from offnormal.errors import EnvironmentFailure, InvalidParameter, OffnormalError
from offnormal.report import film
from offnormal.report.evidence import FittedDetector, gather, of_images
from offnormal.report.images import MaskOf
from offnormal.report.page import page
from offnormal.report.words import LANGUAGES, Words

__all__ = ["LANGUAGES", "render", "render_video"]


def render(
    detector: FittedDetector,
    table: Any,
    destination: str | Path,
    *,
    lang: str = "en",
    labels: Any = None,
    kinds: Sequence[str | None] | None = None,
    mask_of: MaskOf | None = None,
    title: str | None = None,
    top: int = 20,
) -> None:
    """Score `table` and write the report.

    Parameters
    ----------
    detector : fitted Detector
    table : array, frame or pyarrow.Table, shape (rows, columns); or images, as the detector takes them
        The rows to report on. Columns the model does not know are left out and named in the report. Images are shown
        with what the model rebuilds of them and where they differ.
    destination : path
        The HTML file; an existing one is replaced when the new one is complete. "-" is standard output.
    lang : {"en", "ko"}
    labels : array of 0 and 1, shape (rows,), optional
        1 = anomaly. They make the block "Evaluation with labels" and nothing else.
    kinds : sequence of str or None, shape (rows,), optional
        Of images, what each is: "good", "scratch". They are counted apart.
    mask_of : callable, optional
        Number of an image -> the pixels that a mask marks, (h, w) of the model's size, or None; for the images listed.
    title : str, optional
        Replaces "Anomaly report".
    top : int
        How many of the most anomalous rows to list, at least 1.

    Raises
    ------
    DataError, SchemaMismatch
        If the rows do not fit the model or the labels do not fit the rows.
    InvalidParameter, UnknownName
        If `top` or `lang` is not possible.
    EnvironmentFailure
        If the file cannot be written.
    """
    if top < 1:
        raise InvalidParameter(f"top must be an int, at least 1; got {top!r}. It is the number of rows to list.")
    words = Words(lang, of_images=of_images(detector))
    evidence = gather(detector, table, labels=labels, kinds=kinds, mask_of=mask_of, top=top)
    _write(_template().render(page(detector, evidence, words, title)), destination)


def render_video(
    detector: Any,
    recordings: Iterable[Recording],
    destination: str | Path,
    *,
    lang: str = "en",
    labels: Mapping[str, Any] | None = None,
    align: str = "center",
    title: str | None = None,
    top: int = 12,
) -> None:
    """Score recordings and write the report: a timeline of each, and the frames at the highest peaks.

    Parameters
    ----------
    detector : fitted Detector
        Of clips.
    recordings : iterable of Recording
        Gone through once; one is in memory at a time, if they come so.
    destination, lang, title
        As `render`.
    labels : mapping of str to array of 0 and 1, optional
        Name of a recording -> 1 for an anomalous frame. Drawn below the timeline.
    align : {"center", "last"}
        As `score_frames`.
    top : int
        How many peaks to show, at least 1; no two of a recording are nearer than a clip's length.

    Raises
    ------
    DataError, SchemaMismatch, InvalidParameter, UnknownName, EnvironmentFailure
    """
    if top < 1:
        raise InvalidParameter(f"top must be an int, at least 1; got {top!r}. It is the number of peaks to show.")
    words = Words(lang, of_images=True, of_frames=True)
    films, peaks = film.gather(detector, recordings, align=align, labels=labels, top=top)
    _write(_template("film.html.j2").render(film.page(detector, films, peaks, words, title)), destination)


def _template(name: str = "template.html.j2") -> Any:
    environment = Environment(
        loader=PackageLoader("offnormal", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    return environment.get_template(name)


def _printable(value: Any) -> Any:
    """Replace what no HTML file may hold: control characters and lone surrogates."""
    if type(value) is not str:
        return value
    return "".join(
        c if c in "\n\t" or (c >= " " and not "\x7f" <= c <= "\x9f" and not "\ud800" <= c <= "\udfff") else "\ufffd"
        for c in value
    )


def _write(html: str, destination: str | Path) -> None:
    content = html.encode("utf-8", errors="replace")
    try:
        with replacing(destination) as stream:
            stream.write(content)
    except OSError as error:
        if isinstance(error, OffnormalError):
            raise
        reason = error.strerror or str(error)
        raise EnvironmentFailure(f"'{destination}' could not be written: {reason}. Nothing was left behind.") from error
