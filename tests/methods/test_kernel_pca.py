"""Kernel PCA against scikit-learn's and against PCA in an explicit feature space."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA, KernelPCA
from sklearn.metrics import roc_auc_score
from sklearn.metrics.pairwise import euclidean_distances, rbf_kernel

from offnormal import KernelPCAReconstruction, PCAReconstruction
from offnormal.batches import Batches
from offnormal.errors import InvalidParameter
from offnormal.methods.kernel_pca import MOST_DIRECTIONS, KernelPCANetwork, distinct_sample
from offnormal.random import scoped

Floats = NDArray[np.float64]
DRAW = np.random.default_rng(0)
TRAIN = DRAW.normal(size=(60, 4)) @ DRAW.normal(size=(4, 4))
QUERY = DRAW.normal(size=(25, 4)) @ DRAW.normal(size=(4, 4))
SIGMA = 2.5
GAMMA = 1 / (2 * SIGMA**2)


def network(rows: Floats, *, n_rows: int | None = None, q: float = 5, bandwidth: float | None = SIGMA) -> Any:
    built = KernelPCANetwork(rows.shape[1], n_rows or len(rows), q, bandwidth)
    with scoped(0, "summarize"):
        built.summarize(Batches(torch.from_numpy(rows), 1024))
    return built


def score(rows: Floats, query: Floats = QUERY, **changes: Any) -> Floats:
    result: Floats = network(rows, **changes).score(torch.from_numpy(query)).numpy()
    return result


def by_scikit_learn(rows: Floats, query: Floats, q: int) -> Floats:
    model = KernelPCA(q, kernel="rbf", gamma=GAMMA, eigen_solver="dense").fit(rows)
    potential = 1 - 2 * rbf_kernel(query, rows, GAMMA).mean(1) + rbf_kernel(rows, rows, GAMMA).mean()
    result: Floats = potential - (model.transform(query) ** 2).sum(1)
    return result


def test_scores_and_coordinates_are_those_of_scikit_learn() -> None:
    np.testing.assert_allclose(score(TRAIN), by_scikit_learn(TRAIN, QUERY, 5), rtol=1e-9)
    ours = network(TRAIN).encode(torch.from_numpy(QUERY)).numpy()
    theirs = KernelPCA(5, kernel="rbf", gamma=GAMMA, eigen_solver="dense").fit(TRAIN).transform(QUERY)
    np.testing.assert_allclose(np.abs(ours), np.abs(theirs), atol=1e-9)


def test_the_score_is_the_pca_residual_in_an_explicit_feature_space() -> None:
    """Rows of the root of the joint kernel matrix are the images, up to a rotation."""
    both = np.vstack([TRAIN, QUERY])
    values, vectors = np.linalg.eigh(rbf_kernel(both, both, GAMMA))
    images = vectors * np.sqrt(values.clip(0))
    plane = PCA(5, svd_solver="full").fit(images[:60])
    residual = images[60:] - plane.inverse_transform(plane.transform(images[60:]))
    np.testing.assert_allclose(score(TRAIN), (residual**2).sum(1), atol=1e-7)


def test_copies_of_a_row_count_as_often_as_they_come_and_take_one_place() -> None:
    copies = np.vstack([TRAIN, np.repeat(TRAIN[:3], 40, axis=0)])
    np.testing.assert_allclose(score(copies, n_rows=60), by_scikit_learn(copies, QUERY, 5), rtol=1e-8)


def test_a_common_row_does_not_swamp_the_sample() -> None:
    rows = torch.from_numpy(np.vstack([np.repeat(TRAIN[:1], 9_000, axis=0), DRAW.normal(size=(1_000, 4))]))
    with scoped(0, "sample"):
        kept, shares = distinct_sample(rows, 200)
    assert kept.shape == (200, 4)
    assert len(torch.unique(kept, dim=0)) == 200
    assert float(shares.sum()) == pytest.approx(1)
    assert float(shares.max()) == pytest.approx(0.9, abs=0.03), "its share is that of the whole table"
    assert len(torch.unique(shares)) == 2, "all others come once"


def test_places_without_a_row_change_nothing() -> None:
    np.testing.assert_allclose(score(TRAIN, n_rows=90), score(TRAIN), rtol=1e-9)
    np.testing.assert_allclose(score(TRAIN, n_rows=90, q=0.9), score(TRAIN, q=0.9), rtol=1e-9)


def test_a_large_offset_of_the_columns_costs_no_digits() -> None:
    np.testing.assert_allclose(score(TRAIN + 1e6, QUERY + 1e6), score(TRAIN), rtol=1e-6)


def test_a_share_keeps_as_few_directions_as_explain_it() -> None:
    values = KernelPCA(kernel="rbf", gamma=GAMMA, eigen_solver="dense").fit(TRAIN).eigenvalues_
    explained = values.cumsum() / values.sum()
    for share in (0.5, 0.9):
        assert len(network(TRAIN, q=share).code_names()) == int((explained < share).sum()) + 1
    assert network(DRAW.normal(size=(300, 8)), q=0.999, bandwidth=0.3).coefficients.shape == (300, MOST_DIRECTIONS)


def test_the_bandwidth_is_half_the_median_distance() -> None:
    distances = np.sort(euclidean_distances(TRAIN)[np.triu_indices(60, 1)])
    assert float(network(TRAIN, bandwidth=None).sigma) == pytest.approx(distances[(len(distances) - 1) // 2] / 2)


def test_equal_rows_have_a_score() -> None:
    got = score(np.ones((30, 2)), np.array([[1.0, 1.0], [9.0, 9.0]]), bandwidth=None)
    np.testing.assert_allclose(got, [0, 2], atol=1e-9)


def ring(rows: int, draw: np.random.Generator) -> Floats:
    angle = draw.uniform(0, 2 * np.pi, rows)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1) + 0.05 * draw.normal(size=(rows, 2))


def test_it_sees_the_hole_of_a_ring_and_a_plane_does_not() -> None:
    draw = np.random.default_rng(1)
    query = np.vstack([ring(200, draw), 0.3 * draw.normal(size=(50, 2))])
    y = np.r_[np.zeros(200), np.ones(50)]

    def auroc(detector: Any) -> float:
        return float(roc_auc_score(y, detector.fit(ring(400, draw)).anomaly_score(query)))

    assert auroc(KernelPCAReconstruction(calibration="none")) > 0.95
    assert auroc(PCAReconstruction(n_components=1, calibration="none")) < 0.6
    # Without directions the score is the potential, highest far outside but low in the middle.
    assert auroc(KernelPCAReconstruction(calibration="none", n_components=1)) < 0.9


def test_far_rows_share_one_score_and_their_columns_are_still_named() -> None:
    detector = KernelPCAReconstruction(calibration="none").fit(TRAIN)
    far = np.repeat(TRAIN[:1], 3, axis=0)
    far[0, 0], far[1, 2] = 1e3, -1e5
    far[2, [1, 3]] = 1e3
    scores = detector.anomaly_score(far)
    np.testing.assert_allclose(scores, scores[0])
    assert scores[0] > detector.anomaly_score(TRAIN).max()
    ranking = detector.explain(far).ranking()
    assert ranking[0, 0] == 0
    assert ranking[1, 0] == 2
    assert set(ranking[2, :2]) == {1, 3}


def test_the_sample_is_seeded_and_no_longer_than_asked() -> None:
    rows = DRAW.normal(size=(300, 3))

    def fitted(seed: int) -> Any:
        return KernelPCAReconstruction(max_rows=50, calibration="none", random_state=seed).fit(rows)

    first, again, other = fitted(0), fitted(0), fitted(1)
    assert first.scorer_.method.rows.shape == (50, 3)
    assert np.array_equal(first.anomaly_score(rows), again.anomaly_score(rows))
    assert not np.array_equal(first.anomaly_score(rows), other.anomaly_score(rows))


def test_bad_parameters_are_refused() -> None:
    with pytest.raises(InvalidParameter, match="max_rows must be an int, at least 2"):
        KernelPCAReconstruction(max_rows=1).fit(TRAIN)
