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


def draw_code_size(plt: Any, shown: dict[str, Any]) -> Any:
    """Left AUROC over the width of the code with its band, right the errors of normal and anomalous images."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.5, 3.2), layout="tight")
    for name, color in zip(shown["auroc"], OTHERS, strict=False):
        width, mean, low, high = zip(*shown["auroc"][name], strict=True)
        left.plot(width, mean, color=color, marker="o", markersize=3, linewidth=1.2, label=name)
        left.fill_between(width, low, high, color=color, alpha=0.12, linewidth=0)
        for figure_name, style in (("mean_normal_score", "--"), ("mean_anomaly_score", "-")):
            points = shown["errors"].get(name, {}).get(figure_name)
            if points:
                width, mean, *_ = zip(*points, strict=True)
                right.plot(width, mean, color=color, linestyle=style, marker="o", markersize=3, linewidth=1.2)
    for axis, label in ((left, "AUROC"), (right, "squared error; dashed: normal,\nsolid: anomalous images")):
        axis.set_xscale("log", base=2)
        axis.set_xlabel("axes of the code")
        axis.set_ylabel(label)
    right.set_yscale("log")
    _legend_right(figure, left)
    return figure


def draw_image_contamination(plt: Any, shown: dict[str, Any]) -> Any:
    """One line per row over the percentage; dashed: baselines and the untrained network."""
    figure, axis = plt.subplots(figsize=(5.5, 3.2), layout="tight")
    for (name, points), color in zip(shown.items(), OTHERS * 2, strict=False):
        share, mean, *_ = zip(*points, strict=True)
        style = "-" if name in ("AE", "RaPP, NAP", "VAE", "AAE", "MemAE") else "--"
        axis.plot(share, mean, color=color, linestyle=style, marker="o", markersize=3, linewidth=1.2, label=name)
    axis.set_xlabel("% of the training images that are anomalies")
    axis.set_ylabel("AUROC")
    _legend_right(figure, axis)
    return figure


def draw_latent_density(plt: Any, shown: dict[str, Any]) -> Any:
    """One line per row with a dot for either kind of normality and a bar over the digits."""
    names = list(next(iter(shown.values())))[::-1]
    figure, axis = plt.subplots(figsize=(6.5, 0.34 * len(names) + 1))
    for place, (protocol, color) in enumerate(zip(shown, (CLEAN, MIXED), strict=False)):
        label = "one digit is normal" if protocol.startswith("rapp_unimodal") else "nine digits are normal"
        _dots(axis, names, shown[protocol], color, offset=0.12 * (1 - 2 * place), label=label)
    axis.axvline(0.5, color=GRAY, linestyle="--", linewidth=0.8)
    axis.set_xlabel("AUROC")
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return figure


def draw_differences(plt: Any, shown: dict[str, Any]) -> Any:
    """One panel per set of parts: AUROC of images and of pixels."""
    figure, axes = plt.subplots(1, len(shown), figsize=(4.2 * len(shown) + 1, 2.8), sharey=True, squeeze=False)
    names = list(next(iter(shown.values())))[::-1]
    for axis, (data, rows) in zip(axes[0], shown.items(), strict=True):
        for key, label, color in (("auroc", "images", CLEAN), ("pixel_auroc", "pixels", MIXED)):
            found = {name: row[key] for name, row in rows.items() if key in row}
            bars = {name: [mean, mean - sd, mean + sd] for name, (mean, sd) in found.items()}
            _dots(axis, names, bars, color, label=label)
        axis.set_title(data)
        axis.set_xlabel("AUROC")
    figure.tight_layout()
    _legend_right(figure, axes[0][0])
    return figure


def draw_memory(plt: Any, shown: dict[str, Any]) -> Any:
    """One panel per figure: AUROC, the largest weight, the slots read."""
    figure, axes = plt.subplots(1, len(shown), figsize=(2.7 * len(shown) + 1.5, 2.4), sharey=True, squeeze=False)
    names = list(next(iter(shown.values())))[::-1]
    labels = {"auroc": "AUROC", "largest_weight": "largest weight", "slots_read": "slots read"}
    for axis, (key, rows) in zip(axes[0], shown.items(), strict=True):
        _dots(axis, names, rows, CLEAN)
        axis.set_xlabel(labels[key])
    figure.tight_layout()
    return figure


def _dots(
    axis: Any, names: list[str], rows: dict[str, Any], color: str, *, offset: float = 0.0, label: str | None = None
) -> None:
    """One dot per row with a bar from the second to the third number."""
    for name in rows:
        mean, low, high = rows[name]
        ends = [[mean - low], [high - mean]]
        place = names.index(name) + offset
        axis.errorbar([mean], [place], xerr=ends, fmt="o", color=color, markersize=4, capsize=2, linewidth=1,
                      label=label)  # fmt: skip
        label = None
    axis.set_yticks(range(len(names)), names)
    axis.grid(axis="y", color=GRAY, alpha=0.2, linewidth=0.5)


DRAW: dict[str, tuple[str, Callable[[Any, dict[str, Any]], Any]]] = {
    "f1_by_seed": ("F1 by seed on the four data sets of the DAGMM paper", draw_seeds),
    "contamination": ("F1 against contamination of the training data", draw_contamination),
    "ablations": ("F1 of DAGMM with one change at a time", draw_ablations),
    "auto": ("Mean AUROC on thirteen public tables, clean and contaminated", draw_auto),
    "code_size": ("AUROC and errors over the width of the code", draw_code_size),
    "latent_density": ("AUROC of code, error and both", draw_latent_density),
    "image_contamination": ("AUROC against contamination of the training images", draw_image_contamination),
    "differences": ("AUROC of images and pixels by the difference that is scored", draw_differences),
    "memae_ablation": ("AUROC and addressing of MemAE with one change at a time", draw_memory),
}


def _legend_right(figure: Any, axis: Any) -> None:
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8)


def pyplot() -> Any:
    """Return matplotlib's drawing module in the style of the pages, or end in words without it."""
    try:
        import matplotlib
    except ImportError:
        sys.exit("This needs matplotlib: pip install --group benchmarks")
    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    plt.rcParams.update(STYLE)
    return plt


def main() -> None:
    """Draw every figure for which there are records."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=records.FOLDER)
    parser.add_argument("--output", type=Path, default=plots.FOLDER)
    options = parser.parse_args()
    plt = pyplot()
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
