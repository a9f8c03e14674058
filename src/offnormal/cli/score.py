"""`offnormal score`: one row of scores, p-values, flags and reasons per row of the data, in its order."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from offnormal.cli import reading
from offnormal.cli.console import answers, how_many, messages, print_json, say, warnings_as_lines
from offnormal.cli.options import (
    DataArgument,
    DataFormatOption,
    EncodingOption,
    JsonOption,
    ModelArgument,
    NamesOption,
    QuietOption,
)
from offnormal.cli.progress import counting, working
from offnormal.errors import InvalidParameter

Reasons = Literal["flagged", "all", "none"]


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


def score(
    model: ModelArgument,
    data: DataArgument,
    output: ScoresOutput,
    output_format: OutputFormatOption = None,
    fdr: FdrOption = None,
    reasons: ReasonsOption = "flagged",
    top: Annotated[int, typer.Option(metavar="N", min=1, help="How many columns the reasons name.")] = 3,
    names: NamesOption = None,
    data_format: DataFormatOption = None,
    encoding: EncodingOption = "utf-8",
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Score DATA with MODEL; one output row per input row, in order.

    Columns: the ID columns, then row (counted from 0), anomaly_score (greater = more anomalous), p_value, is_anomaly
    and reasons.
    """
    _expect_output(output, output_format, as_json, data)
    if fdr is not None and not 0 < fdr < 1:
        raise InvalidParameter(f"--fdr must be a number above 0 and below 1; got {fdr:g}.")
    with warnings_as_lines(quiet):
        from offnormal.cli import scoring
        from offnormal.data.tables import write_rows

        with working(f"Loading {model}", quiet):
            detector = reading.model(model, data)
        with working(f"Reading {data}", quiet):
            table = reading.rows(data, detector, names=names, data_format=data_format, encoding=encoding)
        with working(f"Scoring {how_many(table.num_rows, 'row')}", quiet):
            columns = scoring.scored(detector, table, fdr)
        rows = scoring.rows_with_reasons(columns, reasons)
        with counting("Finding reasons", len(rows), quiet or not len(rows)) as advance:
            columns["reasons"] = scoring.reasons(detector, table, rows, top, advance)
        write_rows(scoring.carried(detector, table) | columns, output, output_format)
    flagged, n_rows = int(columns["is_anomaly"].sum()), table.num_rows
    rule = f"false discovery rate {fdr:g}" if fdr is not None else detector.threshold_.rule
    if as_json:
        print_json({"output": output, "rows": n_rows, "flagged": flagged, "rule": rule})
    elif not quiet:
        console = messages() if output == reading.STANDARD_STREAM else answers()
        where = "Scores went to standard output" if output == reading.STANDARD_STREAM else f"Scores are in {output}"
        if fdr is not None:
            say(console, scoring.discovery_note(detector, n_rows, fdr))
        say(console, f"{flagged:,} of {how_many(n_rows, 'row')} flagged ({flagged / n_rows:.2%}; {rule}). {where}.")


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
