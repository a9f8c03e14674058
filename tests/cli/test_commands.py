from __future__ import annotations

import pytest

from offnormal.cli.commands import in_our_words


@pytest.mark.parametrize(
    ("complaint", "ours"),
    [
        ("Input should be greater than or equal to 1", "it must be at least 1."),
        ("Input should be a valid integer, unable to parse string as an integer", "it must be a whole number."),
        ("Value error, 'q' is not one of 'flagged', 'all'.", "'q' is not one of 'flagged', 'all'."),
        ("No such file.", "No such file."),
    ],
)
def test_validators_speak_in_our_words(complaint, ours):
    assert in_our_words(complaint) == ours


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--top", "0"], "it must be at least 1."),
        (["--top", "q"], "it must be a whole number."),
        (["--reasons", "q"], "'q' is not one of 'flagged', 'all', 'none'."),
    ],
)
def test_so_do_flags(run, model, data, arguments, said):
    result = run("score", model, data, "-o", "-", *arguments)
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.replace("│", " ").split())
    assert "Input should" not in result.stderr
    assert "Value error" not in result.stderr
