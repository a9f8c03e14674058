"""AnoGAN: a game that reaches the rows, a search that finds them, and a score by hand."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.nn.utils.parametrize import is_parametrized

from offnormal.batches import Batch
from offnormal.errors import CollapseWarning, InvalidParameter, NotSupported
from offnormal.method import Update
from offnormal.methods.anogan import AnoGAN, AnoGANNetwork
from offnormal.metrics.ranking import auroc
from offnormal.networks.latent_search import search_rates
from offnormal.random import generator, scoped
from offnormal.trainer import Settings, train

TERMS = ("real", "fake", "generator")


def bent(rows: int, seed: int) -> Tensor:
    """Return rows on a bent sheet in four axes: two numbers say all."""
    u, v = (2 * torch.rand(2, rows, generator=generator(seed, "sheet")) - 1).unbind(0)
    return torch.stack([2 * u, u.square() + 0.3 * v, v, u + v], 1)


def shuffled(rows: Tensor) -> Tensor:
    """Return rows of the same columns, each column by itself."""
    order = [torch.randperm(len(rows), generator=generator(j, "odd")) for j in range(rows.shape[1])]
    return torch.stack([column[places] for column, places in zip(rows.T, order, strict=True)], 1)


ROWS, NEW = bent(1000, 0), bent(150, 1)
ODD = shuffled(NEW)
BATCH = Batch(ROWS[:100], torch.arange(100))


def network(epochs: int = 1, shape: tuple[int, ...] = (4,), **changes: Any) -> AnoGANNetwork:
    """Return a small network without a spectral norm, as the paper's; with one it takes more steps to learn a sheet."""
    small = {"hidden_sizes": (32, 32), "latent_dim": 2, "learning_rate": 2e-3, "weight_average": 0.99}
    small |= {"spectral_norm": False}
    detector = AnoGAN(**{**small, **changes})
    detector.planned_epochs_ = epochs
    with scoped(0, "build"):
        built = detector.build(shape)
    assert isinstance(built, AnoGANNetwork)
    return built.eval()


def without(update: Update, term: str) -> Update:
    """Return the update with one of its terms left out."""
    return replace(update, losses=lambda batch: {k: v for k, v in update.losses(batch).items() if k != term})


def trained(missing: str = "", **changes: Any) -> AnoGANNetwork:
    net = network(40, **changes)
    (phase,) = net.phases()
    kept = [without(u, missing) for u in phase.updates if set(u.losses(BATCH)) != {missing}]
    net.phases = lambda: (replace(phase, updates=tuple(kept)),)
    train(net, ROWS, Settings(batch_size=100, seed=0))
    return net


def scored(net: AnoGANNetwork, rows: Tensor) -> Tensor:
    with torch.inference_mode():
        return net.score(rows)


def told_apart(net: AnoGANNetwork) -> float:
    scores = scored(net, torch.cat([NEW, ODD]))
    return auroc(np.repeat([0, 1], [len(NEW), len(ODD)]), scores.numpy())


@pytest.fixture(scope="module")
def whole() -> AnoGANNetwork:
    return trained()


# --- training ---------------------------------------------------------------------------------------------------------


def test_rows_of_another_sheet_score_higher(whole: AnoGANNetwork) -> None:
    assert told_apart(whole) > 0.9


@pytest.mark.parametrize("missing", [*TERMS, "all"])
def test_without_training_or_any_one_term_they_do_not(missing: str) -> None:
    assert told_apart(network() if missing == "all" else trained(missing)) < 0.7


