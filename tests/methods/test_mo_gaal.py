"""MO-GAAL: the aim of each generator, whether it reaches it, and the score of clear outliers."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn.functional import binary_cross_entropy

from offnormal.batches import Batch
from offnormal.method import Phase
from offnormal.methods.mo_gaal import MOGAAL, MOGAALNetwork
from offnormal.random import generator, scoped
from offnormal.trainer import Settings, train

K = 3


def blobs(rows: int, stream: str, *, odd: bool = False) -> Tensor:
    """Return rows about two corners of a square, or about the other two, in which every column alone is usual."""
    first = torch.where(torch.rand(rows, 1, generator=generator(0, stream, "side")) < 0.5, 0.25, 0.75)
    centers = torch.cat([first, first if odd else 1 - first], 1)
    return centers + 0.06 * torch.randn(rows, 2, generator=generator(0, stream, "spread"))


ROWS = blobs(600, "train")
NORMAL, ODD = blobs(300, "test"), blobs(300, "odd", odd=True)
BATCH = Batch(ROWS[:100], torch.arange(100))
TRUTH = np.repeat([0, 1], 300)
AIMS = ("generator_1", "generator_2", "generator_3")


def network(epochs: int = 40, **changes: float) -> MOGAALNetwork:
    detector = MOGAAL(
        **{
            "n_generators": K,
            "discriminator_size": 32,
            "learning_rate": 0.1,
            "generator_learning_rate": 1e-3,
            **changes,
        }  # type: ignore[arg-type]
    )
    detector.planned_epochs_ = epochs
    with scoped(0, "build"):
        built = detector.build((2,))
    assert isinstance(built, MOGAALNetwork)
    return built


def without(phase: Phase, term: str) -> Phase:
    """Return the phase with one term of its losses left out."""

    def fewer(update):  # type: ignore[no-untyped-def]
        return replace(update, losses=lambda batch: {k: v for k, v in update.losses(batch).items() if k != term})

    return replace(phase, updates=tuple(fewer(update) for update in phase.updates))


def trained(missing: str = "") -> MOGAALNetwork:
    net = network()
    phases = tuple(without(phase, missing) for phase in net.phases())
    net.phases = lambda: phases
    train(net, ROWS, Settings(batch_size=100, seed=0))
    return net


def auroc(net: MOGAALNetwork) -> float:
    with torch.no_grad():
        return float(roc_auc_score(TRUTH, net.score(torch.cat([NORMAL, ODD])).numpy()))


def moved(net: MOGAALNetwork) -> Tensor:
    """Return how far the rows of each generator moved from their noise in training, shape (k,)."""
    with torch.no_grad(), scoped(1, "noise"):
        noise = net.noise(500)
        return (net.generators(noise) - noise).norm(dim=2).mean(1)


def test_odd_rows_score_high() -> None:
    net = trained()
    assert auroc(net) > 0.95
    assert float(moved(net).min()) > 1e-3


@pytest.mark.parametrize("missing", ["real", "fake", *AIMS, "all"])
def test_without_training_or_any_one_term_it_is_not_so(missing: str) -> None:
    net = network() if missing == "all" else trained(missing)
    if missing in AIMS:
        assert [float(distance) == 0 for distance in moved(net)] == [name == missing for name in AIMS]
    else:
        assert auroc(net) < 0.75


def test_against_a_discriminator_that_stands_still_every_generator_reaches_its_own_aim() -> None:
    net = trained()
    (game, _) = network(generator_learning_rate=0.5).phases()
    still = network(200, generator_learning_rate=0.5)
    still.discriminator.load_state_dict(net.discriminator.state_dict())
    making = still.phases()[0].updates[1]
    still.phases = lambda: (replace(game, updates=(making,), epochs=60),)
    train(still, ROWS, Settings(batch_size=200, seed=0))
    with torch.no_grad(), scoped(2, "noise"):
        verdicts = torch.sigmoid(still.discriminator(still.generators(still.noise(500)))).mean((1, 2))
        before = torch.sigmoid(still.discriminator(still.noise(500))).mean((1, 2))
    real = torch.sigmoid(still.discriminator(ROWS)).detach().numpy().ravel()
    aims = torch.from_numpy(np.quantile(real, [0, 1 / 3, 2 / 3]))
    assert float((verdicts - aims).abs().max()) < 0.15
    assert float((verdicts - aims).abs().sum()) < 0.5 * float((before - aims).abs().sum())


def test_the_aims_are_quantiles_of_the_verdicts_on_the_rows() -> None:
    net = network()
    with scoped(3, "losses"):
        terms = net.generator_losses(BATCH)
    with scoped(3, "losses"):
        made = net.noise(100)  # every generator is the identity on its noise
    with torch.no_grad():
        real = torch.sigmoid(net.discriminator(BATCH.x)).flatten().numpy()
        fake = torch.sigmoid(net.discriminator(made)).squeeze(2)
    assert tuple(terms) == AIMS
    for i, term in enumerate(terms.values()):
        aim = torch.full((100,), float(np.quantile(real, i / K)))
        torch.testing.assert_close(term, binary_cross_entropy(fake[i], aim))


def test_each_term_moves_its_own_generator_alone() -> None:
    net = network()
    game, alone = net.phases()
    assert [update.name for update in game.updates] == ["discriminator", "generators"]
    assert [update.name for update in alone.updates] == ["discriminator"]
    assert set(game.updates[0].params) == set(alone.updates[0].params) == set(net.discriminator.parameters())
    making = game.updates[1]
    assert set(making.params) == set(net.generators.parameters())
    for i, name in enumerate(AIMS):
        for gradient in torch.autograd.grad(making.losses(BATCH)[name], making.params):
            per_generator = gradient.abs().flatten(1).sum(1)
            assert [bool(size > 0) for size in per_generator] == [j == i for j in range(K)]


@pytest.mark.parametrize("name", MOGAAL.presets)
def test_the_presets_are_the_authors(name: str) -> None:
    detector = MOGAAL.from_preset(name)
    assert detector.epochs is not None
    detector.planned_epochs_ = detector.epochs
    with torch.device("meta"):
        net = detector.build((9,))
    assert isinstance(net, MOGAALNetwork)
    game, alone = net.phases()
    assert game.epochs + alone.epochs == 3 * game.epochs
    assert [tuple(weight.shape) for weight in net.generators.parameters()] == 2 * [(10, 1, 9), (10, 9, 9)]
    made = [update.optimizer([torch.zeros(1)]) for update in game.updates]
    assert [(o.param_groups[0]["lr"], o.param_groups[0]["momentum"]) for o in made] == [(0.01, 0.9), (1e-4, 0.9)]
    if name == "ionosphere":
        assert (game.epochs, net.hidden) == (300, math.ceil(351**0.5))


def test_clear_outliers_score_high_with_many_generators_and_few_rows() -> None:
    """A published library fails where there are more generators than rows to share."""
    draw = np.random.default_rng(0)
    rows = draw.normal(size=(40, 4))
    far = draw.normal(size=(5, 4)) + 12
    detector = MOGAAL(n_generators=60, epochs=20, calibration="none").fit(rows)
    assert detector.anomaly_score(far).min() > detector.anomaly_score(rows).max()
