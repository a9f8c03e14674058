"""The trivial baselines, on the same encoded and scaled columns as the methods; scikit-learn's estimators.

A baseline whose cost grows with the square of the rows is fitted to a random part of them, drawn by the run's seed;
`most_rows` says how many.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from offnormal.random import derive_seed, numpy_generator

Floats = NDArray[np.float64]
Score = Callable[[Floats], Floats]
_MAPS_AT_ONCE = 64


class Model(NamedTuple):
    """A fitted baseline: its score (greater = more anomalous), the scores of its fitted rows, and how many they are.

    `maps`, of those that see images: rows -> how unusual each pixel is, (rows, h, w).
    """

    score: Score
    training_scores: Floats
    rows: int
    maps: Score | None = None


@dataclass(frozen=True)
class Baseline:
    """How to fit a baseline, and its parameters with what they are unless a table says otherwise."""

    fit: Callable[..., Model]
    parameters: Mapping[str, Any]
    of_images: bool = False
    """Whether `fit` takes the `shape` of a row, (c, h, w) or (c, t, h, w)."""


def nearest_neighbors(x: Floats, seed: int, *, n_neighbors: int, most_rows: int) -> Model:
    """Score by the mean distance to the nearest training rows; a training row is no neighbor of its own."""
    from sklearn.neighbors import NearestNeighbors

    part = _part(x, most_rows, seed)
    search = NearestNeighbors(n_neighbors=min(n_neighbors, len(part) - 1)).fit(part)
    own = search.kneighbors()[0].mean(1)
    return Model(lambda rows: np.asarray(search.kneighbors(rows)[0].mean(1)), own, len(part))


def isolation_forest(x: Floats, seed: int, *, n_estimators: int, max_samples: int) -> Model:
    """Score by the isolation forest's own, turned so that greater is more anomalous."""
    from sklearn.ensemble import IsolationForest

    forest = IsolationForest(
        n_estimators=n_estimators, max_samples=min(max_samples, len(x)), random_state=_random_state(seed)
    ).fit(x)
    return _model(lambda rows: np.asarray(-forest.score_samples(rows)), x)


def one_class_svm(x: Floats, seed: int, *, nu: float, gamma: str | float, most_rows: int) -> Model:
    """Score by the distance from the border of the one-class machine with the RBF kernel."""
    from sklearn.svm import OneClassSVM

    part = _part(x, most_rows, seed)
    machine = OneClassSVM(kernel="rbf", nu=nu, gamma=gamma).fit(part)
    return _model(lambda rows: np.asarray(-machine.score_samples(rows)), part)


