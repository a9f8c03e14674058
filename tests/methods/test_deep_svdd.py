"""Deep SVDD against its objectives: center, radius, what may move what, and the collapse it must not fall into."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

import offnormal
from offnormal import DeepSVDD
from offnormal.batches import Batch, Batches
from offnormal.methods import deep_svdd
from offnormal.methods.deep_svdd import DeepSVDDNetwork
from offnormal.networks.mlp import mlp
from offnormal.random import scoped
from offnormal.trainer import Progress, Settings, train


def curve(rows: int, seed: int) -> Tensor:
    """Return rows near a curve in six dimensions, each column with mean 0 and variance 1 or nearly."""
    draw = np.random.default_rng(seed)
    t = draw.uniform(-np.pi, np.pi, rows)
    columns = [np.sin(t), np.cos(t), np.sin(2 * t), np.cos(2 * t), np.sin(3 * t), np.cos(3 * t)]
    return torch.from_numpy(1.4 * np.stack(columns, axis=1) + 0.05 * draw.normal(size=(rows, 6))).float()


ROWS, NEW_ROWS = curve(600, 0), curve(300, 1)
ODD_ROWS = torch.stack([NEW_ROWS[:, j].roll(40 * j) for j in range(6)], dim=1)
"""The same values column by column, off the curve."""


def network(epochs: int = 1, n: int = 6, **changes: Any) -> DeepSVDDNetwork:
    detector = DeepSVDD(**{"hidden_sizes": (32, 16), "latent_dim": 4, **changes})
    detector.planned_epochs_ = epochs
    with scoped(0, "build"):
        built = detector.build((n,))
    assert isinstance(built, DeepSVDDNetwork)
    return built


def trained(epochs: int = 40, **changes: Any) -> DeepSVDDNetwork:
    net = network(epochs, **changes)
    train(net, ROWS, Settings(batch_size=128, seed=0))
    return net


def batch(rows: Tensor = ROWS) -> Batch:
    return Batch(rows, torch.arange(len(rows)))


def with_center(net: DeepSVDDNetwork, rows: Tensor = ROWS) -> DeepSVDDNetwork:
    with torch.no_grad():
        net.fix_center(Batches(rows, 128))
    return net


# --- the network ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("preset", "n", "widths"),
    [
        ("arrhythmia", 274, (128, 64, 32)),
        ("cardio", 21, (32, 16, 8)),
        ("thyroid", 6, (32, 16, 4)),
        ("kddcup", 118, (60, 30, 10)),
    ],
)
def test_presets_are_the_authors_networks_and_training(preset: str, n: int, widths: tuple[int, ...]) -> None:
    detector = DeepSVDD.from_preset(preset)
    detector.planned_epochs_ = 150
    net = detector.build((n,))
    assert isinstance(net, DeepSVDDNetwork)
    for chain, sizes in ((net.encoder, (n, *widths)), (net.decoder, (*reversed(widths), n))):
        assert [tuple(p.shape) for p in chain.parameters()] == [(out, wide) for wide, out in pairwise(sizes)]
    pretraining, training = net.phases()
    assert (pretraining.name, pretraining.epochs, training.name, training.epochs) == (
        "pretraining", 150, "one_class", 150,
    )  # fmt: skip
    for phase, decay in ((pretraining, 5e-4), (training, 5e-7)):
        (update,) = phase.updates
        optimizer = update.optimizer(update.params)
        assert update.scheduler is not None
        scheduler = update.scheduler(optimizer)
        rates = []
        for _ in range(60):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        assert rates == pytest.approx([1e-4] * 50 + [1e-5] * 10)
        assert optimizer.defaults["weight_decay"] == decay


def test_nothing_in_the_network_can_shift_or_saturate() -> None:
    """Without bias and with a piecewise linear activation, φ(t x) = t φ(x); a shift or a bound would break that."""
    net = trained(2)
    assert all(parameter.ndim == 2 for parameter in net.parameters())
    for t in (1e-3, 7.0, 1e4):
        torch.testing.assert_close(net.encode(t * NEW_ROWS), t * net.encode(NEW_ROWS), rtol=1e-3, atol=1e-5 * t)
    with torch.no_grad():
        far = net.score(1e5 * NEW_ROWS) / net.score(1e4 * NEW_ROWS)
    torch.testing.assert_close(far, torch.full_like(far, 100.0), rtol=0.02, atol=0)


# --- the terms --------------------------------------------------------------------------------------------------------


def test_the_terms_are_the_papers() -> None:
    net = with_center(network(objective="soft_boundary", nu=0.2))
    gaps = [net.encoder(x[None])[0] - net.center for x in ROWS]
    distances = torch.stack([gap @ gap for gap in gaps]).detach()
    torch.testing.assert_close(net.distances(batch())["distance"].detach(), distances.mean())
    inside = float(distances.median())
    net.radius.fill_(inside**0.5)
    hinge = torch.stack([torch.relu(distance - inside) for distance in distances])
    torch.testing.assert_close(net.soft_boundary(batch())["soft_boundary"], inside + hinge.sum() / (0.2 * len(ROWS)))
    rebuilt = net.decoder(net.encoder(ROWS))
    torch.testing.assert_close(
        net.reconstruction(batch())["reconstruction"], (ROWS - rebuilt).norm(dim=1).square().mean()
    )
    torch.testing.assert_close(net.score(ROWS), distances.double() - inside, rtol=1e-5, atol=1e-6)
    net.soft = False
    torch.testing.assert_close(net.score(ROWS), distances.double(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "moves"),
    [
        ({"pretraining_epochs": 0}, {"encoder"}),
        ({"pretraining_epochs": 0, "objective": "soft_boundary", "warm_up_epochs": 1}, {"encoder"}),
        ({"pretraining_epochs": 0, "objective": "soft_boundary", "warm_up_epochs": 0}, {"encoder"}),
    ],
)
def test_the_ball_moves_the_encoder_and_nothing_else(changes: dict[str, Any], moves: set[str]) -> None:
    before = with_center(network(**changes))
    net = trained(1, **changes)
    moved = {n.split(".")[0] for n, p in net.named_parameters() if not torch.equal(p, before.get_parameter(n))}
    assert moved == moves
    assert all(not torch.equal(p, before.get_parameter(n)) for n, p in net.named_parameters() if "encoder" in n)
    assert torch.equal(net.center, before.center), "c is fixed before the first step and never learned"
    assert set(dict(net.named_buffers())) >= {"center", "radius"}


def test_pretraining_moves_every_layer_of_both_and_lowers_the_reconstruction_error() -> None:
    before, net = network(), network(0, pretraining_epochs=40)
    train(net, ROWS, Settings(batch_size=128, seed=0))
    assert all(not torch.equal(p, before.get_parameter(n)) for n, p in net.named_parameters())
    with torch.no_grad():
        errors = [float(net.reconstruction(batch(NEW_ROWS))["reconstruction"]) for net in (before, net)]
    assert errors[1] < 0.5 * errors[0]


def test_weight_decay_is_the_last_term_of_the_objective() -> None:
    """One step of Adam on mean distance + λ/2 ‖W‖², written out, gives the same weights."""
    by_hand = with_center(network(pretraining_epochs=0))
    net = network(pretraining_epochs=0, weight_decay=0.3)
    train(net, ROWS, Settings(batch_size=1000, seed=0))
    adam = torch.optim.Adam(by_hand.encoder.parameters(), lr=by_hand.learning_rate)
    penalty = sum(weight.square().sum() for weight in by_hand.encoder.parameters())
    (by_hand.distances(batch())["distance"] + 0.5 * 0.3 * penalty).backward()
    adam.step()
    without = network(pretraining_epochs=0, weight_decay=0.0)
    train(without, ROWS, Settings(batch_size=1000, seed=0))
    for name, weight in by_hand.encoder.named_parameters():
        got = net.encoder.get_parameter(name)
        assert (got - weight).abs().max() < 0.05 * (got - without.encoder.get_parameter(name)).abs().max()


# --- center and radius ------------------------------------------------------------------------------------------------


def test_the_center_is_the_mean_output_kept_away_from_zero() -> None:
    class Fixed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x

    net = network(n=6, latent_dim=6)
    net.encoder = Fixed()
    rows = torch.tensor([[2.0, -2.0, 0.03, -0.03, 0.0, 0.2], [4.0, -4.0, 0.05, -0.05, 0.0, 0.0]])
    with_center(net, rows)
    torch.testing.assert_close(net.center, torch.tensor([3.0, -3.0, 0.1, -0.1, 0.1, 0.1]))


def test_the_center_is_that_of_the_pretrained_network() -> None:
    net = network(0, pretraining_epochs=5)
    train(net, ROWS, Settings(batch_size=128, seed=0))
    mean = net.encode(ROWS).mean(0)
    clear = mean.abs() > 0.1
    assert clear.any()
    torch.testing.assert_close(net.center[clear], mean[clear], rtol=1e-4, atol=1e-5)
    assert (net.center.abs() >= 0.1 - 1e-7).all()
    assert not torch.allclose(net.center, with_center(network()).center, atol=0.01)


def test_the_radius_is_the_best_one_for_the_distances() -> None:
    """R² + (1/ν) mean max(0, D − R²) is least at the (1 − ν)-quantile; numpy's quantile, and a search."""
    net = with_center(network(objective="soft_boundary", nu=0.15))
    with torch.no_grad():
        distances = net.distances(batch())["distance"], (net.encode(ROWS) - net.center).square().sum(1)
        net.fix_radius(Batches(ROWS, 128))
        best = float(net.soft_boundary(batch())["soft_boundary"])
        assert float(net.radius) ** 2 == pytest.approx(np.quantile(distances[1].numpy(), 0.85), rel=1e-5)
        for radius in np.linspace(0, 3, 200):
            net.radius.fill_(radius)
            assert float(net.soft_boundary(batch())["soft_boundary"]) >= best - 1e-5


