"""`offnormal report`: one HTML page on a model and some rows, readable offline."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from offnormal.cli import pictures, reading, recordings
from offnormal.cli.console import answers, how_many, noun_of, print_json, say, warnings_as_lines
from offnormal.cli.options import (
    AlignOption,
    AnomalyOption,
    DataArgument,
    DataFormatOption,
    EncodingOption,
    FrameLabelsOption,
    ImageColumnOption,
    JsonOption,
    LabelOption,
    ModelArgument,
    NamesOption,
    NormalOption,
    QuietOption,
    StrictOption,
)
from offnormal.cli.progress import working
from offnormal.errors import DataError, InvalidParameter


def report(
    model: ModelArgument,
    data: DataArgument,
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="HTML", help="The page to write.", show_default=False)
    ],
    lang: Annotated[Literal["en", "ko"], typer.Option(help="The language of the page.")] = "en",
    label: LabelOption = None,
    anomaly: AnomalyOption = None,
    normal: NormalOption = None,
    top: Annotated[int, typer.Option(metavar="N", min=1, help="How many of the most anomalous rows to list.")] = 20,
    names: NamesOption = None,
    data_format: DataFormatOption = None,
    encoding: EncodingOption = "utf-8",
    image_column: ImageColumnOption = None,
    frame_labels: FrameLabelsOption = None,
    align: AlignOption = None,
    strict: StrictOption = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write one HTML page on MODEL and DATA: scores and cut, the most anomalous rows with reasons, training, columns.

    Of images: the most anomalous ones as they are, as the model rebuilds them, and where they differ, each kind by
    itself, and masks where there are some. Of video: a timeline of each recording and the frames at the highest peaks.
    The page works offline. With [bold]--label[/], or subfolders of images named by [bold]--anomaly[/] or
    [bold]--normal[/], it also says how the scores agree with the labels.
    """
    if as_json and output == reading.STANDARD_STREAM:
        raise InvalidParameter("--json and -o - would both write to standard output; write the page to a file.")
    reading.expect_writable(output, [".html", ".htm"], inputs=[data])
    with warnings_as_lines(quiet):
        from offnormal.cli import filmed, labels, pictured
        from offnormal.report import render

        with working(f"Loading {model}", quiet):
            detector = reading.model(model, data)
        if recordings.seen_by(detector):
            recordings.refuse_options(data, {
                "--label": label, "--anomaly": anomaly, "--normal": normal, "--names": names,
                "--data-format": data_format, "--image-column": image_column,
            })  # fmt: skip
            filmed.report(
                detector, data, output, align or "center", frame_labels, lang, top, strict=strict, quiet=quiet,
                as_json=as_json,
            )  # fmt: skip
            return
        recordings.refuse_video_options(data, {"--frame-labels": frame_labels, "--align": align})
        named = bool(anomaly or normal)
        if label is None and named and not pictures.seen_by(detector):
            raise InvalidParameter("--anomaly and --normal are values of a label column; name it with --label.")
        rows = reading.rows(
            data,
            detector,
            names=names,
            data_format=data_format,
            encoding=encoding,
            label=label,
            image_column=image_column,
            strict=strict,
            every=named,
            quiet=quiet,
        )
        noun, y = noun_of(detector), None
        if label is not None or named or pictured.labeled(rows):
            y, counted = labels.of(rows, data, label, anomaly or [], normal or [])
            if not counted.all():
                left = how_many(int((~counted).sum()), noun)
                raise DataError(f"{left} without a label that counts; leave them out of the data.")
        changes: dict[str, Any] = {}
        known: dict[str, Any] = {}
        if pictures.seen_by(detector):
            files = rows
            kept, rows = pictures.in_memory(files, quiet)
            changes = pictures.changes(files)
            known = pictured.known_of(files, kept)
            if y is not None:
                y = y[kept]
                labels.expect_both(y, noun)
        with working(f"Writing {output}", quiet):
            render(detector, rows, output, labels=y, lang=lang, top=top, **known)
    if as_json:
        print_json({"output": output, "rows": len(rows), "lang": lang} | changes)
    elif not quiet and output != reading.STANDARD_STREAM:
        say(answers(), f"The report on {how_many(len(rows), noun)} is in {output}; open it in a browser.")
