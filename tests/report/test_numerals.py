"""Numbers as people read them."""

from __future__ import annotations

import pytest

from offnormal.report.numerals import number, percent


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"), (12.0, "12"), (1234.56, "1,235"), (-0.01234, "−0.0123"), (2.5e-7, "2.5×10⁻⁷"), (1e9, "10⁹"),
        (-1.25e12, "−1.25×10¹²"), (float("nan"), "–"), (float("inf"), "∞"), (999_999.4, "999,999"), (0.5, "0.5"),
    ],
)  # fmt: skip
def test_numbers_are_readable(value: float, text: str) -> None:
    assert number(value) == text


def test_shares_are_readable() -> None:
    assert [percent(s) for s in (0.0, 1.0, 0.0213, 0.5, 0.9997, 0.00034)] == [
        "0%",
        "100%",
        "2.1%",
        "50%",
        ">99.9%",
        "0.034%",
    ]
