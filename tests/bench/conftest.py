"""A small data set with its folder, and a contender that needs no torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from offnormal.bench.datasets import VARIABLE, DataSet

TOY = DataSet("toy", "toy.npz")


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataSet:
    """300 rows of three columns, 30 of them shifted by five standard deviations."""
    draw = np.random.default_rng(0)
    X, y = draw.normal(size=(300, 3)), np.zeros(300, dtype=np.int64)
    y[draw.choice(300, 30, replace=False)] = 1
    X[y == 1] += 5
    folder = tmp_path / "data"
    folder.mkdir()
    np.savez(folder / "toy.npz", X=X, y=y)
    monkeypatch.setenv(VARIABLE, str(folder))
    return TOY


@pytest.fixture
def toy_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataSet:
    """250 images of 4 by 4 in five classes that differ in brightness, split into a training and a test file part."""
    draw = np.random.default_rng(0)
    y = np.arange(250) % 5
    x = np.clip(40 * y[:, None, None] + draw.normal(20, 12, size=(250, 4, 4)), 0, 255).astype(np.uint8)
    folder = tmp_path / "images"
    folder.mkdir()
    np.savez(folder / "toy.npz", x_train=x[:200], y_train=y[:200], x_test=x[200:], y_test=y[200:])
    monkeypatch.setenv(VARIABLE, str(folder))
    return DataSet("toy_1", "toy.npz", "class 1", group="toy", number=1)
