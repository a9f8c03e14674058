"""The robust autoencoder: its split against the paper's loop with a stored S, and what it is for."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import Tensor

from offnormal import RobustAutoencoder, trainer
from offnormal.batches import Batch, Batches
from offnormal.methods.robust_autoencoder import RobustAutoencoderNetwork
from offnormal.random import scoped
from offnormal.trainer import Progress, Settings, train

Floats = NDArray[np.float64]
PENALTIES = ("rows", "entries", "features")
ROWS = torch.from_numpy(np.random.default_rng(0).normal(size=(300, 5)) @ np.random.default_rng(1).normal(size=(5, 5)))
ROWS = ROWS.float() * torch.tensor([0.2, 1, 1, 1, 1])  # one column of small errors


def network(epochs: int = 2, **changes: Any) -> RobustAutoencoderNetwork:
    detector = RobustAutoencoder(**{"hidden_sizes": (8,), "latent_dim": 2, "rounds": 4, **changes})
    detector.planned_epochs_ = epochs
    with scoped(0, "build"):
        built = detector.build((ROWS.shape[1],))
    assert isinstance(built, RobustAutoencoderNetwork)
    return built


def settings(**changes: Any) -> Settings:
    return Settings(**{"batch_size": 64, "seed": 0, **changes})


def shrunk(error: Floats, penalty: str, weight: float) -> Floats:
    """The paper's proximal maps, with λ times the root of the size of a group."""
    if penalty == "entries":
        return np.sign(error) * np.maximum(np.abs(error) - weight, 0)
    axis = 1 if penalty == "rows" else 0
    length = np.sqrt((error**2).sum(axis, keepdims=True))
    size = error.shape[axis]
    return np.asarray(error * np.maximum(1 - weight * np.sqrt(size) / length, 0))


@pytest.mark.parametrize("penalty", PENALTIES)
def test_the_split_is_that_of_the_papers_loop_with_a_stored_s(penalty: str) -> None:
    built = network(penalty=penalty, sparsity_weight=0.6)
    phases = built.phases()
    batches = Batches(ROWS, 64)
    stored = np.zeros(ROWS.shape)
    generator = torch.Generator().manual_seed(0)
    for number, phase in enumerate(phases):
        if phase.begin is not None:
            with torch.no_grad():
                rebuilt = built.reconstruct(ROWS - torch.from_numpy(stored).float())  # L_D ← D(E(L_D))
                stored = shrunk((ROWS - rebuilt).double().numpy(), penalty, 0.6)  # S ← prox(X − L_D)
                phase.begin(batches)
        np.testing.assert_allclose(built.sparse_part(ROWS, number).numpy(), stored, atol=1e-5)
        with torch.no_grad():  # as if trained, so that every round has networks of its own
            for parameter in (*built.encoder.parameters(), *built.decoder.parameters()):
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    assert 0 < np.count_nonzero(stored) < stored.size


@pytest.mark.parametrize("penalty", PENALTIES)
def test_the_loss_moves_every_weight_and_no_round_of_the_past(penalty: str) -> None:
    built = network(penalty=penalty, sparsity_weight=0.3)
    phases = built.phases()
    phases[1].begin(Batches(ROWS, 64))  # type: ignore[misc]
    (update,) = phases[1].updates
    terms = update.losses(Batch(ROWS, torch.arange(len(ROWS))))
    assert list(terms) == ["reconstruction"]
    low = ROWS - built.sparse_part(ROWS, 1)
    expected = (low - built.reconstruct(low)).square().sum(1).mean()
    torch.testing.assert_close(terms["reconstruction"], expected)
    whole = (ROWS - built.reconstruct(ROWS)).square().sum(1).mean()
    assert bool(expected < whole), "S takes part of the error"
    terms["reconstruction"].backward()  # type: ignore[no-untyped-call]
    moved = (*built.encoder.parameters(), *built.decoder.parameters())
    assert {id(p) for p in update.params} == {id(p) for p in moved}
    assert all(p.grad is not None and bool(p.grad.any()) for p in moved)
    assert all(p.grad is None for p in built.past.parameters())


def test_an_unreachable_weight_leaves_s_empty() -> None:
    built = network(sparsity_weight=1e6)
    built.phases()[1].begin(Batches(ROWS, 64))  # type: ignore[misc]
    assert not bool(built.sparse_part(ROWS, 1).any())


# --- what it is for ---------------------------------------------------------------------------------------------------


def contaminated(seed: int) -> tuple[Floats, Floats]:
    """Return 800 rows near a curved sheet and 60 along a plane of their own, then 500 and 200 new ones of each."""
    draw = np.random.default_rng(seed)
    sheet, plane = draw.normal(size=(3, 12)), draw.normal(size=(2, 12))

    def normal(rows: int) -> Floats:
        return np.tanh(draw.normal(size=(rows, 3))) @ sheet + 0.1 * draw.normal(size=(rows, 12))

    def odd(rows: int) -> Floats:
        return np.asarray(draw.normal(size=(rows, 2)) @ plane)

    return np.vstack([normal(800), odd(60)]), np.vstack([normal(500), odd(200)])


