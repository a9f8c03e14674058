"""The command line: `fit`, `score`, `evaluate`, `explain`, `report`, `threshold`, `info`, `methods`, `bench`.

One file per command. Everything heavy (torch, scikit-learn, pyarrow) is imported inside the commands, so that
`offnormal --help`, `--version` and shell completion answer at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, NoReturn

import typer
import typer.main

import offnormal
from offnormal.cli import bench, evaluate, explain, fit, flags, info, methods, report, score, threshold
from offnormal.cli.commands import Command
from offnormal.cli.failures import end_quietly, exit_code_of, interrupt_on_termination, leave, told_in_one_sentence

COMMANDS = ("fit", "score", "evaluate", "explain", "report", "threshold", "info", "methods", "bench")
COMPLETION_VARIABLE = "_OFFNORMAL_COMPLETE"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Parameters
    ----------
    arguments : sequence of str, optional
        Without the program's name; None takes those of the process.

    Returns
    -------
    int
        0; 1 the environment failed; 2 a mistake of the user's; 130 interrupted.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    _choose_threads(given)
    try:
        with interrupt_on_termination():
            typer.main.get_command(application(given)).main(args=given, prog_name="offnormal")
        code = 0
    except BaseException as error:  # noqa: BLE001  the last line of defense: no traceback reaches a user
        code = exit_code_of(error)
    return end_quietly(code)


def entry() -> NoReturn:
    """Run the command line as a process of its own and leave it."""
    leave(main())


def application(arguments: Sequence[str] = ()) -> typer.Typer:
    """Build the commands.

    Parameters
    ----------
    arguments : sequence of str
        What will be run. Only a real `fit` collects the hyper-parameters of every method as flags, because asking the
        methods for them imports torch.
    """
    app = typer.Typer(
        name="offnormal",
        epilog="Start with [bold]offnormal fit DATA.csv -o model.offnormal[/], then "
        "[bold]offnormal score model.offnormal DATA.csv -o scores.csv[/].",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["--help", "-h"]},
    )
    app.callback()(_root)
    named = next((word for word in arguments if word in COMMANDS), None)
    fitting = named == "fit" and COMPLETION_VARIABLE not in os.environ
    commands: dict[str, Callable[..., None]] = {
        "fit": flags.with_flags(fit.fit, flags.of_registered_methods() if fitting else ()),
        "score": score.score,
        "evaluate": evaluate.evaluate,
        "explain": explain.explain,
        "report": report.report,
        "threshold": threshold.threshold,
        "info": info.info,
        "methods": methods.methods,
        "bench": bench.bench,
    }
    for name, command in commands.items():
        app.command(name, cls=Command)(told_in_one_sentence(command))
    return app


def _choose_threads(arguments: Sequence[str]) -> None:
    """Set the number of threads before torch is loaded, which reads it once."""
    text = " ".join(arguments).replace("--threads=", "--threads ").split()
    if "--threads" in text[:-1] and text[text.index("--threads") + 1].isdigit():
        os.environ["OMP_NUM_THREADS"] = text[text.index("--threads") + 1]
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"offnormal {offnormal.__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", callback=_show_version, is_eager=True)
    ] = False,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Threads for the networks. Default: OMP_NUM_THREADS, else 1: small networks gain little from more, "
            "and on a busy machine two threads can be ten times slower than one.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Learn what is normal from unlabeled data and say what is not."""