def test_the_discriminator_sees_rows_and_generated_rows_and_each_update_moves_its_own() -> None:
    net = network()
    (phase,) = net.phases()
    assert [update.name for update in phase.updates] == ["discriminator", "generator"]
    own = (set(net.discriminator.parameters()), set(net.generator.parameters()))
    seen: list[Tensor] = []
    net.discriminator.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    for update, parameters in zip(phase.updates, own, strict=True):
        assert set(update.params) == parameters
        seen.clear()
        with scoped(1, "codes"):
            terms = update.losses(BATCH)
        with scoped(1, "codes"):
            made = net.generator(torch.randn(100, 2))
        fed = [BATCH.x, made] if update.name == "discriminator" else [made]
        assert all(torch.equal(a, b) for a, b in zip(seen, fed, strict=True))
        for name, target in (("real", 1.0), ("fake", 0.0)) if update.name == "discriminator" else (("generator", 1.0),):
            logits = net.discriminator(BATCH.x if name == "real" else made)
            wanted = binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))
            torch.testing.assert_close(terms[name], wanted)
            net.zero_grad()
            terms[name].backward(inputs=list(update.params), retain_graph=True)
            assert all(float(p.grad.abs().sum()) > 0 for p in update.params if p.grad is not None), name
            assert all(p.grad is not None for p in update.params), name
            assert all(p.grad is None for p in net.parameters() if p not in parameters), name


def test_the_averages_of_the_weights_score() -> None:
    net = network(2)
    steps: list[dict[str, Tensor]] = []
    (phase,) = net.phases()

    def noted(batch: Batch) -> None:
        assert phase.after_batch is not None
        phase.after_batch(batch)
        steps.append({name: weight.clone() for name, weight in net.networks.named_parameters()})

    average = {name: weight.detach().clone() for name, weight in net.networks.named_parameters()}
    net.phases = lambda: (replace(phase, after_batch=noted),)
    train(net, ROWS[:300], Settings(batch_size=100, seed=0))
    for number, weights in enumerate(steps):
        keep = min(0.99, (1 + number) / (10 + number))
        average = {name: keep * average[name] + (1 - keep) * weights[name] for name in average}
    assert len(steps) == 6
    for name, weight in net.networks.named_parameters():
        torch.testing.assert_close(weight.detach(), average[name], rtol=1e-4, atol=1e-5)


# --- score ------------------------------------------------------------------------------------------------------------


def test_a_generated_row_scores_near_zero_and_one_out_of_reach_does_not(whole: AnoGANNetwork) -> None:
    with torch.no_grad():
        made = whole.generate(ROWS[:100])
    away = made + torch.tensor([0.0, 3.0, 0.0, 0.0])
    net = network()
    net.load_state_dict(whole.state_dict())
    net.rates = search_rates(400, 0.2, None)
    near, far = scored(net, made), scored(net, away)
    assert float(near.quantile(0.9)) < 0.01 * float(made.abs().sum(1).mean())
    assert float(far.min()) > 0.5
    net.rates = ()
    assert float(scored(net, made).median()) > 0.5, "it is the search that finds them"


