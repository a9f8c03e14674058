"""The report against a small detector of our own, an HTML parser, NumPy and scikit-learn."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.base import BaseEstimator
from sklearn.metrics import average_precision_score, roc_auc_score

from offnormal.calibration import Calibration
from offnormal.data.columns import Column, Schema
from offnormal.data.tables import from_frame, is_frame
from offnormal.errors import DataError, EnvironmentFailure, InvalidParameter, ModelFileError, NotSupported, UnknownName
from offnormal.explanation import Explanation
from offnormal.parameters import param
from offnormal.report import render
from offnormal.report.evidence import gather
from offnormal.report.reasons import is_usual
from offnormal.report.words import texts
from offnormal.thresholds import parse_rule

EN, KO = texts("en"), texts("ko")
HOSTILE = '<script>alert("x")</script>'
HOSTILE_TITLE = "\"><img src=x onerror='alert(1)'>"


@dataclass(kw_only=True, eq=False, repr=False)
class Squares(BaseEstimator):
    """Sum of squared standardized columns; categories count 1 when unseen. Enough of a detector for a report."""

    has_code: ClassVar[bool] = True
    key: ClassVar[str] = "squares"
    explains: ClassVar[bool] = True

    width: int = param(3, "Axes of the code <b>.", ge=1, source="§1 & more")
    id_columns: tuple[str, ...] = param((), "Carried.", kind="any", source="-")

    def fit(self, X: Any, *, calibration: Any = None, rule: str = "conformal:0.05") -> Squares:
        if is_frame(X):
            self.schema_ = Schema.learn(from_frame(X), ids=self.id_columns)
        else:
            self.schema_ = Schema.of_array(np.asarray(X).shape[1])
        encoded = self._encode(X)
        self.center_ = np.nan_to_num(np.nanmean(encoded, axis=0))
        spread = np.nan_to_num(np.nanstd(encoded, axis=0))
        self.spread_ = np.where(spread > 0, spread, 1.0)
        self.reference_ = np.nanquantile(encoded, [0.05, 0.95], axis=0).T
        for j, column in enumerate(self.schema_.columns):
            if column.kind != "numeric":
                self.reference_[j] = 0.0, 0.75
        scores = np.sort(self.anomaly_score(X if calibration is None else calibration))
        self.calibration_ = Calibration(scores, "holdout")
        self.threshold_ = parse_rule(rule).cut(scores)
        self.seed_ = 7
        self.calls = 0
        self.training_ = {
            "rows": len(encoded),
            "features": encoded.shape[1],
            "steps": 120,
            "seconds": 83.2,
            "stopped": "completed",
            "history": [
                {
                    "phase": "joint",
                    "epoch": epoch,
                    "seconds": 0.1,
                    "rows_per_second": 12_345.0,
                    "terms": {"reconstruction": 5.0 / epoch, HOSTILE: 0.1 * epoch},
                    "held_out": {"reconstruction": 6.0 / epoch, HOSTILE: 0.1} if epoch % 5 == 0 else None,
                }
                for epoch in range(1, 31)
            ],
        }
        return self

    def _encode(self, X: Any) -> Any:
        return self.schema_.encode(from_frame(X)) if is_frame(X) else self.schema_.encode_array(X)

    def _standard(self, X: Any) -> Any:
        return np.nan_to_num((self._encode(X) - self.center_) / self.spread_)

    def anomaly_score(self, X: Any) -> Any:
        self.calls = getattr(self, "calls", 0) + 1
        return (self._standard(X) ** 2).sum(1)

    def p_value(self, X: Any) -> Any:
        scores = self.anomaly_score(X)
        above = (self.calibration_.scores[None, :] >= scores[:, None]).sum(1)
        return (1 + above) / (self.calibration_.n + 1)

    def transform(self, X: Any) -> Any:
        return self._standard(X)[:, : self.width]

    def get_feature_names_out(self) -> Any:
        return [f"z<{i}>" for i in range(self.width)]

    def explain(self, X: Any) -> Explanation:
        if not self.explains:
            raise NotSupported("no")
        squares, encoded = self._standard(X) ** 2, self._encode(X)
        texts = [[c.text(v) for c, v in zip(self.schema_.columns, row, strict=True)] for row in encoded]
        names = tuple(column.name for column in self.schema_.columns)
        return Explanation(names, {"energy": 0.75 * squares, "other": 0.25 * squares}, texts, tuple("?" for _ in names))


class Silent(Squares):
    has_code = False
    explains = False


class Page(HTMLParser):
    """Elements, attributes and text of a page; complains about unbalanced tags."""

    VOID = frozenset({"meta", "br", "img", "link", "input", "hr"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def table(rows: int = 400, seed: int = 0, *, shift: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(rows, 3))
    values[: rows // 20] += shift
    frame = pd.DataFrame(values, columns=["온도 (℃)", HOSTILE, "flat"])
    frame["flat"] = 2.0
    frame.iloc[::10, 1] = np.nan
    frame["kind"] = rng.choice(["a", "b", HOSTILE_TITLE], size=rows)
    frame["id"] = [f"no. {i} <i>" for i in range(rows)]
    return frame


@pytest.fixture(scope="module")
def detector() -> Squares:
    return Squares(id_columns=("id",)).fit(table(), calibration=table(seed=1))


def page_of(detector: Any, rows: Any, folder: Path, **options: Any) -> Page:
    destination = folder / "report.html"
    render(detector, rows, destination, **options)
    return Page(destination.read_text(encoding="utf-8"))


# --- what it says -----------------------------------------------------------------------------------------------


def test_headline_counts_rows_above_the_cut(detector: Squares, tmp_path: Path) -> None:
    rows = table(200, seed=3, shift=6.0)
    rows.iloc[10:18, 0] += 8.0
    flagged = int((detector.anomaly_score(rows) > detector.threshold_.value).sum())
    text = page_of(detector, rows, tmp_path).text
    assert 10 <= flagged < 40
    assert f"{flagged} of 200 rows ({100 * flagged / 200:.3g}%) flagged as anomalous" in text
    assert "clearly more than that" in text
    assert detector.threshold_.rule in text


def test_no_flags_are_said_so(detector: Squares, tmp_path: Path) -> None:
    calm = table(50, seed=4)
    calm.iloc[:, :2] = 0.0
    assert "None of 50 rows flagged" in page_of(detector, calm, tmp_path).text


def test_the_kept_epoch_is_marked(tmp_path: Path) -> None:
    rows = np.random.default_rng(4).normal(size=(100, 3))
    detector = Squares().fit(rows)
    detector.training_ |= {"best_epoch": {"joint": 12}, "stopped": "early stopping"}
    assert "The weights of epoch 12 were kept" in page_of(detector, rows, tmp_path).text
    detector.training_ |= {"best_epoch": {"joint": 30}}
    assert "were kept" not in page_of(detector, rows, tmp_path).text.replace("the best weights were kept", "")


@pytest.mark.parametrize("lang", ["en", "ko"])
def test_a_generator_is_shown_and_its_collapse_is_said_first(tmp_path: Path, lang: str) -> None:
    words, rows = {"en": EN, "ko": KO}[lang], np.random.default_rng(4).normal(size=(100, 3))
    detector = Squares().fit(rows)
    sound = detector.training_["history"]
    assert words["model.generator"] not in page_of(detector, rows, tmp_path, lang=lang).text, "it has none"
    for last, collapsed, ratio in ((0.0312, True, "0.031"), (0.9312, False, "0.93"), (0.9312, None, "0.93")):
        history = [*sound[:-1], sound[-1] | {"diversity": last}]
        detector.training_ |= {"history": history} | ({} if collapsed is None else {"collapsed": collapsed})
        text = page_of(detector, rows, tmp_path, lang=lang).text
        said, unsaid = ("collapsed", "diversity") if collapsed else ("diversity", "collapsed")
        fact = f"{words['model.generator']} {words[f'model.{said}'].format(ratio=ratio)} "
        assert fact in text
        assert f"{words['model.generator']} {words[f'model.{unsaid}'].format(ratio=ratio)}" not in text
        warning = words["verdict.collapsed"].format(ratio=ratio)
        assert (warning in text) == bool(collapsed)
        assert not collapsed or text.index(warning) < text.index(fact)


def test_a_few_flags_too_many_are_no_finding(tmp_path: Path) -> None:
    # One calibration row in 200 lies above the cut: half a flag is expected among 100 rows, give or take one.
    detector = Squares(width=1).fit(np.random.default_rng(6).exponential(size=(200, 1)), rule="conformal:0.01")
    for flagged, verdict in ((3, "not as findings"), (20, "clearly more"), (60, "More than half")):
        rows = np.where(np.arange(100) < flagged, 50.0, 1.0)[:, None]
        assert verdict in page_of(detector, rows, tmp_path).text


@pytest.mark.parametrize(
    ("lang", "fewer", "more"), [("en", "fewer than 1", "at most 47.6"), ("ko", "1개 미만", "47.6개 이하")]
)
def test_few_calibration_rows_promise_no_absence_of_flags(tmp_path: Path, lang: str, fewer: str, more: str) -> None:
    """None of 20 lies above this cut, so by rank at most 1 in 21 new rows does: 0.14 of 3, 47.6 of 1,000."""
    detector = Squares(width=1).fit(np.random.default_rng(6).exponential(size=(20, 1)), rule="fixed:1e6")
    for n_rows, n_flagged, said, short in ((3, 1, fewer, "<1"), (1_000, 2, more, "≤47.6")):
        rows = np.where(np.arange(n_rows) < n_flagged, 1e6, 1.0)[:, None]
        page = page_of(detector, rows, tmp_path, lang=lang)
        assert said in page.text
        assert short in page.text
        rows[:] = 1.0
        assert short in page_of(detector, rows, tmp_path, lang=lang).text, "without a flag too"


@pytest.mark.parametrize(
    ("lang", "rows", "groups"), [("en", "about 1.9", "at most 10.1"), ("ko", "1.9개 정도", "10.1개 이하")]
)
def test_rows_of_groups_count_as_groups(tmp_path: Path, lang: str, rows: str, groups: str) -> None:
    """5 of 299 calibration rows lie above: 6 of 300 rows, but (1 + 10 · 5/299) / 11 of those of an eleventh group."""
    detector = Squares(width=1).fit(np.ones((299, 1)), rule="fixed:10")
    scores = np.sort(np.where(np.arange(299) < 5, 20.0, 1.0))
    shown = np.where(np.arange(95) < 30, 50.0, 1.0)[:, None]
    words = {"en": EN, "ko": KO}[lang]["verdict.many"]
    for count, said, many in ((None, rows, True), (10, groups, False)):
        detector.calibration_ = Calibration(scores, "holdout", count)
        text = page_of(detector, shown, tmp_path, lang=lang).text
        assert said in text
        assert (words.format(flagged=30, expected=said) in text) == many, "thirty alike rows may be of one group"


def test_ordinary_rows_are_called_candidates(detector: Squares, tmp_path: Path) -> None:
    assert "not as findings" in page_of(detector, table(400, seed=5), tmp_path).text


def test_most_anomalous_rows_come_first_with_their_reasons(detector: Squares) -> None:
    rows = table(100, seed=6)
    rows.loc[37, "온도 (℃)"] = 40.0
    rows.loc[61, HOSTILE] = -30.0
    evidence = gather(detector, rows, top=5)
    assert evidence.listed.rows[:2].tolist() == [37, 61]
    assert evidence.listed.explanation is not None
    reasons = evidence.listed.explanation.reasons(1)
    assert reasons[0][0].startswith("온도")
    assert reasons[1][0].startswith(HOSTILE)
    assert evidence.listed.ids[0] == ["no. 37 <i>"]
    assert evidence.drivers is not None
    assert sum(count for _, count in evidence.drivers.counts) == evidence.n_flagged


@pytest.mark.parametrize(
    ("kind", "code", "reference", "usual"),
    [
        ("numeric", 5.0, (5.0, 9.0), True),
        ("numeric", 9.1, (5.0, 9.0), False),
        ("numeric", float("nan"), (5.0, 9.0), False),
        ("category", 1.0, (1.0, 0.75), True),
        ("category", 0.0, (1.0, 0.75), False),
        ("datetime", 0.0, (float("nan"), float("nan")), False),
    ],
)
def test_a_reason_within_the_usual_range_is_told_from_one_outside(kind, code, reference, usual) -> None:
    assert is_usual(Column("x", kind, ("a", "b")), code, reference) == usual


def test_column_summary_is_that_of_numpy(detector: Squares) -> None:
    rows = table(90, seed=8)
    rows.loc[3, "kind"] = "new"
    first, second, flat, kind = gather(detector, rows).columns
    assert first.low == rows["온도 (℃)"].min()
    assert first.high == rows["온도 (℃)"].max()
    assert (first.missing, second.missing) == (0, 9)
    assert flat.constant
    assert not first.constant
    assert (kind.unseen, first.unseen) == (1, 0)
    low, high = detector.reference_[0]
    assert first.outside == int(((rows["온도 (℃)"] < low) | (rows["온도 (℃)"] > high)).sum())


def test_unknown_columns_are_named_and_not_used(detector: Squares, tmp_path: Path) -> None:
    rows = table(30, seed=9)
    rows["label"] = "x"
    assert "not used: label." in page_of(detector, rows, tmp_path).text


# --- labels -----------------------------------------------------------------------------------------------------


def test_evaluation_is_that_of_scikit_learn(detector: Squares, tmp_path: Path) -> None:
    rows = table(300, seed=10, shift=2.0)
    y = (np.arange(300) < 15).astype(int)
    scores = detector.anomaly_score(rows)
    evidence = gather(detector, rows, labels=y).evaluation
    assert evidence is not None
    found = {measure.name: measure for measure in evidence.measures}
    assert found["auroc"].value == pytest.approx(roc_auc_score(y, scores))
    assert found["ap"].value == pytest.approx(average_precision_score(y, scores))
    assert found["auroc"].low is not None
    assert found["auroc"].high is not None
    assert found["auroc"].low <= found["auroc"].value <= found["auroc"].high
    flagged = scores > detector.threshold_.value
    assert found["recall"].value == pytest.approx(flagged[y == 1].mean())
    assert found["false_alarms"].value == pytest.approx(flagged[y == 0].mean())
    text = page_of(detector, rows, tmp_path, labels=y).text
    assert "Evaluation with labels" in text
    assert f"{roc_auc_score(y, scores):.3f}" in text


def test_without_labels_nothing_is_evaluated(detector: Squares, tmp_path: Path) -> None:
    text = page_of(detector, table(50, seed=11), tmp_path).text
    assert "AUROC" not in text


def test_one_class_of_labels_is_said(detector: Squares, tmp_path: Path) -> None:
    assert "one class only" in page_of(detector, table(50, seed=11), tmp_path, labels=[0] * 50).text


@pytest.mark.parametrize("labels", [[0, 1], [2] * 50, ["benign"] * 50, [np.nan] * 50])
def test_bad_labels_are_refused(detector: Squares, tmp_path: Path, labels: list[Any]) -> None:
    with pytest.raises(DataError, match=r"label|Labels"):
        render(detector, table(50), tmp_path / "report.html", labels=labels)
    assert not list(tmp_path.iterdir())


# --- the page itself --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lang", ["en", "ko"])
def test_page_loads_nothing_and_runs_nothing(detector: Squares, tmp_path: Path, lang: str) -> None:
    page = page_of(detector, table(80, seed=12, shift=5), tmp_path, lang=lang, title=HOSTILE_TITLE)
    source = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert not {"script", "img", "link", "iframe", "object", "embed", "base", "form"} & {t for t, _ in page.elements}
    assert not re.search(r"https?:|//[a-z]|@import|url\(|javascript:", source)
    for _, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on") or name in ("src", "srcset", "action")]
        assert (attributes.get("href") or "#").startswith("#")
    policy = [meta for meta in page.named("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in str(policy[0]["content"])


def test_hostile_text_is_shown_as_text(detector: Squares, tmp_path: Path) -> None:
    rows = table(80, seed=12, shift=5)
    rows.loc[0, "id"] = "\x00\x1b[31m\u202e이상한 값&amp;"
    text = page_of(detector, rows, tmp_path, title=HOSTILE_TITLE).text
    for shown in (HOSTILE, HOSTILE_TITLE, "no. 1 <i>", "온도 (℃)", "이상한 값&amp;", "z<0>"):
        assert shown in text
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", text.replace("\n", ""))


def test_page_is_accessible(detector: Squares, tmp_path: Path) -> None:
    page = page_of(detector, table(80, seed=12, shift=5), tmp_path, labels=[1] * 4 + [0] * 76)
    assert page.named("html")[0]["lang"] == "en"
    assert page.named("meta")[1]["content"] == "width=device-width, initial-scale=1"
    for chart in page.named("svg"):
        assert chart.get("aria-hidden") == "true" or (
            chart.get("role") == "img" and len(chart["aria-label"] or "") > 20
        )
    assert all(header.get("scope") in ("row", "col") for header in page.named("th"))
    ids = [attributes["id"] for _, attributes in page.elements if attributes.get("id")]
    assert len(ids) == len(set(ids))
    targets = [(link["href"] or "")[1:] for link in page.named("a")]
    assert set(targets) <= set(ids)
    assert len(targets) >= 9
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    regions = [a for _, a in page.elements if a.get("role") == "region"]
    assert all(region.get("tabindex") == "0" and region.get("aria-label") for region in regions)


def test_axis_labels_stay_inside_their_chart(tmp_path: Path) -> None:
    rows = np.random.default_rng(5).normal(size=(400_000, 2))
    page_of(Squares(width=2).fit(rows[:5_000]), rows, tmp_path)
    source = (tmp_path / "report.html").read_text(encoding="utf-8")
    labels = re.findall(r'<text x="([\d.]+)" y="[\d.]+" text-anchor="end">([^<]*)</text>', source)
    assert any(len(label) >= 6 for _, label in labels)
    assert all(float(x) >= 6.5 * len(label) for x, label in labels)


def test_charts_hold_only_finite_numbers(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(500, 4))
    detector = Squares().fit(rows)
    wild = np.vstack([rows, [[1e9, -1e9, 0, np.nan], [1e150, 0, 0, 0]]])
    page_of(detector, wild, tmp_path)
    source = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "compressed" in source
    coordinates = re.findall(r'\s(?:d|x|y|x1|x2|y1|y2|cx|cy|width|height)="([^"]*)"', source)
    assert not [text for text in coordinates if re.search(r"nan|inf|e[+-]", text)]


# --- detectors and rows of every kind ---------------------------------------------------------------------------


def test_a_method_without_code_reasons_or_training_gets_a_page(tmp_path: Path) -> None:
    detector = Silent().fit(table().drop(columns="id"))
    detector.training_["history"] = []
    text = page_of(detector, table(40, seed=1), tmp_path).text
    assert "closed-form" in text
    assert "does not explain its scores" in text
    assert "z<0>" not in text


@pytest.mark.parametrize("rows", [1, 2])
def test_a_row_or_two(detector: Squares, tmp_path: Path, rows: int) -> None:
    assert f"None of {rows} row" in page_of(detector, table(30, seed=13).iloc[1 : 1 + rows], tmp_path).text


def test_equal_scores_and_an_empty_column(tmp_path: Path) -> None:
    rows = pa.table({"same": [1.0] * 30, "empty": pa.array([None] * 30, pa.float64())})
    with np.errstate(all="ignore"), pytest.warns(RuntimeWarning):
        detector = Squares(width=2).fit(rows)
    text = page_of(detector, rows, tmp_path).text
    assert "all missing" in text
    assert "one value here" in text


@pytest.mark.parametrize("width", [1, 2, 3, 4, 6])
def test_code_panels(tmp_path: Path, width: int) -> None:
    rows = np.random.default_rng(1).normal(size=(120, 6))
    evidence = gather(Squares(width=width).fit(rows), rows)
    assert len(evidence.clouds) == {1: 1, 2: 1, 3: 3, 4: 6, 6: 3}[width]


def test_no_calibration_rows(tmp_path: Path) -> None:
    rows = np.random.default_rng(2).normal(size=(100, 3))
    detector = Squares().fit(rows)
    detector.calibration_ = Calibration(np.empty(0), "none")
    assert "without calibration rows" in page_of(detector, rows, tmp_path).text


def test_an_altered_training_record_is_an_error(tmp_path: Path) -> None:
    rows = np.random.default_rng(2).normal(size=(100, 3))
    detector = Squares().fit(rows)
    sound = dict(detector.training_)
    made = {"history": [sound["history"][0] | {"diversity": "much"}]}
    for altered in (
        {"history": [{"phase": 3, "terms": "x"}]},
        {"rows": "many"},
        {"steps": -1},
        {"seconds": np.nan},
        made,
    ):
        detector.training_ = sound | altered
        with pytest.raises(ModelFileError, match="training record"):
            render(detector, rows, tmp_path / "report.html")


def test_many_rows_stay_a_small_page(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    rows = np.column_stack([rng.normal(size=(494_021, 2)), rng.integers(0, 5, 494_021)])
    rows[:100_000] *= 9
    detector = Squares().fit(rows[300_000:])
    detector.calls = 0
    page_of(detector, rows, tmp_path)
    assert (tmp_path / "report.html").stat().st_size < 600_000
    assert detector.calls == 2  # all rows once, the listed rows for their p-values


# --- language and files -----------------------------------------------------------------------------------------


def test_korean_page(detector: Squares, tmp_path: Path) -> None:
    page = page_of(detector, table(60, seed=14, shift=6), tmp_path, lang="ko", labels=[1] * 3 + [0] * 57)
    assert page.named("html")[0]["lang"] == "ko"
    assert "60개 행 중" in page.text
    assert "라벨을 이용한 평가" in page.text
    english = [text for key, text in EN.items() if len(text) > 12 and text in page.text and text != KO[key]]
    assert not english


def test_unknown_language_is_refused(detector: Squares, tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="report language"):
        render(detector, table(20), tmp_path / "report.html", lang="de")


def test_a_missing_folder_and_a_bad_top_are_the_users(detector: Squares, tmp_path: Path) -> None:
    with pytest.raises(InvalidParameter, match="no folder"):
        render(detector, table(20), tmp_path / "nowhere" / "report.html")
    with pytest.raises(InvalidParameter, match="is a folder"):
        render(detector, table(20), tmp_path)
    with pytest.raises(InvalidParameter, match="top"):
        render(detector, table(20), tmp_path / "report.html", top=0)


def test_a_failed_write_leaves_the_old_page(detector: Squares, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "report.html"
    target.write_text("old")

    def full(descriptor: int) -> None:  # the page is written, but does not reach the disk
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(EnvironmentFailure, match="No space left"):
        render(detector, table(20), target)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_standard_output(detector: Squares, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    render(detector, table(20), "-")
    assert capfdbinary.readouterr().out.startswith(b"<!DOCTYPE html>")
