"""Layer-wise pre-training: each pair alone moves, on the activations below it, and a deep narrow chain learns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from offnormal.batches import Batch
from offnormal.errors import InvalidParameter
from offnormal.method import Method, Phase
from offnormal.networks.mlp import mlp
from offnormal.pretraining import layer_wise
from offnormal.random import generator, scoped
from offnormal.trainer import Settings, train

ADAM: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer] = partial(torch.optim.Adam, lr=1e-2)


class Chain(Method):
    """An autoencoder that is pre-trained and nothing else."""

    def __init__(self, sizes: Sequence[int], epochs: int, noise: float = 0.0, **options: Any) -> None:
        super().__init__()
        self.encoder, self.decoder = mlp(sizes, **options), mlp(sizes[::-1], **options)
        self.epochs, self.noise = epochs, noise

    def phases(self) -> Sequence[Phase]:
        return layer_wise(self.encoder, self.decoder, epochs=self.epochs, optimizer=ADAM, noise=self.noise)

    def score(self, x: Tensor) -> Tensor:
        return (x - self.decoder(self.encoder(x))).square().sum(1)


def rows() -> Tensor:
    """Return rows on a curve in eight dimensions, standardized."""
    t = torch.rand(400, 1, generator=generator(0, "curve")) * 2 - 1
    table = torch.cat([t, t**2, t**3, (3 * t).sin(), (3 * t).cos(), -t, t.exp(), t.abs()], dim=1)
    return (table - table.mean(0)) / table.std(0)


ROWS = rows()
BATCH = Batch(ROWS, torch.arange(len(ROWS)))
SIZES = (8, 16, 12, 6, 2)


def chain(epochs: int = 1, sizes: Sequence[int] = SIZES, **options: Any) -> Chain:
    with scoped(0, "build"):
        return Chain(sizes, epochs, **options)


def mean_error(net: Chain) -> float:
    with torch.no_grad():
        return float(net.score(ROWS).mean())


@pytest.mark.parametrize(("activation", "left"), [(nn.Tanh, 0.1), (nn.ReLU, 0.6)])
def test_a_deep_narrow_chain_rebuilds_its_rows_after_pretraining_alone(
    activation: type[nn.Module], left: float
) -> None:
    net = chain(60, activation=activation)
    before = mean_error(net)
    training = train(net, ROWS, Settings(batch_size=64, seed=0))
    assert mean_error(net) < left * before
    assert [record["phase"] for record in training.history[::60]] == [f"pretraining_{i}" for i in range(1, 5)]
    only_outermost = chain(60, activation=activation)
    only_outermost.phases = (
        lambda: layer_wise(  # type: ignore[method-assign]
            only_outermost.encoder, only_outermost.decoder, epochs=60, optimizer=ADAM
        )[:1]
    )
    train(only_outermost, ROWS, Settings(batch_size=64, seed=0))
    assert mean_error(net) < left * mean_error(only_outermost), "the inner pairs must have learned too"


def test_each_phase_changes_its_own_pair_only() -> None:
    net = chain()
    linear = [
        (down, up)
        for down, up in zip(
            [m for m in net.encoder if isinstance(m, nn.Linear)],
            [m for m in net.decoder if isinstance(m, nn.Linear)][::-1],
            strict=True,
        )
    ]
    for i, phase in enumerate(net.phases()):
        (update,) = phase.updates
        own = {id(p) for layer in linear[i] for p in layer.parameters()}
        assert {id(p) for p in update.params} == own
        before = {name: p.detach().clone() for name, p in net.named_parameters()}
        optimizer = update.optimizer(update.params)
        sum(update.losses(BATCH).values()).backward()
        for name, p in net.named_parameters():
            assert (p.grad is not None) == (id(p) in own), name
        optimizer.step()
        for name, p in net.named_parameters():
            assert torch.equal(p, before[name]) == (id(p) not in own), name
            p.grad = None


def test_the_loss_of_a_pair_is_the_error_on_the_activations_below() -> None:
    net = chain()
    e, d = list(net.encoder), list(net.decoder)
    below = torch.tanh(e[2](torch.tanh(e[0](ROWS))))
    hidden = torch.tanh(e[4](below))
    expected = (below - torch.tanh(d[2](hidden))).square().sum() / len(ROWS)
    torch.testing.assert_close(net.phases()[2].updates[0].losses(BATCH)["reconstruction"], expected)
    innermost = (hidden - torch.tanh(d[0](e[6](hidden)))).square().sum() / len(ROWS)
    torch.testing.assert_close(net.phases()[3].updates[0].losses(BATCH)["reconstruction"], innermost)
    outermost = (ROWS - d[6](torch.tanh(e[0](ROWS)))).square().sum() / len(ROWS)
    torch.testing.assert_close(net.phases()[0].updates[0].losses(BATCH)["reconstruction"], outermost)


def test_a_mirrored_relu_learns_even_if_it_starts_dead_on_every_row() -> None:
    net = chain(activation=nn.ReLU)
    dead = net.decoder[2]
    with torch.no_grad():
        dead.bias.fill_(-100)
    (update,) = net.phases()[2].updates
    update.losses(BATCH)["reconstruction"].backward()
    assert bool((dead.bias.grad < -1).any())


def test_noise_is_on_the_input_in_training_only() -> None:
    """A wide linear pair can rebuild exactly; with noise σ on x of variance v the best gain is v / (v + σ²)."""
    net = chain(150, sizes=(3, 3), noise=1.0)
    with scoped(0, "rows"):
        white = torch.randn(2000, 3)
    train(net, white, Settings(batch_size=250, seed=0))
    gain = (net.encoder[0].weight.T @ net.decoder[0].weight.T).detach()
    torch.testing.assert_close(gain, 0.5 * torch.eye(3), atol=0.06, rtol=0)
    losses = net.phases()[0].updates[0].losses
    held_out = [losses(Batch(white, torch.arange(2000)))["reconstruction"] for _ in range(2)]
    assert torch.equal(*held_out), "held-out rows are not corrupted"
    net.train()
    assert losses(Batch(white, torch.arange(2000)))["reconstruction"] != held_out[0]


def test_dropout_is_off_below_a_pair_and_on_its_output() -> None:
    net = chain(dropout=0.5).train()
    losses = net.phases()[3].updates[0].losses
    with torch.no_grad():
        torch.testing.assert_close(losses(BATCH), losses(BATCH))


def test_no_epochs_no_phases_and_a_decoder_that_does_not_mirror_is_refused() -> None:
    net = chain(0)
    assert net.phases() == ()
    with pytest.raises(InvalidParameter, match="mirrors the encoder"):
        layer_wise(net.encoder, mlp((2, 6, 8)), epochs=1, optimizer=ADAM)
