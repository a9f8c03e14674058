"""The loop against hand-written loops, and its promises: isolation, resumption, early stopping, divergence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from offnormal.batches import Batch, Batches
from offnormal.errors import ModelFileError, TrainingDiverged
from offnormal.method import Method, Phase, Update
from offnormal.networks.averaging import WeightAverages
from offnormal.networks.diversity import COLLAPSED_BELOW, diversity
from offnormal.random import derive_seed, scoped
from offnormal.trainer import Progress, Settings, train

ROWS = torch.randn(100, 3, generator=torch.Generator().manual_seed(5))
ADAM = partial(torch.optim.Adam, lr=0.01)


class TwoNets(Method):
    """Two linear maps with losses that see both, so that a gradient could leak from one update into the other."""

    def __init__(self, epochs: int = 3, **options: Any) -> None:
        super().__init__()
        with scoped(0, "two nets"):
            self.first, self.second = nn.Linear(3, 2), nn.Linear(2, 3)
            self.dropout = nn.Dropout(0.3)
        self.epochs, self.options = epochs, options
        self.register_buffer("total", torch.zeros(3))
        self.seen: list[tuple[str, list[int]]] = []

    def _losses(self, name: str, sign: float, batch: Batch) -> Mapping[str, Tensor]:
        self.seen.append((name, batch.indices.tolist()))
        rebuilt = self.second(self.dropout(self.first(batch.x)))
        return {"error": sign * (rebuilt - batch.x).square().mean(), "size": 0.01 * rebuilt.square().mean()}

    def phases(self) -> Sequence[Phase]:
        updates = (
            Update("first", partial(self._losses, "first", 1.0), tuple(self.first.parameters()), ADAM),
            Update(
                "second", partial(self._losses, "second", 1.0), tuple(self.second.parameters()), ADAM, **self.options
            ),
        )
        return (Phase("alternating", updates, self.epochs),)

    def summarize(self, batches: Batches) -> None:
        self.total.copy_(sum(batch.x.sum(0) for batch in batches))

    def score(self, x: Tensor) -> Tensor:
        return (self.second(self.first(x)) - x).square().sum(1)


def settings(**changes: Any) -> Settings:
    return Settings(**{"batch_size": 32, "seed": 7, **changes})


def weights(method: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in method.state_dict().items()}


def same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


def test_alternating_training_equals_a_hand_written_loop_bit_for_bit() -> None:
    method = TwoNets(epochs=2)
    train(method, ROWS, settings())
    by_hand = TwoNets(epochs=2)
    optimizers = [ADAM(by_hand.first.parameters()), ADAM(by_hand.second.parameters())]
    nets = [by_hand.first, by_hand.second]
    by_hand.train()
    for epoch in range(2):
        order = Batches(ROWS, 32, seed=derive_seed(7, "batches"))
        order.epoch = epoch
        with scoped(7, "alternating", epoch):
            for batch in order:
                for net, optimizer in zip(nets, optimizers, strict=True):
                    by_hand.zero_grad()
                    sum(by_hand._losses("", 1.0, batch).values()).backward()
                    optimizer.step()
                    assert net is not None
    for name, tensor in by_hand.named_parameters():
        assert torch.equal(tensor, method.get_parameter(name)), name


def test_an_update_moves_its_own_parameters_and_leaves_the_others_without_gradient() -> None:
    class OnlyFirst(TwoNets):
        def phases(self) -> Sequence[Phase]:
            (phase,) = super().phases()
            return (Phase("one", phase.updates[:1], 1),)

    method = OnlyFirst()
    before = weights(method)
    train(method, ROWS, settings())
    assert not torch.equal(method.first.weight, before["first.weight"])
    assert torch.equal(method.second.weight, before["second.weight"])
    assert method.second.weight.grad is None


def test_every_and_fresh_batches() -> None:
    method = TwoNets(epochs=1, every=2, fresh_batch=True)
    train(method, ROWS, settings(batch_size=25))
    first = [rows for name, rows in method.seen if name == "first"]
    second = [rows for name, rows in method.seen if name == "second"]
    assert len(first) == 4
    assert len(second) == 2
    assert first[0] != second[0], "a fresh batch is another draw"


def test_summarize_sees_every_row_once_and_the_history_names_every_term() -> None:
    method = TwoNets(epochs=2)
    training = train(method, ROWS, settings())
    torch.testing.assert_close(method.total, ROWS.sum(0))
    assert [record["epoch"] for record in training.history] == [1, 2]
    assert set(training.history[0]["terms"]) == {"first/error", "first/size", "second/error", "second/size"}
    assert training.steps == 2 * 2 * 3
    assert not method.training


@pytest.mark.parametrize(("rows", "sizes"), [(100, [32, 32, 36]), (112, [32, 32, 32, 16]), (5, [5]), (32, [32])])
def test_the_last_batch_is_kept_if_half_full_and_merged_otherwise(rows: int, sizes: list[int]) -> None:
    batches = Batches(torch.arange(rows).float()[:, None], 32, seed=1)
    served = list(batches)
    assert [len(batch.x) for batch in served] == sizes
    assert len(batches) == len(sizes)
    assert sorted(torch.cat([batch.indices for batch in served]).tolist()) == list(range(rows))
    assert torch.equal(served[0].x[:, 0].long(), served[0].indices)


def test_training_leaves_the_callers_random_state_alone() -> None:
    torch.random.default_generator.manual_seed(1)
    before = torch.random.get_rng_state()
    train(TwoNets(), ROWS, settings())
    assert torch.equal(before, torch.random.get_rng_state())


class InterruptedRunError(Exception):
    """Stands for a kill."""


@pytest.mark.parametrize("patience", [None, 50])
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path, patience: int | None, monkeypatch: Any) -> None:
    monkeypatch.setattr("offnormal.trainer.SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    held_out = ROWS[:20]
    whole = TwoNets(epochs=40)
    expected = train(whole, ROWS, settings(patience=patience), held_out=held_out)
    path = tmp_path / "final.checkpoint"

    def stop(progress: Progress) -> None:
        if progress.epoch == 25:
            raise InterruptedRunError

    monkeypatch.setattr("offnormal.trainer.SECONDS_BETWEEN_REPORTS", 0.0)
    keep = settings(patience=patience, checkpoint=path, resume=True, fingerprint="x")
    with pytest.raises(InterruptedRunError):
        train(TwoNets(epochs=40), ROWS, keep, held_out=held_out, on_progress=stop)
    resumed = TwoNets(epochs=40)
    got = train(resumed, ROWS, keep, held_out=held_out)
    assert same(weights(whole), weights(resumed))
    assert [r["terms"] for r in got.history] == [r["terms"] for r in expected.history]
    assert got.best_epoch == expected.best_epoch
    again = TwoNets(epochs=40)
    train(again, ROWS, keep, held_out=held_out)
    assert same(weights(whole), weights(again)), "a finished checkpoint is the result"


def test_a_checkpoint_of_other_data_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "final.checkpoint"
    train(TwoNets(), ROWS, settings(checkpoint=path, fingerprint="x"))
    with pytest.raises(ModelFileError, match="other data or other parameters"):
        train(TwoNets(), ROWS, settings(checkpoint=path, fingerprint="y", resume=True))


class Drifting(Method):
    """A loss whose held-out value falls until the parameter passes 1, then rises."""

    def __init__(self, epochs: int = 60) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.zeros(()))
        self.epochs = epochs

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        if self.training:
            return {"pull": -self.place + 0 * batch.x.sum()}
        return {"distance": (self.place - 1).square()}

    def phases(self) -> Sequence[Phase]:
        sgd = partial(torch.optim.SGD, lr=0.1)
        return (Phase("drift", (Update("drift", self.losses, (self.place,), sgd),), self.epochs),)

    def score(self, x: Tensor) -> Tensor:
        return x.sum(1)


def test_early_stopping_keeps_a_copy_of_the_best_weights() -> None:
    method = Drifting()
    training = train(method, ROWS[:20], settings(batch_size=1, patience=3), held_out=ROWS[:2])
    assert training.stopped == "early stopping"
    assert len(training.history) < 60
    best = min(training.history, key=lambda record: record["held_out"]["distance"])
    assert training.best_epoch == {"drift": best["epoch"]}
    assert (method.place.item() - 1) ** 2 == pytest.approx(best["held_out"]["distance"], abs=1e-12)


def test_a_time_limit_ends_training_where_it_is() -> None:
    training = train(TwoNets(epochs=10**6), ROWS, settings(time_limit=0.2))
    assert training.stopped == "time limit"
    assert 0 < len(training.history) < 10**6


def test_divergence_names_the_place() -> None:
    class Diverging(TwoNets):
        def _losses(self, name: str, sign: float, batch: Batch) -> Mapping[str, Tensor]:
            terms = dict(super()._losses(name, sign, batch))
            if name == "second" and len(self.seen) > 8:
                terms["size"] = terms["size"] * float("nan")
            return terms

    with pytest.raises(TrainingDiverged, match=r"'size'.*'second'.*'alternating'.*epoch 2") as caught:
        train(Diverging(), ROWS, settings())
    error = caught.value
    assert (error.phase, error.update, error.term, error.epoch) == ("alternating", "second", "size", 2)


def test_bfloat16_autocast_trains(monkeypatch: Any) -> None:
    method = TwoNets(epochs=20)
    seen = []
    method.first.register_forward_hook(lambda *call: seen.append(call[2].dtype))
    training = train(method, ROWS, settings(precision="bfloat16"))
    assert torch.bfloat16 in seen
    assert training.history[-1]["terms"]["first/error"] < training.history[0]["terms"]["first/error"]
    assert method.first.weight.dtype == torch.float32


def test_progress_counts_rows_and_epochs() -> None:
    seen: list[Progress] = []
    train(TwoNets(epochs=2), ROWS, settings(), on_progress=seen.append)
    last = seen[-1]
    assert (last.stage, last.phase, last.epoch, last.epochs, last.batch, last.batches) == (
        "final", "alternating", 2, 2, 3, 3,
    )  # fmt: skip
    assert last.rows_per_second > 0
    assert last.eta_seconds == pytest.approx(0, abs=1e-6)


class Normed(Method):
    """An autoencoder with batch norm and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)

    def rebuilt(self, x: Tensor) -> Tensor:
        return self.last(nn.functional.dropout(self.norm(self.first(x)).tanh(), 0.1, self.training))

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        return {"reconstruction": (batch.x - self.rebuilt(batch.x)).square().sum(1).mean()}

    def phases(self) -> tuple[Phase, ...]:
        update = Update("joint", self.losses, tuple(self.parameters()), lambda p: torch.optim.Adam(p, lr=0.1))
        return (Phase("joint", (update,), 4),)

    def score(self, x: Tensor) -> Tensor:
        return (x - self.rebuilt(x)).square().sum(1)


