"""The listed images as they are, as the model rebuilds them, and where they differ: evidence, then pictures for a page.

Pictures are PNG data URIs of few pixels, which the page enlarges without smoothing. Letters: n images, c h w channels,
height, width.
"""

from __future__ import annotations

import base64
import functools
import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offnormal.data.images import Images, ImageSchema, resized
from offnormal.errors import NotSupported
from offnormal.report.numerals import number
from offnormal.report.words import Words
from offnormal.residual_places import Place, places

Floats = NDArray[np.float64]
Bytes = NDArray[np.uint8]
Rows = NDArray[np.int64]
MaskOf = Callable[[int], "NDArray[np.bool_] | None"]
"""Number of an image -> the pixels that its mask marks, in the model's size; None without a mask."""

SIDE = 160
"""The longer side of a picture on the page, and the most pixels it has."""
SIDE_OF_FIVE = 144
"""The longer side where five pictures stand in a row."""
_FULL_SIZE_UP_TO = 20  # pictures beyond that get smaller, so that the page stays below 5 MB
_LEAST_SIDE = 48
_PLACES = 3
_STENCIL = (255, 150, 60)
_TICKS = (0.0, 0.25, 1.0)  # of the scale's end; the color goes by the square root, so they stand evenly


class ImageRows:
    """The images to report on, in the model's size; the counterpart of `evidence.Table`."""

    unknown: tuple[str, ...] = ()

    def __init__(self, X: Any, schema: ImageSchema) -> None:
        pixels = schema.encode(X)
        self.names = X.names if isinstance(X, Images) else tuple(map(str, range(len(pixels))))
        self.rows: Any = pixels if pixels.dtype != np.uint8 else Images(pixels, self.names)
        self.pixels = pixels

    def take(self, rows: Rows) -> Any:
        """Return the given images, in the given order, as the detector takes them."""
        return self.rows[rows]

    def bytes_of(self, rows: Rows) -> Bytes:
        """Return the pixels of the given images, uint8 (n, c, h, w)."""
        return _as_bytes(self.pixels[rows])

    @property
    def are_named(self) -> bool:
        """Return whether the names say more than the images' numbers."""
        return any(name != str(i) for i, name in enumerate(self.names))

    def of_one_color(self) -> int:
        """Return how many images have the same value in every pixel."""
        flat = self.pixels.reshape(*self.pixels.shape[:2], -1)
        return int((flat.min(axis=2) == flat.max(axis=2)).all(axis=1).sum())


@dataclass(frozen=True)
class Pictured:
    """The listed images.

    Attributes
    ----------
    inputs, rebuilt : ndarray of uint8, shape (n, c, h, w)
        `rebuilt` is None for a method that rebuilds nothing.
    maps : ndarray of float32, shape (n, h, w)
        The residual of each pixel; None for a method without.
    places : tuple of tuple of Place
        Of each image, where its residual lies.
    beyond : ndarray of bool, shape (n, h, w), or None
        The pixels beyond the cut, where the cut is one of pixels.
    marked : tuple of (ndarray of bool, shape (h, w), or None)
        The pixels that masks mark, of each image; empty where there are no masks.
    """

    inputs: Bytes
    rebuilt: Bytes | None
    maps: NDArray[np.float32] | None
    places: tuple[tuple[Place, ...], ...]
    beyond: NDArray[np.bool_] | None = None
    marked: tuple[NDArray[np.bool_] | None, ...] = ()


def pictured(detector: Any, rows: ImageRows, chosen: Rows, mask_of: MaskOf | None = None) -> Pictured:
    """Collect what is shown of the listed images."""
    picked = rows.take(chosen)
    maps = _if_supported(detector.residual_maps, picked)
    rebuilt = _if_supported(detector.reconstruct, picked)
    found = () if maps is None else tuple(places(one, _PLACES) for one in maps)
    beyond = _if_supported(detector.defect_masks, picked)
    marked = () if mask_of is None else tuple(mask_of(int(row)) for row in chosen)
    bytes_rebuilt = None if rebuilt is None else _as_bytes(rebuilt)
    return Pictured(rows.bytes_of(chosen), bytes_rebuilt, maps, found, beyond, marked)


def _if_supported(ask: Callable[[Any], Any], images: Any) -> Any:
    try:
        return ask(images)
    except NotSupported:
        return None


def _as_bytes(pixels: NDArray[Any]) -> Bytes:
    return pixels if pixels.dtype == np.uint8 else np.asarray((pixels * 255).round(), dtype=np.uint8)


# --- for the page -----------------------------------------------------------------------------------------------------


def shown(found: Pictured, names: tuple[str, ...], words: Words) -> dict[str, Any]:
    """Return the pictures of each listed image with their words, and the color scale of all residual maps."""
    _, _, height, width = found.inputs.shape
    side = picture_side(len(found.inputs))
    step = max(math.ceil(max(height, width) / side), 1)
    small = (math.ceil(height / step), math.ceil(width / step))
    peak = 0.0 if found.maps is None else float(found.maps.max(initial=0.0))
    shown_side = SIDE_OF_FIVE if found.beyond is not None and found.marked else SIDE
    return {
        "rows": [
            {"figures": _figures(found, i, small, step, peak, name, words), "places": _places(found, i, words)}
            for i, name in enumerate(names)
        ],
        "width": round(shown_side * width / max(height, width)) or 1,
        "height": round(shown_side * height / max(height, width)) or 1,
        "scale": None if found.maps is None else scale(peak, words),
        "note": None if found.maps is None else words("pictures.counted", height=height, width=width),
    }


def picture_side(n_images: int) -> int:
    """Return the most pixels along a side of a picture: fewer where there are many pictures."""
    return max(_LEAST_SIDE, int(SIDE * min(1.0, math.sqrt(_FULL_SIZE_UP_TO / max(n_images, 1)))))


