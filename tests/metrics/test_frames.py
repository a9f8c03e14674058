"""Figures of frames against pairs of frames counted one by one."""

from __future__ import annotations

import math

import numpy as np
import pytest

from offnormal.errors import DataError
from offnormal.metrics import frame_auroc, regularity


def pair_share(y: np.ndarray, scores: np.ndarray) -> float:
    return float(np.mean([(a > b) + 0.5 * (a == b) for a in scores[y == 1] for b in scores[y == 0]]))


def test_micro_pools_the_frames_and_macro_is_the_mean_over_videos_of_both_classes() -> None:
    random = np.random.default_rng(0)
    labels = [random.integers(2, size=n) for n in (40, 25)] + [np.zeros(30, dtype=int), np.ones(10, dtype=int)]
    scores = [random.integers(9, size=len(y)) + y + 5 * i for i, y in enumerate(labels)]
    result = frame_auroc(iter(scores), iter(labels))
    assert result.micro == pytest.approx(pair_share(np.concatenate(labels), np.concatenate(scores)))
    assert result.macro == pytest.approx((pair_share(labels[0], scores[0]) + pair_share(labels[1], scores[1])) / 2)
    assert (result.videos, result.left_out) == (4, 2)


def test_a_shift_between_videos_lowers_micro_and_leaves_macro() -> None:
    y = np.array([0, 0, 1, 1])
    within = np.array([0.0, 1.0, 2.0, 3.0])
    assert frame_auroc([within, within], [y, y])[:2] == (1, 1)
    assert frame_auroc([within, within + 10], [y, y])[:2] == (0.75, 1)
    assert frame_auroc([within, within], [y * 0, y * 0 + 1]).macro is None


def test_regularity_runs_from_1_to_0_over_each_video_against_the_scores() -> None:
    scores = np.array([3.0, 1.0, 2.0, 5.0])
    assert regularity(scores) == pytest.approx([0.5, 1, 0.75, 0])
    assert regularity(7 * scores - 2) == pytest.approx(regularity(scores))
    assert regularity([4.0, 4.0]).tolist() == [1, 1]
    # A video of usual frames only is stretched as far as one with an anomaly, and the future changes the past.
    assert regularity([1.0, 1.01]).min() == 0
    assert regularity([*scores, 9.0])[3] != regularity(scores)[3]


@pytest.mark.parametrize(
    ("scores", "labels", "words"),
    [
        ([], [], "same videos"),
        ([[1.0]], [[1], [0]], "same videos"),
        ([[1.0, 2.0], [1.0]], [[0, 1], [0, 1]], "Video 2: expected one score"),
        ([[[1.0]]], [[[1]]], "Video 1: expected one score"),
        ([[1.0, math.nan]], [[0, 1]], "Video 1: scores must be finite; 1"),
        ([[1.0, 2.0]], [[0, 2]], "Video 1: labels"),
        ([[1.0, 2.0]], [["a", "b"]], "Video 1: labels"),
        ([[1.0, 2.0], [3.0]], [[0, 0], [0]], "all 3 frames are normal"),
        ([[1.0, 2.0]], [[True, True]], "all 2 frames are anomalous"),
    ],
)
def test_frames_that_cannot_be_ranked_are_refused(scores: list, labels: list, words: str) -> None:
    with pytest.raises(DataError, match=words):
        frame_auroc(scores, labels)


@pytest.mark.parametrize("scores", [[], [[1.0]], [1.0, math.inf]])
def test_a_video_without_finite_scores_has_no_regularity(scores: list) -> None:
    with pytest.raises(DataError, match="finite numbers"):
        regularity(scores)
