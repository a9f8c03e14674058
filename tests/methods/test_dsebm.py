"""DSEBM against closed forms: the gradient, the loss, and on Gaussian rows the density that it should have learned."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from offnormal import DSEBM
from offnormal.batches import Batch
from offnormal.errors import InvalidParameter
from offnormal.methods.dsebm import DSEBMNetwork
from offnormal.random import scoped
from offnormal.trainer import Settings, train

MEAN = torch.tensor([0.5, -0.5, 0.0])
COVARIANCE = torch.tensor([[1.0, 0.8, 0.0], [0.8, 1.0, 0.0], [0.0, 0.0, 0.25]])


def gaussian(rows: int, seed: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return MEAN + torch.randn(rows, 3, generator=draw) @ torch.linalg.cholesky(COVARIANCE).T


ROWS, NEW_ROWS = gaussian(4000, 0), gaussian(500, 1)


def network(n: int = 3, epochs: int = 1, **changes: Any) -> DSEBMNetwork:
    detector = DSEBM(**{"hidden_sizes": (32,), **changes})
    detector.planned_epochs_ = epochs
    with scoped(0, "build"):
        built = detector.build((n,))
    assert isinstance(built, DSEBMNetwork)
    return built


def trained(rows: Tensor = ROWS, epochs: int = 60, **changes: Any) -> DSEBMNetwork:
    net = network(rows.shape[1], epochs, **{"learning_rate": 0.01, **changes})
    train(net, rows, Settings(batch_size=256, seed=0))
    return net


def shaken(net: DSEBMNetwork) -> DSEBMNetwork:
    """Give every parameter, the biases too, a value of its own, in float64."""
    with torch.no_grad(), scoped(1, "shake"):
        for parameter in net.double().parameters():
            parameter.copy_(0.5 * torch.randn_like(parameter))
    return net


def batch(rows: Tensor = ROWS) -> Batch:
    return Batch(rows, torch.arange(len(rows)))


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("hidden", [(4,), (4, 6), (5, 3, 2)])
def test_the_reconstruction_is_the_row_less_the_gradient_of_the_energy(hidden: tuple[int, ...], mirrored: bool) -> None:
    net = shaken(network(7, hidden_sizes=hidden, mirrored=mirrored))
    x = torch.randn(9, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(2), requires_grad=True)
    (gradient,) = torch.autograd.grad(net.energy(x).sum(), x)
    torch.testing.assert_close(net.reconstruct(x), x - gradient, rtol=0, atol=1e-8)
    assert torch.autograd.gradcheck(net.energy, (x,)), "and autograd's is that of finite differences"


def test_the_energy_is_the_papers() -> None:
    net = shaken(network(5, hidden_sizes=(4, 3)))
    (first, second), (b_1, b_2), b = net.weights, net.biases, net.visible_bias
    for x in torch.randn(6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2)):
        h = torch.log(1 + torch.exp(first.T @ x + b_1))
        h = torch.log(1 + torch.exp(second.T @ h + b_2))
        torch.testing.assert_close(net.energy(x[None])[0], 0.5 * (x - b) @ (x - b) - h.sum())
        torch.testing.assert_close(net.encode(x[None])[0], h)


def test_one_layer_rebuilds_as_a_tied_autoencoder() -> None:
    net = shaken(network(5, hidden_sizes=(4,)))
    x = torch.randn(6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    expected = net.visible_bias + torch.sigmoid(x @ net.weights[0] + net.biases[0]) @ net.weights[0].T
    torch.testing.assert_close(net.reconstruct(x), expected)


def test_the_mirror_has_the_transposed_weights_and_biases_of_its_own() -> None:
    net = shaken(network(5, hidden_sizes=(4, 3), mirrored=True))
    x = torch.randn(6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    assert [tuple(weight.shape) for weight in net.weights] == [(5, 4), (4, 3)]
    assert [len(bias) for bias in net.biases] == [4, 3, 4, 5]
    h = x
    for weight, bias in zip([*net.weights, net.weights[1].T, net.weights[0].T], net.biases, strict=True):
        h = torch.nn.functional.softplus(h @ weight + bias)
    torch.testing.assert_close(net.energy(x), 0.5 * (x - net.visible_bias).square().sum(1) - h.sum(1))


def test_the_loss_is_the_distance_from_the_clean_rows_to_the_rebuilt_noisy_ones() -> None:
    net = network(noise=0.7)
    with scoped(3, "noise"):
        (term,) = net.losses(batch()).values()
    with scoped(3, "noise"):
        noisy = ROWS + 0.7 * torch.randn_like(ROWS)
    rebuilt = net.reconstruct(noisy).detach()
    expected = np.mean([float((x - y) @ (x - y)) for x, y in zip(ROWS, rebuilt, strict=True)])
    assert term.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("mirrored", [False, True])
def test_the_loss_moves_every_parameter(mirrored: bool) -> None:
    net = network(hidden_sizes=(8, 4), mirrored=mirrored)
    before = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    train(net, ROWS, Settings(batch_size=256, seed=0))
    assert set(before) >= {"visible_bias", "weights.0", "weights.1", "biases.0", "biases.1"}
    for name, parameter in net.named_parameters():
        assert not torch.equal(parameter, before[name]), name


def test_the_bias_of_the_input_is_one_vector_and_a_row_scores_alike_at_every_place() -> None:
    net = trained(epochs=2)
    assert net.visible_bias.shape == (3,)
    rows = NEW_ROWS[:1].expand(300, -1)
    with torch.inference_mode():
        for by_energy in (True, False):
            net.by_energy = by_energy
            torch.testing.assert_close(net.score(rows), net.score(rows[:1]).expand(300), rtol=1e-12, atol=0)


@pytest.mark.parametrize("noise", [0.5, 1.0])
def test_on_gaussian_rows_it_learns_the_density_of_the_noisy_rows(noise: float) -> None:
    """Closed form: N(m, Σ + σ²I), so f(x) = m + Σ (Σ + σ²I)⁻¹ (x − m) and E/σ² = ½ (x − m)ᵀ (Σ + σ²I)⁻¹ (x − m)."""
    noisy = NEW_ROWS + noise * torch.randn(500, 3, generator=torch.Generator().manual_seed(4))
    precision = torch.linalg.inv(COVARIANCE + noise**2 * torch.eye(3))
    gap = noisy - MEAN
    posterior, deviance = MEAN + gap @ precision @ COVARIANCE, 0.5 * ((gap @ precision) * gap).sum(1)

    def errors(net: DSEBMNetwork) -> tuple[float, float, float]:
        with torch.no_grad():
            scaled, rebuilt = net.energy(noisy) / noise**2, net.reconstruct(noisy)
        slope, _ = np.polyfit(deviance, scaled, 1)
        wrong = (rebuilt - posterior).square().sum() / (noisy - posterior).square().sum()
        return wrong.item(), np.corrcoef(deviance, scaled)[0, 1], slope

    wrong, correlation, slope = errors(trained(epochs=120, noise=noise))
    assert wrong < 0.05
    assert correlation > 0.97
    assert slope == pytest.approx(1, abs=0.1)
    untrained = errors(network(noise=noise))
    assert untrained[0] > 0.3
    assert untrained[1] < 0.9


def test_the_noise_says_which_density_is_learned() -> None:
    """Along the narrow axis the curvature of E/σ² is 1/(0.25 + σ²): 2 at σ = 0.5, 0.8 at σ = 1."""
    steps = MEAN + torch.linspace(-0.5, 0.5, 21)[:, None] * torch.tensor([0.0, 0.0, 1.0])
    for noise, curvature in ((0.5, 2.0), (1.0, 0.8)):
        scaled = trained(noise=noise).energy(steps).detach() / noise**2
        assert 2 * np.polyfit(steps[:, 2], scaled, 2)[0] == pytest.approx(curvature, rel=0.15)


def test_training_ranks_what_lies_between_two_clusters_above_them() -> None:
    """An untrained net's energy grows from the origin, so it takes the gap for the most normal place of all."""
    draw = np.random.default_rng(0)
    signs = draw.choice([-1.0, 1.0], (1200, 1))
    rows = torch.from_numpy(signs * 1.5 + 0.2 * draw.normal(size=(1200, 4))).float()
    gap = torch.from_numpy(0.2 * draw.normal(size=(200, 4))).float()
    labels = np.r_[np.zeros(200), np.ones(200)]

    def auroc(net: DSEBMNetwork) -> float:
        with torch.inference_mode():
            return float(roc_auc_score(labels, net.score(torch.cat([rows[1000:], gap]))))

    assert auroc(network(4, noise=0.3)) < 0.2
    assert auroc(trained(rows[:1000], 100, noise=0.3, hidden_sizes=(32, 16))) > 0.99


