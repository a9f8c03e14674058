"""`offnormal methods`: which methods there are, and what each can be told."""

from __future__ import annotations

import inspect
from typing import Annotated, Any

import typer

from offnormal.cli.console import answers, print_json, say
from offnormal.cli.flags import ELSEWHERE
from offnormal.cli.options import JsonOption
from offnormal.parameters import Constraint, declared


def methods(
    key: Annotated[
        str | None, typer.Argument(metavar="[KEY]", help="Show this method's hyper-parameters.", show_default=False)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the methods; with KEY, its hyper-parameters with their ranges and sources, and its presets."""
    from offnormal import registry

    if key is None:
        records = [_summary(name, registry.method_class(name)) for name in registry.METHODS]
        if as_json:
            print_json({"methods": records})
        else:
            _tell_all(records)
        return
    cls = registry.method_class(key)
    record = _summary(key, cls) | {"parameters": [_parameter(n, d, c) for n, (d, c) in declared(cls).items()]}
    if as_json:
        print_json(record)
    else:
        _tell_one(record)


def _summary(key: str, cls: Any) -> dict[str, Any]:
    about = (inspect.getdoc(cls) or "").strip().splitlines()
    return {"key": key, "class": cls.__name__, "about": about[0] if about else "", "presets": dict(cls.presets)}


def _parameter(name: str, default: Any, constraint: Constraint) -> dict[str, Any]:
    return {
        "name": name,
        "flag": ELSEWHERE.get(name, "--" + name.replace("_", "-")),
        "default": default,
        "range": constraint.range_text(),
        "help": constraint.help,
        "source": constraint.source,
    }


def _tell_all(records: list[dict[str, Any]]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table("key", "what it is", "presets")
    for record in records:
        table.add_row(record["key"], Text(record["about"]), ", ".join(record["presets"]))
    console = answers()
    console.print(table)
    say(console, "offnormal methods KEY shows a method's hyper-parameters.")


def _tell_one(record: dict[str, Any]) -> None:
    from rich.table import Table
    from rich.text import Text

    console = answers()
    say(console, f"{record['key']}: {record['about']}", "bold")
    table = Table("flag", "meaning", "range", "default", "source")
    for item in record["parameters"]:
        default = ",".join(map(str, item["default"])) if isinstance(item["default"], tuple) else str(item["default"])
        table.add_row(item["flag"], *(Text(text) for text in (item["help"], item["range"], default, item["source"])))
    console.print(table)
    for name, values in record["presets"].items():
        say(console, f"--preset {name}: " + ", ".join(f"{key} = {value}" for key, value in values.items()))
