"""Every method on a GPU, where there is one: it fits there, and its scores are those of the processor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import offnormal
from offnormal.detector import Detector, TrainedDetector
from offnormal.registry import METHODS, make_detector, method_class

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that torch can use")


def quick(key: str, **changes: Any) -> Detector:
    epochs = {"epochs": 3, "early_stopping": False} if issubclass(method_class(key), TrainedDetector) else {}
    return make_detector(key, device="cuda", calibration="none", **epochs, **changes)


def table(rows: int, seed: int) -> np.ndarray[Any, Any]:
    draw = np.random.default_rng(seed)
    return np.column_stack([draw.normal(size=(rows, 5)), draw.random((rows, 3))])


def images(rows: int, seed: int) -> np.ndarray[Any, Any]:
    draw = np.random.default_rng(seed)
    wave = np.sin(0.8 * np.arange(16)[None, None, :] + draw.uniform(0, 6, (rows, 1, 1)))
    whole = 127 + 90 * wave * np.ones((1, 16, 1)) + draw.normal(0, 9, (rows, 16, 16))
    return whole.clip(0, 255).astype(np.uint8)


@pytest.mark.filterwarnings("ignore:The cluster centers drew together:UserWarning")
@pytest.mark.parametrize("make", [table, images])
@pytest.mark.parametrize("key", METHODS)
def test_scores_on_a_gpu_repeat_and_are_those_of_the_processor(key: str, make: Any, tmp_path: Path) -> None:
    rows, query = make(300, 0), make(200, 1)
    model = quick(key).fit(rows)
    assert model.scorer_.device.type == "cuda"
    scores = model.anomaly_score(query)
    assert np.array_equal(model.anomaly_score(query), scores)
    path = tmp_path / "model.offnormal"
    offnormal.save(model, path)
    loaded = offnormal.load(path)
    loaded.scorer_.to("cpu")
    # In units of the spread: a score may be a small difference of large terms.
    np.testing.assert_allclose(loaded.anomaly_score(query), scores, rtol=1e-3, atol=1e-3 * scores.std())
    again = quick(key).fit(rows).anomaly_score(query)
    np.testing.assert_allclose(again, scores, rtol=0.05, atol=0.2 * scores.std())
