"""The laws of a score on images and clips, one check for both; and what they need."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from offnormal import PCAReconstruction
from offnormal.detector import Detector, TrainedDetector
from offnormal.registry import make_detector, method_class


def quick(key: str, epochs: int, **changes: Any) -> Detector:
    """Return the method, trained for a moment."""
    trained = issubclass(method_class(key), TrainedDetector)
    cheaper = {"search_steps": 2} if key == "anogan" else {}
    return make_detector(key, **{**({"epochs": epochs} if trained else {}), **cheaper, **changes})


def fitted_once(train: np.ndarray[Any, Any], epochs: int) -> Callable[[str], Detector]:
    """Return what gives the detector of a method, fitted to `train` the first time it is asked for."""

    @cache
    def fitted(key: str) -> Detector:
        return quick(key, epochs, calibration="holdout").fit(train)

    return fitted


def pca(**changes: Any) -> PCAReconstruction:
    """Return PCA with three directions and no calibration."""
    return PCAReconstruction(**{"calibration": "none", "n_components": 3, **changes})


def check_laws(model: Detector, query: np.ndarray[Any, Any]) -> None:
    """Fail unless scores are finite, belong to their row alone, go with p-values and flags, and change nothing."""
    state = {name: tensor.clone() for name, tensor in model.scorer_.state_dict().items()}
    random_state = torch.random.get_rng_state()
    scores, p = model.anomaly_score(query), model.p_value(query)
    assert (scores.dtype, scores.shape) == (np.float64, (len(query),))
    assert np.isfinite(scores).all()
    assert ((p > 0) & (p <= 1)).all()
    assert np.array_equal(model.predict(query) == -1, scores > model.threshold_.value)
    for rows in (1, 2, len(query) - 1):
        assert np.array_equal(model.anomaly_score(query[:rows]), scores[:rows])
    order = np.random.default_rng(0).permutation(len(query))
    np.testing.assert_allclose(model.anomaly_score(query[order]), scores[order], rtol=1e-4, atol=1e-5)
    assert torch.equal(random_state, torch.random.get_rng_state())
    assert not model.scorer_.training
    for name, tensor in model.scorer_.state_dict().items():
        assert torch.equal(tensor, state[name]), name
    assert model.n_features_in_ == model.training_["features"] == np.prod(query.shape[1:])


def shapes_built(key: str, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Return a list that takes the shape of a row each time the method builds its network."""
    cls = method_class(key)
    shapes: list[tuple[int, ...]] = []
    build = cls.build

    def noted(self: Any, shape: tuple[int, ...]) -> Any:
        shapes.append(shape)
        return build(self, shape)

    monkeypatch.setattr(cls, "build", noted)
    return shapes
