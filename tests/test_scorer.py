"""Rows go through in blocks of one size, the last one padded, and come back in their order."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from offnormal.data.columns import Schema
from offnormal.data.preprocess import TablePreprocessor
from offnormal.method import Method
from offnormal.scorer import BLOCK, Scorer


class Distance(Method):
    """Squared distance to a point, in float32; notes the shape of every block."""

    def __init__(self) -> None:
        super().__init__()
        self.point = nn.Parameter(torch.tensor([1.0, -2.0]))
        self.seen: list[tuple[int, ...]] = []

    def score(self, x: Tensor) -> Tensor:
        self.seen.append(tuple(x.shape))
        return (x - self.point).square().sum(1)


def scorer() -> Scorer:
    rows = np.array([[0.0, 0.0], [1.0, 1.0]])
    return Scorer(TablePreprocessor.fit(rows, Schema.of_array(2), "none"), Distance()).eval()


@pytest.mark.parametrize("n", [1, 2, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 3 * BLOCK + 7])
def test_every_block_has_one_size_and_every_row_its_score(n: int) -> None:
    made = scorer()
    rows = np.random.default_rng(n).normal(size=(n, 2))
    scores = made.score_rows(rows)
    assert set(made.method.seen) == {(BLOCK, 2)}
    assert len(made.method.seen) == -(-n // BLOCK)
    assert scores.shape == (n,)
    assert scores.dtype == np.float64
    np.testing.assert_allclose(scores, ((rows - [1, -2]) ** 2).sum(1), rtol=1e-5)


def test_the_padding_repeats_the_last_row() -> None:
    blocks: list[Tensor] = []

    def keep(block: Tensor) -> Tensor:
        blocks.append(block)
        return block

    rows = np.arange(2.0 * (BLOCK + 3)).reshape(-1, 2)
    assert np.array_equal(scorer().in_blocks(keep, rows), rows)
    assert np.array_equal(blocks[1][:3].numpy(), rows[BLOCK:])
    assert (blocks[1][3:] == blocks[1][2]).all()


def test_answers_of_any_shape_and_type_come_back_as_float64() -> None:
    rows = np.random.default_rng(0).normal(size=(BLOCK + 5, 2))
    made = scorer().in_blocks(lambda block: block[:, :, None].float() * torch.ones(3), rows)
    assert made.shape == (BLOCK + 5, 2, 3)
    assert made.dtype == np.float64
    np.testing.assert_allclose(made[:, :, 1], rows, rtol=1e-6)
    counts = scorer().in_blocks(lambda block: (block[:, 0] > 0).long(), rows)
    assert np.array_equal(counts, (rows[:, 0] > 0).astype(float))


def test_rows_in_any_memory_are_taken_and_left_alone() -> None:
    rows = np.random.default_rng(0).normal(size=(6, 4))
    expected = scorer().score_rows(np.ascontiguousarray(rows[:, :2]))
    assert np.array_equal(scorer().score_rows(rows[:, :2]), expected)
    assert np.array_equal(scorer().score_rows(np.asfortranarray(rows[:, :2])), expected)
    frozen = rows[:, :2].copy()
    frozen.flags.writeable = False
    assert np.array_equal(scorer().score_rows(frozen), expected)
    assert np.array_equal(scorer().score_rows(rows[::-1, :2]), expected[::-1])
    assert np.array_equal(frozen, rows[:, :2])


def test_no_gradient_is_kept_and_the_answer_is_the_callers_own() -> None:
    made = scorer()
    scores = made.score_rows(np.zeros((3, 2)))
    scores[:] = 0
    assert made.score_rows(np.zeros((3, 2))).tolist() == [5, 5, 5]
    assert made.method.point.grad is None
    assert torch.is_grad_enabled()


def test_forward_is_one_block_of_any_size_as_it_is_exported() -> None:
    score = scorer()(torch.zeros(3, 2, dtype=torch.float64))
    assert score.dtype == torch.float64
    assert score.tolist() == [5, 5, 5]
    assert scorer().device == torch.device("cpu")
