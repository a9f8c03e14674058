"""`offnormal explain`: which columns made a row's score, part by part."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from offnormal.cli import reading
from offnormal.cli.console import answers, how_many, print_json, say, warnings_as_lines
from offnormal.cli.options import (
    DataArgument,
    DataFormatOption,
    EncodingOption,
    JsonOption,
    ModelArgument,
    NamesOption,
    QuietOption,
)
from offnormal.cli.progress import working
from offnormal.errors import InvalidParameter

if TYPE_CHECKING:
    from rich.table import Table

    from offnormal.explanation import Explanation


def explain(
    model: ModelArgument,
    data: DataArgument,
    row: Annotated[
        list[int] | None,
        typer.Option(metavar="N", min=0, help="A row to explain, counted from 0. Can be repeated.", show_default=False),
    ] = None,
    worst: Annotated[
        int, typer.Option(metavar="N", min=1, help="Without --row: explain this many of the most anomalous rows.")
    ] = 5,
    top: Annotated[int, typer.Option(metavar="K", min=1, help="How many columns to show per row.")] = 5,
    names: NamesOption = None,
    data_format: DataFormatOption = None,
    encoding: EncodingOption = "utf-8",
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Say which columns made the scores of single rows: the most anomalous ones, or those named with --row."""
    with warnings_as_lines(quiet):
        import numpy as np

        from offnormal.cli import scoring

        with working(f"Loading {model}", quiet):
            detector = reading.model(model, data)
        with working(f"Reading {data}", quiet):
            table = reading.rows(data, detector, names=names, data_format=data_format, encoding=encoding)
        if row and max(row) >= table.num_rows:
            raise InvalidParameter(f"--row {max(row)} is beyond the data, which has rows 0 to {table.num_rows - 1}.")
        with working(f"Scoring {how_many(table.num_rows, 'row')}", quiet):
            columns = scoring.scored(detector, table, None)
            order = np.argsort(-columns["anomaly_score"], kind="stable")
            chosen = np.array(row) if row else order[:worst]
            explanation = detector.explain(table.take(chosen))
    cut = detector.threshold_.value
    ids = scoring.carried(detector, table)
    records = [
        {name: columns[name][number] for name in ("row", "anomaly_score", "p_value", "is_anomaly")}
        | {"ids": {name: values[int(number)].as_py() for name, values in ids.items()}}
        | {"columns": _columns(explanation, i, top)}
        for i, number in enumerate(chosen)
    ]
    if as_json:
        print_json({"model": model, "data": data, "threshold": cut, "rows": records})
        return
    console = answers()
    for record in records:
        verdict = "flagged" if record["is_anomaly"] else "not flagged"
        named = "".join(f", {name} {value}" for name, value in record["ids"].items())
        say(
            console,
            f"Row {record['row']}{named}: score {record['anomaly_score']:.4g}, cut {cut:.4g} ({verdict}), "
            f"p = {record['p_value']:.3g}",
            "bold",
        )
        console.print(_table(record["columns"], tuple(explanation.parts)))


def _columns(explanation: Explanation, row: int, top: int) -> list[dict[str, Any]]:
    """Return the `top` columns of one explained row, the greatest contribution first."""
    return [
        {
            "column": explanation.columns[j],
            "value": explanation.values[row][j],
            "usual": explanation.usual[j],
            "contribution": float(explanation.contributions[row, j]),
            "parts": {name: float(part[row, j]) for name, part in explanation.parts.items()},
        }
        for j in explanation.ranking()[row][:top]
    ]


def _table(columns: list[dict[str, Any]], parts: tuple[str, ...]) -> Table:
    from rich.table import Table
    from rich.text import Text

    shown = Table("column", "value", "usual")
    for name in ("contribution", *(parts if len(parts) > 1 else ())):
        shown.add_column(Text(name), justify="right")
    for column in columns:
        numbers = [column["contribution"], *(column["parts"][name] for name in parts if len(parts) > 1)]
        shown.add_row(
            *(Text(column[name]) for name in ("column", "value", "usual")), *(f"{number:.4g}" for number in numbers)
        )
    return shown
