"""From residuals to lesions: every step against what its words say, voxel by voxel."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from offnormal.errors import DataError, InvalidParameter
from offnormal.postprocessing import (
    above_quantile,
    absolute_residual,
    cleaned,
    eroded,
    median_filtered,
    positive_residual,
    segmented,
    without_small_components,
)

DRAW = np.random.default_rng(0)
SHAPE = (4, 9, 11)
VOLUME, REBUILT = DRAW.random((2, *SHAPE))
MASK = DRAW.random(SHAPE) < 0.9
VOXELS = list(product(*map(range, SHAPE)))


def near(place: tuple[int, ...], reach: int) -> list[tuple[int, ...]]:
    """Return the voxels of a cube, mirrored about the border (the border voxel twice)."""
    sides = [range(i - reach, i + reach + 1) for i in place]
    mirrored = [[-k - 1 if k < 0 else 2 * n - 1 - k if k >= n else k for k in side] for side, n in zip(sides, SHAPE)]  # noqa: B905
    return list(product(*mirrored))


def components(mask: np.ndarray[Any, Any]) -> list[set[tuple[int, ...]]]:
    """Return the components under 26 neighbors, by walking."""
    left = set(map(tuple, np.argwhere(mask).tolist()))
    found = []
    while left:
        front, part = [left.pop()], set()
        while front:
            place = front.pop()
            part.add(place)
            touching = {p for p in left if max(abs(a - b) for a, b in zip(p, place, strict=True)) <= 1}
            left -= touching
            front += touching
        found.append(part)
    return found


def test_residuals() -> None:
    for place in VOXELS:
        difference = VOLUME[place] - REBUILT[place]
        assert positive_residual(VOLUME, REBUILT)[place] == max(difference, 0)
        assert absolute_residual(VOLUME, REBUILT)[place] == abs(difference)


@pytest.mark.parametrize("iterations", [0, 1, 2])
def test_erosion_is_by_steps_within_a_slice(iterations: int) -> None:
    kept = eroded(MASK, iterations)
    assert kept.any()
    for s, i, j in VOXELS:
        diamond = [
            (s, i + a, j + b)
            for a in range(-iterations, iterations + 1)
            for b in range(-iterations, iterations + 1)
            if abs(a) + abs(b) <= iterations
        ]
        inside = all(0 <= p[1] < SHAPE[1] and 0 <= p[2] < SHAPE[2] and MASK[p] for p in diamond)
        assert kept[s, i, j] == inside


@pytest.mark.parametrize("q", [0.0, 0.5, 0.9])
def test_the_prior_leaves_what_is_bright_in_the_whole_volume(q: float) -> None:
    kept = above_quantile(REBUILT, VOLUME, q)
    bright = np.sort(VOLUME.ravel())[int(np.ceil(q * (VOLUME.size - 1))) :]
    assert set(VOLUME[kept > 0]) == set(bright)
    assert np.array_equal(kept[kept > 0], REBUILT[kept > 0])


@pytest.mark.parametrize("side", [1, 3, 5])
def test_the_median_is_of_a_cube(side: int) -> None:
    filtered = median_filtered(VOLUME, side)
    for place in VOXELS[::7]:
        assert filtered[place] == np.median([VOLUME[p] for p in near(place, side // 2)])


@pytest.mark.parametrize("fewest", [1, 2, 3, 8, 30])
def test_small_components_go(fewest: int) -> None:
    mask = VOLUME > 0.93
    kept = {place for part in components(mask) if len(part) >= fewest for place in part}
    assert {tuple(p) for p in np.argwhere(without_small_components(mask, fewest)).tolist()} == kept
    assert len({len(part) for part in components(mask)}) > 3


def test_corners_hold_a_component_together_and_an_eighth_voxel_keeps_it() -> None:
    mask = np.zeros((8, 8, 8), bool)
    mask[range(7), range(7), range(7)] = True
    assert not without_small_components(mask).any()
    mask[7, 7, 7] = True
    assert np.array_equal(without_small_components(mask), mask)


def test_the_order_is_the_studys() -> None:
    by_hand = positive_residual(VOLUME, REBUILT) * eroded(MASK, 1)
    by_hand = median_filtered(above_quantile(by_hand, VOLUME, 0.6), 3)
    assert np.array_equal(cleaned(VOLUME, REBUILT, MASK, erosions=1, quantile=0.6, median_side=3), by_hand)
    assert np.array_equal(segmented(by_hand, 0.1, fewest=4), without_small_components(by_hand > 0.1, 4))
    plain = cleaned(VOLUME, REBUILT, hyperintense=False, quantile=None, median_side=1)
    assert np.array_equal(plain, np.abs(VOLUME - REBUILT))
    assert np.array_equal(segmented(plain, 0.5, fewest=1), plain > 0.5)


def test_nothing_is_changed_in_place() -> None:
    before = VOLUME.copy(), REBUILT.copy(), MASK.copy()
    segmented(cleaned(VOLUME, REBUILT, MASK, erosions=1), 0.1)
    assert all(map(np.array_equal, before, (VOLUME, REBUILT, MASK)))


def test_what_cannot_be_is_said() -> None:
    with pytest.raises(DataError, match=r"rebuilt must have three axes.*\(9, 11\)"):
        positive_residual(VOLUME, REBUILT[0])
    for wrong in (
        lambda: eroded(MASK, -1),
        lambda: above_quantile(VOLUME, VOLUME, 90),
        lambda: median_filtered(MASK, 4),
    ):
        with pytest.raises(InvalidParameter, match=r"must"):
            wrong()
