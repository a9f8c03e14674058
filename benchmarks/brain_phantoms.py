"""Lesions in phantoms of brain slices: dense and spatial codes, and what each step after the network is worth.

    python benchmarks/brain_phantoms.py [--model ae] [--heads 20] [--epochs 25] [--side 64] ...

Trains on healthy heads, segments the lesions of others. Prints the greatest Dice over all thresholds on the tested
heads themselves (the oracle: an upper bound) and the Dice at the threshold that is best on other heads (validation),
pooled over voxels; beside them a threshold on the intensity itself, and the untrained network. About half a minute per
training of an AE on one core.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from offnormal.bench.phantoms import Phantom, phantom
from offnormal.methods.brain_autoencoder import BrainAutoencoder
from offnormal.postprocessing import cleaned, segmented

FIT: Mapping[int, tuple[int, int]] = {64: (6, 3), 128: (12, 5)}
"""Side of a slice -> erosions and the side of the median: the study's for 128×128."""
THRESHOLDS = 24
OFF: Mapping[str, Any] = {"hyperintense": False, "erosions": 0, "quantile": None, "median_side": 1}


def steps_for(side: int) -> dict[str, dict[str, Any]]:
    """Return what each step adds for slices of this side."""
    erosions, median_side = FIT[side]
    return {
        "absolute residual": {"masked": False, **OFF},
        "+ positive part": {"hyperintense": True, "masked": False},
        "+ brain mask": {"masked": True},
        "+ eroded": {"erosions": erosions},
        "+ intensity quantile": {"quantile": 0.9},
        "+ median": {"median_side": median_side},
        "+ components": {"fewest": 8},
    }


def dice(found: np.ndarray[Any, Any], lesions: np.ndarray[Any, Any]) -> float:
    """Return 2|P ∩ G| / (|P| + |G|) of voxels of all heads."""
    return 2 * float((found & lesions).sum()) / max(float(found.sum() + lesions.sum()), 1.0)


def at(maps: list[np.ndarray[Any, Any]], heads: list[Phantom], threshold: float, fewest: int) -> float:
    """Return the pooled Dice at a threshold."""
    found = np.stack([segmented(values, threshold, fewest=fewest) for values in maps])
    return dice(found, np.stack([head.lesions for head in heads]))


def best(maps: list[np.ndarray[Any, Any]], heads: list[Phantom], fewest: int) -> tuple[float, float]:
    """Return the greatest pooled Dice over thresholds, and its threshold; with components, over some of them."""
    values, lesions = np.stack(maps).ravel(), np.stack([head.lesions for head in heads]).ravel()
    order = np.argsort(-values, kind="stable")
    falling, found = values[order], np.cumsum(lesions[order])
    ends = np.flatnonzero(np.diff(falling))  # between two values that differ
    if not len(ends):
        return 0.0, 0.0
    overlaps = 2 * found[ends] / (ends + 1 + lesions.sum())
    if fewest > 1:
        near = ends[overlaps > 0.7 * overlaps.max()]
        tried = falling[near[np.linspace(0, len(near) - 1, THRESHOLDS).astype(int)] + 1]
        return max((at(maps, heads, float(threshold), fewest), float(threshold)) for threshold in tried)
    end = ends[overlaps.argmax()]
    return float(overlaps.max()), float(falling[end + 1])


def maps_of(heads: list[Phantom], rebuilt: list[np.ndarray[Any, Any]], steps: dict[str, Any]) -> list[Any]:
    """Return the residual of each head after some of the steps."""
    kept = {name: value for name, value in steps.items() if name not in ("masked", "fewest")}
    return [
        cleaned(head.volume, there, head.brain if steps["masked"] else None, **kept)
        for head, there in zip(heads, rebuilt, strict=True)
    ]


def report(name: str, validation: list[Phantom], test: list[Phantom], rebuild: Any) -> None:
    """Print the Dice after each step."""
    rebuilt = [[rebuild(head.volume) for head in heads] for heads in (validation, test)]
    steps: dict[str, Any] = {}
    for step, change in steps_for(test[0].volume.shape[1]).items():
        steps |= change
        fewest = steps.get("fewest", 1)
        chosen, tested = (maps_of(*pair, steps) for pair in zip((validation, test), rebuilt, strict=True))
        oracle, _ = best(tested, test, fewest)
        _, threshold = best(chosen, validation, fewest)
        print(f"{name:28s} {step:22s} {oracle:.3f} {at(tested, test, threshold, fewest):.3f}", flush=True)
    all_steps = dict(steps)
    for left_out, change in (("positive part", {"hyperintense": False}), ("erosion", {"erosions": 0}),
                             ("quantile", {"quantile": None}), ("median", {"median_side": 1}),
                             ("components", {"fewest": 1})):  # fmt: skip
        steps = all_steps | change
        oracle, _ = best(maps_of(test, rebuilt[1], steps), test, steps["fewest"])
        print(f"{name:28s} all but {left_out:14s} {oracle:.3f}", flush=True)


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="ae")
    parser.add_argument("--codes", default="dense,spatial")
    parser.add_argument("--heads", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--channels", default="8,16,32")
    parser.add_argument("--side", type=int, choices=tuple(FIT), default=64)
    parser.add_argument("--roughness", type=float, default=1.0)
    parser.add_argument("--seeds", default="0")
    chosen = parser.parse_args()
    drawn: dict[str, Any] = {"side": chosen.side, "roughness": chosen.roughness}
    healthy = np.concatenate([phantom(1000 + i, **drawn).volume for i in range(chosen.heads)])
    validation, test = ([phantom(start + i, lesions=4, **drawn) for i in range(8)] for start in (5000, 9000))
    print(f"{'':28s} {'':22s} oracle validation")
    report("intensity", validation, test, np.zeros_like)
    channels = tuple(map(int, chosen.channels.split(",")))
    for seed in map(int, chosen.seeds.split(",")):
        for code in chosen.codes.split(","):
            for epochs in (0, chosen.epochs):
                started = time.perf_counter()
                detector = BrainAutoencoder(
                    model=chosen.model, code=code, hidden_sizes=channels, batch_size=32, epochs=epochs,
                    calibration="none", early_stopping=False, random_state=seed,
                ).fit(healthy)  # fmt: skip
                print(f"# {time.perf_counter() - started:.0f} s")
                name = f"{chosen.model} {code} seed {seed}{'' if epochs else ' untrained'}"
                report(name, validation, test, detector.reconstruct)


if __name__ == "__main__":
    main()
