"""Brain MRI autoencoders: the study's networks and terms, the critic against an optimal transport, and learning."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from offnormal.batches import Batch
from offnormal.errors import InvalidParameter
from offnormal.methods.brain_autoencoder import BrainAutoencoder, BrainAutoencoderNetwork, divergence_from_prior
from offnormal.networks.spatial import column_penalty
from offnormal.random import generator, scoped
from offnormal.trainer import Settings, train
from pixel_laws import check_laws

MODELS, CODES = ("ae", "vae", "anovaegan"), ("dense", "spatial")


def network(shape: tuple[int, ...], epochs: int = 1, **changes: Any) -> BrainAutoencoderNetwork:
    detector = BrainAutoencoder(**changes)
    detector.planned_epochs_ = epochs
    with scoped(0, "build"):
        built = detector.build(shape)
    assert isinstance(built, BrainAutoencoderNetwork)
    return built


def discs(rows: int, *, odd: bool = False) -> Tensor:
    """Return images (rows, 1, 16, 16) of a soft disc of some size and light; the odd ones have a hole in it."""
    draw = np.random.default_rng(odd)
    radius, light = draw.uniform(5, 7, (rows, 1, 1)), draw.uniform(0.5, 1, (rows, 1, 1))
    y, x = np.indices((16, 16)) - 7.5
    images = light / (1 + np.exp(np.hypot(y, x) - radius))
    if odd:
        images[:, 6:10, 8:12] = 0.0
    return torch.from_numpy(images.astype(np.float32))[:, None]


IMAGES, ODD = discs(300), discs(100, odd=True)
BATCH = Batch(IMAGES[:20], torch.arange(20))


# --- the study's networks and terms -----------------------------------------------------------------------------------


def layers(chain: nn.Module) -> list[tuple[Any, ...]]:
    """Return what each layer with weights maps to what, by a kernel of what side."""
    maps = (nn.Conv2d, nn.ConvTranspose2d)
    return [
        (part.in_channels, part.out_channels, part.kernel_size[0])
        if isinstance(part, maps)
        else part.weight.shape[::-1]
        for part in chain.modules()
        if isinstance(part, (*maps, nn.Linear))
    ]


DOWN = [(1, 32, 5), (32, 64, 5), (64, 128, 5), (128, 128, 5)]
UP = [(128, 128, 5), (128, 64, 5), (64, 32, 5), (32, 32, 5), (32, 1, 1)]


@pytest.mark.parametrize("model", MODELS)
def test_the_networks_are_the_studys(model: str) -> None:
    parts = 1 if model == "ae" else 2
    net = network((1, 128, 128), model=model, code="dense")
    assert layers(net.encoder) == [*DOWN, (128, 16, 1), (1024, parts * 128)]
    assert layers(net.decoder) == [(128, 1024), (16, 128, 1), *UP]
    norms = [type(part) for part in net.decoder.modules() if isinstance(part, (nn.BatchNorm2d, nn.GroupNorm))]
    assert norms == 5 * [nn.GroupNorm if model == "anovaegan" else nn.BatchNorm2d]
    spatial = network((1, 128, 128), model=model, code="spatial")
    assert layers(spatial.encoder) == [*DOWN, *([] if model == "ae" else [(128, 256, 1)])]
    assert layers(spatial.decoder) == UP
    assert spatial.code_dim == 128 * 8 * 8
    if net.critic is None:
        assert model != "anovaegan"
        return
    assert layers(net.critic) == [*DOWN, (128, 1, 1)]
    assert net.critic(torch.zeros(2, 1, 128, 128)).shape == (2, 1, 8, 8), "a verdict for each place"


def test_presets_are_built() -> None:
    detector = BrainAutoencoder.from_preset("paper")
    detector.planned_epochs_ = 1
    with torch.device("meta"):
        net = detector.build((1, 256, 256))
    assert isinstance(net, BrainAutoencoderNetwork)
    assert net.code_dim == 64 * 16 * 16


def test_the_divergence_is_that_of_torch() -> None:
    mean, log_deviation = torch.randn(2, 7, 5, generator=generator(0, "normals"), dtype=torch.float64).unbind(0)
    expected = kl_divergence(Normal(mean, log_deviation.exp()), Normal(torch.zeros(5), torch.ones(5))).sum(1)
    torch.testing.assert_close(divergence_from_prior(mean, log_deviation), expected)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("shape", [(6,), (1, 12, 10)])
def test_every_term_moves_what_its_update_trains(model: str, shape: tuple[int, ...]) -> None:
    net = network(shape, model=model, hidden_sizes=(4,))
    batch = Batch(torch.rand(8, *shape, generator=generator(0, "rows")), torch.arange(8))
    named = {u.name: (u, u.losses(batch)) for u in net.phases()[0].updates}
    for update, terms in named.values():
        for name, term in terms.items():
            gradients = torch.autograd.grad(term, update.params, retain_graph=True, allow_unused=True)
            assert any(g is not None and g.abs().max() > 1e-7 for g in gradients), (update.name, name)
    terms = [*named["end_to_end" if model != "anovaegan" else "vae"][1]]
    assert terms == (["reconstruction"] if model == "ae" else ["reconstruction", "kl"])
    assert "kl" not in network(shape, model=model, hidden_sizes=(4,), kl_weight=0).losses(batch)


def test_terms_are_sums_over_pixels_and_means_over_images() -> None:
    net = network((1, 16, 16), model="vae", hidden_sizes=(4,), dropout=0.0, kl_weight=2.0).eval()
    x = BATCH.x
    with torch.no_grad(), scoped(1, "draw"):
        terms = net.losses(BATCH)
    mean, log_deviation = net.encoder(x).detach().chunk(2, dim=1)
    with torch.no_grad(), scoped(1, "draw"):
        rebuilt = net.decoder(Normal(mean, log_deviation.exp()).loc + torch.randn_like(mean) * log_deviation.exp())
    assert terms["reconstruction"].item() == pytest.approx(np.abs((x - rebuilt).numpy()).sum() / 20, rel=1e-5)
    kl = kl_divergence(Normal(mean, log_deviation.exp()), Normal(0.0, 1.0)).sum() / 20
    assert terms["kl"].item() == pytest.approx(2 * kl.item(), rel=1e-4)


def test_each_batch_is_one_step_of_the_vae_one_of_the_generator_five_of_the_critic_with_one_adam() -> None:
    net = network((6,), model="anovaegan", hidden_sizes=(4,))
    (phase,) = net.phases()
    made: list[torch.optim.Optimizer] = []

    def noted(update: Any) -> Any:
        def optimizer(params: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
            made.append(update.optimizer(params))
            return made[-1]

        return replace(update, optimizer=optimizer)

    updates = tuple(map(noted, phase.updates))
    assert [u.name for u in updates] == ["vae", "generator", *5 * ["critic"]]
    net.phases = lambda: (replace(phase, updates=updates),)  # type: ignore[method-assign]
    train(net, torch.rand(30, 6), Settings(batch_size=10, seed=0))
    steps = [int(next(iter(adam.state.values()))["step"]) for adam in made if adam.state]
    assert steps == [3, 3, 15]
    assert {adam.defaults["betas"] for adam in made} == {(0.5, 0.9)}


@cache
def gap(missing: str = "") -> tuple[float, float, float]:
    """Return how far a critic trained without a term tells rows from rebuilt ones, their distance, and its slope."""
    net = network((1,), 150, model="anovaegan", hidden_sizes=(32,), learning_rate=1e-2, dropout=0.0)
    (phase,) = net.phases()
    critic = phase.updates[-1]
    kept = replace(critic, losses=lambda batch: {k: v for k, v in critic.losses(batch).items() if k != missing})
    net.phases = lambda: (replace(phase, updates=(kept,)),)  # type: ignore[method-assign]
    rows = 2 + torch.randn(500, 1, generator=generator(0, "rows"))
    train(net, rows, Settings(batch_size=100, seed=0))
    assert net.critic is not None
    with torch.no_grad(), scoped(0, "fake"):
        fake = net.redrawn(rows)
    told = float((net.critic(rows).mean() - net.critic(fake).mean()).detach())
    rows.requires_grad_()
    (slope,) = torch.autograd.grad(net.critic(rows).sum(), rows)
    return told, float(scipy.stats.wasserstein_distance(rows.detach()[:, 0], fake[:, 0])), float(slope.abs().mean())


def test_the_critic_finds_the_distance_of_optimal_transport() -> None:
    told, distance, slope = gap()
    assert told == pytest.approx(distance, rel=0.15)
    assert slope == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("missing", ["real", "fake", "penalty"])
def test_without_a_term_it_does_not(missing: str) -> None:
    told, distance, slope = gap(missing)
    assert abs(told - distance) > 0.2 * distance
    assert abs(slope - 1) > 0.2


def test_the_generator_climbs_the_critic() -> None:
    """With a linear critic, a step raises D of what is rebuilt; the encoder stays."""
    net = network((6,), 5, model="anovaegan", hidden_sizes=(8,), learning_rate=1e-2).eval()
    net.critic = nn.Sequential(nn.Linear(6, 1))
    rows = torch.rand(100, 6, generator=generator(0, "rows"))
    before, code = net.critic(net.reconstruct(rows)).mean().item(), net.encode(rows).detach()
    (phase,) = net.phases()
    net.phases = lambda: (replace(phase, updates=phase.updates[1:2]),)  # type: ignore[method-assign]
    train(net, rows, Settings(batch_size=20, seed=0))
    assert net.critic(net.reconstruct(rows)).mean().item() > before + 0.3
    torch.testing.assert_close(net.encode(rows), code)


# --- learning ---------------------------------------------------------------------------------------------------------


@cache
def found(model: str, code: str, missing: str = "") -> tuple[float, float]:
    """Return the AUROC of discs with a hole, and the mean divergence of the codes, after training without a term."""
    epochs = {"all": 0}.get(missing, 10 if model == "anovaegan" else 8)
    net = network(
        (1, 16, 16), epochs, model=model, code=code, hidden_sizes=(8, 4), latent_dim=8, learning_rate=5e-3,
        dropout=0.05, kl_weight=0.2 if model == "vae" else 0.02, critic_steps=1,
    )  # fmt: skip
    (phase,) = net.phases()
    first = phase.updates[0]
    kept = replace(first, losses=lambda batch: {k: v for k, v in first.losses(batch).items() if k != missing})
    net.phases = lambda: (replace(phase, updates=(kept, *phase.updates[1:])),)  # type: ignore[method-assign]
    train(net, IMAGES, Settings(batch_size=20, seed=0))
    with torch.no_grad():
        scores = torch.cat([net.score(IMAGES[:100]), net.score(ODD)])
        divergence = 0.0 if model == "ae" else float(divergence_from_prior(*net.posterior(IMAGES)).mean())
    return float(roc_auc_score([0] * 100 + [1] * 100, scores)), divergence


@pytest.mark.parametrize(
    ("model", "code"), [("ae", "dense"), ("ae", "spatial"), ("vae", "dense"), ("anovaegan", "spatial")]
)
def test_discs_with_a_hole_are_found_and_not_by_an_untrained_network(model: str, code: str) -> None:
    assert found(model, code)[0] > 0.9
    assert found(model, code, "all")[0] < 0.85


def test_without_either_term_a_vae_is_none() -> None:
    assert found("vae", "dense", "reconstruction")[0] < 0.75
    assert found("vae", "dense", "kl")[1] > 3 * found("vae", "dense")[1]


# --- scores -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
def test_the_laws_of_a_score(model: str) -> None:
    rows = (discs(60)[:, :, 2:14, 3:13] * 255).byte().numpy()
    detector = BrainAutoencoder(model=model, epochs=1, hidden_sizes=(4,), calibration="holdout").fit(rows)
    check_laws(detector, rows[:30])
    maps = detector.residual_maps(rows)
    np.testing.assert_allclose(maps.sum((1, 2)), detector.anomaly_score(rows), rtol=1e-4)


def test_hyperintense_maps_have_what_is_brighter_than_rebuilt() -> None:
    rows = np.ascontiguousarray(IMAGES[:40, 0].numpy())
    plain, bright = (
        BrainAutoencoder(epochs=1, hidden_sizes=(4,), calibration="none", hyperintense=only).fit(rows)
        for only in (False, True)
    )
    difference = rows - plain.scorer_.method.reconstruct(torch.from_numpy(rows)[:, None]).detach().numpy()[:, 0]
    np.testing.assert_allclose(plain.residual_maps(rows), np.abs(difference), atol=1e-5)
    np.testing.assert_allclose(bright.residual_maps(rows), np.maximum(difference, 0), atol=1e-5)
    assert np.array_equal(plain.anomaly_score(rows), bright.anomaly_score(rows))


def test_tables_have_a_dense_code_of_half_their_width() -> None:
    for code in CODES:
        assert network((7,), code=code).code_dim == 3
    assert network((1, 16, 16), code="dense").code_dim == 128
    assert network((1, 16, 16), code="dense", latent_dim=9).code_dim == 9
    assert network((1, 16, 16), network="dense").code_dim == 128


def test_the_options_of_the_penalty_and_of_no_convolution() -> None:
    assert network((1, 16, 16), model="anovaegan", penalty_over="column").penalty is column_penalty
    with pytest.raises(InvalidParameter, match="at least one number"):
        network((1, 16, 16), hidden_sizes=())
