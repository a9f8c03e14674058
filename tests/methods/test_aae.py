"""The AAE: codes against draws of the prior, what each update may move, and its scores by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn
from torch.distributions import Independent, Normal

from offnormal.batches import Batch, Batches
from offnormal.method import Update
from offnormal.methods.aae import AAE, AAENetwork
from offnormal.random import generator, scoped
from offnormal.trainer import Settings, train


def bent(rows: int = 1000) -> Tensor:
    """Return rows on a bent sheet in four axes: two numbers say all, and neither is normal."""
    u, v = (2 * torch.rand(2, rows, generator=generator(0, "sheet")) - 1).unbind(0)
    return torch.stack([2 * u, u.square() + 0.3 * v, v, u + v], 1)


ROWS = bent()
BATCH = Batch(ROWS, torch.arange(len(ROWS)))
TERMS = ("reconstruction", "real", "fake", "prior")
LIMIT = 0.12


def network(epochs: int = 1, shape: tuple[int, ...] = (4,), **changes: Any) -> AAENetwork:
    """Return a small network; its game has RaPP's step, with which codes reach the prior soonest."""
    small = {"hidden_sizes": (32,), "latent_dim": 2, "learning_rate": 2e-3, "adversarial_weight": 1.0}
    detector = AAE(**{**small, **changes})
    detector.planned_epochs_ = epochs
    with scoped(0, "build"):
        built = detector.build(shape)
    assert isinstance(built, AAENetwork)
    return built


def without(update: Update, term: str) -> Update:
    """Return the update with one of its terms left out."""
    return replace(update, losses=lambda batch: {k: v for k, v in update.losses(batch).items() if k != term})


def trained(epochs: int, missing: str = "", **changes: Any) -> AAENetwork:
    net = network(epochs, **changes)
    (phase,) = net.phases()
    kept = [without(u, missing) for u in phase.updates if set(u.losses(BATCH)) != {missing}]
    net.phases = lambda: (replace(phase, updates=tuple(kept)),)
    train(net, ROWS, Settings(batch_size=100, seed=0))
    return net


def distance_from_prior(net: AAENetwork) -> float:
    """Return the greatest two-sample Kolmogorov-Smirnov statistic over the axes of the code."""
    with torch.no_grad(), scoped(1, "draws"):
        codes, drawn = net.encode(ROWS), net.prior.draw(torch.zeros(4000, 2))
    return max(float(stats.ks_2samp(codes[:, j], drawn[:, j]).statistic) for j in range(2))


@pytest.fixture(scope="module")
def whole() -> AAENetwork:
    return trained(50)


def test_the_codes_follow_the_prior_and_the_rows_are_rebuilt(whole: AAENetwork) -> None:
    assert distance_from_prior(whole) < LIMIT
    with torch.no_grad():
        assert float(whole.score(ROWS).mean()) < 0.05 * float(ROWS.var(0).sum())


@pytest.mark.parametrize("missing", [*TERMS, "all"])
def test_without_training_or_any_one_term_they_do_not(missing: str) -> None:
    net = network() if missing == "all" else trained(50, missing)
    if missing in ("reconstruction", "all"):
        with torch.no_grad():
            assert float(net.score(ROWS).mean()) > 0.2 * float(ROWS.var(0).sum())
    if missing != "reconstruction":
        assert distance_from_prior(net) > 1.4 * LIMIT


def test_each_update_moves_its_own_parameters_by_each_of_its_terms() -> None:
    net = network()
    (phase,) = net.phases()
    own = {
        "reconstruction": {*net.encoder.parameters(), *net.decoder.parameters()},
        "discriminator": set(net.discriminator.parameters()),
        "prior": set(net.encoder.parameters()),
    }
    assert [update.name for update in phase.updates] == list(own)
    seen = []
    for update in phase.updates:
        assert set(update.params) == own[update.name]
        for name in update.losses(BATCH):
            gradients = torch.autograd.grad(update.losses(BATCH)[name], update.params)
            assert all(float(gradient.abs().sum()) > 0 for gradient in gradients), name
            seen.append(name)
    assert tuple(seen) == TERMS
    assert [u.name for u in network(adversarial_weight=0).phases()[0].updates] == ["reconstruction"]


