from __future__ import annotations

import json

from offnormal.parameters import declared
from offnormal.registry import METHODS, method_class


def test_every_registered_method_is_listed(run):
    result = run("methods")
    assert result.exit_code == 0
    for key in METHODS:
        assert key in result.stdout


def test_every_parameter_of_a_method_is_shown_with_range_and_source(run):
    for key in METHODS:
        record = json.loads(run("methods", key, "--json").stdout)
        expected = declared(method_class(key))
        assert {item["name"] for item in record["parameters"]} == set(expected)
        for item in record["parameters"]:
            constraint = expected[item["name"]][1]
            assert item["range"] == constraint.range_text()
            assert item["source"] == constraint.source


def test_flags_and_presets_on_the_screen(run):
    result = run("methods", "dagmm")
    for words in ("--latent-dim", "--seed", "§4.3", "--preset kddcup:", "epochs = 200"):
        assert words in result.stdout
    assert "--random-state" not in result.stdout


def test_an_unknown_method_is_a_mistake(run):
    result = run("methods", "dagm")
    assert result.exit_code == 2
    assert "Did you mean 'dagmm'" in result.stderr
