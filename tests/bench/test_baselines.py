"""Baselines against plain computations: what they score, what they fit, and their scores of the training rows."""

from __future__ import annotations

import numpy as np
import pytest

from offnormal.bench.baselines import BASELINES
from offnormal.bench.contenders import Contender
from offnormal.errors import UnknownName

X = np.random.default_rng(3).normal(size=(80, 4)) * [1, 10, 100, 1000]
OUT = np.array([[9.0, 90, 900, 9000]])


@pytest.mark.parametrize("key", [key for key, baseline in BASELINES.items() if not baseline.of_images])
def test_a_far_row_scores_highest_and_a_seed_gives_the_same_scores(key: str) -> None:
    fitted = Contender(key, key).fit(X, "any", 1)
    scores = fitted.score(np.concatenate([X, OUT]))
    assert scores.argmax() == 80
    assert np.array_equal(scores, Contender(key, key).fit(X, "any", 1).score(np.concatenate([X, OUT])))
    assert fitted.training_scores.shape == (80,)
    assert (fitted.rows, fitted.features) == (80, 4)


@pytest.mark.parametrize("key", [key for key, baseline in BASELINES.items() if baseline.of_images])
def test_a_spot_scores_highest_and_is_where_the_map_says(key: str) -> None:
    """Stripes that stand still, so that motion sees the spot come and go."""
    draw = np.random.default_rng(0)
    shape = (2, 24, 24) if key == "motion" else (24, 24)
    images = np.clip(120 + 60 * np.sin(np.arange(24)) + draw.normal(0, 3, (40, *shape)), 0, 255).astype(np.uint8)
    images = images[:, None] if key == "motion" else images
    odd = images[:1].copy()
    if key == "motion":
        odd[:, :, 1, 8:12, 10:14] = 255
    else:
        odd[:, 8:12, 10:14] = 255
    fitted = Contender(key, key, parameters={"n_patches": 500} if key == "patch_pca" else {}).fit(images, "any", 0)
    scores, maps = fitted.score(np.concatenate([images, odd])), fitted.maps(odd)
    assert scores.argmax() == 40
    assert maps is not None
    assert np.isin(np.unravel_index(maps[0].argmax(), maps[0].shape)[-2:], range(8, 14)).all()


def test_neighbors_are_five_and_never_the_row_itself() -> None:
    fitted = Contender("k-NN", "knn", parameters={"scaling": "none"}).fit(X, "any", 0)
    distances = np.sqrt(((X.astype(np.float32)[:, None] - X.astype(np.float32)[None]) ** 2).sum(2))
    expected = np.sort(distances, axis=1)[:, 1:6].mean(1)
    assert fitted.training_scores == pytest.approx(expected, rel=1e-4)
    assert fitted.score(OUT)[0] == pytest.approx(np.sort(np.sqrt(((X - OUT) ** 2).sum(1)))[:5].mean(), rel=1e-4)


def test_mahalanobis_is_the_quadratic_form() -> None:
    fitted = Contender("Mahalanobis", "mahalanobis").fit(X, "any", 0)
    centered = OUT - X.mean(0)
    expected = (centered @ np.linalg.inv(np.cov(X.T, bias=True)) @ centered.T).item()
    assert fitted.score(OUT)[0] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("key", [key for key, b in BASELINES.items() if "most_rows" in b.parameters])
def test_a_part_of_the_rows_is_fitted_where_there_are_too_many(key: str) -> None:
    fitted = Contender(key, key, parameters={"most_rows": 50}).fit(X, "any", 0)
    assert fitted.rows == len(fitted.training_scores) == 50


def test_scaling_is_the_one_the_contender_says() -> None:
    scores = [
        Contender("k-NN", "knn", parameters={"scaling": s}).fit(X, "any", 0).score(OUT)[0] for s in ("minmax", "none")
    ]
    assert scores[0] < 10 < scores[1]


def test_a_parameter_that_a_baseline_has_not_is_refused() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'most_rows'"):
        Contender("k-NN", "knn", parameters={"most_row": 5}).stated("any")
