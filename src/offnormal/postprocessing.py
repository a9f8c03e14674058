"""From the residuals of a volume to lesions: what the comparative study of brain MRI does after the network.

Baur et al., Medical Image Analysis 69, 2021. Each step is a pure function of arrays of slices, (s, h, w), slices first:
residuals and intensities in any one unit, masks of booleans, sides and iterations in pixels. `cleaned` and `segmented`
run them in the study's order. Letters: s slices, h w height and width.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from offnormal.errors import DataError, InvalidParameter

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

EROSIONS = 12
"""Pixels taken off the edge of the brain, of slices of 128×128; scale it with the side."""
QUANTILE = 0.9
"""Of the intensities of a whole volume, background included: lesions are brighter in FLAIR."""
MEDIAN_SIDE = 5
FEWEST = 8
"""Voxels of the smallest component that is kept."""


def positive_residual(volume: Any, rebuilt: Any) -> Floats:
    """Return max(x − x̂, 0) of each voxel, what is brighter than it is rebuilt, (s, h, w)."""
    return np.maximum(_volume(volume, "volume") - _volume(rebuilt, "rebuilt"), 0.0)


def absolute_residual(volume: Any, rebuilt: Any) -> Floats:
    """Return |x − x̂| of each voxel, (s, h, w)."""
    return np.abs(_volume(volume, "volume") - _volume(rebuilt, "rebuilt"))


def eroded(mask: Any, iterations: int = EROSIONS) -> Mask:
    """Return the pixels whose every path of `iterations` steps up, down, left or right stays in the mask, (s, h, w).

    Slice by slice; beyond the border of a slice nothing is in the mask.
    """
    inside = np.asarray(_volume(mask, "mask") > 0)
    if iterations == 0:
        return inside
    if iterations < 0:
        raise InvalidParameter(f"iterations must be at least 0; got {iterations}.")
    cross = ndimage.generate_binary_structure(2, 1)[None]
    worn: Mask = ndimage.binary_erosion(inside, cross, iterations=iterations)
    return worn


def above_quantile(residual: Any, intensities: Any, q: float = QUANTILE) -> Floats:
    """Return the residual, zero where the intensity is below its `q` quantile over the whole volume, (s, h, w)."""
    if not 0 <= q <= 1:
        raise InvalidParameter(f"q must lie within [0, 1]; got {q}.")
    values = _volume(intensities, "intensities")
    return np.where(values < np.quantile(values, q), 0.0, _volume(residual, "residual"))


def median_filtered(volume: Any, side: int = MEDIAN_SIDE) -> Floats:
    """Return the median of the cube of `side`³ voxels about each voxel, (s, h, w); beyond the border it is mirrored."""
    if side < 1 or side % 2 == 0:
        raise InvalidParameter(f"side must be odd, at least 1; got {side}.")
    filtered: Floats = ndimage.median_filter(_volume(volume, "volume"), size=side, mode="reflect")
    return filtered


def without_small_components(mask: Any, fewest: int = FEWEST) -> Mask:
    """Return the mask without its components of fewer than `fewest` voxels, (s, h, w).

    Voxels that touch by a face, an edge or a corner are of one component (26 neighbors). The study counts enclosed
    holes too; so small a component has none.
    """
    labels, _ = ndimage.label(np.asarray(_volume(mask, "mask") > 0), structure=np.ones((3, 3, 3)))
    kept = np.bincount(labels.ravel()) >= fewest
    kept[0] = False
    return np.asarray(kept[labels])


def cleaned(
    volume: Any,
    rebuilt: Any,
    brain: Any = None,
    *,
    hyperintense: bool = True,
    erosions: int = EROSIONS,
    quantile: float | None = QUANTILE,
    median_side: int = MEDIAN_SIDE,
) -> Floats:
    """Return the residual of a volume after every step before the threshold, (s, h, w), at least 0.

    Parameters
    ----------
    volume, rebuilt : array, shape (s, h, w)
        The slices of one scan, and as the network rebuilds them.
    brain : array of bool, shape (s, h, w), or None
        None: no mask.
    hyperintense : bool
        Keep only what is brighter than rebuilt; False: the absolute residual.
    erosions : int
        Pixels taken off the edge of the mask; 0: the mask as it is.
    quantile : float or None
        Of the intensity, below which the residual is set to zero; None: no such prior.
    median_side : int
        Of the cube of the median filter; 1: no filter.
    """
    residual = (positive_residual if hyperintense else absolute_residual)(volume, rebuilt)
    if brain is not None:
        residual = residual * eroded(brain, erosions)
    if quantile is not None:
        residual = above_quantile(residual, volume, quantile)
    return median_filtered(residual, median_side) if median_side != 1 else residual


def segmented(residual: Any, threshold: float, *, fewest: int = FEWEST) -> Mask:
    """Return the voxels whose cleaned residual is above the threshold, small components left out, (s, h, w).

    Parameters
    ----------
    residual : array, shape (s, h, w)
        As `cleaned` gives it.
    threshold : float
        In the unit of the residual. The study's default is the one of greatest Dice on the test volumes themselves: an
        upper bound, for comparison. For use, take it from volumes that are not tested.
    fewest : int
        Voxels of the smallest component that is kept; 1: all.
    """
    above = np.asarray(_volume(residual, "residual") > threshold)
    return without_small_components(above, fewest) if fewest > 1 else above


def _volume(values: Any, name: str) -> Floats:
    """Return an array of three axes as float64.

    Raises
    ------
    DataError
        If it has other axes.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 3:
        raise DataError(f"{name} must have three axes, (slices, height, width); got shape {array.shape}.")
    return array
