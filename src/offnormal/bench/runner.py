"""Runs jobs in processes of their own, one thread each, and appends every finished one to the raw results.

Only this process writes. A worker that fails, or is killed, costs its one run: the record says so, and the run is tried
again the next time. Runs that need one training, of rows that differ in the score, are made together by one worker.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from offnormal.bench import records
from offnormal.bench.jobs import Job

OnRecord = Callable[[Job, dict[str, Any]], None]
SECONDS_TO_END = 5.0


def run(jobs: Iterable[Job], path: Path, *, workers: int, on_start: Callable[[Job], None], on_record: OnRecord) -> None:
    """Make all runs, in the order given, and append their records to `path`.

    Parameters
    ----------
    jobs : iterable of Job
    path : Path
        The file of the table's records.
    workers : int
        Processes at a time, at least 1.
    on_start, on_record : callable
        Told of each run when it starts, and with its record when that is on the disk. A record with the key "error" is
        of a run that failed.
    """
    waiting = deque(together(jobs))
    busy: dict[Any, tuple[_Worker, list[Job]]] = {}
    team: list[_Worker] = []
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"  # the workers inherit it; torch reads it once, when it is imported
    try:
        team = [_Worker() for _ in range(min(workers, len(waiting)))]
        idle = list(team)
        while waiting or busy:
            while idle and waiting:
                worker, batch = idle.pop(), waiting.popleft()
                for job in batch:
                    on_start(job)
                worker.connection.send(batch)
                busy[worker.connection] = worker, batch
            for connection in wait(list(busy)):
                worker, batch = busy.pop(connection)
                found = worker.answer(batch)
                if not worker.process.is_alive():
                    team.remove(worker)
                    worker.end()
                    worker = _Worker()
                    team.append(worker)
                for job, record in zip(batch, found, strict=True):
                    records.append(path, record)
                    on_record(job, record)
                idle.append(worker)
    finally:
        for worker in team:
            worker.end()
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


def together(jobs: Iterable[Job]) -> list[list[Job]]:
    """Return the runs in their order, those of one training in one list."""
    batches: dict[tuple[Any, ...], list[Job]] = {}
    for job in jobs:
        batches.setdefault(job.training, []).append(job)
    return list(batches.values())


class _Worker:
    """A process that makes one run after another."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs,), daemon=True)
        with _deaf_to_interrupts():
            self.process.start()
        theirs.close()

    def answer(self, batch: list[Job]) -> list[dict[str, Any]]:
        """Return the records of the runs, or such that say how the process ended."""
        try:
            found: list[dict[str, Any]] = self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            error = f"the process ended with code {self.process.exitcode}; was it out of memory?"
            found = [_failed(job, error) for job in batch]
        return found

    def end(self) -> None:
        """End the process, at work or not."""
        self.process.terminate()
        self.process.join(SECONDS_TO_END)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.connection.close()


@contextlib.contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Let a process begun here ignore Ctrl-C from its first moment on: it reaches all, and only the first is to act."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _work(connection: Connection) -> None:
    """Make the runs that come through `connection` until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with contextlib.suppress(EOFError, OSError):
        while True:
            connection.send(attempts(connection.recv()))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def attempt(job: Job) -> dict[str, Any]:
    """Make one run; return its record, or one with "error" in words."""
    (record,) = attempts([job])
    return record


def attempts(batch: list[Job]) -> list[dict[str, Any]]:
    """Make runs that need one training; return their records, those that failed with "error" in words."""
    from offnormal.bench.measure import measured_together

    found: list[dict[str, Any]] = []
    try:
        for record in measured_together(batch):
            found.append(record)  # one by one: those before a failure count
    except Exception as error:  # noqa: BLE001  one failing run must not stop the others
        words = f"{type(error).__name__}: {' '.join(str(error).split())}"
        found += [_failed(job, words) for job in batch[len(found) :]]
    return found


def _failed(job: Job, error: str) -> dict[str, Any]:
    from offnormal.bench.measure import named

    return {**named(job), "error": error}
