"""What the package offers at the top, at what price, and what every registered method declares."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

import offnormal
from offnormal.detector import Detector
from offnormal.errors import UnknownName
from offnormal.parameters import declared, validate
from offnormal.registry import METHODS, make_detector, method_class

HEAVY = ("torch", "sklearn", "pandas", "polars", "pyarrow", "narwhals", "numpy", "scipy", "typer", "rich", "jinja2")


def modules_after(statement: str) -> set[str]:
    """Return the top names of the modules that a fresh process holds after `statement`."""
    script = f"{statement}\nimport sys, json\nprint(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    return set(json.loads(subprocess.check_output([sys.executable, "-W", "error", "-c", script], text=True)))


def test_importing_the_package_imports_nothing_heavy() -> None:
    assert not modules_after("import offnormal; offnormal.__version__; dir(offnormal); offnormal.errors") & set(HEAVY)


def test_a_name_is_loaded_on_first_use() -> None:
    assert {"torch", "sklearn"} <= modules_after("from offnormal import DAGMM")
    assert not modules_after("import offnormal; offnormal.read_table; offnormal.make_detector") & {"torch", "sklearn"}


def test_dir_gives_all_names_once() -> None:
    assert sorted(offnormal.__all__) == dir(offnormal)
    assert len(set(offnormal.__all__)) == len(offnormal.__all__)
    assert len(set(offnormal.__all__)) == len(offnormal.__all__)


@pytest.mark.parametrize("name", offnormal.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    value = getattr(offnormal, name)
    assert name == "__version__" or value.__doc__


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'offnormal' has no attribute 'DAGM'"):
        offnormal.DAGM  # noqa: B018
    namespace: dict[str, Any] = {}
    exec("from offnormal import *", namespace)  # noqa: S102
    assert set(offnormal.__all__) <= set(namespace)


def test_every_registered_class_is_public() -> None:
    for key in METHODS:
        assert getattr(offnormal, method_class(key).__name__) is method_class(key)


@pytest.fixture(params=METHODS)
def cls(request: pytest.FixtureRequest) -> type[Detector]:
    return method_class(request.param)


class TestMethods:
    def test_the_key_is_the_registered_one(self, cls: type[Detector]) -> None:
        assert METHODS[cls.key].endswith(f":{cls.__name__}")
        assert type(make_detector(cls.key)) is cls

    def test_every_default_passes_its_own_constraint(self, cls: type[Detector]) -> None:
        for name, (default, constraint) in declared(cls).items():
            assert constraint.accepts(default), name
        validate(cls())

    def test_every_parameter_says_what_it_is_and_where_its_default_comes_from(self, cls: type[Detector]) -> None:
        for name, (_, constraint) in declared(cls).items():
            assert len(constraint.help) > 10, name
            assert constraint.help.endswith("."), name
            assert constraint.source, name

    def test_declared_parameters_are_exactly_the_constructor_s(self, cls: type[Detector]) -> None:
        assert set(declared(cls)) == set(cls().get_params())

    def test_what_every_method_takes(self, cls: type[Detector]) -> None:
        assert {"epochs", "random_state", "device", "contamination"} <= set(declared(cls))

    def test_every_preset_validates_and_can_be_overridden(self, cls: type[Detector]) -> None:
        for name, values in cls.presets.items():
            preset = cls.from_preset(name)
            validate(preset)
            assert {key: getattr(preset, key) for key in values} == dict(values)
            assert cls.from_preset(name, epochs=3, random_state=7).get_params() == {
                **preset.get_params(), "epochs": 3, "random_state": 7,
            }  # fmt: skip

    def test_an_unknown_preset_or_override_names_the_known_ones(self, cls: type[Detector]) -> None:
        near = any("kddcup" in preset for preset in cls.presets)
        known = r"Did you mean '.*kddcup.*'" if near else f"Known: {', '.join(sorted(cls.presets)) or 'none'}"
        with pytest.raises(UnknownName, match=rf"no preset of {cls.__name__} 'kddcp'\. {known}"):
            cls.from_preset("kddcp")
        for name in cls.presets:
            with pytest.raises(UnknownName, match=r"'epoch'\. Did you mean 'epochs'"):
                cls.from_preset(name, epoch=1)


def test_unknown_methods_and_parameters_get_a_suggestion() -> None:
    with pytest.raises(UnknownName, match=r"no method 'dagm'\. Did you mean 'dagmm'\?"):
        make_detector("dagm")
    with pytest.raises(UnknownName, match=r"no method 'zzz'\. Known: .*dagmm, .*pca"):
        make_detector("zzz")
    with pytest.raises(UnknownName, match=r"no parameter of DAGMM 'latent_dims'\. Did you mean 'latent_dim'"):
        make_detector("dagmm", epochs=1, latent_dims=2)
    assert make_detector("dagmm", latent_dim=2).get_params()["latent_dim"] == 2
