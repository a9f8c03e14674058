"""Skip-GANomaly: what the discriminator is fed, its losses and scores by hand, and that every term is needed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import mean_squared_error, roc_auc_score
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from offnormal.batches import Batch
from offnormal.method import Update
from offnormal.methods.skip_ganomaly import SkipGANomaly, SkipGANomalyNetwork
from offnormal.networks.unet import UNet
from offnormal.random import generator, scoped
from offnormal.trainer import Settings, train

TERMS = {"generator": ("adversarial", "contextual", "latent"), "discriminator": ("real", "fake", "latent")}
HARD = {"hidden_sizes": (2,), "contextual_weight": 5, "adversarial_weight": 8, "latent_weight": 3}
"""A U-Net that cannot rebuild the rows has to weigh its terms."""


def sheet(rows: int, name: str) -> Tensor:
    """Return rows near a bent sheet in eight axes."""
    z = torch.randn(rows, 2, generator=generator(0, name))
    mixed = z @ torch.randn(2, 8, generator=generator(0, "mix"))
    return 1.5 * mixed.tanh() + 0.05 * torch.randn(rows, 8, generator=generator(0, name, "noise"))


TRAIN, TEST = sheet(600, "train"), sheet(300, "test")
BATCH = Batch(TEST, torch.arange(len(TEST)))


def network(epochs: int = 1, shape: tuple[int, ...] = (8,), **changes: Any) -> SkipGANomalyNetwork:
    usual = {"latent_dim": 8, "learning_rate": 2e-3, "weight_average": 0.9, "discriminator_sizes": (16,)}
    detector = SkipGANomaly(**{**usual, **changes})
    detector.planned_epochs_ = epochs
    with scoped(0, "build"):
        built = detector.build(shape)
    assert isinstance(built, SkipGANomalyNetwork)
    return built


def trained(epochs: int, missing: tuple[str, str] = ("", ""), only: str = "", **changes: Any) -> SkipGANomalyNetwork:
    """Return the network, trained without a term of an update, or by one update alone."""

    def without(update: Update) -> Update:
        kept = lambda rows: {k: v for k, v in update.losses(rows).items() if (update.name, k) != missing}  # noqa: E731
        return replace(update, losses=kept)

    net = network(epochs, **changes)
    (phase,) = net.phases()
    updates = tuple(without(update) for update in phase.updates if only in ("", update.name))
    net.phases = lambda: (replace(phase, updates=updates),)
    train(net, TRAIN, Settings(batch_size=100, seed=0))
    return net


def terms(net: SkipGANomalyNetwork, name: str) -> dict[str, float]:
    losses = net.generator_losses if name == "generator" else net.discriminator_losses
    with torch.no_grad():
        return {term: float(value) for term, value in losses(BATCH).items()}


# --- the game ---------------------------------------------------------------------------------------------------------


def test_what_the_discriminator_is_fed() -> None:
    net = network()
    with torch.no_grad():
        rebuilt = net.generator(TEST)
    for update in net.phases()[0].updates:
        seen: list[Tensor] = []
        hook = net.discriminator[0].register_forward_pre_hook(lambda _, inputs, seen=seen: seen.append(inputs[0]))
        update.losses(BATCH)
        hook.remove()
        real, fake = seen
        torch.testing.assert_close(real, TEST)
        torch.testing.assert_close(fake.detach(), rebuilt)
        assert fake.requires_grad == (update.name == "generator"), "G feels what D sees; D's step leaves G alone"


def test_the_losses_by_hand() -> None:
    net = network(adversarial_weight=2, contextual_weight=7, latent_weight=5, judged_latent_weight=3)
    with torch.no_grad():
        rebuilt = net.generator(TEST)
        logits = [net.discriminator(rows) for rows in (TEST, rebuilt)]
        # the features are what the last layer maps to the verdict
        features = [net.discriminator[:-1](rows) for rows in (TEST, rebuilt)]
        torch.testing.assert_close(net.discriminator[-1](features[0]), logits[0])
    ones, zeros = torch.ones(300, 1), torch.zeros(300, 1)
    latent = mean_squared_error(*(f.numpy() for f in features))
    assert features[0].shape == (300, 8)
    assert terms(net, "generator") == pytest.approx(
        {
            "adversarial": 2 * float(binary_cross_entropy_with_logits(logits[1], ones)),
            "contextual": 7 * float(np.abs((TEST - rebuilt).numpy()).mean()),
            "latent": 5 * latent,
        },
        rel=1e-5,
    )
    assert terms(net, "discriminator") == pytest.approx(
        {
            "real": float(binary_cross_entropy_with_logits(logits[0], ones)),
            "fake": float(binary_cross_entropy_with_logits(logits[1], zeros)),
            "latent": 3 * latent,
        },
        rel=1e-5,
    )
    assert list(terms(network(judged_latent_weight=0), "discriminator")) == ["real", "fake"]


def test_each_update_moves_its_own_parameters_by_each_of_its_terms() -> None:
    net = network()
    own = {"generator": net.generator, "discriminator": net.discriminator}
    updates = net.phases()[0].updates
    assert {update.name: tuple(update.losses(BATCH)) for update in updates} == TERMS
    for update in updates:
        assert set(update.params) == set(own[update.name].parameters())
        for term in TERMS[update.name]:
            for parameter in net.parameters():
                parameter.grad = None
            update.losses(BATCH)[term].backward(inputs=list(update.params))
            for name, part in own.items():
                found = [p.grad is not None and bool(p.grad.abs().sum() > 0) for p in part.parameters()]
                assert any(found) == (name == update.name), (term, name)


@pytest.mark.parametrize("name", TERMS)
def test_a_part_of_the_game_lowers_each_of_its_terms_and_not_without_it(name: str) -> None:
    whole, untrained = terms(trained(30, only=name, **HARD), name), terms(network(**HARD), name)
    for term in TERMS[name]:
        assert whole[term] < 0.85 * untrained[term], term
        assert whole[term] < 0.85 * terms(trained(30, (name, term), name, **HARD), name)[term], term


def test_columns_that_do_not_go_together_are_found_but_not_without_training_or_the_contextual_term() -> None:
    draw = generator(0, "shuffle")
    odd = torch.stack([column[torch.randperm(300, generator=draw)] for column in TEST.unbind(1)], 1)

    def auroc(net: SkipGANomalyNetwork) -> float:
        with torch.no_grad():
            scores = net.score(torch.cat([TEST, odd]))
        return float(roc_auc_score(np.repeat([0, 1], 300), scores))

    whole = trained(40)
    assert auroc(whole) > 0.95
    assert auroc(network()) < 0.7
    assert auroc(trained(40, ("generator", "contextual"))) < 0.7
    with torch.no_grad():
        made, far = whole.score(whole.generate(TEST)), whole.score(odd * 4)
    assert float(made.median()) < 0.05 * float(far.median()), "what G makes is normal, what it cannot is not"


# --- scores and networks ----------------------------------------------------------------------------------------------


def test_scores_by_hand_are_in_evaluation_mode_and_of_a_row_alone() -> None:
    net = network(
        shape=(1, 8, 8), hidden_sizes=(4, 8), batch_norm=True, discriminator_dropout=0.5, reconstruction_share=0.7
    )
    x = torch.rand(20, 1, 8, 8, generator=generator(0, "images"))
    train(net, x, Settings(batch_size=10, seed=0))
    assert not net.training
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with torch.inference_mode():
        rebuilt = net.reconstruct(x)
        score, parts, alone, maps = net.score(x), net.score_parts(x), net.score(x[:1]), net.score_map(x)
        pairs = [(x, rebuilt), (net.encode(x), net.encode(rebuilt))]
    errors = [
        [mean_squared_error(a.flatten().double(), b.flatten().double()) for a, b in zip(*pair, strict=True)]
        for pair in pairs
    ]
    assert score.dtype == torch.float64
    np.testing.assert_allclose(parts["reconstruction"], 0.7 * np.array(errors[0]), rtol=1e-5)
    np.testing.assert_allclose(parts["latent"], 0.3 * np.array(errors[1]), rtol=1e-5)
    np.testing.assert_allclose(score, 0.7 * np.array(errors[0]) + 0.3 * np.array(errors[1]), rtol=1e-5)
    np.testing.assert_allclose(alone, score[:1], rtol=1e-4)
    np.testing.assert_allclose(maps.mean((1, 2)), errors[0], rtol=1e-4)
    assert all(torch.equal(tensor, state[name]) for name, tensor in net.state_dict().items())


def test_the_weights_that_score_are_averages_of_both_networks() -> None:
    net = network(2, weight_average=0.5)
    (phase,) = net.phases()
    taken: list[Tensor] = []
    take = phase.after_batch
    assert take is not None

    def noted(batch: Batch) -> None:
        taken.append(net.discriminator[0].weight.clone())
        take(batch)

    net.phases = lambda: (replace(phase, after_batch=noted),)
    average = net.discriminator[0].weight.detach().clone()
    train(net, TRAIN[:200], Settings(batch_size=100, seed=0))
    for t, weight in enumerate(taken):
        decay = min(0.5, (1 + t) / (10 + t))
        average = decay * average + (1 - decay) * weight
    torch.testing.assert_close(net.discriminator[0].weight.detach(), average)
    assert network(weight_average=0).phases()[0].after_batch is None


def test_the_published_networks() -> None:
    detector = SkipGANomaly.from_preset("cifar10")
    detector.planned_epochs_ = 1
    with torch.device("meta"):
        net = detector.build((3, 32, 32))
    assert isinstance(net, SkipGANomalyNetwork)
    unet, end = net.generator
    assert isinstance(unet, UNet)
    assert isinstance(end, nn.Tanh)
    down, up = (
        [m for m in part.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)] for part in (unet.down, unet.up)
    )
    assert [m.out_channels for m in down] == [64, 128, 256, 512, 512]
    assert [(m.in_channels, m.out_channels) for m in up] == [(512, 512), (1024, 256), (512, 128), (256, 64), (128, 3)]
    judge = [m for m in net.discriminator if isinstance(m, nn.Conv2d)]
    assert [m.out_channels for m in judge] == [64, 128, 256]
    linear = [m for m in net.discriminator if isinstance(m, nn.Linear)]
    assert [(m.in_features, m.out_features) for m in linear] == [(256 * 4 * 4, 100), (100, 1)]
    assert (detector.epochs, detector.batch_size, detector.learning_rate, detector.beta1) == (25, 64, 2e-4, 0.5)
    assert (net.adversarial_weight, net.contextual_weight, net.latent_weight) == (1, 50, 1)
    assert (net.reconstruction_share, net.averages) == (0.9, None)


@pytest.mark.parametrize(("columns", "widths"), [(8, (4, 2)), (3, (1, 1)), (1, (1, 1)), (100, (50, 25))])
def test_no_way_across_is_wide_enough_to_copy_a_row_of_a_table(columns: int, widths: tuple[int, int]) -> None:
    unet = network(shape=(columns,)).generator[0]
    assert tuple(m.out_features for m in unet.down.modules() if isinstance(m, nn.Linear)) == widths
