"""How unusual each pixel is, and the score of an image that this makes: its greatest pixel, several, or a region.

The rule of regions is MVTec AD's (Bergmann, Fauser, Sattlegger, Steger, CVPR 2019, §4.2): a defect has a least area,
and the cut is raised until no good image has a region of that area beyond it. Turned round it is a score: the greatest
cut at which an image still has such a region. The cut on these scores is then the cut on pixels as well.

Letters: b rows, c t h w channels, frames, height, width.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from offnormal.method import Method, Reconstructs, ScoresPixels
from offnormal.networks.similarity import smoothing_matrix

Floats = NDArray[np.float32]
Masks = NDArray[np.bool_]
ToMaps = Callable[[Tensor], Tensor]
"""Model input (b, *shape) -> how unusual each pixel is, (b, h, w), of clips (b, t, h, w)."""

MAP_SCORES = ("auto", "own", "max", "top", "area")
CUT_ON_PIXELS = ("max", "area")
"""Those whose cut is a number of the map, so that it says which pixels are beyond it."""
REACH = 4
"""Standard deviations after which the Gaussian over a map ends."""
NEIGHBORS = np.ones((3, 3), dtype=bool)
"""Pixels that touch at a side or a corner are connected."""


def map_of(method: Method, shape: tuple[int, ...], *, sees_images: bool, smoothing: float = 0.0) -> ToMaps | None:
    """Return the map of a method for images of `shape`, (c, h, w) or (c, t, h, w); None if it has none.

    The method's own if it has one; otherwise the squared difference between the image and its reconstruction, summed
    over the channels. With `smoothing` above 0 a Gaussian of that standard deviation, in pixels, goes over it.
    """
    found: ToMaps
    if sees_images and isinstance(method, ScoresPixels):
        found = method.score_map
    elif isinstance(method, Reconstructs):
        found = partial(_squared_residuals, method, shape)
    else:
        return None
    return partial(_smoothed, found, smoothing) if smoothing > 0 else found


def _smoothed(to_maps: ToMaps, sigma: float, x: Tensor) -> Tensor:
    maps = to_maps(x)
    rows, columns = (smoothing_matrix(side, _gaussian(sigma, side, maps)) for side in maps.shape[-2:])
    return rows @ (maps @ columns.T)


def _gaussian(sigma: float, side: int, like: Tensor) -> Tensor:
    """Return the weights of a Gaussian that ends after `REACH` standard deviations, or at the side of the image."""
    reach = min(math.ceil(REACH * sigma), side - 1)
    places = torch.arange(-reach, reach + 1, dtype=like.dtype, device=like.device)
    weights = torch.exp(-0.5 * (places / sigma).square())
    return weights / weights.sum()


def _squared_residuals(method: Reconstructs, shape: tuple[int, ...], x: Tensor) -> Tensor:
    return (x - method.reconstruct(x).to(x.dtype)).square().reshape(len(x), *shape).sum(1)


@dataclass(frozen=True)
class MapScore:
    """One score of each map.

    Attributes
    ----------
    kind : {"max", "top", "area"}
        The greatest pixel; the mean of the `area` greatest; the greatest value that a connected region of `area`
        pixels reaches or exceeds. Of clips: the greatest of a frame's.
    area : int
        Pixels, at least 1; "max" has no use for it.
    """

    kind: str
    area: int

    def __call__(self, maps: Tensor) -> Tensor:
        """Return the scores (b,), float64, of maps (b, h, w) or (b, t, h, w)."""
        frames = maps.double().reshape(-1, *maps.shape[-2:])
        if self.kind == "area":
            found = [reached_by_region(frame, self.area) for frame in frames.cpu().numpy()]
            of_frames = torch.tensor(found, dtype=torch.float64, device=maps.device)
        else:
            area = self.area if self.kind == "top" else 1
            of_frames = frames.flatten(1).topk(area, dim=1).values.mean(1)
        return of_frames.reshape(len(maps), -1).amax(1)


def reached_by_region(residuals: NDArray[Any], area: int) -> float:
    """Return the greatest value at which a map (h, w) has a connected region of at least `area` pixels.

    Found by bisection over the values of the map: the lower the value, the larger the largest region.
    """
    descending = np.sort(residuals, axis=None)[::-1]
    holds, fails = len(descending) - 1, area - 2  # places in `descending`; at the least value all pixels are one region
    step = 1
    while fails + step < holds:  # most regions are compact: begin near the fewest pixels that could do
        place = fails + step
        if _largest_region(residuals >= descending[place]) >= area:
            holds = place
            break
        fails, step = place, 2 * step
    while holds - fails > 1:
        middle = (holds + fails) // 2
        if _largest_region(residuals >= descending[middle]) >= area:
            holds = middle
        else:
            fails = middle
    return float(descending[holds])


def beyond(maps: Floats, cut: float, score: MapScore) -> Masks:
    """Return which pixels are beyond the cut, the shape of `maps`; of "area", in regions of at least so many pixels."""
    masks: Masks = maps.astype(np.float64) > cut
    if score.kind == "area":
        frames = masks.reshape(-1, *masks.shape[-2:])  # a view
        for i, frame in enumerate(frames):
            frames[i] = _in_large_regions(frame, score.area)
    return masks


def _largest_region(mask: Masks) -> int:
    from scipy.ndimage import label

    labels, n_regions = label(mask, NEIGHBORS)
    return int(np.bincount(labels.ravel(), minlength=2)[1:].max()) if n_regions else 0


def _in_large_regions(mask: Masks, area: int) -> Masks:
    from scipy.ndimage import label

    labels, _ = label(mask, NEIGHBORS)
    large = np.bincount(labels.ravel()) >= area
    large[0] = False
    kept: Masks = large[labels]
    return kept
