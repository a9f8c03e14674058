"""Hyper-parameters as flags of `offnormal fit`: declared by the methods, collected here, read for the chosen method.

A flag's value stays text until the method is known, because two methods may give one name different kinds.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from offnormal.errors import InvalidParameter
from offnormal.parameters import Constraint, declared

ELSEWHERE = {
    "random_state": "--seed",
    "contamination": "--contamination",
    "threshold": "--threshold",
    "id_columns": "--id",
    "ignored_columns": "--ignore",
    "categorical_columns": "--categorical",
}
PANEL = "Hyper-parameters of every method"
"""The heading of the shared flags in the help."""
_METAVARS = {
    "int": "INT",
    "float": "NUMBER",
    "str": "TEXT",
    "ints": "INT,INT,...",
    "strs": "TEXT,TEXT,...",
    "bool": "TEXT",
}
_SWITCHES = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}

Declarations = Mapping[str, tuple[Any, Constraint]]


@dataclass(frozen=True)
class Flag:
    """One hyper-parameter's name and what each method that has it declares.

    Attributes
    ----------
    owners : mapping
        Method key -> (default, constraint), in the registry's order.
    shared : bool
        Every method has it, and all mean the same by it, if not by default.
    """

    name: str
    owners: Mapping[str, tuple[Any, Constraint]]
    shared: bool

    @property
    def spelled(self) -> str:
        """Return the flag as typed: "--latent-dim"."""
        return "--" + self.name.replace("_", "-")

    @property
    def is_switch(self) -> bool:
        """Return whether it is a bare switch (`--x`, `--no-x`) for every method that has it."""
        return all(constraint.kind == "bool" for _, constraint in self.owners.values())

    def help(self) -> str:
        """Return meaning, range, default and source; once where all methods agree, else per method."""
        texts = {key: described(default, constraint) for key, (default, constraint) in self.owners.items()}
        if len(set(texts.values())) == 1:
            return next(iter(texts.values()))
        if self.shared:  # the defaults alone differ: what most have, and who has another
            usual = max(texts.values(), key=list(texts.values()).count)
            others = {key: default for key, (default, _) in self.owners.items() if texts[key] != usual}
            return f"{usual} Default of {'; '.join(f'{key}: {default}' for key, default in others.items())}."
        return " ".join(f"{key}: {text}" for key, text in texts.items())

    def parameter(self) -> inspect.Parameter:
        """Return it as a keyword of the command, for typer."""
        kinds = {constraint.kind for _, constraint in self.owners.values()}
        if self.is_switch:
            option = typer.Option(
                f"{self.spelled}/--no-{self.spelled[2:]}",
                help=_escaped(self.help()),
                rich_help_panel=PANEL,
                hidden=not self.shared,  # the flags of every method are five hundred lines; `methods KEY` shows its own
                show_default=False,
            )
            annotation: Any = Annotated[bool | None, option]
        else:
            option = typer.Option(
                self.spelled,
                metavar=_METAVARS[kinds.pop()] if len(kinds) == 1 else "VALUE",
                help=_escaped(self.help()),
                rich_help_panel=PANEL,
                hidden=not self.shared,  # the flags of every method are five hundred lines; `methods KEY` shows its own
                show_default=False,
            )
            annotation = Annotated[str | None, option]
        return inspect.Parameter(self.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def of_registered_methods() -> tuple[Flag, ...]:
    """Return the flags of every registered method; imports them all, and torch with them."""
    from offnormal import registry

    return collected({key: declared(registry.method_class(key)) for key in registry.METHODS})


def collected(methods: Mapping[str, Declarations]) -> tuple[Flag, ...]:
    """Return one flag per hyper-parameter name, those of every method first, then method by method."""
    owners: dict[str, dict[str, tuple[Any, Constraint]]] = {}
    for key, declarations in methods.items():
        for name, declaration in declarations.items():
            if name not in ELSEWHERE:
                owners.setdefault(name, {})[key] = declaration
    flags = [
        Flag(name, by_method, len(by_method) == len(methods) and _agree(by_method))
        for name, by_method in owners.items()
    ]
    return tuple(sorted(flags, key=lambda flag: not flag.shared))


def with_flags(command: Callable[..., None], flags: Sequence[Flag]) -> Callable[..., None]:
    """Return `command` with one keyword per flag; it receives those that were given as `hyper_parameters`."""
    own = inspect.signature(command, eval_str=True)
    parameters = [parameter for name, parameter in own.parameters.items() if name != "hyper_parameters"]

    @functools.wraps(command)
    def run(**values: Any) -> None:
        given = {flag.name: values.pop(flag.name) for flag in flags}
        command(**values, hyper_parameters={name: value for name, value in given.items() if value is not None})

    taken = {parameter.name for parameter in parameters}
    added = [flag.parameter() for flag in flags if flag.name not in taken]
    run.__signature__ = own.replace(parameters=[*parameters, *added])  # type: ignore[attr-defined]
    run.__annotations__ = {}
    return run


def values_for(key: str, declarations: Declarations, given: Mapping[str, str | bool]) -> dict[str, Any]:
    """Read the given flags as the hyper-parameters of method `key`; report all bad ones in one error.

    Raises
    ------
    InvalidParameter
        If the method has no such hyper-parameter, or a text is not of its kind or outside its range.
    """
    problems, values = [], {}
    for name, text in given.items():
        flag = "--" + name.replace("_", "-")
        if name not in declarations:
            problems.append(f"method {key!r} has no {flag} (`offnormal methods {key}` lists what it has)")
            continue
        constraint = declarations[name][1]
        try:
            values[name] = parsed(text, constraint)
        except ValueError:
            problems.append(f"{flag} must be {constraint.range_text()}; got {text!r}")
            continue
        if not constraint.accepts(values[name]):
            problems.append(f"{flag} must be {constraint.range_text()}; got {text}")
    if problems:
        joined = "; ".join(problems)
        raise InvalidParameter(f"{joined[0].upper()}{joined[1:]}.")
    return values


def parsed(text: str | bool, constraint: Constraint) -> Any:
    """Read `text` as a value of the constraint's kind; the range is not checked.

    Raises
    ------
    ValueError
        If `text` is not of that kind.
    """
    if isinstance(text, bool):
        return text
    if constraint.optional and text.lower() == "none":
        return None
    match constraint.kind:
        case "int":
            return int(text)
        case "float":
            return float(text)
        case "bool":
            if text.lower() not in _SWITCHES:
                raise ValueError(text)
            return _SWITCHES[text.lower()]
        case "ints":
            return tuple(int(part) for part in text.strip("()[] ").split(",") if part.strip())
        case "strs":
            return tuple(part.strip() for part in text.split(",") if part.strip())
        case _:
            return text


def described(default: Any, constraint: Constraint) -> str:
    """Return one line of help: meaning, range, default, source."""
    shown = ",".join(map(str, default)) if isinstance(default, tuple) else str(default)
    return f"{constraint.help} ({constraint.range_text()}; default {shown}; source: {constraint.source})"


def _agree(owners: Declarations) -> bool:
    return len({(constraint.help, constraint.range_text()) for _, constraint in owners.values()}) == 1


def _escaped(text: str) -> str:
    """Keep [z_c, z_r] from being read as markup."""
    return text.replace("[", "\\[")
