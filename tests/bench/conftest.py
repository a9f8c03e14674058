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