def test_the_second_score_is_the_length_of_the_gradient() -> None:
    net = trained(epochs=2, score_by="reconstruction")
    x = NEW_ROWS.double().requires_grad_()
    (gradient,) = torch.autograd.grad(net.energy(x).sum(), x)
    torch.testing.assert_close(net.score(NEW_ROWS), gradient.norm(dim=1), rtol=1e-8, atol=1e-8)
    both = [
        DSEBM(epochs=2, calibration="none", score_by=by).fit(ROWS[:200].numpy()) for by in ("energy", "reconstruction")
    ]
    energy, length = (detector.anomaly_score(NEW_ROWS.numpy()) for detector in both)
    assert (length >= 0).all()
    assert not np.allclose(energy, length)


def test_the_energy_is_not_rounded_to_single_precision() -> None:
    """It is a difference of two sums; in float32 the third of these digits would be noise."""
    net = shaken(network(200, hidden_sizes=(256, 128))).float()
    x = torch.randn(20, 200, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        exact = net.double().energy(x.double())
        assert torch.equal(net.float().score(x), exact)


@pytest.mark.parametrize(
    ("preset", "n", "hidden", "batch_size"), [("kddcup", 121, (128, 512), 100), ("arrhythmia", 274, (10, 2), 26)]
)
def test_presets_are_the_reimplementations_networks(
    preset: str, n: int, hidden: tuple[int, ...], batch_size: int
) -> None:
    detector = DSEBM.from_preset(preset)
    detector.planned_epochs_ = 1
    net = detector.build((n,))
    assert isinstance(net, DSEBMNetwork)
    assert [tuple(weight.shape) for weight in net.weights] == list(pairwise((n, *hidden)))
    assert [len(bias) for bias in net.biases] == [*hidden, *reversed(hidden[:-1]), n]
    assert (net.noise, detector.batch_size, detector.scaling, detector.early_stopping) == (
        1,
        batch_size,
        "minmax",
        False,
    )
    ((update,),) = (phase.updates for phase in net.phases())
    assert update.optimizer(update.params).defaults["lr"] == 1e-4


def test_a_model_without_a_layer_is_refused() -> None:
    with pytest.raises(InvalidParameter, match="at least one layer"):
        DSEBM(hidden_sizes=()).fit(ROWS.numpy())
