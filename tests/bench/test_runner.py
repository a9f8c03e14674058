"""Processes: what fails, dies or is killed costs its own run only, and a second start makes what is missing."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from offnormal.bench import records, runner
from offnormal.bench.contenders import Contender, Fitted
from offnormal.bench.datasets import VARIABLE, DataSet
from offnormal.bench.jobs import Cell, Job, cells
from offnormal.bench.protocols import Dagmm
from offnormal.bench.tables import DAGMM_TABLE

ROWS = ("PCA, 1 component", "PCA, 3 components", "k-NN", "isolation forest", "OC-SVM")


class Distance(Fitted):
    """The distance from zero; needs no torch, so that a worker starts quickly."""

    def __init__(self, rows: Any) -> None:
        self.parameters, self.rows, self.features, self.seconds = {}, len(rows), rows.shape[1], 0.0
        self.history, self.reconstruction_error, self.training_scores = {}, None, self.score(rows)

    def score(self, rows: Any) -> Any:
        return np.abs(rows).sum(1)


@dataclass(frozen=True)
class Fake(Contender):
    """Does in `fit` what its name says."""

    def fit(self, rows: Any, data: str, seed: int, *, fast: bool = False) -> Fitted:
        if self.name == "dies":
            os._exit(7)
        if self.name == "fails":
            raise ValueError("two\nlines")
        return Distance(rows)


def jobs(data: DataSet, *names: str) -> list[Job]:
    return [Job(Cell("toy", data, Dagmm(), Fake(name, "mahalanobis"), 1), 0) for name in names]


def test_a_run_that_fails_or_dies_is_recorded_and_the_others_go_on(toy: DataSet, tmp_path: Path) -> None:
    path, told = tmp_path / "toy.jsonl", []
    before = dict(os.environ)
    runner.run(
        jobs(toy, "first", "fails", "dies", "last"),
        path,
        workers=1,
        on_start=lambda job: told.append(("start", job.cell.contender.name)),
        on_record=lambda job, record: told.append(("record", record["contender"])),
    )
    assert dict(os.environ) == before
    assert told == [(what, name) for name in ("first", "fails", "dies", "last") for what in ("start", "record")]
    first, fails, dies, last = records.read(path)
    assert fails["error"] == "ValueError: two lines"
    assert dies["error"].startswith("the process ended with code 7")
    assert "error" not in first
    assert first["auroc"] == last["auroc"] > 0.9
    assert first["threads"] == 1


def test_runs_of_one_training_go_to_one_worker_and_fail_one_by_one(toy: DataSet, tmp_path: Path) -> None:
    cell = Cell("toy", toy, Dagmm(), Contender("energy", "dsebm", parameters={"epochs": 1}), 2)
    scores = {"score_by": "reconstruction"}
    other, broken = (Contender(name, "dsebm", parameters=scores, scores_of="energy") for name in ("error", "broken"))
    broken = replace(broken, parameters={"score_by": "nothing"})
    cells = [replace(cell, contender=contender) for contender in (cell.contender, other, broken)]
    every = [Job(cell, seed) for cell in cells for seed in (0, 1)]
    batches = runner.together(every)
    assert [[(job.cell.contender.name, job.seed) for job in batch] for batch in batches] == [
        [("energy", seed), ("error", seed), ("broken", seed)] for seed in (0, 1)
    ]
    told: list[str] = []
    path = tmp_path / "toy.jsonl"
    runner.run(
        batches[0],
        path,
        workers=2,
        on_start=lambda job: told.append(f"start {job.cell.contender.name}"),
        on_record=lambda job, record: told.append(record["contender"]),
    )
    assert told == ["start energy", "start error", "start broken", "energy", "error", "broken"]
    energy, error, failed = records.read(path)
    assert energy["fit_seconds"] == error["fit_seconds"]
    assert "score_by" in failed["error"]


def start(folder: Path, *more: str) -> subprocess.Popen[bytes]:
    words = ["bench", "run", "dagmm", "--fast", "--data", "thyroid", "--jobs", "1", "--results", str(folder), *more]
    words += [word for row in ROWS for word in ("--row", row)]
    return subprocess.Popen([sys.executable, "-m", "offnormal", *words], stderr=subprocess.DEVNULL)


def workers_of(process: subprocess.Popen[bytes]) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


@pytest.fixture
def thyroid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with numbers in the place of the real data set; returns a folder for the results."""
    draw = np.random.default_rng(0)
    (tmp_path / "data" / "tabular").mkdir(parents=True)
    y = (np.arange(1500) % 20 == 0).astype(np.int64)
    np.savez(tmp_path / "data" / "tabular" / "thyroid.npz", X=draw.normal(size=(1500, 6)) + 3 * y[:, None], y=y)
    monkeypatch.setenv(VARIABLE, str(tmp_path / "data"))
    return tmp_path / "results"


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs /proc")
def test_a_killed_run_goes_on_without_a_run_made_twice_and_with_the_same_figures(thyroid: Path) -> None:
    path = records.path_of(thyroid, "dagmm", fast=True)
    process = start(thyroid)
    while not records.read(path):
        assert process.poll() is None, "the run ended before its first record"
        time.sleep(0.005)
    workers = workers_of(process)
    process.kill()
    process.wait()
    kept = records.read(path)
    with path.open("a") as file:
        file.write('{"table": "dagmm", "se')
    assert start(thyroid).wait() == 0
    every = records.read(path)
    assert every[: len(kept)] == kept
    assert len(every) == len({(r["fingerprint"], r["seed"]) for r in every}) == 5
    assert all("error" not in record for record in every)

    every_cell = cells(DAGMM_TABLE, data=["thyroid"], rows=ROWS, fast=True)
    uninterrupted = [runner.attempt(Job(cell, 0)) for cell in every_cell]
    for figure in ("f1", "auroc", "cut_fpr"):
        assert [r[figure] for r in every] == pytest.approx([r[figure] for r in uninterrupted]), figure
    assert not [pid for pid in workers if runs_still(pid)], "a worker outlived its killed parent"


def runs_still(pid: int) -> bool:
    try:
        return b"multiprocessing" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
