"""How many runs of a table are there, and what one of them takes."""

from __future__ import annotations

from typing import Any

from offnormal.bench.contenders import Contender
from offnormal.bench.coverage import Covered, covered
from offnormal.bench.jobs import cells
from offnormal.bench.protocols import CleanHalf
from offnormal.bench.table import Table

TOY = Table(
    "toy",
    "",
    "",
    ("cardio", "letter"),
    (CleanHalf(),),
    (
        Contender("trained", "aae"),
        Contender("another score", "aae", parameters={"score_by": "latent"}, scores_of="trained"),
        Contender("on a GPU", "vae"),
        Contender("never run", "memae"),
    ),
    3,
)


def records(row: str, seeds: int, *taken: float, device: str = "cpu") -> dict[str, list[dict[str, Any]]]:
    """Return runs of a row on the first data set, by fingerprint; the i-th took the i-th number of seconds."""
    (cell,) = cells(TOY, rows=[row], data=["cardio"])
    return {
        cell.fingerprint: [
            {"seed": seed, "fingerprint": cell.fingerprint, "fit_seconds": taken[seed] - 1, "score_seconds": 1.0,
             "device": device}
            for seed in range(seeds)
        ]
    }  # fmt: skip


def test_rows_tell_what_a_run_takes_and_what_is_left() -> None:
    kept = records("trained", 2, 10.0, 20.0) | records("another score", 1, 10.0)
    kept |= records("on a GPU", 1, 4.0, device="cuda:0")
    assert covered(TOY, kept) == [
        Covered("trained", 3, 6, 2, 15.0, False, 60.0),
        Covered("another score", 3, 6, 1, 10.0, False, 10.0),  # one of the trainings of the row above is over
        Covered("on a GPU", 3, 6, 1, 4.0, True, 20.0),
        Covered("never run", 3, 6, 0, None, False, None),
    ]


def test_a_run_on_the_processor_tells_more_than_one_on_a_gpu() -> None:
    kept = records("trained", 2, 10.0, 2.0)
    (made,) = kept.values()
    made[1]["device"] = "cuda"
    assert covered(TOY, kept)[0] == Covered("trained", 3, 6, 2, 10.0, False, 40.0)
