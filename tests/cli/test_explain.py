from __future__ import annotations

import json

import numpy as np

import offnormal


def test_the_most_anomalous_rows_with_their_columns(run, model, data):
    result = run("explain", model, data, "--worst", 3, "--top", 2, "--json", "-q")
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)["rows"]
    frame = offnormal.read_table(data, text_columns=["number"])
    detector = offnormal.load(model)
    scores = detector.anomaly_score(frame)
    assert [row["row"] for row in rows] == np.argsort(-scores)[:3].tolist()
    explanation = detector.explain(frame)
    for row in rows:
        assert len(row["columns"]) == 2
        first, second = (column["contribution"] for column in row["columns"])
        assert first >= second
        assert first == explanation.contributions[row["row"]].max()
        assert row["columns"][0]["column"] == explanation.columns[explanation.ranking()[row["row"], 0]]


def test_named_rows_in_their_order(run, model, data):
    result = run("explain", model, data, "--row", 399, "--row", 0, "--json", "-q")
    rows = json.loads(result.stdout)["rows"]
    assert [(row["row"], row["is_anomaly"]) for row in rows] == [(399, True), (0, False)]


def test_the_table_has_value_and_usual_range(run, model, data, lines):
    result = run("explain", model, data, "--row", 399)
    assert result.exit_code == 0
    assert f"Row 399, number {lines[399][0]}" in result.stdout, "the ID column names the row"
    assert "flagged" in result.stdout
    assert f"{float(lines[399][2]):.4g}" in result.stdout
    assert " to " in result.stdout


def test_a_row_beyond_the_data_is_a_mistake(run, model, data):
    result = run("explain", model, data, "--row", 400, "-q")
    assert result.exit_code == 2
    assert "rows 0 to 399" in result.stderr
    assert "takes the number of a row" in run("explain", model, data, "--row", "-1", "-q").stderr
