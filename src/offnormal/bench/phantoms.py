"""Phantoms: volumes that look a little like axial FLAIR slices of a head without its skull, healthy or with lesions.

These are drawings, not brains. They have what makes the task hard: folds that differ from head to head, a bias field,
noise, and normal tissue as bright as lesions, so that a threshold on intensity does not find them. They have nothing of
anatomy, of scanners, of other diseases. An ordering of methods seen here is no evidence about patients.

Letters: s slices, h w height and width; u v across and along a slice, w up, all in half-axes of the head.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from offnormal.errors import InvalidParameter
from offnormal.random import numpy_generator

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

FLUID, WHITE, GREY, BRIGHT = 0.08, 0.42, 0.58, 0.80
"""Intensities of fluid, the two tissues, and what is normal and bright: ends of ventricles, patches of the cortex."""
NUCLEI = (0.64, 0.80)
"""Range of the intensities of the grey nuclei beside the ventricles; brighter than in life."""
LESION = (0.66, 0.82)
"""Range of the intensities of lesions: between grey matter and the brightest normal tissue."""
LESION_RADII = (3.0, 5.5)
"""In pixels of 64×64 slices."""
BIAS, NOISE = 0.12, 0.02
DARKEST_HEALTHY = 0.05
"""No pixel of the brain is darker; outside it everything is 0."""


@dataclass(frozen=True)
class Phantom:
    """One volume.

    Attributes
    ----------
    volume : array of float32, shape (s, h, w)
        Within [0, 1]; 0 outside the brain.
    brain, lesions : array of bool, shape (s, h, w)
    """

    volume: NDArray[np.float32]
    brain: Mask
    lesions: Mask


def phantom(seed: int, *, lesions: int = 0, slices: int = 20, side: int = 64, roughness: float = 1.0) -> Phantom:
    """Draw one head.

    Parameters
    ----------
    seed : int
        The same seed with more lesions is the same head with more lesions.
    lesions : int
        Bright ellipsoids in white matter; fewer if there is no place for so many.
    slices : int
        Through the middle of the head.
    side : int
        Height and width in pixels, at least 16.
    roughness : float
        How far folds, nuclei and ventricles of one head depart from those of the average head, at least 0; 1: as drawn
        first.

    Raises
    ------
    InvalidParameter
        If there is no slice, or they are too small.
    """
    if slices < 1 or side < 16 or lesions < 0 or not 0 <= roughness < np.inf:
        raise InvalidParameter(
            f"A phantom needs at least 1 slice of 16×16, 0 lesions and a roughness of 0; got {slices} of "
            f"{side}×{side}, {lesions} and {roughness}."
        )
    draw = numpy_generator(seed, "phantom")
    place = _Head(draw, slices, side, roughness)
    clean, white = place.tissue(draw)
    spots = numpy_generator(seed, "phantom", "lesions")
    found = _lesions(spots, white, lesions, side)
    for lesion in found:
        depth = ndimage.gaussian_filter(lesion.astype(float), (0.3, 0.7, 0.7))
        clean += depth * lesion * (spots.uniform(*LESION) - clean)
    light = 1 + BIAS * _smooth(draw, clean.shape, (slices / 2, side / 3, side / 3))
    noisy = clean * light + NOISE * draw.normal(size=clean.shape)
    volume = np.where(place.brain, noisy.clip(DARKEST_HEALTHY, 1), 0).astype(np.float32)
    union = np.any(found, axis=0) if found else np.zeros_like(place.brain)
    return Phantom(volume, place.brain, union)


class _Head:
    """The coordinates of one head: its half-axes, its turn and its place are drawn."""

    def __init__(self, draw: np.random.Generator, slices: int, side: int, roughness: float) -> None:
        self.slices, self.side, self.roughness = slices, side, roughness
        along, across = draw.uniform(0.78, 0.9), draw.uniform(0.62, 0.74)
        turn, (down, right) = draw.normal(0, 0.05), draw.normal(0, 0.02, 2)
        axis = np.linspace(-1, 1, side)
        y, x = axis[:, None] - down, axis[None, :] - right
        self.v = ((np.cos(turn) * y - np.sin(turn) * x) / along)[None]
        self.u = ((np.sin(turn) * y + np.cos(turn) * x) / across)[None]
        self.w = np.linspace(-0.4, 0.4, slices)[:, None, None] if slices > 1 else np.zeros((1, 1, 1))
        self.radius = np.sqrt(self.u**2 + self.v**2 + self.w**2)
        self.brain: Mask = self.radius < 1

    def tissue(self, draw: np.random.Generator) -> tuple[Floats, Mask]:
        """Return the intensities of healthy tissue, and where white matter is, both (s, h, w)."""
        fine = _smooth(draw, self.radius.shape, (1.2, self.side / 26, self.side / 26))
        coarse = _smooth(draw, self.radius.shape, (2.5, self.side / 12, self.side / 12))
        depth = 1 - self.radius + self.roughness * (0.09 * fine + 0.04 * coarse)
        white: Mask = self.brain & (depth > 0.27)
        grey = np.where(coarse > 1.1, BRIGHT, GREY + 0.04 * coarse)
        healthy = np.where(white, WHITE + 0.015 * coarse, grey)
        healthy = np.where(self.brain & (depth < 0.04), FLUID, healthy)  # furrows at the surface
        healthy = np.where(np.abs(self.u) < 0.035, np.where(depth < 0.38, FLUID, healthy), healthy)  # between halves
        nuclei = self._nuclei(draw, 0.02 * self.roughness * fine)
        healthy = np.where(nuclei < 1, draw.uniform(*NUCLEI) + 0.02 * coarse, healthy)
        wall = self._ventricles(draw, 0.02 * self.roughness * fine)
        healthy = np.where(wall < 1.35, np.where(np.abs(self.v) > 0.2, BRIGHT, GREY), healthy)  # their bright ends
        healthy = np.where(wall < 1, FLUID, healthy)
        return ndimage.gaussian_filter(healthy, (0, 0.5, 0.5)), white & (wall > 1.7) & (nuclei > 1.5)

    def _nuclei(self, draw: np.random.Generator, rough: Floats) -> Floats:
        """Return a measure that is below 1 in the two nuclei, (s, h, w)."""
        wide, long, apart, back = draw.uniform((0.08, 0.16, 0.34, -0.05), (0.12, 0.24, 0.40, 0.12))
        distance: Floats = ((np.abs(self.u) - apart) / wide) ** 2 + ((self.v - back) / long) ** 2
        return distance + (self.w / 0.6) ** 2 + 8 * rough

    def _ventricles(self, draw: np.random.Generator, rough: Floats) -> Floats:
        """Return a measure that is below 1 in the two ventricles, (s, h, w)."""
        wide, long, apart, bow = draw.uniform((0.06, 0.26, 0.10, 0.1), (0.10, 0.38, 0.16, 0.3))
        bent = np.abs(self.u) - apart - bow * self.v**2
        distance: Floats = (bent / wide) ** 2 + (self.v / long) ** 2 + (self.w / 0.5) ** 2 + 10 * rough
        return distance


def _lesions(draw: np.random.Generator, white: Mask, count: int, side: int) -> list[Mask]:
    """Return so many ellipsoids that lie in white matter for the greater part, each (s, h, w)."""
    places = np.argwhere(white)
    grid = np.indices(white.shape)
    found: list[Mask] = []
    for _ in range(20 * count):
        if len(found) == count or not len(places):
            break
        center = places[draw.integers(len(places))]
        radii = draw.uniform(*LESION_RADII, 3) * side / 64
        radii[0] = 0.6 * radii[0] * 64 / side  # slices are farther apart than pixels
        inside = sum(((grid[i] - center[i]) / radii[i]) ** 2 for i in range(3)) < 1
        if white[inside].mean() > 0.7:
            found.append(np.asarray(inside & white))
    return found


def _smooth(draw: np.random.Generator, shape: tuple[int, ...], widths: tuple[float, ...]) -> Floats:
    """Return noise that is smooth over these widths, mean 0 and standard deviation 1."""
    noise = ndimage.gaussian_filter(draw.normal(size=shape), widths, mode="wrap")
    scaled: Floats = (noise - noise.mean()) / noise.std()
    return scaled
