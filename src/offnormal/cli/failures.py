"""Exceptions become one sentence on standard error and an exit code; `OFFNORMAL_DEBUG=1` shows the traceback too.

Exit codes: 0; 2 a mistake of the user's; 1 the environment (disk, memory, permission) or a bug of ours; 130 stopped.
"""

from __future__ import annotations

import errno
import functools
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

import typer

from offnormal.errors import EnvironmentFailure, OffnormalError

INTERRUPTED = 130
_USER_MISTAKES = (FileNotFoundError, IsADirectoryError, NotADirectoryError, UnicodeDecodeError)
_NO_MEMORY_WORDS = ("can't allocate memory", "out of memory")


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM, with a sentence on what is kept and how to go on."""


def told_in_one_sentence(command: Callable[..., None]) -> Callable[..., None]:
    """Wrap `command` so that whatever it raises is told in one sentence and ends in the right exit code."""

    @functools.wraps(command)
    def told(*args: Any, **values: Any) -> None:
        try:
            command(*args, **values)
            sys.stdout.flush()
        except (typer.Exit, typer.BadParameter):
            raise
        except SystemExit as error:  # rich's answer to a pipe whose reader has gone
            raise typer.Exit(0) from error
        except BaseException as error:
            raise typer.Exit(tell(error)) from error

    return told


def tell(error: BaseException) -> int:
    """Write `error` to standard error as one sentence; return the exit code."""
    if os.environ.get("OFFNORMAL_DEBUG", "") not in ("", "0"):
        traceback.print_exception(error, file=sys.stderr)
    if not reader_is_gone(error):
        from offnormal.cli.console import messages

        interrupted = isinstance(error, KeyboardInterrupt)
        with suppress(BrokenPipeError):
            messages().print(
                sentence(error) if interrupted else f"Error: {sentence(error)}",
                style="yellow" if interrupted else "red",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )
    return exit_code_of(error)


def sentence(error: BaseException) -> str:
    """Say what went wrong in one or two sentences, without line breaks."""
    said = " ".join(str(error).split())
    if isinstance(error, KeyboardInterrupt):
        return said or "Interrupted; no output was written."
    if isinstance(error, OffnormalError):
        return said
    if _is_out_of_memory(error):
        return (
            "Out of memory: use fewer rows or columns, smaller images (--image-size), a smaller --batch-size, or a "
            "machine with more memory."
        )
    if isinstance(error, UnicodeDecodeError):
        return f"The file is not UTF-8 text ({said}). Save it as UTF-8, or name its encoding (--encoding cp949)."
    if isinstance(error, OSError):
        what = error.strerror or said or type(error).__name__
        return f"{what}: {error.filename}." if error.filename is not None else f"{what}."
    return (
        f"Something unforeseen happened: {type(error).__name__}: {said or 'no message'}. This is a bug in "
        "offnormal or in a library under it; OFFNORMAL_DEBUG=1 shows where."
    )


def exit_code_of(error: BaseException) -> int:
    """Return the exit code that `error` stands for."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if reader_is_gone(error):
        return 0
    if isinstance(error, OffnormalError):
        return error.exit_code
    return 2 if isinstance(error, _USER_MISTAKES) else 1


def reader_is_gone(error: BaseException | None) -> bool:
    """Return whether `error` only says that the program reading our output (`| head`) has stopped reading."""
    while error is not None:
        if isinstance(error, BrokenPipeError) or (isinstance(error, OSError) and error.errno == errno.EPIPE):
            return True
        error = error.__cause__ if isinstance(error, EnvironmentFailure) else None
    return False


def leave(code: int) -> NoReturn:
    """End the process at once.

    Threads of the table reader may still be winding down after a refused file; an ordinary exit then destroys them
    under way and aborts. Nothing is left to be done: the streams are flushed and files are closed by their writers.
    """
    end_quietly(code)
    os._exit(code)


def end_quietly(code: int) -> int:
    """Flush the standard streams; a closed pipe must not become a complaint at interpreter exit."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (BrokenPipeError, ValueError):
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return code


@contextmanager
def interrupt_on_termination() -> Iterator[None]:
    """Let SIGTERM do what Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(signum: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _is_out_of_memory(error: BaseException) -> bool:
    words = str(error).lower()
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(word in words for word in _NO_MEMORY_WORDS)
    )
