"""One model file: save, load, look inside. No pickle; loading runs no code from the file.

The manifest says which registered method, with which hyper-parameters and columns; the module is built from those on no
memory, and the tensors are laid into it, each with its expected name, shape and type. A file is believed in nothing
that can be checked: whatever is wrong is one `ModelFileError` in words.
"""

from __future__ import annotations

import contextlib
import dataclasses
import platform
import reprlib
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

import offnormal
from offnormal import container, thresholds
from offnormal.calibration import Calibration
from offnormal.data.columns import Column, Schema
from offnormal.data.pixel_arrays import SHAPE_ENTRIES, ImageSchema
from offnormal.detector import Detector
from offnormal.errors import ModelFileError, NotSupported, OffnormalError
from offnormal.method import Method
from offnormal.parameters import declared, validate
from offnormal.registry import METHODS, method_class
from offnormal.scorer import Scorer
from offnormal.thresholds import Cut

KIND = "offnormal model"
SCORER = "scorer/"
OTHER_TENSORS = {"calibration", "training_scores", "reference"}
LONGEST_MESSAGE = 600
MOST_FIGURES = 100

Array = np.ndarray[Any, Any]

_DAMAGE = (OffnormalError, LookupError, TypeError, ValueError, AttributeError, RuntimeError, ArithmeticError)
"""What building a detector from wrong values can raise."""


def save(detector: Detector, path: str | Path) -> None:
    """Write a fitted detector to one file, under a temporary name first.

    Raises
    ------
    NotSupported
        If the detector is not of a registered method.
    ModelFileError
        If it could not be read back, as after a change of hyper-parameters without a new `fit`.
    EnvironmentFailure
        If the disk is full or the place cannot be written; an older file is left as it was.
    """
    from sklearn.utils.validation import check_is_fitted

    check_is_fitted(detector)
    if METHODS.get(detector.key) is None or method_class(detector.key) is not type(detector):
        raise NotSupported(
            f"{type(detector).__name__} is not a method of offnormal's registry, so no file of it could be loaded. "
            f"Save one of {', '.join(METHODS)}."
        )
    manifest, tensors = _manifest(detector), _tensors(detector)
    try:
        _restore(manifest, tensors)  # before an older file is replaced by one that cannot be read
    except _DAMAGE as error:
        raise ModelFileError(
            f"The {type(detector).__name__} cannot be saved: {_first_line(error)}. Its parameters or tensors were "
            "changed after fit; fit again."
        ) from error
    container.write(Path(path), manifest, tensors)


def load(path: str | Path) -> Detector:
    """Read a detector back, onto the CPU; it scores as the one that was saved, with or without a GPU.

    Raises
    ------
    ModelFileError
        If the file is truncated, altered, of an unknown version or not a model; nothing from it is run.
    EnvironmentFailure
        If the place may not be read, or memory is short.
    """
    manifest, tensors = container.read(Path(path))
    with _refusing(path):
        _check_manifest(manifest, path)
        return _restore(manifest, tensors)


def info(path: str | Path) -> dict[str, Any]:
    """Return the manifest of a model file without building the model. Raises as `load`."""
    manifest = container.read_manifest(Path(path))
    with _refusing(path):
        _check_manifest(manifest, path)
        _schema(manifest["schema"])
    return manifest


@contextlib.contextmanager
def _refusing(path: str | Path) -> Iterator[None]:
    """Turn whatever a file's content makes go wrong into one sentence that names the file."""
    try:
        yield
    except _DAMAGE as error:
        if isinstance(error, ModelFileError) and len(str(error)) <= LONGEST_MESSAGE:
            raise
        raise ModelFileError(
            f"The model file {path} is altered or damaged: {_first_line(error)}. Get the file again, or train again."
        ) from error


# --- writing ----------------------------------------------------------------------------------------------------------


def _manifest(detector: Detector) -> dict[str, Any]:
    names = getattr(detector, "feature_names_in_", None)
    packages = ("numpy", "torch", "scikit-learn", "pyarrow")
    manifest: dict[str, Any] = _plain(
        {
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
                **{package: metadata.version(package) for package in packages},
            },
        }
    )
    if detector.calibration_.groups is not None:
        manifest["calibration_groups"] = detector.calibration_.groups
    return manifest


def _tensors(detector: Detector) -> dict[str, Array]:
    tensors = {SCORER + name: tensor.cpu().numpy() for name, tensor in detector.scorer_.state_dict().items()}
    tensors["calibration"] = detector.calibration_.scores
    tensors["training_scores"] = detector.training_scores_
    tensors["reference"] = detector.reference_
    return tensors


