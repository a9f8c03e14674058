from __future__ import annotations

import json
import warnings

import numpy as np
import pytest

from offnormal.cli import console


def test_json_is_one_line_of_plain_values(capsys):
    console.print_json(
        {
            "a": np.float64(1.5),
            "b": np.array([1, 2]),
            "c": float("nan"),
            "d": (True, None),
            "e": {"f": np.int64(3)},
            "g": "é",
        }
    )
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert json.loads(out) == {"a": 1.5, "b": [1, 2], "c": None, "d": [True, None], "e": {"f": 3}, "g": "é"}


def test_json_has_no_infinity():
    assert console.plain([np.inf, -np.inf, np.array([np.nan])]) == [None, None, [None]]


def test_a_warning_is_one_line_and_shown_once(capsys):
    with console.warnings_as_lines(quiet=False):
        for _ in range(3):
            warnings.warn("two\nlines [red]", UserWarning, stacklevel=1)
        warnings.warn("of a library", DeprecationWarning, stacklevel=1)
    assert capsys.readouterr().err == "Warning: two lines [red]\n"


def test_quiet_shows_no_warnings(capsys):
    with console.warnings_as_lines(quiet=True):
        warnings.warn("x", UserWarning, stacklevel=1)
    assert capsys.readouterr().err == ""


def test_the_filters_are_given_back():
    with console.warnings_as_lines(quiet=True):
        pass
    with pytest.raises(UserWarning):
        warnings.warn("an error under pytest", UserWarning, stacklevel=1)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0.0 s"), (0.44, "0.4 s"), (9.96, "10 s"), (59.6, "1 min 0 s"), (185, "3 min 5 s"), (7800, "2 h 10 min")],
)
def test_durations_in_words(seconds, words):
    assert console.seconds_in_words(seconds) == words


def test_long_lists_are_cut():
    assert console.listed("abc") == "a, b, c"
    assert console.listed("abcdefghij", shown=2) == "a, b and 8 more"
