"""f-AnoGAN: the game on a small table, the encoder against least squares, and players that stand still."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from offnormal.batches import Batch
from offnormal.errors import InvalidParameter
from offnormal.method import Update
from offnormal.methods.f_anogan import FAnoGAN, FAnoGANNetwork, TrueRMSprop
from offnormal.random import generator, scoped
from offnormal.trainer import Settings, train


def bent(rows: int = 1000) -> Tensor:
    """Return rows on a bent sheet in four axes."""
    u, v = (2 * torch.rand(2, rows, generator=generator(0, "sheet")) - 1).unbind(0)
    return torch.stack([2 * u, u.square() + 0.3 * v, v, u + v], 1)


ROWS = bent()
ODD = torch.stack([ROWS[:, j].roll(j) for j in range(4)], 1)
"""The same values, each column from another row."""
BATCH = Batch(ROWS[:100], torch.arange(100))


def network(epochs: int = 1, shape: tuple[int, ...] = (4,), **changes: Any) -> FAnoGANNetwork:
    detector = FAnoGAN(**{
        "hidden_sizes": (64,), "discriminator_sizes": (64, 64), "latent_dim": 4, "learning_rate": 2e-3,
        "encoder_learning_rate": 5e-3, "critic_steps": 3, "weight_average": 0.9, **changes,
    })  # fmt: skip
    detector.planned_epochs_ = epochs
    with scoped(0, "build"):
        built = detector.build(shape)
    assert isinstance(built, FAnoGANNetwork)
    return built


def images(rows: int, shape: tuple[int, ...] = (1, 8, 8)) -> Tensor:
    return 2 * torch.rand(rows, *shape, generator=generator(0, "images")) - 1


def small_images(**changes: Any) -> FAnoGANNetwork:
    return network(2, (1, 8, 8), **{"hidden_sizes": (4, 6), "discriminator_sizes": (4, 6), **changes})


def without(update: Update, term: str) -> Update:
    """Return the update with one of its terms left out."""
    return replace(update, losses=lambda batch: {k: v for k, v in update.losses(batch).items() if k != term})


@cache
def played(missing: str = "") -> FAnoGANNetwork:
    """Return the networks after a game and an encoder's training, one term of the game left out."""
    net = network(12, gan_epochs=30)
    game, encoder = net.phases()
    kept = [without(u, missing) for u in game.updates if set(u.losses(BATCH)) != {missing}]
    net.phases = lambda: (replace(game, updates=tuple(kept)), encoder)  # type: ignore[method-assign]
    train(net, ROWS, Settings(batch_size=100, seed=0))
    return net


def found(net: FAnoGANNetwork) -> float:
    """Return the AUROC of rows with shuffled columns."""
    with torch.no_grad():
        scores = torch.cat([net.score(ROWS), net.score(ODD)])
    return float(roc_auc_score([0] * len(ROWS) + [1] * len(ODD), scores))


def slope(net: FAnoGANNetwork) -> float:
    """Return the mean norm of the critic's gradient at the rows."""
    rows = ROWS.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(net.critic(rows).sum(), rows)
    return float(gradient.norm(dim=1).mean())


# --- learning ---------------------------------------------------------------------------------------------------------


def test_rows_with_shuffled_columns_are_found() -> None:
    net = played()
    assert found(net) > 0.75
    assert slope(net) == pytest.approx(1, abs=0.3)


@pytest.mark.parametrize("missing", ["fake", "real", "generator", "penalty", "all"])
def test_without_training_or_any_one_term_of_the_game_they_are_not(missing: str) -> None:
    net = network() if missing == "all" else played(missing)
    if missing == "penalty":
        assert slope(net) > 2, "the slope runs away"
    else:
        assert found(net) < 0.68