def _plain(value: Any) -> Any:
    """Return JSON values: NumPy's numbers, which parameters may be, as Python's; tuples as lists."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


# --- reading ----------------------------------------------------------------------------------------------------------


def _check_manifest(manifest: dict[str, Any], path: str | Path) -> None:
    """Hold what is only shown, and never built from, against its type; `_restore` checks the rest."""
    if manifest.get("kind") != KIND:
        raise ModelFileError(f"{path} is not a model of offnormal. Give the file that `offnormal fit -o` wrote.")
    for name in ("parameters", "schema", "preprocess", "planned", "threshold", "training", "versions"):
        if not isinstance(manifest[name], dict):
            raise ValueError(f"its entry {name!r} is no object")
    _text(manifest["method"])
    _integer(manifest["seed"])
    _cut(manifest["threshold"])
    for version in manifest["versions"].values():
        _text(version)
    training = manifest["training"]
    for name in ("rows", "features", "epochs", "steps"):
        _integer(training[name])
    _number(training["seconds"])
    _text(training["stopped"])
    for epoch in training["best_epoch"].values():
        _integer(epoch)
    if not isinstance(training["history"], list) or not all(isinstance(epoch, dict) for epoch in training["history"]):
        raise ValueError("its training history is no list of epochs")


def _restore(manifest: dict[str, Any], tensors: dict[str, Array]) -> Detector:
    _check_sizes(manifest["schema"], tensors)
    detector = _unfitted(manifest)
    schema = _schema(manifest["schema"])
    detector.schema_ = schema
    columns = () if isinstance(schema, ImageSchema) else schema.columns
    detector.n_features_in_ = schema.n_features if isinstance(schema, ImageSchema) else len(columns)
    names = list(schema.names) if isinstance(schema, Schema) and schema.named else None
    if manifest["feature_names_in"] != names:
        raise ValueError("its feature names are not those of its columns")
    if names is not None:
        detector.feature_names_in_ = np.asarray(names, dtype=object)
    detector.seed_ = _integer(manifest["seed"])
    detector.planned_epochs_ = _integer(manifest["planned"]["epochs"])
    detector.planned_batch_size_ = _integer(manifest["planned"]["batch_size"])
    detector.scorer_ = _scorer(detector, manifest, tensors)
    scores, groups = _vector(tensors, "calibration"), manifest.get("calibration_groups")
    detector.calibration_ = _calibration(manifest["calibration"], scores, groups)
    detector.training_scores_ = _vector(tensors, "training_scores")
    if not len(detector.training_scores_):
        raise ValueError("it holds no training scores")
    detector.reference_ = _reference(tensors["reference"], columns)
    detector.training_ = dict(manifest["training"])
    detector.threshold_ = _cut(manifest["threshold"])
    detector.offset_ = -detector.threshold_.value
    return detector


def _schema(entry: dict[str, Any]) -> Schema | ImageSchema:
    """Read what training saw; only the entry of images and clips has a shape in it."""
    return ImageSchema.from_json(entry) if _of_pixels(entry) else Schema.from_json(entry)


def _of_pixels(schema: Mapping[str, Any]) -> bool:
    return any(name in schema for name in SHAPE_ENTRIES.values())


def _check_sizes(schema: dict[str, Any], tensors: Mapping[str, Array]) -> None:
    """Before anything is built: every column and every known category has a number of its own, whatever the method.

    Images and clips have no column; their schema bounds its own size.
    """
    if _of_pixels(schema):
        return
    columns = schema["columns"]
    claimed = len(columns) + sum(len(column.get("categories", ())) for column in columns)
    if claimed > sum(tensor.size for name, tensor in tensors.items() if name.startswith(SCORER)):
        raise ValueError("it has more columns and categories than its tensors have numbers")


def _unfitted(manifest: dict[str, Any]) -> Detector:
    key = _text(manifest["method"])
    if key not in METHODS:
        raise ModelFileError(
            f"The model was made by the method {reprlib.repr(key)}, which this version of offnormal does not have. "
            "Upgrade offnormal, or train again."
        )
    cls = method_class(key)
    parameters = dict(manifest["parameters"])
    if odd := set(parameters) - set(declared(cls)):
        raise ModelFileError(
            f"The model file has hyper-parameters that this version's {cls.__name__} does not have "
            f"({reprlib.repr(min(odd))}). Load it with the version that wrote it, or train again."
        )
    # One that a file lacks is newer than it: its default is what the method did before.
    values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in parameters.items()}
    detector = cls(**values)
    validate(detector)
    return detector


def _scorer(detector: Detector, manifest: dict[str, Any], tensors: dict[str, Array]) -> Scorer:
    """Build the module on no memory, hold its shapes against the file's, then lay the tensors in."""
    if odd := {name for name in tensors if not name.startswith(SCORER)} ^ OTHER_TENSORS:
        raise ValueError(f"tensor {min(odd)!r} is missing or unknown")
    state = {name.removeprefix(SCORER): torch.from_numpy(t) for name, t in tensors.items() if name.startswith(SCORER)}
    preprocess = detector._unlearned_preprocessor(manifest["preprocess"])
    with torch.device("meta"):
        method = detector.build(preprocess.shape)
        _widen(method, state)
    scorer = detector._scorer(preprocess, method)
    _check_tensors(scorer, state)
    scorer.load_state_dict(state, assign=True)
    scorer.eval()
    with torch.inference_mode():
        score = scorer(_blank_row(detector))
    if not bool(score.isfinite().all()):
        raise ValueError("its tensors give a row without values no score")
    return scorer


