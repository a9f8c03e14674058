"""Who takes part: our methods by key, preset and parameters, and the baselines of `offnormal.bench.baselines`.

A contender is fitted to rows alone, a table's or images. No label is passed to anything here.
"""

from __future__ import annotations

import importlib
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from offnormal.bench import baselines
from offnormal.bench.datasets import DATA_SETS
from offnormal.errors import NotSupported, UnknownName

if TYPE_CHECKING:
    from torch import Tensor

    from offnormal.detector import Detector
    from offnormal.method import Method

Floats = NDArray[np.float64]
THE_DATA_SETS = "{data}"
"""As a preset: the one named after the data set."""
THE_GROUPS = "{group}"
"""As a preset: the one named after the set of images that the data set is a class of."""
FAST_EPOCHS = 2
FAST_STEPS = 5
"""Of a search for the code of a row."""
SCORING = ("score_by", "jacobian", "power", "discrimination", "map_score", "map_area", "map_smoothing")
"""The parameters that say how a trained network scores, and have no part in its training."""
_LIBRARIES = (
    "torch",
    *(f"sklearn.{part}" for part in ("cluster", "covariance", "ensemble", "mixture", "neighbors", "svm")),
    *(f"offnormal.{part}" for part in ("data.columns", "data.pixels", "data.preprocess", "scorer")),
)
"""What a fit may import on its way: seconds in the first run of a process, which are not of the fit."""


@dataclass(frozen=True)
class Contender:
    """One row of a bench table.

    Attributes
    ----------
    name : str
        What the row is called.
    key : str
        Of a registered method, or of a baseline.
    preset : str or None
        A preset of the method; `THE_DATA_SETS`: the one named after the data set; `THE_GROUPS`: after the set of images
        that the data set is a class of.
    parameters : mapping
        What differs from the preset, or from the defaults.
    baseline : bool
        A trivial method that every published number has to stand beside.
    untrained_of : str or None
        The row whose network this is, as initialized.
    scores_of : str or None
        The row whose trained network this is, with another score: it differs in parameters of `SCORING` alone, and runs
        asked for together are trained once.
    paper : tuple of str
        Rows of the papers' tables to show beside it, "file:method".
    seeds : int or None
        Runs; None: as many as the table says.
    data : tuple of str
        The data sets it takes part in; none named: all of the table.
    """

    name: str
    key: str
    preset: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    baseline: bool = False
    untrained_of: str | None = None
    scores_of: str | None = None
    paper: tuple[str, ...] = ()
    seeds: int | None = None
    data: tuple[str, ...] = ()

    def stated(self, data: str) -> dict[str, Any]:
        """Return the parameters that the table states for a data set: the preset's and its own.

        Raises
        ------
        UnknownName
            If there is no such method, preset or parameter.
        """
        if self.key in baselines.BASELINES:
            known = baselines.BASELINES[self.key].parameters
            for name in self.parameters:
                if name not in known:
                    raise UnknownName.among(f"parameter of {self.key}", name, known)
            return {**known, **self.parameters}
        from offnormal.parameters import check_names
        from offnormal.registry import method_class

        cls = method_class(self.key)
        check_names(cls, self.parameters)
        preset = self.preset_for(data)
        if preset is not None and preset not in cls.presets:
            raise UnknownName.among(f"preset of {cls.__name__}", preset, cls.presets)
        return {**(cls.presets[preset] if preset else {}), **self.parameters}

    def preset_for(self, data: str) -> str | None:
        """Return the name of the preset for a data set."""
        group = DATA_SETS[data].group if data in DATA_SETS else ""
        return None if self.preset is None else self.preset.format(data=data, group=group)

    def in_effect(self, data: str) -> dict[str, Any]:
        """Return every parameter, the defaults too, but for the seed."""
        stated = self.stated(data)
        if self.key in baselines.BASELINES:
            return stated
        from offnormal.parameters import declared
        from offnormal.registry import method_class

        defaults = {name: default for name, (default, _) in declared(method_class(self.key)).items()}
        every = {**defaults, **stated, "calibration": "none"}
        del every["random_state"]
        return every

    def fit(self, rows: Any, data: str, seed: int, *, fast: bool = False) -> Fitted:
        """Fit to rows.

        Parameters
        ----------
        rows : array or pyarrow.Table, shape (rows, columns); or images, array of uint8
        data : str
            Name of the data set, for the preset.
        seed : int
        fast : bool
            A few epochs only.
        """
        parameters = self.in_effect(data)
        if self.key in baselines.BASELINES:
            return FittedBaseline(self.key, rows, seed, parameters)
        if fast:
            hurried = {name for name in parameters if name.endswith("epochs") and parameters[name] != 0}
            parameters |= dict.fromkeys(hurried, FAST_EPOCHS)
            parameters |= dict.fromkeys({"search_steps"} & set(parameters), FAST_STEPS)
        return FittedMethod(self.key, rows, seed, parameters)

    def rescore(self, fitted: Fitted, rows: Any, data: str, seed: int) -> Fitted:
        """Return the network that another row has trained on the same rows under this seed, with this row's score."""
        if not isinstance(fitted, FittedMethod):
            raise TypeError(f"{self.key} has no trained network.")
        score = {name: value for name, value in self.in_effect(data).items() if name in SCORING}
        return FittedMethod(self.key, rows, seed, fitted.parameters | score, trained=fitted)