def em_mixture(x: Floats, seed: int, *, n_components: int, reg_covar: float, max_iter: int, most_rows: int) -> Model:
    """Score by the negative log-density of a Gaussian mixture with full covariances, fitted by EM to the columns."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    part = _part(x, most_rows, seed)
    mixture = GaussianMixture(
        min(n_components, len(part)), reg_covar=reg_covar, max_iter=max_iter, random_state=_random_state(seed)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # max_iter is part of the definition
        mixture.fit(part)
    return _model(lambda rows: np.asarray(-mixture.score_samples(rows)), part)


def mahalanobis(x: Floats, seed: int) -> Model:
    """Score by the squared Mahalanobis distance from the mean; directions without variance do not count."""
    from sklearn.covariance import EmpiricalCovariance

    estimate = EmpiricalCovariance().fit(x)
    return _model(lambda rows: np.asarray(estimate.mahalanobis(rows)), x)


def mean_image(x: Floats, seed: int, *, shape: tuple[int, ...]) -> Model:
    """Score by the greatest squared difference of a pixel from the mean training image, summed over channels."""
    mean = x.mean(0)
    return _model_of_maps(lambda rows: ((rows - mean) ** 2).reshape(len(rows), *shape).sum(1), x)


def motion(x: Floats, seed: int, *, shape: tuple[int, ...]) -> Model:
    """Score a clip by its greatest change of a pixel from one frame to the next, squared; nothing is learned."""

    def maps(rows: Floats) -> Floats:
        frames = rows.reshape(len(rows), *shape).sum(1)
        changes: Floats = np.diff(frames, axis=1, prepend=frames[:, :1])
        return changes**2

    return _model_of_maps(maps, x)


def patch_pca(
    x: Floats, seed: int, *, shape: tuple[int, ...], side: int, stride: int, n_components: int, n_patches: int
) -> Model:
    """Score by the greatest pixel of a map: squared residuals of overlapping patches from their principal directions.

    Of clips each frame is such an image. The directions are those of `n_patches` patches from random places.
    """
    import torch
    from sklearn.decomposition import PCA

    from offnormal.networks.patches import averaged_over_patches

    channels, height, width = shape[0], *shape[-2:]
    draw = numpy_generator(seed, "bench", "patches")

    def images(rows: Floats) -> Floats:
        frames = np.moveaxis(rows.reshape(len(rows), channels, -1, height, width), 2, 1)
        return frames.reshape(-1, channels, height, width)

    every = images(x)
    tops, lefts = draw.integers(0, height - side + 1, n_patches), draw.integers(0, width - side + 1, n_patches)
    chosen = zip(draw.integers(0, len(every), n_patches), tops, lefts, strict=True)
    cut = np.stack([every[i, :, top : top + side, left : left + side].ravel() for i, top, left in chosen])
    directions = PCA(n_components, svd_solver="covariance_eigh").fit(cut)

    def residuals(patches: torch.Tensor) -> torch.Tensor:
        flat = patches.flatten(1).numpy()
        rebuilt = directions.inverse_transform(directions.transform(flat))
        return torch.from_numpy((flat - rebuilt) ** 2).reshape(patches.shape).sum(1)

    def maps(rows: Floats) -> Floats:
        frames = torch.from_numpy(np.ascontiguousarray(images(rows)))
        found = [averaged_over_patches(residuals, frame[None], (side, side), stride) for frame in frames]
        return torch.cat(found).reshape(len(rows), *shape[1:]).numpy()

    return _model_of_maps(maps, x)


BASELINES: dict[str, Baseline] = {
    "knn": Baseline(nearest_neighbors, {"n_neighbors": 5, "most_rows": 10_000, "scaling": "standard"}),
    "isolation_forest": Baseline(isolation_forest, {"n_estimators": 100, "max_samples": 256, "scaling": "standard"}),
    "ocsvm": Baseline(one_class_svm, {"nu": 0.1, "gamma": "scale", "most_rows": 5_000, "scaling": "standard"}),
    "em_mixture": Baseline(
        em_mixture,
        {"n_components": 4, "reg_covar": 1e-3, "max_iter": 100, "most_rows": 20_000, "scaling": "standard"},
    ),
    "mahalanobis": Baseline(mahalanobis, {"scaling": "standard"}),
    "mean_image": Baseline(mean_image, {"scaling": "unit"}, of_images=True),
    "motion": Baseline(motion, {"scaling": "unit"}, of_images=True),
    "patch_pca": Baseline(
        patch_pca,
        {"side": 16, "stride": 8, "n_components": 20, "n_patches": 10_000, "scaling": "unit"},
        of_images=True,
    ),
}


def _model(score: Score, fitted: Floats) -> Model:
    return Model(score, score(fitted), len(fitted))


def _model_of_maps(maps: Score, fitted: Floats) -> Model:
    """Return the model whose score is the greatest pixel of the map; a hundred fitted rows stand for all of them."""
    some = fitted[np.linspace(0, len(fitted) - 1, min(len(fitted), 100)).astype(int)]

    def score(rows: Floats) -> Floats:
        blocks = [rows[start : start + _MAPS_AT_ONCE] for start in range(0, len(rows), _MAPS_AT_ONCE)]
        return np.concatenate([maps(block).reshape(len(block), -1).max(1) for block in blocks])

    return Model(score, score(some), len(fitted), maps)


def _part(x: Floats, most: int, seed: int) -> Floats:
    if len(x) <= most:
        return x
    return x[np.sort(numpy_generator(seed, "bench", "part").choice(len(x), most, replace=False))]


def _random_state(seed: int) -> int:
    return derive_seed(seed, "bench", "baseline") % 2**32
