"""ALAD: the pairs each discriminator sees, what each term moves, the four scores by hand, and each game by itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from offnormal.batches import Batch
from offnormal.method import Update
from offnormal.methods.alad import ALAD, ALADNetwork
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
PAIR = frozenset({"xz_real", "xz_fake", "generator", "encoder"})
ROW_CYCLE = frozenset({"xx_real", "xx_fake", "row_cycle"})
CODE_CYCLE = frozenset({"zz_real", "zz_fake", "code_cycle"})


def network(epochs: int = 1, shape: tuple[int, ...] = (4,), **changes: Any) -> ALADNetwork:
    small = {"hidden_sizes": (32,), "latent_dim": 2, "discriminator_sizes": (64,), "discriminator_code_sizes": (16,)}
    small |= {"discriminator_joint_sizes": (64,), "cycle_sizes": (64,), "learning_rate": 5e-3}
    detector = ALAD(**{**small, **changes})
    detector.planned_epochs_ = epochs
    with scoped(0, "build"):
        built = detector.build(shape)
    assert isinstance(built, ALADNetwork)
    return built


def with_terms(update: Update, kept: Iterable[str]) -> Update:
    return replace(update, losses=lambda batch: {k: v for k, v in update.losses(batch).items() if k in kept})


def trained(epochs: int, kept: Iterable[str]) -> ALADNetwork:
    """Return a network that learned from these terms alone."""
    net = network(epochs, weight_average=0.9)
    (phase,) = net.phases()
    updates = tuple(with_terms(u, kept) for u in phase.updates if set(kept) & set(u.losses(BATCH)))
    net.phases = lambda: (replace(phase, updates=updates),)
    train(net, ROWS, Settings(batch_size=100, seed=0))
    return net


def left_over(net: ALADNetwork) -> float:
    """Return how much of new rows the round trip loses."""
    with torch.no_grad():
        return float((NORMAL - net.reconstruct(NORMAL)).abs().sum() / NORMAL.abs().sum())


def codes_lost(net: ALADNetwork) -> float:
    """Return the mean change of an axis of a code from N(0, 1) by its round trip."""
    z = torch.randn(1000, 2, generator=generator(0, "codes"))
    with torch.no_grad():
        return float((net.encode(net.decoder(z)) - z).abs().mean())


def out_of_place(net: ALADNetwork) -> float:
    """Return how far mean and spread of generated rows, or of the codes of rows, are from what they should be."""
    with torch.no_grad(), scoped(1, "generated"):
        made, codes = net.generate(ROWS), net.encode(ROWS)
    wrong = [made.mean(0) - ROWS.mean(0), made.std(0) - ROWS.std(0), codes.mean(0), codes.std(0) - 1]
    return float(torch.cat(wrong).abs().max())


# --- learning: each discriminator's game by itself, then all three ----------------------------------------------------


@pytest.mark.parametrize(("game", "lost"), [(ROW_CYCLE, left_over), (CODE_CYCLE, codes_lost), (PAIR, out_of_place)])
def test_each_game_teaches_its_part_and_fails_without_any_one_of_its_terms(game: frozenset[str], lost: Any) -> None:
    epochs = 30 if game is PAIR else 15
    whole = lost(trained(epochs, game))
    assert whole < (0.2 if game is CODE_CYCLE else 0.4)
    for missing in sorted(game):
        assert lost(trained(epochs, game - {missing})) > 1.6 * whole, missing
    assert lost(network()) > 1.6 * whole


def test_all_three_together_tell_rows_whose_columns_were_mixed() -> None:
    truth = np.repeat([0, 1], 400)
    net, untrained = trained(20, PAIR | ROW_CYCLE | CODE_CYCLE), network()
    both = torch.cat([NORMAL, ODD])
    with torch.no_grad():
        for score in ("features", "l1", "l2"):
            net.score_by = score
            assert auroc(truth, net.score(both).numpy()) > 0.95
        net.score_by = "features"
        assert auroc(truth, untrained.score(both).numpy()) < 0.7
        made = net.decoder(torch.randn(400, 2, generator=generator(0, "codes")))
        assert float(net.score(made).median()) < 0.25 * float(net.score(ODD).median())


# --- the game ---------------------------------------------------------------------------------------------------------


def recorded(judge: Any) -> list[tuple[Tensor, Tensor]]:
    """Return a list that gets every pair that a discriminator is shown."""
    pairs: list[tuple[Tensor, Tensor]] = []
    plain = judge.features_and_logit

    def note(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        pairs.append((first.detach(), second.detach()))
        found: tuple[Tensor, Tensor] = plain(first, second)
        return found

    judge.features_and_logit = note
    return pairs


def test_every_discriminator_sees_its_pairs_in_their_order() -> None:
    net = network()
    assert net.codes is not None
    xz, xx, zz = recorded(net.joint), recorded(net.rows), recorded(net.codes)
    updates = net.phases()[0].updates
    assert [update.fresh_batch for update in updates] == [False, True]
    judged, inverted = (dict(update.losses(BATCH)) for update in updates)
    assert (len(xz), len(xx), len(zz)) == (4, 3, 3)
    x, codes = BATCH.x, net.encode(BATCH.x).detach()
    z, fresh = zz[0][0], zz[2][0]
    assert not torch.equal(z, fresh), "the second update draws its own"
    made, remade = net.decoder(z).detach(), net.decoder(fresh).detach()
    rebuilt = net.reconstruct(x).detach()
    expected = {
        "xz_real": (xz[0], (x, codes), 1), "xz_fake": (xz[1], (made, z), 0),
        "xx_real": (xx[0], (x, x), 1), "xx_fake": (xx[1], (x, rebuilt), 0),
        "zz_real": (zz[0], (z, z), 1), "zz_fake": (zz[1], (z, net.encode(made).detach()), 0),
        "generator": (xz[2], (remade, fresh), 1), "encoder": (xz[3], (x, codes), 0),
        "row_cycle": (xx[2], (x, rebuilt), 1), "code_cycle": (zz[2], (fresh, net.encode(remade).detach()), 1),
    }  # fmt: skip
    terms = judged | inverted
    assert list(terms) == list(expected)
    judges = {"xz": net.joint, "xx": net.rows, "zz": net.codes}
    judges |= {"generator": net.joint, "encoder": net.joint, "row_cycle": net.rows, "code_cycle": net.codes}
    for name, (seen, pair, label) in expected.items():
        for given, wanted in zip(seen, pair, strict=True):
            torch.testing.assert_close(given, wanted)
        logit = judges[name.removesuffix("_real").removesuffix("_fake")](*pair)
        torch.testing.assert_close(
            terms[name], binary_cross_entropy_with_logits(logit, torch.full_like(logit, float(label)))
        )
    for drawn in (z, fresh):
        assert abs(float(drawn.mean())) < 0.3
        assert abs(float(drawn.std()) - 1) < 0.2


def test_each_term_moves_what_it_should() -> None:
    net = network()
    assert net.codes is not None
    (phase,) = net.phases()
    parts = {name: set(part.parameters()) for name, part in net.named_children() if name not in ("averages",)}
    both = parts["encoder"] | parts["decoder"]
    moved = {"xz": parts["joint"], "xx": parts["rows"], "zz": parts["codes"]}
    moved |= {"generator": parts["decoder"], "encoder": parts["encoder"], "row_cycle": both, "code_cycle": both}
    assert [set(u.params) for u in phase.updates] == [parts["joint"] | parts["rows"] | parts["codes"], both]
    for update in phase.updates:
        for name in update.losses(BATCH):
            net.zero_grad()
            update.losses(BATCH)[name].backward(inputs=list(update.params))
            felt = {p for p in net.parameters() if p.grad is not None and float(p.grad.abs().sum()) > 0}
            assert felt == moved[name.removesuffix("_real").removesuffix("_fake")], name


def test_without_the_latent_cycle_there_is_no_third_discriminator() -> None:
    net = network(latent_cycle=False)
    terms = {name for update in net.phases()[0].updates for name in update.losses(BATCH)}
    assert net.codes is None
    assert terms == PAIR | ROW_CYCLE


# --- scoring ----------------------------------------------------------------------------------------------------------


def test_the_four_scores() -> None:
    net = network(cycle_dropout=0.5, cycle_sizes=(16, 8)).eval()
    x = NORMAL[:50]
    with torch.no_grad():
        rebuilt = net.decoder(net.encoder(x))
        hidden = nn.Sequential(*list(net.rows.chain)[:-1])
        own, other = (hidden(torch.cat([x, second], 1)).double().numpy() for second in (x, rebuilt))
        real = torch.sigmoid(net.rows.chain(torch.cat([x, rebuilt], 1)).double()).numpy()[:, 0]
        apart = (x - rebuilt).double().numpy()
        expected = {
            "features": np.abs(own - other).sum(1), "logits": -np.log(real),
            "l1": np.linalg.norm(apart, 1, axis=1), "l2": np.linalg.norm(apart, 2, axis=1),
        }  # fmt: skip
        for name, value in expected.items():
            net.score_by = name
            np.testing.assert_allclose(net.score(x), value, rtol=1e-4, err_msg=name)


def test_a_row_that_comes_back_scores_nothing_and_one_off_the_manifold_does_not() -> None:
    net = network(hidden_sizes=()).eval()
    with torch.no_grad():
        made_by = net.decoder[0].weight
        net.encoder[0].weight.copy_(torch.linalg.pinv(made_by))
        made = net.decoder(torch.randn(20, 2))
        away = made + torch.linalg.svd(made_by).U[:, 2]  # at right angles to all that the generator makes
        for name in ("features", "l1", "l2"):
            net.score_by = name
            assert float(net.score(made).max()) < 1e-4
            assert float(net.score(away).min()) > 0.1


def test_scoring_drops_nothing_and_averages_over_no_batch() -> None:
    images = torch.rand(24, 3, 8, 8, generator=generator(0, "images"))
    changes = {"hidden_sizes": (4, 6), "discriminator_sizes": (4, 6), "cycle_sizes": (4, 6), "cycle_dropout": 0.5}
    net = network(shape=(3, 8, 8), spectral_norm=True, **changes)
    train(net, images, Settings(batch_size=8, seed=0))
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with torch.no_grad():
        together, alone = net.score(images), torch.cat([net.score(images[i : i + 1]) for i in range(24)])
        net.score_by = "l1"
        torch.testing.assert_close(net.score_map(images).double().sum((1, 2)), net.score(images), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


# --- the published networks -------------------------------------------------------------------------------------------


def preset(name: str, shape: tuple[int, ...], **changes: Any) -> ALADNetwork:
    detector = ALAD.from_preset(name, **changes)
    detector.planned_epochs_ = 1
    with torch.device("meta"):
        net = detector.build(shape)
    assert isinstance(net, ALADNetwork)
    return net


def layers(network: nn.Module | None) -> list[tuple[int, ...]]:
    """Return (in, out) of linear layers, (in, out, kernel, stride) of convolutions."""
    assert network is not None
    found: list[tuple[int, ...]] = []
    for module in network.modules():
        if isinstance(module, nn.Linear):
            found.append((module.in_features, module.out_features))
        elif isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            found.append((module.in_channels, module.out_channels, module.kernel_size[0], module.stride[0]))
    return found


def drops(network: nn.Module | None) -> list[float]:
    assert network is not None
    return [module.p for module in network.modules() if isinstance(module, nn.Dropout)]


def norms(network: nn.Module) -> int:
    return sum("BatchNorm" in type(module).__name__ for module in network.modules())


def test_the_presets_of_tables() -> None:
    net = preset("kddcup", (121,))
    assert layers(net.encoder) == [(121, 64), (64, 32)]
    assert layers(net.decoder) == [(32, 64), (64, 128), (128, 121)]
    assert layers(net.joint) == [(121, 128), (32, 128), (256, 128), (128, 1)]
    assert layers(net.rows) == [(242, 128), (128, 1)]
    assert layers(net.codes) == [(64, 32), (32, 1)]
    net = preset("arrhythmia", (274,))
    assert layers(net.encoder) == [(274, 256), (256, 128), (128, 64)]
    assert layers(net.decoder) == [(64, 128), (128, 256), (256, 274)]
    assert layers(net.joint) == [(274, 128), (64, 128), (256, 256), (256, 1)]
    assert layers(net.rows) == [(548, 256), (256, 128), (128, 1)]
    assert layers(net.codes) == [(128, 64), (64, 32), (32, 1)]
    assert (norms(net.joint.rows), norms(net)) == (1, 1)
    assert drops(net.joint) == [0.5, 0.5]
    assert drops(net.rows) == drops(net.codes) == [0.2, 0.2]


def test_the_preset_of_images() -> None:
    net = preset("cifar10", (3, 32, 32))
    down = [(3, 128, 4, 2), (128, 256, 4, 2), (256, 512, 4, 2)]
    assert layers(net.encoder) == [*down, (8192, 100)]
    assert layers(net.decoder) == [(100, 8192), (512, 256, 4, 2), (256, 128, 4, 2), (128, 3, 4, 2)]
    assert layers(net.joint) == [*down, (100, 512), (512, 512), (8192 + 512, 1024), (1024, 1)]
    assert layers(net.rows) == [(3, 64, 5, 2), (64, 128, 5, 2), (16384, 1)]
    assert layers(net.codes) == [(200, 64), (64, 32), (32, 1)]
    assert (norms(net.encoder), norms(net.decoder), norms(net.joint), norms(net)) == (3, 3, 2, 8)
    assert isinstance(net.decoder[-1], nn.Tanh)
    assert drops(net.joint) == [0.2] * 3
    for part, plain in ((net.encoder, 1), (net.joint, 1), (net.rows, 1), (net.codes, 1), (net.decoder, 4)):
        assert len(layers(part)) - sum(hasattr(module, "parametrizations") for module in part.modules()) == plain
    assert layers(preset("cifar10", (3, 32, 32), cycle_axis="channels").rows)[0] == (6, 64, 5, 2)
