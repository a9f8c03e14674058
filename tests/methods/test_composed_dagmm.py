"""DAGMM's mixture on other compressions: one step trains both, every term moves what it should, and it learns."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from offnormal.batches import Batch
from offnormal.errors import InvalidParameter
from offnormal.methods.composed_dagmm import COMPRESSIONS, ComposedDAGMM, ComposedNetwork
from offnormal.methods.dagmm import DAGMM, DAGMMNetwork
from offnormal.random import generator, scoped
from offnormal.trainer import Settings, train

SETTINGS = {"latent_dim": 2, "hidden_sizes": (12,), "n_components": 2, "dropout": 0.0, "schedule": "constant"}


def rings(rows: int = 400, columns: int = 6) -> Tensor:
    """Return rows on a closed curve, with little noise."""
    angle = 2 * torch.pi * torch.rand(rows, generator=generator(0, "angle"))
    curve = torch.stack([angle.cos(), angle.sin(), (2 * angle).cos(), (2 * angle).sin()], dim=1)
    mixed = curve @ torch.randn(4, columns, generator=generator(0, "mixing"))
    return mixed + 0.05 * torch.randn(rows, columns, generator=generator(0, "noise"))


ROWS = rings()


def network(compression: str, epochs: int = 1, columns: int = 6, **changes: object) -> ComposedNetwork:
    detector = ComposedDAGMM(compression=compression, **{**SETTINGS, **changes})
    detector.planned_epochs_ = epochs
    with scoped(0, "build"):
        built = detector.build((columns,))
    assert isinstance(built, ComposedNetwork)
    return built


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_code_may_be_wider_than_half_of_a_row(compression: str) -> None:
    """GPND then takes a narrower code than it was asked for, and the mixture follows."""
    rows = ROWS[:, :5].numpy()
    detector = ComposedDAGMM(compression=compression, epochs=1, calibration="none", random_state=0).fit(rows)
    assert np.isfinite(detector.anomaly_score(rows)).all()


def batch() -> Batch:
    return Batch(ROWS, torch.arange(len(ROWS)))


def test_with_the_plain_autoencoder_it_is_dagmm() -> None:
    """The same weights give the same losses, the same gradients, and after a step the same network."""
    composed = network("autoencoder")
    plain = DAGMM(**SETTINGS).set_params(epochs=1)
    plain.planned_epochs_ = 1
    twin = plain.build((ROWS.shape[1],))
    assert isinstance(twin, DAGMMNetwork)
    twin.load_state_dict({name: value for name, value in composed.state_dict().items() if "compression" not in name})
    for net in (composed, twin):
        train(net, ROWS, Settings(batch_size=100, seed=0))
    torch.testing.assert_close(composed.score(ROWS), twin.score(ROWS), rtol=1e-4, atol=1e-4)
    (update,), (own,) = composed.phases()[0].updates, twin.phases()[0].updates
    assert set(update.losses(batch())) == set(own.losses(batch()))


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_the_step_on_encoder_and_decoder_takes_the_mixture_along(compression: str) -> None:
    net = network(compression)
    (main,) = net.phases()
    joint = [update for update in main.updates if {"energy", "covariance"} <= set(update.losses(batch()))]
    assert len(joint) == 1, "one update of the compression's, and no other"
    trained = {id(parameter) for parameter in joint[0].params}
    assert {id(parameter) for parameter in net.estimation.parameters()} <= trained
    terms = joint[0].losses(batch())
    for name, parameters in {
        "energy": (*net.encoder.parameters(), *net.decoder.parameters(), *net.estimation.parameters()),
        "reconstruction": (*net.encoder.parameters(), *net.decoder.parameters()),
    }.items():
        own = terms[name] if name in terms else sum(v for k, v in terms.items() if k not in ("energy", "covariance"))
        assert isinstance(own, Tensor)
        gradients = torch.autograd.grad(own, parameters, retain_graph=True, allow_unused=True)
        assert all(g is not None and bool(g.abs().sum() > 0) for g in gradients), name


@pytest.mark.parametrize("compression", ["vae", "memae", "aae"])
def test_training_finds_rows_off_the_curve(compression: str) -> None:
    """Rows of usual values in unusual company; the same network untrained does worse."""
    rows = rings(columns=20)
    shuffled = [column[torch.randperm(len(rows), generator=generator(i, "odd"))] for i, column in enumerate(rows.T)]
    odd = rows + 0.3 * (torch.stack(shuffled, dim=1) - rows)

    def auroc(epochs: int) -> float:
        net = network(compression, epochs, 20, hidden_sizes=(32,), learning_rate=3e-3)
        train(net, rows, Settings(batch_size=100, seed=0))
        net.eval()
        with torch.no_grad():
            usual, unusual = net.score(rows).numpy(), net.score(odd).numpy()
        return float(np.mean(unusual[:, None] > usual[None, :]))

    trained, untrained = auroc(100), auroc(0)
    assert trained > 0.85
    assert trained > untrained + 0.1


def test_switches_of_the_plain_autoencoder_are_refused() -> None:
    detector = ComposedDAGMM(pretraining_epochs=2, training="alternating")
    with pytest.raises(InvalidParameter, match="training, pretraining_epochs"):
        detector.fit(ROWS.numpy())
