from __future__ import annotations

import errno
import os
import signal

import pytest
import typer
from typer.testing import CliRunner

from offnormal.cli import failures
from offnormal.errors import DataError, EnvironmentFailure, InvalidParameter, TrainingDiverged, UnknownName


def raising(error: BaseException) -> typer.Typer:
    app = typer.Typer()

    @app.command()
    @failures.told_in_one_sentence
    def run() -> None:
        raise error

    return app


DISK_FULL = OSError(errno.ENOSPC, "No space left on device", "m.offnormal")


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (InvalidParameter("epochs must be an int."), 2, "epochs must be an int."),
        (UnknownName.among("method", "dagm", ["dagmm", "pca"]), 2, "Did you mean 'dagmm'?"),
        (TrainingDiverged("joint", "joint", "energy", 3), 2, "Training diverged"),
        (DataError("two\nlines  here"), 2, "two lines here"),
        (EnvironmentFailure("The disk is full."), 1, "The disk is full."),
        (DISK_FULL, 1, "No space left on device: m.offnormal."),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "x.csv"), 2, "No such file or directory: x.csv."),
        (PermissionError(errno.EACCES, "Permission denied", "x.csv"), 1, "Permission denied: x.csv."),
        (MemoryError(), 1, "Out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), 1, "Out of memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate"), 1, "Out of memory"),
        (ZeroDivisionError("division by zero"), 1, "ZeroDivisionError: division by zero. This is a bug"),
        (KeyboardInterrupt(), 130, "Interrupted"),
        (failures.Interrupted("Interrupted in epoch 3; go on with --resume"), 130, "go on with --resume"),
    ],
)
def test_every_exception_is_one_sentence_and_a_code(error, code, said):
    result = CliRunner().invoke(raising(error))
    assert result.exit_code == code
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_debug_shows_the_traceback():
    result = CliRunner().invoke(raising(DataError("no rows")), env={"OFFNORMAL_DEBUG": "1"})
    assert result.exit_code == 2
    assert "Traceback" in result.stderr
    assert "no rows" in result.stderr.splitlines()[-1]


def test_brackets_of_a_message_are_not_markup():
    assert "[bold]x[/]" in CliRunner().invoke(raising(DataError("column [bold]x[/] is empty"))).stderr


def wrapped_pipe_error() -> EnvironmentFailure:
    error = EnvironmentFailure("standard output could not be written")
    error.__cause__ = BrokenPipeError(errno.EPIPE, "Broken pipe")
    return error


@pytest.mark.parametrize("error", [BrokenPipeError(errno.EPIPE, "Broken pipe"), wrapped_pipe_error()])
def test_a_reader_that_has_gone_is_no_failure(error):
    result = CliRunner().invoke(raising(error))
    assert result.exit_code == 0
    assert result.stderr == ""


def test_termination_is_an_interruption():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), failures.interrupt_on_termination():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_exit_codes_of_an_exiting_program():
    assert failures.exit_code_of(SystemExit(2)) == 2
    assert failures.exit_code_of(SystemExit(None)) == 0
    assert failures.exit_code_of(SystemExit("words")) == 1