def test_batch_norm_ends_with_the_means_of_the_training_rows_under_the_final_weights() -> None:
    """Not with running averages that still remember the first steps: four steps are far too few for those."""
    rows = 5 + 3 * torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    with scoped(0, "build"):
        method = Normed()
    train(method, rows, Settings(batch_size=200, seed=0))
    before = method.first(rows).detach()
    torch.testing.assert_close(method.norm.running_mean, before.mean(0), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(method.norm.running_var, before.var(0), rtol=1e-3, atol=1e-4)
    assert not method.norm.training
    assert method.norm.momentum == 0.1


class Making(Method):
    """A scale on random codes that is trained towards a target, as a generator; averages of its weights score."""

    def __init__(self, target: float, epochs: int = 40, decay: float = 0.9) -> None:
        super().__init__()
        self.scale, self.norm = nn.Parameter(torch.ones(3)), nn.BatchNorm1d(3, affine=False)
        self.target, self.epochs = target, epochs
        self.averages = WeightAverages(self, decay)
        self.register_buffer("summarized", torch.zeros(3))
        self.steps: list[Tensor] = []
        self.calls: list[str] = []

    def made(self, n: int) -> Tensor:
        return self.norm(self.scale * torch.randn(n, 3)) * self.scale

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        return {"off": (self.made(len(batch.x)).square().mean() - self.target).square()}

    def after_batch(self, batch: Batch) -> None:
        self.averages.take(self)
        self.steps.append(self.scale.clone())

    def end(self) -> None:
        assert not torch.is_grad_enabled()
        self.calls.append("end")
        self.last = self.scale.clone()
        self.averages.put_into(self)

    def phases(self) -> Sequence[Phase]:
        update = Update("maker", self.losses, (self.scale,), partial(torch.optim.Adam, lr=0.05))
        other = Phase("before", (update,), 1)
        return (other, Phase("making", (update,), self.epochs, after_batch=self.after_batch, end=self.end))

    def generate(self, x: Tensor) -> Tensor:
        assert not self.training
        assert not torch.is_grad_enabled()
        self.calls.append("generate")
        return self.made(len(x))

    def summarize(self, batches: Batches) -> None:
        self.calls.append("summarize")
        self.summarized.copy_(self.scale)

    def score(self, x: Tensor) -> Tensor:
        return x.square().sum(1)


def test_a_phase_ends_with_the_averages_in_place_before_norms_settle_and_rows_are_summarized() -> None:
    method = Making(target=1.5, epochs=5)
    train(method, ROWS, settings())
    made = ["generate"] * 6  # after each epoch, and once more of the averages that stay
    assert method.calls == [*made, "end", "generate", "summarize"], "no end of the phase before"
    keep = [min(0.9, (1 + t) / (10 + t)) for t in range(15)]
    expected = torch.ones(3)
    for share, place in zip(keep, method.steps, strict=True):
        expected = share * expected + (1 - share) * place
    torch.testing.assert_close(method.scale.detach(), expected)
    assert torch.equal(method.summarized, method.scale)
    assert not torch.allclose(method.last, expected)
    with scoped(7, "norms"):
        spread = torch.stack([(expected * torch.randn(n, 3)).var(0) for n in (32, 32, 36)]).mean(0)
    torch.testing.assert_close(method.norm.running_var, spread, rtol=1e-4, atol=1e-6)


def test_the_history_has_the_diversity_of_what_is_made_after_each_epoch() -> None:
    method = Making(target=1.5, epochs=3)
    seen: list[Tensor] = []
    method.generate = lambda x: seen.append(x.clone()) or 0.5 * x.flip(1)  # type: ignore[method-assign, func-returns-value]
    training = train(method, ROWS, settings())
    assert [record["diversity"] for record in training.history] == pytest.approx([0.5] * 4, rel=0.3)
    kept = [*seen[:3], seen[4]]  # the last figure is of the weights that stay
    assert [record["diversity"] for record in training.history] == [diversity(0.5 * x.flip(1), x) for x in kept]
    assert [len(x) for x in seen] == [32] * 5, "held against as many rows, a batch"
    assert not training.collapsed
    assert all("diversity" not in record for record in train(TwoNets(), ROWS, settings()).history)


def test_looking_at_what_is_made_does_not_change_what_is_learned() -> None:
    class Blind(Making):
        def generate(self, x: Tensor) -> Tensor:
            torch.randn(1000)
            return x

    looked, blind = Making(1.5, epochs=5), Blind(1.5, epochs=5)
    histories = [train(method, ROWS, settings()).history for method in (looked, blind)]
    assert same(weights(looked), weights(blind))
    assert [r["terms"] for r in histories[0]] == [r["terms"] for r in histories[1]]


@pytest.mark.parametrize(("target", "epochs", "collapsed"), [(1e-6, 50, True), (1e-6, 49, False), (1.0, 50, False)])
def test_a_collapse_is_called_so_at_the_end_of_enough_steps(
    target: float, epochs: int, collapsed: bool, monkeypatch: Any
) -> None:
    monkeypatch.setattr("offnormal.networks.diversity.LEAST_STEPS", 3 * (50 + 1))
    method = Making(target, epochs)
    training = train(method, ROWS, settings())
    assert (training.history[-1]["diversity"] < COLLAPSED_BELOW) == (target < 1)
    assert training.collapsed is collapsed


def test_averages_diversity_and_collapse_survive_a_kill(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("offnormal.networks.diversity.LEAST_STEPS", 3 * (50 + 1))
    monkeypatch.setattr("offnormal.trainer.SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    monkeypatch.setattr("offnormal.trainer.SECONDS_BETWEEN_REPORTS", 0.0)
    whole = Making(1e-6, epochs=50)
    expected = train(whole, ROWS, settings())
    keep = settings(checkpoint=tmp_path / "final.checkpoint", resume=True, fingerprint="x")

    def stop(progress: Progress) -> None:
        if progress.phase == "making" and progress.epoch == 30:
            raise InterruptedRunError

    with pytest.raises(InterruptedRunError):
        train(Making(1e-6, epochs=50), ROWS, keep, on_progress=stop)
    for resumed in (Making(1e-6, epochs=50), Making(1e-6, epochs=50)):  # the second finds a finished checkpoint
        got = train(resumed, ROWS, keep)
        assert same(weights(whole), weights(resumed))
        assert [r["diversity"] for r in got.history] == [r["diversity"] for r in expected.history]
        assert (got.collapsed, got.steps) == (True, expected.steps)
    assert resumed.calls == ["summarize"], "the averages took their places before the checkpoint"
