"""Principal components against scikit-learn's, for more rows than columns and for fewer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from torch.nn import functional

from offnormal import PCAReconstruction, RobustPCA, io
from offnormal.errors import ModelFileError


@pytest.mark.parametrize(("rows", "columns"), [(200, 12), (20, 60), (60, 60)])
@pytest.mark.parametrize("n_components", [3, 0.8])
def test_the_score_is_the_residual_of_scikit_learns_plane(rows: int, columns: int, n_components: float) -> None:
    draw = np.random.default_rng(0)
    X = draw.normal(size=(rows, 6)) @ draw.normal(size=(6, columns)) + 0.3 * draw.normal(size=(rows, columns))
    query = np.concatenate([X[:5], draw.normal(size=(5, columns))])
    detector = PCAReconstruction(n_components=n_components, scaling="none", calibration="none").fit(X)
    plane = PCA(n_components=n_components, svd_solver="full").fit(X)
    residual = query - plane.inverse_transform(plane.transform(query))
    np.testing.assert_allclose(detector.anomaly_score(query), np.square(residual).sum(1), rtol=1e-4)
    kept = plane.n_components_
    assert detector.transform(query).shape == (10, kept)
    np.testing.assert_allclose(
        detector.scorer_.method.variances.numpy()[:kept], plane.explained_variance_, rtol=1e-4
    )  # fmt: skip


def images(rows: int) -> NDArray[np.uint8]:
    draw = np.random.default_rng(0)
    waves = np.sin(np.arange(32) * draw.uniform(0.2, 0.4, (rows, 1, 1)) + np.arange(32)[:, None])
    return (127 + 90 * waves + draw.normal(0, 5, (rows, 32, 32))).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("method", [PCAReconstruction, RobustPCA])
def test_a_model_holds_the_directions_it_uses_and_no_square_of_the_pixels(method: Any, tmp_path: Path) -> None:
    detector = method(n_components=5, calibration="none").fit(images(40))
    assert detector.scorer_.method.directions.shape == (1024, 5)
    io.save(detector, tmp_path / "m.offnormal")
    assert (tmp_path / "m.offnormal").stat().st_size < 150_000
    loaded = io.load(tmp_path / "m.offnormal")
    np.testing.assert_array_equal(loaded.anomaly_score(images(50)), detector.anomaly_score(images(50)))


@pytest.mark.parametrize(
    ("width", "readable"), [(12, True), (1, True), (13, False), (0, False)], ids=["all", "one", "too wide", "none"]
)
def test_the_directions_of_a_file_may_be_few_or_all_and_no_more(width: int, readable: bool, tmp_path: Path) -> None:
    """Files of former versions hold as many columns as features, those that are not kept zero."""
    draw = np.random.default_rng(0)
    detector = PCAReconstruction(n_components=3, calibration="none").fit(draw.normal(size=(50, 12)))
    expected = detector.anomaly_score(draw.normal(size=(9, 12)))
    network = detector.scorer_.method
    network.directions = functional.pad(network.directions, (0, width - 3)) if width != 1 else network.directions[:, :1]
    if not readable:
        with pytest.raises(ModelFileError):  # it is read back before it is kept
            io.save(detector, tmp_path / "m.offnormal")
        return
    io.save(detector, tmp_path / "m.offnormal")
    loaded = io.load(tmp_path / "m.offnormal")
    if width > 3:
        rows = np.random.default_rng(0)
        rows.normal(size=(50, 12))
        np.testing.assert_allclose(loaded.anomaly_score(rows.normal(size=(9, 12))), expected, rtol=1e-12)
        assert loaded.transform(draw.normal(size=(2, 12))).shape == (2, 3)