class Fitted(ABC):
    """A fitted contender.

    Attributes
    ----------
    parameters : dict
    device : str
    rows, features : int
        Rows fitted, and the columns after encoding.
    seconds : float
        Processor time of the fit: what it takes on a machine with nothing else to do.
    training_scores : array
        Scores of the fitted rows or of a part of them, a row never compared with itself.
    history : dict
        "phase/term" -> mean of the loss term over the phase's last epoch.
    reconstruction_error : float or None
        Mean over the rows given of the squared error of reconstruction, summed over the scaled columns.
    """

    parameters: dict[str, Any]
    device: str = "cpu"
    rows: int
    features: int
    seconds: float
    training_scores: Floats
    history: dict[str, float]
    reconstruction_error: float | None

    @abstractmethod
    def score(self, rows: Any) -> Floats:
        """Return the score of each row, greater = more anomalous."""

    def maps(self, rows: Any) -> NDArray[np.float32] | None:
        """Return how unusual each pixel of each image is, (rows, h, w); None if the contender does not say."""
        return None

    def memory_use(self, rows: Any) -> dict[str, float]:
        """Return, of a network with a memory, how it reads it; of others nothing."""
        return {}

    def generator_state(self) -> dict[str, float | bool]:
        """Return, of a method with a generator, the last diversity and whether it collapsed; of others nothing."""
        return {}


class FittedMethod(Fitted):
    """One of our methods, fitted.

    Parameters
    ----------
    trained : FittedMethod or None
        One whose parameters differ in the score alone: its weights are taken, and nothing is trained.
    """

    def __init__(
        self, key: str, rows: Any, seed: int, parameters: dict[str, Any], *, trained: FittedMethod | None = None
    ) -> None:
        from offnormal.networks.diversity import generator_state
        from offnormal.registry import make_detector

        self.parameters = parameters
        steps = {} if trained is None else {"epochs": 0}
        self.detector: Detector = make_detector(key, random_state=seed, **(parameters | steps))
        if trained is not None:
            _begin_with(self.detector, trained.detector.scorer_.method)
        _import_libraries()
        started = time.process_time()
        self.detector.fit(rows)
        self.seconds = time.process_time() - started if trained is None else trained.seconds
        self.device = str(self.detector.scorer_.device)
        self.rows = int(self.detector.training_["rows"])
        self.features = int(self.detector.training_["features"])
        self.training_scores = self.detector.training_scores_
        self.history = _last_terms(self.detector.training_["history"]) if trained is None else trained.history
        self.reconstruction_error = _reconstruction_error(self.detector, rows)
        self.generator: dict[str, float | bool] = (
            generator_state(self.detector.training_) if trained is None else trained.generator
        )

    def score(self, rows: Any) -> Floats:
        """Return the method's score."""
        return self.detector.anomaly_score(rows)

    def maps(self, rows: Any) -> NDArray[np.float32] | None:
        """Return the method's own map, or its squared residuals; None if it has neither."""
        try:
            return self.detector.residual_maps(rows)
        except NotSupported:
            return None

    def generator_state(self) -> dict[str, float | bool]:
        """Return the last diversity measured in training, and whether the generator is called collapsed."""
        return self.generator

    def memory_use(self, rows: Any) -> dict[str, float]:
        """Return means over rows and positions: the largest addressing weight, and how many are not zero."""
        import torch

        from offnormal.methods.memae import MemAENetwork

        method, preprocess = self.detector.scorer_.method, self.detector.scorer_.preprocess
        if not isinstance(method, MemAENetwork):
            return {}

        def use(block: Tensor) -> Tensor:
            _, weights = method.remember(preprocess(block))
            return torch.stack([weights.amax(-1).mean(1), (weights > 0).sum(-1).float().mean(1)], dim=1)

        largest, read = self.detector.scorer_.in_blocks(use, _encoded(self.detector, rows)).mean(0)
        return {"largest_weight": float(largest), "slots_read": float(read)}


