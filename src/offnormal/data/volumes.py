"""Volumes of scanners: a NIfTI or NumPy file, or an array, becomes axial slices, grey images within [0, 1].

NIfTI files are read by nibabel, which is not a dependency: `pip install 'offnormal[medical]'`. Letters: s slices, h w
height and width in pixels.
"""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from offnormal.data.pixel_arrays import MOST_VALUES
from offnormal.errors import DataError, EnvironmentFailure, FileUnreadable, InvalidParameter

Slices = NDArray[np.float32]
Mask = NDArray[np.bool_]

CLIP_PERCENTILE = 99.8
"""Brighter voxels than this percentile of the volume are cut off: a few of them are no tissue. The study's."""
MOST_VOXELS = 2**29
"""Most voxels of one volume; a file of a few kilobytes may claim any number."""
NIFTI_SUFFIXES = (".nii", ".nii.gz")


def read_volume(
    path: str | Path,
    *,
    slices: tuple[int, int] | None = None,
    size: int | tuple[int, int] | None = None,
    clip_percentile: float = CLIP_PERCENTILE,
) -> Slices:
    """Read one scan as axial slices within [0, 1]: images for `fit` and `anomaly_score`.

    Parameters
    ----------
    path : str or Path
        `.nii` or `.nii.gz`, turned so that slices go from the feet to the head, the front is up and the patient's left
        is on the right; or `.npy` with an array (slices, height, width), taken as it lies.
    slices : (first, end) or None
        Which slices, counted from 0, the end left out, as in Python; None: all.
    size : int, (height, width) or None
        Resize the slices to this.
    clip_percentile : float
        In (0, 100], of all voxels of the whole volume.

    Returns
    -------
    array of float32, shape (s, h, w)

    Raises
    ------
    InvalidParameter
        If `slices`, `size` or `clip_percentile` cannot be.
    DataError, FileUnreadable
        If the file cannot be used; it is named.
    EnvironmentFailure
        If nibabel is missing, or the file may not be read.
    """
    voxels = _voxels(Path(path))
    try:
        return as_slices(voxels, slices=slices, size=size, clip_percentile=clip_percentile)
    except DataError as error:
        raise DataError(f"The volume '{path}' cannot be used. {error}") from None


def read_mask(
    path: str | Path, *, slices: tuple[int, int] | None = None, size: int | tuple[int, int] | None = None
) -> Mask:
    """Read a mask of a brain or of lesions, turned as `read_volume` turns its scan, (s, h, w): what is above 0.

    Resized, a pixel is in the mask if at least half of it was.
    """
    voxels = _voxels(Path(path))
    try:
        return as_mask(voxels, slices=slices, size=size)
    except DataError as error:
        raise DataError(f"The mask '{path}' cannot be used. {error}") from None


def as_slices(
    voxels: Any,
    *,
    slices: tuple[int, int] | None = None,
    size: int | tuple[int, int] | None = None,
    clip_percentile: float = CLIP_PERCENTILE,
) -> Slices:
    """Return the slices of a volume (s, h, w) within [0, 1], float32: clipped, shifted and scaled as a whole.

    The least voxel becomes 0, the percentile 1, before slices are chosen, so that the choice changes no value.
    """
    if not 0 < clip_percentile <= 100:
        raise InvalidParameter(f"clip_percentile must lie within (0, 100]; got {clip_percentile}.")
    volume = _checked(voxels)
    lowest, highest = float(volume.min()), float(np.percentile(volume, clip_percentile))
    if highest <= lowest:
        raise DataError(f"Nearly all its voxels have one value, {lowest:g}: there is nothing to see.")
    chosen = (_chosen(volume, slices) - lowest) / (highest - lowest)
    return _resized(chosen.clip(0, 1).astype(np.float32), size)


def as_mask(voxels: Any, *, slices: tuple[int, int] | None = None, size: int | tuple[int, int] | None = None) -> Mask:
    """Return where a volume (s, h, w) is above 0, as `read_mask` does."""
    inside = (_chosen(_checked(voxels), slices) > 0).astype(np.float32)
    return np.asarray(_resized(inside, size) >= 0.5)


# --- files ------------------------------------------------------------------------------------------------------------


