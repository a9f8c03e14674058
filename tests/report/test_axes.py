"""Axes and bars: every row in one bar, every tick where it says."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from offnormal.report.axes import Axis
from offnormal.report.evidence import score_histogram


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-1e12, 1e12), min_size=1, max_size=40),
    st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=40),
    st.floats(-1e4, 1e4),
)
def test_histogram_counts_every_row_once_and_flags_strictly(
    scores: list[float], calibration: list[float], cut: float
) -> None:
    data = score_histogram(np.array([*scores, cut]), np.array(calibration), cut)
    assert data.counts.sum() == len(scores) + 1
    assert data.counts[data.edges[:-1] >= cut].sum() == sum(score > cut for score in scores)
    assert (np.diff(data.edges) > 0).all()


def test_a_spread_of_hardly_a_number_is_placed_too() -> None:
    data = score_histogram(np.array([1.0, 0.0]), np.array([0.0, 2.225073858507203e-309]), 0.0)
    assert data.counts.sum() == 2
    assert (np.diff(data.edges) > 0).all()


@settings(max_examples=60, deadline=None)
@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.floats(0.1, 1e5))
def test_axes_place_and_label(low: float, length: float, reach: float) -> None:
    rng = np.random.default_rng(0)
    usual = low + length * rng.random(50)
    axis = Axis.of_values(np.append(usual, low + length * (1 + reach)), usual)
    values = np.linspace(axis.low, axis.high, 9)
    np.testing.assert_allclose(axis.at(axis.place(values)), values, rtol=1e-6, atol=1e-6 * length)
    assert (np.diff(axis.place(values)) > 0).all()
    ticks = axis.ticks(6)
    places = [place for place, _ in ticks]
    assert 1 <= len(ticks) <= 14
    assert len({label for _, label in ticks}) == len(ticks)
    assert places == sorted(places)
    assert all(0 <= place <= 1 for place in places)