def test_the_weight_is_a_factor_on_the_encoders_step_in_the_game() -> None:
    """Adam's first step is the step size for every weight, whatever the factor on the loss."""
    (phase,) = network(adversarial_weight=3.0).phases()
    steps = {update.name: update.optimizer(update.params).param_groups[0]["lr"] for update in phase.updates}
    assert steps == pytest.approx({"reconstruction": 2e-3, "discriminator": 2e-3, "prior": 6e-3})


def test_scores_are_the_error_the_density_of_the_code_and_their_standardized_sum(whole: AAENetwork) -> None:
    rows = ROWS[:50]
    with torch.no_grad():
        code, rebuilt = whole.encode(rows), whole.reconstruct(rows)
        parts = {}
        for name in ("reconstruction", "latent", "both"):
            whole.score_by = name
            parts[name] = whole.score(ROWS)
        whole.score_by = "reconstruction"
    torch.testing.assert_close(parts["reconstruction"][:50], (rows - rebuilt).double().square().sum(1))
    standard = Independent(Normal(torch.zeros(2).double(), 1.0), 1)
    torch.testing.assert_close(parts["latent"][:50], -standard.log_prob(code.double()), rtol=1e-5, atol=1e-6)
    z_scores = stats.zscore(torch.stack([parts["reconstruction"], parts["latent"]], 1).numpy()).sum(1)
    np.testing.assert_allclose(parts["both"].numpy(), z_scores, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("prior", ["gaussian", "mixture", "uniform"])
def test_scores_of_codes_far_outside_are_finite_and_grow(prior: str) -> None:
    net = network(prior=prior, hidden_sizes=(), score_by="latent")
    rows = ROWS[:1] * torch.tensor([[1.0], [1e2], [1e4], [1e12]])
    net.summarize(Batches(0.1 * ROWS, 100))
    for name in ("latent", "both"):
        net.score_by = name
        with torch.no_grad():
            score = net.score(rows)
        assert bool(score.isfinite().all() and (score.diff() > 0).all())


def test_every_layer_of_the_encoder_is_shown_the_code_last() -> None:
    net = network(hidden_sizes=(7, 5))
    layers = net.encoder_layers(ROWS[:3])
    assert [tuple(layer.shape) for layer in layers] == [(3, 7), (3, 5), (3, 2)]
    torch.testing.assert_close(layers[-1], net.encode(ROWS[:3]))
    linear = net.encoder[0]
    torch.testing.assert_close(layers[0], linear(ROWS[:3]).tanh())


def test_the_preset_is_rapps_network() -> None:
    detector = AAE.from_preset("rapp_mnist")
    detector.planned_epochs_ = 1
    with torch.device("meta"):
        net = detector.build((1, 28, 28))
    assert isinstance(net, AAENetwork)
    down = [784, 707, 631, 554, 478, 402, 325, 249, 172, 96, 20]
    judge = [20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 1]
    for chain, sizes in ((net.encoder, down), (net.decoder, down[::-1]), (net.discriminator, judge)):
        linear = [m for m in chain if isinstance(m, nn.Linear)]
        assert [m.in_features for m in linear] + [linear[-1].out_features] == sizes
        assert sum(isinstance(m, nn.BatchNorm1d) for m in chain) == 9
        assert sum(isinstance(m, nn.LeakyReLU) for m in chain) == 9
    assert (detector.epochs, detector.batch_size, detector.learning_rate) == (200, 256, 1e-3)
    assert detector.adversarial_weight == 1, "one step for all three updates"


def test_images_go_through_convolutions() -> None:
    images = torch.rand(40, 8, 8, generator=generator(0, "images")).numpy()
    detector = AAE(epochs=2, latent_dim=3, prior="mixture", n_components=3, score_by="both", calibration="none")
    detector.fit(images)
    assert np.isfinite(detector.anomaly_score(images)).all()
    assert detector.transform(images).shape == (40, 3)
    assert any(isinstance(module, nn.Conv2d) for module in detector.scorer_.modules())
