"""`offnormal score`: one row of scores, p-values, flags and reasons per row of the data, in its order."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from offnormal.cli import pictures, reading, recordings
from offnormal.cli.console import answers, how_many, messages, noun_of, print_json, say, warnings_as_lines
from offnormal.cli.options import (
    AlignOption,
    DataArgument,
    DataFormatOption,
    EncodingOption,
    ImageColumnOption,
    JsonOption,
    ModelArgument,
    NamesOption,
    QuietOption,
    StrictOption,
)
from offnormal.cli.progress import counting, working
from offnormal.errors import InvalidParameter

Reasons = Literal["flagged", "all", "none"]
Pictured = Literal["flagged", "all"]


ScoresOutput = Annotated[
    str,
    typer.Option(
        "--output",
        "-o",
        metavar="OUT",
        help="A .csv, .tsv (.gz too), .parquet or .jsonl file; [bold]-[/] writes CSV to standard output.",
        show_default=False,
    ),
]
OutputFormatOption = Annotated[
    str | None,
    typer.Option(
        "--format", metavar="FORMAT", help="csv, tsv, parquet or jsonl, where OUT does not say.", show_default=False
    ),
]
FdrOption = Annotated[
    float | None,
    typer.Option(
        metavar="RATE",
        help="Flag so that at most this share of the flagged rows is expected to be normal (Benjamini-Hochberg "
        "over these rows), instead of by the model's cut.",
        show_default=False,
    ),
]
ReasonsOption = Annotated[
    Reasons, typer.Option(help="Which rows get reasons; flagged includes the 100 most anomalous ones.")
]
MapsOption = Annotated[
    str | None,
    typer.Option(
        "--maps",
        metavar="FOLDER",
        help="Images: write the residual maps of the flagged ones here, as 16-bit grey PNG files on one scale.",
        show_default=False,
    ),
]
MasksOption = Annotated[
    str | None,
    typer.Option(
        "--masks",
        metavar="FOLDER",
        help="Images: write which pixels of the flagged ones are beyond the cut here, as PNG files, white where one "
        "is.",
        show_default=False,
    ),
]
PicturedOption = Annotated[
    Pictured, typer.Option("--maps-of", help="Images: which of them --maps and --masks are written of.")
]


def score(
    model: ModelArgument,
    data: DataArgument,
    output: ScoresOutput,
    output_format: OutputFormatOption = None,
    fdr: FdrOption = None,
    reasons: ReasonsOption = "flagged",
    top: Annotated[int, typer.Option(metavar="N", min=1, help="How many columns, or places, the reasons name.")] = 3,
    maps_folder: MapsOption = None,
    masks_folder: MasksOption = None,
    maps_of: PicturedOption = "flagged",
    align: AlignOption = None,
    names: NamesOption = None,
    data_format: DataFormatOption = None,
    encoding: EncodingOption = "utf-8",
    image_column: ImageColumnOption = None,
    strict: StrictOption = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Score DATA with MODEL; one output row per input row, in order; images in the order of their paths.

    Columns: the ID columns (of images their path, image), then row (counted from 0), anomaly_score (greater = more
    anomalous), p_value, is_anomaly and reasons. Reasons for an image say where its residual lies, in pixels of the
    model's image size, counted from 0 at the upper left. Video has one row per frame: video, frame (counted from 0),
    time_s, anomaly_score, p_value and is_anomaly, empty where no whole clip belongs to the frame.
    """
    _expect_output(output, output_format, as_json, data)
    if fdr is not None and not 0 < fdr < 1:
        raise InvalidParameter(f"--fdr must be a number above 0 and below 1; got {fdr:g}.")
    with warnings_as_lines(quiet):
        from offnormal.cli import maps, scoring
        from offnormal.data.tables import write_rows

        with working(f"Loading {model}", quiet):
            detector = reading.model(model, data)
        if recordings.seen_by(detector):
            text: dict[str, object] = {
                "--names": names,
                "--data-format": data_format,
                "--encoding": encoding != "utf-8",
            }
            images = {"--image-column": image_column, "--maps": maps_folder, "--masks": masks_folder}
            others = {"--maps-of": maps_of == "all", "--reasons all": reasons == "all", "--fdr": fdr}
            recordings.refuse_options(data, {**text, **images, **others})
            columns, counts = recordings.scored(detector, data, align or "center", strict=strict, quiet=quiet)
            write_rows(columns, output, output_format)
            recordings.tell(counts, output, quiet=quiet, as_json=as_json)
            return
        recordings.refuse_video_options(data, {"--align": align})
        folders = {
            option: folder
            for option, folder in (("--maps", maps_folder), ("--masks", masks_folder))
            if folder is not None
        }
        maps.expect_folders(detector, folders, maps_of, data, fdr)
        rows = reading.rows(
            data,
            detector,
            names=names,
            data_format=data_format,
            encoding=encoding,
            image_column=image_column,
            strict=strict,
            quiet=quiet,
        )
        noun = noun_of(detector)
        columns = scoring.scored(detector, rows, fdr, quiet)
        which = scoring.rows_with_reasons(columns, reasons)
        with counting("Finding reasons", len(which), quiet or not len(which), noun=noun) as advance:
            columns["reasons"] = scoring.reasons(detector, rows, which, top, advance)
        written = maps.write_folders(detector, rows, columns, folders, maps_of, quiet)
        unusable = pictures.unusable(rows)
        write_rows(scoring.carried(detector, rows) | scoring.with_gaps(columns, unusable), output, output_format)
    flagged, n_rows = int(columns["is_anomaly"].sum()), len(rows) - len(unusable)
    rule = f"false discovery rate {fdr:g}" if fdr is not None else detector.threshold_.rule
    if as_json:
        answer = {"output": output, "rows": len(rows), "flagged": flagged, "rule": rule}
        print_json(answer | written | pictures.changes(rows))
    elif not quiet:
        console = messages() if output == reading.STANDARD_STREAM else answers()
        where = "Scores went to standard output" if output == reading.STANDARD_STREAM else f"Scores are in {output}"
        if fdr is not None:
            say(console, scoring.discovery_note(detector, n_rows, fdr))
        say(console, f"{flagged:,} of {how_many(n_rows, noun)} flagged ({flagged / n_rows:.2%}; {rule}). {where}.")
        for kind, found in written.items():
            say(console, maps.told(kind, found, maps_of))


def _expect_output(output: str, output_format: str | None, as_json: bool, data: str) -> None:
    known = ("csv", "tsv", "parquet", "jsonl")
    if output_format is not None and output_format not in known:
        raise InvalidParameter(f"--format must be one of {', '.join(known)}; got {output_format!r}.")
    if output == reading.STANDARD_STREAM:
        if as_json:
            raise InvalidParameter("--json and -o - would both write to standard output; write the scores to a file.")
    elif reading.is_model_name(output):
        raise InvalidParameter(f"-o must be a file for the scores; got the model file {output!r}.")
    elif output_format is None and reading.row_format(output) is None:
        endings = ", ".join(reading.ROW_FORMATS)
        raise InvalidParameter(f"The ending of {output!r} does not say its format: use {endings}, or --format.")
    reading.expect_writable(output, inputs=[data])
