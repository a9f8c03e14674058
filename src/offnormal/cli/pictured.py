"""What `evaluate` says of images beyond their ranking: each kind by itself, and how well maps find marked pixels."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from offnormal.cli import maps, pictures
from offnormal.cli.console import answers, how_many, say
from offnormal.errors import DataError, EnvironmentFailure, NotSupported
from offnormal.metrics import ranking
from offnormal.metrics.pixels import PixelCurves

if TYPE_CHECKING:
    from offnormal.data.images import FilesToScore
    from offnormal.data.layouts import ImageFile
    from offnormal.detector import Detector

Array = np.ndarray[Any, Any]

MOST_FALSE = 0.3
"""The share of normal pixels up to which the area under the PRO curve is taken."""


def by_kind(
    detector: Detector, files: Sequence[ImageFile], y: Array, counted: Array, scores: Array
) -> list[dict[str, Any]]:
    """Return of each kind how many images there are, how many are flagged and, of anomalies, the AUROC.

    The AUROC of a kind is that of its images against all normal ones.
    """
    kinds = np.array([file.kind or "" for file in files])
    ordinary = counted & (y == 0)
    records = []
    for kind in sorted(set(kinds[counted]) - {""}):
        for odd in (False, True):
            here = counted & (kinds == kind) & (y == odd)
            if not here.any():
                continue
            both = ordinary | here
            records.append(
                {
                    "kind": str(kind),
                    "anomalous": odd,
                    "images": int(here.sum()),
                    "flagged": int((scores[here] > detector.threshold_.value).sum()),
                    "auroc": float(ranking.auroc(y[both], scores[both])) if odd else None,
                }
            )
    return sorted(records, key=lambda record: (record["anomalous"], record["kind"]))


def by_pixel(detector: Detector, rows: FilesToScore, y: Array, counted: Array, quiet: bool) -> dict[str, Any] | None:
    """Return how well the residual maps find the pixels that masks mark; None without masks or maps.

    One image after the other is counted and forgotten. Normal images have no anomalous pixels; anomalous ones without
    a mask that fits are left out. Masks are brought to the model's size: each pixel is what the mask has at its center.
    """
    marked = {place: file.mask for place, file in enumerate(rows.files) if y[place] and file.mask is not None}
    if not any(counted[place] for place in marked):
        return None
    try:
        maps.expect_maps(detector)
    except NotSupported as error:
        warnings.warn(f"{error} The masks are not used.", stacklevel=2)
        return None
    curves, size = PixelCurves(), rows.shape[1:]
    left_out: list[dict[str, str]] = []
    vanished = resized = 0
    for places, images in pictures.in_blocks(rows, quiet, "Comparing maps with masks"):
        for part, residuals in maps.in_parts(detector, images, np.flatnonzero(counted[places])):
            for place, residual in zip(places[part], residuals, strict=True):
                mask = np.zeros(size, dtype=bool)
                if y[place]:
                    found = _mask(rows, int(place), left_out)
                    if found is None:
                        continue
                    mask = _at_centers(found, size)
                    resized += found.shape != size
                    vanished += bool(found.any() and not mask.any())
                curves.add(residual, mask)
    if not curves.anomalous_pixels:
        reason = left_out[0]["reason"] if left_out else "none marks a pixel"
        warnings.warn(f"The masks cannot be used: {reason}", stacklevel=2)
        return None
    return {
        "auroc": float(curves.auroc()),
        "average_precision": float(curves.average_precision()),
        "pro_area": float(curves.pro_area(MOST_FALSE)),
        "max_fpr": MOST_FALSE,
        "images": curves.images,
        "regions": curves.regions,
        "size": list(size),
        "resized": "nearest" if resized else None,
        "vanished": vanished,
        "left_out": left_out,
    }


def warn_of_training_images(detector: Detector, rows: Any, y: Array, counted: Array) -> None:
    """Warn if the normal images are most likely those of training: as many, and not set apart as test images."""
    names: tuple[str, ...] = getattr(rows, "names", ())
    normal = int((counted & (y == 0)).sum())
    if names and not names[0].startswith("test/") and normal == len(detector.training_scores_):
        warnings.warn(
            f"The model was trained on {how_many(normal, 'image')}, as many as are normal here. If they are the same, "
            "the figures flatter: give normal images that training has not seen.",
            UserWarning,
            stacklevel=2,
        )


def labeled(rows: Any) -> bool:
    """Return whether the layout of some images says of each whether it is normal, and there are both kinds."""
    return {file.anomalous for file in getattr(rows, "files", ())} == {True, False}


def known_of(rows: Any, kept: Array) -> dict[str, Any]:
    """Return what the report can show of images in files: their kinds, and the pixels that masks mark."""
    if not hasattr(rows, "files"):
        return {}
    files = [rows.files[place] for place in kept]

    def mask_of(row: int) -> Array | None:
        found = None if files[row].mask is None else _mask(rows, int(kept[row]), [])
        return None if found is None else _at_centers(found, rows.shape[1:])

    return {"kinds": [file.kind for file in files], "mask_of": mask_of if any(file.mask for file in files) else None}


def _mask(rows: FilesToScore, place: int, left_out: list[dict[str, str]]) -> Array | None:
    """Return the mask of an anomalous image, or None with the reason noted."""
    from offnormal.data.images import read_mask

    file, reason = rows.files[place], "It has no mask."
    if file.mask is not None:
        try:
            found = read_mask(file.mask)
        except (DataError, EnvironmentFailure) as error:
            reason = str(error)
        else:
            if found.shape != rows.sizes[place]:
                sides = (f"{h}×{w}" for h, w in (found.shape, rows.sizes[place]))
                reason = "The mask '{}' has {} pixels and its image {}.".format(file.mask, *sides)
            elif found.any():
                return found
            else:
                reason = f"The mask '{file.mask}' marks no pixel, and the image is called anomalous."
    left_out.append({"image": file.name, "reason": reason})
    return None


def _at_centers(mask: Array, size: Sequence[int]) -> Array:
    """Return a mask of another size: the nearest pixel to each center."""
    down, right = (
        ((np.arange(wanted) + 0.5) * came / wanted).astype(np.int64)
        for wanted, came in zip(size, mask.shape, strict=True)
    )
    return mask[np.ix_(down, right)]


def tell(record: dict[str, Any]) -> None:
    """Say what `by_kind` and `by_pixel` found."""
    console = answers()
    for kind in record.get("kinds") or []:
        auroc = f", AUROC {kind['auroc']:.4f} against the normal ones" if kind["anomalous"] else ", normal"
        say(console, f"{kind['kind']}: {how_many(kind['images'], 'image')}{auroc}, {kind['flagged']:,} flagged")
    pixels = record.get("pixels")
    if not pixels:
        return
    height, width = pixels["size"]
    brought = f"; masks brought to {height}×{width}, nearest pixel" if pixels["resized"] else ""
    say(
        console,
        f"Pixels: AUROC {pixels['auroc']:.4f}, average precision {pixels['average_precision']:.4f}, PRO area up to "
        f"{pixels['max_fpr']:.0%} false {pixels['pro_area']:.4f} ({how_many(pixels['images'], 'image')}, "
        f"{how_many(pixels['regions'], 'marked region')}{brought})",
    )
    if pixels["vanished"]:
        say(console, f"At that size {how_many(pixels['vanished'], 'mask')} marks no pixel; the image counts as normal.")
    if pixels["left_out"]:
        first = pixels["left_out"][0]
        say(
            console,
            f"Pixels of {how_many(len(pixels['left_out']), 'anomalous image')} left out. The first, {first['image']}: "
            f"{first['reason']}",
        )