@cache
def auroc(seed: int, rounds: int, epochs: int) -> float:
    train_rows, query = contaminated(seed)
    detector = RobustAutoencoder(
        latent_dim=4, rounds=rounds, epochs=epochs, batch_size=128, early_stopping=False, calibration="none"
    ).fit(train_rows)
    return float(roc_auc_score(np.r_[np.zeros(500), np.ones(200)], detector.anomaly_score(query)))


def test_it_does_not_learn_the_outliers_that_a_plain_autoencoder_learns() -> None:
    """Same rows, networks, seed and passes; one round is the plain autoencoder, no pass the untrained network."""
    seeds = (0, 1)
    robust = np.mean([auroc(seed, 15, 75) for seed in seeds])
    plain = np.mean([auroc(seed, 1, 75) for seed in seeds])
    untrained = np.mean([auroc(seed, 1, 0) for seed in seeds])
    assert robust > 0.9
    assert robust > plain + 0.05
    assert robust > untrained + 0.1


class Remembering(RobustAutoencoderNetwork):
    """Keeps the rounds after training, to look at S."""

    def summarize(self, batches: Batches) -> None:
        """Forget nothing."""


def test_s_holds_the_outlying_rows_and_few_others() -> None:
    rows = torch.from_numpy(contaminated(0)[0]).float()
    rows = (rows - rows.mean(0)) / rows.std(0)
    detector = RobustAutoencoder(latent_dim=4, rounds=15)
    detector.planned_epochs_ = 5
    with scoped(0, "build"):
        built = detector.build((12,))
    built.__class__ = Remembering
    assert isinstance(built, Remembering)
    train(built, rows, settings(batch_size=128))
    taken = built.sparse_part(rows, 14).norm(dim=1) > 0
    assert float(taken[800:].float().mean()) > 0.8
    assert float(taken[:800].float().mean()) < 0.2


def test_a_broken_column_goes_to_s_whole_and_others_not_at_all() -> None:
    """Penalty on features: a column of noise cannot be rebuilt from a code of one axis, a line can."""
    draw = np.random.default_rng(0)
    line = draw.normal(size=(400, 1)) * [1.0, -1.0, 0.8, 1.2]
    rows = torch.from_numpy(np.hstack([line, draw.normal(size=(400, 1))])).float()
    detector = RobustAutoencoder(latent_dim=1, penalty="features", rounds=3)
    detector.planned_epochs_ = 60
    with scoped(0, "build"):
        built = detector.build((5,))
    built.__class__ = Remembering
    train(built, rows, settings())
    taken = built.sparse_part(rows, 2).norm(dim=0)  # type: ignore[operator]
    assert float(taken[4]) > 1
    assert not bool(taken[:4].any())


# --- rounds, files, resuming ------------------------------------------------------------------------------------------


def test_the_epochs_are_shared_by_the_rounds() -> None:
    detector = RobustAutoencoder(epochs=7, rounds=3, early_stopping=False, calibration="none").fit(ROWS.numpy())
    phases = [record["phase"] for record in detector.training_["history"]]
    assert phases == ["round_1"] * 3 + ["round_2"] * 3 + ["round_3"] * 3
    assert detector.training_["epochs"] == 9


def test_a_fitted_model_holds_the_last_networks_only() -> None:
    detector = RobustAutoencoder(epochs=4, rounds=4, calibration="none").fit(ROWS.numpy())
    names = set(detector.scorer_.method.state_dict())
    assert not any(name.startswith("past") for name in names)
    assert names == set(detector.build((5,)).state_dict())


def test_held_out_rows_have_a_sparse_part_too() -> None:
    detector = RobustAutoencoder(epochs=10, rounds=2, calibration="none", batch_size=32).fit(ROWS.numpy())
    seen = [record for record in detector.training_["history"] if record["held_out"] is not None]
    assert {record["phase"] for record in seen} == {"round_1", "round_2"}
    assert all(np.isfinite(record["held_out"]["reconstruction"]) for record in seen)


class StopError(Exception):
    """A kill in the middle of a round."""


@pytest.mark.parametrize("penalty", ["rows", "features"])
def test_a_run_resumed_inside_a_round_equals_the_uninterrupted_one(
    penalty: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    monkeypatch.setattr(trainer, "SECONDS_BETWEEN_REPORTS", 0.0)

    def fitted(path: Path | None = None, stop: bool = False, resume: bool = False) -> dict[str, Tensor]:
        def look(progress: Progress) -> None:
            if stop and (progress.phase, progress.epoch) == ("round_3", 3):
                raise StopError

        built = network(4, penalty=penalty, sparsity_weight=0.4)
        train(built, ROWS, settings(checkpoint=path, resume=resume), on_progress=look)
        return built.state_dict()

    expected = fitted()
    path = tmp_path / "run.checkpoint"
    with pytest.raises(StopError):
        fitted(path, stop=True)
    assert path.exists()
    got = fitted(path, resume=True)
    for name, tensor in expected.items():
        assert torch.equal(tensor, got[name]), name
