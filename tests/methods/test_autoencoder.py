"""The autoencoder against principal components, its presets against the papers, and that training and noise matter."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from offnormal import Autoencoder
from offnormal.batches import Batch, Batches
from offnormal.methods.autoencoder import AutoencoderNetwork
from offnormal.random import generator, scoped
from offnormal.trainer import Settings, train


def plane(rows: int = 500) -> Tensor:
    """Return centered rows with variances 9, 4, 1/4, … along mixed axes: two directions hold nearly all."""
    axes = torch.linalg.qr(torch.randn(6, 6, generator=generator(0, "axes"))).Q
    spread = torch.tensor([3.0, 2.0, 0.5, 0.4, 0.3, 0.2])
    table = (torch.randn(rows, 6, generator=generator(0, "rows")) * spread) @ axes.T
    return table - table.mean(0)


ROWS = plane()


def network(epochs: int = 1, rows: Tensor = ROWS, **changes: Any) -> AutoencoderNetwork:
    detector = Autoencoder(**{"hidden_sizes": (12, 4), "latent_dim": 2, **changes})
    detector.planned_epochs_ = epochs
    with scoped(0, "build"):
        built = detector.build((rows.shape[1],))
    assert isinstance(built, AutoencoderNetwork)
    return built


def trained(epochs: int, rows: Tensor = ROWS, **changes: Any) -> AutoencoderNetwork:
    net = network(epochs, rows, **changes)
    train(net, rows, Settings(batch_size=100, seed=0))
    return net


def mean_score(net: AutoencoderNetwork, rows: Tensor = ROWS) -> float:
    with torch.no_grad():
        return float(net.score(rows).mean())


def test_without_hidden_layers_it_finds_the_principal_plane() -> None:
    """The best linear autoencoder is principal components (Baldi and Hornik 1989): same residual, same plane."""
    net = trained(250, hidden_sizes=(), learning_rate=1e-2)
    _, singular, directions = torch.linalg.svd(ROWS.double(), full_matrices=False)
    least = float(singular[2:].square().sum() / len(ROWS))
    assert mean_score(net) == pytest.approx(least, rel=0.01)
    assert mean_score(network(hidden_sizes=())) > 5 * least, "an untrained one is far from it"
    weight = next(module.weight for module in net.decoder if isinstance(module, nn.Linear)).detach().double()
    cosines = torch.linalg.svdvals(torch.linalg.qr(weight).Q.T @ directions[:2].T)
    assert float(cosines.min()) > 0.999, "principal angles under 2.6 degrees"


def test_the_score_is_the_squared_distance_to_the_rebuilt_row() -> None:
    net = network()
    rebuilt = net.decoder(net.encoder(ROWS))
    torch.testing.assert_close(net.score(ROWS), ((ROWS - rebuilt) ** 2).sum(1).double(), rtol=1e-5, atol=1e-6)
    loss = net.losses(Batch(ROWS, torch.arange(len(ROWS))))["reconstruction"]
    torch.testing.assert_close(loss.double(), net.score(ROWS).mean(), rtol=1e-5, atol=1e-6)
    loss.backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in net.parameters())


def test_noise_shrinks_a_wide_linear_network_towards_zero() -> None:
    """With variance v along an axis and noise σ the best gain is v / (v + σ²), where a plain one finds 1."""
    white = torch.randn(2000, 3, generator=generator(0, "white"))
    gains = []
    for noise in (0.0, 1.0):
        net = trained(60, white, hidden_sizes=(), latent_dim=3, noise=noise, learning_rate=1e-2)
        with torch.no_grad():
            gains.append(net.reconstruct(torch.eye(3)) - net.reconstruct(torch.zeros(3, 3)))
    torch.testing.assert_close(gains[0], torch.eye(3), atol=0.05, rtol=0)
    torch.testing.assert_close(gains[1], 0.5 * torch.eye(3), atol=0.08, rtol=0)


def test_scores_and_held_out_losses_are_free_of_noise() -> None:
    net = network(noise=1.0).eval()
    batch = Batch(ROWS, torch.arange(len(ROWS)))
    assert torch.equal(net.losses(batch)["reconstruction"], net.losses(batch)["reconstruction"])
    net.train()
    assert net.losses(batch)["reconstruction"] != net.losses(batch)["reconstruction"]


def test_pretraining_alone_helps_and_is_part_of_the_phases() -> None:
    untrained = mean_score(network())
    assert mean_score(trained(0, pretraining_epochs=40, learning_rate=1e-2)) < 0.5 * untrained
    names = [phase.name for phase in network(pretraining_epochs=3).phases()]
    assert names == ["pretraining_1", "pretraining_2", "pretraining_3", "end_to_end"]
    assert [phase.name for phase in network().phases()] == ["end_to_end"]


def test_folds_train_as_long_as_the_final_model_whatever_pretraining_took() -> None:
    """Not as long as the longest phase, which may be pre-training."""
    seen: dict[str, set[tuple[str, int]]] = {}

    def note(progress: Any) -> None:
        seen.setdefault(progress.stage, set()).add((progress.phase, progress.epochs))

    detector = Autoencoder(epochs=2, pretraining_epochs=5, hidden_sizes=(4,), early_stopping=False, calibration="folds")
    detector.fit(ROWS[:60].numpy(), on_progress=note)
    asked = {("pretraining_1", 5), ("pretraining_2", 5), ("end_to_end", 2)}
    assert len(seen) == 6
    assert all(phases <= asked for phases in seen.values())
    assert detector.training_["best_epoch"] == dict(asked)


@pytest.mark.parametrize(
    ("preset", "width", "encoder", "epochs", "batch_size", "pretraining"),
    [
        ("kddcup", 120, [120, 60, 30, 10, 1], 200, 1024, 0),
        ("kddcup_rev", 120, [120, 60, 30, 10, 1], 400, 1024, 0),
        ("thyroid", 6, [6, 12, 4, 1], 20000, 1024, 0),
        ("arrhythmia", 274, [274, 10, 2], 10000, 128, 0),
        ("kddcup_pretrained", 120, [120, 60, 30, 10, 1], 200, 1024, 20),
        ("arrhythmia_pretrained", 274, [274, 10, 2], 10000, 128, 1000),
        ("memae_kddcup", 120, [120, 60, 30, 10, 3], 200, 1024, 0),
    ],
)
def test_presets_are_the_papers_networks(
    preset: str, width: int, encoder: list[int], epochs: int, batch_size: int, pretraining: int
) -> None:
    detector = Autoencoder.from_preset(preset)
    detector.planned_epochs_ = epochs
    net = detector.build((width,))
    assert isinstance(net, AutoencoderNetwork)
    for chain, sizes in ((net.encoder, encoder), (net.decoder, encoder[::-1])):
        linear = [(m.in_features, m.out_features) for m in chain if isinstance(m, nn.Linear)]
        assert linear == list(pairwise(sizes))
        assert {type(m) for m in chain} == {nn.Linear, nn.Tanh}
        assert isinstance(list(chain)[-1], nn.Linear), "code and output are linear"
    assert (detector.epochs, detector.batch_size, detector.pretraining_epochs) == (epochs, batch_size, pretraining)
    assert (detector.learning_rate, detector.scaling, detector.early_stopping) == (1e-4, "minmax", False)


@pytest.mark.parametrize(("activation", "kind"), [("relu", nn.ReLU), ("leaky_relu", nn.LeakyReLU), ("tanh", nn.Tanh)])
def test_the_activation_is_the_one_asked_for(activation: str, kind: type[nn.Module]) -> None:
    assert {type(m) for m in network(activation=activation).encoder} == {nn.Linear, kind}


def test_contributions_are_falls_of_the_score() -> None:
    """Each is the score less that of some row with this column alone replaced, so it never exceeds the score."""
    net = trained(5)
    with torch.no_grad():
        residual = (ROWS - net.reconstruct(ROWS)).double()
        net.residuals.learn(Batches(ROWS, 77), net.reconstruct)
    torch.testing.assert_close(net.residuals.mean, residual.mean(0), rtol=1e-5, atol=1e-6)
    odd = ROWS[:20].clone()
    odd[:, 3] += 6
    with torch.no_grad():
        parts = net.contributions(odd, torch.arange(6), 6)
        assert set(parts) == {"reconstruction"}
        falls = parts["reconstruction"]
        score = net.score(odd)
        assert bool((falls >= 0).all())
        assert bool((falls <= score[:, None] + 1e-9).all())
        median = odd.clone()
        median[:, 3] = ROWS[:, 3].sort().values[250]
        assert bool((falls[:, 3] >= score - net.score(median) - 1e-3).all()), "at least the best of the candidates"
    assert np.bincount(falls.argmax(1), minlength=6)[3] >= 18
