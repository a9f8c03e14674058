"""One seed, many named streams; the global random state of the caller is never changed.

Every random number in offnormal comes from `generator(seed, "what", 3)` or from inside `scoped(seed, "what")`. A stream
depends only on the seed and its names, so adding a stream never shifts another, and work can restart at any named
point (an epoch, a fold) without a stored generator state.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def derive_seed(seed: int, *names: str | int) -> int:
    """Return a 63-bit seed that depends on `seed` and on every name, stable across platforms and versions."""
    digest = hashlib.sha256(repr((int(seed), *names)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def numpy_generator(seed: int, *names: str | int) -> np.random.Generator:
    """Return a NumPy generator for the named stream."""
    return np.random.default_rng(derive_seed(seed, *names))


def generator(seed: int, *names: str | int) -> torch.Generator:
    """Return a torch CPU generator for the named stream."""
    import torch

    return torch.Generator().manual_seed(derive_seed(seed, *names))


@contextmanager
def scoped(seed: int, *names: str | int, device: str | torch.device = "cpu") -> Iterator[None]:
    """Run a block under the named stream as torch's default generator, then give the caller's state back.

    Needed where torch takes no generator: parameter initialization and dropout.
    """
    import torch

    device = torch.device(device)
    indices = [torch.cuda.current_device() if device.index is None else device.index] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=indices, device_type=device.type if indices else "cuda"):
        torch.default_generator.manual_seed(derive_seed(seed, *names))
        if indices:
            torch.cuda.manual_seed(derive_seed(seed, *names))
        yield


def entropy_seed() -> int:
    """Return a fresh seed from the operating system, for `random_state=None`."""
    return int(np.random.SeedSequence().generate_state(1, np.uint32)[0])
