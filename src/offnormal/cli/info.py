"""`offnormal info`: what a model file holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from offnormal.cli import reading
from offnormal.cli.console import answers, facts, how_many, image_in_words, plain, print_json, training_in_words
from offnormal.cli.options import JsonOption, ModelArgument
from offnormal.errors import ModelFileError

_OF_TABLES_ALONE = ("categorical_columns", "id_columns", "ignored_columns", "max_categories", "scaling")
_OF_IMAGES_ALONE = ("pixel_scaling", "map_score", "map_area", "map_smoothing", "ssim_window")
_OF_CONVOLUTIONS_ALONE = (
    "decoder_kernel_sizes",
    "image_activation",
    "kernel_sizes",
    "linear_code",
    "memory_per_position",
)
"""Parameters without a part in other models; the JSON has them all."""


def info(model: ModelArgument, as_json: JsonOption = False) -> None:
    """Show what MODEL is: method, hyper-parameters, columns or image size, training, threshold, versions."""
    from offnormal import io

    reading.refuse_data_as_model(model)
    content = plain(io.info(model))
    if as_json:
        print_json(content)
        return
    try:
        lines = _lines(content, _calibration_rows(model))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelFileError(f"The model file {model} is altered or damaged. Get it again, or train again.") from error
    answers().print(facts(lines))


def _calibration_rows(model: str) -> int:
    """Return how many rows were kept for the threshold; the network is not built for that."""
    from offnormal import container

    return int(container.read(model)[1]["calibration"].size)


def _lines(content: Mapping[str, Any], calibration_rows: int) -> dict[str, str]:
    """Return what a person wants to know; the rest is in the JSON."""
    from offnormal.report.words import speaking_of
    from offnormal.thresholds import Cut, promise

    training, cut, schema = content["training"], content["threshold"], content["schema"]
    kind, groups = content["calibration"], content.get("calibration_groups")
    apart = "" if groups is None else f", of {how_many(groups, 'group')}"
    noun = "image" if "image_shape" in schema else "clip" if "clip_shape" in schema else "row"
    rows, features = how_many(training["rows"], noun), how_many(training["features"], "feature")
    parameters = content["parameters"]
    idle = set(_OF_IMAGES_ALONE if noun == "row" else _OF_TABLES_ALONE)
    if noun == "row" or parameters.get("network") == "dense":
        idle |= set(_OF_CONVOLUTIONS_ALONE)
    return {
        "method": content["method"],
        "training": f"{rows}, {features}, {training_in_words(training)}",
        **_of_a_generator(training, noun),
        "threshold": f"{cut['value']:.6g} ({cut['rule']})",
        "promise": speaking_of(noun, promise(Cut(**cut), whole=False, folds=kind == "folds", groups=groups)),
        "calibration": "none" if kind == "none" else f"{how_many(calibration_rows, noun)} ({kind}{apart})",
        **(_of_columns(schema) if noun == "row" else _of_images(schema)),
        "parameters": ", ".join(f"{name} {value}" for name, value in parameters.items() if name not in idle),
        "versions": ", ".join(f"{name} {version}" for name, version in content["versions"].items()),
    }


def _of_a_generator(training: Mapping[str, Any], noun: str) -> dict[str, str]:
    """Return how diverse its rows are, of a model with a generator; models of old do not say whether it collapsed."""
    from offnormal.networks.diversity import LEAST_STEPS, last_diversity

    diversity = last_diversity(training["history"])
    if diversity is None:
        return {}
    said = f"two {noun}s that it makes differ by {diversity:.2g} of what two training {noun}s do"
    if training.get("collapsed"):
        said = f"collapsed: {said}, so the scores may be poor"
    elif training.get("steps", LEAST_STEPS) < LEAST_STEPS:
        said += f"; {training['steps']:,} steps are too few to tell whether it collapsed ({LEAST_STEPS:,} are needed)"
    return {"generator": said}


def _of_images(schema: Mapping[str, Any]) -> dict[str, str]:
    if "clip_shape" in schema:
        from offnormal.data.pixel_arrays import shape_in_words

        return {"clips": shape_in_words(schema["clip_shape"])}
    return {"images": image_in_words(schema["image_shape"])}


def _of_columns(schema: Mapping[str, Any]) -> dict[str, str]:
    return {
        "columns": ", ".join(map(_column, schema["columns"])),
        "ID columns": ", ".join(schema.get("ids", ())) or "none",
        "ignored": ", ".join(schema.get("ignored", ())) or "none",
    }


def _column(column: Mapping[str, Any]) -> str:
    kinds = how_many(len(column["categories"]), "value") if column.get("categories") else column["kind"]
    return f"{column['name']} ({kinds})"
