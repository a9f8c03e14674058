from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, precision_recall_fscore_support, roc_auc_score

import offnormal

LABELS = ("--label", "label", "--anomaly", "attack")


@pytest.fixture(scope="module")
def record(run, model, data):
    result = run("evaluate", model, data, *LABELS, "--bootstrap", 100, "--json", "-q")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def known(model, data):
    frame = offnormal.read_table(data)
    y = np.array([label == "attack" for label in frame.column("label").to_pylist()], dtype=int)
    return y, offnormal.load(model).anomaly_score(frame)


def test_ranking_agrees_with_scikit_learn(record, known):
    y, scores = known
    assert record["auroc"]["value"] == pytest.approx(roc_auc_score(y, scores))
    assert record["average_precision"]["value"] == pytest.approx(average_precision_score(y, scores))
    best = max(
        precision_recall_fscore_support(y, scores > cut, average="binary", zero_division=0)[2]
        for cut in [-np.inf, *np.unique(scores)]
    )
    assert record["best_f1"]["value"] == pytest.approx(best)


def test_every_rule_has_its_flags(record, known):
    y, scores = known
    assert [rule["current"] for rule in record["rules"]] == [True] + [False] * (len(record["rules"]) - 1)
    assert len({rule["rule"] for rule in record["rules"]}) == len(record["rules"])
    supported = [rule for rule in record["rules"] if rule["value"] is not None]
    assert len(supported) >= 4
    for rule in supported:
        flags = scores > rule["value"]
        expected = precision_recall_fscore_support(y, flags, average="binary", zero_division=0)
        assert rule["flagged"] == flags.sum()
        assert [rule[name]["value"] for name in ("precision", "recall", "f1")] == pytest.approx(expected[:3])


def test_a_rule_that_the_rows_do_not_support_says_why(record):
    refused = {rule["rule"]: rule["refused"] for rule in record["rules"] if rule["value"] is None}
    assert "999" in refused["conformal:0.001"]


def test_intervals_hold_the_value(record):
    for name in ("auroc", "average_precision"):
        assert record[name]["low"] <= record[name]["value"] <= record[name]["high"]
    assert record["average_precision"]["low"] < record["average_precision"]["high"]


def test_counts(record):
    assert (record["rows"], record["anomalies"], record["left_out"], record["draws"]) == (400, 20, 0, 100)


def test_the_table_names_the_oracle_and_the_model_s_own_cut(run, model, data):
    result = run("evaluate", model, data, *LABELS, "--bootstrap", 20)
    assert result.exit_code == 0, result.output
    for words in ("AUROC", "average precision", "oracle", "conformal:0.01 (the model's)", "20 of them anomalies"):
        assert words in result.stdout


def test_normal_values_instead_and_no_bootstrap(run, model, data, record):
    result = run("evaluate", model, data, "--label", "label", "--normal", "benign", "--bootstrap", 0, "--json", "-q")
    other = json.loads(result.stdout)
    assert other["auroc"] == {"value": record["auroc"]["value"], "low": None, "high": None}


def test_rows_without_a_label_are_left_out_and_said(run, model, data, tmp_path):
    target = tmp_path / "d.csv"
    lines = data.read_text().splitlines()
    lines[1] = lines[1].replace("benign", "")
    target.write_text("\n".join(lines))
    result = run("evaluate", model, target, *LABELS, "--bootstrap", 0)
    assert "399 rows" in result.stdout
    assert "1 row without a label" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--label", "label"], "--anomaly VALUE"),
        (["--label", "lable", "--anomaly", "attack"], "Did you mean 'label'"),
        (["--label", "label", "--anomaly", "atack"], "Did you mean 'attack'"),
    ],
)
def test_mistakes_are_told(run, model, data, arguments, said):
    result = run("evaluate", model, data, *arguments, "-q")
    assert result.exit_code == 2
    assert said in result.stderr
