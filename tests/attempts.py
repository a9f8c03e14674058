"""In a process of its own: load and score altered copies of a model file, within limits of time, memory and manners.

    python attempts.py MODEL TABLE.parquet FOLDER COUNT SEED

Writes one JSON object: how many files had which outcome, and what went wrong.
"""

from __future__ import annotations

import faulthandler
import json
import os
import resource
import sys
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from fuzzing import mutations
from offnormal import io
from offnormal.detector import Detector
from offnormal.errors import ModelFileError, OffnormalError

SECONDS = 5
SPARE_BYTES = 2**30
RUNS_CODE = {
    "os.exec", "os.fork", "os.posix_spawn", "os.system", "pickle.find_class", "socket.connect", "subprocess.Popen",
}  # fmt: skip


class Attempts:
    """What the original gives, and how each altered copy compares."""

    def __init__(self, model: Path, table: Path) -> None:
        self.rows = pq.read_table(table)
        original = io.load(model)
        self.encoded = original.schema_.encode(self.rows)
        self.scores = original.anomaly_score(self.rows)
        original.explain(self.rows).reasons()
        self.wrong: list[str] = []

    def outcome(self, path: Path) -> str:
        try:
            io.info(path)
        except ModelFileError as error:
            self.judge(path, error)
        try:
            detector = io.load(path)
        except ModelFileError as error:
            self.judge(path, error)
            return "refused"
        try:
            same = self.compare(detector)
        except OffnormalError as error:
            self.judge(path, error)
            return "no scores"
        if not same:
            self.wrong.append(f"{path.name}: other scores")
        return "same scores"

    def compare(self, detector: Detector) -> bool:
        """Return whether the rows that still mean the same, of which there must be some, have the same scores."""
        detector.p_value(self.rows)
        detector.explain(self.rows[:3]).reasons()
        encoded, scores = detector.schema_.encode(self.rows), detector.anomaly_score(self.rows)
        same = ((encoded == self.encoded) | (np.isnan(encoded) & np.isnan(self.encoded))).all(axis=1)
        return bool(same.any()) and np.array_equal(scores[same], self.scores[same])

    def judge(self, path: Path, error: OffnormalError) -> None:
        if not 20 < len(str(error)) < 800 or "\n" in str(error):
            self.wrong.append(f"{path.name}: {str(error)[:900]!r}")


def main(model: Path, table: Path, folder: Path, count: int, seed: int) -> dict[str, Any]:
    attempts = Attempts(model, table)

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        writes = event == "open" and bool((arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
        if event in RUNS_CODE or (writes and not str(arguments[0]).startswith(str(folder))):
            attempts.wrong.append(f"{event} {arguments}")

    sys.addaudithook(watch)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + SPARE_BYTES,) * 2)
    warnings.simplefilter("ignore", UserWarning)  # columns that the altered model does not know
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcomes: Counter[str] = Counter()
    for path in mutations(model, folder, count, seed):
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        try:
            outcomes[attempts.outcome(path)] += 1
        except Exception as error:  # noqa: BLE001  which is what this looks for
            attempts.wrong.append(f"{path.name}: {type(error).__name__}: {error}"[:500])
        faulthandler.cancel_dump_traceback_later()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {"outcomes": outcomes, "wrong": attempts.wrong, "grown_kb": grown, "left": os.listdir(folder)}  # noqa: PTH208


if __name__ == "__main__":
    first, second, third = map(Path, sys.argv[1:4])
    sys.stdout.write(json.dumps(main(first, second, third, *map(int, sys.argv[4:]))))
