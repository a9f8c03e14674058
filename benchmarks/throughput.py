"""How many rows and images a second each method trains on and scores, on one thread, all in one run.

Every method gets the same rows: 8,192 of 30 columns, and 2,048 grey images of 28 by 28, drawn from a fixed seed (speed
does not depend on what they show). Training: the defaults, three passes less one pass, so that set-up does not count.
Numbers of other machines compare by their ratio to the autoencoder's row. Also: GPND's Jacobian for all rows at once
against row by row, RaPP's eigendecomposition of a Gram matrix against a decomposition of the whole matrix, and the
milliseconds an image takes under the papers' networks for MNIST, in blocks and alone (GANomaly's table of latency).

    python benchmarks/throughput.py            # some minutes; writes the section "Every method" of docs/performance.md
    python benchmarks/throughput.py --missing  # what the raw results lack, in a run of its own
    python benchmarks/throughput.py --page     # the section alone, from the raw results
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "throughput.jsonl"
PAGE = HERE.parent / "docs" / "performance.md"
HEADING = "## Every method"
ROWS, COLUMNS, IMAGES, SIDE = 8_192, 30, 2_048, 28
EPOCHS = (1, 3)
ROUNDS = 3
SLOW_TO_SCORE = 512
"""Images scored of methods whose score takes many passes."""
SMALLEST_PART = 0.03
"""A training that is a smaller part of the fit is no more than its noise."""
LATENCY = {"anogan": ("egbad_mnist", 7120.0), "egbad": ("mnist", 8.9), "ganomaly": ("mnist", 2.79)}
"""Key -> the preset for MNIST, and the milliseconds per image of GANomaly's paper, recalled; on a GPU of its time."""
LEFT_OUT = {("robust_pca", "images")}
"""Minutes: decompositions of all 2,048 × 784 pixels, over and over."""


def rows_of(kind: str) -> Any:
    """Return rows of a few latent factors, or images of a bright disc at a random place."""
    draw = np.random.default_rng(0)
    if kind == "rows":
        return draw.normal(size=(ROWS, 5)) @ draw.normal(size=(5, COLUMNS)) + 0.1 * draw.normal(size=(ROWS, COLUMNS))
    grid = np.arange(SIDE)
    center = draw.uniform(8, 20, size=(IMAGES, 2, 1, 1))
    far = (grid[:, None] - center[:, 0]) ** 2 + (grid[None, :] - center[:, 1]) ** 2
    return (255 * np.exp(-far / 30)).astype(np.uint8)


def method(key: str, kind: str) -> dict[str, Any]:
    """Fit and score one method; seconds are processor time."""
    from offnormal.detector import TrainedDetector
    from offnormal.registry import make_detector, method_class

    trained = issubclass(method_class(key), TrainedDetector)
    X = rows_of(kind)
    seconds: list[float] = []
    for epochs in (1, *EPOCHS) if trained else EPOCHS:  # the first is thrown away: it imports and warms up
        chosen = {"epochs": epochs, "early_stopping": False} if trained else {}
        detector = make_detector(key, calibration="none", **chosen)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            started = time.process_time()
            detector.fit(X)
            seconds.append(time.process_time() - started)
    del seconds[0]
    rows = detector.training_["rows"]
    passes = seconds[-1] - seconds[0]
    measured = trained and passes > SMALLEST_PART * seconds[-1]
    per_second = rows * (EPOCHS[1] - EPOCHS[0]) / passes if measured else None
    query = X[:SLOW_TO_SCORE] if kind == "images" else X
    detector.anomaly_score(query[:64])
    started = time.process_time()
    detector.anomaly_score(query)
    scored = time.process_time() - started
    return {
        "key": key,
        "kind": kind,
        "fit_seconds": seconds,
        "train_per_second": per_second,
        "score_per_second": len(query) / scored,
    }


def jacobians() -> dict[str, Any]:
    """GPND's volume for all rows at once, and by automatic differentiation row by row."""
    import torch

    from offnormal.methods.gpnd import decoder_jacobian
    from offnormal.networks.backbones import Plan

    decoder = Plan((1, SIDE, SIDE), activation="relu", batch_norm=True).decoder(16).eval()
    codes = torch.randn(64, 16, generator=torch.Generator().manual_seed(0))
    at_once = least(lambda: decoder_jacobian(decoder, codes))
    one = least(
        lambda: [torch.autograd.functional.jacobian(lambda z: decoder(z[None]).flatten(), code) for code in codes]
    )
    return {"key": "gpnd", "kind": "jacobian", "at_once": at_once, "row_by_row": one}