def _widen(method: Method, state: Mapping[str, torch.Tensor]) -> None:
    """Give the buffers whose last axis is found from the rows as many columns as the file's have, within reason."""
    for name in method.widths_from_rows:
        like, found = method.get_buffer(name), state.get(f"method.{name}")
        if found is not None and found.ndim == like.ndim == 2 and 1 <= found.shape[1] <= like.shape[0]:
            setattr(method, name, like.new_empty(like.shape[0], found.shape[1]))


def _blank_row(detector: Detector) -> torch.Tensor:
    if isinstance(detector.schema_, ImageSchema):
        return torch.zeros((1, *detector.schema_.shape), dtype=torch.uint8)
    return torch.full((1, detector.n_features_in_), torch.nan, dtype=torch.float64)


def _check_tensors(scorer: Scorer, state: Mapping[str, torch.Tensor]) -> None:
    expected = scorer.state_dict()
    if odd := set(expected) ^ set(state):
        raise ValueError(f"tensor {min(odd)!r} is missing or unknown")
    for name, like in expected.items():
        tensor = state[name]
        if tensor.shape != like.shape or tensor.dtype != like.dtype:
            raise ValueError(
                f"tensor {name!r} should be {tuple(like.shape)} {like.dtype}, "
                f"it is {tuple(tensor.shape)} {tensor.dtype}"
            )
        if name.removeprefix("method.") in scorer.method.may_be_minus_infinity:
            tensor = tensor.masked_fill(tensor == -torch.inf, 0)
        if not bool(tensor.isfinite().all()):
            raise ValueError(f"tensor {name!r} holds numbers that are not finite")


def _calibration(kind: Any, scores: Array, groups: Any) -> Calibration:
    if kind not in ("holdout", "folds", "none") or (kind == "none") != (len(scores) == 0):
        raise ValueError("its calibration scores are not of the kind that it says")
    count = None if groups is None else _integer(groups)
    if count is not None and not 1 <= count <= len(scores):
        raise ValueError("its calibration scores are not of as many groups as it says")
    return Calibration(scores, kind, count)


def _reference(reference: Array, columns: tuple[Column, ...]) -> Array:
    """Check what is usual in each column: two numbers, or a code and its share, or nothing."""
    if reference.shape != (len(columns), 2) or reference.dtype != np.float64:
        raise ValueError("its reference ranges do not fit its columns")
    for column, (first, second) in zip(columns, reference, strict=True):
        if np.isnan(first) and np.isnan(second):
            continue
        usable = np.isfinite(first) and np.isfinite(second)
        if column.kind in ("category", "boolean"):
            codes = range(len(column.categories) + 1 if column.kind == "category" else 2)
            usable = usable and first in codes and 0 <= second <= 1
        if not usable:
            raise ValueError(f"the reference range of column {reprlib.repr(column.name)} is not one")
    return reference


def _cut(entry: dict[str, Any]) -> Cut:
    rule, details = _text(entry["rule"]), entry["details"]
    thresholds.parse_rule(rule)
    if len(details) > MOST_FIGURES:
        raise ValueError(f"its threshold rests on more than {MOST_FIGURES} figures")
    for figure in details.values():
        _text(figure) if isinstance(figure, str) else _number(figure)
    cut = Cut(float(_number(entry["value"])), rule, _text(entry["promise"]), dict(details))
    thresholds.promise(cut)  # raises if the details are not those of the rule
    return cut


def _vector(tensors: dict[str, Array], name: str) -> Array:
    vector = tensors[name]
    if vector.ndim != 1 or vector.dtype != np.float64 or not np.isfinite(vector).all():
        raise ValueError(f"{name!r} is not a vector of finite numbers")
    return np.sort(vector)


def _integer(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise ValueError(f"{reprlib.repr(value)} stands where a count should")
    return value


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not abs(value) < 2**1000:
        raise ValueError(f"{reprlib.repr(value)} stands where a finite number should")
    return float(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{reprlib.repr(value)} stands where a text should")
    return value


def _first_line(error: BaseException) -> str:
    name = "entry " if isinstance(error, KeyError) else ""  # a KeyError's text is the key alone
    return (name + (str(error).splitlines() or [type(error).__name__])[0]).rstrip(".")[:300]
