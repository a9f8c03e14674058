"""Raw results: one file of JSON lines per table, only ever appended to."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from offnormal.errors import EnvironmentFailure

FOLDER = Path("benchmarks") / "results"


def path_of(folder: Path, table: str, *, fast: bool = False) -> Path:
    """Return where the records of a table are; those of fast runs are never among the others."""
    return folder / f"{table}{'.fast' if fast else ''}.jsonl"


def read(path: Path) -> list[dict[str, Any]]:
    """Return all records in order; a line that was cut off while it was written is left out."""
    if not path.is_file():
        return []
    stat = path.stat()
    return list(_read(path.absolute(), stat.st_size, stat.st_mtime_ns))


@functools.lru_cache(maxsize=256)
def _read(path: Path, size: int, changed: int) -> tuple[dict[str, Any], ...]:
    """Read a file as it is at this size and time of change: a page asks for every table's records many times."""
    records = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(record, dict):
            records.append(record)
    return tuple(records)


def read_all(folder: Path, *, fast: bool = False) -> list[dict[str, Any]]:
    """Return the records of every table in `folder`: a run that stands in two tables is made once."""
    paths = sorted(path for path in folder.glob("*.jsonl") if path.name.endswith(".fast.jsonl") == fast)
    return [record for path in paths for record in read(path) if "fingerprint" in record]


def by_fingerprint(every: Iterable[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return the records of each fingerprint, in their order."""
    found: dict[str, list[dict[str, Any]]] = {}
    for record in every:
        found.setdefault(record["fingerprint"], []).append(record)
    return found


def prepare(path: Path) -> None:
    """Create the folder and the file of a table's records, to learn before hours of work whether they can be written.

    Raises
    ------
    EnvironmentFailure
        If they cannot.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("ab").close()
    except OSError as error:
        reason = error.strerror or str(error)
        raise EnvironmentFailure(
            f"'{path.name}' cannot be written in the folder of results, '{path.parent}': {reason}."
        ) from error


def append(path: Path, record: Mapping[str, Any]) -> None:
    """Add one record and see that it is on the disk; a line that was cut off before is removed.

    Raises
    ------
    EnvironmentFailure
        If the file cannot be written.
    """
    line = json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            _remove_torn_line(file)
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise EnvironmentFailure(f"'{path}' could not be written: {error.strerror or error}.") from error


def _remove_torn_line(file: Any) -> None:
    size = file.seek(0, os.SEEK_END)
    if not size:
        return
    file.seek(size - 1)
    if file.read(1) == b"\n":
        return
    file.seek(0)
    file.truncate(file.read().rfind(b"\n") + 1)
