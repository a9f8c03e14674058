"""Ranking figures against brute force over pairs, cuts and orders and scikit-learn; intervals by simulation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from offnormal.errors import DataError, InvalidParameter
from offnormal.metrics import ranking

# Few distinct scores, so that ties are common.
rows = st.lists(st.tuples(st.integers(0, 1), st.integers(-3, 3)), min_size=2, max_size=25)
two_classes = rows.filter(lambda pairs: len({label for label, _ in pairs}) == 2)


def split(pairs: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([label for label, _ in pairs]), np.array([score for _, score in pairs], dtype=float)


@settings(deadline=None, derandomize=True)
@given(two_classes)
def test_auroc_is_the_share_of_pairs_in_order_with_ties_half(pairs: list[tuple[int, int]]) -> None:
    y, scores = split(pairs)
    wins = [(a > b) + 0.5 * (a == b) for a in scores[y == 1] for b in scores[y == 0]]
    assert ranking.auroc(y, scores) == pytest.approx(np.mean(wins))
    assert ranking.auroc(y, -scores) == pytest.approx(1 - np.mean(wins))


@settings(deadline=None, derandomize=True)
@given(two_classes)
def test_average_precision_is_the_sum_over_cuts_of_recall_gained_times_precision(pairs: list[tuple[int, int]]) -> None:
    y, scores = split(pairs)
    total, before = 0.0, 0.0
    for cut in sorted(set(scores), reverse=True):
        flagged = scores >= cut
        recall = y[flagged].sum() / y.sum()
        total, before = total + (recall - before) * y[flagged].mean(), recall
    assert ranking.average_precision(y, scores) == pytest.approx(total)


@settings(deadline=None, derandomize=True)
@given(rows, st.lists(st.booleans(), min_size=25, max_size=25))
def test_precision_recall_and_f1_agree_with_scikit_learn(pairs: list[tuple[int, int]], flags: list[bool]) -> None:
    y, _ = split(pairs)
    flagged = np.array(flags[: len(y)])
    theirs = sk.precision_recall_fscore_support(y, flagged, average="binary", zero_division=0)[:3]
    assert ranking.precision_recall_f1(y, flagged) == pytest.approx(theirs)


@settings(deadline=None, derandomize=True)
@given(rows, st.integers(-4, 4))
def test_f1_at_a_cut_flags_strictly_greater_scores(pairs: list[tuple[int, int]], cut: int) -> None:
    y, scores = split(pairs)
    assert ranking.f1_at_cut(y, scores, cut) == ranking.precision_recall_f1(y, np.array([s > cut for s in scores]))


@settings(deadline=None, derandomize=True)
@given(two_classes)
def test_the_best_f1_is_the_best_of_every_cut_and_its_cut_gives_it(pairs: list[tuple[int, int]]) -> None:
    y, scores = split(pairs)
    every = [sk.f1_score(y, scores > cut, zero_division=0) for cut in [-math.inf, *scores]]
    best = ranking.best_f1(y, scores)
    assert best.f1 == pytest.approx(max(every))
    assert (best.precision, best.recall, best.f1) == ranking.f1_at_cut(y, scores, best.cut)
    assert best.flagged == (scores > best.cut).sum()


@settings(deadline=None, derandomize=True)
@given(two_classes.filter(lambda pairs: len(pairs) <= 5), st.floats(0.05, 0.95))
def test_a_share_with_split_ties_is_the_mean_over_every_order_of_the_tied_rows(
    pairs: list[tuple[int, int]], share: float
) -> None:
    y, scores = split(pairs)
    wanted = max(round(share * len(y)), 1)
    f1 = []
    for order in itertools.permutations(range(len(y))):
        flagged = np.zeros(len(y), dtype=bool)
        flagged[sorted(order, key=lambda i: -scores[i])[:wanted]] = True
        f1.append(2 * y[flagged].sum() / (wanted + y.sum()))
    result = ranking.f1_at_share(y, scores, share)
    assert result.f1 == pytest.approx(np.mean(f1))
    assert result.flagged == result.wanted == wanted


@settings(deadline=None, derandomize=True)
@given(two_classes, st.floats(0.01, 0.99))
def test_ties_left_or_taken_whole_are_cuts_on_either_side(pairs: list[tuple[int, int]], share: float) -> None:
    y, scores = split(pairs)
    leave, take = (ranking.f1_at_share(y, scores, share, ties) for ties in ("leave", "take"))
    at = np.sort(scores)[::-1][leave.wanted - 1]
    assert leave[:3] == ranking.f1_at_cut(y, scores, at)
    assert take[:3] == ranking.precision_recall_f1(y, scores >= at)
    assert (leave.flagged, take.flagged) == ((scores > at).sum(), (scores >= at).sum())
    assert take.flagged - leave.flagged == take.tied == leave.tied


def test_at_the_true_share_precision_recall_and_f1_are_one_number() -> None:
    random = np.random.default_rng(0)
    y = (random.uniform(size=1_000) < 0.2).astype(int)
    result = ranking.f1_at_share(y, random.poisson(3 + 3 * y).astype(float), y.mean())
    assert result.precision == pytest.approx(result.recall) == pytest.approx(result.f1)


@pytest.mark.parametrize(("share", "f1"), [(0.197, 0.934), (0.329, 0.951)])
def test_f1_at_another_share_of_anomalies_has_the_published_example(share: float, f1: float) -> None:
    assert ranking.f1_at_prevalence(0.94, 0.018, share) == pytest.approx(f1, abs=5e-4)


@settings(deadline=None, derandomize=True)
@given(st.integers(1, 50), st.integers(1, 50), st.data())
def test_f1_at_the_datas_own_share_is_the_f1_of_the_data(anomalies: int, normals: int, data: st.DataObject) -> None:
    hits, false = data.draw(st.integers(0, anomalies)), data.draw(st.integers(0, normals))
    y = np.repeat([1, 0], [anomalies, normals])
    flagged = np.concatenate([np.arange(anomalies) < hits, np.arange(normals) < false])
    ours = ranking.f1_at_prevalence(hits / anomalies, false / normals, anomalies / (anomalies + normals))
    assert ours == pytest.approx(sk.f1_score(y, flagged, zero_division=0))


# --- bootstrap --------------------------------------------------------------------------------------------------------


def pair_share(y: np.ndarray, scores: np.ndarray) -> float:
    normal = np.sort(scores[y == 0])
    return float(np.searchsorted(normal, scores[y == 1]).mean() / len(normal))


def test_the_interval_covers_the_true_auroc_about_as_often_as_it_says() -> None:
    truth = 0.5 * (1 + math.erf(1.2 / 2))  # P(N(1.2, 1) > N(0, 1))
    runs, covered = 500, 0
    y = np.repeat([0, 1], [400, 200])
    for seed in range(runs):
        scores = np.random.default_rng(seed).normal(1.2 * y)
        value, low, high = ranking.bootstrap(pair_share, y, scores, 200, seed)
        assert low <= value <= high
        covered += low <= truth <= high
    assert covered / runs == pytest.approx(0.945, abs=4 * math.sqrt(0.945 * 0.055 / runs))


def test_the_width_agrees_with_the_closed_form_for_recall() -> None:
    y = np.repeat([0, 1], [500, 100])
    scores = np.r_[np.zeros(500), np.ones(80), np.zeros(20)]
    value, low, high = ranking.bootstrap(lambda y, s: ranking.f1_at_cut(y, s, 0.5).recall, y, scores, 4_000, 0)
    assert value == 0.8
    assert high - low == pytest.approx(2 * 1.96 * math.sqrt(0.8 * 0.2 / 100), rel=0.1)


def test_every_draw_keeps_the_size_of_each_class_and_the_order_of_scores() -> None:
    y = np.repeat([1, 0], [1, 30])
    scores = np.random.default_rng(0).normal(size=31)

    def metric(labels: np.ndarray, values: np.ndarray) -> float:
        assert labels.sum() == 1
        assert len(labels) == 31
        assert set(values[labels == 1]) == {scores[0]}
        return float(values.mean())

    ranking.bootstrap(metric, y, scores, 50, 0)


def test_a_seed_gives_the_same_interval_whatever_the_order_of_the_rows_and_leaves_the_global_state() -> None:
    random = np.random.default_rng(0)
    y, scores = random.integers(2, size=200), random.normal(size=200)
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first = ranking.bootstrap(ranking.auroc, y, scores, 30, 7)
    order = random.permutation(200)
    assert ranking.bootstrap(ranking.auroc, y[order], scores[order], 30, 7) == pytest.approx(first)
    assert ranking.bootstrap(ranking.auroc, y, scores, 30, 8) != first
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


# --- what cannot be measured ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", [ranking.auroc, ranking.average_precision, ranking.best_f1])
@pytest.mark.parametrize(
    ("y", "scores", "words"),
    [
        ([0, 0], [1.0, 2.0], "all 2 are normal rows"),
        ([1, 1], [1.0, 2.0], "all 2 are anomalies"),
        ([0, 2], [1.0, 2.0], "0 \\(normal\\) or 1"),
        ([1, -1], [1.0, 2.0], "y == -1"),
        (["a", "b"], [1.0, 2.0], "Labels must be"),
        ([0, math.nan], [1.0, 2.0], "Labels must be"),
        ([0, 1], [1.0], "one score per label"),
        ([0, 1], [1.0, math.nan], "1 are NaN"),
        ([0, 1], [1.0, math.inf], "finite"),
        ([], [], "one label per row"),
        ([[0, 1]], [[1.0, 2.0]], "flat array"),
    ],
)
def test_labels_and_scores_that_do_not_fit_are_refused(metric: object, y: list, scores: list, words: str) -> None:
    with pytest.raises(DataError, match=words):
        metric(y, scores)  # type: ignore[operator]


def test_numbers_outside_their_range_are_refused() -> None:
    y, scores = [0, 1], [0.0, 1.0]
    for share in (0, 1, -1, math.nan):
        with pytest.raises(InvalidParameter, match="share"):
            ranking.f1_at_share(y, scores, share)
    with pytest.raises(InvalidParameter, match="ties"):
        ranking.f1_at_share(y, scores, 0.5, "some")  # type: ignore[arg-type]
    with pytest.raises(InvalidParameter, match="prevalence"):
        ranking.f1_at_prevalence(0.5, 0.5, 1.5)
    for n, level in ((0, 0.95), (10, 1.0)):
        with pytest.raises(InvalidParameter, match="at least 1"):
            ranking.bootstrap(ranking.auroc, y, scores, n, 0, level)
    with pytest.raises(DataError, match="True or False"):
        ranking.precision_recall_f1(y, scores)
    with pytest.raises(DataError, match="one flag per label"):
        ranking.precision_recall_f1(y, [True])
