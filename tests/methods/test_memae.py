"""MemAE: anomalies come back as something normal, which neither an untrained memory nor a plain code achieves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from offnormal import Autoencoder
from offnormal.batches import Batch
from offnormal.errors import InvalidParameter
from offnormal.method import Method
from offnormal.methods.memae import MemAE, MemAENetwork
from offnormal.networks.autoencoding import squared_error
from offnormal.random import generator, scoped
from offnormal.trainer import Settings, train

CENTERS = torch.tensor([[1.5, 1.5, 1.5, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.5, 1.5, 1.5]])


def around(center: Tensor, rows: int, stream: str) -> Tensor:
    return center + 0.15 * torch.randn(rows, 6, generator=generator(0, stream))


NORMAL = around(CENTERS[torch.arange(400) % 2], 400, "normal")
OPPOSITE = around(-CENTERS[0], 50, "opposite")
BEYOND = around(2 * CENTERS[0], 50, "beyond")
SMALL = {"hidden_sizes": (16,), "latent_dim": 2, "learning_rate": 1e-2}


def network(
    shape: tuple[int, ...] = (6,), *, detector: type = MemAE, epochs: int = 1, seed: int = 0, **changes: Any
) -> Any:
    built = detector(**{**SMALL, **changes})
    built.planned_epochs_ = epochs
    with scoped(seed, "build"):
        return built.build(shape)


def memory_network(shape: tuple[int, ...] = (6,), **changes: Any) -> MemAENetwork:
    built = network(shape, **changes)
    assert isinstance(built, MemAENetwork)
    return built


def trained(net: Any, seed: int = 0) -> Any:
    train(net, NORMAL, Settings(batch_size=100, seed=seed))
    return net


def mean_score(net: Method, rows: Tensor) -> float:
    with torch.inference_mode():
        return float(net.score(rows).mean())


def way_to_the_normal(net: MemAENetwork, rows: Tensor) -> float:
    """Return the mean squared distance of the rebuilt rows to the nearest center."""
    with torch.inference_mode():
        return float(torch.cdist(net.reconstruct(rows), CENTERS).min(1).values.square().mean())


class WithoutMemory(nn.Module):
    """The code itself, as if it had been read from one slot."""

    def forward(self, code: Tensor) -> tuple[Tensor, Tensor]:
        return code, torch.ones(len(code), 1, 1)


def without_memory(net: MemAENetwork) -> MemAENetwork:
    net.memory = WithoutMemory()
    return net


def with_entropy_alone(net: MemAENetwork) -> MemAENetwork:
    """Train what the entropy moves: the decoder gets no gradient from it."""
    adam = torch.optim.Adam([*net.encoder.parameters(), *net.memory.parameters()], lr=1e-2)
    for _ in range(100):
        adam.zero_grad()
        net.losses(Batch(NORMAL, torch.arange(400)))["entropy"].backward()
        adam.step()
    return net


def test_anomalies_are_rebuilt_as_normal_rows() -> None:
    """So their error is about their distance to the normal, and a plain autoencoder's of the same widths is less.

    Means over three seeds: where a single anomaly is sent is chance.
    """
    small: dict[str, Any] = {"n_slots": 10, "entropy_weight": 0.02, "epochs": 150}
    seeds = range(3)
    nets = [trained(memory_network(**small, seed=seed), seed) for seed in seeds]
    plain = [trained(network(detector=Autoencoder, epochs=150, seed=seed), seed) for seed in seeds]
    assert max(mean_score(net, NORMAL) for net in nets) < 0.25
    for odd in (OPPOSITE, BEYOND):
        assert np.mean([way_to_the_normal(net, odd) for net in nets]) < 1
        least = float(torch.cdist(odd, CENTERS).min(1).values.square().mean())
        remembered = np.mean([mean_score(net, odd) for net in nets])
        assert remembered > 0.8 * least
        assert remembered > 1.3 * np.mean([mean_score(net, odd) for net in plain])
    failing = {
        "untrained": [memory_network(**small, seed=seed) for seed in seeds],
        "without memory": [trained(without_memory(memory_network(**small, seed=seed)), seed) for seed in seeds],
        "without reconstruction": [with_entropy_alone(memory_network(**small, seed=seed)) for seed in seeds],
    }
    for name, others in failing.items():
        assert np.mean([way_to_the_normal(net, OPPOSITE) for net in others]) > 3, name


def test_entropy_in_the_loss_and_shrinkage_each_make_addressing_sparser() -> None:
    def entropy_and_slots(**changes: Any) -> tuple[float, float]:
        net = trained(memory_network(n_slots=20, epochs=30, **changes))
        with torch.inference_mode():
            weights = net.remember(NORMAL)[1]
        bits = torch.distributions.Categorical(probs=weights).entropy()
        return float(bits.mean()), float((weights > 0).sum(-1).float().mean())

    neither, entropy, shrinkage = (
        entropy_and_slots(shrinkage=0.0, entropy_weight=0.0),
        entropy_and_slots(shrinkage=0.0, entropy_weight=1.0),
        entropy_and_slots(shrinkage=1.0, entropy_weight=0.0),
    )
    assert entropy[0] < neither[0] - 0.1
    assert neither[1] == entropy[1] == 20, "without shrinkage every slot is read"
    assert shrinkage[1] < 12
    assert shrinkage[0] < neither[0] - 0.3


def test_the_losses_and_the_score_are_those_of_the_equations() -> None:
    net = memory_network(n_slots=5, addressing="dot", shrinkage=1.5, entropy_weight=0.3)
    codes, slots = net.encoder(NORMAL), net.memory.slots
    weights = torch.exp(codes @ slots.T)
    weights = weights / weights.sum(1, keepdim=True)
    kept = weights * (weights > 0.3)
    weights = torch.where(kept.sum(1, keepdim=True) > 0, kept / kept.sum(1, keepdim=True), weights)
    rebuilt = net.decoder(weights @ slots)
    terms = net.losses(Batch(NORMAL, torch.arange(400)))
    torch.testing.assert_close(terms["reconstruction"], nn.functional.mse_loss(rebuilt, NORMAL))
    torch.testing.assert_close(terms["entropy"], -0.3 * torch.xlogy(weights, weights).sum(1).mean())
    torch.testing.assert_close(net.score(NORMAL), squared_error(NORMAL, rebuilt).double(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(net.reconstruct(NORMAL), rebuilt)
    torch.testing.assert_close(net.encode(NORMAL), codes)
    cosine = memory_network(n_slots=5, shrinkage=1.5)
    assert float((cosine.score(NORMAL) - net.score(NORMAL)).detach().abs().max()) > 1e-3


@pytest.mark.parametrize("term", ["reconstruction", "entropy"])
@pytest.mark.parametrize("shrinkage", [0.0, 1.0, 3.0])
def test_each_term_moves_the_slots_and_the_encoder(term: str, shrinkage: float) -> None:
    net = memory_network(shrinkage=shrinkage)
    net.losses(Batch(NORMAL, torch.arange(400)))[term].backward()
    for name, p in net.named_parameters():
        reached = p.grad is not None and bool(p.grad.abs().sum() > 0)
        assert reached == (term == "reconstruction" or not name.startswith("decoder")), name
    assert net.memory.slots.grad is not None
    used = net.memory.slots.grad.abs().sum(1) > 0
    assert float(used.float().mean()) > 0.9


@pytest.mark.parametrize(
    ("shape", "changes", "slots", "positions"),
    [
        ((6,), {}, (50, 2), 1),
        ((1, 9, 11), {}, (100, 16 * 4 * 5), 1),
        ((1, 9, 11), {"linear_code": True}, (100, 2), 1),
        ((1, 9, 11), {"network": "dense"}, (100, 2), 1),
        ((1, 9, 11), {"memory_per_position": True}, (2000, 16), 20),
        ((1, 5, 9, 11), {}, (2000, 16), 2 * 4 * 5),
        ((1, 5, 9, 11), {"memory_per_position": False, "n_slots": 7}, (7, 16 * 2 * 4 * 5), 1),
        ((1, 5, 9, 11), {"linear_code": True, "n_slots": 7}, (7, 2), 1),
    ],
)
def test_slots_hold_codes_feature_maps_or_their_positions(
    shape: tuple[int, ...], changes: dict[str, Any], slots: tuple[int, int], positions: int
) -> None:
    net = memory_network(shape, **changes).eval()
    x = torch.rand(3, *shape, generator=generator(0, "x"))
    rebuilt, weights = net.remember(x)
    assert rebuilt.shape == x.shape
    assert net.memory.slots.shape == slots
    assert net.memory.cut == pytest.approx(1 / slots[0])
    assert weights.shape == (3, positions, slots[0])
    assert net.encode(x).shape == (3, len(net.code_names()))
    if len(shape) > 1:
        torch.testing.assert_close(net.score_map(x).double().flatten(1).sum(1), net.score(x))


def test_what_does_not_fit_says_why() -> None:
    with pytest.raises(InvalidParameter, match="Only feature maps have positions"):
        memory_network((6,), memory_per_position=True)
    with pytest.raises(InvalidParameter, match="Only feature maps have positions"):
        memory_network((1, 8, 8), memory_per_position=True, linear_code=True)
    with pytest.raises(InvalidParameter, match="must lead to the same"):
        memory_network((1, 8, 8), decoder_hidden_sizes=(4,))


def convolutions(chain: nn.Sequential) -> list[tuple[int, int, int, int]]:
    """Return (kernel, stride, channels in, channels out) of each."""
    return [
        (m.kernel_size[0], m.stride[0], m.in_channels, m.out_channels)
        for m in chain
        if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d))
    ]


@pytest.mark.parametrize(
    ("preset", "shape", "encoder", "decoder", "slots"),
    [
        (
            "mnist", (1, 28, 28), [(1, 2, 1, 16), (3, 2, 16, 32), (3, 2, 32, 64)],
            [(3, 2, 64, 64), (3, 2, 64, 32), (3, 2, 32, 1)], (100, 64 * 4 * 4),
        ),
        (
            "cifar10", (3, 32, 32), [(3, 2, 3, 64), (3, 2, 64, 128), (3, 2, 128, 128), (3, 2, 128, 256)],
            [(3, 2, 256, 256), (3, 2, 256, 128), (3, 2, 128, 128), (3, 2, 128, 3)], (500, 256 * 2 * 2),
        ),
        ("kddcup", (120,), [120, 60, 30, 10, 3], [3, 10, 30, 60, 120], (50, 3)),
    ],
)  # fmt: skip
def test_presets_are_the_networks_of_the_specification(
    preset: str, shape: tuple[int, ...], encoder: list[Any], decoder: list[Any], slots: tuple[int, int]
) -> None:
    detector = MemAE.from_preset(preset)
    detector.planned_epochs_ = 1
    net = detector.build(shape)
    assert isinstance(net, MemAENetwork)
    for chain, expected in ((net.encoder, encoder), (net.decoder, decoder)):
        if len(shape) == 1:
            linear = [m for m in chain if isinstance(m, nn.Linear)]
            assert [linear[0].in_features, *(m.out_features for m in linear)] == expected
            assert {type(m) for m in chain} == {nn.Linear, nn.Tanh}
        else:
            assert convolutions(chain) == expected
            assert {nn.BatchNorm2d, nn.ReLU} < {type(m) for m in chain}
            assert not any(isinstance(m, nn.Linear) for m in chain)
    assert isinstance(list(net.decoder)[-1], (nn.Linear, nn.ConvTranspose2d)), "the output is linear"
    assert net.memory.slots.shape == slots
    assert (detector.learning_rate, detector.entropy_weight, detector.shrinkage) == (1e-4, 2e-4, 1.0)


@pytest.mark.parametrize("per_position", [False, True])
def test_of_images_another_digit_is_rebuilt_worse(per_position: bool) -> None:
    data = load_digits()
    images = (data.images[:, None] / 16).astype(np.float32)
    zeros = images[data.target == 0]

    def fitted(epochs: int) -> float:
        detector = MemAE(
            memory_per_position=per_position, n_slots=50, hidden_sizes=(8, 16), epochs=epochs, batch_size=32,
            early_stopping=False, calibration="none",
        )  # fmt: skip
        detector.fit(zeros[:100])
        own = detector.anomaly_score(zeros[100:])
        return float((detector.anomaly_score(images[data.target == 3]) > np.quantile(own, 0.9)).mean())

    assert fitted(60) > 0.95
    assert fitted(0) < 0.8