def test_what_the_generator_makes_scores_near_zero_and_what_it_cannot_make_does_not() -> None:
    net = played()
    with torch.no_grad(), scoped(0, "made"):
        made = net.decoder(net.codes(200).clamp(-0.9, 0.9))
        assert float(net.score(made).median()) < 0.05
        assert float(net.score(made + torch.tensor([0.0, -4.0, 0.0, 4.0])).min()) > 2


@pytest.mark.parametrize("term", ["", "reconstruction", "features"])
def test_the_encoder_finds_the_least_weighted_squares(term: str) -> None:
    """With G(e) = g e, f linear and E linear, E(x) = gᵀM x / gᵀM g, M = I/n + κ AᵀA/n_f; without a term, not."""
    net = network(40, hidden_sizes=(), latent_dim=1, encoder_end="linear", gan_epochs=0, feature_weight=0.5)
    net.critic = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 1))
    net.game_averages = None
    with torch.no_grad(), scoped(0, "players"):
        for weight in (*net.critic.parameters(), *net.decoder.parameters()):
            weight.normal_(std=0.6)
        net.decoder[0].bias.zero_()
    game, encoder = net.phases()
    net.phases = lambda: (game, replace(encoder, updates=(without(encoder.updates[0], term),)))  # type: ignore[method-assign]
    train(net, ROWS, Settings(batch_size=50, seed=0))
    g, a = net.decoder[0].weight.detach()[:, 0], net.critic[0].weight.detach()
    m = torch.eye(4) / 4 + 0.5 * a.T @ a / 3
    with torch.no_grad():
        off = float((net.encode(ROWS)[:, 0] - ROWS @ m @ g / (g @ m @ g)).square().mean().sqrt())
    assert off < 0.05 if term == "" else off > 0.1


# --- updates ----------------------------------------------------------------------------------------------------------


def test_each_update_moves_its_own_parameters_by_each_of_its_terms() -> None:
    net = network()
    own: dict[str, nn.Module] = {"critic": net.critic, "generator": net.decoder, "encoder": net.encoder}
    terms = []
    updates = [update for phase in net.phases() for update in phase.updates]
    assert [(update.name, update.every) for update in updates] == [("critic", 1), ("generator", 3), ("encoder", 1)]
    for update in updates:
        assert set(update.params) == set(own[update.name].parameters())
        for name in update.losses(BATCH):
            net.zero_grad()
            update.losses(BATCH)[name].backward(inputs=list(update.params))  # type: ignore[no-untyped-call]
            felt = {p for p in net.parameters() if p.grad is not None and bool(p.grad.abs().sum() > 0)}
            assert felt, name
            assert felt <= set(update.params)
            terms.append(name)
    assert terms == ["fake", "real", "penalty", "generator", "reconstruction", "features"]


def test_the_terms_are_those_of_the_equations_on_the_pairs_they_name() -> None:
    net = network(feature_weight=0.7, penalty_weight=3.0)
    seen: list[Tensor] = []
    hook = net.critic.register_forward_pre_hook(lambda _, rows: seen.append(rows[0].detach()))
    critic = net.critic_losses(BATCH)
    hook.remove()
    between, made, real = seen
    assert torch.equal(real, BATCH.x)
    place = ((between - made) / (real - made)).detach()
    torch.testing.assert_close(place, place.mean(1, keepdim=True).expand_as(place), rtol=1e-3, atol=1e-3)
    assert bool(((place > -1e-3) & (place < 1.001)).all()), "on the line between a made row and a real one"
    rows, step = between.double(), 1e-6
    exact = net.critic.double()
    with torch.no_grad():
        slopes = [(exact(rows + step * e) - exact(rows - step * e)) / (2 * step) for e in torch.eye(4).double()]
        norm = torch.cat(slopes, 1).norm(dim=1)
        assert float(critic["penalty"]) == pytest.approx(3.0 * float((norm - 1).square().mean()), rel=1e-4)
        assert float(critic["fake"]) == pytest.approx(float(exact(made.double()).mean()), rel=1e-4)
        assert float(critic["real"]) == pytest.approx(-float(exact(real.double()).mean()), rel=1e-4)
        net.critic.float()
        rebuilt = net.decoder(net.encoder(BATCH.x))
        features = [net.critic[:-1](rows).numpy() for rows in (BATCH.x, rebuilt)]
        image = ((BATCH.x - rebuilt) ** 2).numpy().mean(1)
        feature = 0.7 * ((features[0] - features[1]) ** 2).mean(1)
        terms = net.encoder_losses(BATCH)
        assert float(terms["reconstruction"]) == pytest.approx(image.mean(), rel=1e-5)
        assert float(terms["features"]) == pytest.approx(feature.mean(), rel=1e-5)
        np.testing.assert_allclose(net.score(BATCH.x).numpy(), image + feature, rtol=1e-5)


