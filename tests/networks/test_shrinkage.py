"""Proximal maps against their optimality conditions and closed forms."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from offnormal.networks.shrinkage import shrink_entries, shrink_rows, shrink_singular_values

NORMS: dict[str, tuple[Callable[[Tensor, float], Tensor], Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "entries": (shrink_entries, lambda m: m.abs().sum(), lambda m: m.abs().max()),
    "rows": (shrink_rows, lambda m: m.norm(dim=1).sum(), lambda m: m.norm(dim=1).max()),
    "singular values": (
        shrink_singular_values,
        lambda m: torch.linalg.svdvals(m).sum(),
        lambda m: torch.linalg.svdvals(m).max(),
    ),
}


def matrix(rows: int, columns: int) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("shape", [(7, 4), (4, 7), (50, 3)])
@pytest.mark.parametrize("penalty", NORMS)
def test_what_is_taken_off_is_a_subgradient(penalty: str, shape: tuple[int, int]) -> None:
    """S minimizes ½‖S − A‖² + t·p(S) if and only if Y = (A − S)/t has dual norm at most 1 and ⟨Y, S⟩ = p(S)."""
    shrink, norm, dual = NORMS[penalty]
    a, threshold = matrix(*shape), 0.8
    s = shrink(a, threshold)
    y = (a - s) / threshold
    assert float(dual(y)) <= 1 + 1e-9
    assert float((y * s).sum()) == pytest.approx(float(norm(s)), rel=1e-9)
    assert 0 < float(norm(s)) < float(norm(a))


@pytest.mark.parametrize("penalty", NORMS)
def test_a_large_threshold_leaves_nothing_and_zero_leaves_all(penalty: str) -> None:
    shrink, _, _ = NORMS[penalty]
    a = matrix(6, 3)
    assert not bool(shrink(a, 100.0).any())
    torch.testing.assert_close(shrink(a, 0.0), a)
    assert not bool(shrink(torch.zeros(6, 3, dtype=torch.float64), 1.0).any())


def test_singular_values_are_lowered_by_the_threshold() -> None:
    a = matrix(40, 5)
    u, values, v = torch.linalg.svd(a, full_matrices=False)
    expected = u @ torch.diag((values - 5).clamp_min(0)) @ v
    torch.testing.assert_close(shrink_singular_values(a, 5.0), expected)


def test_entries_and_rows_by_hand() -> None:
    a = torch.tensor([[3.0, -4.0], [0.5, 0.0]])
    torch.testing.assert_close(shrink_entries(a, 1.0), torch.tensor([[2.0, -3.0], [0.0, 0.0]]))
    torch.testing.assert_close(shrink_rows(a, 1.0), torch.tensor([[2.4, -3.2], [0.0, 0.0]]))
