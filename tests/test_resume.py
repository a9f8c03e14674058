"""A fit that is killed outright and resumed gives the model of a fit that was not, bit for bit."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import offnormal
from offnormal import DAGMM
from offnormal.errors import ModelFileError

SCRIPT = """
import sys
from pathlib import Path
import numpy as np
import offnormal
rows = np.random.default_rng(0).normal(size=(300, 6))
detector = offnormal.DAGMM(epochs=150, batch_size=64, calibration="folds")
detector.fit(rows, checkpoint=Path(sys.argv[1]), resume=True)
offnormal.save(detector, sys.argv[2])
"""


def start(folder: Path, model: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", SCRIPT, str(folder), str(model)])


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["final", "fold-2-of-5"])
def test_sigkill_and_resume(tmp_path: Path, stage: str) -> None:
    whole, killed = tmp_path / "whole.offnormal", tmp_path / "killed.offnormal"
    uninterrupted = start(tmp_path / "whole", whole)
    folder = tmp_path / "killed"
    process = start(folder, killed)
    checkpoint = folder / f"{stage}.checkpoint"
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert checkpoint.exists()
    assert not killed.exists()
    assert start(folder, killed).wait() == 0
    assert uninterrupted.wait() == 0
    first, second = offnormal.load(whole), offnormal.load(killed)
    for name, tensor in first.scorer_.state_dict().items():
        assert np.array_equal(tensor.numpy(), second.scorer_.state_dict()[name].numpy()), name
    assert np.array_equal(first.calibration_.scores, second.calibration_.scores)
    assert first.threshold_ == second.threshold_
    assert folder.exists(), "what was trained is kept until the caller has saved it"


def test_a_checkpoint_of_other_rows_or_parameters_is_refused(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(60, 3))
    folder = tmp_path / "state"

    class StopError(Exception):
        pass

    def stop(_: object) -> None:
        raise StopError

    detector = DAGMM(epochs=3, calibration="folds", early_stopping=False)

    def stop_in_a_fold(progress: object) -> None:
        if "fold" in getattr(progress, "stage", ""):
            raise StopError

    with pytest.raises(StopError):
        detector.fit(rows, checkpoint=folder, on_progress=stop_in_a_fold)
    with pytest.raises(ModelFileError, match="other data or other parameters"):
        detector.fit(rows + 1, checkpoint=folder, resume=True)
    with pytest.raises(ModelFileError, match="other data or other parameters"):
        DAGMM(epochs=4, calibration="folds", early_stopping=False).fit(rows, checkpoint=folder, resume=True)
    assert folder.exists(), "a refusal loses nothing"
