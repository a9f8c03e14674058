"""One run becomes one record: what was fitted and tested, every figure, what it cost, and how to repeat it."""

from __future__ import annotations

import os
import platform
import shlex
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import offnormal
from offnormal.bench import datasets
from offnormal.bench.contenders import Fitted
from offnormal.bench.jobs import Cell, Job
from offnormal.metrics import ranking
from offnormal.metrics.frames import frame_auroc, regularity
from offnormal.metrics.pixels import PixelCurves
from offnormal.thresholds import Contamination

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PRO_MAX_FPR = 0.3
"""False positive rate up to which the area under the curve of regions is taken."""
CUT_SHARE = 0.01
"""Share of the training scores beyond the label-free cut."""


def measured(job: Job) -> dict[str, Any]:
    """Make one run.

    Returns
    -------
    dict
        In JSON's types; see docs/benchmarks.md for the fields.
    """
    (record,) = measured_together([job])
    return record


def measured_together(jobs: Sequence[Job]) -> Iterator[dict[str, Any]]:
    """Make runs that need one training, with the score of each; yield their records in order."""
    _reset_peak_memory()
    first, seed = jobs[0].cell, jobs[0].seed
    rows = _Rows.of(first, seed)
    given = datasets.take(rows.every, rows.train)
    trained = first.contender.fit(given, first.data.name, seed, fast=first.fast)
    for job in jobs:
        contender = job.cell.contender
        fitted = trained if job is jobs[0] else contender.rescore(trained, given, first.data.name, seed)
        yield _record(job, fitted, rows)


class _Rows(NamedTuple):
    """The parts of a data set in a run: rows, their labels, which no fit sees, and the places of each part."""

    every: Any
    y: Ints
    train: Ints
    test: Ints
    valid: Ints

    @classmethod
    def of(cls, cell: Cell, seed: int) -> _Rows:
        every, y = datasets.load(cell.data)
        y = cell.protocol.anomalies(y)
        pool = cell.data.pool(y, seed, fast=cell.fast)
        split = cell.protocol.split(y[pool], seed)
        return cls(every, y, *(pool[part] for part in (*split, cell.protocol.validation(y[pool], seed))))


def _record(job: Job, fitted: Fitted, rows: _Rows) -> dict[str, Any]:
    protocol, data = job.cell.protocol, job.cell.data
    y_train, y_test = rows.y[rows.train], rows.y[rows.test]
    tested = datasets.take(rows.every, rows.test)
    started = time.process_time()
    scores = fitted.score(tested)
    score_seconds = time.process_time() - started
    oracle = {}
    if len(rows.valid):
        scores_valid = fitted.score(datasets.take(rows.every, rows.valid))
        oracle = protocol.oracle(y_test, scores, rows.y[rows.valid], scores_valid)
    return {
        **named(job),
        "parameters": fitted.parameters,
        "rows_given": len(y_train),
        "anomalies_given": int(y_train.sum()),
        "rows_fitted": fitted.rows,
        "features": fitted.features,
        "rows_tested": len(y_test),
        "anomalies_tested": int(y_test.sum()),
        **figures(y_test, scores, fitted.training_scores, protocol.flag_share(data.share, y_test)),
        **oracle,
        "mean_normal_score": float(scores[y_test == 0].mean()),
        "mean_anomaly_score": float(scores[y_test == 1].mean()),
        **fitted.memory_use(tested),
        **fitted.generator_state(),
        **(_pixel_figures(data, fitted, tested, rows) if data.masked else {}),
        **(_frame_figures(data, scores, rows) if data.frames else {}),
        "last_losses": fitted.history,
        "reconstruction_error": fitted.reconstruction_error,
        "fit_seconds": round(fitted.seconds, 3),
        "score_seconds": round(score_seconds, 3),
        "peak_memory_mb": _peak_memory_mb(),
        "device": fitted.device,
        **_hardware(fitted.device),
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
        "preset": cell.contender.preset_for(cell.data.name),
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


def _pixel_figures(data: datasets.DataSet, fitted: Fitted, tested: Any, rows: _Rows) -> dict[str, float]:
    """Return how well a contender's map finds the pixels of the defects, over all pixels of the test images together.

    Images of defects without a mask are left out. Empty for a contender that gives no map.
    """
    maps = fitted.maps(tested)
    if maps is None:
        return {}
    masks = datasets.masks(data)[rows.test]
    curves = PixelCurves()
    for place in np.flatnonzero((rows.y[rows.test] == 0) | masks.any((1, 2))):
        curves.add(maps[place], masks[place])
    return {
        "pixel_auroc": curves.auroc(),
        "pixel_average_precision": curves.average_precision(),
        "pro_area": curves.pro_area(PRO_MAX_FPR),
        "oracle_dice": curves.oracle_dice().dice,
    }


def _frame_figures(data: datasets.DataSet, scores: Floats, rows: _Rows) -> dict[str, float | int | None]:
    """Return the AUROC of frames in the three ways in use: pooled, per recording, and pooled after regularity.

    The last is the published codes': the errors of each recording are brought to [0, 1] by its own extremes, those of
    the test included, so that it is no score of a frame that comes alone.
    """
    numbers = datasets.videos(data)[rows.test]
    parts = [numbers == number for number in np.unique(numbers)]
    of_videos, labels = [scores[part] for part in parts], [rows.y[rows.test][part] for part in parts]
    plain = frame_auroc(of_videos, labels)
    regular = frame_auroc([1 - regularity(one) for one in of_videos], labels)
    return {
        "frame_auroc": plain.micro,
        "frame_auroc_per_video": plain.macro,
        "frame_auroc_by_regularity": regular.micro,
        "videos": plain.videos,
        "videos_of_one_class": plain.left_out,
    }


def _hardware(device: str) -> dict[str, str]:
    """Return what the seconds of a run depend on: the processor's name, and the GPU's if one was used."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    found = {"processor": names[0] if names else platform.processor() or platform.machine()}
    if device.startswith("cuda"):
        import torch

        found["gpu"] = torch.cuda.get_device_name(device)
    return found


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
