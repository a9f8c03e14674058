from __future__ import annotations

import pytest

from offnormal.cli.options import seconds
from offnormal.errors import InvalidParameter


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30s", 30),
        ("10m", 600),
        ("10min", 600),
        ("2h", 7200),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("45", 45),
        ("2 H", 7200),
    ],
)
def test_durations(text, expected):
    assert seconds(text) == expected


def test_no_duration_is_no_limit():
    assert seconds(None) is None


@pytest.mark.parametrize("text", ["", "0", "0s", "-3s", "soon", "3d", "m", "5s10m", "inf", "nan"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(InvalidParameter, match="--time-limit"):
        seconds(text)