def _figures(
    found: Pictured, i: int, small: tuple[int, int], step: int, peak: float, name: str, words: Words
) -> list[tuple[str, str, str]]:
    """Return (data URI, alternative text, caption) of each picture of one image."""
    figures = [(_photo(found.inputs[i], small), words("pictures.input_alt", name=name), words("pictures.input"))]
    if found.rebuilt is not None:
        alt = words("pictures.rebuilt_alt", name=name)
        figures.append((_photo(found.rebuilt[i], small), alt, words("pictures.rebuilt")))
    if found.maps is not None:
        alt = words("pictures.residual_alt", name=name, places="; ".join(_places(found, i, words)))
        figures.append((_heat(found.maps[i], step, peak), alt, words("pictures.residual")))
    if found.beyond is not None:
        share = f"{found.beyond[i].mean():.1%}"
        alt = words("pictures.beyond_alt", name=name, share=share)
        figures.append((_stencil(found.inputs[i], found.beyond[i], small, step), alt, words("pictures.beyond")))
    if found.marked and (mask := found.marked[i]) is not None:
        alt = words("pictures.marked_alt", name=name, share=f"{mask.mean():.1%}")
        figures.append((_stencil(found.inputs[i], mask, small, step), alt, words("pictures.marked")))
    return figures


def _places(found: Pictured, i: int, words: Words) -> list[str]:
    """Say where the residual of one image lies."""
    if found.maps is None:
        return []
    return [
        words(
            "pictures.place",
            rows=_span(place.top, place.bottom),
            columns=_span(place.left, place.right),
            share=f"{place.share:.0%}",
        )
        for place in found.places[i]
    ] or [words("pictures.spread")]


def _span(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}–{last}"


def scale(peak: float, words: Words) -> dict[str, Any]:
    """Return the legend: a strip of all colors and the residuals at its ends and in its middle."""
    ticks = [number(part * peak) for part in _TICKS]
    strip = np.arange(256, dtype=np.uint8)[None]
    return {
        "uri": _png(strip, palette=True),
        "alt": words("pictures.scale_alt", low=ticks[0], high=ticks[-1]),
        "ticks": ticks,
    }


def _photo(pixels: Bytes, small: tuple[int, int]) -> str:
    """Return an image (c, h, w) as a data URI; of four channels the first three."""
    image = resized(pixels[None, :3], small)[0]
    return _png(image[0] if len(image) == 1 else np.moveaxis(image, 0, 2))


def _stencil(pixels: Bytes, mask: NDArray[np.bool_], small: tuple[int, int], step: int) -> str:
    """Return an image in faint grey with the pixels of a mask in one color; where several make one, any of them."""
    rows, columns = (np.arange(0, length, step) for length in mask.shape)
    some = np.maximum.reduceat(np.maximum.reduceat(mask, rows, axis=0), columns, axis=1)
    grey = resized(pixels[None, :3], small)[0].mean(0)
    faint = np.repeat((90 + grey * 0.3)[:, :, None], 3, axis=2)
    return _png(np.where(some[:, :, None], np.array(_STENCIL), faint).astype(np.uint8))


def _heat(residuals: NDArray[np.float32], step: int, peak: float) -> str:
    """Return a map as a data URI; where several pixels make one, the greatest of them, so that no spot is lost."""
    rows, columns = (np.arange(0, length, step) for length in residuals.shape)
    greatest = np.maximum.reduceat(np.maximum.reduceat(residuals, rows, axis=0), columns, axis=1)
    return _png(levels(greatest, peak), palette=True)


def levels(residuals: Any, peak: float) -> Bytes:
    """Return the color of each residual, 0 to 255, by the square root of its part of the scale."""
    parts = np.clip(np.asarray(residuals, dtype=np.float64) / (peak or 1.0), 0.0, 1.0)
    return np.asarray((255 * np.sqrt(parts)).round(), dtype=np.uint8)


@functools.cache
def colors() -> Bytes:
    """Return the 256 colors of the scale, (256, 3): from near black by purple and orange to pale yellow.

    Lightness (L* of CIELAB) rises in even steps, so that the order is seen by everyone, in print too; hue only helps.
    """
    parts = np.linspace(0, 1, 256)
    lightness = 4 + 91 * parts
    hue = np.deg2rad(np.interp(parts, [0, 0.35, 0.65, 1], [290, 345, 410, 462]))
    chroma = np.interp(parts, [0, 0.35, 0.65, 1], [14, 54, 66, 30])
    return np.stack([_in_gamut(*one) for one in zip(lightness, chroma, hue, strict=True)])


def _in_gamut(lightness: float, chroma: float, hue: float) -> Bytes:
    """Return the sRGB color of one lightness and hue, with as much of the chroma as the screen has."""
    for part in np.linspace(1, 0, 101):
        linear = _linear_rgb(lightness, part * chroma * math.cos(hue), part * chroma * math.sin(hue))
        if (linear >= 0).all() and (linear <= 1).all():
            break
    linear = np.clip(linear, 0, 1)
    coded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray((255 * coded).round(), dtype=np.uint8)


def _linear_rgb(lightness: float, a: float, b: float) -> Floats:
    """Return linear sRGB of a CIELAB color under its white D65."""
    y = (lightness + 16) / 116
    f = np.array([y + a / 500, y, y - b / 200])
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * np.array([0.95047, 1.0, 1.08883])
    to_rgb = [[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]]
    return np.asarray(np.array(to_rgb) @ xyz, dtype=np.float64)


def _png(pixels: Bytes, *, palette: bool = False) -> str:
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(pixels))
    if palette:
        image.putpalette(colors().tobytes())
    stream = io.BytesIO()
    image.save(stream, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
