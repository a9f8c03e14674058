"""Phantoms: repeatable, healthy but for the lesions, and too hard for a threshold on intensity."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from offnormal.bench.phantoms import phantom
from offnormal.errors import InvalidParameter
from offnormal.metrics.ranking import auroc


def best_dice(scores: np.ndarray[Any, Any], mask: np.ndarray[Any, Any]) -> float:
    order = np.argsort(-scores, axis=None, kind="stable")
    found = np.cumsum(mask.ravel()[order])
    return float((2 * found / (np.arange(1, mask.size + 1) + mask.sum())).max())


def test_a_seed_is_a_head() -> None:
    one, again, other = phantom(3, lesions=2), phantom(3, lesions=2), phantom(4, lesions=2)
    assert np.array_equal(one.volume, again.volume)
    assert np.array_equal(one.lesions, again.lesions)
    assert not np.array_equal(one.brain, other.brain)
    assert (one.volume.dtype, one.volume.shape, one.volume.min()) == (np.float32, (20, 64, 64), 0)
    assert one.volume.max() <= 1
    assert np.array_equal(one.volume > 0, one.brain)


def test_lesions_are_added_to_the_same_head() -> None:
    healthy, few, many = (phantom(5, lesions=n) for n in (0, 1, 5))
    assert not healthy.lesions.any()
    assert np.array_equal(healthy.volume[~few.lesions], few.volume[~few.lesions])
    assert (few.volume - healthy.volume)[few.lesions].mean() > 0.15
    assert (many.lesions >= few.lesions).all()
    assert many.lesions.sum() > few.lesions.sum() > 30


def test_a_threshold_on_intensity_finds_healthy_tissue_and_the_healthy_head_itself_would_tell() -> None:
    heads = [phantom(seed, lesions=4) for seed in range(5)]
    volume, brain, lesions = (np.stack([getattr(h, name) for h in heads]) for name in ("volume", "brain", "lesions"))
    healthy = np.stack([phantom(seed).volume for seed in range(5)])
    assert 0.003 < lesions.mean() < 0.03
    assert best_dice(volume, lesions) < 0.35
    assert 0.6 < auroc(lesions[brain], volume[brain]) < 0.97, "they overlap"
    assert best_dice(volume - healthy, lesions) > 0.95


def test_sizes() -> None:
    small = phantom(0, lesions=3, slices=1, side=32)
    assert small.volume.shape == (1, 32, 32)
    for wrong in ({"slices": 0}, {"side": 8}, {"lesions": -1}):
        with pytest.raises(InvalidParameter, match="at least 1 slice"):
            phantom(0, **wrong)


def test_rough_heads_differ_more_from_one_another() -> None:
    def apart(roughness: float) -> float:
        heads = [phantom(seed, slices=3, roughness=roughness).volume for seed in range(4)]
        return float(np.mean([np.abs(one - other).mean() for one in heads for other in heads]))

    assert apart(0) < apart(1) < apart(3)
    assert np.array_equal(phantom(3, slices=2).volume, phantom(3, slices=2, roughness=1.0).volume)
    with pytest.raises(InvalidParameter, match="a roughness of 0"):
        phantom(0, roughness=-1)