def test_the_trainings_of_the_encoder_name_what_they_see() -> None:
    assert list(network(encoder_training="izi").encoder_losses(BATCH)) == ["reconstruction"]
    net = small_images(encoder_training="ziz")
    seen: dict[str, Tensor] = {}
    net.decoder.register_forward_hook(lambda _, codes, made: seen.update(z=codes[0], made=made))
    net.encoder.register_forward_hook(lambda _, rows, codes: seen.update(rows=rows[0], code=codes))
    net.train()
    (term,) = net.encoder_losses(Batch(images(20), torch.arange(20))).values()
    assert torch.equal(seen["rows"], seen["made"])
    torch.testing.assert_close(term, (seen["z"] - seen["code"]).square().mean())
    spread = torch.stack([seen["z"].std(), seen["z"].mean()])
    torch.testing.assert_close(spread, torch.tensor([1.0, 0.0]), rtol=0, atol=0.3)


def test_while_the_encoder_learns_the_players_stand_still_and_their_norms_are_of_made_images() -> None:
    net = small_images(gan_epochs=4)
    states: list[dict[str, Tensor]] = []

    def state() -> dict[str, Tensor]:
        return {k: v.clone() for k, v in net.state_dict().items() if k.split(".")[0] in ("decoder", "critic")}

    game, encoder = net.phases()
    begin = encoder.begin
    assert begin is not None

    def begun(batches: Any) -> None:
        begin(batches)
        states.append(state())

    net.phases = lambda: (game, replace(encoder, begin=begun))  # type: ignore[method-assign]
    train(net, images(80), Settings(batch_size=20, seed=0))
    after = state()
    for name, value in states[0].items():
        assert torch.equal(value, after[name]), name
    norms = [m for m in net.decoder if isinstance(m, nn.BatchNorm2d)]
    seen: list[Tensor] = []
    norms[0].register_forward_pre_hook(lambda _, maps: seen.append(maps[0]))
    with torch.no_grad(), scoped(5, "codes"):
        net.decoder(net.codes(4000))
    mean, variance = seen[0].mean((0, 2, 3)), seen[0].var((0, 2, 3))
    assert norms[0].running_mean is not None
    assert norms[0].running_var is not None
    torch.testing.assert_close(norms[0].running_mean, mean, rtol=0.1, atol=0.1 * float(variance.max().sqrt()))
    torch.testing.assert_close(norms[0].running_var, variance, rtol=0.2, atol=0)


def test_averages_become_the_weights() -> None:
    net = network(2, gan_epochs=2)
    train(net, ROWS[:200], Settings(batch_size=50, seed=0))
    assert net.game_averages is not None
    for name, weight in net.players().named_parameters():
        assert torch.equal(weight, net.game_averages.get_buffer(name.replace(".", "/"))), name
    assert network(weight_average=0.0).game_averages is None


