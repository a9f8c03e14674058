"""GANomaly: what each network is fed, its losses and scores by hand, and that every term is needed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cityblock
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from offnormal.batches import Batch
from offnormal.method import Update
from offnormal.methods.ganomaly import GANomaly, GANomalyNetwork
from offnormal.random import generator, scoped
from offnormal.trainer import Settings, train

TERMS = {"generator": ("adversarial", "contextual", "encoder"), "discriminator": ("real", "fake")}


def bent(rows: int, name: str, noise: float) -> Tensor:
    """Return rows near a bent sheet in four axes."""
    u, v = (2 * torch.rand(2, rows, generator=generator(0, name)) - 1).unbind(0)
    e = noise * torch.randn(2, rows, generator=generator(0, name, "noise"))
    return torch.stack([2 * u, 2 * u.square() - 0.5 + e[0], 1.5 * v, u + v + e[1]], 1)


def batch(rows: Tensor) -> Batch:
    return Batch(rows, torch.arange(len(rows)))


def network(epochs: int = 1, shape: tuple[int, ...] = (4,), **changes: Any) -> GANomalyNetwork:
    usual = {"hidden_sizes": (32,), "latent_dim": 16, "learning_rate": 2e-3, "weight_average": 0.9}
    detector = GANomaly(**{**usual, **changes})
    detector.planned_epochs_ = epochs
    with scoped(0, "build"):
        built = detector.build(shape)
    assert isinstance(built, GANomalyNetwork)
    return built


def trained(rows: Tensor, missing: str = "", **changes: Any) -> GANomalyNetwork:
    """Return the network after 40 epochs with one of its terms left out."""

    def without(update: Update) -> Update:
        return replace(update, losses=lambda rows: {k: v for k, v in update.losses(rows).items() if k != missing})

    net = network(40, **changes)
    (phase,) = net.phases()
    net.phases = lambda: (replace(phase, updates=tuple(map(without, phase.updates))),)
    train(net, rows, Settings(batch_size=100, seed=0))
    return net


def fed(net: GANomalyNetwork, name: str) -> list[list[Tensor]]:
    """Return what the losses of an update feed to E and to D."""
    seen: list[list[Tensor]] = [[], []]
    hooks = [
        part[0].register_forward_pre_hook(lambda _, inputs, into=into: into.append(inputs[0]))
        for part, into in zip((net.second_encoder, net.discriminator), seen, strict=True)
    ]
    (update,) = (update for update in net.phases()[0].updates if update.name == name)
    update.losses(batch(bent(20, "fed", 0.1)))
    for hook in hooks:
        hook.remove()
    return seen


# --- the game ---------------------------------------------------------------------------------------------------------


def test_what_each_network_is_fed() -> None:
    net, x = network(), bent(20, "fed", 0.1)
    with torch.no_grad():
        rebuilt = net.decoder(net.encoder(x))
    (second,), (real, fake) = fed(net, "generator")
    for found, expected in ((second, rebuilt), (real, x), (fake, rebuilt)):
        torch.testing.assert_close(found.detach(), expected)
    assert second.requires_grad
    assert fake.requires_grad, "G feels what D sees"
    (), (real, fake) = fed(net, "discriminator")
    torch.testing.assert_close(torch.stack([real, fake]), torch.stack([x, rebuilt]))
    assert not fake.requires_grad, "D's step leaves G alone"


@pytest.mark.parametrize("code_error", ["squared", "absolute"])
def test_the_losses_by_hand(code_error: str) -> None:
    net = network(adversarial_weight=3, contextual_weight=7, encoder_weight=5, code_error=code_error)
    x = bent(20, "losses", 0.1)
    with torch.no_grad():
        z = net.encoder(x)
        rebuilt = net.decoder(z)
        between = (z - net.second_encoder(rebuilt)).numpy()
        features = [net.discriminator[:-1](rows).numpy() for rows in (x, rebuilt)]
        made, judged = net.generator_losses(batch(x)), net.discriminator_losses(batch(x))
        expected = {
            "adversarial": 3 * np.mean((features[0] - features[1]) ** 2),
            "contextual": 7 * np.mean(np.abs((x - rebuilt).numpy())),
            "encoder": 5 * np.mean(between**2 if code_error == "squared" else np.abs(between)),
            "real": 0.5 * float(binary_cross_entropy_with_logits(net.discriminator(x), torch.ones(20, 1))),
            "fake": 0.5 * float(binary_cross_entropy_with_logits(net.discriminator(rebuilt), torch.zeros(20, 1))),
        }
    assert {name: float(term) for name, term in {**made, **judged}.items()} == pytest.approx(expected, rel=1e-5)


def test_each_update_moves_its_own_parameters_by_each_of_its_terms() -> None:
    net, rows = network(), batch(bent(100, "terms", 0.1))
    (phase,) = net.phases()
    nets = {"encoder": net.encoder, "decoder": net.decoder, "second": net.second_encoder, "judge": net.discriminator}
    moved = {
        "adversarial": {"encoder", "decoder"}, "contextual": {"encoder", "decoder"},
        "encoder": {"encoder", "decoder", "second"}, "real": {"judge"}, "fake": {"judge"},
    }  # fmt: skip
    assert {update.name: tuple(update.losses(rows)) for update in phase.updates} == TERMS
    for update in phase.updates:
        for term in TERMS[update.name]:
            for parameter in net.parameters():
                parameter.grad = None
            update.losses(rows)[term].backward(inputs=list(update.params))
            for name, part in nets.items():
                found = [p.grad is not None and bool(p.grad.abs().sum() > 0) for p in part.parameters()]
                assert any(found) == (name in moved[term]), (term, name)
    assert set(phase.updates[0].params) == {p for n in ("encoder", "decoder", "second") for p in nets[n].parameters()}
    assert [update.name for update in network(adversarial_weight=0).phases()[0].updates] == ["generator"]
    assert list(network(adversarial_weight=0).generator_losses(rows)) == ["contextual", "encoder"]


def test_the_weights_that_score_are_the_averages() -> None:
    net, rows = network(3, weight_average=0.5), bent(200, "average", 0.1)
    (phase,) = net.phases()
    taken: list[Tensor] = []
    take = phase.after_batch
    assert take is not None

    def noted(of: Batch) -> None:
        taken.append(net.encoder[0].weight.clone())
        take(of)

    net.phases = lambda: (replace(phase, after_batch=noted),)
    average = net.encoder[0].weight.detach().clone()
    train(net, rows, Settings(batch_size=100, seed=0))
    for t, weight in enumerate(taken):
        decay = min(0.5, (1 + t) / (10 + t))
        average = decay * average + (1 - decay) * weight
    torch.testing.assert_close(net.encoder[0].weight.detach(), average)
    assert len(taken) == 6
    assert not torch.equal(average, taken[-1])
    assert network(weight_average=0).phases()[0].after_batch is None


# --- learning ---------------------------------------------------------------------------------------------------------


def learned(net: GANomalyNetwork, rows: Tensor) -> bool:
    """Return whether all that the terms are for has come about on rows not trained on."""
    with torch.no_grad():
        terms = {**net.generator_losses(batch(rows)), **net.discriminator_losses(batch(rows))}
    rebuilt, same_features = terms["contextual"] < 0.33, terms["adversarial"] < 0.12
    even_game = max(terms["real"], terms["fake"]) < 0.5
    return bool(rebuilt and same_features and even_game and terms["encoder"] < 0.1)


@pytest.mark.parametrize("missing", ["", "adversarial", "contextual", "encoder", "real", "fake"])
def test_every_term_is_needed(missing: str) -> None:
    """A code of two cannot carry the noise, so that D has something to see and G has to weigh."""
    game = {"latent_dim": 2, "contextual_weight": 1, "discriminator_sizes": (8,)}
    net = trained(bent(600, "train", 0.6), missing, **game)
    assert learned(net, bent(300, "test", 0.6)) == (not missing)
    if not missing:
        assert not learned(network(**game), bent(300, "test", 0.6))


def test_columns_that_do_not_go_together_are_found_but_not_without_training_or_the_encoders_term() -> None:
    normal, draw = bent(300, "test", 0.1), generator(0, "shuffle")
    odd = torch.stack([column[torch.randperm(300, generator=draw)] for column in normal.unbind(1)], 1)

    def auroc(net: GANomalyNetwork) -> float:
        with torch.no_grad():
            scores = net.score(torch.cat([normal, odd]))
        return float(roc_auc_score(np.repeat([0, 1], 300), scores))

    train_rows = bent(600, "train", 0.1)
    whole = trained(train_rows)
    assert auroc(whole) > 0.93
    assert auroc(network()) < 0.7
    assert auroc(trained(train_rows, "encoder")) < 0.7
    with torch.no_grad():
        made, far = whole.score(whole.generate(normal)), whole.score(3 * normal * torch.tensor([1.0, -1.0, 1.0, -1.0]))
    assert float(made.max()) < 0.5 * float(far.median()), "what the generator makes is normal, what it cannot is not"


# --- scores and networks ----------------------------------------------------------------------------------------------


def test_scores_by_hand_are_in_evaluation_mode_and_of_a_row_alone() -> None:
    changes = {"hidden_sizes": (4, 8), "batch_norm": True, "discriminator_dropout": 0.5}
    net = network(shape=(1, 8, 8), **changes)
    x = torch.rand(20, 1, 8, 8, generator=generator(0, "images"))
    train(net, x, Settings(batch_size=10, seed=0))
    assert not net.training
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with torch.inference_mode():
        code, again = net.encode(x).double().numpy(), net.second_encoder(net.reconstruct(x)).double().numpy()
        l1, alone = net.score(x), net.score(x[:1])
        net.score_by = "squared"
        squared = net.score(x)
    assert l1.dtype == torch.float64
    np.testing.assert_allclose(l1, [cityblock(a, b) for a, b in zip(code, again, strict=True)], rtol=1e-6)
    np.testing.assert_allclose(squared, ((code - again) ** 2).mean(1), rtol=1e-6)
    np.testing.assert_allclose(alone, l1[:1], rtol=1e-4)
    assert all(torch.equal(tensor, state[name]) for name, tensor in net.state_dict().items())
    assert set(net.score_parts(x)) == {"latent"}


@pytest.mark.parametrize(("preset", "shape"), [("mnist", (1, 32, 32)), ("cifar10", (3, 32, 32))])
def test_the_published_networks_of_images(preset: str, shape: tuple[int, ...]) -> None:
    detector = GANomaly.from_preset(preset)
    detector.planned_epochs_ = 1
    with torch.device("meta"):
        net = detector.build(shape)
    assert isinstance(net, GANomalyNetwork)
    for chain, outputs in ((net.encoder, 100), (net.second_encoder, 100), (net.discriminator, 1)):
        convolutions = [m for m in chain if isinstance(m, nn.Conv2d)]
        assert [m.out_channels for m in convolutions] == [64, 128, 256]
        assert all((m.kernel_size, m.stride, m.padding) == ((4, 4), (2, 2), (1, 1)) for m in convolutions)
        assert [m.num_features for m in chain if isinstance(m, nn.BatchNorm2d)] == [128, 256], "none after the first"
        assert (chain[-1].in_features, chain[-1].out_features) == (256 * 4 * 4, outputs)
    assert [m.out_channels for m in net.decoder if isinstance(m, nn.ConvTranspose2d)] == [128, 64, shape[0]]
    assert [m.num_features for m in net.decoder if isinstance(m, nn.BatchNorm2d)] == [256, 128, 64]
    assert isinstance(net.decoder[-1], nn.Tanh)
    assert (detector.epochs, detector.batch_size, detector.learning_rate, detector.beta1) == (15, 64, 2e-4, 0.5)
    assert (net.adversarial_weight, net.contextual_weight, net.encoder_weight) == (1, 50, 1)
    assert net.averages is None


@pytest.mark.parametrize(("columns", "code"), [(6, 3), (8, 2), (1, 1), (30, 7)])
def test_adbenchs_network_of_tables(columns: int, code: int) -> None:
    detector = GANomaly.from_preset("adbench")
    detector.planned_epochs_ = 1
    net = detector.build((columns,))
    assert isinstance(net, GANomalyNetwork)
    widths = [
        [tuple(reversed(m.weight.shape)) for m in chain if isinstance(m, nn.Linear)]
        for chain in (net.encoder, net.decoder, net.second_encoder, net.discriminator)
    ]
    judge = [(columns, 100), (100, 20), (20, 1)]
    assert widths == [[(columns, code)], [(code, columns)], [(columns, code)], judge]
    assert isinstance(net.encoder[-1], nn.Tanh)
    assert isinstance(net.second_encoder[-1], nn.Tanh)
    for update in net.phases()[0].updates:
        optimizer = update.optimizer(update.params)
        assert isinstance(optimizer, torch.optim.SGD)
        assert (optimizer.defaults["lr"], optimizer.defaults["momentum"]) == (1e-2, 0.7)


def test_first_weights_of_convolutions_are_dcgans() -> None:
    net = network(shape=(3, 32, 32), hidden_sizes=(16, 32))
    for part in (net.encoder, net.decoder, net.second_encoder, net.discriminator):
        weights = torch.cat([m.weight.flatten() for m in part if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)])
        assert float(weights.detach().std()) == pytest.approx(0.02, rel=0.05)
