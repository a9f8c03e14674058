"""The whole program, mostly as a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import offnormal

HEAVY = ("torch", "sklearn", "pyarrow", "pandas", "polars", "numpy", "scipy")
IMPORTED = (
    "import sys, atexit, offnormal.cli\n"
    f"atexit.register(lambda: sys.stderr.write(repr([m for m in {HEAVY!r} if m in sys.modules])))\n"
    "sys.argv = ['offnormal', *sys.argv[1:]]\n"
    "sys.exit(offnormal.cli.main())\n"
)
COMPLETION = {"_OFFNORMAL_COMPLETE": "complete_bash"}


def process(*arguments, **options):
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | options.pop("env", {})
    command = [sys.executable, "-m", "offnormal.cli", *map(str, arguments)]
    return subprocess.run(command, env=environment, text=True, timeout=120, capture_output=True, check=False, **options)


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (["--help"], {}, "evaluate"),
        (["--version"], {}, "offnormal "),
        (["score", "--help"], {}, "--fdr"),
        ([], {**COMPLETION, "COMP_WORDS": "offnormal ", "COMP_CWORD": "1"}, "threshold"),
        ([], {**COMPLETION, "COMP_WORDS": "offnormal fit --tr", "COMP_CWORD": "2"}, "--train-where"),
    ],
)
def test_help_version_and_completion_import_nothing_heavy(arguments, environment, said):
    result = subprocess.run(
        [sys.executable, "-c", IMPORTED, *arguments],
        env=os.environ | environment,
        text=True,
        timeout=60,
        capture_output=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert said in result.stdout
    assert result.stderr == "[]"


def test_fit_help_has_the_shared_flags_and_says_where_the_others_are(run):
    result = run("fit", "--help", env={"COLUMNS": "200"})
    assert result.exit_code == 0
    for words in ("--scaling", "Hyper-parameters of every method", "--train-where", "offnormal methods KEY"):
        assert words in result.output
    assert result.output.count("--scaling") == 1
    assert "--latent-dim" not in result.output
    assert "--latent-dim" in run("methods", "dagmm", env={"COLUMNS": "200"}).output


def test_an_unknown_command_is_the_users_mistake():
    result = process("scroe")
    assert result.returncode == 2
    assert "Did you mean 'score'" in result.stderr
    assert "Traceback" not in result.stderr


def test_an_error_is_one_sentence_and_the_debug_variable_shows_more(data):
    result = process("threshold", data, "mad:3.5")
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert "which is data" in result.stderr
    assert "Traceback" in process("threshold", data, "mad:3.5", env={"OFFNORMAL_DEBUG": "1"}).stderr


@pytest.mark.parametrize(
    "arguments", [["methods", "dagmm"], ["score", "MODEL", "DATA", "-o", "-", "--reasons", "none", "-q"]]
)
def test_a_reader_that_stops_reading_is_no_error(model, data, arguments):
    words = [{"MODEL": str(model), "DATA": str(data)}.get(word, word) for word in arguments]
    command = [sys.executable, "-m", "offnormal.cli", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        running.stdout.close()
        assert running.stderr.read() == b""
        assert running.wait(60) == 0


def test_standard_input_to_standard_output(model, data):
    result = process("score", model, "-", "-o", "-", "--quiet", input=data.read_text())
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert len(result.stdout.splitlines()) == 401


def interrupted(arguments, checkpoint, signum):
    """Start a training, stop it by a signal after its first checkpoint; return the exit code and what it said."""
    program = (
        "import sys, offnormal.cli, offnormal.trainer\n"
        "offnormal.trainer.SECONDS_BETWEEN_CHECKPOINTS = 0.05\n"
        "sys.argv = ['offnormal', *sys.argv[1:]]\n"
        "sys.exit(offnormal.cli.main())\n"
    )
    command, environment = [sys.executable, "-c", program, *arguments], os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as running:
        deadline = time.monotonic() + 60
        while not any(checkpoint.glob("*.checkpoint")) and time.monotonic() < deadline:
            time.sleep(0.01)
        running.send_signal(signum)
        said = running.stderr.read()
        return running.wait(60), said


SETTINGS = ["--label", "label", "--id", "number", "--epochs", "300", "--calibration", "none", "--batch-size", "128"]
SETTINGS += ["--method", "dagmm", "--no-early-stopping", "--hidden-sizes", "4", "--json"]


@pytest.mark.slow
def test_an_interrupted_training_is_kept_and_goes_on(tmp_path, data, run):
    target, checkpoint = tmp_path / "m.offnormal", tmp_path / "m.offnormal.checkpoint"
    code, said = interrupted(["fit", str(data), "-o", str(target), *SETTINGS], checkpoint, signal.SIGINT)
    assert code == 130
    assert "Traceback" not in said
    assert said.splitlines()[-1].startswith("Interrupted in final · joint · epoch ")
    assert f"The training so far is in {checkpoint}" in said
    assert said.splitlines()[-1].endswith("--resume")
    assert not target.exists()

    result = run("fit", data, "-o", target, *SETTINGS, "--resume")
    assert result.exit_code == 0, result.output
    first = next(line for line in result.stderr.splitlines() if "epoch" in line)
    assert "epoch 1 of" not in first
    assert not checkpoint.exists()
    assert json.loads(result.stdout)["epochs"] == 300
    run("fit", data, "-o", tmp_path / "whole.offnormal", *SETTINGS)
    resumed, whole = offnormal.load(target), offnormal.load(tmp_path / "whole.offnormal")
    assert np.array_equal(resumed.training_scores_, whole.training_scores_)


@pytest.mark.slow
def test_termination_is_told_like_an_interruption(tmp_path, data):
    target = tmp_path / "m.offnormal"
    arguments = ["fit", str(data), "-o", str(target), *SETTINGS]
    code, said = interrupted(arguments, tmp_path / "m.offnormal.checkpoint", signal.SIGTERM)
    assert code == 130
    assert "go on with: offnormal fit" in said.splitlines()[-1]