def test_rmsprop_is_that_of_its_equations() -> None:
    weight = nn.Parameter(torch.tensor([1.0, -2.0, 0.5]))
    step = TrueRMSprop([weight], lr=0.1)
    w, v = np.array([1.0, -2.0, 0.5]), np.ones(3)
    for _ in range(30):
        weight.grad = 2 * weight.detach()
        step.step()
        v = 0.9 * v + 0.1 * (2 * w) ** 2
        w = w - 0.1 * 2 * w / np.sqrt(v + 1e-10)
    np.testing.assert_allclose(weight.detach().numpy(), w, rtol=1e-4, atol=1e-6)


# --- the estimator ----------------------------------------------------------------------------------------------------


def test_the_preset_is_the_papers() -> None:
    detector = FAnoGAN.from_preset("paper")
    assert detector._plan(6400) == (500, 64), "50,000 steps"
    detector.planned_epochs_ = 500
    with torch.device("meta"):
        net = detector.build((1, 64, 64))
    assert isinstance(net, FAnoGANNetwork)
    assert (net.game_epochs, net.epochs, net.critic_steps, net.penalty_weight, net.feature_weight) == (
        500,
        500,
        5,
        10,
        1,
    )
    assert net.features(torch.empty(2, 1, 64, 64, device="meta")).shape == (2, 8192)
    assert net.encode(torch.empty(2, 1, 64, 64, device="meta")).shape == (2, 128)
    assert isinstance(net.encoder[-1], nn.Tanh)
    assert isinstance(net.decoder[-1], nn.Tanh)
    kinds = {nn.BatchNorm2d: (net.encoder, net.decoder), nn.GroupNorm: (net.critic,)}
    for kind, networks in kinds.items():
        other = nn.GroupNorm if kind is nn.BatchNorm2d else nn.BatchNorm2d
        for chain in networks:
            found_norms = [m for m in chain.modules() if isinstance(m, (nn.BatchNorm2d, nn.GroupNorm))]
            assert found_norms
            assert not any(isinstance(m, other) for m in found_norms)
    game, encoder = net.phases()
    for update in game.updates:
        adam = update.optimizer((nn.Parameter(torch.zeros(1)),))
        assert isinstance(adam, torch.optim.Adam)
        assert (adam.param_groups[0]["lr"], adam.param_groups[0]["betas"]) == (1e-4, (0.0, 0.9))
    rmsprop = encoder.updates[0].optimizer((nn.Parameter(torch.zeros(1)),))
    assert isinstance(rmsprop, TrueRMSprop)
    assert {k: rmsprop.param_groups[0][k] for k in ("lr", "decay", "eps")} == {"lr": 5e-5, "decay": 0.9, "eps": 1e-10}
    assert game.after_batch is None
    assert encoder.end is None


@pytest.mark.parametrize("blocks", ["plain", "residual"])
def test_images_are_scored_and_mapped(blocks: str) -> None:
    pixels = ((images(40) + 1) / 2).numpy()
    make = partial(FAnoGAN, epochs=1, latent_dim=3, calibration="none", blocks=blocks, spectral_norm=blocks == "plain")
    detector = make(hidden_sizes=(4, 6), early_stopping=True).fit(pixels)
    scores = detector.anomaly_score(pixels)
    assert np.isfinite(scores).all()
    np.testing.assert_allclose(detector.anomaly_score(pixels[3:4]), scores[3:4], rtol=1e-5)
    assert detector.residual_maps(pixels).shape == (40, 8, 8)
    assert detector.transform(pixels).shape == (40, 3)
    with pytest.raises(InvalidParameter, match="for the columns of a table use 'plain'"):
        FAnoGAN(blocks="residual").fit(ROWS.numpy())


def test_early_stopping_looks_at_the_penalty_of_held_out_rows() -> None:
    detector = FAnoGAN(epochs=2, early_stopping=True, calibration="none").fit(ROWS[:300].numpy())
    held = [record["held_out"] for record in detector.training_["history"] if record["held_out"]]
    assert any("critic/penalty" in terms for terms in held)
