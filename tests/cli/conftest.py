"""One small table with labels, and a model trained on it through the command line."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from offnormal.cli import application

ROWS, ANOMALIES = 400, 20
COLUMNS = ("number", "amount", "speed", "country", "label")


@pytest.fixture(scope="session")
def run() -> Callable[..., Any]:
    """Run a command in this process, as `offnormal` would."""

    def run(*arguments: object, **options: Any) -> Any:
        words = [str(argument) for argument in arguments]
        return CliRunner().invoke(application(words), words, **options)

    return run


@pytest.fixture(scope="session")
def lines() -> list[list[str]]:
    """Rows as text: speed follows amount except in the last 20 rows, which are labeled attack."""
    rng = np.random.default_rng(5)
    amount = rng.normal(100, 20, ROWS)
    speed = amount / 2 + rng.normal(0, 1, ROWS)
    speed[-ANOMALIES:] += rng.choice([-1, 1], ANOMALIES) * rng.uniform(30, 60, ANOMALIES)
    country = rng.choice(["KR", "DE", "FR"], ROWS, p=[0.6, 0.3, 0.1])
    return [
        [f"{i:05d}", f"{amount[i]:.3f}", f"{speed[i]:.3f}", country[i], "benign" if i < ROWS - ANOMALIES else "attack"]
        for i in range(ROWS)
    ]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the files that all tests only read."""
    return tmp_path_factory.mktemp("cli")


@pytest.fixture(scope="session")
def data(folder: Path, lines: list[list[str]]) -> Path:
    """The table with a header row."""
    path = folder / "data.csv"
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([COLUMNS, *lines])
    return path


@pytest.fixture(scope="session")
def headless(folder: Path, lines: list[list[str]]) -> Path:
    """The table without a header row."""
    path = folder / "headless.csv"
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows(lines)
    return path


@pytest.fixture(scope="session")
def model(folder: Path, data: Path, run: Callable[..., Any]) -> Path:
    """A PCA model of the benign rows."""
    path = folder / "model.offnormal"
    roles = ("--id", "number", "--label", "label", "--train-where", "label=benign")
    result = run("fit", data, "-o", path, "--method", "pca", *roles, "--quiet")
    assert result.exit_code == 0, result.output
    return path
