"""Draw the figures of docs/findings.md from the raw records.

    python benchmarks/figures.py            # docs/figures/*.svg; a figure without records is skipped

Needs matplotlib (dependency group `benchmarks`). The same records give the same files: no dates, fixed ids.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from offnormal.bench import plots, records
from offnormal.bench.lookup import Lookup

GRAY = "#7a7a7a"
"""For text and axes: legible on white and on dark pages alike."""
COLORS = {"DAGMM": "#3b82c4", "DAGMM, our defaults": "#d9822b", "DAGMM, untrained": "#8fb8dc",
          "DAGMM, our defaults, untrained": "#e8bd8f", "auto": "#d9822b"}  # fmt: skip
OTHERS = ("#4c9f70", "#a65fb0", "#b58a2c", "#c2566b", "#5b8f9b", "#8a7fd0", "#7f9a3f", "#9a6b4f")
CLEAN, MIXED = "#3b82c4", "#d9822b"
STYLE = {
    "svg.hashsalt": "offnormal", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9,
    "text.color": GRAY, "axes.labelcolor": GRAY, "axes.edgecolor": GRAY, "xtick.color": GRAY, "ytick.color": GRAY,
    "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False, "axes.titlesize": 9,
}  # fmt: skip


def draw_seeds(plt: Any, shown: dict[str, Any]) -> Any:
    """One panel per data set: a dot for each run, a dashed line for the published F1."""
    figure, axes = plt.subplots(1, len(shown), figsize=(2.1 * len(shown), 3), squeeze=False)
    for axis, (data, part) in zip(axes[0], shown.items(), strict=True):
        for place, (name, values) in enumerate(part["strips"].items()):
            # A fixed spread by seed instead of a random one.
            across = [place + 0.3 * ((7 * seed) % 10 / 9 - 0.5) for seed in range(len(values))]
            axis.plot(across, values, "o", markersize=4, color=COLORS[name], alpha=0.8, label=name)
        if part["published"] is not None:
            axis.axhline(part["published"], color=GRAY, linestyle="--", linewidth=1, label="the paper, DAGMM")
        axis.set_title(data)
        axis.set_xticks([])
        axis.set_xlim(-0.6, len(part["strips"]) - 0.4)
    axes[0][0].set_ylabel("F1")
    figure.tight_layout()
    _legend_right(figure, axes[0][0])
    return figure


def draw_contamination(plt: Any, shown: dict[str, Any]) -> Any:
    """One line per row over the percentage, with a bar of one standard deviation."""
    figure, axis = plt.subplots(figsize=(5.5, 3.2), layout="tight")
    colors = iter(OTHERS * 2)
    for name, points in shown.items():
        c, mean, sd = zip(*points, strict=True)
        if name.startswith("the paper"):
            axis.plot(c, mean, color=GRAY, linestyle="--", marker="x", markersize=5, linewidth=1, label=name)
        else:
            color = COLORS.get(name) or next(colors)
            axis.errorbar(c, mean, sd, color=color, marker="o", markersize=3, linewidth=1.2, capsize=2, label=name)
    axis.set_xlabel("% of the training half's anomalies left in")
    axis.set_ylabel("F1, KDDCUP")
    _legend_right(figure, axis)
    return figure


def draw_ablations(plt: Any, shown: dict[str, Any]) -> Any:
    """One dot per row with a bar of one standard deviation; a line marks the defaults."""
    figure, axis = plt.subplots(figsize=(6.5, 0.24 * len(shown) + 0.8))
    names = list(shown)[::-1]
    for place, name in enumerate(names):
        mean, sd = shown[name]
        color = COLORS.get(name, CLEAN)
        axis.errorbar(mean, place, xerr=sd, fmt="o", color=color, markersize=4, capsize=2, linewidth=1)
    if "DAGMM, our defaults" in shown:
        axis.axvline(shown["DAGMM, our defaults"][0], color=GRAY, linestyle="--", linewidth=0.8)
    axis.set_yticks(range(len(names)), names)
    axis.grid(axis="y", color=GRAY, alpha=0.2, linewidth=0.5)
    axis.set_xlabel("F1, KDDCUP")
    return figure


def draw_auto(plt: Any, shown: dict[str, Any]) -> Any:
    """One line per row with a dot for the clean and one for the contaminated column."""
    means = {name: mean for part in shown.values() for name, (mean, _) in part.items()}
    names = sorted(means, key=lambda name: [part.get(name, [0.0])[0] for part in shown.values()])
    figure, axis = plt.subplots(figsize=(6.5, 0.24 * len(names) + 1))
    labels = {"clean_half": ("fitted on clean rows", CLEAN), "mixed_half": ("fitted on contaminated rows", MIXED)}
    for protocol, part in shown.items():
        label, color = labels[protocol]
        present = [name for name in names if name in part]
        mean, sd = zip(*(part[name] for name in present), strict=True)
        places = [names.index(name) for name in present]
        axis.errorbar(mean, places, xerr=sd, fmt="o", color=color, markersize=4, capsize=2, linewidth=1, label=label)
    axis.set_yticks(range(len(names)), names)
    axis.grid(axis="y", color=GRAY, alpha=0.2, linewidth=0.5)
    axis.set_xlabel("mean AUROC over thirteen public tables")
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return figure


DRAW: dict[str, tuple[str, Callable[[Any, dict[str, Any]], Any]]] = {
    "f1_by_seed": ("F1 by seed on the four data sets of the DAGMM paper", draw_seeds),
    "contamination": ("F1 against contamination of the training data", draw_contamination),
    "ablations": ("F1 of DAGMM with one change at a time", draw_ablations),
    "auto": ("Mean AUROC on thirteen public tables, clean and contaminated", draw_auto),
}


def _legend_right(figure: Any, axis: Any) -> None:
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8)


def main() -> None:
    """Draw every figure for which there are records."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=records.FOLDER)
    parser.add_argument("--output", type=Path, default=plots.FOLDER)
    options = parser.parse_args()
    try:
        import matplotlib
    except ImportError:
        sys.exit("This needs matplotlib: pip install --group benchmarks")
    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    plt.rcParams.update(STYLE)
    options.output.mkdir(parents=True, exist_ok=True)
    for name, plot in plots.every(Lookup(options.results)).items():
        if not plot:
            print(f"{name}: no records yet")
            continue
        title, draw = DRAW[name]
        path = options.output / f"{name}.svg"
        note = {"Title": title, "Description": f"records {plots.digest(plot)}", "Date": None, "Creator": None}
        figure = draw(plt, plot)
        figure.savefig(path, transparent=True, bbox_inches="tight", metadata=note)
        plt.close(figure)
        print(path)


if __name__ == "__main__":
    main()
