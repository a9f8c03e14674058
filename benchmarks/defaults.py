"""Why the defaults are what they are: AUROC over eight public tables, beside the trivial baselines.

Each run splits all rows at random in half, fits on the normal rows of the first half and scores the second. The
defaults were chosen by the mean of this table over the data sets (with their labels: it is a choice for the library,
and no single row of the table is a result for its data set); nothing is tuned per data set.

    python benchmarks/defaults.py --seeds 3        # writes docs/defaults.md and benchmarks/results/defaults.jsonl
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import NearestNeighbors

from offnormal import detector as detectors
from offnormal.registry import make_detector

Floats = NDArray[np.float64]
Score = Callable[[Floats, Floats, int], Floats]
HERE = Path(__file__).parent
TABLES = {
    "breast cancer": "", "arrhythmia": "tabular/arrhythmia", "cardio": "adbench/cardio",
    "satimage-2": "adbench/satimage-2", "mammography": "adbench/mammography", "letter": "adbench/letter",
    "vowels": "adbench/vowels", "annthyroid": "adbench/annthyroid",
}  # fmt: skip


def table(name: str) -> tuple[Floats, NDArray[np.int64]]:
    """Return rows and labels (1 = anomaly)."""
    if not TABLES[name]:
        data = load_breast_cancer()
        return data.data, 1 - data.target
    folder = Path(os.environ.get("OFFNORMAL_DATA", HERE.parents[1] / "shared" / "data"))
    with np.load(folder / f"{TABLES[name]}.npz") as file:
        return file["X"].astype(np.float64), file["y"].astype(np.int64)


def ours(key: str, **parameters: Any) -> Score:
    """Return a score function of one of our methods."""

    def score(train: Floats, test: Floats, seed: int) -> Floats:
        detector = make_detector(key, random_state=seed, calibration="none", **parameters)
        return detector.fit(train).anomaly_score(test)

    return score


def longer(train: Floats, test: Floats, seed: int) -> Floats:
    """Score with twice the default step budget."""
    usual = detectors.STEP_BUDGET
    detectors.STEP_BUDGET = 2 * usual
    try:
        return ours("dagmm")(train, test, seed)
    finally:
        detectors.STEP_BUDGET = usual


def standardized(function: Score) -> Score:
    """Return a score function on columns scaled by the training rows."""

    def score(train: Floats, test: Floats, seed: int) -> Floats:
        mean, spread = train.mean(0), train.std(0)
        spread = np.where(spread > 0, spread, 1.0)
        return function((train - mean) / spread, (test - mean) / spread, seed)

    return score


def neighbors(train: Floats, test: Floats, seed: int) -> Floats:
    """Return the mean distance to the five nearest training rows."""
    return np.asarray(NearestNeighbors(n_neighbors=5).fit(train).kneighbors(test)[0].mean(1))


def mixture(train: Floats, test: Floats, seed: int) -> Floats:
    """Return the negative log-density of a mixture fitted by EM on the columns."""
    model = GaussianMixture(4, reg_covar=1e-3, random_state=seed).fit(train)
    return np.asarray(-model.score_samples(test))


def forest(train: Floats, test: Floats, seed: int) -> Floats:
    """Return the isolation forest's score."""
    return np.asarray(-IsolationForest(random_state=seed).fit(train).score_samples(test))


ROWS: dict[str, Score] = {
    "`dagmm`, default": ours("dagmm"),
    "`dagmm`, untrained": ours("dagmm", epochs=1, learning_rate=1e-12, early_stopping=False),
    "`dagmm`, twice the steps": longer,
    "`dagmm`, `latent_dim=1`": ours("dagmm", latent_dim=1),
    "`dagmm`, hidden 12-4, as in a preset": ours("dagmm", hidden_sizes=(12, 4)),
    "`dagmm`, min-max scaling": ours("dagmm", scaling="minmax"),
    "`pca`, default": ours("pca"),
    "`pca`, 90 % of the variance": ours("pca", n_components=0.9),
    "k-NN, k = 5": standardized(neighbors),
    "mixture by EM, 4 components": standardized(mixture),
    "isolation forest": forest,
}


def run(score: Score, name: str, seed: int) -> float:
    """Return the AUROC of one run."""
    X, y = table(name)
    order = np.random.default_rng(seed).permutation(len(X))
    first, second = order[: len(X) // 2], order[len(X) // 2 :]
    return float(roc_auc_score(y[second], score(X[first][y[first] == 0], X[second], seed)))


def page(results: dict[str, dict[str, list[float]]], seeds: int) -> str:
    """Return docs/defaults.md."""
    lines = [
        "# Defaults, by evidence", "",
        f"AUROC, mean ± standard deviation over {seeds} seeds (`python benchmarks/defaults.py --seeds {seeds}`).",
        "Half of all rows at random train, of those the normal ones only; the other half tests. The defaults were",
        "chosen by the last column, once, for all tables together; that used labels of these tables, so no row here",
        "is a result for its data set. Nothing is tuned per table.", "",
        "| | " + " | ".join(TABLES) + " | mean |",
        "|---" * (len(TABLES) + 2) + "|",
    ]  # fmt: skip
    for row, values in results.items():
        cells = [f"{np.mean(v):.3f} ± {np.std(v, ddof=1):.3f}" for v in values.values()]
        lines.append(f"| {row} | " + " | ".join(cells) + f" | {np.mean([np.mean(v) for v in values.values()]):.3f} |")
    lines += [
        "",
        "What it says: a wider code and wider layers than the paper's presets carry most of the gain on columns with",
        "standard scaling; twice the steps add nothing. On most of these tables the distance to the nearest training",
        "rows is as good as or better than `dagmm`: fit more than one method.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure, keep the raw results, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    seeds = parser.parse_args().seeds
    raw = HERE / "results" / "defaults.jsonl"
    raw.parent.mkdir(exist_ok=True)
    raw.write_text("")
    results: dict[str, dict[str, list[float]]] = {}
    for row, score in ROWS.items():
        results[row] = {name: [run(score, name, seed) for seed in range(seeds)] for name in TABLES}
        with raw.open("a") as file:
            file.write(json.dumps({"row": row, "auroc": results[row]}, ensure_ascii=False) + "\n")
        print(row, {name: round(float(np.mean(v)), 3) for name, v in results[row].items()}, file=sys.stderr, flush=True)
    (HERE.parent / "docs" / "defaults.md").write_text(page(results, seeds))


if __name__ == "__main__":
    main()
