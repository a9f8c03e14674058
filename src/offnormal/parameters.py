"""Hyper-parameters declared once: default, range, source and one line of meaning.

A declaration `latent_dim: int = param(1, "Width of the code.", ge=1, source="§4.3")` feeds the constructor (a dataclass
field), the check in `fit` (`validate`), the command line's flags and the documentation (`declared`).
"""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from offnormal.errors import InvalidParameter, UnknownName

KEY = "offnormal"
LARGEST_INT = 2**63 - 1


@dataclass(frozen=True)
class Constraint:
    """What a hyper-parameter may be.

    Attributes
    ----------
    kind : str
        "int", "float", "bool", "str", "ints" (a sequence of at most 64 integers) or "strs" (a sequence of strings).
    """

    kind: str
    help: str
    source: str
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    choices: tuple[str, ...] | None = None
    optional: bool = False

    def range_text(self) -> str:
        """Say the allowed values in words, e.g. "an int, at least 1" or "one of 'standard', 'minmax'"."""
        if self.choices is not None:
            words = "one of " + ", ".join(repr(choice) for choice in self.choices)
        else:
            words = {
                "int": "an int",
                "float": "a finite number",
                "bool": "True or False",
                "str": "a string",
                "ints": "a sequence of at most 64 ints",
                "strs": "a sequence of strings",
            }.get(self.kind, "a value")
            bounds = [("at least", self.ge), ("above", self.gt), ("at most", self.le), ("below", self.lt)]
            words += "".join(f", {word} {bound:g}" for word, bound in bounds if bound is not None)
        return words + (", or None" if self.optional else "")

    def accepts(self, value: Any) -> bool:
        """Return whether `value` is allowed."""
        if value is None:
            return self.optional
        if self.choices is not None:
            return isinstance(value, str) and value in self.choices
        match self.kind:
            case "bool":
                return type(value).__name__ in ("bool", "bool_")  # NumPy's too: "bool_" before NumPy 2
            case "str":
                return isinstance(value, str)
            case "int":
                return isinstance(value, numbers.Integral) and not isinstance(value, bool) and self._in_range(value)
            case "float":
                return isinstance(value, numbers.Real) and not isinstance(value, bool) and self._in_range(value)
            case "ints":
                return (
                    isinstance(value, (tuple, list))
                    and len(value) <= 64
                    and all(
                        isinstance(v, numbers.Integral) and not isinstance(v, bool) and self._in_range(v) for v in value
                    )
                )
            case "strs":
                return isinstance(value, (tuple, list)) and all(isinstance(v, str) for v in value)
            case _:
                return False

    def _in_range(self, value: Any) -> bool:
        """Return whether a number is within the bounds, finite, and one that 64 bits hold if it is an int."""
        number: int | float = int(value) if isinstance(value, numbers.Integral) else float(value)
        return (
            (abs(number) <= LARGEST_INT if isinstance(number, int) else math.isfinite(number))
            and (self.ge is None or number >= self.ge)
            and (self.gt is None or number > self.gt)
            and (self.le is None or number <= self.le)
            and (self.lt is None or number < self.lt)
        )


def param(
    default: Any,
    help: str,  # noqa: A002
    *,
    kind: str | None = None,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    choices: tuple[str, ...] | None = None,
    optional: bool = False,
    source: str,
) -> Any:
    """Declare one hyper-parameter of a keyword-only dataclass.

    Parameters
    ----------
    default
        The default value; its type gives the kind unless `kind` is named.
    help
        One line: what it is, with its unit.
    source
        The place in the paper, or the reason for the default.
    """
    if kind is None:
        kind = {bool: "bool", int: "int", float: "float", str: "str", tuple: "ints"}[type(default)]
    constraint = Constraint(kind, help, source, ge, gt, le, lt, choices, optional or default is None)
    return dataclasses.field(default=default, metadata={KEY: constraint})


def declared(cls: type) -> dict[str, tuple[Any, Constraint]]:
    """Return name -> (default, constraint) for every hyper-parameter `cls` declares, in order."""
    return {f.name: (f.default, f.metadata[KEY]) for f in dataclasses.fields(cls) if KEY in f.metadata}


def validate(owner: object) -> None:
    """Check every declared hyper-parameter of `owner`; report all bad ones in one error.

    Raises
    ------
    InvalidParameter
        If any value is outside its range.
    """
    problems = [
        f"{name} must be {constraint.range_text()}; got {getattr(owner, name)!r}"
        for name, (_, constraint) in declared(type(owner)).items()
        if not constraint.accepts(getattr(owner, name))
    ]
    if problems:
        raise InvalidParameter(f"{type(owner).__name__}: {'; '.join(problems)}.")


def count_or_share(name: str, value: float) -> int | float:
    """Return a number that is a count from 1 on and a share below: an int, or a float in (0, 1).

    Raises
    ------
    InvalidParameter
        If it is a count that is not whole.
    """
    if value < 1:
        return float(value)
    if value != int(value):
        raise InvalidParameter(f"{name} must be a whole number from 1 on, or a share between 0 and 1; got {value!r}.")
    return int(value)


def check_names(cls: type, values: Mapping[str, Any]) -> None:
    """Raise `UnknownName` for the first key of `values` that `cls` does not declare."""
    known = declared(cls)
    for name in values:
        if name not in known:
            raise UnknownName.among(f"parameter of {cls.__name__}", name, known)
