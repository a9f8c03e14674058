"""`offnormal bench`: the list, a fast run, the page, and mistakes in one sentence."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from offnormal.bench import records, runner
from offnormal.bench.measure import named
from offnormal.bench.tables import TABLES
from offnormal.cli.bench_runs import RunProgress

Run = Callable[..., Any]
ROW = ("--data", "thyroid", "--row", "PCA, 1 component", "--jobs", 1)


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with numbers in the place of thyroid; returns a folder for the results."""
    (tmp_path / "data" / "tabular").mkdir(parents=True)
    y = (np.arange(400) % 10 == 0).astype(np.int64)
    rows = np.random.default_rng(0).normal(size=(400, 6)) + 3 * y[:, None]
    np.savez(tmp_path / "data" / "tabular" / "thyroid.npz", X=rows, y=y)
    monkeypatch.setenv("OFFNORMAL_DATA", str(tmp_path / "data"))
    return tmp_path / "results"


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the runs in this process."""

    def run(jobs: Any, path: Path, *, workers: int, on_start: Any, on_record: Any) -> None:
        for job in jobs:
            on_start(job)
            record = runner.attempt(job)
            records.append(path, record)
            on_record(job, record)

    monkeypatch.setattr(runner, "run", run)


def test_the_list_says_which_tables_there_are_and_what_is_done(run: Run, small: Path, inline: None) -> None:
    assert run("bench", "run", "dagmm", *ROW, "--results", small).exit_code == 0
    shown = run("bench", "--results", small)
    assert all(name in shown.stdout for name in TABLES)
    assert shown.stdout.endswith(f"results: {small}\n")
    assert "offnormal bench list TABLE shows the rows of one." in shown.stdout
    assert "PCA, 1 component" not in shown.stdout
    told = run("bench", "list", "dagmm", "--results", small).stdout
    assert re.search(r"PCA, 1 component\s*│ 5\s*│ 5 of 20\s*│ \d+\.\d s", told)
    assert re.search(r"^Missing runs of these rows: about \d+\.\d s of one core\.$", told, re.MULTILINE)
    assert re.search(r"^Of \d+ further rows no run is there, so their time is not known\.$", told, re.MULTILINE)
    listed = {t["table"]: t for t in json.loads(run("bench", "list", "--results", small, "--json").stdout)["tables"]}
    done = {row["row"]: (row["done"], row["runs"]) for row in listed["dagmm"]["rows"]}
    assert done["PCA, 1 component"] == (5, 20)
    assert done["k-NN"] == (0, 20)
    one = json.loads(run("bench", "list", "dagmm", "--results", small / "none", "--json").stdout)
    assert [table["table"] for table in one["tables"]] == ["dagmm"]
    assert one["results"] == str(small / "none")


def test_what_is_there_is_not_run_again(run: Run, small: Path, inline: None) -> None:
    first = run("bench", "run", "dagmm", *ROW, "--results", small, "--seeds", 2)
    assert "[2/2] thyroid, dagmm, 'PCA, 1 component', seed 1: F1" in first.stderr
    again = run("bench", "run", "dagmm", *ROW, "--results", small, "--seeds", 2)
    assert again.stderr == f"2 of 2 runs are there already: {small}\n"
    more = run("bench", "run", "dagmm", *ROW, "--results", small, "--seeds", 3, "--json")
    assert more.stderr.startswith("2 of 3 runs are there already:")
    assert "[1/1] thyroid, dagmm, 'PCA, 1 component', seed 2" in more.stderr
    path = small / "dagmm.jsonl"
    assert json.loads(more.stdout) == {"path": str(path), "made": 1, "failed": 0, "already": 2}
    assert run("bench", "run", "dagmm", *ROW, "--results", small, "--seed", 4, "--quiet").stderr == ""
    assert [r["seed"] for r in records.read(path)] == [0, 1, 2, 4]


def test_the_command_in_a_record_repeats_it(run: Run, small: Path, inline: None) -> None:
    import shlex

    run("bench", "run", "dagmm", *ROW, "--results", small, "--seed", 3)
    (record,) = records.read(small / "dagmm.jsonl")
    assert run(*shlex.split(record["command"])[1:], "--results", small / "again").exit_code == 0
    (again,) = records.read(small / "again" / "dagmm.jsonl")
    assert (again["fingerprint"], again["seed"], again["f1"]) == (record["fingerprint"], 3, record["f1"])


def test_fast_runs_go_elsewhere(run: Run, small: Path, inline: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(small.parent)
    result = run("bench", "run", "dagmm", *ROW, "--fast")
    assert result.exit_code == 0
    assert "dagmm.fast.jsonl" in result.stderr
    assert not (small.parent / "benchmarks").exists()


def test_the_page_is_written_and_checked(run: Run, small: Path, inline: None) -> None:
    run("bench", "run", "dagmm", *ROW, "--results", small)
    page = small / "page.md"
    assert run("bench", "page", "--results", small, "-o", page).exit_code == 0
    assert "*PCA, 1 component*" in page.read_text()
    again = run("bench", "page", "--results", small, "-o", page, "--json")
    assert again.stderr.startswith(f"Read: 5 records in {small}\n")
    written = [
        str(small / name) for name in ("page.md", "findings.md", "findings.ko.md", "choosing.md", "choosing.ko.md")
    ]
    assert json.loads(again.stdout) == {"results": str(small), "written": written, "checked": []}
    assert run("bench", "page", "--results", small, "-o", page, "--check").exit_code == 0
    page.write_text(page.read_text() + "typed")
    refused = run("bench", "page", "--results", small, "-o", page, "--check")
    assert refused.exit_code == 2
    assert "Run offnormal bench page" in refused.stderr


@pytest.mark.parametrize("name", ["findings.md", "findings.ko.md", "choosing.md", "choosing.ko.md"])
def test_the_other_pages_are_written_and_checked_beside_it(run: Run, small: Path, name: str) -> None:
    page = small / "page.md"
    records.append(small / "dagmm.jsonl", {"fingerprint": "of another time"})
    assert run("bench", "page", "--results", small, "-o", page).exit_code == 0
    (small / name).write_text("typed")
    refused = run("bench", "page", "--results", small, "-o", page, "--check")
    assert refused.exit_code == 2
    assert name in refused.stderr
    assert run("bench", "page", "--results", small, "-o", small / name).exit_code == 2


@pytest.mark.parametrize("name", ["page.md", "findings.md", "findings.ko.md", "choosing.ko.md"])
def test_a_file_of_somebody_s_own_is_never_replaced(run: Run, small: Path, name: str) -> None:
    records.append(small / "dagmm.jsonl", {"fingerprint": "of another time"})
    (small / name).write_text("# Findings\n\nWhat I found.\n")
    refused = run("bench", "page", "--results", small, "-o", small / "page.md")
    assert (refused.exit_code, len(refused.stderr.splitlines())) == (2, 1)
    assert f"'{small / name}' was not written by offnormal bench page" in refused.stderr
    assert (small / name).read_text() == "# Findings\n\nWhat I found.\n"
    assert len(list(small.iterdir())) == 2


def test_no_page_is_written_without_results(run: Run, small: Path) -> None:
    small.mkdir()
    page = small / "page.md"
    for folder, said in (("none", "There is no folder"), (".", "There is no record in the folder")):
        refused = run("bench", "page", "--results", small / folder, "-o", page)
        assert (refused.exit_code, refused.stderr.startswith(f"Error: {said} '{small / folder}'")) == (2, True)
    assert not list(small.iterdir())


def test_a_page_that_cannot_be_written_names_the_page(run: Run, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records.append(small / "dagmm.jsonl", {"fingerprint": "of another time"})

    def refuse(path: Path, *_: Any) -> Any:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "replace", refuse)
    refused = run("bench", "page", "--results", small, "-o", small / "page.md", "--quiet")
    assert refused.exit_code == 1
    assert refused.stderr == f"Error: '{small / 'page.md'}' could not be written: Permission denied.\n"


def test_a_failing_run_is_told_and_ends_in_1(run: Run, small: Path, inline: None) -> None:
    place = small.parent / "data" / "tabular" / "thyroid.npz"
    place.write_bytes(b"no numbers")
    result = run("bench", "run", "dagmm", *ROW, "--seeds", 1, "--results", small, "--json")
    assert result.exit_code == 1
    assert "'PCA, 1 component', seed 0: failed: " in result.stderr
    assert "0 runs made, 1 failed" in result.stderr
    assert json.loads(result.stdout)["failed"] == 1


@pytest.fixture
def never(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail if a run is started."""

    def run(*_: Any, **__: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(runner, "run", run)


def test_data_files_that_are_missing_are_told_before_any_run(run: Run, small: Path, never: None) -> None:
    result = run("bench", "run", "dagmm", "--row", "k-NN", "--results", small)
    assert result.exit_code == 2
    assert f"The folder of data sets, '{small.parent / 'data'}', has no file" in result.stderr
    assert "'tabular/arrhythmia.npz' (data set 'arrhythmia')" in result.stderr
    assert all(f"(data set '{name}')" in result.stderr for name in ("kddcup", "kddcup_rev"))
    assert "thyroid" not in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not small.exists()


def test_a_folder_of_results_that_cannot_be_written_is_told_before_any_run(run: Run, small: Path, never: None) -> None:
    small.write_text("a file in the place of the folder")
    result = run("bench", "run", "dagmm", *ROW, "--results", small / "sub")
    assert result.exit_code == 1
    assert f"cannot be written in the folder of results, '{small / 'sub'}'" in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run", "dagm"), "Did you mean 'dagmm'"),
        (("run", "dagmm", "--data", "thyriod"), "Did you mean 'thyroid'"),
        (("run", "dagmm", "--row", "kNN"), "Did you mean 'k-NN'"),
        (("rum", "dagmm"), "Did you mean 'run'"),
        (("run", "dagmm", "--data", "thyriod"), "Table 'dagmm' has no data set 'thyriod'."),
        (("run",), "needs the name of a bench table"),
        (("page", "dagmm"), "takes no table"),
        (("page", "-o", "-"), "names no file"),
        (("list", "dagm"), "Did you mean 'dagmm'"),
        (("dagmm",), "Did you mean offnormal bench run dagmm?"),
        (("run", "dagmm", "--row", "k-NN", "--seed", "5"), "has 5 runs of each of these rows at most, seeds 0 to 4"),
        (("run", "dagmm", "--seeds", "21"), "has 20 runs of each of these rows at most, seeds 0 to 19"),
        (("run", "dagmm", "--fast", "--seed", "1"), "has 1 run of each of these rows at most with --fast"),
        (("run", "dagmm", "--jobs", "0"), "it must be at least 1"),
        (("list", "dagmm", "--row", "k-NN"), "--row belongs to offnormal bench run"),
        (("page", "--fast"), "--fast belongs to offnormal bench run"),
        (("list", "--check"), "--check belongs to offnormal bench page"),
    ],
)
def test_mistakes_end_in_2(run: Run, small: Path, words: tuple[str, ...], said: str) -> None:
    result = run("bench", *words, "--results", small)
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.split())


