"""Every registered method, in a form that trains in a moment."""

from __future__ import annotations

from typing import Any

from offnormal.detector import Detector, TrainedDetector
from offnormal.registry import METHODS, make_detector, method_class

_CHEAPER: dict[str, dict[str, Any]] = {"anogan": {"search_steps": 10}}  # its own tests score with all of them


def quick(key: str, **changes: Any) -> Detector:
    """Return the method with a few epochs, so that laws that do not concern learning are cheap to check."""
    trained = issubclass(method_class(key), TrainedDetector)
    return make_detector(
        key, **({"epochs": 3, "early_stopping": False} if trained else {}), **_CHEAPER.get(key, {}), **changes
    )


KEYS = tuple(METHODS)
