from __future__ import annotations

import json
import shutil

import pytest

import offnormal


def test_the_cut_its_promise_and_the_alternatives_are_shown(run, model):
    result = run("threshold", model)
    assert result.exit_code == 0, result.output
    for words in ("conformal:0.01", "On average at most 1%", "mad:3.5", "refused", "380 rows (folds)"):
        assert words in result.stdout


def test_the_alternatives_of_the_json_are_those_of_set_threshold(run, model):
    record = json.loads(run("threshold", model, "--json").stdout)
    detector = offnormal.load(model)
    assert record["threshold"]["value"] == detector.threshold_.value
    by_rule = {other["rule"]: other for other in record["alternatives"]}
    assert by_rule["quantile:0.99"]["value"] == detector.set_threshold("quantile:0.99").threshold_.value
    assert by_rule["conformal:0.001"]["value"] is None
    assert "999" in by_rule["conformal:0.001"]["refused"]


def test_a_new_rule_goes_to_a_new_file(run, model, tmp_path):
    target, before = tmp_path / "new.offnormal", model.read_bytes()
    result = run("threshold", model, "mad:3", "-o", target)
    assert result.exit_code == 0, result.output
    cut = offnormal.load(model).threshold_.value
    assert f"mad:3 (was conformal:0.01, cut {cut:.6g})" in result.stdout
    assert "approximate" not in result.stdout  # the rule promises no rate
    assert str(target) in result.stdout
    assert offnormal.load(target).threshold_ == offnormal.load(model).set_threshold("mad:3").threshold_
    assert model.read_bytes() == before


def test_or_over_the_model_itself(run, model, tmp_path):
    target = tmp_path / "m.offnormal"
    shutil.copy(model, target)
    assert run("threshold", target, "fixed:12.5", "-q").output == ""
    assert offnormal.load(target).threshold_.value == 12.5


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["conform:0.01"], "Did you mean 'conformal'"),
        (["conformal:0.0001"], "calibration rows"),
        (["-o", "new.offnormal"], "a RULE is needed"),
        (["mad:3", "-o", "new.csv"], "must end in .offnormal"),
    ],
)
def test_mistakes_leave_the_model_as_it_was(run, model, arguments, said):
    before = model.read_bytes()
    result = run("threshold", model, *arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert model.read_bytes() == before


def test_data_instead_of_a_model_is_named(run, data):
    result = run("threshold", data, "mad:3")
    assert result.exit_code == 2
    assert "which is data" in result.stderr
