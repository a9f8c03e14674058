"""Do the reasons name the right column? Rows with one column changed, and how often that column is ranked first.

Two changes, each to one random column of a held-out normal row:

- *out of range*: moved eight standard deviations from the column's mean, up or down;
- *in range*: replaced by another held-out row's value, so that only the relation to the other columns is odd.

Beside the method stands the plain baseline: the column with the largest |z| of the training rows.

    python benchmarks/reasons.py --seeds 3            # all data sets, prints a Markdown table
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer

from offnormal.detector import Detector
from offnormal.registry import make_detector

Floats = NDArray[np.float64]
SETS = {"thyroid": "tabular/thyroid", "cardio": "adbench/cardio", "pendigits": "adbench/pendigits",
        "satimage-2": "adbench/satimage-2"}  # fmt: skip
N_CHANGED = 400
METHODS: list[tuple[str, str, dict[str, Any]]] = [
    ("`dagmm`", "dagmm", {}),
    ("`dagmm`, untrained", "dagmm", {"epochs": 1, "learning_rate": 1e-12, "early_stopping": False}),
    ("`pca`", "pca", {}),
]


def normal_rows(name: str) -> Floats:
    """Return the normal rows of a data set, shape (rows, columns)."""
    if name == "breast cancer":
        data = load_breast_cancer()
        rows: Floats = data.data[data.target == 1]
        return rows
    folder = Path(os.environ.get("OFFNORMAL_DATA", Path(__file__).parents[2] / "shared" / "data"))
    with np.load(folder / f"{SETS[name]}.npz") as file:
        return np.asarray(file["X"], dtype=np.float64)[file["y"] == 0]


def hits(detector: Detector, rows: Floats, seed: int) -> dict[str, tuple[float, float]]:
    """Fit on half of the rows; return kind of change -> (share ranked first by the method, by |z|)."""
    draw = np.random.default_rng(seed)
    order = draw.permutation(len(rows))
    train, test = rows[order[: len(rows) // 2]], rows[order[len(rows) // 2 :]]
    detector.fit(train)
    mean, spread = train.mean(0), train.std(0)
    columns = draw.choice(np.flatnonzero(spread > 0), N_CHANGED)
    place = np.arange(N_CHANGED), columns
    base = test[draw.integers(0, len(test), N_CHANGED)]
    moved, swapped = base.copy(), base.copy()
    moved[place] = mean[columns] + draw.choice([-8, 8], N_CHANGED) * spread[columns]
    swapped[place] = test[draw.integers(0, len(test), N_CHANGED), columns]
    results = {}
    for kind, changed in (("out of range", moved), ("in range", swapped)):
        ranked = detector.explain(changed).ranking()[:, 0]
        z = np.abs((changed - mean) / np.where(spread > 0, spread, np.inf))
        results[kind] = float((ranked == columns).mean()), float((z.argmax(1) == columns).mean())
    return results


def measure(method: str, name: str, seeds: int, **parameters: Any) -> dict[str, tuple[str, str]]:
    """Return kind -> (method, |z|) as "mean ± sd" over seeds."""
    runs = [
        hits(make_detector(method, random_state=seed, calibration="none", **parameters), normal_rows(name), seed)
        for seed in range(seeds)
    ]
    return {
        kind: tuple(  # type: ignore[misc]
            mean_and_spread([run[kind][i] for run in runs]) for i in range(2)
        )
        for kind in runs[0]
    }


def mean_and_spread(values: list[float]) -> str:
    """Write mean ± standard deviation."""
    return f"{np.mean(values):.2f} ± {np.std(values, ddof=min(1, len(values) - 1)):.2f}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    seeds = parser.parse_args().seeds
    print("| data | method | out of range: first | by \\|z\\| | in range: first | by \\|z\\| |")
    print("|---|---|---|---|---|---|")
    for name in ("breast cancer", *SETS):
        for text, method, parameters in METHODS:
            result = measure(method, name, seeds, **parameters)
            cells = [*result["out of range"], *result["in range"]]
            print(f"| {name} | {text} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
