"""Robust PCA: exact recovery, certificates of the minimum, and a plane that gross corruption does not turn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.linalg import subspace_angles
from torch import Tensor

from offnormal import PCAReconstruction, RobustPCA
from offnormal.batches import Batches
from offnormal.methods.robust_pca import RobustPCANetwork, default_sparsity_weight, split
from offnormal.networks.shrinkage import shrink_entries, shrink_rows

Floats = NDArray[np.float64]


def low_rank(rows: int, columns: int, rank: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    factors = (
        torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((rows, rank), (rank, columns))
    )
    left, right = factors
    return left @ right


def corrupted_cells(rows: int, columns: int, share: float, size: float = 10.0, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    hit = torch.rand(rows, columns, generator=generator) < share
    return torch.where(hit, size * torch.randn(rows, columns, generator=generator).sign(), 0.0).double()


@pytest.mark.parametrize("shape", [(120, 80), (80, 120), (600, 40)])
def test_pursuit_recovers_low_rank_and_corrupted_cells_exactly(shape: tuple[int, int]) -> None:
    """Theorem 1.1: with λ = 1/√max, for almost all supports of the sparse part."""
    expected, sparse = low_rank(*shape, 3), corrupted_cells(*shape, 0.05)
    got = split(
        expected + sparse,
        shrink_entries,
        default_sparsity_weight("pcp", shape),
        tolerance=1e-7,
        max_iterations=2000,
    )
    assert got.converged
    assert float((got.low_rank - expected).norm() / expected.norm()) < 1e-5
    assert torch.equal(got.sparse.abs() > 0.1, sparse != 0)
    assert int(torch.linalg.matrix_rank(got.low_rank, rtol=1e-5)) == 3


def test_outlier_pursuit_recovers_the_plane_and_the_corrupted_rows() -> None:
    clean = low_rank(200, 30, 3)
    matrix = clean.clone()
    bad = torch.arange(0, 200, 20)
    matrix[bad] = low_rank(10, 30, 10, seed=5)
    weight = default_sparsity_weight("outlier_pursuit", (200, 30))
    got = split(matrix, shrink_rows, weight, tolerance=1e-7, max_iterations=2000)
    assert got.converged
    assert torch.equal((got.sparse.norm(dim=1) > 1e-3).nonzero().flatten(), bad)
    plane = torch.linalg.svd(got.low_rank)[2][:3]
    truth = torch.linalg.svd(clean)[2][:3]
    assert subspace_angles(plane.T.numpy(), truth.T.numpy()).max() < 1e-4


@pytest.mark.parametrize("variant", ["pcp", "outlier_pursuit"])
@pytest.mark.parametrize("shape", [(12, 5), (5, 12), (60, 4)])
def test_the_multipliers_certify_the_minimum(variant: str, shape: tuple[int, int]) -> None:
    """Any Y with ‖Y‖ ≤ 1 and dual penalty ≤ λ bounds the minimum from below by ⟨Y, M⟩; on noise, not a lucky case."""
    matrix = torch.randn(*shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    weight = default_sparsity_weight(variant, shape)
    shrink, lengths = (
        (shrink_entries, torch.abs) if variant == "pcp" else (shrink_rows, lambda m: torch.linalg.vector_norm(m, dim=1))
    )
    got = split(matrix, shrink, weight, tolerance=1e-8, max_iterations=20_000)
    y = got.multiplier
    y = y / max(1, float(torch.linalg.svdvals(y)[0]), float(lengths(y).max()) / weight)
    sparse = matrix - got.low_rank
    attained = float(torch.linalg.svdvals(got.low_rank).sum() + weight * lengths(sparse).sum())
    assert float((y * matrix).sum()) == pytest.approx(attained, rel=1e-5)


def corrupted_table(share: float, seed: int = 0) -> tuple[Floats, Floats]:
    """Return rows near a plane of three directions with a share of wild cells, and the plane (20, 3)."""
    draw = np.random.default_rng(seed)
    plane = np.linalg.qr(draw.normal(size=(20, 3)))[0]
    rows = draw.normal(size=(400, 3)) * [6, 5, 4] @ plane.T + 0.05 * draw.normal(size=(400, 20))
    wild = draw.random(rows.shape) < share
    wild[:, 4:] = False  # a few bad sensors, so that the corruption has directions of its own
    return rows + np.where(wild, draw.choice([-1, 1], rows.shape) * 40, 0), plane


def angle(detector: Any, plane: Floats) -> float:
    """Return the largest principal angle between the fitted plane and the true one, in degrees."""
    directions = detector.scorer_.method.directions.numpy()[:, :3]
    return float(np.degrees(subspace_angles(directions, plane).max()))


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_corrupted_cells_turn_the_plane_of_pca_and_not_this_one(share: float) -> None:
    """A quarter of the cells of four columns of twenty: 5 % of all cells; half: 10 %."""
    rows, plane = corrupted_table(share)
    settings: dict[str, Any] = {"n_components": 3, "scaling": "none", "calibration": "none"}
    assert angle(PCAReconstruction(**settings).fit(rows), plane) > 60
    assert angle(RobustPCA(**settings).fit(rows), plane) < 5


def test_corrupted_rows_turn_the_plane_of_pca_and_not_this_one() -> None:
    rows, plane = corrupted_table(0)
    draw = np.random.default_rng(2)
    rows[:24] = draw.normal(size=(24, 1)) * 60 * draw.normal(size=20) / np.sqrt(20)  # 6 %, all along one direction
    settings: dict[str, Any] = {"n_components": 3, "scaling": "none", "calibration": "none"}
    assert angle(PCAReconstruction(**settings).fit(rows), plane) > 60
    detector = RobustPCA(variant="outlier_pursuit", **settings).fit(rows)
    assert angle(detector, plane) < 5
    scores = detector.anomaly_score(rows)
    assert np.median(scores[:24]) > 100 * scores[24:].mean()


def test_the_score_is_the_squared_distance_to_the_plane_through_the_medians() -> None:
    rows, _ = corrupted_table(0.1)
    detector = RobustPCA(n_components=3, scaling="none", calibration="none").fit(rows)
    v = detector.scorer_.method.get_buffer("directions").numpy()[:, :3]
    centered = rows - np.sort(rows, axis=0)[199]  # the lower median
    expected = ((centered - centered @ v @ v.T) ** 2).sum(1)
    np.testing.assert_allclose(detector.anomaly_score(rows), expected, rtol=1e-4, atol=1e-6)
    moved = RobustPCA(n_components=3, scaling="none", calibration="none").fit(rows + 64)
    np.testing.assert_allclose(moved.anomaly_score(rows + 64), expected, rtol=1e-3, atol=1e-3)


def test_a_share_keeps_as_few_directions_as_hold_it_within_the_rank() -> None:
    rows = torch.from_numpy(corrupted_table(0.1)[0][:100])

    def kept(n_components: float) -> int:
        network = RobustPCANetwork(
            20, variant="pcp", n_components=n_components, sparsity_weight=None, max_rows=1000, max_iterations=2000
        )
        network.summarize(Batches(rows, 1024))
        values = torch.linalg.svdvals(network.split(rows).low_rank).square()
        share = values.cumsum(0) / values.sum()
        rank = int((values > 1e-12 * values[0]).sum())
        wanted = int((share < n_components).sum()) + 1 if n_components < 1 else int(n_components)
        assert len(network.code_names()) == min(wanted, rank, 19)
        return min(wanted, rank)

    assert kept(0.5) < kept(0.99) < kept(50)


def test_equal_rows_have_a_score_and_a_departure_its_square() -> None:
    detector = RobustPCA(calibration="none").fit(np.ones((30, 2)))
    np.testing.assert_allclose(detector.anomaly_score([[1.0, 1.0], [4.0, 5.0]]), [0, 25])


def test_a_split_that_does_not_end_is_said() -> None:
    with pytest.warns(UserWarning, match="did not converge in 3 iterations"):
        RobustPCA(max_iterations=3, calibration="none").fit(corrupted_table(0.1)[0])


def test_a_long_table_is_sampled_by_the_seed() -> None:
    rows = corrupted_table(0.1)[0]

    def scores(seed: int) -> Floats:
        return RobustPCA(max_rows=100, random_state=seed, calibration="none").fit(rows).anomaly_score(rows)

    assert np.array_equal(scores(0), scores(0))
    assert not np.array_equal(scores(0), scores(1))
