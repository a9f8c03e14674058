"""Two-step methods: the mixture is scikit-learn's, the plane is PCA's, and every setting is the method it names."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from torch import Tensor, nn

from offnormal import TwoStep
from offnormal.batches import Batch, Batches
from offnormal.methods.two_step import Autoencoder, Plane, TwoStepNetwork
from offnormal.random import generator, scoped
from offnormal.trainer import Settings, train


def clusters(rows: int = 600) -> Tensor:
    """Return rows of three clusters in five correlated columns."""
    draw = generator(0, "clusters")
    places = torch.tensor([[0.0, 0, 0, 0, 0], [6, 0, 3, 0, 0], [0, 6, 0, 3, 0]])
    mix = torch.randn(5, 5, generator=draw)
    table = places[torch.randint(3, (rows,), generator=draw)] + 0.4 * torch.randn(rows, 5, generator=draw) @ mix
    return (table - table.mean(0)) / table.std(0)


ROWS = clusters()


def network(epochs: int = 1, **changes: Any) -> TwoStepNetwork:
    detector = TwoStep(**{"latent_dim": 2, "n_components": 3, "hidden_sizes": (8,), **changes})
    detector.planned_epochs_ = epochs
    with scoped(0, "build"):
        built = detector.build((ROWS.shape[1],))
    assert isinstance(built, TwoStepNetwork)
    return built


def trained(epochs: int = 5, rows: Tensor = ROWS, **changes: Any) -> TwoStepNetwork:
    net = network(epochs, **changes)
    train(net, rows, Settings(batch_size=100, seed=0))
    return net


def by_hand(net: TwoStepNetwork, features: str) -> Tensor:
    """Return z from the textbook formulas."""
    x = ROWS.double()
    with torch.no_grad():
        code, rebuilt = net.reduction.encode(ROWS).double(), net.reconstruct(ROWS).double()
    relative = (x - rebuilt).norm(dim=1) / x.norm(dim=1)
    cosine = torch.nn.functional.cosine_similarity(x, rebuilt, dim=1)
    how_well = torch.stack([relative, cosine], dim=1)
    return {"code": code, "reconstruction": how_well, "both": torch.cat([code, how_well], dim=1)}[features]


@pytest.mark.parametrize("reduction", ["pca", "autoencoder"])
@pytest.mark.parametrize("features", ["both", "code", "reconstruction"])
def test_the_score_is_that_of_scikit_learns_mixture_on_the_same_features(reduction: str, features: str) -> None:
    net = trained(reduction=reduction, features=features)
    z = by_hand(net, features)
    with torch.no_grad():
        torch.testing.assert_close(net.encode(ROWS), z, rtol=1e-7, atol=1e-7)
        score = net.score(ROWS).numpy()
    # scikit-learn's model with our φ, μ, Σ; its scores rest on its own algebra.
    judge = GaussianMixture(3)
    judge.weights_, judge.means_, judge.covariances_ = (part.numpy() for part in net.mixture)
    judge.precisions_cholesky_ = np.linalg.cholesky(np.linalg.inv(judge.covariances_))
    np.testing.assert_allclose(score, -judge.score_samples(z.numpy()), rtol=1e-7, atol=1e-7)
    # And the mixture is as likely as the one scikit-learn fits from many starts.
    best = GaussianMixture(3, n_init=10, random_state=1).fit(z.numpy())
    assert -score.mean() > best.score(z.numpy()) - 0.02
    assert len(net.code_names()) == z.shape[1]


def test_the_plane_is_that_of_principal_components() -> None:
    net = trained()
    assert isinstance(net.reduction, Plane)
    assert net.phases() == ()
    reference = PCA(2).fit(ROWS.double().numpy())
    rebuilt = reference.inverse_transform(reference.transform(ROWS.double().numpy()))
    np.testing.assert_allclose(net.reconstruct(ROWS).numpy(), rebuilt, atol=1e-6)
    code, theirs = net.reduction.encode(ROWS).numpy(), reference.transform(ROWS.double().numpy())
    np.testing.assert_allclose(np.abs(code), np.abs(theirs), atol=1e-6)


def test_k_means_scores_the_distance_to_the_nearest_center() -> None:
    net = trained(density="kmeans", features="code")
    z = by_hand(net, "code").numpy()
    reference = KMeans(3, n_init=10, random_state=1).fit(z)
    with torch.no_grad():
        np.testing.assert_allclose(net.score(ROWS).numpy(), reference.transform(z).min(1), rtol=1e-3, atol=1e-3)
    variance = float(net.get_buffer("variance"))
    assert variance == pytest.approx(reference.inertia_ / z.size, rel=1e-3)


def test_the_first_step_does_not_know_the_second() -> None:
    """The same seed gives the same autoencoder whatever comes after it; its only term is the reconstruction."""
    one = trained(reduction="autoencoder", n_components=1)
    other = trained(reduction="autoencoder", density="kmeans", n_components=4)
    for name, parameter in one.named_parameters():
        assert torch.equal(parameter, other.get_parameter(name)), name
    terms = one.losses(Batch(ROWS, torch.arange(len(ROWS))))
    assert set(terms) == {"reconstruction"}
    terms["reconstruction"].backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in one.parameters())


def test_training_and_pretraining_lower_the_reconstruction_error() -> None:
    def error(net: TwoStepNetwork) -> float:
        with torch.no_grad():
            return float((ROWS - net.reconstruct(ROWS)).square().sum(1).mean())

    options: dict[str, Any] = {"reduction": "autoencoder", "learning_rate": 1e-2}
    untrained = error(network(**options))
    assert error(trained(30, **options)) < 0.3 * untrained
    assert error(trained(0, pretraining_epochs=30, **options)) < 0.5 * untrained


def test_rows_beyond_the_most_are_sampled_and_the_sample_is_of_the_seed() -> None:
    """Rows sorted by cluster: the first so many would miss two of the three clusters."""
    ordered = ROWS[ROWS[:, 0].argsort()]
    first, again = (trained(rows=ordered, max_rows=90) for _ in range(2))
    whole = trained(rows=ordered)
    assert torch.equal(first.mixture.mean, again.mixture.mean)
    assert not torch.equal(first.mixture.mean, whole.mixture.mean)
    gap = (first.mixture.mean[:, None, :2] - whole.mixture.mean[None, :, :2]).norm(dim=2)
    assert float(gap.amin(0).max()) < 0.5, "every cluster of the whole is found in the sample"


def test_fewer_rows_than_components_leave_some_without_weight() -> None:
    rows = np.random.default_rng(0).normal(size=(5, 3))
    for density in ("gmm", "kmeans"):
        detector = TwoStep(density=density, n_components=8, calibration="none").fit(rows)
        assert np.isfinite(detector.anomaly_score(rows)).all()
    assert np.isfinite(TwoStep(calibration="none").fit(np.ones((40, 3))).anomaly_score(np.ones((2, 3)))).all()


@pytest.mark.parametrize(
    ("preset", "width", "encoder", "k", "epochs", "batch_size"),
    [
        ("kddcup", 120, [120, 60, 30, 10, 1], 4, 200, 1024),
        ("kddcup_rev", 120, [120, 60, 30, 10, 1], 2, 400, 1024),
        ("thyroid", 6, [6, 12, 4, 1], 2, 20000, 1024),
        ("arrhythmia", 274, [274, 10, 2], 2, 10000, 128),
    ],
)
def test_presets_are_the_papers_networks(
    preset: str, width: int, encoder: list[int], k: int, epochs: int, batch_size: int
) -> None:
    detector = TwoStep.from_preset(preset)
    detector.planned_epochs_ = epochs
    net = detector.build((width,))
    assert isinstance(net, TwoStepNetwork)
    assert isinstance(net.reduction, Autoencoder)
    linear = [(m.in_features, m.out_features) for m in net.reduction.modules() if isinstance(m, nn.Linear)]
    assert linear == [*pairwise(encoder), *pairwise(encoder[::-1])]
    assert net.second[:3] == ("both", "gmm", k)
    assert [phase.epochs for phase in net.phases()] == [epochs // 10] * (len(encoder) - 1) + [epochs]
    assert (detector.batch_size, detector.learning_rate, detector.scaling) == (batch_size, 1e-4, "minmax")
    assert detector.early_stopping is False


def test_contributions_are_falls_of_the_two_measures() -> None:
    for density in ("gmm", "kmeans"):
        net = trained(density=density)
        odd = ROWS[:20].clone()
        odd[:, 1] += 5
        with torch.no_grad():
            parts = net.contributions(odd, torch.arange(5), 5)
        assert set(parts) == {"reconstruction", "density"}
        total = sum(parts.values())
        assert bool((total >= 0).all())
        assert np.bincount(total.argmax(1), minlength=5)[1] >= 15


def test_the_second_step_sees_all_rows_in_any_order_of_batches() -> None:
    net = network()
    with torch.no_grad(), scoped(0, "summarize"):
        net.summarize(Batches(ROWS, 7))
    whole = trained()
    with torch.no_grad():
        np.testing.assert_allclose(net.score(ROWS).mean(), whole.score(ROWS).mean(), atol=0.05)
