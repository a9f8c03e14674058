"""Where words go: messages to standard error, answers to standard output, one JSON object for scripts."""

from __future__ import annotations

import json
import math
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from offnormal.detector import Detector

PIPE_WIDTH = 120  # columns of a table that goes to a file or a pipe
SHOWN_WARNINGS = (UserWarning, RuntimeWarning)


def messages() -> Console:
    """Return the console on standard error: progress, warnings, errors, what was done."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else PIPE_WIDTH)


def answers() -> Console:
    """Return the console on standard output: what was asked for."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)


def say(console: Console, text: str, style: str = "") -> None:
    """Print one line that may hold brackets and is never broken by us."""
    console.print(text, style=style, markup=False, soft_wrap=True)


def facts(rows: Mapping[str, str]) -> Table:
    """Return a two-column table of names and what they are."""
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, text in rows.items():
        grid.add_row(Text(name), Text(text))
    return grid


def listed(names: Iterable[str], shown: int = 8) -> str:
    """Return "a, b, c and 34 more"."""
    every = list(names)
    return ", ".join(every[:shown]) + (f" and {len(every) - shown} more" if len(every) > shown else "")


def promise(detector: Detector, *, whole: bool) -> str:
    """Say what a model's cut promises; the whole also says on what that rests and what it does not promise."""
    from offnormal.report.words import speaking_of

    return speaking_of(noun_of(detector), detector.calibration_.promise(detector.threshold_, whole=whole))


def noun_of(detector: Detector) -> str:
    """Return what a row of this model's data is called: "row", "image" or "clip"."""
    return str(getattr(detector.schema_, "noun", "row"))


def cut_record(detector: Detector) -> dict[str, Any]:
    """Return a model's cut as a JSON object, with the whole of what it promises."""
    cut = detector.threshold_
    words = promise(detector, whole=True)
    return {"value": cut.value, "rule": cut.rule, "promise": words, "details": dict(cut.details)}


def print_json(answer: Mapping[str, Any]) -> None:
    """Write `answer` to standard output as one line of JSON; NaN and infinity become null."""
    sys.stdout.write(json.dumps(plain(answer), ensure_ascii=False, allow_nan=False) + "\n")


def plain(value: Any) -> Any:
    """Return `value` in JSON's types: arrays and tuples as lists, NumPy scalars as numbers, non-finite as None."""
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    listed = getattr(value, "tolist", None)
    return plain(listed()) if callable(listed) else str(value)


@contextmanager
def warnings_as_lines(quiet: bool) -> Iterator[None]:
    """Show each warning once, as one line on standard error; none at all when quiet."""
    seen: set[str] = set()

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        text = " ".join(str(message).split())
        if not quiet and text not in seen and issubclass(category, SHOWN_WARNINGS):
            seen.add(text)
            say(messages(), f"Warning: {text}", "yellow")

    with warnings.catch_warnings():
        warnings.resetwarnings()
        warnings.simplefilter("ignore")
        for category in SHOWN_WARNINGS:
            warnings.simplefilter("always", category)
        warnings.showwarning = show
        yield


def training_in_words(training: Mapping[str, Any]) -> str:
    """Return time, epochs and how it ended: "3 min 5 s, 40 epochs, early stopping"."""
    if not training["epochs"]:
        return f"{seconds_in_words(training['seconds'])}, closed form"
    return f"{seconds_in_words(training['seconds'])}, {how_many(training['epochs'], 'epoch')}, {training['stopped']}"


def how_many(n: int, noun: str) -> str:
    """Return "1 row" or "1,234 rows"."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def image_in_words(shape: Sequence[int]) -> str:
    """Return what (channels, height, width) are: "grey, 28×28 pixels", "color, 48×64 (height × width) pixels"."""
    channels, height, width = shape
    kind = {1: "grey", 3: "color"}.get(channels, f"{channels} channels")
    return f"{kind}, {height}×{width}{'' if height == width else ' (height × width)'} pixels"


def seconds_in_words(seconds: float) -> str:
    """Return a duration for people: "0.4 s", "12 s", "3 min 5 s", "2 h 10 min"."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
