"""The words of the promises: in both languages, with the figures, without a hole, and right about small samples."""

from __future__ import annotations

import dataclasses
import math
import re

import numpy as np
import pytest

from offnormal.errors import ModelFileError, UnknownName
from offnormal.thresholds import (
    Conformal,
    Contamination,
    Cut,
    Fixed,
    MedianDeviation,
    PeaksOverThreshold,
    Quantile,
    Rule,
    benjamini_hochberg,
    default_cut,
    discovery_note,
    p_values,
    promise,
)

SCORES = np.random.default_rng(0).exponential(size=3_000)
RULES: list[Rule] = [
    Conformal(),
    Quantile(),
    MedianDeviation(),
    PeaksOverThreshold(),
    PeaksOverThreshold(1e-6),
    Fixed(3.0),
    Contamination(0.05),
]
HANGUL = re.compile("[가-힣]")


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("lang", ["en", "ko"])
def test_every_promise_is_said_in_words_with_its_figures(rule: Rule, lang: str) -> None:
    cut = rule.cut(SCORES, SCORES)
    text = promise(cut, lang)
    assert not re.search(r"[{}]|nan|e-\d|\d\.\d{6}", text)
    assert bool(HANGUL.search(text)) == (lang == "ko")
    assert promise(cut, lang, whole=False) in text
    gives_a_rate = str(rule).startswith(("conformal", "quantile", "pot"))
    assert (len(promise(cut, lang, folds=True)) > len(text)) == gives_a_rate  # "approximate" needs a rate
    if not isinstance(rule, Fixed | Contamination | MedianDeviation):
        figure = {"conformal": "1%", "quantile": "1%", "pot": f"{100 * getattr(rule, 'risk', 0):.4f}".rstrip("0") + "%"}
        assert figure[rule.name] in text
    if lang == "en":
        assert promise(cut, whole=False) == cut.promise


@pytest.mark.parametrize("lang", ["en", "ko"])
def test_the_whole_promise_says_what_p_means_for_training_rows_and_what_is_not_promised(lang: str) -> None:
    text = promise(default_cut(SCORES), lang)
    for words in (
        ("too large", "not promise", "sensor") if lang == "en" else ("실제보다 크게", "보장하지는 않습니다", "센서")
    ):
        assert words in text


def test_a_small_table_gets_the_level_it_supports_in_words() -> None:
    assert "2.44%" in default_cut(SCORES[:40]).promise
    assert "1 in 41" in default_cut(SCORES[:40]).promise
    assert "1%를 원했지만" in promise(default_cut(SCORES[:40]), "ko")


def test_both_languages_have_the_same_sentences_and_figures() -> None:
    from offnormal.thresholds.cuts import _WORDS

    holes = {
        lang: {key: set(re.findall(r"{\w+}", text)) for key, text in words.items()} for lang, words in _WORDS.items()
    }
    assert holes["ko"] == holes["en"]


def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(UnknownName, match="language 'de'"):
        promise(Fixed(1.0).cut([]), "de")


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize(
    "bad", [{}, {"rows": "x"}, {"level": [], "rows": None}, {"level": 0.0}, {"risk": math.nan}, None]
)
def test_figures_that_do_not_belong_to_the_rule_are_one_clear_error(rule: Rule, bad: dict[str, float]) -> None:
    cut = rule.cut(SCORES, SCORES)
    altered = bad if not bad else dict(cut.details) | bad
    try:
        said = promise(dataclasses.replace(cut, details=altered))  # type: ignore[arg-type]
    except ModelFileError as error:
        said = str(error)
    assert said


@pytest.mark.parametrize("rule", ["", "nonsense:1", "raised", "conformal"])
def test_a_rule_that_does_not_exist_is_one_clear_error(rule: str) -> None:
    with pytest.raises(ModelFileError, match="Set the threshold again"):
        promise(Cut(1.0, rule, "", {"rows": 1, "above": 0}))


@pytest.mark.parametrize(("n", "rows", "fdr"), [(100, 1_000, 0.05), (999, 50, 0.05), (39, 2, 0.05), (1_999, 100, 0.1)])
def test_the_note_on_discoveries_names_how_many_extreme_rows_it_takes(n: int, rows: int, fdr: float) -> None:
    note = discovery_note(n, rows, fdr)
    calibration = np.arange(float(n))

    def flags(extreme: int) -> int:
        batch = np.r_[np.full(extreme, n + 1.0), np.full(rows - extreme, -1.0)]
        return int(benjamini_hochberg(p_values(calibration, batch), fdr).sum())

    least = next(k for k in range(1, rows + 1) if flags(k))
    assert ("single row among" in note) == (least == 1)
    if least > 1:
        assert f"at least {least:,} rows" in note
        needed = int(re.search(r"([\d,]+) calibration rows are needed", note)[1].replace(",", ""))
        assert least > 1
        assert "single row among" in discovery_note(needed, rows, fdr)
        assert "single row among" not in discovery_note(needed - 1, rows, fdr)


def test_the_note_says_when_nothing_can_be_flagged() -> None:
    assert "at least 19 calibration rows" in discovery_note(18, 500, 0.05)
    assert "no row can be flagged" not in discovery_note(19, 500, 0.05)
    assert HANGUL.search(discovery_note(18, 500, 0.05, "ko"))
