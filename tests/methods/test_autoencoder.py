"""The autoencoder against principal components, on images with a planted defect, its presets against the papers, and
that training and noise matter.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from offnormal import Autoencoder
from offnormal.batches import Batch, Batches
from offnormal.errors import InvalidParameter
from offnormal.methods.autoencoder import AutoencoderNetwork
from offnormal.networks.similarity import structural_similarity
from offnormal.random import generator, scoped
from offnormal.trainer import Settings, train


def plane(rows: int = 500) -> Tensor:
    """Return centered rows with variances 9, 4, 1/4, … along mixed axes: two directions hold nearly all."""
    axes = torch.linalg.qr(torch.randn(6, 6, generator=generator(0, "axes"))).Q
    spread = torch.tensor([3.0, 2.0, 0.5, 0.4, 0.3, 0.2])
    table = (torch.randn(rows, 6, generator=generator(0, "rows")) * spread) @ axes.T
    return table - table.mean(0)


ROWS = plane()


def gratings(shape: tuple[int, ...], n: int, name: str) -> Tensor:
    """Return images of slanted waves, each of a phase and a slant of its own; their mean is flat."""
    c, h, w = shape
    phase, slant = torch.rand(2, n, 1, 1, 1, generator=generator(0, name)) * torch.tensor([2 * math.pi, 1.0]).view(
        2, 1, 1, 1, 1
    )
    i, j = torch.arange(h).view(h, 1), torch.arange(w)
    waves = torch.sin(0.9 * j + 0.6 * (slant - 0.5) * i + phase).expand(n, c, h, w)
    return 0.5 + 0.3 * waves + 0.02 * torch.randn(n, c, h, w, generator=generator(0, name, "noise"))


def with_a_defect(images: Tensor) -> tuple[Tensor, NDArray[np.bool_]]:
    """Return images with a square of the negative, bright and dark as often as elsewhere, and where it is (h, w)."""
    spoiled, where = images.clone(), np.zeros(images.shape[-2:], dtype=bool)
    spoiled[:, :, 6:11, 5:10] = 1 - spoiled[:, :, 6:11, 5:10]
    where[6:11, 5:10] = True
    return spoiled, where


def network(epochs: int = 1, rows: Tensor = ROWS, **changes: Any) -> AutoencoderNetwork:
    detector = Autoencoder(**{"hidden_sizes": (12, 4), "latent_dim": 2, **changes})
    detector.planned_epochs_ = epochs
    with scoped(0, "build"):
        built = detector.build(tuple(rows.shape[1:]))
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


@pytest.mark.parametrize("shape", [(6,), (2, 8, 9), (1, 3, 8, 9)])
@pytest.mark.parametrize("difference", ["l2", "l1", "ssim"])
def test_loss_score_and_map_are_one_difference(shape: tuple[int, ...], difference: str) -> None:
    if difference == "ssim" and len(shape) == 1:
        with pytest.raises(InvalidParameter, match="columns of a table"):
            network(difference=difference)
        return
    x = torch.rand(20, *shape, generator=generator(0, "x"))
    net = network(rows=x, difference=difference, ssim_window=5, hidden_sizes=(4,)).eval()
    rebuilt = net.reconstruct(x).detach().double()
    score = net.score(x).detach()
    if difference == "ssim":
        expected = (1 - structural_similarity(x.double(), rebuilt, window=5)).flatten(1).sum(1)
        assert float(score.min()) > 0
        assert float(score.max()) < 2 * math.prod(shape[1:])
    else:
        expected = torch.linalg.vector_norm((x - rebuilt).flatten(1), ord=int(difference[1]), dim=1)
        expected = expected.square() if difference == "l2" else expected
    torch.testing.assert_close(score, expected, rtol=1e-9, atol=1e-9)
    loss = net.losses(Batch(x, torch.arange(20)))["reconstruction"]
    torch.testing.assert_close(loss.detach().double(), score.mean(), rtol=1e-4, atol=1e-4)
    loss.backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in net.parameters())
    if len(shape) > 1:
        assert net.score_map(x).shape == (20, *shape[1:])
        torch.testing.assert_close(net.score_map(x).flatten(1).sum(1).double(), score, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("shape", "difference"), [((1, 16, 16), "l2"), ((3, 17, 23), "l2"), ((1, 16, 16), "l1"), ((3, 17, 23), "ssim")]
)
def test_of_images_the_map_finds_a_defect_that_no_pixel_alone_shows(shape: tuple[int, ...], difference: str) -> None:
    images = gratings(shape, 300, "training")
    fresh = gratings(shape, 50, "fresh")
    spoiled, where = with_a_defect(fresh)

    def found(maps: Tensor) -> float:
        return float(roc_auc_score(np.broadcast_to(where, maps.shape).ravel(), maps.numpy().ravel()))

    def fitted(epochs: int) -> Autoencoder:
        detector = Autoencoder(
            difference=difference, ssim_window=5, hidden_sizes=(8, 16), epochs=epochs, batch_size=25,
            learning_rate=3e-3, early_stopping=False, calibration="none",
        )  # fmt: skip
        return detector.fit(images.clamp(0, 1).numpy())

    def maps(detector: Autoencoder) -> Tensor:
        return torch.from_numpy(detector.residual_maps(spoiled.clamp(0, 1).numpy()))

    trained, untrained = fitted(30), fitted(0)
    assert found(maps(trained)) > 0.85
    assert found(maps(untrained)) < 0.65
    assert found((spoiled - images.mean(0)).square().sum(1)) < 0.65, "nor is it far from the mean image"
    own, odd = (trained.anomaly_score(x.clamp(0, 1).numpy()) for x in (fresh, spoiled))
    assert float(np.quantile(own, 0.9)) < float(np.quantile(odd, 0.1))
    assert np.isfinite(trained.reconstruct(spoiled.clamp(0, 1).numpy())).all()


def test_absolute_error_passes_over_gross_errors_in_a_column_and_squared_error_bends_to_them() -> None:
    """Rows along (1, 1, 1, 1), but for a tenth that are 4 off in the first column: the line costs least by l1 alone."""
    line = torch.randn(300, 1, generator=generator(0, "line")).expand(300, 4)
    rows = line.clone()
    rows[::10, 0] += 4
    bent = {}
    for difference in ("l1", "l2"):
        net = trained(120, rows, hidden_sizes=(), latent_dim=1, difference=difference, learning_rate=1e-2)
        with torch.no_grad():
            bent[difference] = float((line - net.reconstruct(line)).abs().mean())
    assert bent["l1"] < 0.02
    assert bent["l2"] > 0.15


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


@pytest.mark.parametrize(
    ("preset", "shape", "encoder", "decoder"),
    [
        (
            "memae_mnist", (1, 28, 28), [(1, 1, 16), (3, 16, 32), (3, 32, 64)],
            [(3, 64, 64), (3, 64, 32), (3, 32, 1)],
        ),
        (
            "memae_cifar10", (3, 32, 32), [(3, 3, 64), (3, 64, 128), (3, 128, 128), (3, 128, 256)],
            [(3, 256, 256), (3, 256, 128), (3, 128, 128), (3, 128, 3)],
        ),
    ],
)  # fmt: skip
def test_memaes_networks_of_images(preset: str, shape: tuple[int, ...], encoder: list[Any], decoder: list[Any]) -> None:
    detector = Autoencoder.from_preset(preset)
    detector.planned_epochs_ = 1
    net = detector.build(shape)
    assert isinstance(net, AutoencoderNetwork)
    kinds = (nn.Conv2d, nn.ConvTranspose2d)
    for chain, expected in ((net.encoder, encoder), (net.decoder, decoder)):
        layers = [m for m in chain if isinstance(m, kinds)]
        assert [(m.kernel_size[0], m.in_channels, m.out_channels) for m in layers] == expected
        assert {m.stride for m in layers} == {(2, 2)}
        assert {type(m) for m in chain} - {*kinds, nn.Flatten, nn.Unflatten} == {nn.BatchNorm2d, nn.ReLU}
    assert isinstance(list(net.decoder)[-1], nn.ConvTranspose2d), "the output is linear"
    x = torch.rand(2, *shape)
    assert net.eval().reconstruct(x).shape == x.shape
    assert net.encode(x).shape == (2, net.code_dim)


def test_rapps_network_has_ten_layers_each_way() -> None:
    detector = Autoencoder.from_preset("rapp_mnist")
    detector.planned_epochs_ = 1
    net = detector.build((1, 28, 28))
    assert isinstance(net, AutoencoderNetwork)
    widths = np.linspace(784, 20, 11).astype(int).tolist()
    for chain, sizes in ((net.encoder, widths), (net.decoder, widths[::-1])):
        linear = [(m.in_features, m.out_features) for m in chain if isinstance(m, nn.Linear)]
        assert linear == list(pairwise(sizes))
        assert len(linear) == 10
        assert sum(isinstance(m, nn.BatchNorm1d) for m in chain) == 9, "none after code and output"
        assert sum(isinstance(m, nn.LeakyReLU) for m in chain) == 9
    assert net.eval().reconstruct(torch.rand(2, 1, 28, 28)).shape == (2, 1, 28, 28)
    assert (detector.learning_rate, detector.epochs, detector.batch_size) == (1e-3, 200, 256)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"difference": "ssim"}, "got 11 for images of 8×10"),
        ({"difference": "ssim", "ssim_window": 6}, "odd side"),
        ({"difference": "ssim", "ssim_window": 5, "pixel_scaling": "symmetric"}, "pixel_scaling='unit'"),
        ({"linear_code": False, "decoder_hidden_sizes": (5,)}, "must lead to the same"),
        ({"pretraining_epochs": 1}, "is for tables"),
    ],
)
def test_what_does_not_fit_images_says_why(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidParameter, match=words):
        network(rows=torch.rand(3, 1, 8, 10), **{"hidden_sizes": (4,), **changes})


@pytest.mark.parametrize(("activation", "kind"), [("relu", nn.ReLU), ("leaky_relu", nn.LeakyReLU), ("tanh", nn.Tanh)])
def test_the_activation_is_the_one_asked_for(activation: str, kind: type[nn.Module]) -> None:
    assert {type(m) for m in network(activation=activation).encoder} == {nn.Linear, kind}


@pytest.mark.parametrize("difference", ["l2", "l1"])
def test_contributions_are_falls_of_the_score(difference: str) -> None:
    """Each is the score less that of some row with this column alone replaced, so it never exceeds the score."""
    net = trained(5, difference=difference)
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
