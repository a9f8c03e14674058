"""Reasons in words, in the order of the contributions."""

from __future__ import annotations

import numpy as np

from offnormal.explanation import Explanation

MADE = Explanation(
    columns=("area", "country", "time"),
    parts={
        "residual": np.array([[1.0, 2.0, -1.0], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]),
        "energy": np.array([[4.0, 0.5, -1.0], [0.0, -1.0, 0.0], [0.0, 0.0, 0.0]]),
    },
    values=[["2,501", "FR (never seen)", "missing"], ["1", "KR", "noon"], ["2", "KR", "noon"]],
    usual=("380 to 1,210", "KR, 80%", "any time"),
)


def test_contributions_are_the_sum_of_the_parts() -> None:
    assert MADE.contributions.tolist() == [[5, 2.5, -2], [0, -1, 0], [1, 1, 1]]


def test_the_ranking_falls_and_keeps_the_order_of_columns_among_equals() -> None:
    assert MADE.ranking().tolist() == [[0, 1, 2], [0, 2, 1], [0, 1, 2]]


def test_reasons_name_the_value_and_what_is_usual() -> None:
    assert MADE.reasons() == [
        ["area = 2,501 (usually 380 to 1,210)", "country = FR (never seen) (usually KR, 80%)"],
        [],
        ["area = 2 (usually 380 to 1,210)", "country = KR (usually KR, 80%)", "time = noon (usually any time)"],
    ]


def test_fewer_reasons_and_another_language() -> None:
    assert [len(row) for row in MADE.reasons(top=1)] == [1, 0, 1]
    assert MADE.reasons(top=0) == [[], [], []]
    assert MADE.reasons(1, usually="보통")[0] == ["area = 2,501 (보통 380 to 1,210)"]
