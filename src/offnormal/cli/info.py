"""`offnormal info`: what a model file holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from offnormal.cli import reading
from offnormal.cli.console import answers, facts, plain, print_json, training_in_words
from offnormal.cli.options import JsonOption, ModelArgument
from offnormal.errors import ModelFileError


def info(model: ModelArgument, as_json: JsonOption = False) -> None:
    """Show what MODEL is: method, hyper-parameters, columns, training, threshold, versions."""
    from offnormal import io

    reading.refuse_data_as_model(model)
    content = plain(io.info(model))
    if as_json:
        print_json(content)
        return
    try:
        lines = _lines(content)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelFileError(f"The model file {model} is altered or damaged. Get it again, or train again.") from error
    answers().print(facts(lines))


def _lines(content: Mapping[str, Any]) -> dict[str, str]:
    """Return what a person wants to know; the rest is in the JSON."""
    training, cut, schema = content["training"], content["threshold"], content["schema"]
    return {
        "method": content["method"],
        "training": f"{training['rows']:,} rows, {training['features']} features, {training_in_words(training)}",
        "threshold": f"{cut['value']:.6g} ({cut['rule']})",
        "promise": cut["promise"],
        "calibration": str(content["calibration"]),
        "columns": ", ".join(map(_column, schema["columns"])),
        "ID columns": ", ".join(schema.get("ids", ())) or "none",
        "ignored": ", ".join(schema.get("ignored", ())) or "none",
        "parameters": ", ".join(f"{name} {value}" for name, value in content["parameters"].items()),
        "versions": ", ".join(f"{name} {version}" for name, version in content["versions"].items()),
    }


def _column(column: Mapping[str, Any]) -> str:
    kinds = f"{len(column['categories'])} values" if column.get("categories") else column["kind"]
    return f"{column['name']} ({kinds})"
