"""How much faster AnoGAN searches the rows of a block at once than row by row, with the same steps, in one run.

The networks are those of the defaults, as initialized: speed does not depend on what they have learned. The loop takes
a few rows of the block, one at a time; its time is given per row. The ratio is of seconds per row, the median of three
rounds. A table is bound by the overhead of its small steps, so a batch saves nearly all of it; images on a processor
are bound by arithmetic, which a batch does not save. `most` is what the ratio would be if the block did its additions
and multiplications as fast as a product of two large matrices: no block can do better than that.

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
SIDE = 1024
"""Of the square matrices whose product is the bar of speed."""


def network_for(shape: tuple[int, ...], parameters: dict[str, Any], device: str) -> AnoGANNetwork:
    """Return AnoGAN's networks, untrained, with a search of `STEPS` steps."""
    detector = AnoGAN(search_steps=STEPS, **parameters)
    detector.planned_epochs_ = 1
    with scoped(0, "build"):
        network = detector.build(shape)
    assert isinstance(network, AnoGANNetwork)
    return network.eval().to(device)


def operations(network: AnoGANNetwork) -> int:
    """Return the additions and multiplications of the layers in the search of one row, all steps and starts.

    Weights are fixed, so that a step goes through the networks forward and backward at the same cost.
    """
    products = 0

    def count(layer: nn.Module, given: tuple[torch.Tensor], made: torch.Tensor) -> None:
        nonlocal products
        if isinstance(layer, nn.Linear):
            products += layer.weight.numel()
        elif isinstance(layer, nn.Conv2d):
            products += layer.weight.numel() * made[0, 0].numel()
        elif isinstance(layer, nn.ConvTranspose2d):
            products += layer.weight.numel() * given[0][0, 0].numel()

    hooks = [layer.register_forward_hook(count) for layer in network.modules()]
    with torch.no_grad():
        network.discriminator(network.generator(network.starts[:1]))
    for hook in hooks:
        hook.remove()
    return 2 * 2 * products * STEPS * len(network.starts)


def operations_a_second(dtype: torch.dtype, device: str) -> float:
    """Return the additions and multiplications a second of a product of two large matrices, the best of ten."""
    left, right = torch.rand(2, SIDE, SIDE, dtype=dtype, device=device)
    seconds = []
    for _ in range(10):
        started = time.perf_counter()
        product = left @ right
        float(product[0, 0])  # waits for a device
        seconds.append(time.perf_counter() - started)
    return 2 * SIDE**3 / min(seconds)


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
    least = operations(network) / operations_a_second(network.search_type, device)
    return {
        "what": label,
        "device": device,
        "rows": rows,
        "steps": STEPS,
        "precision": str(network.search_type).removeprefix("torch."),
        "batch_ms_per_row": 1e3 * statistics.median(batch for batch, _ in rounds),
        "loop_ms_per_row": 1e3 * statistics.median(loop for _, loop in rounds),
        "ratio": statistics.median(loop / batch for batch, loop in rounds),
        "most": statistics.median(loop for _, loop in rounds) / least,
    }


def found(network: AnoGANNetwork, networks: list[nn.Sequential], rows: torch.Tensor) -> torch.Tensor:
    """Return the codes of some rows, as `AnoGANNetwork.search` finds them."""
    unlike = network.unlikeness(*networks, rows)
    return best_of_starts(unlike, network.starts.to(rows), len(rows), network.rates)


def table(results: list[dict[str, Any]]) -> str:
    """Return the results as a table in Markdown."""
    lines = [
        f"| search of {STEPS} steps | rows in a block | block, ms a row | loop, ms a row | loop / block | most | aim |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r['what']}, {r['precision']} | {r['rows']:,} | {r['batch_ms_per_row']:.3g} | {r['loop_ms_per_row']:.3g} | "
        f"{r['ratio']:.0f} | {r['most']:,.0f} | ≥ {AIM} |"
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