def _voxels(file: Path) -> NDArray[Any]:
    """Return the voxels of a file, slices first."""
    if not file.is_file():
        raise DataError(f"There is no file '{file}'.")
    name = file.name.lower()
    try:
        if name.endswith(".npy"):
            return _from_numpy(file)
        if name.endswith(NIFTI_SUFFIXES):
            return _from_nifti(file)
    except MemoryError:
        raise EnvironmentFailure(f"There is not enough memory for the volume '{file}'.") from None
    except OSError as error:
        if isinstance(error, EnvironmentFailure) or error.errno is None:
            raise
        raise EnvironmentFailure(f"The volume '{file}' could not be read: {error.strerror}.") from error
    raise FileUnreadable(f"'{file}' is not named like a volume: expected .nii, .nii.gz or .npy.")


def _from_numpy(file: Path) -> NDArray[Any]:
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)  # nothing is read before its size is known
    except (ValueError, EOFError):
        raise FileUnreadable(f"The file '{file}' is no array file, or damaged. Save it again with numpy.") from None
    if not isinstance(array, np.ndarray):
        raise FileUnreadable(f"The file '{file}' holds several arrays. Save one volume alone.")
    return array


def _from_nifti(file: Path) -> NDArray[Any]:
    try:
        nibabel: Any = importlib.import_module("nibabel")
    except ImportError:
        raise EnvironmentFailure(
            f"Reading '{file.name}' needs nibabel, which is not installed: pip install 'offnormal[medical]'."
        ) from None
    try:
        image = nibabel.load(file)
        shape = tuple(int(side) for side in image.shape)
        while len(shape) > 3 and shape[-1] == 1:
            shape = shape[:-1]
        if len(shape) != 3 or math.prod(shape) > MOST_VOXELS:
            sides = "×".join(map(str, shape))
            raise DataError(f"The file '{file}' holds {sides} voxels: expected one volume of three axes.")
        upright = nibabel.as_closest_canonical(image)  # axes: to the right, to the front, to the head
        values = np.asarray(upright.dataobj, dtype=np.float32).reshape(upright.shape[:3])
    except (DataError, MemoryError):
        raise
    except Exception as error:  # the reader has its own errors, and those of gzip and zlib
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = (str(error).splitlines() or [""])[0][:150] or type(error).__name__
        raise FileUnreadable(f"The file '{file}' is no NIfTI file, or damaged ({reason}).") from None
    return np.ascontiguousarray(values.transpose(2, 1, 0)[:, ::-1, ::-1])


# --- arrays -----------------------------------------------------------------------------------------------------------


def _checked(voxels: Any) -> NDArray[Any]:
    """Return a volume that can be scaled.

    Raises
    ------
    DataError
        If it is none, too large, or not finite.
    """
    array = np.asarray(voxels)
    if array.dtype.kind not in "buif" or array.ndim != 3 or 0 in array.shape:
        raise DataError(f"Expected numbers of shape (slices, height, width); got {array.dtype} of {array.shape}.")
    if array.size > MOST_VOXELS or math.prod(array.shape[1:]) > MOST_VALUES:
        raise DataError(f"It has {array.size:,} voxels; at most {MOST_VOXELS:,} are read.")
    array = array.astype(np.float32, copy=False)
    if not np.isfinite(array).all():
        raise DataError("It holds NaN or infinite voxels. Replace them, by the background say.")
    return array


def _chosen(volume: NDArray[Any], slices: tuple[int, int] | None) -> NDArray[Any]:
    if slices is None:
        return volume
    first, end = slices
    if not 0 <= first < end:
        raise InvalidParameter(f"slices must be (first, end) with 0 <= first < end; got {slices}.")
    if end > len(volume):
        raise DataError(f"Slices {first} to {end - 1} were asked for, and it has {len(volume)}, counted from 0.")
    return volume[first:end]


def _resized(volume: Slices, size: int | tuple[int, int] | None) -> Slices:
    """Resize each slice: bilinear with antialiasing; the aspect ratio is not kept."""
    if size is None:
        return np.ascontiguousarray(volume)
    sides = (size, size) if isinstance(size, int) else tuple(size) if isinstance(size, (tuple, list)) else ()
    whole = len(sides) == 2 and all(isinstance(side, int) and side > 0 for side in sides)
    if not whole or math.prod(sides) > MOST_VALUES:
        raise InvalidParameter(f"size must be a whole number, or height and width; got {size!r}.")
    if volume.shape[1:] == sides:
        return np.ascontiguousarray(volume)
    part = torch.from_numpy(np.require(volume, requirements=["C", "W"]))[:, None]
    part = interpolate(part, size=sides, mode="bilinear", antialias=True, align_corners=False)
    resized: Slices = part[:, 0].clamp(0, 1).numpy()
    return resized
