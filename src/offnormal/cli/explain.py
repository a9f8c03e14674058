"""`offnormal explain`: which columns, or places of an image, made a row's score."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from offnormal.cli import pictures, reading
from offnormal.cli.console import answers, noun_of, print_json, say, warnings_as_lines
from offnormal.cli.options import (
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
from offnormal.cli.progress import working
from offnormal.errors import InvalidParameter, UnknownName

if TYPE_CHECKING:
    from rich.table import Table

    from offnormal.cli.reading import Rows
    from offnormal.detector import Detector
    from offnormal.explanation import Explanation


def explain(
    model: ModelArgument,
    data: DataArgument,
    row: Annotated[
        list[str] | None,
        typer.Option(
            metavar="N|NAME",
            help="A row to explain, counted from 0; an image also by its name. Can be repeated.",
            show_default=False,
        ),
    ] = None,
    worst: Annotated[
        int, typer.Option(metavar="N", min=1, help="Without --row: explain this many of the most anomalous rows.")
    ] = 5,
    top: Annotated[int, typer.Option(metavar="K", min=1, help="How many columns, or places, to show per row.")] = 5,
    names: NamesOption = None,
    data_format: DataFormatOption = None,
    encoding: EncodingOption = "utf-8",
    image_column: ImageColumnOption = None,
    strict: StrictOption = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Say what made the scores of single rows: the most anomalous ones, or those named with --row.

    Of a table: which columns. Of images: in which places the residual lies, in pixels of the model's image size.
    """
    with warnings_as_lines(quiet):
        import numpy as np

        from offnormal.cli import scoring

        with working(f"Loading {model}", quiet):
            detector = reading.model(model, data)
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
        asked = [_number(text, rows, noun) for text in row or ()]
        columns = scoring.scored(detector, rows, None, quiet)
        order = np.argsort(-columns["anomaly_score"], kind="stable")[: len(rows) - len(pictures.unusable(rows))]
        chosen = np.array(asked) if asked else order[:worst]
        with working("Finding reasons", quiet):
            parts, found = _explained(detector, reading.picked(rows, chosen), top)
    cut = detector.threshold_.value
    ids = scoring.carried(detector, reading.picked(rows, chosen))
    records = [
        {name: columns[name][number] for name in ("row", "anomaly_score", "p_value", "is_anomaly")}
        | {"ids": {name: _plain(values[i]) for name, values in ids.items()}}
        | found[i]
        for i, number in enumerate(chosen)
    ]
    if as_json:
        print_json({"model": model, "data": data, "threshold": cut, "rows": records})
        return
    _tell(records, cut, parts, noun)


def _number(text: str, rows: Rows, noun: str) -> int:
    """Return the place of the row that --row names, by its number or, of images, by its name."""
    names: tuple[str, ...] = getattr(rows, "names", ())
    if text in names:
        return names.index(text)
    if not (text.isascii() and text.isdigit()):
        if names:
            raise UnknownName.among(noun, text, names)
        raise InvalidParameter(f"--row takes the number of a {noun}, counted from 0; got {text!r}.")
    if int(text) >= len(rows):
        raise InvalidParameter(f"--row {text} is beyond the data, which has {noun}s 0 to {len(rows) - 1}.")
    return int(text)


def _tell(records: list[dict[str, Any]], cut: float, parts: tuple[str, ...] | None, noun: str) -> None:
    console = answers()
    for record in records:
        verdict = "flagged" if record["is_anomaly"] else "not flagged"
        named = "".join(f", {value if name == noun else f'{name} {value}'}" for name, value in record["ids"].items())
        say(
            console,
            f"{noun.capitalize()} {record['row']}{named}: score {record['anomaly_score']:.4g}, cut {cut:.4g} "
            f"({verdict}), p = {record['p_value']:.3g}",
            "bold",
        )
        console.print(_places_table(record["places"]) if parts is None else _table(record["columns"], parts))


def _plain(cell: Any) -> Any:
    return cell if isinstance(cell, str) else cell.as_py()


def _explained(detector: Detector, rows: Any, top: int) -> tuple[tuple[str, ...] | None, list[dict[str, Any]]]:
    """Return the names of the parts and each row's columns; of images None and each one's places."""
    if not pictures.seen_by(detector):
        explanation = detector.explain(rows)
        return tuple(explanation.parts), [{"columns": _columns(explanation, i, top)} for i in range(len(rows))]
    from offnormal.residual_places import places

    maps = detector.residual_maps(rows)
    return None, [{"places": [asdict(place) for place in places(one, top)]} for one in maps]


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


def _places_table(found: list[dict[str, Any]]) -> Table | str:
    from rich.table import Table

    if not found:
        return "The residual is spread over the image."
    shown = Table("rows", "columns")
    for name in ("share of the residual", "share of the image"):
        shown.add_column(name, justify="right")
    for place in found:
        shown.add_row(
            f"{place['top']}–{place['bottom']}",
            f"{place['left']}–{place['right']}",
            f"{place['share']:.1%}",
            f"{place['area']:.1%}",
        )
    return shown