def test_a_missing_data_folder_is_one_sentence(run: Run, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OFFNORMAL_DATA", str(small / "nowhere"))
    result = run("bench", "run", "dagmm", "--results", small)
    assert result.exit_code == 2
    assert "OFFNORMAL_DATA names" in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs /proc")
def test_ctrl_c_ends_all_quickly_and_says_how_to_go_on(small: Path) -> None:
    words = ["bench", "run", "dagmm", "--data", "thyroid", "--row", "DAGMM", "--jobs", "1", "--results", str(small)]
    process = subprocess.Popen(
        [sys.executable, "-m", "offnormal", *words], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while len(children.read_text().split()) < 2:  # the worker, and multiprocessing's own
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(0.2)
    os.killpg(process.pid, signal.SIGINT)
    started = time.monotonic()
    _, stderr = process.communicate(timeout=20)
    assert time.monotonic() - started < 5
    assert process.returncode == 130
    assert stderr == "Interrupted before a run of 20 ended: nothing is kept yet. The same command starts again.\n"
    assert len(stderr.splitlines()) == 1


def test_an_interruption_says_what_is_kept_and_which_command_goes_on(run: Run, small: Path, monkeypatch: Any) -> None:
    def one_and_stop(jobs: Any, path: Path, *, workers: int, on_start: Any, on_record: Any) -> None:
        on_start(jobs[0])
        on_record(jobs[0], {**named(jobs[0]), "error": "no"})
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "run", one_and_stop)
    stopped = run("bench", "run", "dagmm", *ROW, "--fast")
    assert stopped.exit_code == 130
    said = stopped.stderr.splitlines()[-1]
    assert said.startswith("Interrupted; 1 run of 1 made, 1 of them failed, and kept in ")
    path = Path(said.split("kept in ")[1].split(". The")[0])
    assert said.endswith(f"The same command with --results {path.parent} goes on from there.")


def test_the_time_left_goes_by_the_runs_of_the_same_row() -> None:
    from offnormal.bench.jobs import cells, missing

    todo = missing(cells(TABLES["dagmm"], data=["thyroid"], rows=["DAGMM", "k-NN"], seeds=2), [])
    kept = [
        {"data": "thyroid", "contender": "DAGMM", "fit_seconds": 99.0, "score_seconds": 1.0},
        {"data": "thyroid", "contender": "k-NN", "fit_seconds": 1.0, "score_seconds": 1.0},
    ]
    assert RunProgress(todo, kept, 2, True)._left() == "about 1 min 42 s left"


def test_seeds_and_seed_do_not_go_together(run):
    refused = run("bench", "run", "adbench", "--seeds", 2, "--seed", 0)
    assert refused.exit_code == 2
    assert "leave one out" in refused.stderr
