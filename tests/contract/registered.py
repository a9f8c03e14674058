"""Every registered method, in a form that trains in a moment."""

from __future__ import annotations

from typing import Any

from offnormal.detector import Detector, TrainedDetector
from offnormal.registry import METHODS, make_detector, method_class

FOLDED = ("dagmm", "pca")
"""Methods whose calibration is by folds here, six trainings; the code of the folds is the same for all."""
_CHEAPER: dict[str, dict[str, Any]] = {"anogan": {"search_steps": 2, "restarts": 1}}
"""Its own tests score with all of them."""


def quick(key: str, **changes: Any) -> Detector:
    """Return the method with a few epochs, so that laws that do not concern learning are cheap to check."""
    usual: dict[str, Any] = {} if key in FOLDED else {"calibration": "holdout"}
    if issubclass(method_class(key), TrainedDetector):
        usual |= {"epochs": 3, "early_stopping": False}
    return make_detector(key, **{**usual, **_CHEAPER.get(key, {}), **changes})


KEYS = tuple(METHODS)
