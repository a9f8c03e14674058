from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from offnormal.cli.progress import TrainingProgress, counting, numbers, where, working


@dataclass
class Report:
    """As `offnormal.trainer.Progress`, without torch."""

    epoch: int = 1
    batch: int = 1
    phase: str = "joint"
    stage: str = "final"
    epochs: int = 40
    batches: int = 5
    rows_per_second: float = 12_345.6
    eta_seconds: float = 75.0
    terms: dict[str, float] = field(default_factory=lambda: {"energy": 1.23456, "reconstruction": 0.5})


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def shown(capsys: pytest.CaptureFixture[str]) -> list[str]:
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.splitlines()


def test_a_line_says_phase_epoch_loss_terms_speed_and_time_left(capsys):
    with TrainingProgress(False, live=False) as progress:
        progress(Report(epoch=3))
    (line,) = shown(capsys)
    assert line == ("final · joint · epoch 3 of 40: energy 1.235, reconstruction 0.5, 12,346 rows/s, 1 min 15 s left")
    assert "12,346 images/s" in numbers(Report(), "image")


def test_lines_come_at_intervals_at_new_phases_and_at_the_end(capsys):
    clock = Clock()
    with TrainingProgress(False, live=False, line_seconds=10, clock=clock) as progress:
        for epoch in range(1, 41):
            clock.now += 1
            progress(Report(epoch=epoch, batch=5))
        progress(Report(epoch=1, phase="second"))
        progress(Report(epoch=1, phase="second", batch=2))
    lines = shown(capsys)
    assert [line.partition(":")[0].rpartition("epoch ")[2] for line in lines] == [
        "1 of 40",
        "11 of 40",
        "21 of 40",
        "31 of 40",
        "40 of 40",
        "1 of 40",
    ]


def test_quiet_is_silent_but_remembers_where_it_is(capsys):
    with TrainingProgress(True, live=True) as progress:
        progress(Report(epoch=7))
    assert shown(capsys) == []
    assert progress.last.epoch == 7


def test_the_live_bar_draws_and_leaves_the_terminal(capsys):
    with TrainingProgress(False, live=True) as progress:
        progress(Report(epoch=2))
        progress(Report(epoch=40, batch=5))
    captured = capsys.readouterr()
    assert captured.out == ""


def test_the_live_bar_counts_all_epochs():
    with TrainingProgress(False, live=True) as progress:
        progress(Report(epoch=3, batch=2))
        (task,) = progress._bar.bar.tasks
        assert (task.completed, task.total) == (12, 200)


def test_numbers_leave_out_what_is_not_known():
    assert numbers(Report(rows_per_second=0, eta_seconds=float("inf"), terms={})) == ""
    assert where(Report(stage="")) == "joint · epoch 1 of 40"


def test_working_says_what_is_done_unless_quiet(capsys):
    with working("Reading x.csv", quiet=False):
        pass
    with working("Reading y.csv", quiet=True):
        pass
    assert shown(capsys) == ["Reading x.csv ..."]


def test_counting_shows_lines_at_intervals(capsys):
    clock = Clock()
    with counting("Finding reasons", 3_000, quiet=False, clock=clock) as advance:
        for _ in range(3):
            clock.now += 5
            advance(1_000)
    assert shown(capsys) == [
        "Finding reasons ...",
        "Finding reasons: 2,000 of 3,000 rows, 200 rows/s, 5.0 s left",
    ]


def test_quiet_counting_is_silent(capsys):
    with counting("Finding reasons", 3, quiet=True) as advance:
        advance(3)
    assert shown(capsys) == []
