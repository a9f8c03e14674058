"""From scores to a decision, without labels: cuts by rule, conformal p-values, false-discovery control.

Two kinds of scores come in: `calibration` (rows the model was not fitted to) and, for the rule `contamination` alone,
`training`. A row is flagged if and only if its anomaly score is strictly greater than the cut. Every cut says in words
which false alarm rate it promises, on what that rests and what it does not promise; a level for which the rows are too
few is refused.
"""

from __future__ import annotations

from offnormal.thresholds.conformal import benjamini_hochberg, p_values
from offnormal.thresholds.cuts import WITH_RATE, Cut, discovery_note, group_rate, promise
from offnormal.thresholds.rules import (
    DEFAULT_RULE,
    RULES,
    Conformal,
    Contamination,
    Fixed,
    MedianDeviation,
    PeaksOverThreshold,
    Quantile,
    Rule,
    default_cut,
    parse_rule,
)

__all__ = [
    "DEFAULT_RULE",
    "RULES",
    "WITH_RATE",
    "Conformal",
    "Contamination",
    "Cut",
    "Fixed",
    "MedianDeviation",
    "PeaksOverThreshold",
    "Quantile",
    "Rule",
    "benjamini_hochberg",
    "default_cut",
    "discovery_note",
    "group_rate",
    "p_values",
    "parse_rule",
    "promise",
]
