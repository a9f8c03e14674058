"""One model file: save, load, look inside. No pickle; loading runs no code from the file.

The manifest says which registered method, with which hyper-parameters and columns; the module is built from those and
the tensors are laid into it, each with its expected name, shape and type.
"""

from __future__ import annotations

import dataclasses
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

import offnormal
from offnormal import container
from offnormal.calibration import Calibration
from offnormal.data.columns import Schema
from offnormal.data.preprocess import TablePreprocessor
from offnormal.detector import Detector
from offnormal.errors import ModelFileError, OffnormalError
from offnormal.parameters import declared, validate
from offnormal.registry import METHODS, method_class
from offnormal.scorer import Scorer
from offnormal.thresholds import Cut

KIND = "offnormal model"


def save(detector: Detector, path: str | Path) -> None:
    """Write a fitted detector to one file, under a temporary name first.

    Raises
    ------
    EnvironmentFailure
        If the disk is full or the place cannot be written; an older file is left as it was.
    """
    from sklearn.utils.validation import check_is_fitted

    check_is_fitted(detector)
    tensors = {f"scorer/{name}": tensor.cpu().numpy() for name, tensor in detector.scorer_.state_dict().items()}
    tensors["calibration"] = detector.calibration_.scores
    tensors["training_scores"] = detector.training_scores_
    tensors["reference"] = detector.reference_
    names = getattr(detector, "feature_names_in_", None)
    manifest = {
        "kind": KIND,
        "method": detector.key,
        "parameters": detector.get_params(deep=False),
        "schema": detector.schema_.to_json(),
        "preprocess": detector.scorer_.preprocess.plan,
        "feature_names_in": None if names is None else list(names),
        "seed": detector.seed_,
        "planned": {"epochs": detector.planned_epochs_, "batch_size": detector.planned_batch_size_},
        "calibration": detector.calibration_.kind,
        "threshold": dataclasses.asdict(detector.threshold_) | {"details": dict(detector.threshold_.details)},
        "training": detector.training_,
        "versions": {
            "offnormal": offnormal.__version__,
            "python": platform.python_version(),
            **{package: metadata.version(package) for package in ("numpy", "torch", "scikit-learn", "pyarrow")},
        },
    }
    container.write(Path(path), manifest, tensors)


def load(path: str | Path) -> Detector:
    """Read a detector back; it scores as the one that was saved, on a machine with or without a GPU.

    Raises
    ------
    ModelFileError
        If the file is truncated, altered, of an unknown version or not a model; nothing from it is run.
    """
    manifest, tensors = container.read(Path(path))
    if manifest.get("kind") != KIND:
        raise ModelFileError(f"{path} is not a model of offnormal. Give the file that `offnormal fit -o` wrote.")
    try:
        return _restore(manifest, tensors)
    except ModelFileError:
        raise
    except (OffnormalError, KeyError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError) as error:
        raise ModelFileError(
            f"The model file {path} is altered or damaged: {_first_line(error)}. Get the file again, or train again."
        ) from error


def info(path: str | Path) -> dict[str, Any]:
    """Return the manifest of a model file without building the model."""
    manifest = container.read_manifest(Path(path))
    if manifest.get("kind") != KIND:
        raise ModelFileError(f"{path} is not a model of offnormal. Give the file that `offnormal fit -o` wrote.")
    return manifest


def _restore(manifest: dict[str, Any], tensors: dict[str, np.ndarray[Any, Any]]) -> Detector:
    key = manifest["method"]
    if key not in METHODS:
        raise ModelFileError(f"The model was made by the method {key!r}, which this version does not have. Upgrade.")
    cls = method_class(key)
    parameters = dict(manifest["parameters"])
    if set(parameters) != set(declared(cls)):
        raise ModelFileError(f"The hyper-parameters in the file are not those of {cls.__name__}; train again.")
    values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in parameters.items()}
    detector = cls(**values)
    validate(detector)
    detector.schema_ = Schema.from_json(manifest["schema"])
    detector.seed_ = _integer(manifest["seed"])
    detector.planned_epochs_ = _integer(manifest["planned"]["epochs"])
    detector.planned_batch_size_ = _integer(manifest["planned"]["batch_size"])
    detector.n_features_in_ = len(detector.schema_.columns)
    if manifest["feature_names_in"] is not None:
        detector.feature_names_in_ = np.asarray(manifest["feature_names_in"], dtype=object)
    detector.scorer_ = _scorer(detector, manifest, tensors)
    scores = _vector(tensors, "calibration")
    detector.calibration_ = Calibration(np.sort(scores), _text(manifest["calibration"]))
    detector.training_scores_ = _vector(tensors, "training_scores")
    detector.reference_ = tensors["reference"]
    if detector.reference_.shape != (detector.n_features_in_, 2) or detector.reference_.dtype != np.float64:
        raise ModelFileError("The model file is altered: its reference ranges do not fit its columns.")
    detector.training_ = dict(manifest["training"])
    detector.threshold_ = _threshold(manifest["threshold"])
    detector.offset_ = -detector.threshold_.value
    return detector


def _scorer(detector: Detector, manifest: dict[str, Any], tensors: dict[str, np.ndarray[Any, Any]]) -> Scorer:
    """Build the module on no memory, hold its shapes against the file's, then lay the tensors in."""
    state = {n.removeprefix("scorer/"): torch.from_numpy(t) for n, t in tensors.items() if n.startswith("scorer/")}
    preprocess = TablePreprocessor.from_plan(detector.schema_, detector.scaling, manifest["preprocess"])
    with torch.device("meta"):
        method = detector.build((preprocess.n_features,))
    scorer = Scorer(preprocess, method)
    expected = scorer.state_dict()
    if set(expected) != set(state):
        odd = sorted(set(expected) ^ set(state))[0]
        raise ModelFileError(f"The model file is altered: tensor {odd!r} is missing or unknown.")
    for name, tensor in expected.items():
        if tensor.shape != state[name].shape or tensor.dtype != state[name].dtype:
            raise ModelFileError(
                f"The model file is altered: tensor {name!r} should be {tuple(tensor.shape)} {tensor.dtype}, "
                f"it is {tuple(state[name].shape)} {state[name].dtype}."
            )
    scorer.load_state_dict(state, assign=True)
    return scorer.eval()


def _threshold(entry: dict[str, Any]) -> Cut:
    value = entry["value"]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not np.isfinite(value):
        raise ModelFileError("The model file is altered: its threshold is not a finite number.")
    return Cut(float(value), _text(entry["rule"]), _text(entry["promise"]), dict(entry["details"]))


def _vector(tensors: dict[str, np.ndarray[Any, Any]], name: str) -> np.ndarray[Any, Any]:
    vector = tensors[name]
    if vector.ndim != 1 or vector.dtype != np.float64 or not np.isfinite(vector).all():
        raise ModelFileError(f"The model file is altered: {name!r} is not a vector of finite numbers.")
    return vector


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise ModelFileError(f"The model file is altered: {value!r} stands where a count should.")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ModelFileError(f"The model file is altered: {value!r} stands where a text should.")
    return value


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")[:200]
