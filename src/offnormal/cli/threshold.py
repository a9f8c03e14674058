"""`offnormal threshold`: show a model's cut and what it promises, or change it without training again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from offnormal.cli import reading
from offnormal.cli.console import (
    answers,
    cut_record,
    facts,
    how_many,
    noun_of,
    print_json,
    promise,
    say,
    warnings_as_lines,
)
from offnormal.cli.options import JsonOption, ModelArgument, QuietOption
from offnormal.errors import InvalidParameter, OffnormalError

if TYPE_CHECKING:
    from offnormal.detector import Detector
    from offnormal.thresholds import Cut

ALTERNATIVES = ("conformal:0.05", "conformal:0.01", "conformal:0.001", "quantile:0.99", "mad:3.5", "pot:0.001")


def threshold(
    model: ModelArgument,
    rule: Annotated[
        str | None,
        typer.Argument(
            metavar="[RULE]",
            help="The new rule, e.g. conformal:0.01, quantile:0.99, mad:3.5, pot:0.001, contamination:0.05 or "
            "fixed:12.5; without one the cut is only shown.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="NEW",
            help="Write the changed model here instead of over MODEL.",
            show_default=False,
        ),
    ] = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show the cut of MODEL, what it promises and what other rules would give; or set a new rule."""
    if output is not None and rule is None:
        raise InvalidParameter("-o writes a changed model, so a RULE is needed, e.g. conformal:0.01.")
    target = output or model
    if rule is not None:
        reading.refuse_data_as_model(model)
        reading.expect_writable(target, [reading.MODEL_SUFFIX])
    with warnings_as_lines(quiet):
        detector = reading.model(model)
        before = detector.threshold_
        if rule is not None:
            from offnormal import io

            detector.set_threshold(rule)
            io.save(detector, target)
    record: dict[str, Any] = {"model": target, "threshold": cut_record(detector)}
    if rule is None:
        record["alternatives"] = alternatives(detector)
    else:
        record["before"] = {"value": before.value, "rule": before.rule}
    if as_json:
        print_json(record)
    elif not quiet or rule is None:
        _tell(detector, target, before if rule is not None else None, record.get("alternatives", []))


def alternatives(detector: Detector, rules: tuple[str, ...] = ALTERNATIVES) -> list[dict[str, Any]]:
    """Return what each rule would give on the model's calibration rows: cut, flagged share, promise; or why not."""
    from offnormal import thresholds
    from offnormal.report.words import speaking_of

    noun = noun_of(detector)
    scores = detector.calibration_.scores
    results: list[dict[str, Any]] = []
    for rule in rules:
        try:
            cut = thresholds.parse_rule(rule).cut(scores, detector.training_scores_)
        except OffnormalError as error:
            why = speaking_of(noun, str(error))
            results.append({"rule": rule, "value": None, "flagged_share": None, "promise": None, "refused": why})
        else:
            share = float((scores > cut.value).mean())
            words = speaking_of(noun, cut.promise)
            results.append({"rule": cut.rule, "value": cut.value, "flagged_share": share, "promise": words})
    return results


def _tell(detector: Detector, target: str, before: Cut | None, others: list[dict[str, Any]]) -> None:
    from rich.table import Table
    from rich.text import Text

    console, cut = answers(), detector.threshold_
    noun = noun_of(detector)
    calibration = f"{how_many(detector.calibration_.n, noun)} ({detector.calibration_.kind})"
    shown = {
        "cut": f"{cut.value:.6g}",
        "rule": cut.rule if before is None else f"{cut.rule} (was {before.rule}, cut {before.value:.6g})",
        "promise": promise(detector, whole=True),
        "calibration": calibration,
    }
    console.print(facts(shown if before is None else {"written": target} | shown))
    if others:
        table = Table(
            "rule", "cut", f"flags of the calibration {noun}s", "promise", title="Other rules", title_justify="left"
        )
        for other in others:
            if other["value"] is None:
                table.add_row(other["rule"], "refused", "", Text(other["refused"]))
            else:
                table.add_row(
                    other["rule"], f"{other['value']:.6g}", f"{other['flagged_share']:.2%}", Text(other["promise"])
                )
        console.print(table)
        say(console, f"Change it with: offnormal threshold {target} RULE")
