"""The views against numpy, scikit-learn and values computed by hand; the unit of surprise against simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from offnormal.networks.views import Marginals, PrincipalAxes, TailSurprise, TrimmedGaussian


def learned_marginals(x: Tensor, n_bins: int = 20) -> Marginals:
    view = Marginals(x.shape[1], n_bins)
    view.learn(x)
    return view


class TestMarginals:
    ROWS = torch.tensor([[-2.0], [-1.0], [-1.0], [0.0], [0.0], [1.0], [1.0], [2.0]])

    def test_a_histogram_by_hand(self) -> None:
        """Median 0, quartiles −1 and 1, so t = asinh(x / 2); two bins that meet at 0 hold three and five rows."""
        view = learned_marginals(self.ROWS, n_bins=2)
        got = view(torch.tensor([[-2.0], [-0.1], [0.0], [2.0], [3.0], [-4.0]]))
        left, right, outside = math.log(5 / 3.1), math.log(5 / 5.1), math.log(5 / 0.1)
        far = [outside + math.asinh(1.5) - math.asinh(1), outside + math.asinh(2) - math.asinh(1)]
        torch.testing.assert_close(got, torch.tensor([left, left, right, right, *far], dtype=torch.float64))

    def test_columns_add_up_as_numpys_histograms_have_it(self) -> None:
        draw = np.random.default_rng(0)
        x = np.c_[draw.normal(size=500), draw.exponential(size=500) ** 2, draw.integers(0, 3, 500)]
        expected = np.zeros(500)
        for column in x.T:
            low, middle, high = np.percentile(column, [25, 50, 75])
            t = np.arcsinh((column - middle) / (high - low))
            counts, edges = np.histogram(t, bins=20)
            expected += np.log(counts.max() / (counts[np.digitize(t, edges[1:-1])] + 0.1))
        np.testing.assert_allclose(learned_marginals(torch.from_numpy(x))(torch.from_numpy(x)), expected, atol=1e-9)

    def test_outside_the_range_it_is_above_all_inside_and_grows(self) -> None:
        x = torch.from_numpy(np.random.default_rng(1).normal(size=(300, 1)))
        view = learned_marginals(x)
        for side in (-1, 1):
            beyond = view(side * torch.logspace(0.7, 12, 50, dtype=torch.float64)[:, None])
            assert bool((beyond.diff() > 0).all())
            assert bool((beyond > view(x).max()).all())

    def test_a_constant_column_is_surprised_by_any_other_value(self) -> None:
        view = learned_marginals(torch.full((40, 1), 5.0))
        got = view(torch.tensor([[5.0], [6.0], [2.0]]))
        outside = math.log(40 / 0.1)
        expected = [math.log(40 / 40.1), outside + math.asinh(1), outside + math.asinh(3)]
        torch.testing.assert_close(got, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-9)


class TestTrimmedGaussian:
    @staticmethod
    def learned(x: np.ndarray, share: float, rounds: int = 5, floor: float = 1e-4) -> TrimmedGaussian:
        view = TrimmedGaussian(x.shape[1], share=share, rounds=rounds, floor=floor)
        view.learn(torch.from_numpy(x))
        return view

    def test_without_trimming_it_is_the_log_of_the_squared_mahalanobis_distance(self) -> None:
        draw = np.random.default_rng(0)
        x = draw.normal(size=(200, 4)) @ draw.normal(size=(4, 4)) + 3
        new = 5 * draw.normal(size=(50, 4))
        centered = new - x.mean(0)
        covariance = np.cov(x.T, bias=True) + 0.02 * np.eye(4)
        distance = np.einsum("ij,jk,ik->i", centered, np.linalg.inv(covariance), centered)
        got = self.learned(x, share=0.0, floor=0.02)(torch.from_numpy(new))
        np.testing.assert_allclose(got.numpy(), np.log(distance), rtol=1e-9)

    def test_one_round_leaves_out_the_share_that_is_farthest(self) -> None:
        x = np.random.default_rng(2).standard_t(3, size=(101, 3))
        first = self.learned(x, share=0.0)(torch.from_numpy(x)).numpy()
        kept = x[np.argsort(first)[: math.ceil(0.7 * 101)]]
        again = self.learned(x, share=0.3, rounds=1)
        np.testing.assert_allclose(again.mean.numpy(), kept.mean(0), rtol=1e-9)
        expected = np.linalg.inv(np.cov(kept.T, bias=True) + 1e-4 * np.eye(3))
        np.testing.assert_allclose((again.whitening @ again.whitening.T).numpy(), expected, rtol=1e-7, atol=1e-9)

    def test_a_fifth_of_far_rows_does_not_turn_it_where_the_plain_one_is_turned(self) -> None:
        """Normal rows are thin in one direction; the far rows scatter along it and widen a plain covariance."""
        draw = np.random.default_rng(0)
        normal, far = draw.normal(size=(400, 3)) * [3, 1, 0.1], draw.normal(size=(100, 3)) * [3, 1, 3]
        x = np.r_[normal, far] @ np.linalg.qr(draw.normal(size=(3, 3)))[0]
        is_far = np.r_[np.zeros(400), np.ones(100)]
        plain, trimmed = (
            roc_auc_score(is_far, self.learned(x, share=share)(torch.from_numpy(x)).numpy()) for share in (0.0, 0.3)
        )
        assert plain < 0.85
        assert trimmed > 0.95


class TestPrincipalAxes:
    @staticmethod
    def learned(x: np.ndarray, most: int) -> PrincipalAxes:
        axes = PrincipalAxes(x.shape[1], most)
        axes.learn(torch.from_numpy(x))
        return axes

    def test_narrow_points_are_standardized(self) -> None:
        x = np.random.default_rng(0).normal(2, 5, size=(100, 4))
        x[:, 2] = 7  # does not move: its unit stays
        scaler = StandardScaler().fit(x)
        axes = self.learned(x, most=4)
        assert axes.n_out == 4
        new = 3 * x[:5] + 1
        np.testing.assert_allclose(axes(torch.from_numpy(new)).numpy(), scaler.transform(new), rtol=1e-9)

    def test_wide_points_are_those_of_principal_components_and_the_distance_to_their_plane(self) -> None:
        draw = np.random.default_rng(1)
        x = draw.normal(size=(300, 3)) @ draw.normal(size=(3, 9)) + 0.3 * draw.normal(size=(300, 9))
        new = draw.normal(size=(20, 9)) * 4
        scaler = StandardScaler().fit(x)
        plane = PCA(3, svd_solver="full").fit(scaler.transform(x))

        def expected(rows: np.ndarray) -> np.ndarray:
            z = scaler.transform(rows)
            on = plane.transform(z)
            return np.c_[on, np.linalg.norm(z - plane.inverse_transform(on), axis=1)]

        axes = self.learned(x, most=3)
        assert axes.n_out == 4
        got, unit = axes(torch.from_numpy(new)).numpy(), expected(x).std(0)
        np.testing.assert_allclose(np.abs(got), np.abs(expected(new) / unit), rtol=1e-6)
        np.testing.assert_allclose(axes(torch.from_numpy(x)).numpy().std(0), 1, rtol=1e-9)


class TestTailSurprise:
    @staticmethod
    def learned(scores: Tensor, n_levels: int = 1_000) -> TailSurprise:
        unit = TailSurprise(n_levels)
        unit.learn(scores)
        return unit

    @pytest.mark.parametrize("rows", [1_000, 334, 2])
    def test_training_rows_get_minus_log_of_the_share_that_scores_as_high(self, rows: int) -> None:
        scores = torch.from_numpy(1.1 ** np.random.default_rng(0).permutation(rows))
        got = self.learned(scores)(scores)
        as_high = (scores[None, :] >= scores[:, None]).double().mean(1)
        # The highest of N rows counts as 1/(N + 1), as in a conformal p-value, not as 1/N.
        torch.testing.assert_close(got, -as_high.log(), rtol=0, atol=1.5 / rows)
        assert float(got.max()) == pytest.approx(math.log(rows + 1), abs=1e-3)

    def test_many_equal_rows_share_one_surprise_however_they_are_rounded(self) -> None:
        scores = torch.tensor([1.0] * 700 + [2.0] * 200 + [3.0] * 100, dtype=torch.float64)
        unit = self.learned(scores)
        for nudge in (-1e-7, 0.0, 1e-7):
            got = unit(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64) * (1 + nudge))
            expected = -torch.tensor([1.0, 0.3, 0.1], dtype=torch.float64).log()
            torch.testing.assert_close(got, expected, rtol=0, atol=0.02)

    def test_new_rows_have_exponential_surprises_that_add_up_as_fishers(self) -> None:
        """Twice the sum over m independent views follows chi-squared with 2 m degrees of freedom."""
        draw = np.random.default_rng(0)
        total = np.zeros(20_000)
        for sample in (draw.normal, draw.standard_cauchy, draw.exponential):
            unit = self.learned(torch.from_numpy(sample(size=5_000)))
            surprise = unit(torch.from_numpy(sample(size=20_000))).numpy()
            assert stats.kstest(np.exp(-surprise), "uniform").statistic < 0.03
            total += surprise
        assert stats.kstest(2 * total, stats.chi2(6).cdf).statistic < 0.03

    def test_beyond_the_largest_training_score_it_grows_by_the_logarithm_of_the_distance(self) -> None:
        scores = torch.linspace(0, 2, 500, dtype=torch.float64)  # median 1, largest 2: the unit of distance is 1
        unit = self.learned(scores)
        steps = torch.tensor([1e-3, 1.0, math.e - 1, 1e6, 1e12], dtype=torch.float64)
        got = unit(2 + steps) - math.log(501)
        torch.testing.assert_close(got, steps.log1p(), rtol=1e-3, atol=1e-3)
        assert bool((unit(2 + torch.logspace(-3, 12, 60, dtype=torch.float64)).diff() > 0).all())

    def test_it_never_falls_and_is_never_negative(self) -> None:
        scores = torch.from_numpy(np.random.default_rng(0).choice([0.0, 1.0, 1.5, 9.0], 90))
        got = self.learned(scores)(torch.linspace(-5, 15, 2_001, dtype=torch.float64))
        assert bool((got.diff() >= 0).all())
        assert float(got[0]) == 0

    def test_equal_training_scores_leave_a_unit(self) -> None:
        got = self.learned(torch.full((30,), 4.0))(torch.tensor([3.0, 4.0, 5.0], dtype=torch.float64))
        torch.testing.assert_close(
            got, torch.tensor([0.0, 0.0, math.log(31) + math.log(2)]).double(), atol=1e-4, rtol=0
        )
