"""Mixtures and centers fitted to points once, outside of training: scikit-learn's, with the same bits every time.

Letters: b rows, d axes of the space, k components or clusters.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from offnormal.errors import DataError
from offnormal.networks.mixture import FLOOR, Mixture

LARGEST_FLOOR = 1e-2
"""To which the covariance floor is raised, tenfold each time, where no mixture can be fitted."""


def expectation_maximization(
    z: Tensor, k: int, *, restarts: int, seed: int, floor: float = FLOOR, iterations: int = 100
) -> Mixture:
    """Return the likeliest of `restarts` mixtures with full covariances.

    Each starts from k-means and takes at most so many iterations, fewer once the mean log-likelihood gains under 1e-3.

    Parameters
    ----------
    z : Tensor, float64, on the CPU, shape (b, d)
    k : int
        At most b.
    restarts, seed : int
    floor : float
        Added to the covariances' diagonals; raised tenfold, up to 0.01, where no mixture can be fitted.
    iterations : int

    Raises
    ------
    DataError
        If no mixture can be fitted even with 0.01 added to the covariances' diagonals.
    """
    from sklearn.mixture import GaussianMixture

    while True:
        model = GaussianMixture(k, tol=1e-3, max_iter=iterations, reg_covar=floor, n_init=restarts, random_state=seed)
        try:
            with _repeatable():
                model.fit(z.numpy())
        except ValueError as error:
            floor *= 10
            if floor > 1.1 * LARGEST_FLOOR:
                raise DataError(
                    "No Gaussian mixture could be fitted to the reduced rows, even with 0.01 added to its covariances. "
                    "Check the columns for extreme values, or use fewer n_components or a smaller latent_dim."
                ) from error
            continue
        return Mixture(*(torch.from_numpy(value) for value in (model.weights_, model.means_, model.covariances_)))


def k_means(z: Tensor, k: int, *, restarts: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return the best of `restarts` sets of centers (k, d), float64, and each row's cluster (b,), int64.

    Parameters
    ----------
    z : Tensor, float64, on the CPU, shape (b, d)
    k : int
        At most b.
    restarts, seed : int
    """
    from sklearn.cluster import KMeans

    with _repeatable():
        model = KMeans(k, n_init=restarts, random_state=seed).fit(z.numpy())
    return torch.from_numpy(model.cluster_centers_), torch.from_numpy(model.labels_).long()


@contextmanager
def _repeatable() -> Iterator[None]:
    """Hold scikit-learn's k-means to one thread: it adds up in the order in which its threads finish.

    Its warnings are silenced: that 100 iterations were too few, or that fewer rows differ than there are clusters. What
    there is is taken.
    """
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with warnings.catch_warnings(), threadpool_limits(1, user_api="openmp"):
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield
