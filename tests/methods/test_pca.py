"""Principal components against scikit-learn's, for more rows than columns and for fewer."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA

from offnormal import PCAReconstruction


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