def test_in_training_the_radius_is_that_of_the_latest_batch_after_its_step_and_then_of_all_rows() -> None:
    net = network(4, objective="soft_boundary", nu=0.2, pretraining_epochs=0, warm_up_epochs=2)
    warm_up, ball = net.phases()
    assert (warm_up.epochs, ball.epochs, warm_up.after_batch) == (2, 2, None)
    with_center(net)
    assert net.radius == 0
    assert ball.after_batch is not None
    with torch.no_grad():
        ball.after_batch(batch(ROWS[:50]))
        distances = (net.encode(ROWS[:50]) - net.center).square().sum(1)
    assert float(net.radius) ** 2 == pytest.approx(np.quantile(distances.numpy(), 0.8), rel=1e-5)
    train(net, ROWS, Settings(batch_size=128, seed=0))
    assert net.radius > 0
    with torch.no_grad():
        assert float((net.score(ROWS) > 0).float().mean()) == pytest.approx(0.2, abs=2 / len(ROWS))


@pytest.mark.parametrize(("epochs", "warm_up"), [(500, 10), (60, 6), (5, 0)])
def test_the_warm_up_leaves_epochs_for_the_soft_boundary(epochs: int, warm_up: int) -> None:
    assert [p.epochs for p in network(epochs, objective="soft_boundary").phases()] == [
        epochs,
        warm_up,
        epochs - warm_up,
    ]


