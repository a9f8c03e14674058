"""One run becomes one record: what was fitted and tested, every figure, what it cost, and how to repeat it."""

from __future__ import annotations

import os
import platform
import shlex
import time
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import offnormal
from offnormal.bench import datasets
from offnormal.bench.jobs import Job
from offnormal.metrics import ranking
from offnormal.thresholds import Contamination

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CUT_SHARE = 0.01
"""Share of the training scores beyond the label-free cut."""


def measured(job: Job) -> dict[str, Any]:
    """Make one run.

    Returns
    -------
    dict
        In JSON's types; see docs/benchmarks.md for the fields.
    """
    _reset_peak_memory()
    cell, seed = job.cell, job.seed
    every_row, every_y = datasets.load(cell.data)
    pool = cell.data.pool(every_y, seed, fast=cell.fast)
    split = cell.protocol.split(every_y[pool], seed)
    train, test = pool[split.train], pool[split.test]
    y_test = every_y[test]

    fitted = cell.contender.fit(datasets.take(every_row, train), cell.data.name, seed, fast=cell.fast)
    started = time.process_time()
    scores = fitted.score(datasets.take(every_row, test))
    score_seconds = time.process_time() - started
    return {
        **named(job),
        "parameters": fitted.parameters,
        "rows_given": len(train),
        "anomalies_given": int(every_y[train].sum()),
        "rows_fitted": fitted.rows,
        "features": fitted.features,
        "rows_tested": len(test),
        "anomalies_tested": int(y_test.sum()),
        **figures(y_test, scores, fitted.training_scores, cell.protocol.flag_share(cell.data.share, y_test)),
        "last_losses": fitted.history,
        "reconstruction_error": fitted.reconstruction_error,
        "fit_seconds": round(fitted.seconds, 3),
        "score_seconds": round(score_seconds, 3),
        "peak_memory_mb": _peak_memory_mb(),
        "device": fitted.device,
        "threads": int(os.environ.get("OMP_NUM_THREADS", "0")),
        "versions": _versions(),
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def named(job: Job) -> dict[str, Any]:
    """Return the fields that say which run it is, and the command that repeats it."""
    cell = job.cell
    words = ["offnormal", "bench", "run", cell.table, "--data", cell.data.name, "--protocol", cell.protocol.name]
    words += ["--row", cell.contender.name, "--seed", str(job.seed), *(["--fast"] if cell.fast else [])]
    return {
        "table": cell.table,
        "data": cell.data.name,
        "protocol": cell.protocol.name,
        "contender": cell.contender.name,
        "key": cell.contender.key,
        "preset": None if cell.contender.preset is None else cell.contender.preset.format(data=cell.data.name),
        "seed": job.seed,
        "fingerprint": cell.fingerprint,
        "command": shlex.join(words),
    }


def figures(y: Ints, scores: Floats, training_scores: Floats, share: float) -> dict[str, Any]:
    """Return every figure of one run.

    Parameters
    ----------
    y : array of 0 and 1, shape (rows,)
        Of the test rows; 1 = anomaly.
    scores : array, shape (rows,)
        Of the test rows.
    training_scores : array
        Of fitted rows; they place the label-free cut.
    share : float
        Share of the test rows to flag.

    Returns
    -------
    dict
        precision, recall, f1, flagged and tied at the share (tied rows count by their expectation); auroc,
        average_precision; best_f1, an oracle; and the same at the label-free cut, with the false positive rate.
    """
    at_share = ranking.f1_at_share(y, scores, share, ties="split")
    cut = Contamination(max(CUT_SHARE, 1 / len(training_scores))).cut(np.empty(0), training_scores).value
    at_cut = ranking.f1_at_cut(y, scores, cut)
    beyond = scores > cut
    return {
        "share": share,
        "precision": at_share.precision,
        "recall": at_share.recall,
        "f1": at_share.f1,
        "flagged": at_share.flagged,
        "tied": at_share.tied,
        "auroc": ranking.auroc(y, scores),
        "average_precision": ranking.average_precision(y, scores),
        "best_f1": ranking.best_f1(y, scores).f1,
        "cut_precision": at_cut.precision,
        "cut_recall": at_cut.recall,
        "cut_f1": at_cut.f1,
        "cut_flagged": int(beyond.sum()),
        "cut_fpr": float(beyond[y == 0].mean()),
    }


def _versions() -> dict[str, str]:
    packages = {name: metadata.version(name) for name in ("torch", "numpy", "scikit-learn")}
    return {"offnormal": offnormal.__version__, "python": platform.python_version(), **packages}


def _reset_peak_memory() -> None:
    """Forget the peak of runs before this one in the process, where the system can (Linux)."""
    place = Path("/proc/self/clear_refs")
    if place.exists():
        place.write_text("5")


def _peak_memory_mb() -> int:
    """Return the greatest resident memory in MiB, the data set included."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) // 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
