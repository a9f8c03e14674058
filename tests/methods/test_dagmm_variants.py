"""The switches that make DAGMM its rivals and ablations: which terms and networks take part, and when."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from offnormal import DAGMM
from offnormal.batches import Batch
from offnormal.errors import InvalidParameter
from offnormal.methods.dagmm import DAGMMNetwork
from offnormal.random import scoped
from offnormal.trainer import Settings, train


def rows(count: int = 256) -> Tensor:
    draw = np.random.default_rng(0)
    t = draw.uniform(-1, 1, count)
    table = np.stack([t, t**2, np.sin(2 * t), np.cos(2 * t), 0.5 * draw.normal(size=count)], axis=1)
    return torch.from_numpy((table - table.mean(0)) / table.std(0)).float()


ROWS = rows()
BATCH = Batch(ROWS, torch.arange(len(ROWS)))


def network(**changes: Any) -> DAGMMNetwork:
    detector = DAGMM(**{"hidden_sizes": (8, 4), "latent_dim": 2, "n_components": 2, "dropout": 0.0, **changes})
    detector.planned_epochs_ = 1 if detector.epochs is None else detector.epochs
    with scoped(0, "build"):
        built = detector.build((ROWS.shape[1],))
    assert isinstance(built, DAGMMNetwork)
    return built


def fitted(**changes: Any) -> tuple[DAGMMNetwork, dict[str, Tensor]]:
    net = network(**changes)
    before = copy.deepcopy(net.state_dict())
    train(net, ROWS, Settings(batch_size=128, seed=0))
    return net, before


def moved(net: DAGMMNetwork, before: dict[str, Tensor]) -> set[str]:
    return {name.split(".")[0] for name, p in net.named_parameters() if not torch.equal(p, before[name])}


def test_alternating_training_has_the_terms_of_the_joint_one_each_part_with_an_optimizer_of_its_own() -> None:
    (joint,), (alternating,) = network().phases(), network(training="alternating").phases()
    together = dict(joint.updates[0].losses(BATCH))
    apart = [dict(update.losses(BATCH)) for update in alternating.updates]
    assert [list(terms) for terms in apart] == [["reconstruction"], ["energy", "covariance"]]
    for name, value in (apart[0] | apart[1]).items():
        torch.testing.assert_close(value, together[name])
    assert [len(update.params) for update in alternating.updates] == [12, 16]


def test_the_mixture_s_step_of_alternating_training_sees_what_the_reconstruction_s_step_left() -> None:
    net = network(training="alternating", learning_rate=0.01)
    trained = copy.deepcopy(net)
    train(trained, ROWS, Settings(batch_size=len(ROWS), seed=0))
    optimizers = [update.optimizer(update.params) for update in net.phases()[0].updates]
    order = torch.randperm(len(ROWS), generator=torch.Generator().manual_seed(1))
    batch = Batch(ROWS[order], order)  # one batch of all rows: the order changes the rounding only
    for update, optimizer in zip(net.phases()[0].updates, optimizers, strict=True):
        optimizer.zero_grad()
        sum(update.losses(batch).values()).backward(inputs=list(update.params))
        optimizer.step()
    for (name, ours), theirs in zip(net.named_parameters(), trained.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5, msg=name)


def test_frozen_training_moves_the_estimation_network_alone_and_lowers_its_energy() -> None:
    net = network(training="frozen", pretraining_epochs=1, epochs=200, learning_rate=0.01)
    start = copy.deepcopy(net)
    main = net.phases()[-1]
    net.phases = lambda: (main,)  # type: ignore[method-assign]  # the autoencoder as it is
    train(net, ROWS, Settings(batch_size=128, seed=0))
    assert moved(net, start.state_dict()) == {"estimation"}
    assert net.mixture_losses(BATCH)["energy"] < start.mixture_losses(BATCH)["energy"] - 1e-3


def test_pre_training_comes_first_and_leaves_the_estimation_network_alone() -> None:
    net = network(pretraining_epochs=3, epochs=2)
    names = [(phase.name, phase.epochs) for phase in net.phases()]
    assert names == [("pretraining_1", 3), ("pretraining_2", 3), ("pretraining_3", 3), ("pretraining", 3), ("joint", 2)]
    estimation = {id(p) for p in net.estimation.parameters()}
    for phase in net.phases()[:-1]:
        assert not estimation & {id(p) for update in phase.updates for p in update.params}
    long, _ = fitted(pretraining_epochs=100, epochs=0, learning_rate=0.01)
    untrained, _ = fitted(epochs=0)
    error = [float(n.reconstruction_losses(BATCH)["reconstruction"].detach()) for n in (long, untrained)]
    assert error[0] < 0.2 * error[1], error


@pytest.mark.parametrize(
    ("aspects", "names"),
    [
        ("both", ["code_1", "code_2", "relative_distance", "cosine_similarity"]),
        ("code", ["code_1", "code_2"]),
        ("reconstruction", ["relative_distance", "cosine_similarity"]),
    ],
)
def test_the_mixture_sees_the_aspects_asked_for(aspects: str, names: list[str]) -> None:
    net, _ = fitted(aspects=aspects)
    everything = network(aspects="both")
    everything.load_state_dict({n: t for n, t in net.state_dict().items() if "encoder" in n or "decoder" in n}, False)
    z = everything.encode(ROWS)
    kept = {"both": z, "code": z[:, :2], "reconstruction": z[:, 2:]}[aspects]
    assert list(net.code_names()) == names
    torch.testing.assert_close(net.encode(ROWS), kept)
    assert net.score(ROWS).shape == (len(ROWS),)


def test_without_the_reconstruction_error_nothing_is_rebuilt() -> None:
    """The weight is the term's factor, and a network without the term rebuilds no better than before."""
    assert float(network(reconstruction_weight=0.0).losses(BATCH)["reconstruction"].detach()) == 0
    full, _ = fitted(epochs=150, learning_rate=0.01)
    without, _ = fitted(epochs=150, learning_rate=0.01, reconstruction_weight=0.0)
    error = [float((ROWS - net.reconstruct(ROWS)).square().sum(1).mean().detach()) for net in (full, without)]
    assert error[0] < 0.5 * error[1], error


def test_the_cosine_schedule_ends_at_zero_and_passes_the_middle_at_half() -> None:
    net = network(schedule="cosine", epochs=10)
    update = net.phases()[0].updates[0]
    assert update.scheduler is not None
    optimizer = update.optimizer(update.params)
    scheduler = update.scheduler(optimizer)
    steps = []
    for _ in range(10):
        steps.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    expected = [1e-3 * 0.5 * (1 + math.cos(math.pi * epoch / 10)) for epoch in range(10)]
    assert np.allclose(steps, expected)
    assert network(schedule="constant").phases()[0].updates[0].scheduler is None


def test_no_epochs_leave_the_network_as_initialized() -> None:
    net, before = fitted(epochs=0)
    assert moved(net, before) == set()
    detector = DAGMM(epochs=0, calibration="none").fit(ROWS.numpy())
    assert detector.training_["steps"] == 0
    assert np.isfinite(detector.anomaly_score(ROWS.numpy())).all()


def test_settings_that_train_nothing_are_refused_in_words() -> None:
    with pytest.raises(InvalidParameter, match="at least one of the three weights"):
        DAGMM(reconstruction_weight=0, energy_weight=0, covariance_weight=0).fit(ROWS.numpy())
    with pytest.raises(InvalidParameter, match="pretraining_epochs of at least 1"):
        DAGMM(training="frozen").fit(ROWS.numpy())
