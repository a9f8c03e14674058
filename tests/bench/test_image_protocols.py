"""The image papers' splits against counts made by hand: 100 images, 40 of them of the class; and GPND's F1."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from offnormal.bench.image_protocols import (
    SHARES,
    Gpnd,
    MemaeImages,
    NineIn,
    OneClassFifth,
    RappMultimodal,
    RappUnimodal,
    SoundParts,
    best_inlier_cut,
)
from offnormal.bench.protocols import Floats, Ints, Protocol
from offnormal.errors import DataError

OF_CLASS = np.tile([0, 1, 0, 1, 0], 20)
EVERY = [RappMultimodal(), RappMultimodal(7), RappUnimodal(), RappUnimodal(20), MemaeImages(), SoundParts(), Gpnd(),
         Gpnd(5), NineIn(), NineIn(9), OneClassFifth()]  # fmt: skip


@pytest.mark.parametrize(
    ("protocol", "normal_is", "fitted", "normal_tested", "anomalies_tested", "validated"),
    [
        (RappMultimodal(), 0, 36, 12, 40, 0),  # 60 normal images: 36, 12 unused, 12; all of the class
        (RappMultimodal(7), 0, 7, 12, 40, 0),
        (SoundParts(), 0, 53, 7, 40, 0),  # eight ninths of 60
        (RappUnimodal(), 1, 24, 8, 8, 0),  # 40 normal images: 24, 8 unused, 8; as many others
        (MemaeImages(), 1, 27, 13, 6, 0),  # two thirds of 40; 6 of 19 are 31.6 %, the nearest to 30 %
        (Gpnd(), 1, 24, 8, 12, 8 + 12),
        (Gpnd(5), 1, 24, 8, 5, 8 + 5),
        (NineIn(), 0, 48, 12, 40, 0),  # 60 normal images: 48, 12; all of the class
        (NineIn(9), 0, 9, 12, 40, 0),
        (OneClassFifth(), 1, 24, 8, 12, 0),  # 40 normal images: 24, 8 unused, 8; a fifth of 60 others
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_the_split_is_the_papers(
    protocol: Protocol, normal_is: int, fitted: int, normal_tested: int, anomalies_tested: int, validated: int
) -> None:
    y = protocol.anomalies(OF_CLASS)
    train, test = protocol.split(y, 3)
    assert (OF_CLASS[train] == normal_is).all()  # no anomaly is fitted
    assert (len(train), int((y[test] == 0).sum()), int(y[test].sum())) == (fitted, normal_tested, anomalies_tested)
    valid = protocol.validation(y, 3)
    assert len(valid) == validated
    assert len({*train, *test, *valid}) == len(train) + len(test) + len(valid)
    assert protocol.flag_share(None, y[test]) == pytest.approx(anomalies_tested / len(test))


@pytest.mark.parametrize("protocol", EVERY, ids=lambda protocol: protocol.name)
def test_the_seed_alone_decides(protocol: Protocol) -> None:
    y = protocol.anomalies(OF_CLASS)
    first, again, other = protocol.split(y, 3), protocol.split(y, 3), protocol.split(y, 4)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert set(first.train) != set(other.train)
    assert set(first.test) != set(other.test)
    assert np.array_equal(protocol.validation(y, 3), protocol.validation(y, 3))


def test_few_outliers_are_a_part_of_all() -> None:
    y = Gpnd().anomalies(OF_CLASS)
    assert set(Gpnd(5).split(y, 0).test) < set(Gpnd().split(y, 0).test)
    assert np.array_equal(Gpnd(5).split(y, 0).train, Gpnd().split(y, 0).train)


def test_contamination_is_a_share_of_the_training_images_and_touches_nothing_else() -> None:
    y = RappUnimodal().anomalies(OF_CLASS)
    clean, some, more = (RappUnimodal(share).split(y, 3) for share in (0, 20, 40))
    for split, novel in ((some, 6), (more, 16)):  # 6 of 30 and 16 of 40 images, 24 of them normal
        assert y[split.train].sum() == novel
        assert len(split.train) == 24 + novel
        assert np.array_equal(split.test, clean.test)
        assert not set(split.train) & set(split.test)
        places = np.flatnonzero(y[split.train])
        assert not np.array_equal(places, np.arange(24, 24 + novel))  # their order does not tell them
    assert set(clean.train) < set(some.train) < set(more.train)
    with pytest.raises(DataError, match="80 % anomalies in training need 96"):
        RappUnimodal(80).split(y, 3)


def test_few_training_images_are_a_part_of_all() -> None:
    y = RappMultimodal().anomalies(OF_CLASS)
    few, every = RappMultimodal(7).split(y, 3), RappMultimodal().split(y, 3)
    assert set(few.train) < set(every.train)
    assert np.array_equal(few.test, every.test)


def test_names_and_sentences_tell_protocols_apart() -> None:
    assert [protocol.name for protocol in EVERY] == [
        "rapp_multimodal",
        "rapp_multimodal:7",
        "rapp_unimodal",
        "rapp_unimodal_contaminated:20",
        "memae_images",
        "sound_parts",
        "gpnd",
        "gpnd:5",
        "nine_in",
        "nine_in:9",
        "one_class_fifth",
    ]
    assert len({protocol.about for protocol in EVERY}) == len(EVERY)
    assert ".947, .889, .824, .750, .667" in Gpnd().about  # everything called an inlier


def test_f1_at_a_share_is_that_of_images_repeated_until_the_share_is_exact() -> None:
    """As the published code makes it, against scikit-learn: 12 inliers and 18 outliers, repeated for 10 to 50 %."""
    draw = np.random.default_rng(5)
    y, y_valid = (draw.permutation(np.repeat([0, 1], [12, 18])) for _ in range(2))
    scores, scores_valid = (np.round(draw.normal(size=30) + 1.5 * labels, 1) for labels in (y, y_valid))  # with ties
    found = Gpnd().oracle(y, scores, y_valid, scores_valid)
    assert len(found) == 2 * len(SHARES)
    for percent in SHARES:
        valid, tested = _repeated(y_valid, scores_valid, percent), _repeated(y, scores, percent)
        assert valid[0].mean() == pytest.approx(percent / 100)
        by_cut = {cut: metrics.f1_score(valid[0], valid[1] > cut, pos_label=0) for cut in np.unique(scores_valid)}
        cut = best_inlier_cut(y_valid, scores_valid, percent / 100)
        assert by_cut[cut] == pytest.approx(max(by_cut.values()))
        for side, label in (("inlier", 0), ("outlier", 1)):
            expected = metrics.f1_score(tested[0], tested[1] > cut, pos_label=label)
            assert found[f"{side}_f1_{percent}"] == pytest.approx(expected)


def _repeated(y: Ints, scores: Floats, percent: int) -> tuple[Ints, Floats]:
    """Repeat 12 inliers and 18 outliers until so many percent are outliers."""
    times = np.where(y == 1, 12 * percent, 18 * (100 - percent))
    return np.repeat(y, times), np.repeat(scores, times)


def test_the_cut_of_separate_scores_is_the_highest_inlier() -> None:
    y, scores = np.array([0, 0, 0, 1, 1]), np.array([1.0, 3.0, 2.0, 9.0, 5.0])
    assert best_inlier_cut(y, scores, 0.3) == 3.0
    perfect = Gpnd().oracle(y, scores, y, scores)
    assert set(perfect.values()) == {1.0}