class FittedBaseline(Fitted):
    """A baseline on the encoded and scaled columns that our methods get; of images, on their pixels."""

    def __init__(self, key: str, rows: Any, seed: int, parameters: dict[str, Any]) -> None:
        self.parameters = parameters
        rest = {name: value for name, value in parameters.items() if name != "scaling"}
        _import_libraries()
        started = time.process_time()
        self.columns: _Columns = _Pixels() if isinstance(rows, np.ndarray) and rows.ndim > 2 else _TableColumns()
        x = self.columns.fit(rows, parameters["scaling"])
        if baselines.BASELINES[key].of_images:
            rest["shape"] = self.columns.shape
        self.model = baselines.BASELINES[key].fit(x, seed, **rest)
        self.seconds = time.process_time() - started
        self.rows, self.features = self.model.rows, x.shape[1]
        self.training_scores = self.model.training_scores
        self.history = {}
        self.reconstruction_error = None

    def score(self, rows: Any) -> Floats:
        """Return the baseline's score."""
        return self.model.score(self.columns.transform(rows))

    def maps(self, rows: Any) -> NDArray[np.float32] | None:
        """Return the baseline's map, if it has one."""
        found = None if self.model.maps is None else self.model.maps(self.columns.transform(rows))
        return None if found is None else found.astype(np.float32)


class _Columns(Protocol):
    """Rows -> the scaled columns of a baseline, shape (rows, features)."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of a row before it was one."""
        ...

    def fit(self, rows: Any, scaling: Any) -> Floats: ...

    def transform(self, rows: Any) -> Floats: ...


class _TableColumns:
    """The encoded columns of a table."""

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.preprocess.n_features,)

    def fit(self, rows: Any, scaling: Any) -> Floats:
        from offnormal.data.columns import Schema
        from offnormal.data.preprocess import TablePreprocessor

        self.schema = Schema.of_array(rows.shape[1]) if isinstance(rows, np.ndarray) else Schema.learn(rows)
        encoded = self._encode(rows)
        self.preprocess = TablePreprocessor.fit(encoded, self.schema, scaling)
        return self._scaled(encoded)

    def transform(self, rows: Any) -> Floats:
        return self._scaled(self._encode(rows))

    def _encode(self, rows: Any) -> Floats:
        encoded: Floats = rows if isinstance(rows, np.ndarray) else self.schema.encode(rows)
        return encoded

    def _scaled(self, encoded: Floats) -> Floats:
        scaled: Floats = self.preprocess.transform(encoded).double().numpy()
        return scaled


class _Pixels:
    """The pixels of images, flattened; `scaling` is one that `pixel_scaling` of our methods takes."""

    @property
    def shape(self) -> tuple[int, ...]:
        return self.schema.shape

    def fit(self, rows: Any, scaling: Any) -> Floats:
        from offnormal.data.images import ImageSchema, as_pixels
        from offnormal.data.pixels import ImagePreprocessor

        pixels = as_pixels(rows)
        self.schema = ImageSchema.of(pixels)
        self.preprocess = ImagePreprocessor.fit(pixels, self.schema, scaling, flat=True)
        return self.transform(rows)

    def transform(self, rows: Any) -> Floats:
        import torch

        scaled: Floats = self.preprocess(torch.from_numpy(self.schema.encode(rows))).double().numpy()
        return scaled


def _import_libraries() -> None:
    for name in _LIBRARIES:
        importlib.import_module(name)


def _begin_with(detector: Detector, trained: Method) -> None:
    """Let the networks that a detector builds begin with trained weights; what a score has of its own stays its own."""
    build, weights = detector.build, trained.state_dict()

    def built(shape: tuple[int, ...]) -> Method:
        method = build(shape)
        own = method.state_dict()
        common = {name: value for name, value in weights.items() if name in own and value.shape == own[name].shape}
        lacking = [name for name, _ in method.named_parameters() if name not in common]
        if lacking:
            raise RuntimeError(f"The trained network has no weights for {', '.join(lacking)}.")
        method.load_state_dict(common, strict=False)
        return method

    detector.build = built  # type: ignore[method-assign]


def _last_terms(history: list[dict[str, Any]]) -> dict[str, float]:
    """Return the loss terms of each phase's last epoch."""
    return {f"{record['phase']}/{term}": float(value) for record in history for term, value in record["terms"].items()}


def _reconstruction_error(detector: Detector, rows: Any) -> float | None:
    from offnormal.method import Reconstructs

    method, preprocess = detector.scorer_.method, detector.scorer_.preprocess
    if not isinstance(method, Reconstructs):
        return None

    def errors(block: Tensor) -> Tensor:
        x: Tensor = preprocess(block)
        return (x - method.reconstruct(x)).square().flatten(1).sum(1)

    return float(detector.scorer_.in_blocks(errors, _encoded(detector, rows)).mean())


def _encoded(detector: Detector, rows: Any) -> Any:
    """Return the rows as the scorer takes them."""
    table = isinstance(rows, np.ndarray) and rows.ndim == 2
    return rows if table else detector.schema_.encode(rows)
