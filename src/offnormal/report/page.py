"""Evidence and words become what the template shows; no numbers are made here."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from offnormal.report import card, charts, curves, reasons
from offnormal.report.evaluation import Measure
from offnormal.report.evidence import DRAWN_FLAGGED, DRAWN_REST, Evidence, FittedDetector
from offnormal.report.explore import explored
from offnormal.report.numerals import measure, number, percent
from offnormal.report.words import Words

_WIDE, _NARROW = 920, 360
_STANDARD_ERRORS = 3.0  # more flags than expected by this many: more than chance


def page(detector: FittedDetector, evidence: Evidence, words: Words, title: str | None) -> dict[str, Any]:
    """Return the template's context."""
    method = type(detector).__name__
    return {
        "t": words,
        "title": title or words("page.title"),
        "subtitle": words("page.of", method=method, rows=words.count("row", evidence.n_rows)),
        "made": words(
            "page.made", version=card.version_of("offnormal"), date=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
        ),
        "method": method,
        "verdict": verdict(detector, evidence, words),
        "scores": scores(detector, evidence, words),
        "explore": None if evidence.explorable is None else explored(evidence.explorable, words),
        "listed": reasons.listed(detector, evidence, words, method),
        "drivers": reasons.drivers(evidence.drivers, evidence.n_flagged, words),
        "code": code(evidence, words),
        "training": curves.training(detector, words, method),
        "evaluation": evaluation(evidence, words),
        "data": card.data(detector, evidence, words),
        "model": card.model(detector, words, method),
    }


def verdict(detector: FittedDetector, evidence: Evidence, words: Words) -> dict[str, Any]:
    """Say what came out, what was to be expected, and what the threshold promises."""
    cut, n, flagged, expected = detector.threshold_, evidence.n_rows, evidence.n_flagged, evidence.expected
    rows = words.count("row", n)
    calibration = detector.calibration_
    above = expected / n * calibration.units
    said, in_short = chance_flags(expected, above, words, bound=calibration.groups is not None)
    meaning = None
    if flagged > n / 2:
        meaning = words("verdict.most")
    elif flagged and np.isfinite(expected):
        # Two sources of chance: which rows came, and how few calibration rows the expected count rests on. Of groups
        # whose rows are alike, either all come or none does.
        together = calibration.n / max(calibration.units, 1)
        chance = (together * max(expected, 1.0) + expected**2 / max(above, 1.0)) ** 0.5
        many = flagged > expected + _STANDARD_ERRORS * chance
        meaning = words("verdict.many" if many else "verdict.few", flagged=flagged, expected=said)
    return {
        "alarm": bool(flagged),
        "headline": words("verdict.some", rows=rows, flagged=flagged, share=percent(flagged / n))
        if flagged
        else words("verdict.none", rows=rows),
        "rule": words("verdict.rule", cut=number(cut.value), rule=cut.rule),
        "meaning": meaning,
        "collapsed": collapsed(detector, words),
        "promise": words.on_rows(calibration.promise(cut, words.lang, whole=False)),
        "tiles": [
            (words("tile.flagged"), f"{flagged:,}"),
            (words("tile.expected"), in_short),
            (words("tile.threshold"), number(cut.value)),
            (words("tile.highest"), number(float(evidence.listed.scores[0]))),
        ],
    }


def collapsed(detector: FittedDetector, words: Words) -> str | None:
    """Warn of a generator that collapsed; None where there is none, or it did not."""
    made = curves.made(detector.training_)
    return words("verdict.collapsed", ratio=number(made.diversity, 2)) if made is not None and made.collapsed else None


def chance_flags(expected: float, above: float, words: Words, *, bound: bool = False) -> tuple[str, str]:
    """Say how many flags normal rows give on average, in words and in short; never 0, which no calibration can tell.

    Parameters
    ----------
    expected : float
        By rank, so with no calibration row above the cut it is an upper bound.
    above : float
        Calibration rows, or groups of them, above the cut, at least n / (n + 1) of one.
    bound : bool
        The count is an upper bound whatever `above` is: that of groups.
    """
    if not np.isfinite(expected):
        return "–", "–"
    if expected < 1:
        return words("verdict.below_one"), "<1"
    shown = number(round(expected, 1))
    return (
        (words("verdict.at_most", n=shown), f"≤{shown}")
        if bound or above < 1
        else (words("verdict.about", n=shown), shown)
    )


def scores(detector: FittedDetector, evidence: Evidence, words: Words) -> dict[str, Any]:
    """Draw the histogram in two widths, with its notes and a table of quantiles."""
    data, calibration = evidence.histogram, detector.calibration_
    notes = []
    if data.axis.scale == "compressed":
        notes.append(words("scores.compressed"))
    if charts.count_axis(data).scale == "log":
        notes.append(words("scores.log"))
    if not np.isfinite(data.cut):
        notes.append(words("scores.cut_outside"))
    lead = {"folds": "scores.lead_folds", "holdout": "scores.lead"}.get(calibration.kind, "scores.lead_none")
    return {
        "lead": words(lead, n=calibration.n),
        "calibrated": bool(calibration.n),
        "wide": charts.histogram(data, words, width=_WIDE),
        "narrow": charts.histogram(data, words, width=_NARROW),
        "notes": notes,
        "quantiles": [
            (words(f"quantile.{group}"), [number(float(v)) for v in values])
            for group, values in evidence.quantiles.items()
            if np.isfinite(values).any()
        ],
    }


def code(evidence: Evidence, words: Words) -> dict[str, Any] | None:
    """Draw the planes of the code, or None for a method without one."""
    if not evidence.clouds:
        return None
    shown = len(evidence.clouds[0].rows)
    notes = [
        words("code.all", shown=shown)
        if shown == evidence.n_rows
        else words("code.sampled", shown=shown, all=evidence.n_rows, limit_rest=DRAWN_REST, limit_flagged=DRAWN_FLAGGED)
    ]
    axes = {cloud.x_name for cloud in evidence.clouds} | {cloud.y_name for cloud in evidence.clouds}
    if 1 < len(axes) < evidence.n_code_axes:
        notes.append(words("code.axes", shown=len(axes), all=evidence.n_code_axes))
    named = [
        replace(
            cloud,
            x_name=words.known(f"axis.{cloud.x_name}", cloud.x_name),
            y_name=words.known(f"axis.{cloud.y_name}", cloud.y_name),
        )
        for cloud in evidence.clouds
    ]
    return {"notes": notes, "panels": [charts.scatter(cloud, words) for cloud in named]}


def evaluation(evidence: Evidence, words: Words) -> dict[str, Any] | None:
    """Put the measures into words, or None without labels."""
    found = evidence.evaluation
    if found is None:
        return None
    share = percent(found.anomalies / evidence.n_rows)
    rows = words.count("row", evidence.n_rows)
    return {
        "lead": words("evaluation.lead", anomalies=found.anomalies, rows=rows, share=share),
        "lines": [
            (
                words(f"evaluation.{m.name}"),
                measure(m.value),
                _interval(m, words),
                words(f"evaluation.{m.name}_means", share=measure(found.anomalies / evidence.n_rows)),
            )
            for m in found.measures
        ],
        "intervals": found.resampled,
        "note": None if found.resampled or not found.measures else words("evaluation.no_interval", rows=rows),
    }


def _interval(found: Measure, words: Words) -> str:
    if found.low is None or found.high is None:
        return ""
    return words("data.range", low=measure(found.low), high=measure(found.high))
