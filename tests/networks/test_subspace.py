"""The fall of a distance to a plane against a direct minimization over one column's features."""

from __future__ import annotations

import numpy as np
import torch

from offnormal.networks.subspace import column_falls


def test_falls_are_those_of_a_direct_minimization() -> None:
    draw = np.random.default_rng(0)
    directions = np.linalg.qr(draw.normal(size=(6, 2)))[0]
    projector = np.eye(6) - directions @ directions.T
    x = draw.normal(size=(4, 6))
    groups = np.array([0, 1, 1, 2, 3, 3])
    got = column_falls(
        torch.from_numpy(x @ projector), torch.from_numpy(directions), torch.from_numpy(groups), 4
    ).numpy()
    for row in range(4):
        for group in range(4):
            features = np.flatnonzero(groups == group)
            move, *_ = np.linalg.lstsq(projector[:, features], -projector @ x[row], rcond=None)
            best = projector @ x[row] + projector[:, features] @ move
            before = projector @ x[row]
            np.testing.assert_allclose(got[row, group], before @ before - best @ best, atol=1e-12)


def test_without_directions_a_column_makes_its_own_square() -> None:
    x = torch.tensor([[3.0, 4.0]], dtype=torch.float64)
    got = column_falls(x, torch.zeros(2, 2, dtype=torch.float64), torch.tensor([0, 1]), 2)
    torch.testing.assert_close(got, x.square())
