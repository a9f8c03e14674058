"""DCN against its paper: the centers' steps one by one, both terms, the trap, and what each term is good for."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from torch import Tensor, nn

from offnormal import DCN
from offnormal.batches import Batch, Batches
from offnormal.methods.dcn import DCNNetwork, Spread, collapse
from offnormal.random import generator, scoped
from offnormal.trainer import Settings, train


def clusters(rows: int = 600) -> Tensor:
    """Return rows of three clusters, standardized: centers on a plane of ten columns, noise in all of them."""
    draw = generator(0, "clusters")
    places = 2.0 * torch.randn(3, 10, generator=draw)
    table = places[torch.randint(3, (rows,), generator=draw)] + torch.randn(rows, 10, generator=draw)
    return (table - table.mean(0)) / table.std(0)


ROWS = clusters()
BATCH = Batch(ROWS, torch.arange(len(ROWS)))
SETTINGS = Settings(batch_size=100, seed=0)


def network(epochs: int = 1, **changes: Any) -> DCNNetwork:
    options = {"hidden_sizes": (32, 16), "latent_dim": 4, "n_clusters": 3, "learning_rate": 3e-3, **changes}
    detector = DCN(**options)
    detector.planned_epochs_ = epochs
    with scoped(0, "build"):
        built = detector.build((ROWS.shape[1],))
    assert isinstance(built, DCNNetwork)
    return built


def trained(epochs: int = 30, **changes: Any) -> DCNNetwork:
    net = network(epochs, **{"pretraining_epochs": 10, **changes})
    train(net, ROWS, SETTINGS)
    return net


def placed(**changes: Any) -> DCNNetwork:
    """Return a network with centers from k-means, not trained."""
    net = network(**changes)
    with torch.no_grad(), scoped(0, "begin"):
        net.place_centers(Batches(ROWS, 100))
    return net


def test_the_first_centers_are_those_of_k_means() -> None:
    net = placed()
    with torch.no_grad():
        code = net.encode(ROWS).double().numpy()
    reference = KMeans(3, n_init=20, random_state=1).fit(code)
    _, between = net.first_spread
    assert net.first_spread.within == pytest.approx(reference.inertia_ / len(ROWS), rel=1e-3)
    assert between == pytest.approx(code.var(0).sum() - reference.inertia_ / len(ROWS), rel=1e-2)
    assert net.counts.tolist() == [100.0] * 3


def test_the_centers_move_as_row_by_row() -> None:
    """Against the paper's loop: m ← m − (m − f(x)) / c, one row after another, with the batch's assignments."""
    net = placed()
    centers, counts = net.centers.clone().numpy(), net.counts.clone().numpy()
    with torch.no_grad():
        for start in (0, 250):
            batch = Batch(ROWS[start : start + 250], torch.arange(start, start + 250))
            code = net.encode(batch.x).double().numpy()
            own = ((code[:, None] - centers) ** 2).sum(2).argmin(1)
            for row, k in zip(code, own, strict=True):
                counts[k] += 1
                centers[k] -= (centers[k] - row) / counts[k]
            net.move_centers(batch)
            np.testing.assert_allclose(net.centers.numpy(), centers, rtol=1e-10)
            assert np.array_equal(net.counts.numpy(), counts)


def test_the_two_terms_are_the_papers() -> None:
    net = placed(clustering_weight=0.7)
    terms = net.losses(BATCH)
    code = net.encoder(ROWS)
    nearest = torch.cdist(code.double(), net.centers).amin(1)
    torch.testing.assert_close(terms["reconstruction"], (ROWS - net.decoder(code)).square().sum(1).mean())
    torch.testing.assert_close(terms["clustering"], 0.35 * nearest.square().mean(), rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(net.score(ROWS), nearest, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("term", "moves"), [("reconstruction", {"encoder", "decoder"}), ("clustering", {"encoder"})])
def test_each_term_moves_the_networks_it_should_and_none_the_centers(term: str, moves: set[str]) -> None:
    net = placed()
    before = net.centers.clone()
    net.losses(BATCH)[term].backward()
    moved = {
        name.split(".")[0] for name, p in net.named_parameters() if p.grad is not None and bool(p.grad.abs().sum() > 0)
    }
    assert moved == moves
    assert torch.equal(net.centers, before)
    assert not net.centers.requires_grad


def tightness(net: DCNNetwork) -> float:
    """Return within over between after k-means on the codes, whatever became of the net's own centers."""
    with torch.no_grad():
        code = net.encode(ROWS).double().numpy()
    within = KMeans(3, n_init=5, random_state=0).fit(code).inertia_ / len(code)
    return float(within / (code.var(0).sum() - within))


def error(net: DCNNetwork) -> float:
    with torch.no_grad():
        return float((ROWS - net.reconstruct(ROWS)).square().sum(1).mean())


def test_training_draws_codes_to_their_centers_and_the_clustering_term_does_it() -> None:
    """Pre-training alone, an untrained net, and a net without either term each fail one of these."""
    whole = trained(clustering_weight=5.0)
    only_pretrained = trained(0)
    without_clustering = trained(clustering_weight=0.0)
    assert tightness(whole) < 0.5 * tightness(only_pretrained)
    assert tightness(whole) < 0.5 * tightness(without_clustering)
    assert error(whole) < 0.5 * error(network())
    without_reconstruction = network(30, pretraining_epochs=10, clustering_weight=5.0)
    losses = without_reconstruction.losses
    without_reconstruction.losses = lambda batch: {"clustering": losses(batch)["clustering"]}  # type: ignore[method-assign]
    train(without_reconstruction, ROWS, SETTINGS)
    assert error(whole) < 0.8 * error(without_reconstruction)


