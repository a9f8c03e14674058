from __future__ import annotations

import json

import pytest

from offnormal import io


def test_what_the_model_is(run, model):
    result = run("info", model)
    assert result.exit_code == 0, result.output
    for words in (
        "pca",
        "380 rows",
        "380 rows (folds)",
        "On average at most 1%",
        "closed form",
        "amount (numeric)",
        "country (3 values)",
        "number",
        "label",
        "torch",
    ):
        assert words in result.stdout


def test_parameters_without_a_part_are_left_out(run, data, tmp_path):
    """Of tables; those of columns are left out for images, in test_folders_of_images."""
    target = tmp_path / "m.offnormal"
    quick = ("-m", "memae", "--epochs", 0, "--calibration", "none", "--label", "label", "--id", "number", "-q")
    assert run("fit", data, "-o", target, *quick).exit_code == 0
    told = run("info", target).stdout.split("parameters")[1]
    assert "hidden_sizes" in told
    assert "max_categories" in told
    assert not [word for word in ("pixel_scaling", "kernel_sizes", "image_activation", "linear_code") if word in told]


@pytest.mark.parametrize(
    ("diversity", "collapsed", "said"),
    [
        (0.0312, True, "collapsed: two rows that it makes differ by 0.031 of what two training rows do, so the scores"),
        (0.9312, False, "two rows that it makes differ by 0.93 of what two training rows do"),
        (0.9312, None, "two rows that it makes differ by 0.93 of what two training rows do"),
        (None, None, None),
    ],
)
def test_a_model_whose_generator_collapsed_says_so(run, model, tmp_path, diversity, collapsed, said):
    """Models of old, and of methods without a generator, have nothing to say."""
    detector = io.load(model)
    detector.training_ = {name: value for name, value in detector.training_.items() if name != "collapsed"}
    detector.training_["history"] = [{"epoch": 1, "diversity": 0.5}, {"epoch": 2, "diversity": diversity}]
    detector.training_["steps"] = 1000
    if diversity is None:
        detector.training_["history"] = [{"epoch": 1}]
    if collapsed is not None:
        detector.training_["collapsed"] = collapsed
    target = tmp_path / "m.offnormal"
    io.save(detector, target)
    told = " ".join(run("info", target).stdout.split())
    assert ("generator" in told) == (said is not None)
    assert said is None or said in told
    assert ("collapsed" in told) == bool(collapsed)
    record = json.loads(run("info", target, "--json").stdout)["training"]
    assert record.get("collapsed") == collapsed
    assert record["history"][-1].get("diversity") == diversity


def test_json_is_the_manifest(run, model):
    record = json.loads(run("info", model, "--json").stdout)
    assert record == json.loads(json.dumps(io.info(model)))


@pytest.mark.parametrize("content", [{"kind": "offnormal model"}, {"training": None}, {"training": {"rows": "x"}}])
def test_an_altered_manifest_is_no_crash(run, model, monkeypatch, content):
    monkeypatch.setattr(io, "info", lambda path: content)
    result = run("info", model)
    assert result.exit_code == 2
    assert "altered or damaged" in result.stderr


def test_data_instead_of_a_model_is_named(run, data):
    assert "which is data" in run("info", data).stderr


def test_a_training_too_short_to_judge_its_generator_says_so(run, model, tmp_path):
    detector = io.load(model)
    detector.training_["history"] = [{"epoch": 1, "diversity": 0.01}]
    detector.training_ |= {"steps": 999, "collapsed": False}
    target = tmp_path / "m.offnormal"
    io.save(detector, target)
    told = " ".join(run("info", target).stdout.split())
    assert "999 steps are too few to tell whether it collapsed (1,000 are needed)" in told
