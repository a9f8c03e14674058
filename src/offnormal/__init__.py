"""offnormal learns what is normal from unlabeled data and says what is not.

    import offnormal
    detector = offnormal.DAGMM().fit(table)
    detector.anomaly_score(table), detector.p_value(table), detector.predict(table)
    offnormal.save(detector, "model.offnormal")

Names are loaded on first use; `import offnormal` itself imports neither torch nor scikit-learn.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from offnormal import errors as errors
    from offnormal.data.tables import read_table as read_table
    from offnormal.io import load as load
    from offnormal.io import save as save
    from offnormal.methods.dagmm import DAGMM as DAGMM
    from offnormal.methods.pca import PCAReconstruction as PCAReconstruction
    from offnormal.registry import make_detector as make_detector

__version__ = "0.1.0"

_HOMES = {
    "DAGMM": "offnormal.methods.dagmm",
    "PCAReconstruction": "offnormal.methods.pca",
    "errors": "offnormal.errors",
    "load": "offnormal.io",
    "make_detector": "offnormal.registry",
    "read_table": "offnormal.data.tables",
    "save": "offnormal.io",
}

__all__ = ["DAGMM", "PCAReconstruction", "__version__", "errors", "load", "make_detector", "read_table", "save"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'offnormal' has no attribute {name!r}")
    home = import_module(_HOMES[name])
    return home if name == "errors" else getattr(home, name)


def __dir__() -> list[str]:
    return sorted(__all__)