def test_the_centers_follow_the_codes() -> None:
    """Left where k-means put them, they would be off by more: the online steps matter."""
    net = trained(clustering_weight=0.1)
    with torch.no_grad():
        code = net.encode(ROWS).double()
        own = torch.cdist(code, net.centers).argmin(1)
        now = torch.stack([code[own == k].mean(0) for k in range(3)])
    start = trained(0).centers
    assert (net.centers - now).norm() < 0.5 * (start - now).norm()


def test_a_weight_too_large_is_said_in_words_and_the_default_is_not() -> None:
    with pytest.warns(UserWarning, match=r"collapsed onto|drew together") as caught:
        net = trained(60, clustering_weight=1000.0, learning_rate=2e-2)  # a seventh of the limit: no matter of rounding
    assert "Lower clustering_weight (now 1000)" in str(caught[0].message)
    assert collapse(net.first_spread, net.spread) is not None
    healthy = trained()
    assert collapse(healthy.first_spread, healthy.spread) is None
    assert healthy.spread.within > 0 < healthy.spread.between


@pytest.mark.parametrize(
    ("first", "last", "said"),
    [
        (Spread(1, 4), Spread(0.5, 3), None),
        (Spread(1, 4), Spread(0.01, 0.04), "drew together"),
        (Spread(1, 4), Spread(0.01, 4), "collapsed onto"),
        (Spread(1, 0), Spread(0.001, 0), None),
        (Spread(0, 4), Spread(0, 4), None),
    ],
)
def test_collapse_is_told_from_the_two_spreads(first: Spread, last: Spread, said: str | None) -> None:
    words = collapse(first, last)
    assert (words is None) if said is None else (words is not None and said in words)


def test_a_training_that_ends_in_pretraining_still_has_centers() -> None:
    net = network(5, pretraining_epochs=5)
    train(net, ROWS, Settings(batch_size=100, seed=0, time_limit=0.0))
    assert net.counts.tolist() == [100.0] * 3
    with torch.no_grad():
        assert float(net.score(ROWS).min()) < float(net.score(ROWS).max())


def test_a_resumed_training_has_the_same_centers(tmp_path: Path) -> None:
    """Centers and counts are in the checkpoint."""

    class StopError(Exception):
        pass

    def stop(progress: Any) -> None:
        if progress.phase == "clustering" and progress.epoch == 3:
            raise StopError

    rows = ROWS[:150].numpy()
    options = {"epochs": 4, "hidden_sizes": (8,), "latent_dim": 2, "early_stopping": False, "calibration": "none"}
    whole = DCN(**options).fit(rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("offnormal.trainer.SECONDS_BETWEEN_CHECKPOINTS", 0.0)
        patch.setattr("offnormal.trainer.SECONDS_BETWEEN_REPORTS", 0.0)
        with pytest.raises(StopError):
            DCN(**options).fit(rows, checkpoint=tmp_path, on_progress=stop)
        resumed = DCN(**options).fit(rows, checkpoint=tmp_path, resume=True)
    for name, tensor in whole.scorer_.state_dict().items():
        assert torch.equal(tensor, resumed.scorer_.state_dict()[name]), name


def test_fewer_rows_than_clusters_and_identical_rows_are_scored() -> None:
    rows = np.random.default_rng(0).normal(size=(5, 3))
    detector = DCN(epochs=2, n_clusters=8, calibration="none").fit(rows)
    assert np.isfinite(detector.anomaly_score(rows)).all()
    same = DCN(epochs=2, calibration="none").fit(np.ones((40, 3)))
    assert np.isfinite(same.anomaly_score(np.array([[1.0, 1, 1], [5, 5, 5]]))).all()
    assert np.isfinite(same.explain(np.array([[5.0, 5, 5]])).contributions).all()


@pytest.mark.parametrize(
    ("preset", "width", "encoder", "k", "epochs", "batch_size"),
    [
        ("kddcup", 120, [120, 60, 30, 10, 1], 4, 200, 1024),
        ("kddcup_rev", 120, [120, 60, 30, 10, 1], 2, 400, 1024),
        ("thyroid", 6, [6, 12, 4, 1], 2, 20000, 1024),
        ("arrhythmia", 274, [274, 10, 2], 2, 10000, 128),
    ],
)
def test_presets_are_dagmms_networks_with_relu(
    preset: str, width: int, encoder: list[int], k: int, epochs: int, batch_size: int
) -> None:
    detector = DCN.from_preset(preset)
    detector.planned_epochs_ = epochs
    net = detector.build((width,))
    assert isinstance(net, DCNNetwork)
    for chain, sizes in ((net.encoder, encoder), (net.decoder, encoder[::-1])):
        linear = [(m.in_features, m.out_features) for m in chain if isinstance(m, nn.Linear)]
        assert linear == list(pairwise(sizes))
        assert {type(m) for m in chain} == {nn.Linear, nn.ReLU}
        assert isinstance(list(chain)[-1], nn.Linear), "code and output are linear"
    assert len(net.centers) == k
    assert [phase.epochs for phase in net.phases()] == [epochs // 10] * (len(encoder) - 1) + [epochs]
    assert (detector.batch_size, detector.learning_rate, detector.scaling) == (batch_size, 1e-4, "minmax")
    assert detector.early_stopping is False
