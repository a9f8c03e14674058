"""The training record as curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from offnormal.errors import ModelFileError
from offnormal.networks.diversity import last_diversity
from offnormal.report import charts
from offnormal.report.charts import Curve
from offnormal.report.evidence import FittedDetector
from offnormal.report.words import Words


class Made(NamedTuple):
    """What a generator made at the end of its training: how diverse, and whether that is called collapsed."""

    diversity: float
    collapsed: bool


def training(detector: FittedDetector, words: Words, method: str) -> dict[str, Any]:
    """Draw one panel per loss term and phase, the sum first where there are several terms."""
    trained = detector.training_
    history = epochs_of(trained)
    if not history:
        return {"closed": words("training.closed", method=method), "phases": []}
    names = list(dict.fromkeys(record["phase"] for record in history))
    phases, any_kept = [], False
    for phase in names:
        records = [record for record in history if record["phase"] == phase]
        heading = words("training.phase", phase=phase) if len(names) > 1 else None
        kept = kept_epoch(trained, phase, records)
        any_kept = any_kept or kept is not None
        phases.append((heading, panels(records, kept, words)))
    speeds = [float(record["rows_per_second"]) for record in history]
    stopped = str(trained.get("stopped", ""))
    return {
        "lead": words(
            "training.lead",
            epochs=len(history),
            steps=int(figure(trained, "steps")),
            duration=words.duration(figure(trained, "seconds")),
            speed=f"{float(np.median(speeds)):,.0f}",
        ),
        "stopped": words("training.stopped", reason=words.known(f"stopped.{stopped}", stopped)),
        "held_out": any(record["held_out"] for record in history),
        "kept": any_kept,
        "phases": phases,
        "closed": None,
    }


def epochs_of(trained: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the training record, epoch by epoch; a model file may hold anything, so its shape is checked.

    Raises
    ------
    ModelFileError
        If it is not what the trainer writes.
    """
    try:
        return [
            {
                "phase": str(record["phase"]),
                "epoch": int(record["epoch"]),
                "rows_per_second": float(record["rows_per_second"]),
                "terms": {str(name): float(value) for name, value in record["terms"].items()},
                "held_out": {str(name): float(value) for name, value in (record["held_out"] or {}).items()},
            }
            for record in trained["history"]
        ]
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise _altered() from error


def figure(trained: Mapping[str, Any], name: str) -> float:
    """Return one figure of the training record, finite and not negative.

    Raises
    ------
    ModelFileError
        If it is missing or no such number.
    """
    value = trained.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e18:
        raise _altered()
    return float(value)


def made(trained: Mapping[str, Any]) -> Made | None:
    """Return what the generator of a model makes; None for a model without one, and for those of old.

    Raises
    ------
    ModelFileError
        If its diversity is no number from 0.
    """
    try:
        diversity = last_diversity(trained["history"])
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise _altered() from error
    if diversity is None:
        return None
    return Made(figure({"diversity": diversity}, "diversity"), bool(trained.get("collapsed", False)))


def _altered() -> ModelFileError:
    return ModelFileError(
        "The model's training record is not what offnormal writes, so the report cannot be made. "
        "Get the model file again, or train again."
    )


def kept_epoch(trained: Mapping[str, Any], phase: str, records: Sequence[Mapping[str, Any]]) -> int | None:
    """Return the epoch whose weights were kept, or None where that is the last one."""
    best = trained.get("best_epoch")
    epoch = best.get(phase) if isinstance(best, Mapping) else None
    return epoch if isinstance(epoch, int) and 0 < epoch < records[-1]["epoch"] else None


def panels(records: Sequence[Mapping[str, Any]], kept: int | None, words: Words) -> list[Any]:
    """Draw the panels of one phase."""
    epochs = np.array([record["epoch"] for record in records], dtype=np.float64)
    looks = [(float(record["epoch"]), record["held_out"]) for record in records if record["held_out"]]
    terms = list(dict.fromkeys(name for record in records for name in record["terms"]))
    drawn = []
    for term in ([None] if len(terms) > 1 else []) + terms:
        pick = sum_of if term is None else term_of(term)
        lines = [Curve(words("legend.training"), epochs, np.array([pick(record["terms"]) for record in records]), "")]
        if looks:
            xs, ys = np.array([x for x, _ in looks]), np.array([pick(held) for _, held in looks])
            lines.append(Curve(words("legend.held_out"), xs, ys, "held-out"))
        lines = [line for line in lines if np.isfinite(line.ys).any()]
        title = words("training.total") if term is None else words.known(f"term.{term}", term)
        if lines:
            drawn.append(charts.curves(title, lines, kept, words))
    return drawn


def sum_of(terms: Mapping[str, float]) -> float:
    """Return the sum of all terms."""
    return float(sum(terms.values()))


def term_of(name: str) -> Any:
    """Return a function that picks the named term; NaN where a record lacks it."""
    return lambda terms: float(terms.get(name, np.nan))
