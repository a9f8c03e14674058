"""Labels in, numbers out. Imported by reports and the command line only: no label reaches training or thresholds.

`ranking` is for rows with labels, `pixels` for maps with masks, `frames` for videos with labels of frames.
"""

from offnormal.metrics.frames import FrameAuroc, frame_auroc, regularity
from offnormal.metrics.pixels import (
    Accuracies,
    Curve,
    PixelCurves,
    Segmentation,
    dice,
    image_accuracies,
    mean_region_overlap,
    pooled_dice,
    region_overlaps,
)

__all__ = [
    "Accuracies",
    "Curve",
    "FrameAuroc",
    "PixelCurves",
    "Segmentation",
    "dice",
    "frame_auroc",
    "image_accuracies",
    "mean_region_overlap",
    "pooled_dice",
    "region_overlaps",
    "regularity",
]
