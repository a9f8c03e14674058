"""Scores of maps, against slow definitions; and what a detector does with them."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

import offnormal
from offnormal.errors import InvalidParameter, NotSupported
from offnormal.score_maps import MapScore, beyond, reached_by_region

MAPS = arrays(np.float32, (6, 7), elements=st.integers(0, 8).map(float))
RNG = np.random.default_rng(0)
SIDE = 12


def largest_region(mask: Any) -> int:
    """Flood from every pixel to its eight neighbors."""
    left = {tuple(place) for place in np.argwhere(mask).tolist()}
    largest = 0
    while left:
        queue, size = deque([left.pop()]), 0
        while queue:
            row, column = queue.popleft()
            size += 1
            for near in [(row + i, column + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]:
                if near in left:
                    left.remove(near)
                    queue.append(near)
        largest = max(largest, size)
    return largest


@settings(max_examples=60, deadline=None)
@given(MAPS, st.integers(1, 42))
def test_the_cut_that_a_region_reaches(residuals: Any, area: int) -> None:
    expected = max(t for t in residuals.ravel().tolist() if largest_region(residuals >= t) >= area)
    assert reached_by_region(residuals, area) == expected
    score = MapScore("area", area)
    assert float(score(torch.from_numpy(residuals)[None])[0]) == expected


@settings(max_examples=40, deadline=None)
@given(MAPS, st.integers(1, 42), st.integers(0, 8))
def test_a_map_has_pixels_beyond_the_cut_exactly_if_its_score_is(residuals: Any, area: int, cut: int) -> None:
    for kind in ("max", "area"):
        score = MapScore(kind, area)
        mask = beyond(residuals[None], float(cut), score)[0]
        assert mask.any() == (float(score(torch.from_numpy(residuals)[None])[0]) > cut)
        assert largest_region(mask) >= area or kind == "max" or not mask.any()
        assert (residuals[mask] > cut).all()


def test_greatest_pixels_of_images_and_clips() -> None:
    maps = torch.from_numpy(RNG.random((3, 4, 5, 6)))
    torch.testing.assert_close(MapScore("max", 1)(maps), maps.flatten(1).amax(1))
    mean_of_three = np.sort(maps.numpy().reshape(3, 4, 30), axis=2)[:, :, -3:].mean(2).max(1)
    np.testing.assert_allclose(MapScore("top", 3)(maps).numpy(), mean_of_three)


def screens(n: int, spots: int = 0) -> Any:
    """Smooth gradients, with a bright spot of so many pixels a side."""
    slope = np.linspace(0, 120, SIDE)[None, :, None] * RNG.uniform(0.5, 1, (n, 1, 1))
    images = slope + RNG.normal(40, 4, (n, SIDE, SIDE))
    for image in images if spots else []:
        top, left = RNG.integers(0, SIDE - spots, 2)
        image[top : top + spots, left : left + spots] += 80
    return images.clip(0, 255).astype(np.uint8)


GOOD, NEW, SPOTTED = screens(300), screens(200), screens(60, 3)


@pytest.mark.parametrize("kind", ["max", "area"])
def test_the_cut_on_pixels_keeps_its_promise_on_good_images(kind: str, tmp_path: Any) -> None:
    detector = offnormal.PCAReconstruction(
        n_components=3, map_score=kind, map_area=4, calibration="holdout", threshold="conformal:0.05"
    ).fit(GOOD)
    masks, maps = detector.defect_masks(SPOTTED), detector.residual_maps(SPOTTED)
    assert np.array_equal(masks.any((1, 2)), detector.predict(SPOTTED) < 0)
    assert masks.any((1, 2)).mean() > 0.9
    assert detector.defect_masks(NEW).any((1, 2)).mean() < 0.15
    if kind == "max":
        np.testing.assert_allclose(detector.anomaly_score(SPOTTED), maps.max((1, 2)), rtol=1e-5)
    path = tmp_path / "model.offnormal"
    offnormal.save(detector, path)
    again = offnormal.load(path)
    assert np.array_equal(again.anomaly_score(SPOTTED), detector.anomaly_score(SPOTTED))
    assert np.array_equal(again.defect_masks(SPOTTED), masks)


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(InvalidParameter, match=r"map_score='max' is for images, and this is a table"):
        offnormal.PCAReconstruction(map_score="max").fit(GOOD[:, 0])
    with pytest.raises(InvalidParameter, match=r"map_area=145 is more than the 12×12 pixels"):
        offnormal.PCAReconstruction(map_score="top", map_area=145).fit(GOOD)
    with pytest.raises(InvalidParameter, match=r"KernelPCAReconstruction has no map of pixels"):
        offnormal.KernelPCAReconstruction(map_score="area").fit(GOOD)
    with pytest.raises(NotSupported, match=r"cut .* on whole images.*map_score='max' or 'area'"):
        offnormal.PCAReconstruction(calibration="none").fit(GOOD).defect_masks(NEW)


def test_smoothing_needs_a_map() -> None:
    with pytest.raises(InvalidParameter, match="map_smoothing is for images"):
        offnormal.PCAReconstruction(map_smoothing=1.0).fit(RNG.normal(size=(60, 3)))
    with pytest.raises(InvalidParameter, match="has no map of pixels to smooth"):
        offnormal.DeepSVDD(map_smoothing=1.0, epochs=0).fit(GOOD[:40])


@pytest.mark.parametrize("sigma", [0.4, 1.5, 30.0])
def test_smoothing_is_that_of_scipy(sigma: float) -> None:
    plain = offnormal.PCAReconstruction(n_components=3, calibration="none").fit(GOOD)
    smooth = offnormal.PCAReconstruction(n_components=3, calibration="none", map_smoothing=sigma).fit(GOOD)
    maps, found = plain.residual_maps(GOOD[:5]).astype(np.float64), smooth.residual_maps(GOOD[:5])
    reach = min(int(np.ceil(4 * sigma)), maps.shape[1] - 1)
    expected = [ndimage.gaussian_filter(one, sigma, mode="mirror", radius=reach) for one in maps]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6 * maps.max())
    np.testing.assert_array_equal(smooth.anomaly_score(GOOD), plain.anomaly_score(GOOD))  # the method's own


def test_with_smoothing_the_greatest_pixel_is_that_of_the_smoothed_map() -> None:
    detector = offnormal.PCAReconstruction(n_components=3, map_score="max", map_smoothing=1.5, calibration="holdout")
    detector.fit(GOOD)
    maps = detector.residual_maps(GOOD)
    np.testing.assert_allclose(detector.anomaly_score(GOOD), maps.max((1, 2)), rtol=1e-6)
    assert np.array_equal(detector.defect_masks(GOOD).any((1, 2)), detector.predict(GOOD) == -1)
    rough = offnormal.PCAReconstruction(n_components=3, map_score="max", calibration="holdout").fit(GOOD)
    assert (detector.anomaly_score(GOOD) < rough.anomaly_score(GOOD)).all()
