"""The data summary and the model card."""

from __future__ import annotations

import platform
from importlib import metadata
from typing import Any

from offnormal.parameters import declared
from offnormal.report import curves
from offnormal.report.curves import figure
from offnormal.report.evidence import ColumnSummary, Evidence, FittedDetector, of_images
from offnormal.report.numerals import number, percent, tenths
from offnormal.report.reasons import usual_text
from offnormal.report.words import Words

_SHOWN_COLUMNS = 300
_OPEN_COLUMNS = 60


def data(detector: FittedDetector, evidence: Evidence, words: Words) -> dict[str, Any]:
    """Summarize the columns: kinds, missing values, ranges, what training did not have; of images, what they are."""
    if of_images(detector):
        return data_of_images(detector, evidence, words)
    schema, columns = detector.schema_, evidence.columns
    constant = sum(summary.constant for summary in columns)
    notes = []
    for key, names in (("ids", schema.ids), ("ignored", schema.ignored), ("extra", evidence.unknown_columns)):
        if names:
            notes.append(words(f"data.{key}", names=", ".join(names)))
    if len(columns) > _SHOWN_COLUMNS:
        notes.append(words("data.capped", shown=_SHOWN_COLUMNS, all=len(columns)))
    lines = [column_line(summary, evidence.n_rows, words) for summary in columns[:_SHOWN_COLUMNS]]
    return {
        "lead": words(
            "data.lead",
            columns=words.count("column", len(columns)),
            constant=constant,
            missing=sum(summary.missing > 0 for summary in columns),
        ),
        "notes": notes,
        "lines": lines,
        "remarks": any(line["remarks"] for line in lines),
        "open": len(columns) <= _OPEN_COLUMNS,
    }


def data_of_images(detector: FittedDetector, evidence: Evidence, words: Words) -> dict[str, Any]:
    """Say what images the model sees."""
    channels, height, width = detector.schema_.shape
    kind = {1: words("pictures.grey"), 3: words("pictures.color")}.get(channels, words("pictures.channels", n=channels))
    lead = words("data.lead", height=height, width=width, kind=kind, constant=evidence.of_one_color)
    return {"lead": lead, "notes": [], "lines": []}


def column_line(summary: ColumnSummary, n_rows: int, words: Words) -> dict[str, str]:
    """Put one column's summary into words."""
    column = summary.column
    remarks = []
    if summary.missing == n_rows:
        remarks.append(words("data.all_missing"))
    elif summary.constant:
        remarks.append(words("data.constant"))
    if column.kind == "numeric" and summary.reference[0] == summary.reference[1]:
        remarks.append(words("data.steady"))
    if summary.unseen:
        remarks.append(words("data.unseen", rows=words.count("row", summary.unseen)))
    return {
        "name": column.name,
        "kind": words(f"kind.{column.kind}"),
        "missing": percent(summary.missing / n_rows),
        "training": usual_text(column, summary.reference, words),
        "scored": scored_range(summary, n_rows, words),
        "outside": tenths(summary.outside / n_rows) if column.kind == "numeric" else "–",
        "remarks": " · ".join(remarks),
    }


def scored_range(summary: ColumnSummary, n_rows: int, words: Words) -> str:
    """Return the least and greatest value of the scored rows, or how a category is filled."""
    if summary.missing == n_rows:
        return "–"
    if summary.column.kind == "category":
        return words("data.values", n=len(summary.column.categories))
    low, high = summary.column.text(summary.low), summary.column.text(summary.high)
    return low if low == high else words("data.range", low=low, high=high)


def model(detector: FittedDetector, words: Words, method: str) -> dict[str, Any]:
    """Write the model card."""
    trained, calibration, cut = detector.training_, detector.calibration_, detector.threshold_
    rows = int(figure(trained, "rows"))
    images = of_images(detector)
    given = "×".join(map(str, detector.schema_.shape)) if images else f"{len(detector.schema_.columns):,}"
    facts = [
        (words("model.method"), f"{method} ({detector.key})"),
        (words("model.rows"), f"{rows:,}"),
        (words("model.columns"), f"{given} → {int(figure(trained, 'features')):,}"),
        (words("model.calibration"), words(f"model.calibration_{calibration.kind}", n=calibration.n)),
        (words("model.threshold"), words("model.threshold_value", cut=number(cut.value), rule=cut.rule)),
        (words("model.seed"), str(detector.seed_)),
        (words("model.versions"), versions()),
    ]
    if (made := curves.made(trained)) is not None:
        said = "model.collapsed" if made.collapsed else "model.diversity"
        facts.insert(3, (words("model.generator"), words(said, ratio=number(made.diversity, 2))))
    return {
        "about": words.on_rows(
            words.known(f"about.{detector.key}", (type(detector).__doc__ or "").strip().split("\n")[0])
        ),
        "facts": facts,
        "promise": words.on_rows(calibration.promise(cut, words.lang)),
        "parameters": parameters(detector, words),
    }


def parameters(detector: FittedDetector, words: Words) -> list[dict[str, Any]]:
    """Return each hyper-parameter with its default, source and meaning."""
    values = detector.get_params()
    return [
        {
            "name": name,
            "value": parameter_text(values[name], words),
            "default": parameter_text(default, words),
            "changed": values[name] != default,
            "source": constraint.source,
            "meaning": constraint.help,
        }
        for name, (default, constraint) in declared(type(detector)).items()
    ]


def parameter_text(value: Any, words: Words) -> str:
    """Return a hyper-parameter's value as a reader would write it."""
    if value is None:
        return words("model.none")
    if isinstance(value, bool):
        return words("answer.yes" if value else "answer.no")
    if isinstance(value, (tuple, list)):
        return ", ".join(map(str, value)) or words("model.none")
    return str(value)


def versions() -> str:
    """Return the versions the report was made with."""
    named = [f"{name} {version_of(name)}" for name in ("offnormal", "torch", "numpy", "scikit-learn")]
    return ", ".join([*named, f"Python {platform.python_version()}"])


def version_of(name: str) -> str:
    """Return the installed version of a package."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "?"
