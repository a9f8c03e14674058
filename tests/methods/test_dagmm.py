"""DAGMM against its paper: shapes, presets, the three terms, the hazards, and that training does what it should."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from offnormal import DAGMM
from offnormal.batches import Batch, Batches
from offnormal.errors import InvalidParameter, UnknownName
from offnormal.methods.dagmm import DAGMMNetwork
from offnormal.random import scoped
from offnormal.trainer import Settings, train


def curve(rows: int = 600) -> Tensor:
    """Return rows near a curve in six dimensions: one number describes them, a plane does not."""
    draw = np.random.default_rng(0)
    t = draw.uniform(0, 1, rows)
    columns = [t, t**2, 0.5 + 0.5 * np.sin(3 * t), 0.5 + 0.5 * np.cos(3 * t), 1 - t, 0.5 * t]
    table = np.stack(columns, axis=1) + 0.02 * draw.normal(size=(rows, 6))
    return torch.from_numpy((table - table.mean(0)) / table.std(0)).float()


ROWS = curve()


def network(epochs: int = 1, seed: int = 0, **changes: Any) -> DAGMMNetwork:
    changes = {"hidden_sizes": (12, 4), "latent_dim": 1, "n_components": 2, "covariance_weight": 1e-4, **changes}
    detector = DAGMM(**changes)
    detector.planned_epochs_ = epochs
    with scoped(seed, "build"):
        built = detector.build((ROWS.shape[1],))
    assert isinstance(built, DAGMMNetwork)
    return built


def batch(rows: Tensor = ROWS) -> Batch:
    return Batch(rows, torch.arange(len(rows)))


def linear_shapes(net: nn.Module) -> list[tuple[int, int]]:
    return [(layer.in_features, layer.out_features) for layer in net.modules() if isinstance(layer, nn.Linear)]


@pytest.mark.parametrize(
    ("preset", "width", "encoder", "estimation", "epochs", "batch_size"),
    [
        ("kddcup", 120, [120, 60, 30, 10, 1], [3, 10, 4], 200, 1024),
        ("kddcup_rev", 120, [120, 60, 30, 10, 1], [3, 10, 2], 400, 1024),
        ("thyroid", 6, [6, 12, 4, 1], [3, 10, 2], 20000, 1024),
        ("arrhythmia", 274, [274, 10, 2], [4, 10, 2], 10000, 128),
    ],
)
def test_presets_are_the_papers_networks(
    preset: str, width: int, encoder: list[int], estimation: list[int], epochs: int, batch_size: int
) -> None:
    detector = DAGMM.from_preset(preset)
    detector.planned_epochs_ = epochs
    built = detector.build((width,))
    assert isinstance(built, DAGMMNetwork)

    def chain(sizes: list[int]) -> list[tuple[int, int]]:
        return list(pairwise(sizes))

    assert linear_shapes(built.encoder) == chain(encoder)
    assert linear_shapes(built.decoder) == chain(encoder[::-1])
    assert linear_shapes(built.estimation) == chain(estimation)
    kinds = [type(layer).__name__ for layer in built.estimation.children()]
    assert kinds == ["Linear", "Tanh", "Dropout", "Linear"]
    for net in (built.encoder, built.decoder):
        assert [type(layer).__name__ for layer in net.children()][-1] == "Linear", "code and output are linear"
    (phase,) = built.phases()
    (update,) = phase.updates
    optimizer = update.optimizer(update.params)
    assert isinstance(optimizer, torch.optim.Adam)
    assert optimizer.defaults["lr"] == 1e-4
    assert (phase.epochs, detector.batch_size, detector.early_stopping) == (epochs, batch_size, False)
    assert (built.energy_weight, built.covariance_weight, detector.scaling) == (0.1, 0.005, "minmax")


def test_the_three_terms_are_the_papers() -> None:
    net = network().eval()
    x = ROWS[:50]
    rebuilt = net.decoder(net.encoder(x))
    z = torch.cat(
        [
            net.encoder(x),
            ((x - rebuilt).norm(dim=1) / x.norm(dim=1))[:, None],
            torch.cosine_similarity(x, rebuilt)[:, None],
        ],
        dim=1,
    ).double()
    gamma = net.estimation(z.float()).double().softmax(1)
    weight = gamma.mean(0)
    mean = gamma.T @ z / gamma.sum(0)[:, None]
    gap = z[:, None] - mean
    covariance = torch.einsum("bk,bki,bkj->kij", gamma, gap, gap) / gamma.sum(0)[:, None, None]
    covariance = covariance + 1e-6 * torch.eye(3, dtype=torch.float64)
    density = MixtureSameFamily(Categorical(weight), MultivariateNormal(mean, covariance, validate_args=False))
    terms = net.losses(batch(x))
    torch.testing.assert_close(terms["reconstruction"], (x - rebuilt).square().sum(1).mean())
    torch.testing.assert_close(terms["energy"], -0.1 * density.log_prob(z).mean(), rtol=1e-4, atol=1e-4)
    penalty = 1e-4 * (1 / covariance.diagonal(dim1=1, dim2=2)).sum()
    torch.testing.assert_close(terms["covariance"], penalty, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(net.encode(x).double(), z, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("term", "moves"),
    [
        ("reconstruction", {"encoder", "decoder"}),
        ("energy", {"encoder", "decoder", "estimation"}),
        ("covariance", {"encoder", "decoder", "estimation"}),
    ],
)
def test_each_term_moves_the_networks_it_should(term: str, moves: set[str]) -> None:
    net = network()
    net.losses(batch())[term].backward()
    moved = {
        name.split(".")[0] for name, p in net.named_parameters() if p.grad is not None and bool(p.grad.abs().sum() > 0)
    }
    assert moved == moves


def test_gradients_of_the_whole_objective_equal_finite_differences() -> None:
    net = network(dropout=0.0).double()
    x = ROWS[:30].double()
    params = list(net.parameters())
    sum(net.losses(batch(x)).values()).backward()
    draw = torch.Generator().manual_seed(0)
    for weights in params:
        direction = torch.randn(weights.shape, dtype=torch.float64, generator=draw)
        with torch.no_grad():
            values = []
            for step in (1e-6, -2e-6, 1e-6):
                weights.add_(step * direction)
                values.append(float(sum(net.losses(batch(x)).values())))
        slope = (values[0] - values[1]) / 2e-6
        assert slope == pytest.approx(float((weights.grad * direction).sum()), rel=1e-4, abs=1e-6)


def trained(epochs: int = 100, **changes: Any) -> DAGMMNetwork:
    net = network(epochs, learning_rate=1e-2, **changes)
    train(net, ROWS, Settings(batch_size=128, seed=0))
    return net


def measured(net: DAGMMNetwork) -> Mapping[str, float]:
    with torch.no_grad():
        net.eval()
        return {name: float(value) for name, value in net.losses(batch()).items()}


def test_training_lowers_what_each_term_names_and_leaving_one_out_shows() -> None:
    """An untrained net, and nets with one term left out, each fail one of these."""
    untrained, whole = measured(network()), measured(trained())
    assert whole["reconstruction"] < 0.1 * untrained["reconstruction"]
    assert whole["energy"] < untrained["energy"] - 0.2
    without_energy = trained(energy_weight=0.0)
    without_energy.energy_weight = 0.1
    assert whole["energy"] < measured(without_energy)["energy"] - 0.1
    without_penalty = trained(covariance_weight=0.0)
    without_penalty.covariance_weight = 1e-4
    assert whole["covariance"] < 0.1 * measured(without_penalty)["covariance"]


def test_the_mixture_is_that_of_the_whole_training_set() -> None:
    """Not the last batch's, not an average of batches: the moments of all rows, dropout off."""
    net = trained(epochs=3)
    with torch.no_grad():
        z = net.encode(ROWS).double()
        gamma = net.estimation(z.float()).double().softmax(1)
    expected_mean = gamma.T @ z / gamma.sum(0)[:, None]
    torch.testing.assert_close(net.mixture.weight, gamma.mean(0), rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(net.mixture.mean, expected_mean, rtol=1e-5, atol=1e-6)
    for k in range(2):
        weights = gamma[:, k].numpy()
        covariance = np.cov(z.numpy().T, aweights=weights, ddof=0) + 1e-6 * np.eye(3)
        np.testing.assert_allclose(net.mixture.covariance[k].numpy(), covariance, rtol=1e-4, atol=1e-7)


def test_far_rows_keep_their_order_instead_of_saturating() -> None:
    net = trained(epochs=3)
    direction = torch.ones(1, 6)
    with torch.no_grad():
        energies = [net.score(direction * 10.0**power).item() for power in range(2, 7)]
        codes = [net.encode(direction * 10.0**power).double()[0] for power in range(2, 7)]
    density = MixtureSameFamily(
        Categorical(net.mixture.weight), MultivariateNormal(net.mixture.mean, net.mixture.covariance)
    )
    for value, code in zip(energies, codes, strict=True):
        assert math.isfinite(value)
        assert value == pytest.approx(-density.log_prob(code).item(), rel=1e-6)


def test_zero_rows_and_constant_columns_are_scored() -> None:
    rows = np.zeros((60, 3))
    rows[:, 0] = np.random.default_rng(0).normal(size=60)
    detector = DAGMM(epochs=2, early_stopping=False, calibration="none", scaling="none").fit(rows)
    assert np.isfinite(detector.anomaly_score(np.zeros((2, 3)))).all()


def test_identical_rows_do_not_crash() -> None:
    detector = DAGMM(epochs=2, early_stopping=False, calibration="none").fit(np.ones((40, 3)))
    assert np.isfinite(detector.anomaly_score(np.array([[1.0, 1, 1], [5, 5, 5]]))).all()


@pytest.mark.parametrize("rows", [3, 9, 129, 1023, 1025, 1537])
def test_no_batch_is_a_stray_few_rows(rows: int) -> None:
    sizes = [len(b.x) for b in Batches(torch.zeros(rows, 2), 128, seed=0)]
    assert sum(sizes) == rows
    assert min(sizes) >= min(rows, 64)


def test_a_wide_code_and_a_small_batch_train() -> None:
    rows = np.random.default_rng(0).normal(size=(90, 12))
    detector = DAGMM(latent_dim=6, batch_size=16, epochs=30, calibration="none", early_stopping=False).fit(rows)
    assert np.isfinite(detector.anomaly_score(rows)).all()
    assert detector.transform(rows).shape == (90, 8)
    assert list(detector.get_feature_names_out()[-2:]) == ["relative_distance", "cosine_similarity"]


def test_the_covariance_weight_follows_the_scaling() -> None:
    for scaling, expected in (("standard", 1e-4), ("minmax", 0.005)):
        detector = DAGMM(scaling=scaling)
        detector.planned_epochs_ = 1
        assert detector.build((4,)).covariance_weight == expected


def test_default_layers_follow_the_width_and_the_steps_a_budget() -> None:
    detector = DAGMM()
    detector.planned_epochs_ = 1
    assert linear_shapes(detector.build((6,)).encoder) == [(6, 64), (64, 32), (32, 8)]
    assert linear_shapes(detector.build((200,)).encoder) == [(200, 100), (100, 50), (50, 8)]
    assert linear_shapes(detector.build((5000,)).encoder)[:2] == [(5000, 256), (256, 128)]
    for rows, (epochs, batch_size) in {100: (4000, 128), 444618: (10, 1024)}.items():
        planned = detector._plan(rows)
        assert planned[1] == batch_size
        assert planned[0] == pytest.approx(epochs, rel=0.1)


def test_unknown_presets_and_parameters_name_the_nearest() -> None:
    with pytest.raises(UnknownName, match="'kddcup'"):
        DAGMM.from_preset("kdd_cup")
    with pytest.raises(UnknownName, match="'latent_dim'"):
        DAGMM.from_preset("kddcup", latent_dims=2)
    with pytest.raises(InvalidParameter, match=r"latent_dim must be an int, at least 1; got 0"):
        DAGMM(latent_dim=0).fit(ROWS.numpy())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch.compile warns about its own internals
def test_compiled_training_equals_eager_training_to_rounding() -> None:
    rows = ROWS.numpy()
    options = {"epochs": 3, "calibration": "none", "early_stopping": False, "dropout": 0.0}
    eager = DAGMM(**options).fit(rows)
    compiled = DAGMM(**options, compile=True).fit(rows)
    np.testing.assert_allclose(compiled.anomaly_score(rows), eager.anomaly_score(rows), rtol=1e-2, atol=1e-2)
    for first, second in zip(eager.training_["history"], compiled.training_["history"], strict=True):
        assert second["terms"] == pytest.approx(first["terms"], rel=1e-3, abs=1e-4)


def test_bfloat16_training_lowers_the_reconstruction_error() -> None:
    detector = DAGMM(epochs=40, calibration="none", early_stopping=False, precision="bfloat16").fit(ROWS.numpy())
    history = detector.training_["history"]
    assert history[-1]["terms"]["reconstruction"] < 0.5 * history[0]["terms"]["reconstruction"]
    assert detector.anomaly_score(ROWS.numpy()).dtype == np.float64
