"""`offnormal fit`: a table in, a model file out."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from offnormal.cli import reading, training
from offnormal.cli.console import (
    answers,
    cut_record,
    facts,
    how_many,
    listed,
    print_json,
    promise,
    say,
    training_in_words,
    warnings_as_lines,
)
from offnormal.cli.options import (
    DataArgument,
    DataFormatOption,
    EncodingOption,
    JsonOption,
    NamesOption,
    QuietOption,
    seconds,
)
from offnormal.cli.progress import working
from offnormal.cli.training import Roles
from offnormal.errors import InvalidParameter

if TYPE_CHECKING:
    from offnormal.detector import Detector


ModelOutput = Annotated[
    str, typer.Option("--output", "-o", metavar="MODEL", help="The model file to write.", show_default=False)
]
MethodOption = Annotated[str, typer.Option("--method", "-m", metavar="KEY", help="See [bold]offnormal methods[/].")]
PresetOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="A published configuration ([bold]offnormal methods KEY[/] lists them); flags override it.",
        show_default=False,
    ),
]
KeptOutOption = Annotated[
    str | None,
    typer.Option(metavar="COLUMN", help="The column that holds labels; kept out of training.", show_default=False),
]
IgnoreOption = Annotated[
    list[str] | None,
    typer.Option(metavar="COLUMN", help="A column to keep out of training. Can be repeated.", show_default=False),
]
IdOption = Annotated[
    list[str] | None,
    typer.Option(
        "--id",
        metavar="COLUMN",
        help="A column that names the rows: not used, carried to the scores. Can be repeated.",
        show_default=False,
    ),
]
CategoricalOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="COLUMN",
        help="A column of numbers that are really categories. Can be repeated.",
        show_default=False,
    ),
]
TrainWhereOption = Annotated[
    str | None,
    typer.Option(
        metavar="CONDITION",
        help="Train on these rows only: 'label=benign', 'age>=18 and country!=KR'.",
        show_default=False,
    ),
]
SeedOption = Annotated[int, typer.Option(help="Names all random numbers; the same seed gives the same model.")]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Go on with the interrupted training of this MODEL.")]
TimeLimitOption = Annotated[
    str | None, typer.Option(metavar="DURATION", help="Stop training after 30s, 10m, 2h, 1h30m.", show_default=False)
]
RuleOption = Annotated[
    str | None,
    typer.Option(
        metavar="RULE",
        help="How the cut is found: conformal:0.01, quantile:0.99, mad:3.5, pot:0.001, fixed:12.5. "
        "Default: conformal:0.01. Changeable later with [bold]offnormal threshold[/].",
        show_default=False,
    ),
]
ContaminationOption = Annotated[
    float | None,
    typer.Option(metavar="SHARE", help="Cut off this share of the training rows instead.", show_default=False),
]


def fit(
    data: DataArgument,
    output: ModelOutput,
    method: MethodOption = "auto",
    preset: PresetOption = None,
    label: KeptOutOption = None,
    ignore: IgnoreOption = None,
    id_columns: IdOption = None,
    categorical: CategoricalOption = None,
    train_where: TrainWhereOption = None,
    names: NamesOption = None,
    data_format: DataFormatOption = None,
    encoding: EncodingOption = "utf-8",
    seed: SeedOption = 0,
    resume: ResumeOption = False,
    time_limit: TimeLimitOption = None,
    threshold: RuleOption = None,
    contamination: ContaminationOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
    *,
    hyper_parameters: Mapping[str, str | bool],
) -> None:
    """Learn what is normal in DATA and write a model file.

    No labels are needed, and none are used. A run that was interrupted goes on with [bold]--resume[/].
    """
    reading.expect_writable(output, [reading.MODEL_SUFFIX])
    reading.refuse_model_as_data(data)
    if threshold is not None and contamination is not None:
        raise InvalidParameter("--threshold and --contamination both say where the cut is; give one of them.")
    limit = seconds(time_limit)
    roles = Roles(label, tuple(ignore or ()), tuple(id_columns or ()), tuple(categorical or ()))
    with warnings_as_lines(quiet):
        given = {"random_state": seed} | ({} if contamination is None else {"contamination": contamination})
        detector = training.configured(method, preset, hyper_parameters, given, threshold)
        with working(f"Reading {data}", quiet):
            table = reading.rows(
                data, names=names, data_format=data_format, encoding=encoding, text_columns=roles.categorical
            )
        table, roles = training.rows_and_roles(table, roles, train_where)
        detector.set_params(**roles.parameters())
        training.run(detector, table, Path(output), resume=resume, time_limit=limit, quiet=quiet)
        refused = training.save(detector, output, threshold)
    if as_json:
        print_json(_record(detector, method, output))
    elif not quiet:
        _tell(detector, output, _next_command(data, output, names, data_format, encoding))
    if refused is not None:
        raise refused


def _record(detector: Detector, method: str, output: str) -> dict[str, Any]:
    """Return what a script wants to know."""
    trained = detector.training_
    return {
        "model": output,
        "method": method,
        "rows": trained["rows"],
        "columns": [column.name for column in detector.schema_.columns],
        "features": trained["features"],
        "epochs": trained["epochs"],
        "seconds": trained["seconds"],
        "stopped": trained["stopped"],
        "threshold": cut_record(detector),
        "calibration": {"kind": detector.calibration_.kind, "rows": detector.calibration_.n},
    }


def _next_command(data: str, output: str, names: str | None, data_format: str | None, encoding: str) -> str:
    """Return the command that scores the same table."""
    words = ["offnormal", "score", output, data, "-o", "scores.csv"]
    words += [] if names is None else ["--names", names]
    words += [] if data_format is None else ["--data-format", data_format]
    words += [] if encoding == "utf-8" else ["--encoding", encoding]
    return shlex.join(words)


def _tell(detector: Detector, output: str, following: str) -> None:
    """Say what was learned, what the cut promises, and what to run next."""
    trained, cut = detector.training_, detector.threshold_
    columns, features = detector.schema_.columns, how_many(trained["features"], "feature")
    console = answers()
    console.print(
        facts(
            {
                "model": output,
                "rows": f"{trained['rows']:,}",
                "columns": f"{len(columns)} used ({features}): {listed(c.name for c in columns)}",
                "training": training_in_words(trained),
                "threshold": f"{cut.value:.6g} ({cut.rule})",
                "promise": promise(detector, whole=False),
            }
        )
    )
    say(console, f"Next: {following}")
