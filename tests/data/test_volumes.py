"""Volumes: slices within [0, 1] from arrays and files, whatever slices are chosen, and files that are refused."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from offnormal.data.volumes import as_mask, as_slices, read_mask, read_volume
from offnormal.errors import DataError, EnvironmentFailure, FileUnreadable, InvalidParameter

VOXELS = np.random.default_rng(0).gamma(2.0, 100.0, (6, 10, 12)) - 40


def test_scaling_is_of_the_whole_volume_by_its_percentile() -> None:
    slices = as_slices(VOXELS, clip_percentile=90)
    lowest, highest = VOXELS.min(), np.percentile(VOXELS, 90)
    np.testing.assert_allclose(slices, ((VOXELS - lowest) / (highest - lowest)).clip(0, 1), atol=1e-6)
    assert (slices.dtype, slices.min(), slices.max()) == (np.float32, 0, 1)
    assert np.array_equal(as_slices(VOXELS, clip_percentile=90, slices=(2, 5)), slices[2:5])
    np.testing.assert_allclose(as_slices(3 * VOXELS + 7, clip_percentile=90), slices, atol=1e-6)


def test_resizing_averages_and_keeps_the_range() -> None:
    small = as_slices(VOXELS, size=(5, 6))
    assert small.shape == (6, 5, 6)
    np.testing.assert_allclose(small.mean(), as_slices(VOXELS).mean(), rtol=0.02)
    assert as_slices(VOXELS, size=4).shape == (6, 4, 4)
    mask = as_mask(np.kron(np.eye(5), np.ones((2, 2)))[None], size=5)
    assert np.array_equal(mask[0], np.eye(5, dtype=bool))


def test_an_array_file_is_the_array(tmp_path: Path) -> None:
    np.save(tmp_path / "scan.npy", VOXELS)
    assert np.array_equal(read_volume(tmp_path / "scan.npy", size=8), as_slices(VOXELS.astype(np.float32), size=8))
    assert np.array_equal(read_mask(tmp_path / "scan.npy", slices=(1, 3)), VOXELS[1:3] > 0)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, -1)])
def test_a_nifti_file_is_turned_upright_however_it_lies(tmp_path: Path, suffix: str, flips: tuple[int, ...]) -> None:
    nibabel: Any = pytest.importorskip("nibabel")
    world = np.zeros((5, 6, 7), np.int16)  # to the right, to the front, to the head
    world[4, 5, 6], world[0, 0, 0] = 30, 10
    stored = world[:: flips[0], :: flips[1], :: flips[2]].swapaxes(0, 2)
    axes = np.diag([*flips, 1.0])[:, [2, 1, 0, 3]]
    nibabel.save(nibabel.Nifti1Image(stored, axes), tmp_path / f"scan{suffix}")
    slices = read_volume(tmp_path / f"scan{suffix}", clip_percentile=100)
    assert slices.shape == (7, 6, 5)
    assert slices[6, 0, 0] == 1, "top slice, front up, the patient's right at the left"
    assert slices[0, 5, 4] == pytest.approx(1 / 3)
    assert read_mask(tmp_path / f"scan{suffix}").sum() == 2


def test_without_nibabel_one_is_told_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nibabel", None)
    (tmp_path / "scan.nii.gz").write_bytes(b"scan")
    with pytest.raises(EnvironmentFailure, match=r"'scan.nii.gz' needs nibabel.*pip install 'offnormal\[medical\]'"):
        read_volume(tmp_path / "scan.nii.gz")


@pytest.mark.parametrize(
    ("voxels", "message"),
    [
        (VOXELS[0], r"slices, height, width\); got float64 of \(10, 12\)"),
        (VOXELS[:0], "got float64 of"),
        (VOXELS.astype(str), "Expected numbers"),
        (np.where(VOXELS > 400, np.nan, VOXELS), "NaN or infinite"),
        (np.ones((3, 4, 4)), "one value, 1"),
    ],
)
def test_arrays_that_cannot_be_used(voxels: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        as_slices(voxels)
    np.save(tmp_path / "scan.npy", voxels)
    with pytest.raises(DataError, match=rf"scan\.npy' cannot be used.*{message}"):
        read_volume(tmp_path / "scan.npy")


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    for name, content, error, message in (
        ("none.npy", None, DataError, "no file"),
        ("scan.png", b"x", FileUnreadable, r"expected \.nii"),
        ("scan.npy", b"scan", FileUnreadable, "no array file"),
        ("empty.npy", b"", FileUnreadable, "no array file"),
    ):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(error, match=message):
            read_volume(tmp_path / name)
    pytest.importorskip("nibabel")
    for name in ("scan.nii", "scan.nii.gz"):
        (tmp_path / name).write_bytes(b"scan")
        with pytest.raises(FileUnreadable, match=rf"{name}' is no NIfTI file, or damaged"):
            read_volume(tmp_path / name)


def test_numbers_that_cannot_be() -> None:
    for wrong, error in (
        ({"slices": (3, 3)}, InvalidParameter), ({"slices": (-1, 3)}, InvalidParameter),
        ({"slices": (0, 7)}, DataError),
        ({"size": 0}, InvalidParameter), ({"size": 2.5}, InvalidParameter),
        ({"size": (3, 4, 5)}, InvalidParameter), ({"size": 2**20}, InvalidParameter),
        ({"clip_percentile": 0}, InvalidParameter), ({"clip_percentile": 101}, InvalidParameter),
    ):  # fmt: skip
        with pytest.raises(error):
            as_slices(VOXELS, **wrong)  # type: ignore[arg-type]
