from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from offnormal.cli import flags
from offnormal.errors import InvalidParameter
from offnormal.parameters import declared, param


@dataclass(kw_only=True)
class Shared:
    epochs: int | None = param(None, "Passes.", kind="int", ge=1, source="a budget")
    random_state: int | None = param(0, "Seed.", kind="int", optional=True, source="-")
    quick: bool = param(True, "Be [quick].", source="impatience")


@dataclass(kw_only=True)
class Net(Shared):
    hidden_sizes: tuple[int, ...] = param((60, 30), "Widths of [h].", ge=1, source="§4.3")
    weight: float = param(0.1, "λ₁.", ge=0, source="§4.3")
    width: int = param(2, "Of the code.", ge=1, source="§4.3")
    loss: str = param("energy", "Which.", choices=("energy", "error"), source="(5)")
    names: tuple[str, ...] = param((), "Of columns.", kind="strs", source="-")


@dataclass(kw_only=True)
class Linear(Shared):
    width: float = param(0.9, "Share of the variance.", gt=0, le=1, source="habit")


METHODS = {"net": declared(Net), "linear": declared(Linear)}


def collected() -> dict[str, flags.Flag]:
    return {flag.name: flag for flag in flags.collected(METHODS)}


def test_shared_flags_come_first_and_stand_once():
    names = [flag.name for flag in flags.collected(METHODS)]
    assert names[:2] == ["epochs", "quick"]
    assert len(names) == len(set(names))
    by_name = collected()
    assert by_name["epochs"].shared
    assert by_name["quick"].shared
    assert not by_name["weight"].shared


def test_parameters_with_an_option_of_their_own_are_left_out():
    assert "random_state" not in collected()


def test_help_has_range_default_and_source():
    text = collected()["weight"].help()
    assert "at least 0" in text
    assert "default 0.1" in text
    assert "§4.3" in text


def test_help_of_a_name_that_methods_use_differently_names_both():
    text = collected()["width"].help()
    assert "net: Of the code." in text
    assert "linear: Share of the variance." in text


@pytest.mark.parametrize(
    ("key", "name", "text", "value"),
    [
        ("net", "epochs", "3", 3),
        ("net", "epochs", "none", None),
        ("net", "quick", False, False),
        ("net", "hidden_sizes", "60,30,10", (60, 30, 10)),
        ("net", "hidden_sizes", "(12, 4)", (12, 4)),
        ("net", "weight", "1e-3", 1e-3),
        ("net", "loss", "error", "error"),
        ("net", "names", "a, b", ("a", "b")),
        ("net", "width", "3", 3),
        ("linear", "width", "0.5", 0.5),
    ],
)
def test_values_are_read_as_the_chosen_method_declares_them(key, name, text, value):
    read = flags.values_for(key, METHODS[key], {name: text})
    assert read == {name: value}
    assert type(read[name]) is type(value)


def test_all_bad_values_are_reported_at_once():
    given = {"epochs": "0", "weight": "x", "loss": "other", "width": "1.5"}
    with pytest.raises(InvalidParameter) as caught:
        flags.values_for("net", METHODS["net"], given)
    for part in ("--epochs must be an int, at least 1, or None; got 0", "--weight", "--loss", "'error'", "--width"):
        assert part in str(caught.value)


def test_a_flag_of_another_method_is_an_error_that_names_it():
    with pytest.raises(InvalidParameter, match=r"Method 'linear' has no --hidden-sizes"):
        flags.values_for("linear", METHODS["linear"], {"hidden_sizes": "3"})


def command(
    data: Annotated[str, typer.Argument()], seed: Annotated[int, typer.Option()] = 0, *, hyper_parameters: Mapping
) -> None:
    """Run."""
    typer.echo(f"{data} {seed} {sorted(hyper_parameters.items())}")


def app(*given: flags.Flag) -> typer.Typer:
    program = typer.Typer(rich_markup_mode="rich")
    program.command()(flags.with_flags(command, given))
    return program


def test_only_the_flags_that_were_given_reach_the_command():
    result = CliRunner().invoke(
        app(*collected().values()), ["d.csv", "--no-quick", "--hidden-sizes", "4,2", "--seed", "3"]
    )
    assert result.exit_code == 0, result.output
    assert result.output.strip() == "d.csv 3 [('hidden_sizes', '4,2'), ('quick', False)]"


def test_without_flags_the_command_keeps_its_own_options():
    assert list(inspect.signature(flags.with_flags(command, ())).parameters) == ["data", "seed"]
    assert CliRunner().invoke(app(), ["d.csv", "--epochs", "3"]).exit_code == 2


def test_help_shows_the_shared_flags_alone_and_keeps_brackets():
    shown = CliRunner().invoke(app(*collected().values()), ["--help"], env={"COLUMNS": "200"}).output
    assert "Hyper-parameters of every method" in shown
    assert "Be [quick]." in shown
    assert "--weight" not in shown
