"""What a hyper-parameter may be: every kind, every bound, all problems at once."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from offnormal.errors import InvalidParameter, UnknownName
from offnormal.parameters import Constraint, check_names, count_or_share, declared, param, validate


def constraint(kind: str, **bounds: Any) -> Constraint:
    return Constraint(kind, "help", "source", **bounds)


NO_NUMBERS: list[Any] = ["1", None, [1], (1,), {}, 1j, object(), b"1", np.array([1, 2])]


@pytest.mark.parametrize("good", [0, 1, -5, 2**63 - 1, -(2**63) + 1, np.int8(3), np.uint64(2**62), np.int64(-1)])
def test_an_int_is_any_integer_that_64_bits_hold(good: Any) -> None:
    assert constraint("int").accepts(good)


@pytest.mark.parametrize(
    "bad", [1.0, 1.5, float("nan"), True, False, np.True_, np.float64(1), 2**63, 10**400, *NO_NUMBERS]
)
def test_no_int(bad: Any) -> None:
    assert not constraint("int").accepts(bad)


@pytest.mark.parametrize(
    "good", [0, 1, 0.5, -1e308, 5e-324, np.float32(0.1), np.float64(3), np.int32(1), Fraction(1, 3)]
)
def test_a_float_is_any_finite_number(good: Any) -> None:
    assert constraint("float").accepts(good)


@pytest.mark.parametrize(
    "bad", [float("nan"), float("inf"), -float("inf"), np.float32("inf"), np.nan, True, np.False_, 10**400, *NO_NUMBERS]
)
def test_no_float(bad: Any) -> None:
    assert not constraint("float").accepts(bad)


@pytest.mark.parametrize("value", [True, False, np.True_, np.False_])
def test_a_bool_is_python_s_or_numpy_s(value: Any) -> None:
    assert constraint("bool").accepts(value)


@pytest.mark.parametrize("value", [0, 1, 1.0, np.int8(1), *NO_NUMBERS])
def test_no_bool(value: Any) -> None:
    assert not constraint("bool").accepts(value)


def test_texts() -> None:
    assert constraint("str").accepts("")
    assert constraint("str").accepts(np.str_("a"))
    assert not any(constraint("str").accepts(value) for value in (1, None, b"a", ["a"]))
    chosen = constraint("str", choices=("a", "b"))
    assert chosen.accepts("a")
    assert not any(chosen.accepts(value) for value in ("A", "", None, 1, ["a"], {"a"}))


def test_sequences() -> None:
    sizes = constraint("ints", ge=1)
    assert all(sizes.accepts(value) for value in ((), [], (1,), [60, 30, 10], (np.int64(2),), (1,) * 64))
    bad = [(1,) * 65, (0,), (1.0,), (True,), ("1",), (None,), 1, "12", {1}, None, ((1,),), np.array([1]), (2**63,)]
    assert not any(sizes.accepts(value) for value in bad)
    names = constraint("strs")
    assert all(names.accepts(value) for value in ((), [], ("a", "b"), ["id"]))
    assert not any(names.accepts(value) for value in ("id", ("a", 1), {"a"}, None, 1))


@pytest.mark.parametrize(
    ("bound", "inside", "outside"),
    [
        ({"ge": 2}, [2, 3], [1, 2 - 1e-12]),
        ({"gt": 0}, [5e-324, 1], [0, -0.0, -1]),
        ({"le": 0.5}, [0.5, -1e9], [0.5 + 1e-12, 1]),
        ({"lt": 1}, [1 - 1e-12, -1e9], [1, 1.5]),
        ({"gt": 0, "le": 0.5}, [1e-300, 0.5], [0, 0.6]),
        ({"ge": 0, "lt": 1}, [0, 0.999], [-1e-300, 1]),
    ],
    ids=str,
)
def test_bounds_are_kept_to_the_last_bit(bound: dict[str, float], inside: list[float], outside: list[float]) -> None:
    limited = constraint("float", **bound)
    assert all(limited.accepts(value) for value in inside)
    assert not any(limited.accepts(value) for value in outside)
    whole = constraint("int", **bound)
    assert all(whole.accepts(value) == limited.accepts(value) for value in (-2, -1, 0, 1, 2, 3))


def test_none_only_where_optional() -> None:
    for kind in ("int", "float", "bool", "str", "ints", "strs"):
        assert constraint(kind, optional=True).accepts(None)
        assert not constraint(kind).accepts(None)
    assert constraint("str", choices=("a",), optional=True).accepts(None)


def test_an_unknown_kind_accepts_nothing() -> None:
    assert not constraint("array").accepts(1)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (constraint("int", ge=1), "an int, at least 1"),
        (constraint("int", ge=0, optional=True), "an int, at least 0, or None"),
        (constraint("float", gt=0, le=0.5), "a finite number, above 0, at most 0.5"),
        (constraint("float", ge=0, lt=1), "a finite number, at least 0, below 1"),
        (constraint("bool"), "True or False"),
        (constraint("str"), "a string"),
        (constraint("str", choices=("auto", "none")), "one of 'auto', 'none'"),
        (constraint("ints", ge=1), "a sequence of at most 64 ints, at least 1"),
        (constraint("strs"), "a sequence of strings"),
    ],
    ids=range(9),
)
def test_the_range_in_words(made: Constraint, words: str) -> None:
    assert made.range_text() == words


@dataclass(kw_only=True)
class Oven:
    power: int = param(3, "Power in kW.", ge=1, source="plate")
    fan: bool = param(True, "Whether it blows.", source="habit")
    heat: float = param(0.5, "Share of full heat.", gt=0, le=1, source="§2")
    name: str = param("oven", "Its name.", source="-")
    layers: tuple[int, ...] = param((1, 2), "Rows of trays.", ge=1, source="-")
    limit: float | None = param(None, "Degrees.", kind="float", ge=0, source="-")
    undeclared: int = 7


def test_what_is_declared_comes_back_in_order_with_its_kind() -> None:
    found = declared(Oven)
    assert list(found) == ["power", "fan", "heat", "name", "layers", "limit"]
    assert [made.kind for _, made in found.values()] == ["int", "bool", "float", "str", "ints", "float"]
    assert [default for default, _ in found.values()] == [3, True, 0.5, "oven", (1, 2), None]
    assert found["limit"][1].optional
    assert not found["power"][1].optional
    assert (found["power"][1].help, found["power"][1].source) == ("Power in kW.", "plate")


def test_all_problems_are_named_at_once_and_none_else() -> None:
    validate(Oven())
    with pytest.raises(InvalidParameter) as caught:
        validate(Oven(power=0, fan="yes", layers=(1, 0), limit=-1))  # type: ignore[arg-type]
    assert str(caught.value) == (
        "Oven: power must be an int, at least 1; got 0; fan must be True or False; got 'yes'; "
        "layers must be a sequence of at most 64 ints, at least 1; got (1, 0); "
        "limit must be a finite number, at least 0, or None; got -1."
    )


def test_unknown_names_get_a_suggestion() -> None:
    check_names(Oven, {"power": 1, "limit": 2})
    with pytest.raises(UnknownName, match=r"no parameter of Oven 'powr'\. Did you mean 'power'\?"):
        check_names(Oven, {"fan": True, "powr": 1})
    with pytest.raises(UnknownName, match=r"'zzzz'\. Known: fan, heat, layers, limit, name, power\."):
        check_names(Oven, {"zzzz": 1})
    with pytest.raises(UnknownName):
        check_names(Oven, {"undeclared": 1})


def test_a_count_is_whole_and_a_share_below_one() -> None:
    assert [count_or_share("n_components", value) for value in (0.5, 1, 3.0)] == [0.5, 1, 3]
    assert isinstance(count_or_share("n_components", 3.0), int)
    with pytest.raises(InvalidParameter, match=r"whole number from 1 on, or a share .* got 2\.5"):
        count_or_share("n_components", 2.5)
