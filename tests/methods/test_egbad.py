"""EGBAD: which pairs the discriminator sees, what each update may move, the two scores by hand, and learning."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from offnormal.batches import Batch
from offnormal.method import Update
from offnormal.methods.egbad import EGBAD, EGBADNetwork
from offnormal.metrics.ranking import auroc
from offnormal.random import generator, scoped
from offnormal.trainer import Settings, train


def sheet(rows: int, seed: int) -> Tensor:
    """Return rows on a bent sheet in four axes, each of spread 1."""
    u, v = (2 * torch.rand(2, rows, generator=generator(seed, "sheet")) - 1).unbind(0)
    x = torch.stack([u, 2 * u.square() - 0.7, u + v / 2, v], 1)
    return x / x.std(0)


ROWS, NORMAL = sheet(1000, 0), sheet(400, 1)
ODD = torch.stack([NORMAL[torch.randperm(400, generator=generator(j, "mixed")), j] for j in range(4)], 1)
"""Each column as it was, the columns no longer of one row: no column alone tells."""
BATCH = Batch(ROWS[:100], torch.arange(100))
TERMS = ("real", "fake", "generator", "encoder")


def network(epochs: int = 1, shape: tuple[int, ...] = (4,), **changes: Any) -> EGBADNetwork:
    small = {"hidden_sizes": (32,), "latent_dim": 2, "discriminator_sizes": (64,), "discriminator_code_sizes": (16,)}
    detector = EGBAD(**{**small, "learning_rate": 5e-3, "discriminator_joint_sizes": (64,), **changes})
    detector.planned_epochs_ = epochs
    with scoped(0, "build"):
        built = detector.build(shape)
    assert isinstance(built, EGBADNetwork)
    return built


def without(update: Update, term: str) -> Update:
    """Return the update with one of its terms left out."""
    return replace(update, losses=lambda batch: {k: v for k, v in update.losses(batch).items() if k != term})


def trained(epochs: int, missing: str = "") -> EGBADNetwork:
    net = network(epochs, weight_average=0.99)
    (phase,) = net.phases()
    net.phases = lambda: (replace(phase, updates=tuple(without(u, missing) for u in phase.updates)),)
    train(net, ROWS, Settings(batch_size=100, seed=0))
    return net


def separation(net: EGBADNetwork) -> float:
    """Return the AUROC of rows whose columns were mixed."""
    truth = np.repeat([0, 1], 400)
    with torch.no_grad():
        return auroc(truth, net.score(torch.cat([NORMAL, ODD])).numpy())


@pytest.fixture(scope="module")
def whole() -> EGBADNetwork:
    return trained(60)


def test_the_two_networks_come_to_invert_each_other(whole: EGBADNetwork) -> None:
    assert separation(whole) > 0.88
    with torch.no_grad():
        left = (NORMAL - whole.reconstruct(NORMAL)).abs().sum() / NORMAL.abs().sum()
        made = whole.decoder(torch.randn(400, 2, generator=generator(0, "codes")))
        on_the_manifold, off_it = whole.score(made), whole.score(4 * ODD)
    assert float(left) < 0.3
    assert float(on_the_manifold.median()) < 0.25 * float(off_it.median())


@pytest.mark.parametrize("missing", ["all", *TERMS])
def test_without_training_or_any_one_term_they_do_not(missing: str) -> None:
    assert separation(network() if missing == "all" else trained(60, missing)) < 0.8


class Recorder:
    """Notes the pairs that a discriminator is shown."""

    def __init__(self, judge: nn.Module) -> None:
        self.pairs: list[tuple[Tensor, Tensor]] = []
        self.plain = judge.features_and_logit
        judge.features_and_logit = self.note

    def note(self, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        self.pairs.append((x.detach(), z.detach()))
        found: tuple[Tensor, Tensor] = self.plain(x, z)
        return found


def test_the_discriminator_sees_a_row_with_its_code_and_a_code_with_its_row() -> None:
    net = network()
    recorder = Recorder(net.discriminator)
    updates = {update.name: update for update in net.phases()[0].updates}
    assert [update.fresh_batch for update in updates.values()] == [False, True]
    found = {name: update.losses(BATCH) for name, update in updates.items()}
    (real, fake), (generated, encoded) = recorder.pairs[:2], recorder.pairs[2:]
    codes = net.encode(BATCH.x).detach()
    for pair in (real, encoded):
        assert torch.equal(pair[0], BATCH.x)
        torch.testing.assert_close(pair[1], codes)
    for pair in (fake, generated):
        torch.testing.assert_close(pair[0], net.decoder(pair[1]).detach())
        assert abs(float(pair[1].mean())) < 0.3
        assert abs(float(pair[1].std()) - 1) < 0.2
    assert not torch.equal(fake[1], generated[1]), "the second update draws its own"
    for (update, term), (x, z), label in zip(
        (("discriminator", "real"), ("discriminator", "fake"), ("inverses", "generator"), ("inverses", "encoder")),
        (real, fake, generated, encoded),
        (1.0, 0.0, 1.0, 0.0),
        strict=True,
    ):
        logit = net.discriminator(x, z)
        expected = binary_cross_entropy_with_logits(logit, torch.full_like(logit, label))
        torch.testing.assert_close(found[update][term], expected)


def test_each_update_moves_its_own_parameters_by_each_of_its_terms() -> None:
    net = network()
    (phase,) = net.phases()
    judge, encoder, maker = (set(part.parameters()) for part in (net.discriminator, net.encoder, net.decoder))
    moved = {"real": judge, "fake": judge, "generator": maker, "encoder": encoder}
    assert [set(update.params) for update in phase.updates] == [judge, encoder | maker]
    for update in phase.updates:
        for name in update.losses(BATCH):
            net.zero_grad()
            update.losses(BATCH)[name].backward(inputs=list(update.params))
            felt = {p for p in net.parameters() if p.grad is not None and float(p.grad.abs().sum()) > 0}
            assert felt == moved[name], name


@pytest.mark.parametrize("weight", [0.1, 0.6])
def test_scores_are_the_distance_and_what_the_discriminator_says_of_pairs_with_one_code(weight: float) -> None:
    net = network(discriminator_weight=weight).eval()
    x = NORMAL[:50]
    with torch.no_grad():
        z = net.encoder(x)
        rebuilt = net.decoder(z)
        l1 = np.abs((x - rebuilt).double().numpy()).sum(1)
        (own, real), (seen, fake) = (net.discriminator.features_and_logit(rows, z) for rows in (x, rebuilt))
        apart = np.abs((own - seen).double().numpy()).sum(1)
        np.testing.assert_allclose(net.score(x), (1 - weight) * l1 + weight * apart, rtol=1e-5)
        net.score_by = "cross_entropy"
        for pair, logit in (("rebuilt", fake), ("real", real)):
            net.cross_entropy_of = pair
            entropy = np.log1p(np.exp(-logit.double().numpy()))
            np.testing.assert_allclose(net.score(x), (1 - weight) * l1 + weight * entropy, rtol=1e-5)


def test_a_row_the_generator_makes_scores_nothing_where_the_encoder_inverts_it() -> None:
    net = network(hidden_sizes=(), latent_dim=2).eval()
    with torch.no_grad():
        generator_weight = net.decoder[0].weight
        net.encoder[0].weight.copy_(torch.linalg.pinv(generator_weight))
        made = net.decoder(torch.randn(20, 2))
        away = made + torch.linalg.svd(generator_weight).U[:, 2]  # at right angles to all that it makes
        assert float(net.score(made).max()) < 1e-4
        assert float(net.score(away).min()) > 0.9


def test_scoring_drops_nothing_and_averages_over_no_batch() -> None:
    images = torch.rand(24, 1, 8, 8, generator=generator(0, "images"))
    changes = {"hidden_sizes": (4, 6), "discriminator_sizes": (4, 6), "discriminator_dropout": 0.5}
    net = network(shape=(1, 8, 8), spectral_norm=True, **changes)
    train(net, images, Settings(batch_size=8, seed=0))
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with torch.no_grad():
        together, alone = net.score(images), torch.cat([net.score(images[i : i + 1]) for i in range(24)])
        half = net.score_map(images).double().sum((1, 2)) * 0.9
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(net.score_parts(images)["reconstruction"].detach(), half, rtol=1e-5, atol=1e-5)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_the_averages_are_the_weights_that_score() -> None:
    net, last = network(2, weight_average=0.9), network(2, weight_average=0)
    taken: list[Tensor] = []
    (phase,) = last.phases()
    last.phases = lambda: (replace(phase, after_batch=lambda _: taken.append(last.decoder[0].weight.clone())),)
    for each in (net, last):
        train(each, ROWS, Settings(batch_size=100, seed=0))
    expected = network().decoder[0].weight.detach().clone()
    for step, weight in enumerate(taken):
        keep = min(0.9, (1 + step) / (10 + step))
        expected = keep * expected + (1 - keep) * weight
    torch.testing.assert_close(net.decoder[0].weight.detach(), expected.detach())
    assert torch.equal(last.decoder[0].weight, taken[-1])


def linear_sizes(*chains: nn.Module) -> list[list[tuple[int, int]]]:
    return [[(m.in_features, m.out_features) for m in chain.modules() if isinstance(m, nn.Linear)] for chain in chains]


def test_the_presets_are_the_published_networks() -> None:
    for name, shape in (("kddcup", (121,)), ("kddcup_raw", (121,)), ("mnist", (1, 28, 28))):
        detector = EGBAD.from_preset(name)
        detector.planned_epochs_ = 1
        with torch.device("meta"):
            net = detector.build(shape)
        assert isinstance(net, EGBADNetwork)
        judge = net.discriminator
        assert {m.negative_slope for m in net.modules() if isinstance(m, nn.LeakyReLU)} == {0.1}
        assert (detector.learning_rate, detector.beta1, detector.discriminator_weight) == (1e-5, 0.5, 0.1)
        drops = [m.p for m in judge.modules() if isinstance(m, nn.Dropout)]
        if name == "mnist":
            convolutions = [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
            found = [(m.in_channels, m.out_channels, m.kernel_size[0], m.stride[0]) for m in convolutions]
            encoder, maker = [(1, 32, 3, 1), (32, 64, 3, 2), (64, 128, 3, 2)], [(128, 64, 4, 2), (64, 1, 4, 2)]
            assert found == [*encoder, *maker, (1, 64, 4, 2), (64, 64, 4, 2)]
            assert linear_sizes(net.encoder, net.decoder) == [[(6272, 200)], [(200, 1024), (1024, 6272)]]
            assert linear_sizes(judge.codes, judge.joint) == [[(200, 512)], [(3136 + 512, 1024), (1024, 1)]]
            norms = [sum("BatchNorm" in type(m).__name__ for m in part) for part in (*net.children(),)[:2]]
            assert norms == [2, 3]
            assert sum("BatchNorm" in type(m).__name__ for m in judge.modules()) == 1
            assert drops == [0.5] * 4
            assert isinstance(net.decoder[-1], nn.Tanh)
        else:
            assert linear_sizes(net.encoder, net.decoder) == [[(121, 64), (64, 32)], [(32, 64), (64, 128), (128, 121)]]
            assert linear_sizes(judge) == [[(121, 128), (32, 128), (256, 128), (128, 1)]]
            assert drops == [0.2] * 3
            assert detector.scaling == ("none" if name == "kddcup_raw" else "standard")


def test_raw_tables_of_huge_values_do_not_break_the_training() -> None:
    draw = np.random.default_rng(0)
    rows = np.c_[draw.random((400, 4)), np.exp(draw.normal(6, 4, (400, 2)))]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        detector = EGBAD.from_preset("kddcup_raw", epochs=30, calibration="none").fit(rows)
    assert rows.max() > 1e7
    assert np.isfinite(detector.anomaly_score(rows)).all()
    assert all(np.isfinite(list(epoch["terms"].values())).all() for epoch in detector.training_["history"])
