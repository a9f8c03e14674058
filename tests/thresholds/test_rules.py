"""Each rule keeps its promise on scores whose true false alarm rate is known, and refuses what it cannot keep."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from offnormal import thresholds
from offnormal.errors import DataError, InvalidParameter, UnknownName, UnsupportedLevel
from offnormal.thresholds import (
    Conformal,
    Contamination,
    Fixed,
    MedianDeviation,
    PeaksOverThreshold,
    Quantile,
    default_cut,
    p_values,
    parse_rule,
)

SEEDS = 600
finite = st.floats(-1e6, 1e6)


def exponential(seed: int, n: int) -> np.ndarray:
    return np.random.default_rng(seed).exponential(size=n)


# --- the conformal promise --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "alpha", "rank"), [(19, 0.05, 1), (150, 0.01, 1), (99, 0.07, 7), (500, 0.1, 50)])
def test_the_conformal_rate_is_beta_distributed_with_the_mean_and_range_that_were_promised(
    n: int, alpha: float, rank: int
) -> None:
    cuts = [Conformal(alpha).cut(exponential(seed, n)) for seed in range(SEEDS)]
    rates = np.exp([-cut.value for cut in cuts])  # the exact false alarm rate of an exponential score
    law = stats.beta(rank, n + 1 - rank)
    assert rates.mean() == pytest.approx(rank / (n + 1), abs=4 * law.std() / math.sqrt(SEEDS))
    assert rank / (n + 1) <= alpha
    details = cuts[0].details
    assert details["guaranteed"] == rank / (n + 1)
    assert (details["rate_low"], details["rate_high"]) == pytest.approx(law.ppf([0.05, 0.95]), rel=1e-6)
    inside = np.mean((rates >= details["rate_low"]) & (rates <= details["rate_high"]))
    assert inside == pytest.approx(0.9, abs=4 * math.sqrt(0.09 / SEEDS))


def test_the_conformal_rate_stays_within_its_level_when_scores_are_tied() -> None:
    false_alarms = 0
    for seed in range(2_000):
        scores = np.random.default_rng(seed).poisson(2, size=60).astype(float)
        false_alarms += bool(scores[-1] > Conformal(0.1).cut(scores[:-1]).value)
    assert false_alarms <= stats.binom.ppf(0.9999, 2_000, 0.1)


@settings(deadline=None, derandomize=True)
@given(st.lists(finite, min_size=1, max_size=60), st.integers(1, 99), st.data())
def test_a_row_is_beyond_the_conformal_cut_exactly_if_its_p_value_is_within_alpha(
    scores: list[float], percent: int, data: st.DataObject
) -> None:
    alpha = percent / 100
    score = data.draw(st.one_of(finite, st.sampled_from(scores)))
    if alpha * (len(scores) + 1) < 1:
        with pytest.raises(UnsupportedLevel):
            Conformal(alpha).cut(scores)
    else:
        assert (score > Conformal(alpha).cut(scores).value) == (p_values(scores, [score])[0] <= alpha)


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.1, 0.001, 0.003, 1 / 3])
def test_a_conformal_level_is_refused_below_and_granted_from_the_number_of_rows_the_message_names(alpha: float) -> None:
    needed = math.ceil(1 / alpha - 1e-9) - 1
    Conformal(alpha).cut(np.arange(float(needed)))
    with pytest.raises(UnsupportedLevel, match=rf"at least {needed:,} calibration rows; there are {needed - 1:,}"):
        Conformal(alpha).cut(np.arange(needed - 1.0))


def test_the_cut_is_the_named_order_statistic() -> None:
    scores = np.random.default_rng(0).permutation(np.arange(1.0, 1001))
    assert Conformal(0.01).cut(scores).value == math.ceil(1001 * 0.99)
    assert Conformal(0.5).cut(scores).value == math.ceil(1001 * 0.5)


# --- the default ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "level"), [(1, 0.5), (40, 0.0244), (60, 0.0164), (98, 0.0102), (99, 0.01), (5_000, 0.01)]
)
def test_the_default_is_conformal_at_one_percent_or_the_least_the_rows_support(n: int, level: float) -> None:
    scores = exponential(0, n)
    cut = default_cut(scores)
    assert cut.details["level"] == level
    assert cut.value == Conformal(max(0.01, 1 / (n + 1))).cut(scores).value, "rounding does not move it"
    assert parse_rule(cut.rule) == Conformal(level)
    assert ("1% was wanted" in cut.promise) == (level > 0.01)


def test_the_default_rule_is_what_its_name_says() -> None:
    assert parse_rule(thresholds.DEFAULT_RULE) == Conformal()


# --- quantile, median, contamination, fixed ---------------------------------------------------------------------------


def test_the_quantile_is_the_interpolated_one() -> None:
    scores = np.arange(101.0)
    assert Quantile(0.955).cut(scores).value == pytest.approx(95.5)
    with pytest.raises(UnsupportedLevel, match="at least 999 calibration rows; there are 101"):
        Quantile(0.999).cut(scores)


def test_the_median_rule_equals_scipy_and_is_not_moved_by_a_few_huge_scores() -> None:
    scores = np.random.default_rng(0).normal(3, 2, size=1_000)
    cut = MedianDeviation(3.5).cut(scores)
    scale = stats.median_abs_deviation(scores, scale="normal")
    assert cut.value == pytest.approx(np.median(scores) + 3.5 * scale, rel=1e-4)
    assert cut.value == pytest.approx(3 + 3.5 * 2, rel=0.1)
    scores[:10] = 1e9
    assert MedianDeviation(3.5).cut(scores).value == pytest.approx(cut.value, rel=0.05)


@pytest.mark.parametrize(
    ("scores", "spread_of", "spread"),
    [
        ([0.0] * 6 + [-5.0, -4.0, 2.0, 3.0, 4.0], "iqr", 1.0 / 1.349),  # more than half equal: MAD is 0
        ([1.0] * 90 + [2.0] * 10, "sd", 0.3),
        ([0.1] * 50, "none", 0.0),
    ],
)
def test_a_zero_median_deviation_falls_back_and_says_so(scores: list[float], spread_of: str, spread: float) -> None:
    cut = MedianDeviation(2).cut(scores)
    assert cut.details["spread_of"] == spread_of
    assert cut.value == pytest.approx(np.median(scores) + 2 * spread)
    assert "equal" in cut.promise


@settings(deadline=None, derandomize=True)
@given(st.lists(st.integers(-10_000, 10_000), min_size=1, max_size=200, unique=True), st.integers(1, 50))
def test_contamination_puts_that_share_of_the_training_rows_beyond_the_cut(scores: list[int], percent: int) -> None:
    training = np.asarray(scores, dtype=float)
    cut = Contamination(percent / 100).cut([0.0], training)
    assert (training > cut.value).sum() == round(percent / 100 * len(training)) == cut.details["above"]


def test_contamination_with_ties_flags_fewer_and_says_so() -> None:
    cut = Contamination(0.1).cut([], [0.0] * 50 + [1.0] * 50)
    assert cut.details["above"] == 0
    assert "10 were wanted" in cut.promise
    with pytest.raises(DataError, match="training rows"):
        Contamination(0.1).cut([1.0, 2.0])


def test_a_fixed_cut_is_taken_as_it_is_even_without_calibration_rows() -> None:
    assert Fixed(-2.5).cut([]).value == -2.5
    assert "2 of the 3" in Fixed(1.5).cut([1.0, 2.0, 3.0]).promise


# --- peaks over threshold ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "law",
    [stats.expon(), stats.genpareto(0.2), stats.genpareto(-0.2), stats.norm()],
    ids=["expon", "+.2", "-.2", "norm"],
)
@pytest.mark.parametrize("risk", [1e-3, 1e-4])
def test_the_tail_rule_meets_its_risk_on_known_distributions(law: stats.rv_continuous, risk: float) -> None:
    rates = [law.sf(PeaksOverThreshold(risk).cut(law.rvs(size=20_000, random_state=seed)).value) for seed in range(25)]
    assert np.median(rates) == pytest.approx(risk, rel=0.35)
    assert np.exp(np.mean(np.log(np.maximum(rates, risk / 100)))) == pytest.approx(risk, rel=0.5)


def test_the_tail_of_exponential_scores_has_shape_zero_and_follows_the_formula() -> None:
    scores = exponential(1, 200_000)
    cut = PeaksOverThreshold(1e-4).cut(scores)
    shape, scale, excesses = cut.details["shape"], cut.details["scale"], cut.details["excesses"]
    assert shape == pytest.approx(0, abs=4 / math.sqrt(4_000))  # sd of the estimate: (1 + γ) / √N
    assert excesses == 4_000
    assert cut.value == pytest.approx(
        cut.details["tail_from"] + scale / shape * ((1e-4 * 200_000 / excesses) ** -shape - 1)
    )
    assert cut.value == pytest.approx(-math.log(1e-4), rel=0.05)


def test_the_tail_rule_refuses_in_words_what_the_rows_cannot_support() -> None:
    scores = exponential(0, 2_000)
    with pytest.raises(UnsupportedLevel, match=r"about 1,500 rows; of 1,400 rows 28"):
        PeaksOverThreshold().cut(scores[:1_400])
    PeaksOverThreshold().cut(scores[:1_500])
    with pytest.raises(UnsupportedLevel, match=r"top 0\.02 of the 2,000.*'conformal:0\.05'"):
        PeaksOverThreshold(0.05).cut(scores)
    with pytest.raises(UnsupportedLevel, match="take 1 values"):
        PeaksOverThreshold().cut(np.repeat([0.0, 1.0], [1_960, 40]))
    assert PeaksOverThreshold(0.001, 0.9).cut(scores[:300]).details["excesses"] == 30


def test_a_risk_beyond_the_data_is_said_to_rest_on_the_curve() -> None:
    scores = exponential(0, 2_000)
    assert "beyond what 2,000 rows can show" in PeaksOverThreshold(1e-5).cut(scores).promise
    assert "beyond" not in PeaksOverThreshold(1e-3).cut(scores).promise


# --- reading a rule ---------------------------------------------------------------------------------------------------

every_rule = st.one_of(
    st.builds(Conformal, st.floats(0, 1, exclude_min=True, exclude_max=True)),
    st.builds(Quantile, st.floats(0, 1, exclude_min=True, exclude_max=True)),
    st.builds(MedianDeviation, st.floats(0, 1e6, exclude_min=True, exclude_max=True)),
    st.builds(
        PeaksOverThreshold, st.floats(0, 1, exclude_min=True, exclude_max=True), st.floats(0.5, 1, exclude_max=True)
    ),
    st.builds(Fixed, st.floats(allow_nan=False, allow_infinity=False)),
    st.builds(Contamination, st.floats(0, 0.5, exclude_min=True)),
)


@settings(deadline=None, derandomize=True)
@given(every_rule)
def test_the_text_of_a_rule_gives_the_rule_back(rule: thresholds.Rule) -> None:
    assert parse_rule(str(rule)) == rule
    assert str(parse_rule(str(rule))) == str(rule)
    assert parse_rule(rule) is rule


@pytest.mark.parametrize(
    ("text", "rule", "canonical"),
    [
        ("conformal", Conformal(0.01), "conformal:0.01"),
        (" Quantile : 0.990", Quantile(0.99), "quantile:0.99"),
        ("mad", MedianDeviation(3.5), "mad:3.5"),
        ("mad:3", MedianDeviation(3), "mad:3"),
        ("pot", PeaksOverThreshold(0.001), "pot:0.001"),
        ("pot:1e-4,0.95", PeaksOverThreshold(0.0001, 0.95), "pot:0.0001,0.95"),
        ("fixed:12.5", Fixed(12.5), "fixed:12.5"),
        (0.05, Contamination(0.05), "contamination:0.05"),
        (np.float64(0.05), Contamination(0.05), "contamination:0.05"),
    ],
)
def test_rules_are_read_from_text_and_numbers(text: str | float, rule: thresholds.Rule, canonical: str) -> None:
    assert parse_rule(text) == rule
    assert str(parse_rule(text)) == canonical


def test_an_unknown_rule_gets_a_suggestion() -> None:
    with pytest.raises(UnknownName, match=r"'conformel'\. Did you mean 'conformal'"):
        parse_rule("conformel:0.01")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("conformal:0", "alpha must be a finite number, above 0, below 1; got 0.0"),
        ("conformal:nan", "alpha must be"),
        ("conformal:x", "should read conformal:ALPHA"),
        ("mad:", "should read mad:K"),
        ("mad:-1", "k must be"),
        ("pot:0.001,0.2", "start must be a finite number, at least 0.5"),
        ("pot:0.1,0.9,0.8", "should read pot:RISK,START"),
        ("fixed", "should read fixed:VALUE"),
        ("fixed:inf", "finite"),
        ("fixed:nan", "finite|must be"),
        ("contamination", "should read contamination:SHARE"),
        ("0.05", "'contamination:0.05'"),
        (0.6, "at most 0.5; got 0.6"),
        (True, "is a text such as"),
        (None, "is a text such as"),
    ],
)
def test_a_bad_number_is_answered_with_what_would_be_right(text: str, words: str) -> None:
    with pytest.raises(InvalidParameter, match=words):
        parse_rule(text)


# --- scores that cannot be used ---------------------------------------------------------------------------------------

RULES = [Conformal(0.5), Quantile(0.5), MedianDeviation(), PeaksOverThreshold(0.001, 0.5), Fixed(1.0)]


@pytest.mark.parametrize("rule", [*RULES, Contamination(0.1)], ids=str)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_refused(rule: thresholds.Rule, bad: float) -> None:
    scores = np.r_[np.arange(100.0), bad]
    with pytest.raises(DataError, match=r"1 of 101 are not .* at position 100"):
        rule.cut(scores, scores)
    with pytest.raises(DataError):
        default_cut(scores)


@pytest.mark.parametrize("rule", RULES[:-1], ids=str)
def test_no_scores_are_refused(rule: thresholds.Rule) -> None:
    with pytest.raises(DataError, match="there are none"):
        rule.cut([])


def test_scores_too_large_for_a_cut_are_refused() -> None:
    with pytest.raises(DataError, match="too large"):
        MedianDeviation(1e5).cut([-1e308, -1e307, 0.0, 1e307, 1e308])


@settings(deadline=None, derandomize=True, max_examples=50)
@given(st.lists(finite, min_size=2, max_size=100))
def test_details_are_plain_figures_and_do_not_depend_on_the_order_of_the_scores(scores: list[float]) -> None:
    for rule in (Conformal(0.5), Quantile(0.5), MedianDeviation(), Fixed(0.0), Contamination(0.5)):
        cut = rule.cut(scores, scores)
        assert cut == rule.cut(scores[::-1], scores[::-1])
        assert json.loads(json.dumps(dict(cut.details))) == cut.details
        assert {type(value) for value in cut.details.values()} <= {int, float, str}
        assert cut.details["above"] == sum(score > cut.value for score in scores)
