from __future__ import annotations

import json

import pytest


def test_the_page_is_written_and_its_place_said(run, model, data, tmp_path):
    target = tmp_path / "report.html"
    result = run("report", model, data, "-o", target)
    assert result.exit_code == 0, result.output
    assert "<html" in target.read_text().lower()
    assert str(target) in result.stdout


def test_korean_with_labels(run, model, data, tmp_path):
    target = tmp_path / "report.html"
    labels = ("--label", "label", "--anomaly", "attack")
    result = run("report", model, data, "-o", target, "--lang", "ko", *labels, "--json", "-q")
    assert json.loads(result.stdout) == {"output": str(target), "rows": 400, "lang": "ko"}
    assert "AUROC" in target.read_text()
    scores = json.loads(run("evaluate", model, data, *labels, "--json", "-q").stdout)
    for name in ("auroc", "average_precision"):
        assert "{low:.3f} ~ {high:.3f}".format(**scores[name]) in target.read_text(), "the interval of evaluate"
    assert any("가" <= letter <= "힣" for letter in target.read_text())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-o", "report.pdf"], "must end in .html"),
        (["-o", "r.html", "--anomaly", "attack"], "name it with --label"),
        (["-o", "r.html", "--label", "label", "--anomaly", "atack"], "Did you mean 'attack'"),
        (["-o", "-", "--json"], "both write to standard output"),
    ],
)
def test_mistakes_are_told(run, model, data, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    result = run("report", model, data, *arguments, "-q")
    assert result.exit_code == 2
    assert said in result.stderr
    assert list(tmp_path.iterdir()) == []
