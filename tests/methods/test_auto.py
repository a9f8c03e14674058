"""Auto: five views added up; what each is for, and that the networks' training is what the learned view needs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from sklearn.mixture import GaussianMixture
from torch import nn

import offnormal
from offnormal import AutoDetector, TwoStep
from offnormal.batches import Batch
from offnormal.errors import InvalidParameter, UnknownName
from offnormal.methods import auto
from offnormal.methods.auto import NOISE, WEIGHTS, AutoNetwork, Denoiser
from offnormal.random import scoped

Floats = NDArray[np.float64]


def correlated(rows: int, seed: int = 0) -> Floats:
    draw = np.random.default_rng(seed)
    base = draw.normal(size=(rows, 2))
    table: Floats = np.c_[base, base.sum(1), draw.exponential(size=rows)] + 0.2 * draw.normal(size=(rows, 4))
    return table


ROWS = correlated(400)


def fitted(rows: Floats = ROWS, **changes: Any) -> AutoDetector:
    return AutoDetector(**{"epochs": 5, "calibration": "none", **changes}).fit(rows)


FULL = fitted()


class TestTheSum:
    def test_the_score_is_the_sum_of_the_weighted_surprises(self) -> None:
        new = correlated(50, seed=1) * 2
        parts = FULL.transform(new)
        assert list(FULL.get_feature_names_out()) == list(WEIGHTS)
        assert (parts >= 0).all()
        np.testing.assert_allclose(FULL.anomaly_score(new), parts.sum(1), rtol=1e-12)

    def test_each_view_counts_as_often_as_its_weight_says(self) -> None:
        """The training row that is oddest to a view has a surprise of log(N + 1), times the weight."""
        highest = FULL.transform(ROWS).max(0)
        np.testing.assert_allclose(highest, [w * math.log(401) for w in WEIGHTS.values()], rtol=1e-3)

    def test_fewer_views_are_those_views(self) -> None:
        some = fitted(views=("robust", "marginal"))
        assert list(some.get_feature_names_out()) == ["marginal", "robust"]
        new = correlated(50, seed=1)
        expected = FULL.transform(new)[:, [0, list(WEIGHTS).index("robust")]]
        np.testing.assert_array_equal(some.transform(new), expected)
        np.testing.assert_allclose(some.anomaly_score(new), expected.sum(1), rtol=1e-12)

    def test_a_view_that_does_not_exist_is_named_with_the_nearest(self) -> None:
        with pytest.raises(UnknownName, match=r"no view 'lerned'\. Did you mean 'learned'"):
            fitted(views=("joint", "lerned"))
        with pytest.raises(InvalidParameter, match="at least one of marginal, joint"):
            fitted(views=())

    def test_networks_are_trained_only_where_a_view_needs_them(self) -> None:
        plain = fitted(views=("marginal", "joint", "compressed"))
        assert plain.training_["steps"] == 0
        for view in ("learned", "robust"):
            assert fitted(views=(view,)).training_["steps"] > 0


class TestDenoisers:
    @staticmethod
    def network() -> AutoNetwork:
        with scoped(0, "build"):
            return AutoNetwork(4, tuple(WEIGHTS), learning_rate=1e-3, epochs=3)

    def test_each_term_moves_its_own_network_and_all_of_it(self) -> None:
        net = self.network()
        (phase,) = net.phases()
        (update,) = phase.updates
        own = [set(map(id, denoiser.parameters())) for denoiser in net.denoisers]
        assert {id(p) for p in update.params} == set.union(*own)
        for i, parameters in enumerate(own):
            net.zero_grad(set_to_none=True)
            terms = update.losses(Batch(torch.from_numpy(ROWS).float(), torch.arange(len(ROWS))))
            assert list(terms) == ["denoising_1", "denoising_2"]
            terms[f"denoising_{i + 1}"].backward()
            moved = {id(p) for p in net.parameters() if p.grad is not None and bool(p.grad.abs().sum() > 0)}
            assert moved == parameters

    @pytest.mark.parametrize("noise", NOISE)
    def test_the_clean_row_is_to_be_rebuilt_from_one_with_noise_of_that_size(self, noise: float) -> None:
        """A network that returns what it sees is off by the noise alone: by n σ² in the mean."""
        net = Denoiser(6, noise)
        net.encoder, net.decoder = nn.Sequential(), nn.Sequential()
        x = torch.linspace(-3, 3, 12_000).view(2_000, 6)
        with scoped(0, "noise"):
            assert float(net.loss(x)) == pytest.approx(6 * noise**2, rel=0.05)
        net.noise = 0.0
        assert float(net.loss(x)) == 0

    def test_the_loss_is_summed_over_features_and_averaged_over_rows(self) -> None:
        net = Denoiser(2, noise=0.0)
        net.decoder = nn.Flatten()
        net.encoder = nn.ReLU()
        assert float(net.loss(torch.tensor([[-1.0, -2.0], [-3.0, 4.0]]))) == (1 + 4 + 9) / 2

    def test_the_step_falls_to_zero_along_a_cosine(self) -> None:
        (update,) = self.network().phases()[0].updates
        optimizer = update.optimizer(update.params)
        assert update.scheduler is not None
        schedule = update.scheduler(optimizer)
        steps = []
        for _ in range(4):
            steps.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
        np.testing.assert_allclose(steps, [1e-3 * (1 + math.cos(math.pi * e / 3)) / 2 for e in range(4)], atol=1e-12)

    def test_training_is_what_sees_rows_off_a_curved_manifold(self) -> None:
        """Rows near a product of three circles; the odd ones are not on it, with the same columns and covariance."""
        draw = np.random.default_rng(0)

        def on(rows: int) -> Floats:
            angle = draw.uniform(0, 2 * np.pi, (rows, 3))
            near: Floats = np.c_[np.cos(angle), np.sin(angle)] + 0.05 * draw.normal(size=(rows, 6))
            return near

        rows, new = on(1_000), on(300)
        off = np.stack([draw.permutation(column) for column in on(300).T], axis=1)
        test, is_off = np.r_[new, off], np.r_[np.zeros(300), np.ones(300)]

        def auroc(epochs: int) -> dict[str, float]:
            detector = fitted(rows, epochs=epochs)
            parts = detector.transform(test)
            return {name: roc_auc_score(is_off, part) for name, part in zip(WEIGHTS, parts.T, strict=True)}

        trained, untrained = auroc(150), auroc(0)
        assert 0.4 < trained["marginal"] < 0.6
        assert trained["joint"] < 0.7
        assert untrained["learned"] < 0.8
        assert trained["learned"] > 0.9


def test_anomalies_among_the_training_rows_do_not_become_normal() -> None:
    """A twentieth of the rows is a cluster of its own: a mixture makes it a component and takes it for normal."""
    draw = np.random.default_rng(1)
    mix = np.eye(8) + 0.5 * draw.normal(size=(8, 8)) / np.sqrt(8)
    place = 3 * np.sqrt((mix**2).sum(0)) * draw.choice([-1, 1], 8)

    def normal(rows: int) -> Floats:
        table: Floats = draw.normal(size=(rows, 8)) @ mix
        return table

    def odd(rows: int) -> Floats:
        table: Floats = place + 0.3 * draw.normal(size=(rows, 8))
        return table

    rows = np.r_[normal(570), odd(30)]
    test, is_odd = np.r_[normal(300), odd(50)], np.r_[np.zeros(300), np.ones(50)]
    mixture = GaussianMixture(8, reg_covar=1e-2, random_state=0).fit(rows)
    masked = (-mixture.score_samples(test), TwoStep(calibration="none").fit(rows).anomaly_score(test))
    assert all(roc_auc_score(is_odd, score) < 0.2 for score in masked)
    detector = fitted(rows, epochs=20)
    parts = dict(zip(WEIGHTS, detector.transform(test).T, strict=True))
    assert roc_auc_score(is_odd, parts["joint"]) < 0.2
    assert roc_auc_score(is_odd, parts["marginal"]) > 0.95
    assert roc_auc_score(is_odd, detector.anomaly_score(test)) > 0.75


def test_a_contribution_is_the_fall_of_the_score_at_a_replacement_nearly_as_good_as_the_best() -> None:
    """Against a direct search over the column's values."""
    row = ROWS[7].copy()
    row[2] += 8
    explanation = FULL.explain(row[None])
    assert set(explanation.parts) == set(WEIGHTS)
    score = FULL.anomaly_score(row[None])[0]
    for j in range(4):
        tried = np.repeat(row[None], 400, axis=0)
        tried[:, j] = np.linspace(*np.quantile(np.r_[ROWS[:, j], row[j]], [0, 1]), 400)
        best = score - FULL.anomaly_score(tried).min()
        assert explanation.contributions[0, j] <= best + 0.3
        if j == 2:
            assert explanation.contributions[0, j] > 0.7 * best
    assert explanation.ranking()[0, 0] == 2


def test_few_rows_make_fewer_components_and_the_file_holds_them(tmp_path: Path) -> None:
    rows = ROWS[:20]
    detector = fitted(rows)
    method = detector.scorer_.method
    assert isinstance(method, AutoNetwork)
    assert int(method.joint.get_buffer("constant").isfinite().sum()) == 5
    offnormal.save(detector, tmp_path / "m.offnormal")
    loaded = offnormal.load(tmp_path / "m.offnormal")
    assert np.array_equal(loaded.anomaly_score(ROWS), detector.anomaly_score(ROWS))


def test_views_are_fitted_to_a_sample_of_many_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto, "MOST_ROWS", 100)
    first, again = fitted(), fitted()
    method = first.scorer_.method
    assert isinstance(method, AutoNetwork)
    assert float(method.surprise["joint"].get_buffer("rows")) == 100
    assert np.array_equal(first.anomaly_score(ROWS), again.anomaly_score(ROWS))


def test_early_stopping_watches_the_denoising_of_held_out_rows() -> None:
    detector = fitted(early_stopping=True)
    assert set(detector.training_["history"][-1]["held_out"]) == {"denoising_1", "denoising_2"}