# --- learning ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", ["one_class", "soft_boundary"])
def test_training_tells_rows_off_the_curve_and_without_the_distance_term_it_does_not(objective: str) -> None:
    labels = np.r_[np.zeros(300), np.ones(300)]

    def auroc(net: DeepSVDDNetwork) -> float:
        with torch.no_grad():
            return float(roc_auc_score(labels, net.score(torch.cat([NEW_ROWS, ODD_ROWS]))))

    untrained = trained(0, pretraining_epochs=0)
    pretrained_only = trained(0, pretraining_epochs=60)
    assert max(auroc(untrained), auroc(pretrained_only)) < 0.75
    assert auroc(trained(150, objective=objective, pretraining_epochs=60)) > 0.9


# --- collapse ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("broken", [{"bias": True, "activation": nn.LeakyReLU}, {"activation": nn.Sigmoid}])
def test_a_bias_or_a_bounded_activation_collapses_and_is_said(
    broken: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = np.random.default_rng(0).normal(size=(1000, 5))
    options = {
        "epochs": 150,
        "pretraining_epochs": 0,
        "calibration": "none",
        "early_stopping": False,
        "batch_size": 128,
    }
    healthy = DeepSVDD(**options).fit(rows)  # a warning would be an error
    assert healthy.scorer_.method.spread > 0.1
    monkeypatch.setattr(deep_svdd, "mlp", lambda sizes, **_: mlp(sizes, **broken))
    with pytest.warns(UserWarning, match="has collapsed"):
        collapsed = DeepSVDD(**options).fit(rows)
    assert collapsed.scorer_.method.spread < 0.01


def test_a_constant_column_is_a_bias_and_standard_scaling_takes_it_away() -> None:
    rows = np.c_[np.full(1000, 3.0), np.random.default_rng(0).normal(size=(1000, 4))]
    options = {
        "epochs": 150,
        "pretraining_epochs": 0,
        "calibration": "none",
        "early_stopping": False,
        "batch_size": 128,
    }
    DeepSVDD(**options).fit(rows)
    with pytest.warns(UserWarning, match=r"constant after scaling acts as the bias.*scaling='standard'"):
        DeepSVDD(**options, scaling="none").fit(rows)


def test_learning_few_rows_by_heart_is_not_called_collapse() -> None:
    """The training distances shrink a thousandfold and more; those of rows put together anew do not."""
    net = network(600, pretraining_epochs=0, hidden_sizes=(64, 32))
    first = with_center(network(pretraining_epochs=0, hidden_sizes=(64, 32))).distances(batch(ROWS[:60]))["distance"]
    train(net, ROWS[:60], Settings(batch_size=128, seed=0))
    assert net.usual_distance < 1e-3 * first.item()
    assert net.spread > 0.05


def test_rows_put_together_anew_keep_every_columns_values() -> None:
    x = torch.arange(35.0).reshape(7, 5)
    rolled = deep_svdd._rolled(x)
    assert torch.equal(rolled.sort(0).values, x)
    assert len({tuple(row.div(5).floor().tolist()) for row in rolled}) == 7
    assert not any(torch.equal(row, other) for row in rolled for other in x)
    assert deep_svdd._rolled(torch.ones(2, 5)).shape == (2, 5)


# --- odd circumstances ------------------------------------------------------------------------------------------------


def test_identical_rows_are_no_collapse_and_have_scores() -> None:
    detector = DeepSVDD(epochs=2, early_stopping=False, calibration="none").fit(np.ones((40, 3)))
    assert np.isfinite(detector.anomaly_score(np.array([[1.0, 1, 1], [5, 5, 5]]))).all()


def test_a_time_limit_before_the_center_leaves_a_model_that_scores(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="time limit"):
        detector = DeepSVDD(calibration="none", early_stopping=False).fit(ROWS.numpy(), time_limit=0)
    method: Any = detector.scorer_.method
    assert (method.center.abs() >= 0.0999).all()
    offnormal.save(detector, tmp_path / "model.offnormal")
    loaded = offnormal.load(tmp_path / "model.offnormal")
    assert np.array_equal(loaded.anomaly_score(ROWS.numpy()), detector.anomaly_score(ROWS.numpy()))


class InterruptedRunError(Exception):
    """Stands for a kill."""


@pytest.mark.parametrize(
    ("phase", "epoch"), [("pretraining", 3), ("warm_up", 1), ("warm_up", 3), ("soft_boundary", 1), ("soft_boundary", 4)]
)
def test_a_run_interrupted_anywhere_resumes_to_the_same_bits(
    phase: str, epoch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("offnormal.trainer.SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    build = partial(network, 12, objective="soft_boundary", pretraining_epochs=4, warm_up_epochs=4, milestone=2)
    whole = build()
    train(whole, ROWS, Settings(batch_size=128, seed=0))
    settings = Settings(batch_size=128, seed=0, checkpoint=tmp_path / "run.checkpoint", resume=True)

    def interrupt(progress: Progress) -> None:
        if (progress.phase, progress.epoch) == (phase, epoch):
            raise InterruptedRunError

    with pytest.raises(InterruptedRunError):
        train(build(), ROWS, settings, on_progress=interrupt)
    resumed = build()
    train(resumed, ROWS, settings)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
