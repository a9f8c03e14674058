"""Splits against counts made by hand: 100 rows, of them 40 anomalies."""

from __future__ import annotations

import numpy as np
import pytest

from offnormal.bench.protocols import CleanHalf, ContaminatedShare, Dagmm, MixedHalf, Protocol
from offnormal.errors import DataError

Y = np.tile([0, 1, 0, 1, 0], 20)
EVERY = [Dagmm(), Dagmm(30), ContaminatedShare(10), CleanHalf(), MixedHalf()]


@pytest.mark.parametrize("protocol", EVERY, ids=lambda protocol: protocol.name)
def test_train_and_test_are_disjoint_and_the_seed_alone_decides(protocol: Protocol) -> None:
    first, again, other = protocol.split(Y, 3), protocol.split(Y, 3), protocol.split(Y, 4)
    assert not set(first.train) & set(first.test)
    assert len(set(first.train)) == len(first.train)
    assert len(set(first.test)) == len(first.test)
    assert np.array_equal(first.train, again.train)
    assert np.array_equal(first.test, again.test)
    assert set(first.test) != set(other.test)


def test_dagmm_fits_the_normal_rows_of_one_half_and_tests_on_the_whole_other() -> None:
    train, test = Dagmm().split(Y, 0)
    half = np.setdiff1d(np.arange(100), test)
    assert len(test) == 50
    assert sorted(train) == [row for row in half if Y[row] == 0]
    assert 0 < Y[test].sum() < 50


def test_an_odd_row_out_tests() -> None:
    assert len(MixedHalf().split(Y[:99], 0).train) == 49
    assert len(MixedHalf().split(Y[:99], 0).test) == 50


@pytest.mark.parametrize("percent", [1, 5, 30, 100])
def test_contamination_is_a_percentage_of_the_anomalies_of_the_training_half_rounded_down(percent: float) -> None:
    clean, contaminated = Dagmm().split(Y, 1), Dagmm(percent).split(Y, 1)
    in_half = 40 - int(Y[clean.test].sum())
    assert np.array_equal(clean.test, contaminated.test)
    assert set(clean.train) <= set(contaminated.train)
    assert Y[contaminated.train].sum() == percent * in_half // 100


def test_a_greater_contamination_contains_a_smaller_one() -> None:
    assert set(Dagmm(20).split(Y, 1).train) < set(Dagmm(50).split(Y, 1).train)


def test_on_kddcup_five_percent_of_the_anomalies_are_about_one_percent_of_the_fitted_rows() -> None:
    y = np.zeros(494_021, dtype=np.int64)
    y[:97_278] = 1
    train, test = Dagmm(5).split(y, 0)
    anomalies = int(0.05 * (97_278 - y[test].sum()))
    assert y[train].sum() == anomalies
    assert 0.0119 < anomalies / len(train) < 0.0124


def test_a_contaminated_share_is_a_share_of_the_fitted_rows() -> None:
    clean, contaminated = Dagmm().split(Y, 1), ContaminatedShare(25).split(Y, 1)
    normal = len(clean.train)
    assert (Y[contaminated.train] == 0).sum() == normal
    assert Y[contaminated.train].sum() == round(normal / 3)  # a quarter of all is a third of the others
    with pytest.raises(DataError, match="90 % anomalies"):
        ContaminatedShare(90).split(Y, 1)


def test_clean_half_tests_on_all_anomalies() -> None:
    train, test = CleanHalf().split(Y, 0)
    assert len(train) == 30
    assert not Y[train].any()
    assert len(test) == 70
    assert Y[test].sum() == 40


def test_the_order_of_rows_does_not_tell_the_anomalies_in_training() -> None:
    fitted = Y[Dagmm(50).split(Y, 0).train]
    places = np.flatnonzero(fitted) / len(fitted)
    assert places.min() < 0.4
    assert places.max() > 0.6


def test_what_is_flagged() -> None:
    assert Dagmm().flag_share(0.15, Y) == 0.15
    assert Dagmm().flag_share(None, Y) == 0.4
    assert ContaminatedShare(5).flag_share(0.15, Y) == 0.15
    assert CleanHalf().flag_share(0.15, Y) == 0.4
    assert MixedHalf().flag_share(0.15, Y) == 0.4


def test_names_tell_protocols_apart() -> None:
    assert [p.name for p in EVERY] == ["dagmm", "dagmm_contaminated:30", "contaminated_share:10", "clean_half",
                                       "mixed_half"]  # fmt: skip
    assert len({p.about for p in EVERY}) == len(EVERY)
