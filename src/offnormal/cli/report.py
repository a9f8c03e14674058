"""`offnormal report`: one HTML page on a model and some rows, readable offline."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from offnormal.cli import reading
from offnormal.cli.console import answers, how_many, print_json, say, warnings_as_lines
from offnormal.cli.options import (
    AnomalyOption,
    DataArgument,
    DataFormatOption,
    EncodingOption,
    JsonOption,
    LabelOption,
    ModelArgument,
    NamesOption,
    NormalOption,
    QuietOption,
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
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write one HTML page on MODEL and DATA: scores and cut, the most anomalous rows with reasons, training, columns.

    The page works offline. With [bold]--label[/] it also says how the scores agree with the labels.
    """
    if as_json and output == reading.STANDARD_STREAM:
        raise InvalidParameter("--json and -o - would both write to standard output; write the page to a file.")
    reading.expect_writable(output, [".html", ".htm"], inputs=[data])
    if label is None and (anomaly or normal):
        raise InvalidParameter("--anomaly and --normal are values of a label column; name it with --label.")
    with warnings_as_lines(quiet):
        from offnormal.cli import labels
        from offnormal.report import render

        with working(f"Loading {model}", quiet):
            detector = reading.model(model, data)
        with working(f"Reading {data}", quiet):
            texts = [] if label is None else [label]
            table = reading.rows(
                data, detector, names=names, data_format=data_format, encoding=encoding, text_columns=texts
            )
        y = None
        if label is not None:
            y, counted = labels.of_table(table, label, anomaly or [], normal or [])
            if not counted.all():
                raise DataError(f"{(~counted).sum():,} rows have no label that counts; leave them out of the data.")
        with working(f"Writing {output}", quiet):
            render(detector, table, output, labels=y, lang=lang, top=top)
    if as_json:
        print_json({"output": output, "rows": table.num_rows, "lang": lang})
    elif not quiet and output != reading.STANDARD_STREAM:
        say(answers(), f"The report on {how_many(table.num_rows, 'row')} is in {output}; open it in a browser.")
