"""A cut, and in words what it promises: the false alarm rate, on what it rests, and what it does not say.

The words are for people who run a plant, in English and Korean. `Cut.promise` is the rule's own sentence; `promise`
adds what holds for every rule, and what a p-value means for rows the model was trained on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from offnormal.errors import ModelFileError, UnknownName

Lang = Literal["en", "ko"]


@dataclass(frozen=True)
class Cut:
    """Where normal ends: a row is flagged if and only if its anomaly score is strictly greater than `value`.

    Attributes
    ----------
    value : float
        In the units of the anomaly score.
    rule : str
        Canonical text of the rule, e.g. "conformal:0.01".
    promise : str
        The rule's own promise in English, one to three sentences; `promise(cut, lang)` gives the whole of it.
    details : mapping
        The figures behind the promise: counts, levels and shares (0 to 1), names. `rows` scores were used, `above` of
        them lie above the cut.
    """

    value: float
    rule: str
    promise: str
    details: Mapping[str, float | str]


_WORDS: dict[str, dict[str, str]] = {
    "en": {
        "conformal": "On average at most {level} of normal rows are flagged by mistake (1 in {one_in}). The cut rests "
        "on {rows} calibration rows; with so many, the rate of this one model is between {rate_low} and {rate_high} "
        "in 9 of 10 cases.",
        "grouped": "On average at most {bound} of the normal rows of new groups are flagged by mistake, if these are "
        "like the old ones and about as large. It is more than {level} since the {rows} calibration rows are of "
        "{groups} alone, and rows of one are alike.",
        "of_groups": "The calibration rows are of {groups}; rows of one are alike, so on new ones the rate can be "
        "far off.",
        "raised": "{wanted} was wanted, but {rows} calibration rows support no less than {level}.",
        "quantile": "About {rest} of normal rows are flagged by mistake: that share of the {rows} calibration rows "
        "lies above the cut. This is an estimate, not an upper bound; the rule 'conformal' gives the bound.",
        "mad": "The cut lies {k} robust standard deviations above the median score; {above} of the {rows} calibration "
        "rows lie above it. It is a rule of thumb and promises no false alarm rate.",
        "iqr": "Half of the scores or more are equal, so the spread was taken from the quartiles.",
        "sd": "Most of the scores are equal, so the spread is the ordinary standard deviation.",
        "none": "All scores are equal, so every row with a greater score is flagged.",
        "pot": "About {risk} of normal rows are flagged by mistake (1 in {one_in}), by a curve fitted to the "
        "{excesses} highest of {rows} calibration scores. This is an estimate, not an upper bound.",
        "beyond": "So rare an event is beyond what {rows} rows can show; the figure rests on the shape of the curve.",
        "fixed": "The cut is a number you gave; it promises no false alarm rate.",
        "seen": "{above} of the {rows} calibration rows lie above it.",
        "contamination": "You said that {share} of the training rows are anomalous: {above} of {rows} lie above the "
        "cut. The share is your figure, not a finding; if no row is anomalous, as many are flagged by mistake.",
        "unasked": "No calibration rows were kept, so the cut leaves {share} of the training rows above it ({above} of "
        "{rows}). It promises nothing about new rows.",
        "ties": "{wanted} were wanted; rows with equal scores at the cut are not flagged.",
        "rests": "This holds only while normal rows go on looking like the rows the cut was set on; after a change of "
        "product, sensor or way of running, fit again.",
        "silent": "It does not promise that every anomaly is found, nor how many of the flagged rows are real "
        "anomalies. Anomalies hidden among those rows raise the cut: fewer rows are flagged.",
        "folds": "The calibration scores come from models fitted to parts of the table, so the rate is approximate.",
        "training": "For rows used in training the p-value is optimistic, that is, too large: the model has seen "
        "them, so they look more normal than they are.",
        "discovery": "With {n} calibration rows no p-value is below {least}.",
        "one": "A single row among {rows} can be flagged at a false discovery rate of {fdr}.",
        "many": "At a false discovery rate of {fdr} among {rows} rows nothing is flagged unless at least {together} "
        "rows are this extreme at once; for a single row, {needed} calibration rows are needed.",
        "never": "At a false discovery rate of {fdr} no row can be flagged; at least {enough} calibration rows are "
        "needed.",
    },
    "ko": {
        "conformal": "정상인데 이상으로 잘못 판정되는 행은 평균 {level} 이하입니다({one_in}행 중 1행). 보정용 "
        "{rows}행으로 정한 임계값이며, 이 행 수라면 이 모델의 실제 오경보율은 열에 아홉은 {rate_low}에서 {rate_high} "
        "사이입니다.",
        "grouped": "새 묶음이 지금 묶음들과 비슷하고 크기도 비슷하다면, 새 묶음의 정상 행 가운데 이상으로 잘못 "
        "판정되는 것은 평균 {bound} 이하입니다. 보정용 {rows}행이 묶음 {groups}에서만 나왔고 한 묶음의 행은 서로 "
        "닮았으므로 {level}보다 큽니다.",
        "of_groups": "보정용 행은 묶음 {groups}에서 나왔고 한 묶음의 행은 서로 닮았으므로, 새 묶음에서는 오경보율이 "
        "크게 다를 수 있습니다.",
        "raised": "{wanted}를 원했지만, 보정용 {rows}행으로는 {level}보다 낮게 보장할 수 없습니다.",
        "quantile": "정상 행의 약 {rest}가 이상으로 잘못 판정됩니다. 보정용 {rows}행 가운데 그만큼이 임계값보다 "
        "높습니다. 추정값이며 상한이 아닙니다. 상한이 필요하면 'conformal' 규칙을 쓰십시오.",
        "mad": "임계값은 점수의 중앙값보다 강건 표준편차의 {k}배 높은 값이며, 보정용 {rows}행 중 {above}행이 그보다 "
        "높습니다. 경험칙이므로 오경보율을 보장하지 않습니다.",
        "iqr": "점수의 절반 이상이 같아서 사분위수로 퍼짐을 구했습니다.",
        "sd": "점수가 대부분 같아서 보통의 표준편차를 썼습니다.",
        "none": "점수가 모두 같아서, 이보다 점수가 높은 행은 모두 이상으로 판정됩니다.",
        "pot": "정상 행의 약 {risk}가 이상으로 잘못 판정됩니다({one_in}행 중 1행). 보정용 점수 {rows}개 중 가장 높은 "
        "{excesses}개에 맞춘 곡선에서 얻은 값입니다. 추정값이며 상한이 아닙니다.",
        "beyond": "이렇게 드문 일은 {rows}행만으로는 확인할 수 없어, 이 값은 곡선의 모양에 달려 있습니다.",
        "fixed": "임계값은 직접 정하신 숫자이며, 오경보율을 보장하지 않습니다.",
        "seen": "보정용 {rows}행 중 {above}행이 그보다 높습니다.",
        "contamination": "학습 행의 {share}가 이상이라고 하셨으므로 {rows}행 중 {above}행이 임계값보다 높습니다. 이 "
        "비율은 알아낸 것이 아니라 지정하신 값입니다. 이상한 행이 없더라도 같은 수가 잘못 판정됩니다.",
        "unasked": "보정용 행을 남기지 않았으므로 학습 행의 {share}({rows}행 중 {above}행)가 임계값보다 높게 "
        "정했습니다. 새 행에 대해서는 아무것도 보장하지 않습니다.",
        "ties": "원래 {wanted}행이어야 하지만, 임계값과 점수가 같은 행은 이상으로 판정하지 않습니다.",
        "rests": "정상 행이 임계값을 정할 때 쓴 행과 계속 비슷할 때만 맞습니다. 제품, 센서, 운전 방식이 바뀌면 다시 "
        "학습하십시오.",
        "silent": "모든 이상을 찾아낸다거나, 이상으로 판정된 행 중 몇 개가 진짜 이상인지를 보장하지는 않습니다. "
        "임계값을 정한 행에 이상이 섞여 있으면 임계값이 높아져 판정되는 행이 줄어듭니다.",
        "folds": "보정용 점수는 표의 일부로 학습한 모델들에서 나왔으므로 오경보율은 근사값입니다.",
        "training": "학습에 쓴 행의 p-값은 실제보다 크게 나옵니다. 모델이 이미 본 행이라 더 정상으로 보입니다.",
        "discovery": "보정용 {n}행으로는 p-값이 {least}보다 작아질 수 없습니다.",
        "one": "거짓 발견율 {fdr}에서 {rows}행 중 단 한 행만 이상해도 판정될 수 있습니다.",
        "many": "거짓 발견율 {fdr}, {rows}행에서는 적어도 {together}행이 동시에 그만큼 극단적이어야 판정됩니다. 한 "
        "행만으로 판정하려면 보정용 {needed}행이 필요합니다.",
        "never": "거짓 발견율 {fdr}에서는 어떤 행도 이상으로 판정될 수 없습니다. 보정용 행이 {enough}개는 필요합니다.",
    },
}


WITH_RATE = ("conformal", "quantile", "pot")
"""The rules that give a false alarm rate."""


def promise(cut: Cut, lang: str = "en", *, whole: bool = True, folds: bool = False, groups: int | None = None) -> str:
    """Say in words what a cut promises, on what that rests, and what it does not promise.

    Parameters
    ----------
    cut : Cut
    lang : str
        "en" or "ko".
    whole : bool
        False leaves out the sentences that are the same for every rule.
    folds : bool
        Whether the calibration scores come from cross-conformal folds; the rate that a rule gives is then
        approximate.
    groups : int or None
        How many groups of rows the calibration scores come from, where rows come in groups: the rate is then that of
        `group_rate`, and no range is given, as it would take rows for independent.

    Raises
    ------
    UnknownName
        If there are no words in that language.
    ModelFileError
        If the details are not those of the rule: the cut was not made by it.
    """
    words = _words(lang)
    try:
        keys, figures = _said(cut)
        if groups is not None and keys[0] in WITH_RATE:
            figures["groups"] = _groups(groups, lang)
            if keys[0] == "conformal":
                keys[0], figures["bound"] = "grouped", _percent(group_rate(float(cut.details["level"]), groups))
            else:
                keys.append("of_groups")
        keys += ["folds"] if folds and keys[0] in (*WITH_RATE, "grouped") else []
        keys += ["rests", "silent", "training"] if whole else []
        return " ".join(words[key].format_map(figures) for key in keys)
    except (KeyError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        raise ModelFileError(
            f"The figures of the threshold {cut.rule!r} do not belong to its rule. Set the threshold again."
        ) from error


def group_rate(level: float, groups: int) -> float:
    """Return the most normal rows of a new group that are flagged on average, by a cut from this many groups.

    Among groups + 1 of one kind each is the new one equally often. If all are about as large, the cut leaves `level` of
    the rows of the others above it, and all of the one that is missing may be: (level · groups + 1) / (groups + 1).

    >>> group_rate(0.05, 19)
    0.0975
    """
    return (1 + level * groups) / (groups + 1)


def _groups(count: int, lang: str) -> str:
    """Return "1 group", "20 groups"; "20개"."""
    if lang == "ko":
        return f"{count:,}개"
    return f"{count:,} group{'s' if count > 1 else ''}"


def discovery_note(n_calibration: int, n_rows: int, fdr: float, lang: str = "en") -> str:
    """Say in words how small a p-value can get, and what that means for `benjamini_hochberg` on `n_rows` rows.

    The smallest p-value is 1 / (n + 1). k rows that extreme are flagged together if it is at most fdr · k / rows.
    """
    words = _words(lang)
    together = math.ceil(max(n_rows, 1) / (fdr * (n_calibration + 1)) - 1e-9)
    key = "one" if together <= 1 else "many" if together <= n_rows else "never"
    figures = {
        "n": f"{n_calibration:,}",
        "least": _plain(1 / (n_calibration + 1)),
        "rows": f"{n_rows:,}",
        "fdr": _percent(fdr),
        "together": f"{together:,}",
        "needed": f"{math.ceil(max(n_rows, 1) / fdr - 1e-9) - 1:,}",
        "enough": f"{math.ceil(1 / fdr - 1e-9) - 1:,}",
    }
    return " ".join(words[part].format_map(figures) for part in ("discovery", key))


def _said(cut: Cut) -> tuple[list[str], dict[str, str]]:
    """Return which sentences the cut calls for, and every figure as text."""
    details, name = cut.details, cut.rule.partition(":")[0]
    figures = {key: value if isinstance(value, str) else _plain(value) for key, value in details.items()}
    for key in ("level", "wanted", "risk", "share", "rate_low", "rate_high"):
        if key in details and not (name == "contamination" and key == "wanted"):
            figures[key] = _percent(details[key])
    keys = [name]
    if name == "conformal":
        figures["one_in"] = _plain(round(1 / float(details["level"])))
        keys += ["raised"] if "wanted" in details else []
    elif name == "quantile":
        figures["rest"] = _percent(1 - float(details["level"]))
    elif name == "mad":
        keys += [str(details["spread_of"])] if details["spread_of"] != "mad" else []
    elif name == "pot":
        risk = float(details["risk"])
        figures["one_in"] = _plain(round(1 / risk))
        keys += ["beyond"] if risk * (float(details["rows"]) + 1) < 1 else []
    elif name == "fixed":
        keys += ["seen"] if details["rows"] else []
    elif name == "contamination":
        keys = ["unasked"] if details.get("asked") == "no" else keys
        keys += ["ties"] if float(details["above"]) < float(details["wanted"]) else []
    return keys, figures


def _words(lang: str) -> dict[str, str]:
    if lang not in _WORDS:
        raise UnknownName.among("language", lang, _WORDS)
    return _WORDS[lang]


def _plain(number: float) -> str:
    """Return a count with separators, any other number with three significant digits, never in exponent form."""
    if float(number).is_integer() and abs(number) < 1e15:
        return f"{int(number):,}"
    return str(np.format_float_positional(number, precision=3, fractional=False, trim="-"))


def _percent(share: float | str) -> str:
    return _plain(round(100 * float(share), 12)) + "%"
