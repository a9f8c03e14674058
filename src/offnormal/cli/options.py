"""Arguments and options that several commands share, declared once."""

from __future__ import annotations

import re
from typing import Annotated, Literal

import typer

from offnormal.errors import InvalidParameter

ModelArgument = Annotated[
    str, typer.Argument(metavar="MODEL", help="A model file that [bold]offnormal fit[/] wrote.", show_default=False)
]
DataArgument = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="A CSV, TSV (gzip too) or Parquet file; [bold]-[/] reads CSV from standard input. Or images: a folder of "
        "PNG, JPEG, BMP, TIFF, WebP or GIF files with all folders in it, or a .npy or .npz file, or a list of paths.",
        show_default=False,
    ),
]
NamesOption = Annotated[
    str | None,
    typer.Option(
        "--names",
        metavar="A,B,C",
        help="The data has no header row; these are the column names: a,b,c, or a text file that holds them.",
        show_default=False,
        rich_help_panel="Tables",
    ),
]
DataFormatOption = Annotated[
    str | None,
    typer.Option(
        "--data-format",
        metavar="FORMAT",
        help="csv, tsv or parquet, where the ending of DATA does not say it.",
        show_default=False,
        rich_help_panel="Tables",
    ),
]
EncodingOption = Annotated[
    str,
    typer.Option(
        "--encoding", metavar="NAME", help="Of a text file, e.g. utf-8, cp949, latin-1.", rich_help_panel="Tables"
    ),
]
StrictOption = Annotated[
    bool,
    typer.Option(
        "--strict",
        help="Images, video: stop at the first file that cannot be used, instead of leaving it out and saying so.",
        rich_help_panel="Images",
    ),
]
ImageColumnOption = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN",
        help="DATA is a list of images, a CSV file: this column holds their paths, relative to the file. Columns label "
        "(0 or 1, or kinds with good for normal), mask and split (train, test) are used if they are there.",
        show_default=False,
        rich_help_panel="Images",
    ),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, warnings or summary; only errors.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output, for scripts.")]
AlignOption = Annotated[
    Literal["center", "last"] | None,
    typer.Option(
        help="Video: a frame's score is that of the clip around it (the default), or of the clip that ends with it.",
        show_default=False,
        rich_help_panel="Video",
    ),
]
FrameLabelsOption = Annotated[
    str | None,
    typer.Option(
        "--frame-labels",
        metavar="FILE",
        help="Video: a table of labels: columns video, frame and label (0, 1), or video, first and last, spans of "
        "anomalous frames.",
        show_default=False,
        rich_help_panel="Video",
    ),
]
LabelOption = Annotated[
    str | None,
    typer.Option(
        "--label",
        metavar="COLUMN",
        help="The column that holds the labels. Images: their subfolders do, or the column label of a list.",
        show_default=False,
    ),
]
AnomalyOption = Annotated[
    list[str] | None,
    typer.Option(
        "--anomaly",
        metavar="VALUE",
        help="A label that means anomaly; of images, a subfolder of DATA, or a label in a list. Can be repeated.",
        show_default=False,
    ),
]
NormalOption = Annotated[
    list[str] | None,
    typer.Option(
        "--normal",
        metavar="VALUE",
        help="A label that means normal; of images, a subfolder of DATA. All others are anomalies (with --anomaly: "
        "rows with neither are left out). Can be repeated.",
        show_default=False,
    ),
]

_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?:in)?)?(?:(\d+(?:\.\d+)?)s?)?")


def seconds(text: str | None) -> float | None:
    """Return the seconds that "30s", "10m", "2h", "1h30m" or a bare number stand for; None for None.

    Raises
    ------
    InvalidParameter
        If `text` is no duration above zero.
    """
    if text is None:
        return None
    match = _DURATION.fullmatch(text.strip().lower().replace(" ", ""))
    hours, minutes, rest = (float(part or 0) for part in match.groups()) if match else (0.0, 0.0, 0.0)
    total = 3600 * hours + 60 * minutes + rest
    if not total > 0:
        raise InvalidParameter(f"--time-limit must be a duration such as 30s, 10m, 2h or 1h30m; got {text!r}.")
    return total
