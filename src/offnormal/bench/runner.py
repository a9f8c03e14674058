"""Runs jobs in processes of their own, one thread each, and appends every finished one to the raw results.

Only this process writes. A worker that fails, or is killed, costs its one run: the record says so, and the run is tried
again the next time.
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
    waiting = deque(jobs)
    busy: dict[Any, tuple[_Worker, Job]] = {}
    team: list[_Worker] = []
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"  # the workers inherit it; torch reads it once, when it is imported
    try:
        team = [_Worker() for _ in range(min(workers, len(waiting)))]
        idle = list(team)
        while waiting or busy:
            while idle and waiting:
                worker, job = idle.pop(), waiting.popleft()
                on_start(job)
                worker.connection.send(job)
                busy[worker.connection] = worker, job
            for connection in wait(list(busy)):
                worker, job = busy.pop(connection)
                record = worker.answer(job)
                if not worker.process.is_alive():
                    team.remove(worker)
                    worker.end()
                    worker = _Worker()
                    team.append(worker)
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


class _Worker:
    """A process that makes one run after another."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs,), daemon=True)
        with _deaf_to_interrupts():
            self.process.start()
        theirs.close()

    def answer(self, job: Job) -> dict[str, Any]:
        """Return the record of the run, or one that says how the process ended."""
        try:
            record: dict[str, Any] = self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            record = _failed(job, f"the process ended with code {self.process.exitcode}; was it out of memory?")
        return record

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
            connection.send(attempt(connection.recv()))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def attempt(job: Job) -> dict[str, Any]:
    """Make one run; return its record, or one with "error" in words."""
    from offnormal.bench.measure import measured

    try:
        return measured(job)
    except Exception as error:  # noqa: BLE001  one failing run must not stop the others
        return _failed(job, f"{type(error).__name__}: {' '.join(str(error).split())}")


def _failed(job: Job, error: str) -> dict[str, Any]:
    from offnormal.bench.measure import named

    return {**named(job), "error": error}
