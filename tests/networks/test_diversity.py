"""Diversity at its ends, what it does not depend on, and that a stray row does not decide it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist

from offnormal.networks.diversity import AT_MOST, COLLAPSED_BELOW, LEAST_STEPS, diversity, has_collapsed
from offnormal.random import generator

ROWS = torch.randn(200, 2, 4, 4, generator=generator(0, "rows"))
MADE = 0.4 * torch.randn(200, 2, 4, 4, generator=generator(0, "made"))


def test_one_row_again_and_again_has_none_and_the_rows_themselves_have_all() -> None:
    assert diversity(ROWS[:1].expand(200, -1, -1, -1), ROWS) == 0
    assert diversity(ROWS, ROWS) == 1
    assert diversity(-ROWS + 1000, ROWS) == pytest.approx(1, rel=1e-4), "where the rows lie does not matter"


def test_it_is_the_ratio_of_squared_mean_roots_of_scipys_distances() -> None:
    typical = [np.sqrt(pdist(rows.flatten(1).double().numpy())).mean() ** 2 for rows in (MADE, ROWS)]
    assert diversity(MADE, ROWS) == pytest.approx(typical[0] / typical[1], rel=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.integers(-20, 20), st.randoms(use_true_random=False))
def test_scale_and_order_do_not_matter(power: int, random: object) -> None:
    order, other = list(range(200)), list(range(200))
    random.shuffle(order)  # type: ignore[attr-defined]
    random.shuffle(other)  # type: ignore[attr-defined]
    expected = diversity(MADE, ROWS)
    assert diversity(MADE[order] * 2.0**power, ROWS[other] * 2.0**power) == pytest.approx(expected, rel=1e-9)
    halved = diversity(MADE[order] / 2, ROWS)
    assert halved == pytest.approx(expected / 2 if expected else 0, rel=1e-9)


def test_rows_after_the_first_256_are_not_looked_at() -> None:
    many = torch.randn(AT_MOST + 50, 3, generator=generator(0, "many"))
    changed = many.clone()
    changed[AT_MOST:] *= 1e6
    assert diversity(changed, changed.flip(1)) == diversity(many, many.flip(1))


def test_where_it_means_nothing_there_is_none() -> None:
    assert diversity(MADE, ROWS[:1].expand(200, -1, -1, -1)) is None, "equal rows"
    assert diversity(MADE, ROWS[:1]) is None
    assert diversity(MADE[:1], ROWS) is None
    assert diversity(MADE * float("nan"), ROWS) is None
    assert diversity(MADE / 0, ROWS) is None


def test_a_stray_row_in_training_does_not_make_a_generator_look_collapsed() -> None:
    """Of a mean of distances it would: 2·1000/256 against the few units of all others."""
    rows = torch.randn(AT_MOST, 10, generator=generator(0, "table"))
    made = torch.randn(AT_MOST, 10, generator=generator(1, "table"))
    rows[17] = 3000.0
    as_means = float(torch.pdist(made).mean() / torch.pdist(rows).mean())
    assert as_means < COLLAPSED_BELOW
    found = diversity(made, rows)
    assert found is not None
    assert found > 3 * COLLAPSED_BELOW


def test_a_run_is_judged_by_its_last_figure_after_enough_steps() -> None:
    low, high = COLLAPSED_BELOW / 2, 2 * COLLAPSED_BELOW
    records = [{"diversity": high}, {"diversity": None}, {}, {"diversity": low}, {"diversity": None}]
    assert has_collapsed(records, LEAST_STEPS)
    assert not has_collapsed(records, LEAST_STEPS - 1)
    assert not has_collapsed([*records, {"diversity": high}], LEAST_STEPS), "it recovered"
    assert not has_collapsed([{"diversity": COLLAPSED_BELOW}], LEAST_STEPS)
    assert has_collapsed([{"diversity": 0.0}], LEAST_STEPS)
    assert not has_collapsed([{"diversity": None}, {}], LEAST_STEPS), "never measured"
    assert not has_collapsed([], LEAST_STEPS)
