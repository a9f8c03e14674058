"""Pixel figures against scikit-learn on all pixels at once, brute force over cuts, sets, and a flood fill."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from offnormal.errors import DataError, InvalidParameter
from offnormal.metrics import PixelCurves, dice, image_accuracies, mean_region_overlap, pooled_dice, region_overlaps

Image = tuple[np.ndarray, np.ndarray]
NEIGHBORS = {4: [(0, 1), (1, 0), (0, -1), (-1, 0)]}
NEIGHBORS[8] = [*NEIGHBORS[4], (1, 1), (1, -1), (-1, 1), (-1, -1)]


def photographs(seed: int = 0, count: int = 6) -> list[Image]:
    """Return maps and masks of several sizes, the first good, with many regions, ties and scores of both signs."""
    random = np.random.default_rng(seed)
    made = []
    for i in range(count):
        shape = (random.integers(15, 30), random.integers(15, 30))
        mask = (random.random(shape) < 0.2) & (i > 0)
        made.append(((random.normal(size=shape) + mask * random.normal(0.8, 0.5)).astype(np.float32), mask))
    made[1][0][:, :5] = 0.0
    made[2][0][:, :5] = -0.0
    return made


def counted(images: list[Image], *, connectivity: int = 8, bits: int = 20) -> PixelCurves:
    curves = PixelCurves(connectivity=connectivity, bits=bits)  # type: ignore[arg-type]
    for score_map, mask in images:
        curves.add(score_map, mask)
    return curves


def pooled(images: list[Image]) -> Image:
    return np.concatenate([m.ravel() for _, m in images]), np.concatenate([s.ravel() for s, _ in images])


def flooded(mask: np.ndarray, connectivity: int) -> list[set[tuple[int, int]]]:
    """Return the regions of a mask, by filling."""
    left, regions = {(int(i), int(j)) for i, j in np.argwhere(mask)}, []
    while left:
        region, fresh = set(), {left.pop()}
        while fresh:
            region |= fresh
            near = {(i + di, j + dj) for i, j in fresh for di, dj in NEIGHBORS[connectivity]}
            fresh = near & left
            left -= fresh
        regions.append(region)
    return regions


def pro_by_brute_force(images: list[Image], connectivity: int, max_fpr: Fraction) -> Fraction:
    """Return the area under (rate, mean overlap) over every cut, in exact fractions."""
    points = [(Fraction(0), Fraction(0))]
    for cut in sorted({float(s) for score_map, _ in images for s in score_map.ravel()}, reverse=True):
        false = sum(int(((s >= cut) & ~m).sum()) for s, m in images)
        shares = [
            Fraction(sum(bool(s[place] >= cut) for place in region), len(region))
            for s, m in images
            for region in flooded(m, connectivity)
        ]
        points.append(
            (Fraction(false, sum(int((~m).sum()) for _, m in images)), sum(shares, Fraction(0)) / len(shares))
        )
    area = Fraction(0)
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        if x0 < x1 and x0 < max_fpr:
            end = min(x1, max_fpr)
            area += (end - x0) * (2 * y0 + (y1 - y0) * (end - x0) / (x1 - x0)) / 2
    return area / max_fpr


# Small whole numbers: ties abound, and no bin holds two of them.
cells = st.lists(st.tuples(st.integers(-6, 40), st.booleans()), min_size=24, max_size=24)
scenes = st.lists(cells, min_size=1, max_size=3).filter(lambda s: len({marked for one in s for _, marked in one}) == 2)


def images_of(scene: list[list[tuple[int, bool]]]) -> list[Image]:
    pixels = np.array(scene, dtype=float).reshape(len(scene), 4, 6, 2)
    return [(one[..., 0], one[..., 1] > 0) for one in pixels]


# --- against other computations ---------------------------------------------------------------------------------------


def test_auroc_and_average_precision_are_those_of_scikit_learn_within_what_the_bins_tie() -> None:
    images = photographs()
    y, scores = pooled(images)
    tied = []
    for bits in (14, 20, 22):
        curves = counted(images, bits=bits)
        error = abs(curves.auroc() - sk.roc_auc_score(y, scores))
        assert error <= curves.tied() / 2 + 1e-12
        tied.append(curves.tied())
    assert tied[0] > tied[1] >= tied[2] > 0  # the zeros, of either sign, are true ties
    assert curves.auroc() == pytest.approx(sk.roc_auc_score(y, scores), abs=1e-4)
    assert curves.average_precision() == pytest.approx(sk.average_precision_score(y, scores), abs=1e-4)


@pytest.mark.parametrize("connectivity", [4, 8])
def test_the_curve_is_scikit_learns_with_a_region_for_weight(connectivity: int) -> None:
    # Each pixel of a region weighted by one over its size makes a true positive rate of the mean overlap.
    images = [(np.round(s * 8), m) for s, m in photographs(1)]  # no bin holds two of these
    y, scores = pooled(images)
    weight = []
    for _, mask in images:
        sizes = np.ones(mask.shape)
        for region in flooded(mask, connectivity):
            sizes[tuple(np.array(list(region)).T)] = len(region)
        weight.append((1 / sizes).ravel())
    curves = counted(images, connectivity=connectivity)
    curve = curves.curve()
    fpr, tpr, _ = sk.roc_curve(y, scores, drop_intermediate=False)
    overlap = sk.roc_curve(y, scores, sample_weight=np.concatenate(weight), drop_intermediate=False)[1]
    np.testing.assert_allclose(curve.fpr, fpr, atol=1e-12)
    np.testing.assert_allclose(curve.tpr, tpr, atol=1e-12)
    np.testing.assert_allclose(curve.overlap, overlap, atol=1e-12)
    np.testing.assert_array_equal(curve.fpr, [(scores > cut)[~y].mean() for cut in curve.cuts])
    assert curves.regions == sum(len(flooded(m, connectivity)) for _, m in images)
    assert curves.auroc() == pytest.approx(sk.roc_auc_score(y, scores), abs=1e-12)
    assert curves.average_precision() == pytest.approx(sk.average_precision_score(y, scores), abs=1e-12)
    assert curves.pro_area(1.0) == pytest.approx(sk.auc(fpr, overlap))


@settings(deadline=None, derandomize=True, max_examples=40)
@given(
    scenes, st.sampled_from([4, 8]), st.sampled_from([Fraction(3, 10), Fraction(1, 20), Fraction(1, 2), Fraction(1)])
)
def test_the_pro_area_is_that_of_every_cut_by_brute_force(scene: list, connectivity: int, max_fpr: Fraction) -> None:
    images = images_of(scene)
    ours = counted(images, connectivity=connectivity, bits=16).pro_area(float(max_fpr))
    assert ours == pytest.approx(float(pro_by_brute_force(images, connectivity, max_fpr)), abs=1e-12)


def test_pro_counts_a_small_region_as_much_as_a_large_one() -> None:
    # A region of 90 pixels found at once, one of 10 never: half the regions, nine tenths of the pixels.
    mask = np.zeros((40, 40), dtype=bool)
    mask[:9, :10] = mask[20, 20:30] = True
    scores = np.linspace(0, 1, 1_600).reshape(40, 40)
    scores[:9, :10], scores[20, 20:30] = 2, -1
    curves = counted([(scores, mask)])
    assert curves.pro_area() == pytest.approx(0.5, abs=1e-12)
    assert curves.auroc() == pytest.approx(0.9, abs=1e-12)
    assert curves.at(1.5)[1:] == pytest.approx((180 / 190, 0.5, 0.9, 0.0))


@settings(deadline=None, derandomize=True, max_examples=30)
@given(scenes, st.integers(-8, 42))
def test_a_cut_gives_the_figures_of_the_pixels_above_it_and_the_oracle_the_best_dice(scene: list, cut: int) -> None:
    images = images_of(scene)
    curves = counted(images, bits=16)
    y, scores = pooled(images)
    given_cut = curves.at(cut)
    assert given_cut.cut >= cut
    assert given_cut.cut - cut <= abs(cut) / 2**7 + 1e-38
    assert given_cut.dice == pytest.approx(sk.f1_score(y, scores > cut, zero_division=0))
    assert given_cut.tpr == pytest.approx((scores > cut)[y].mean())
    assert given_cut.fpr == pytest.approx((scores > cut)[~y].mean())
    assert given_cut.overlap == pytest.approx(mean_region_overlap([s > cut for s, _ in images], [m for _, m in images]))
    best = curves.oracle_dice()
    every = [2 * (y & (scores > c)).sum() / (y.sum() + (scores > c).sum()) for c in {-math.inf, *scores}]
    assert best.dice == pytest.approx(max(every))
    assert best == curves.at(best.cut)
    assert best.dice == pytest.approx(sk.f1_score(y, scores > best.cut))


def test_cuts_at_the_ends_flag_none_and_all() -> None:
    largest = float(np.finfo(np.float32).max)
    mask = np.array([[True, False, False, True]])
    for bits in (12, 20):
        curves = counted([(np.array([[largest, -largest, 0.0, 1e-45]]), mask)], bits=bits)
        for cut in (math.inf, 1e300, largest):
            assert (curves.at(cut).tpr, curves.at(cut).fpr, curves.at(cut).overlap) == (0, 0, 0)
        for cut in (-math.inf, -1e300):
            assert (curves.at(cut).tpr, curves.at(cut).fpr, curves.at(cut).overlap) == (1, 1, 1)


# --- laws of counting -------------------------------------------------------------------------------------------------

GROWING: list[Callable[[np.ndarray], np.ndarray]] = [
    lambda s: 3.7 * s - 11,
    lambda s: np.exp(s / 5),
    np.arctan,
    np.cbrt,
    lambda s: s**3 * 1e30,
]


@settings(deadline=None, derandomize=True, max_examples=40)
@given(scenes, st.sampled_from(GROWING), st.sampled_from([12, 16, 20]))
def test_a_growing_map_of_the_scores_changes_auroc_by_half_of_what_the_bins_tie_at_most(
    scene: list, growing: Callable[[np.ndarray], np.ndarray], bits: int
) -> None:
    images = images_of(scene)
    exact = counted(images).auroc()
    assert exact == pytest.approx(sk.roc_auc_score(*pooled(images)), abs=1e-12)
    mapped = counted([(growing(s), m) for s, m in images], bits=bits)
    assert abs(mapped.auroc() - exact) <= mapped.tied() / 2 + 1e-12


def figures(curves: PixelCurves) -> list[float]:
    return [curves.auroc(), curves.average_precision(), curves.pro_area(), *curves.oracle_dice(), *curves.at(0.3)]


def test_the_order_of_the_images_and_where_they_were_counted_do_not_matter() -> None:
    images = photographs(2)
    whole, turned = counted(images), counted(images[::-1])
    first, rest, none = counted(images[:2]), counted(images[2:]), PixelCurves()
    for part in (none, rest, none):
        first.merge(part)
    for other in (turned, first):
        assert figures(other) == pytest.approx(figures(whole), rel=1e-12)
        for name in ("images", "regions", "normal_pixels", "anomalous_pixels"):
            assert getattr(other, name) == getattr(whole, name)
    assert (rest.images, none.images) == (4, 0)
    for other in (PixelCurves(bits=19), PixelCurves(connectivity=4)):
        with pytest.raises(InvalidParameter, match="same bits and connectivity"):
            whole.merge(other)


def test_the_bytes_held_do_not_grow() -> None:
    curves = PixelCurves(bits=16)

    def held() -> int:
        return sum(v.nbytes if isinstance(v, np.ndarray) else v.__sizeof__() for v in vars(curves).values())

    before, first = curves.nbytes, held()
    for _ in range(3):
        for image in photographs(3):
            curves.add(*image)
    assert curves.nbytes == before == 24 * 2**16
    assert held() - first < 64  # whole numbers that are no longer 0
    assert curves.images == 18


# --- one segmentation -------------------------------------------------------------------------------------------------


def test_dice_is_that_of_sets_per_case_and_pooled() -> None:
    random = np.random.default_rng(0)
    pairs = [(random.random((3, 4, 5)) < 0.4, random.random((3, 4, 5)) < share) for share in (0.1, 0.5, 0.0)]
    sets = [tuple({tuple(place) for place in np.argwhere(one)} for one in pair) for pair in pairs]
    for pair, (p, g) in zip(pairs, sets, strict=True):
        assert dice(*pair) == pytest.approx(2 * len(p & g) / (len(p) + len(g)))
    shared, sizes = sum(len(p & g) for p, g in sets), sum(len(p) + len(g) for p, g in sets)
    assert pooled_dice((p for p, _ in pairs), (g for _, g in pairs)) == pytest.approx(2 * shared / sizes)
    nothing = np.zeros((2, 2), dtype=bool)
    assert dice(nothing, nothing) == pooled_dice([nothing], [nothing]) == 1
    assert dice(~nothing, nothing) == dice(nothing, ~nothing) == 0


def test_overlaps_by_hand() -> None:
    mask = np.array([[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0], [1, 1, 1, 1]]) > 0
    flagged = np.array([[1, 1, 1, 1], [0, 0, 0, 0], [1, 1, 1, 1], [1, 0, 0, 0]]) > 0
    assert sorted(region_overlaps(flagged, mask)) == pytest.approx([1 / 4, 2 / 3])
    assert sorted(region_overlaps(flagged, mask, connectivity=4)) == pytest.approx([0, 1 / 4, 1])
    assert region_overlaps(flagged, mask & False).shape == (0,)
    both = [flagged, flagged], [mask, mask & False]
    assert mean_region_overlap(*both) == pytest.approx((1 / 4 + 2 / 3) / 2)
    assert mean_region_overlap(*both, connectivity=4) == pytest.approx((0 + 1 / 4 + 1) / 3)


def test_good_and_anomalous_images_have_an_accuracy_each() -> None:
    y, flagged = [0, 0, 0, 0, 1, 1], np.array([True, False, False, False, True, False])
    assert image_accuracies(y, flagged) == (0.75, 0.5)
    assert image_accuracies(y, np.zeros(6, dtype=bool)) == (1, 0)


# --- what cannot be measured ------------------------------------------------------------------------------------------

UNMARKED = np.zeros((2, 3), dtype=bool)


@pytest.mark.parametrize(
    ("score_map", "mask", "words"),
    [
        ([[0.0, math.nan, 1.0]], UNMARKED[:1], "1 are NaN"),
        ([[0.0, math.inf, 1.0]], UNMARKED[:1], "infinite"),
        ([[0.0, 1e39, 1.0]], UNMARKED[:1], "beyond float32"),
        ([0.0, 1.0], UNMARKED[:1], "shape \\(h, w\\)"),
        (np.zeros((2, 3, 1)), UNMARKED, "shape \\(h, w\\)"),
        ([["a"]], UNMARKED[:1], "numbers"),
        (np.zeros((2, 3)), UNMARKED[0], "mask must have shape"),
        (np.zeros((2, 3)), UNMARKED * 255, "mask > 0"),
        (np.zeros((3, 2)), UNMARKED, "one shape"),
    ],
)
def test_maps_and_masks_that_do_not_fit_are_refused_and_not_counted(
    score_map: object, mask: np.ndarray, words: str
) -> None:
    curves = PixelCurves(bits=12)
    with pytest.raises(DataError, match=words):
        curves.add(score_map, mask)  # type: ignore[arg-type]
    assert curves.images == curves.normal_pixels == curves._normal.sum() == 0


def test_pixels_of_one_kind_cannot_be_ranked() -> None:
    for images, words in (([], "0 masks mark none"), ([UNMARKED], "mark none"), ([~UNMARKED], "mark all")):
        curves = counted([(np.zeros((2, 3)), mask) for mask in images], bits=12)
        for figure in (curves.auroc, curves.tied, curves.average_precision, curves.pro_area, curves.oracle_dice):
            with pytest.raises(DataError, match=words):
                figure()


def test_what_a_segmentation_cannot_be_measured_by_is_refused() -> None:
    for words, flagged, masks in (
        ("must have one shape", [UNMARKED], [UNMARKED.T]),
        ("Flagged pixels must be True", [UNMARKED * 1.0], [UNMARKED]),
        ("mask > 0", [UNMARKED], [UNMARKED * 1]),
        ("One mask per array", [UNMARKED, UNMARKED], [UNMARKED]),
        ("One mask per array", [], []),
    ):
        for metric in (pooled_dice, mean_region_overlap):
            with pytest.raises(DataError, match=words):
                metric(flagged, masks)
    with pytest.raises(DataError, match="1 masks mark none"):
        mean_region_overlap([UNMARKED], [UNMARKED])
    with pytest.raises(DataError, match="of one kind"):
        image_accuracies([1, 1], np.array([True, False]))
    curves = counted(photographs(), bits=12)
    for cut_off in (0, 1.1, -1, math.nan):
        with pytest.raises(InvalidParameter, match="max_fpr"):
            curves.pro_area(cut_off)
    for wrong in ({"bits": 11}, {"bits": 25}, {"connectivity": 6}):
        with pytest.raises(InvalidParameter, match="must be"):
            PixelCurves(**wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidParameter, match="connectivity"):
        region_overlaps(UNMARKED, UNMARKED, connectivity=6)  # type: ignore[arg-type]
    with pytest.raises(InvalidParameter, match="NaN"):
        curves.at(math.nan)
