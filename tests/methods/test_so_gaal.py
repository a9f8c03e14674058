"""SO-GAAL: the sign of its score, what each term and each phase moves, and the authors' settings."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from offnormal.batches import Batch
from offnormal.method import Phase
from offnormal.methods.so_gaal import SOGAAL, SOGAALNetwork
from offnormal.random import generator, scoped
from offnormal.trainer import Settings, train

Floats = NDArray[np.float64]


def blobs(rows: int, stream: str, *, odd: bool = False) -> Tensor:
    """Return rows about two corners of a square, or about the other two, in which every column alone is usual."""
    first = torch.where(torch.rand(rows, 1, generator=generator(0, stream, "side")) < 0.5, 0.25, 0.75)
    centers = torch.cat([first, first if odd else 1 - first], 1)
    return centers + 0.06 * torch.randn(rows, 2, generator=generator(0, stream, "spread"))


ROWS = blobs(600, "train")
NORMAL, ODD = blobs(300, "test"), blobs(300, "odd", odd=True)
BATCH = Batch(ROWS[:100], torch.arange(100))
TRUTH = np.repeat([0, 1], 300)


def network(epochs: int = 40) -> SOGAALNetwork:
    detector = SOGAAL(discriminator_size=32, learning_rate=0.1, generator_learning_rate=5e-4)
    detector.planned_epochs_ = epochs
    with scoped(0, "build"):
        built = detector.build((2,))
    assert isinstance(built, SOGAALNetwork)
    return built


def without(phase: Phase, term: str) -> Phase:
    """Return the phase with one term left out, and with it the update that has no other."""
    kept = []
    for update in phase.updates:
        names = set(update.losses(BATCH)) - {term}
        if names:
            kept.append(replace(update, losses=lambda b, u=update: {k: v for k, v in u.losses(b).items() if k != term}))
    return replace(phase, updates=tuple(kept))


def trained(missing: str = "") -> SOGAALNetwork:
    net = network()
    phases = tuple(without(phase, missing) for phase in net.phases())
    net.phases = lambda: phases
    train(net, ROWS, Settings(batch_size=100, seed=0))
    return net


def auroc(net: SOGAALNetwork) -> float:
    with torch.no_grad():
        return float(roc_auc_score(TRUTH, net.score(torch.cat([NORMAL, ODD])).numpy()))


def test_odd_rows_score_high() -> None:
    assert auroc(trained()) > 0.95


@pytest.mark.parametrize("missing", ["real", "fake", "all"])
def test_without_training_or_one_term_of_the_discriminator_they_do_not(missing: str) -> None:
    assert auroc(network() if missing == "all" else trained(missing)) < 0.75


def test_against_a_discriminator_that_stands_still_the_generator_is_taken_for_real() -> None:
    def loss(net: SOGAALNetwork) -> float:
        with torch.no_grad(), scoped(2, "noise"):
            return float(net.generator_losses(Batch(NORMAL, torch.arange(300)))["generator"])

    still = trained()
    fresh = network()
    still.generators.load_state_dict(fresh.generators.state_dict())
    before = loss(still)
    game, _ = still.phases()
    still.phases = lambda: (replace(game, updates=game.updates[1:], epochs=30),)
    train(still, ROWS, Settings(batch_size=100, seed=0))
    assert loss(still) < 0.7 * before


def test_the_generator_is_not_moved_by_the_discriminators_step_nor_after_the_game() -> None:
    net = network()
    game, alone = net.phases()
    assert [update.name for update in game.updates] == ["discriminator", "generator"]
    assert [update.name for update in alone.updates] == ["discriminator"]
    assert (game.epochs, alone.epochs) == (20, 40)
    judge, maker = set(net.discriminator.parameters()), set(net.generators.parameters())
    assert set(game.updates[0].params) == set(alone.updates[0].params) == judge
    assert set(game.updates[1].params) == maker
    for update in game.updates:
        for name in update.losses(BATCH):
            gradients = torch.autograd.grad(update.losses(BATCH)[name], update.params)
            assert all(float(gradient.abs().sum()) > 0 for gradient in gradients), name


def test_the_generator_wants_its_rows_to_be_called_real() -> None:
    net = network()
    with scoped(3, "losses"):
        term = net.generator_losses(BATCH)["generator"]
    with scoped(3, "losses"):
        logits = net.discriminator(torch.rand(1, 100, 2)[0])  # G is the identity on noise
    torch.testing.assert_close(term, binary_cross_entropy_with_logits(logits, torch.ones(100, 1)))


@pytest.mark.parametrize("name", SOGAAL.presets)
def test_the_presets_are_the_authors(name: str) -> None:
    detector = SOGAAL.from_preset(name)
    assert detector.epochs is not None
    detector.planned_epochs_ = detector.epochs
    with torch.device("meta"):
        net = detector.build((21,))
    assert isinstance(net, SOGAALNetwork)
    game, alone = net.phases()
    assert game.epochs + alone.epochs == 3 * game.epochs
    assert [tuple(weight.shape) for weight in net.generators.parameters()] == 2 * [(1, 1, 21), (1, 21, 21)]
    made = [update.optimizer([torch.zeros(1)]) for update in game.updates]
    assert [type(optimizer) for optimizer in made] == [torch.optim.SGD, torch.optim.SGD]
    assert [(o.param_groups[0]["lr"], o.param_groups[0]["momentum"]) for o in made] == [(0.01, 0.9), (1e-4, 0.9)]
    assert (detector.batch_size, detector.scaling) == (500, "minmax")
    if name == "annthyroid":
        assert (game.epochs, net.hidden) == (22, math.ceil(7200**0.5))


def test_clear_outliers_score_above_all_rows_where_a_published_library_inverts_the_sign() -> None:
    draw = np.random.default_rng(0)
    rows: Floats = draw.normal(size=(300, 4))
    far = np.r_[rows, draw.normal(size=(5, 4)) + 12]
    for fitted in (rows, far):  # unseen, and among the rows of training, as the paper has it
        detector = SOGAAL(calibration="none").fit(fitted)
        assert detector.anomaly_score(far[300:]).min() > np.quantile(detector.anomaly_score(rows), 0.99)
    assert np.isfinite(detector.transform(rows)).all()
    assert set(detector.explain(far[-1:]).parts) == {"discriminator", "outside", "deviance"}
