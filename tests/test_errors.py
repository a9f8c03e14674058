"""The errors: the tree in the docstring is the tree in the code, and each says what a program needs to know."""

from __future__ import annotations

import copy
import inspect
import pickle
import re

import pytest

from offnormal import errors
from offnormal.errors import OffnormalError, TrainingDiverged, UnknownName

CLASSES = {
    name: value
    for name, value in vars(errors).items()
    if inspect.isclass(value) and value.__module__ == errors.__name__ and not issubclass(value, Warning)
}


def drawn() -> dict[str, tuple[str, str]]:
    """Read the tree of the docstring: class -> (parent, builtin class)."""
    tree: dict[str, tuple[str, str]] = {}
    parents = ["OffnormalError"]
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"^((?:│   )*)[├└]── (\w+) +\((\w+)\)", line)
        if found:
            depth = len(found[1]) // 4
            tree[found[2]] = (parents[depth], found[3])
            parents[depth + 1 :] = [found[2]]
    return tree


def test_the_drawn_tree_is_the_tree() -> None:
    tree = drawn()
    assert {"OffnormalError", *tree} == set(CLASSES)
    for name, (parent, builtin) in tree.items():
        cls = CLASSES[name]
        assert CLASSES[parent] in cls.__bases__, f"{name} hangs under {parent}"
        assert issubclass(cls, getattr(__builtins__, builtin, None) or __builtins__[builtin]), name
    assert issubclass(OffnormalError, Exception)
    assert not issubclass(OffnormalError, ValueError)


@pytest.mark.parametrize("cls", CLASSES.values(), ids=CLASSES)
def test_each_is_documented_and_has_an_exit_code(cls: type[OffnormalError]) -> None:
    assert cls.__doc__
    assert cls.exit_code == (1 if cls is errors.EnvironmentFailure else 2)


def made(cls: type[OffnormalError]) -> OffnormalError:
    return TrainingDiverged("joint", "generator", "energy", 3) if cls is TrainingDiverged else cls("what was wrong")


@pytest.mark.parametrize("cls", CLASSES.values(), ids=CLASSES)
def test_each_survives_processes_and_copies(cls: type[OffnormalError]) -> None:
    error = made(cls)
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):  # noqa: S301  our own bytes
        assert type(again) is cls
        assert str(again) == str(error)
        assert vars(again) == vars(error)


def test_divergence_says_where_and_what_to_do() -> None:
    error = TrainingDiverged("joint", "generator", "energy", 3)
    assert (error.phase, error.update, error.term, error.epoch) == ("joint", "generator", "energy", 3)
    assert all(word in str(error) for word in ("'energy'", "'generator'", "'joint'", "epoch 3", "Lower learning_rate"))


def test_an_unknown_name_names_the_nearest_or_all() -> None:
    assert str(UnknownName.among("rule", "mda", ["mad", "pot"])) == "There is no rule 'mda'. Did you mean 'mad'?"
    assert str(UnknownName.among("rule", "maad", {"mad", "maat"})).endswith("Did you mean 'mad' or 'maat'?")
    assert str(UnknownName.among("rule", "zzz", ["b", "a"])) == "There is no rule 'zzz'. Known: a, b."
    assert str(UnknownName.among("rule", "zzz", [])) == "There is no rule 'zzz'. Known: none."