@pytest.mark.parametrize("discrimination", ["features", "cross_entropy"])
@pytest.mark.parametrize("weight", [0.1, 0.9])
def test_the_score_is_that_of_the_code_found(whole: AnoGANNetwork, discrimination: str, weight: float) -> None:
    net = network(discrimination=discrimination, discrimination_weight=weight)
    net.load_state_dict(whole.state_dict())
    with torch.no_grad():
        code, rows = net.encode(NEW), NEW
        made = net.generator(code)
        of_rows, of_made = (net.discriminator[:-1](x) for x in (rows, made))
        logit = net.discriminator(made)[:, 0]
    residual = (rows - made).abs().sum(1)
    apart = (of_rows - of_made).abs().sum(1)
    if discrimination == "cross_entropy":
        apart = binary_cross_entropy_with_logits(logit, torch.ones_like(logit), reduction="none")
    score = scored(net, rows)
    torch.testing.assert_close(score, ((1 - weight) * residual + weight * apart).double(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(net.reconstruct(rows), made, rtol=1e-4, atol=1e-5)
    net.rates = ()
    assert bool((scored(net, rows) >= score - 1e-9).float().mean() > 0.9), "the code found is better than the start"


def test_the_score_uses_no_batch_no_chance_and_no_dropout(whole: AnoGANNetwork) -> None:
    net = network(batch_norm=True, discriminator_dropout=0.5)
    train(net, ROWS, Settings(batch_size=100, seed=0))
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    chance = torch.random.get_rng_state()
    together = scored(net, NEW)
    alone = torch.cat([scored(net, row[None]) for row in NEW[:20]])
    torch.testing.assert_close(together[:20], alone, rtol=1e-9, atol=1e-9)
    filled = torch.cat([NEW[:5], NEW[4:5].expand(145, 4)])
    assert torch.equal(scored(net, filled)[:5], together[:5])
    assert torch.equal(chance, torch.random.get_rng_state())
    assert not net.training
    assert all(torch.equal(state[name], tensor) for name, tensor in net.state_dict().items())


def test_more_starts_never_score_higher(whole: AnoGANNetwork) -> None:
    one, three = network(restarts=1), network(restarts=3)
    for net in (one, three):
        net.generator.load_state_dict(whole.generator.state_dict())
        net.discriminator.load_state_dict(whole.discriminator.state_dict())
    one.starts.copy_(three.starts[:1])
    few, many = scored(one, ODD), scored(three, ODD)
    assert bool((many <= few + 1e-12).all())
    assert bool((many < few - 1e-3).any())


# --- collapse ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("spectral_norm", "collapsed"), [(False, True), (None, False)])
def test_the_spectral_norm_keeps_kinds_beside_a_dominant_one(spectral_norm: bool | None, collapsed: bool) -> None:
    """Seven rows in ten are of one kind, as in KDDCUP99; the others are of seven more."""
    own = generator(0, "kinds")
    kind = torch.multinomial(torch.tensor([0.7, *[0.3 / 7] * 7]), 1000, replacement=True, generator=own)
    rows = 2 * torch.randn(8, 30, generator=own)[kind] + 0.05 * torch.randn(1000, 30, generator=own)
    detector = AnoGAN(
        epochs=80, batch_size=64, search_steps=1, restarts=1, calibration="none", spectral_norm=spectral_norm
    )
    with pytest.warns(CollapseWarning) if collapsed else nullcontext():
        detector.fit(rows.numpy())
    assert detector.training_["collapsed"] is collapsed


def test_by_default_discriminators_of_tables_are_normed_and_convolutions_are_not() -> None:
    def normed(shape: tuple[int, ...], **changes: Any) -> bool:
        return any(map(is_parametrized, network(shape=shape, **changes).discriminator.modules()))

    assert normed((4,), spectral_norm=None)
    assert not normed((1, 8, 8), hidden_sizes=(4,), spectral_norm=None)
    assert normed((1, 8, 8), hidden_sizes=(4,), spectral_norm=True)


# --- reasons, presets, images -----------------------------------------------------------------------------------------


def test_columns_share_the_residual_and_what_their_own_value_does_to_the_features(whole: AnoGANNetwork) -> None:
    groups = torch.tensor([0, 1, 1, 2])
    with torch.inference_mode():
        parts = whole.contributions(ODD[:30], groups, 3)
    rows, made = ODD[:30].double(), whole.reconstruct(ODD[:30]).double()
    each = 0.9 * (rows - made).abs()
    wanted = torch.stack([each[:, 0], each[:, 1] + each[:, 2], each[:, 3]], 1)
    torch.testing.assert_close(parts["residual"], wanted, rtol=1e-4, atol=1e-5)

    def apart(x: Tensor) -> Tensor:
        with torch.no_grad():
            features = [whole.discriminator[:-1](given.float()) for given in (x, made)]
        return 0.1 * (features[0] - features[1]).abs().sum(1).double()

    for group in range(3):
        changed = rows.clone()
        changed[:, groups == group] = made[:, groups == group]
        fall = apart(rows) - apart(changed)
        torch.testing.assert_close(parts["discrimination"][:, group], fall, rtol=1e-3, atol=1e-4)
    with pytest.raises(NotSupported, match="tables"):
        network(shape=(1, 8, 8), hidden_sizes=(4,)).contributions(torch.zeros(2, 1, 8, 8), groups, 3)


def test_presets_are_the_networks_of_the_codes() -> None:
    def built(name: str, shape: tuple[int, ...]) -> AnoGANNetwork:
        detector = AnoGAN.from_preset(name)
        detector.planned_epochs_ = 1
        with torch.device("meta"):
            net = detector.build(shape)
        assert isinstance(net, AnoGANNetwork)
        return net

    def widths(chain: nn.Sequential) -> list[int]:
        layers = [m for m in chain.modules() if isinstance(m, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d))]
        return [layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels for layer in layers]

    for name, shape, make, judge in (
        ("egbad_kddcup", (121,), [64, 128, 121], [256, 128, 128, 1]),
        ("alad_kddcup", (121,), [64, 128, 121], [256, 128, 128, 1]),
        ("alad_arrhythmia", (274,), [128, 256, 274], [256, 128, 1]),
        ("egbad_mnist", (1, 28, 28), [1024, 128 * 7 * 7, 64, 1], [64, 64, 1024, 1]),
        ("alad_cifar10", (3, 32, 32), [512 * 4 * 4, 256, 128, 3], [128, 256, 512, 1]),
        ("alad_svhn", (3, 32, 32), [512 * 4 * 4, 256, 128, 3], [128, 256, 512, 1]),
        ("oct", (1, 64, 64), [512 * 4 * 4, 256, 128, 64, 1], [64, 128, 256, 512, 1]),
    ):
        net = built(name, shape)
        assert (widths(net.generator), widths(net.discriminator)) == (make, judge), name
    net, detector = built("egbad_mnist", (1, 28, 28)), AnoGAN.from_preset("egbad_mnist")
    kinds = [type(module) for module in net.discriminator]
    assert kinds.count(nn.BatchNorm2d) == kinds.count(nn.BatchNorm1d) == 1, "none after the first convolution"
    assert isinstance(net.generator[-1], nn.Tanh)
    assert {m.negative_slope for m in net.discriminator if isinstance(m, nn.LeakyReLU)} == {0.1}
    assert net.rates[199:201] + net.rates[299:301] == pytest.approx((0.01, 0.001, 0.001, 0.0005))
    assert (detector.learning_rate, detector.batch_size, net.code_dim) == (1e-5, 100, 200)
    dense = [name for name, preset in AnoGAN.presets.items() if "discriminator_dropout" in preset]
    assert all(AnoGAN.presets[name]["spectral_norm"] is False for name in dense), "not in the codes"
    assert {AnoGAN.presets[name]["discrimination_weight"] for name in AnoGAN.presets if "alad" in name} == {0.9}
    with pytest.raises(InvalidParameter, match="search_drops"):
        network(search_drops=(5, 2))


@pytest.mark.parametrize("shape", [(8, 8), (1, 4, 8, 8)])
def test_images_and_clips_are_searched_and_mapped(shape: tuple[int, ...]) -> None:
    rows = torch.rand(30, *shape, generator=generator(0, "images")).numpy()
    detector = AnoGAN(epochs=2, latent_dim=3, search_steps=5, calibration="none", hidden_sizes=(4,)).fit(rows)
    scores, maps = detector.anomaly_score(rows), detector.residual_maps(rows)
    assert np.isfinite(scores).all()
    assert (maps >= 0).all()
    assert (0.9 * maps.reshape(30, -1).sum(1) < scores).all()
    assert detector.reconstruct(rows).shape == rows.shape
    assert detector.transform(rows).shape == (30, 3)
    order = np.random.default_rng(0).permutation(30)
    np.testing.assert_allclose(detector.anomaly_score(rows[order]), scores[order], rtol=1e-4, atol=1e-5)
