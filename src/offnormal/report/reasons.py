"""The most anomalous rows and the columns behind the flags, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from offnormal.data.columns import Column
from offnormal.explanation import Explanation
from offnormal.report import charts, images
from offnormal.report.evidence import Drivers, Evidence, FittedDetector, Listed, of_images
from offnormal.report.numerals import number, percent, tenths
from offnormal.report.words import Words

_REASONS = 3
PART_COLORS = 5
"""Classes p1 to p5 of the style sheet."""
_SHOWN_CONTRIBUTIONS = 100
_SHOWN_DRIVERS = 12


def listed(detector: FittedDetector, evidence: Evidence, words: Words, method: str) -> dict[str, Any]:
    """Put the most anomalous rows and all their contributions, or their pictures, into words."""
    found = evidence.listed
    explanation = in_words(detector, found, words)
    kinds = evidence.explorable.kinds if evidence.explorable else ()
    rows = [
        {
            "rank": i + 1,
            "row": f"{found.rows[i]:,}",
            "ids": found.ids[i],
            "score": number(float(found.scores[i]), 4),
            "p": number(float(found.p_values[i])) if found.p_values is not None else None,
            "flagged": bool(found.flagged[i]),
            "exact_score": repr(float(found.scores[i])),
            "kind": kinds[found.rows[i]] if kinds else "",
            "reasons": reasons(detector, found, explanation, i) if explanation else [],
            "details": contributions(explanation, i, int(found.rows[i]), words) if explanation else None,
        }
        for i in range(len(found.rows))
    ]
    n = detector.calibration_.n
    parts = list(explanation.parts) if explanation else []
    return {
        "lead": words("top.lead", n=len(rows)),
        "smallest": words("top.smallest", calibration=n, smallest=number(1 / (n + 1))) if n else None,
        "no_reasons": None if explanation else _without_reasons(evidence, words, method),
        "reasoned": explanation is not None,
        "ids": _id_names(detector, found, words),
        "pictures": images.shown(evidence.pictured, evidence.names, words) if evidence.pictured else None,
        "rows": rows,
        "parts": [(f"p{i % PART_COLORS + 1}", words.known(f"part.{part}", part)) for i, part in enumerate(parts)],
    }


def _without_reasons(evidence: Evidence, words: Words, method: str) -> str | None:
    """Say what a method does not give, or None of images with a map of residuals."""
    if evidence.pictured is not None and evidence.pictured.maps is not None:
        return None
    return words("top.no_reasons", method=method)


def _id_names(detector: FittedDetector, found: Listed, words: Words) -> tuple[str, ...]:
    if of_images(detector):
        return (words("pictures.image"),) if found.ids and found.ids[0] else ()
    names: tuple[str, ...] = detector.schema_.ids
    return names


def reasons(detector: FittedDetector, found: Listed, explanation: Explanation, i: int) -> list[dict[str, Any]]:
    """Return the columns that raise a row's score most, with what stood there, what is usual, and if that is usual."""
    total = explanation.contributions[i]
    positive = float(total[total > 0].sum())
    return [
        {
            "column": explanation.columns[j],
            "value": explanation.values[i][j],
            "usual": explanation.usual[j],
            "share": tenths(float(total[j]) / positive),
            "in_range": is_usual(detector.schema_.columns[j], float(found.encoded[i, j]), detector.reference_[j]),
        }
        for j in explanation.ranking()[i, :_REASONS]
        if total[j] > 0
    ]


def is_usual(column: Column, code: float, reference: Sequence[float]) -> bool:
    """Return whether a value is within a number's usual range, or the commonest of the other kinds."""
    first, second = (float(value) for value in reference)
    if column.kind == "datetime":
        return False  # no time is usual
    return first <= code <= second if column.kind == "numeric" else code == first


def in_words(detector: FittedDetector, found: Listed, words: Words) -> Explanation | None:
    """Return the explanation of the listed rows with its values and usual values in the page's language."""
    if found.explanation is None:
        return None
    columns = detector.schema_.columns
    values = [
        [cell_text(column, code, text, words) for column, code, text in zip(columns, codes, texts, strict=True)]
        for codes, texts in zip(found.encoded, found.explanation.values, strict=True)
    ]
    usual = tuple(usual_text(column, ref, words) for column, ref in zip(columns, detector.reference_, strict=True))
    return replace(found.explanation, values=values, usual=usual)


def cell_text(column: Column, code: float, text: str, words: Words) -> str:
    """Return one cell's text; missing and unseen values are said in the page's language."""
    if np.isnan(code):
        return words("value.missing")
    if column.kind == "category" and code >= len(column.categories):
        return words("value.unseen", value=text.removesuffix(" (never seen)"))
    return text


def usual_text(column: Column, reference: Sequence[float], words: Words) -> str:
    """Say what is usual in a column."""
    first, second = (float(value) for value in reference)
    if np.isnan(first):
        return words("data.any_time" if column.kind == "datetime" else "value.missing")
    if column.kind != "numeric":
        return words("data.commonest", value=column.text(first), share=percent(round(second, 2)))
    low, high = column.text(first), column.text(second)
    return low if low == high else words("data.range", low=low, high=high)


def contributions(explanation: Explanation, i: int, row: int, words: Words) -> dict[str, Any]:
    """Return the lines of one row's contributions, greatest first, as shares of the positive ones."""
    total = explanation.contributions[i]
    positive = float(total[total > 0].sum()) or 1.0
    order = explanation.ranking()[i]
    shown = order[:_SHOWN_CONTRIBUTIONS]
    greatest = max(float(total[order[0]]) / positive, 1e-12)
    lines = [
        {
            "column": explanation.columns[j],
            "value": explanation.values[i][j],
            "usual": explanation.usual[j],
            "share": tenths(float(total[j]) / positive),
            "bar": charts.bars(
                [
                    (f"p{k % PART_COLORS + 1}", float(part[i, j]) / positive)
                    for k, part in enumerate(explanation.parts.values())
                ],
                greatest,
            ),
        }
        for j in shown
    ]
    rest = order[_SHOWN_CONTRIBUTIONS:]
    return {
        "summary": words("top.details_capped", row=row, n=len(shown), all=len(order))
        if len(rest)
        else words("top.details", row=row),
        "lines": lines,
        "rest": (
            words("top.rest", columns=words.count("column", len(rest))),
            tenths(float(total[rest].sum()) / positive),
        )
        if len(rest)
        else None,
    }


def drivers(found: Drivers | None, n_flagged: int, words: Words) -> dict[str, Any] | None:
    """Return first reasons by column, or None where nothing is flagged or explained."""
    if found is None:
        return None
    shown, rest = found.counts[:_SHOWN_DRIVERS], found.counts[_SHOWN_DRIVERS:]
    rows = words.count("row", found.explained)
    key = "drivers.lead" if found.explained == n_flagged else "drivers.lead_sampled"
    greatest = shown[0][1] / found.explained
    lines = [
        (
            column,
            f"{count:,}",
            tenths(count / found.explained),
            charts.bars([("bar-flagged", count / found.explained)], greatest),
        )
        for column, count in shown
    ]
    more = None
    if rest:
        count = sum(c for _, c in rest)
        more = (
            words("drivers.rest", columns=words.count("column", len(rest))),
            f"{count:,}",
            tenths(count / found.explained),
        )
    return {"lead": words(key, rows=rows, flagged=n_flagged), "lines": lines, "rest": more}
