"""Who takes part: our methods by key, preset and parameters, and the baselines of `offnormal.bench.baselines`.

A contender is fitted to rows alone. No label is passed to anything here.
"""

from __future__ import annotations

import importlib
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from offnormal.bench import baselines
from offnormal.errors import UnknownName

if TYPE_CHECKING:
    from offnormal.detector import Detector

Floats = NDArray[np.float64]
THE_DATA_SETS = "{data}"
"""As a preset: the one named after the data set."""
FAST_EPOCHS = 2
_LIBRARIES = ("torch", *(f"sklearn.{part}" for part in ("cluster", "covariance", "ensemble", "mixture", "neighbors",
                                                        "svm")))  # fmt: skip
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
        A preset of the method; `THE_DATA_SETS`: the one named after the data set.
    parameters : mapping
        What differs from the preset, or from the defaults.
    baseline : bool
        A trivial method that every published number has to stand beside.
    untrained_of : str or None
        The row whose network this is, as initialized.
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
        preset = None if self.preset is None else self.preset.format(data=data)
        if preset is not None and preset not in cls.presets:
            raise UnknownName.among(f"preset of {cls.__name__}", preset, cls.presets)
        return {**(cls.presets[preset] if preset else {}), **self.parameters}

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
        rows : array or pyarrow.Table, shape (rows, columns)
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
        return FittedMethod(self.key, rows, seed, parameters)


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


class FittedMethod(Fitted):
    """One of our methods, fitted."""

    def __init__(self, key: str, rows: Any, seed: int, parameters: dict[str, Any]) -> None:
        from offnormal.registry import make_detector

        self.parameters = parameters
        self.detector: Detector = make_detector(key, random_state=seed, **parameters)
        _import_libraries()
        started = time.process_time()
        self.detector.fit(rows)
        self.seconds = time.process_time() - started
        self.device = str(self.detector.scorer_.device)
        self.rows = int(self.detector.training_["rows"])
        self.features = int(self.detector.training_["features"])
        self.training_scores = self.detector.training_scores_
        self.history = _last_terms(self.detector.training_["history"])
        self.reconstruction_error = _reconstruction_error(self.detector, rows)

    def score(self, rows: Any) -> Floats:
        """Return the method's score."""
        return self.detector.anomaly_score(rows)


class FittedBaseline(Fitted):
    """A baseline on the encoded and scaled columns that our methods get."""

    def __init__(self, key: str, rows: Any, seed: int, parameters: dict[str, Any]) -> None:
        from offnormal.data.columns import Schema
        from offnormal.data.preprocess import TablePreprocessor

        self.parameters = parameters
        rest = {name: value for name, value in parameters.items() if name != "scaling"}
        _import_libraries()
        started = time.process_time()
        self.schema = Schema.of_array(rows.shape[1]) if isinstance(rows, np.ndarray) else Schema.learn(rows)
        encoded = self._encode(rows)
        self.preprocess = TablePreprocessor.fit(encoded, self.schema, parameters["scaling"])
        self.model = baselines.BASELINES[key].fit(self.preprocess.transform(encoded).double().numpy(), seed, **rest)
        self.seconds = time.process_time() - started
        self.rows, self.features = self.model.rows, int(self.preprocess.n_features)
        self.training_scores = self.model.training_scores
        self.history = {}
        self.reconstruction_error = None

    def _encode(self, rows: Any) -> Floats:
        encoded: Floats = rows if isinstance(rows, np.ndarray) else self.schema.encode(rows)
        return encoded

    def score(self, rows: Any) -> Floats:
        """Return the baseline's score."""
        return self.model.score(self.preprocess.transform(self._encode(rows)).double().numpy())


def _import_libraries() -> None:
    for name in _LIBRARIES:
        importlib.import_module(name)


def _last_terms(history: list[dict[str, Any]]) -> dict[str, float]:
    """Return the loss terms of each phase's last epoch."""
    return {f"{record['phase']}/{term}": float(value) for record in history for term, value in record["terms"].items()}


def _reconstruction_error(detector: Detector, rows: Any) -> float | None:
    from offnormal.method import Reconstructs

    method, preprocess = detector.scorer_.method, detector.scorer_.preprocess
    if not isinstance(method, Reconstructs):
        return None
    encoded = rows if isinstance(rows, np.ndarray) else detector.schema_.encode(rows)

    def errors(block: Any) -> Any:
        x = preprocess(block)
        return (x - method.reconstruct(x)).square().sum(1)

    return float(detector.scorer_.in_blocks(errors, encoded).mean())
