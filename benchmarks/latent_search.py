"""How much faster AnoGAN searches the rows of a block at once than row by row, with the same steps, in one run.

The networks are those of the defaults, as initialized: speed does not depend on what they have learned. The loop takes
a few rows of the block, one at a time; its time is given per row. The ratio is of seconds per row, the median of three
rounds. A table is bound by the overhead of its small steps, so a batch saves nearly all of it; convolutions of images
on a processor are bound by arithmetic, which a batch does not save.

    OMP_NUM_THREADS=1 python benchmarks/latent_search.py            # about half a minute
    python benchmarks/latent_search.py --device cuda
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from functools import partial
from typing import Any

import torch
from torch import nn

from offnormal.methods.anogan import AnoGAN, AnoGANNetwork
from offnormal.networks.latent_search import best_of_starts, frozen, in_parts
from offnormal.random import generator, scoped
from offnormal.scorer import block_size

CASES: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "table of 20 columns": ((20,), {}),
    "table of 121 columns": ((121,), {}),
    "images of 28×28, dense layers": ((1, 28, 28), {"network": "dense"}),
    "images of 28×28": ((1, 28, 28), {}),
}
STEPS = 20
ROUNDS = 3
LOOPED = 4
AIM = 50


def network_for(shape: tuple[int, ...], parameters: dict[str, Any], device: str) -> AnoGANNetwork:
    """Return AnoGAN's networks, untrained, with a search of `STEPS` steps."""
    detector = AnoGAN(search_steps=STEPS, **parameters)
    detector.planned_epochs_ = 1
    with scoped(0, "build"):
        network = detector.build(shape)
    assert isinstance(network, AnoGANNetwork)
    return network.eval().to(device)


def measure(label: str, shape: tuple[int, ...], parameters: dict[str, Any], device: str) -> dict[str, Any]:
    """Return the seconds per row of the two ways, and how many times the loop takes longer."""
    network, rows = network_for(shape, parameters, device), block_size(shape)
    x = torch.rand(rows, *shape, generator=generator(0, "rows"), dtype=network.search_type).to(device)

    def seconds(parts: list[torch.Tensor]) -> float:
        networks = [frozen(net, network.search_type) for net in (network.generator, network.discriminator)]
        started = time.perf_counter()
        for part in parts:
            in_parts(partial(found, network, networks), part)
        if device != "cpu":
            torch.cuda.synchronize()
        return (time.perf_counter() - started) / sum(map(len, parts))

    seconds([x[:2]])
    rounds = [(seconds([x]), seconds(list(x[:LOOPED].split(1)))) for _ in range(ROUNDS)]
    return {
        "what": label,
        "device": device,
        "rows": rows,
        "steps": STEPS,
        "precision": str(network.search_type).removeprefix("torch."),
        "batch_ms_per_row": 1e3 * statistics.median(batch for batch, _ in rounds),
        "loop_ms_per_row": 1e3 * statistics.median(loop for _, loop in rounds),
        "ratio": statistics.median(loop / batch for batch, loop in rounds),
    }


def found(network: AnoGANNetwork, networks: list[nn.Sequential], rows: torch.Tensor) -> torch.Tensor:
    """Return the codes of some rows, as `AnoGANNetwork.search` finds them."""
    unlike = network.unlikeness(*networks, rows)
    return best_of_starts(unlike, network.starts.to(rows), len(rows), network.rates)


def table(results: list[dict[str, Any]]) -> str:
    """Return the results as a table in Markdown."""
    lines = [
        f"| search of {STEPS} steps | rows in a block | block, ms a row | loop, ms a row | loop / block | aim |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r['what']}, {r['precision']} | {r['rows']:,} | {r['batch_ms_per_row']:.3g} | {r['loop_ms_per_row']:.3g} | "
        f"{r['ratio']:.0f} | ≥ {AIM} |"
        for r in results
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    device = parser.parse_args().device
    name = platform.machine() if device == "cpu" else torch.cuda.get_device_name(device)
    results = [measure(label, *case, device) for label, case in CASES.items()]
    print(f"{name}, {torch.get_num_threads()} thread(s), torch {torch.__version__}\n\n{table(results)}\n")
    print(json.dumps({"device_name": name, "threads": torch.get_num_threads(), "results": results}))


if __name__ == "__main__":
    main()