def decompositions() -> dict[str, Any]:
    """RaPP's directions of 20,000 pathway differences of 300 units: by a Gram matrix, and by the whole matrix."""
    import torch

    differences = torch.randn(20_000, 300, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    gram = least(lambda: torch.linalg.eigh(differences.T @ differences))
    whole = least(lambda: torch.linalg.svd(differences, full_matrices=False))
    return {"key": "rapp", "kind": "decomposition", "gram": gram, "whole": whole}


def latency(key: str) -> dict[str, Any]:
    """Milliseconds for an image: in blocks as the library scores, and for one image alone in the network."""
    import torch

    from offnormal.registry import method_class

    preset, published = LATENCY[key]
    images = rows_of("images")
    detector = method_class(key).from_preset(preset, epochs=0, calibration="none").fit(images[:32])
    scorer = detector.scorer_
    in_blocks = least(lambda: detector.anomaly_score(images[:128])) / 128
    one = scorer.preprocess(torch.from_numpy(images[:1, None]))
    with torch.inference_mode():
        alone = least(lambda: scorer.method.score(one))
    found = {"in_blocks_ms": 1e3 * in_blocks, "alone_ms": 1e3 * alone, "published_ms": published}
    return {"key": key, "kind": "latency", "preset": preset, **found}


def least(work: Callable[[], Any]) -> float:
    """Return the least processor time of a few rounds."""
    seconds = []
    for _ in range(ROUNDS):
        started = time.process_time()
        work()
        seconds.append(time.process_time() - started)
    return min(seconds)


def section(records: list[dict[str, Any]]) -> str:
    """Return the section of docs/performance.md."""
    by_kind = {kind: {r["key"]: r for r in records if r["kind"] == kind} for kind in ("rows", "images")}
    own = {kind: found["autoencoder"]["score_per_second"] for kind, found in by_kind.items()}
    lines = [
        HEADING, "",
        "`python benchmarks/throughput.py`: a single run, one thread, processor time, the defaults. Per second, in",
        "thousands; in brackets, times the autoencoder's scoring. Methods without a number in training are solved in",
        "closed form, train on all rows at once, or spend under 3 % of the fit on it. –: minutes, or not measured.",
        "The adversarial methods were measured later, in a run of their own, beside one other process.", "",
        f"| method | train: rows of {COLUMNS} columns | score | train: images {SIDE}×{SIDE} | score |",
        "|---|---|---|---|---|",
    ]  # fmt: skip
    for key in sorted(by_kind["rows"]):
        cells = []
        for kind, found in by_kind.items():
            record = found.get(key)
            if record is None:
                cells += ["", "–"]
                continue
            train, score = record["train_per_second"], record["score_per_second"]
            cells += ["" if train is None else f"{train / 1e3:,.1f}", f"{score / 1e3:,.2f} ({score / own[kind]:.2f})"]
        lines.append(f"| `{key}` | " + " | ".join(cells) + " |")
    jacobian = next(r for r in records if r["kind"] == "jacobian")
    spread = next(r for r in records if r["kind"] == "decomposition")
    lines += [
        "",
        f"- GPND's decoder Jacobian, 64 images, code of 16: all at once {jacobian['at_once']:.2f} s, row by row "
        f"{jacobian['row_by_row']:.2f} s ({jacobian['row_by_row'] / jacobian['at_once']:.1f} times).",
        f"- RaPP's directions of 20,000 rows of 300 units: Gram matrix {spread['gram']:.2f} s, the whole matrix "
        f"{spread['whole']:.2f} s ({spread['whole'] / spread['gram']:.1f} times).",
        "- Images stay uint8 until their batch: a quarter of the memory of prepared floats.",
    ]  # fmt: skip
    waits = [
        f"`{r['key']}` {r['in_blocks_ms']:,.2f}; {r['alone_ms']:,.1f}; {r['published_ms']:,.1f}"
        for r in records
        if r["kind"] == "latency"
    ]
    if waits:
        lines.append(
            "- Milliseconds per image, the papers' networks for MNIST as initialized (in blocks of 128; one alone; in "
            f"GANomaly's paper, recalled, on a GPU): {'. '.join(waits)}."
        )
    lines.append("")
    return "\n".join(lines)


def write_page(records: list[dict[str, Any]]) -> None:
    """Replace the section, or add it at the end of the page."""
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(HEADING)
    after = "\n## " + rest.split("\n## ", 1)[1] if "\n## " in rest else ""
    PAGE.write_text(before.rstrip() + "\n\n" + section(records) + after, encoding="utf-8")


def main() -> None:
    """Measure, keep the raw results, write the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", action="store_true", help="write the section from the raw results")
    parser.add_argument("--missing", action="store_true", help="measure what the raw results lack, and add it")
    asked = parser.parse_args()
    if not asked.page:
        measure(kept() if asked.missing else [])
    write_page(kept())


def kept() -> list[dict[str, Any]]:
    """Return the raw results."""
    return [json.loads(line) for line in RESULTS.read_text(encoding="utf-8").splitlines()]


def measure(records: list[dict[str, Any]]) -> None:
    """Measure all that is not among the records, and keep the raw results after each."""
    from offnormal.registry import METHODS

    works: dict[tuple[str, str], Callable[[], dict[str, Any]]] = {
        (key, kind): partial(method, key, kind)
        for key in METHODS
        for kind in ("rows", "images")
        if (key, kind) not in LEFT_OUT
    }
    works |= {("gpnd", "jacobian"): jacobians, ("rapp", "decomposition"): decompositions}
    works |= {(key, "latency"): partial(latency, key) for key in LATENCY}
    for place, work in works.items():
        if place not in {(r["key"], r["kind"]) for r in records}:
            records.append(work())
            print(records[-1], file=sys.stderr, flush=True)
            RESULTS.write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")


if __name__ == "__main__":
    main()
