"""Draw two single cases of docs/findings.md: a shared code, and what a memory rebuilds.

    python benchmarks/cases.py                     # docs/figures/same_code.svg and memory.svg, under two minutes
    python benchmarks/cases.py --only same_code

One thread and a fixed seed; MNIST from the folder of data sets. The cases are looked for, the clearest is drawn: they
show that something happens, not how often. Needs matplotlib (dependency group `benchmarks`).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from figures import CLEAN, GRAY, MIXED, pyplot
from offnormal.bench import datasets, plots
from offnormal.bench.image_protocols import RappMultimodal, RappUnimodal
from offnormal.bench.protocols import Protocol
from offnormal.registry import make_detector

NOVELTY = 8
SEED = 0
QUANTILE = 0.99
DENSE = {
    "network": "dense", "activation": "leaky_relu", "learning_rate": 1e-3, "batch_size": 256, "early_stopping": False,
    "calibration": "none", "random_state": SEED,
}  # fmt: skip


class Parts(NamedTuple):
    """Images that train, and test images that are normal or not; `digits` are of the normal test images."""

    train: NDArray[np.uint8]
    normal: NDArray[np.uint8]
    odd: NDArray[np.uint8]
    digits: NDArray[np.int64]


def parts(protocol: Protocol) -> Parts:
    """Return the parts of a protocol about the digit `NOVELTY`."""
    images, of_class = datasets.load(datasets.data_set(f"mnist_{NOVELTY}"))
    digits = np.zeros(len(images), dtype=np.int64)
    for name in datasets.classes("mnist"):
        digits += datasets.data_set(name).number * datasets.load(datasets.data_set(name))[1]
    y = protocol.anomalies(of_class)
    train, test = protocol.split(y, SEED)
    normal, odd = test[y[test] == 0], test[y[test] == 1]
    return Parts(images[train], images[normal], images[odd], digits[normal])


# --- an anomaly with the code of a normal image -----------------------------------------------------------------------


class Pair(NamedTuple):
    """A normal and an anomalous image with nearly one code.

    Attributes
    ----------
    distance, usual : float
        Between the two codes; the median from a normal code of that digit to the nearest other normal one.
    residuals : tuple of float
        Of the normal and of the anomalous image.
    limit : float
        The quantile of the residuals of normal test images.
    """

    normal: int
    odd: int
    distance: float
    usual: float
    residuals: tuple[float, float]
    limit: float


def pair(codes: tuple[Any, Any], errors: tuple[Any, Any], digits: NDArray[np.int64]) -> Pair:
    """Return the pair with the greatest residual whose codes are no farther apart than neighbors usually are.

    `codes` and `errors` are of normal and of anomalous test images.
    """
    search = NearestNeighbors(n_neighbors=1).fit(codes[0])
    between = search.kneighbors()[0][:, 0]  # a row is no neighbor of its own
    usual = np.array([np.median(between[digits == digit]) if (digits == digit).any() else 0.0 for digit in range(10)])
    distance, nearest = (found[:, 0] for found in search.kneighbors(codes[1]))
    limit = float(np.quantile(errors[0], QUANTILE))
    fits = (distance <= usual[digits[nearest]]) & (errors[1] > limit) & (errors[0][nearest] <= np.median(errors[0]))
    if not fits.any():
        raise SystemExit("No anomalous image shares the code of a normal one.")
    odd = int(np.argmax(np.where(fits, errors[1], -np.inf)))
    normal = int(nearest[odd])
    return Pair(normal, odd, float(distance[odd]), float(usual[digits[normal]]),
                (float(errors[0][normal]), float(errors[1][odd])), limit)  # fmt: skip


def draw_same_code(plt: Any) -> Any:
    """Both images and their reconstructions, with distances and residuals."""
    found = parts(RappMultimodal(10_000))
    detector = make_detector("autoencoder", hidden_sizes=(512, 256), latent_dim=8, epochs=30, **DENSE).fit(found.train)
    codes, errors = ((of(found.normal), of(found.odd)) for of in (detector.transform, detector.anomaly_score))
    case = pair(codes, errors, found.digits)
    rows = (
        (f"a normal {found.digits[case.normal]}", found.normal[case.normal], case.residuals[0]),
        (f"an {NOVELTY}, the anomaly", found.odd[case.odd], case.residuals[1]),
    )
    figure, axes = plt.subplots(2, 2, figsize=(4.2, 4.6))
    for (name, image, residual), line, color in zip(rows, axes, (CLEAN, MIXED), strict=True):
        rebuilt = detector.reconstruct(image[None])[0]
        _image(line[0], image / 255, name, color)
        _image(line[1], rebuilt, f"rebuilt; squared error {residual:.1f}", color)
    figure.suptitle(
        f"Distance of the two codes {case.distance:.2f}; usual distance of a normal {found.digits[case.normal]}\n"
        f"to the nearest normal code {case.usual:.2f}. 99 % of normal images: error up to {case.limit:.1f}",
        fontsize=8,
        color=GRAY,
    )
    return figure


# --- what a memory rebuilds -------------------------------------------------------------------------------------------


def draw_memory(plt: Any) -> Any:
    """An anomalous image and its reconstructions by an autoencoder and by the same network with a memory."""
    found = parts(RappUnimodal())
    net = {**DENSE, "hidden_sizes": (256,), "latent_dim": 64, "epochs": 60}
    nets = {
        name: make_detector(key, **net).fit(found.train) for name, key in (("AE", "autoencoder"), ("MemAE", "memae"))
    }
    errors = {name: detector.anomaly_score(found.odd) for name, detector in nets.items()}
    limits = {name: float(np.quantile(net.anomaly_score(found.normal), QUANTILE)) for name, net in nets.items()}
    odd = clearest(errors, limits)
    figure, axes = plt.subplots(1, 3, figsize=(8, 2.8))
    _image(axes[0], found.odd[odd] / 255, f"the anomaly; {NOVELTY} is normal", GRAY)
    for axis, (name, detector), color in zip(axes[1:], nets.items(), (CLEAN, MIXED), strict=True):
        title = f"{name}: squared error {errors[name][odd]:.1f}\n99 % of normal images: up to {limits[name]:.1f}"
        _image(axis, detector.reconstruct(found.odd[odd : odd + 1])[0], title, color)
    return figure


def clearest(errors: dict[str, Any], limits: dict[str, float]) -> int:
    """Return the image that the memory's error flags and the other's does not, with the largest ratio of the two."""
    fits = (errors["MemAE"] > limits["MemAE"]) & (errors["AE"] <= limits["AE"])
    if not fits.any():
        raise SystemExit("No anomalous image is beyond the quantile with the memory alone.")
    return int(np.argmax(np.where(fits, errors["MemAE"] / errors["AE"], -np.inf)))


def _image(axis: Any, image: Any, title: str, color: str) -> None:
    axis.imshow(np.squeeze(image), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axis.set_title(title, fontsize=8, color=color)
    axis.set_xticks([])
    axis.set_yticks([])


DRAW: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "same_code": ("A normal and an anomalous digit with nearly one code", draw_same_code),
    "memory": ("An anomalous digit rebuilt with and without a memory", draw_memory),
}


def main() -> None:
    """Draw the cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=tuple(DRAW))
    parser.add_argument("--output", type=Path, default=plots.FOLDER)
    options = parser.parse_args()
    plt = pyplot()
    torch.set_num_threads(1)
    options.output.mkdir(parents=True, exist_ok=True)
    for name in [options.only] if options.only else DRAW:
        title, draw = DRAW[name]
        figure = draw(plt)
        path = options.output / f"{name}.svg"
        note = {"Title": title, "Date": None, "Creator": None}
        figure.savefig(path, transparent=True, bbox_inches="tight", metadata=note)
        plt.close(figure)
        print(path)


if __name__ == "__main__":
    main()
