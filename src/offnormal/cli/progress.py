"""What training shows while it runs: a live bar on a terminal, plain lines at intervals elsewhere, nothing if quiet."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Self

from offnormal.cli.console import messages, say, seconds_in_words

if TYPE_CHECKING:
    from offnormal.trainer import Progress

REDRAW_SECONDS = 0.1
LINE_SECONDS = 10.0


class TrainingProgress:
    """The callback `on_progress` of `fit`, as a context manager.

    Parameters
    ----------
    quiet : bool
        Show nothing.
    noun : str
        What a row is: "row" or "image".
    live : bool or None
        A live bar instead of plain lines; None: if standard error is a terminal.
    line_seconds : float
        The least time between two plain lines of one stage.
    clock : callable
        Returns seconds; only differences count.

    Attributes
    ----------
    last : Progress or None
        The newest report, for a message on where training was interrupted.
    """

    def __init__(
        self,
        quiet: bool,
        *,
        noun: str = "row",
        live: bool | None = None,
        line_seconds: float = LINE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.last: Progress | None = None
        self._quiet = quiet
        self._noun = noun
        self._live = sys.stderr.isatty() if live is None else live
        self._pause = REDRAW_SECONDS if self._live else line_seconds
        self._clock = clock
        self._shown_at = float("-inf")
        self._place: tuple[str, str] | None = None
        self._bar: _Bar | None = None

    def __enter__(self) -> Self:
        if self._live and not self._quiet:
            self._bar = _Bar("getting ready")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, progress: Progress) -> None:
        """Take one report of the trainer."""
        self.last = progress
        if self._quiet:
            return
        now = self._clock()
        place = (progress.stage, progress.phase)
        finished = progress.epoch >= progress.epochs and progress.batch >= progress.batches
        if place == self._place and not finished and now - self._shown_at < self._pause:
            return
        self._place, self._shown_at = place, now
        if self._bar is not None:
            done = (max(progress.epoch, 1) - 1) * progress.batches + progress.batch
            self._bar.show(where(progress), done, progress.epochs * progress.batches, numbers(progress, self._noun))
        else:
            say(messages(), f"{where(progress)}: {numbers(progress, self._noun)}")


def where(progress: Progress) -> str:
    """Return stage, phase and epoch: "fit · joint · epoch 3 of 40"."""
    words = [word for word in (progress.stage, progress.phase) if word]
    return " · ".join([*words, f"epoch {progress.epoch} of {progress.epochs}"])


def numbers(progress: Progress, noun: str = "row") -> str:
    """Return the loss terms, the speed and the time left, in that order."""
    words = [f"{name} {value:.4g}" for name, value in progress.terms.items()]
    if progress.rows_per_second > 0:
        words.append(f"{progress.rows_per_second:,.0f} {noun}s/s")
    if 0 <= progress.eta_seconds < float("inf"):
        words.append(f"{seconds_in_words(progress.eta_seconds)} left")
    return ", ".join(words)


@contextmanager
def working(what: str, quiet: bool) -> Iterator[None]:
    """Show that something without steps is going on: a spinner on a terminal, one line elsewhere."""
    if quiet:
        yield
    elif sys.stderr.isatty():
        with messages().status(what):
            yield
    else:
        say(messages(), f"{what} ...")
        yield


@contextmanager
def counting(
    what: str, rows: int, quiet: bool, *, noun: str = "row", clock: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[int], None]]:
    """Show how far a loop over `rows` rows is; the block calls what it gets with the number of rows done since.

    A bar on a terminal; elsewhere one line at the start and one at intervals.
    """
    started = shown_at = clock()
    done = 0
    bar = _Bar(what) if sys.stderr.isatty() and not quiet else None

    def advance(more: int) -> None:
        nonlocal done, shown_at
        done += more
        now = clock()
        speed = done / max(now - started, 1e-9)
        left = seconds_in_words((rows - done) / speed)
        words = f"{done:,} of {rows:,} {noun}s, {speed:,.0f} {noun}s/s, {left} left"
        if bar is not None:
            bar.show(what, done, rows, words)
        elif not quiet and now - shown_at >= LINE_SECONDS:
            shown_at = now
            say(messages(), f"{what}: {words}")

    if bar is None and not quiet:
        say(messages(), f"{what} ...")
    try:
        yield advance
    finally:
        if bar is not None:
            bar.stop()


class _Bar:
    """A bar with a line of numbers under it, both gone at the end."""

    def __init__(self, what: str) -> None:
        from rich.console import Group
        from rich.live import Live
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
        from rich.text import Text

        self.bar = Progress(TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn())
        self._task = self.bar.add_task(what, total=None)
        self._numbers = Text(no_wrap=True, overflow="ellipsis")
        self._live = Live(Group(self.bar, self._numbers), console=messages(), transient=True, refresh_per_second=10)
        self._live.start()

    def show(self, what: str, done: int, total: int, numbers: str) -> None:
        """Take the newest state; it is drawn at the next refresh."""
        self.bar.update(self._task, description=what, completed=done, total=total)
        self._numbers.plain = numbers

    def stop(self) -> None:
        """Clear the bar away."""
        self._live.stop()
