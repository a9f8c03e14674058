"""Streams of random numbers: fixed by their names, independent, and invisible to the caller."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy import stats

from offnormal.random import derive_seed, entropy_seed, generator, numpy_generator, scoped


def test_seeds_are_the_same_on_every_machine_and_in_every_version() -> None:
    """Models are promised to repeat; these figures may never change."""
    assert derive_seed(0) == 5254295370254170289
    assert derive_seed(0, "order", 3) == 8483304753239185838
    assert derive_seed(12345678901234567890, "build") == 7079842664099197587
    digest = hashlib.sha256(b"(0, 'order', 3)").hexdigest()
    assert derive_seed(0, "order", 3) == int(digest[:16], 16) // 2
    own = np.random.default_rng(derive_seed(0, "folds")).random(3)
    assert np.array_equal(numpy_generator(0, "folds").random(3), own)


def test_seeds_do_not_depend_on_the_process() -> None:
    """Python's own hash of texts does."""
    script = "from offnormal.random import derive_seed; print(derive_seed(7, 'a', 1))"
    environments = [{"PYTHONHASHSEED": "1"}, {"PYTHONHASHSEED": "2"}]
    found = {subprocess.check_output([sys.executable, "-c", script], env=one, text=True) for one in environments}
    assert found == {f"{derive_seed(7, 'a', 1)}\n"}


def test_every_name_and_the_seed_matter() -> None:
    names = [(), ("a",), ("a", "b"), ("b", "a"), ("ab",), ("a", 1), ("a", "1"), ("a1",), (1, "a"), ("", "a"), ("a", "")]
    seeds = [derive_seed(seed, *name) for seed in (0, 1, -1, 2**70) for name in names]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert derive_seed(np.int64(3), "a") == derive_seed(3, "a")


def test_neighboring_streams_are_independent() -> None:
    """Uniform over streams at the same place, and no correlation between streams (400 streams, α = 0.1 %)."""
    draws = np.stack([numpy_generator(0, "epoch", i).random(50) for i in range(400)])
    assert stats.kstest(draws[:, 0], "uniform").pvalue > 1e-3
    correlation = np.corrcoef(draws[:-1].ravel(), draws[1:].ravel())[0, 1]
    assert abs(correlation) < 3.3 / np.sqrt(draws[1:].size)
    of_torch = torch.stack([torch.rand(50, generator=generator(0, "epoch", i)) for i in range(400)]).numpy()
    assert stats.kstest(of_torch[:, 0], "uniform").pvalue > 1e-3


def test_generators_repeat_and_leave_the_global_state() -> None:
    before = torch.random.get_rng_state()
    assert torch.equal(torch.rand(3, generator=generator(5, "x")), torch.rand(3, generator=generator(5, "x")))
    assert np.array_equal(numpy_generator(5, "x").random(3), numpy_generator(5, "x").random(3))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_scope_repeats_and_gives_the_callers_state_back() -> None:
    torch.manual_seed(99)
    expected = torch.rand(4)
    torch.manual_seed(99)
    inside = []
    for _ in range(2):
        with scoped(3, "build"):
            inside.append(torch.rand(4))
    with scoped(3, "dropout"):
        other = torch.rand(4)
    assert torch.equal(inside[0], inside[1])
    assert not torch.equal(inside[0], other)
    assert torch.equal(torch.rand(4), expected)


def test_a_scope_gives_the_state_back_after_an_error_and_can_be_nested() -> None:
    before = torch.random.get_rng_state()
    with scoped(1, "outer"):
        first = torch.rand(2)
        with pytest.raises(RuntimeError, match="negative"), scoped(1, "inner"):
            torch.rand(-1)
        second = torch.rand(2)
    assert torch.equal(torch.random.get_rng_state(), before)
    with scoped(1, "outer"):
        assert torch.equal(torch.rand(4), torch.cat([first, second]))


def test_entropy_gives_another_seed_each_time() -> None:
    seeds = {entropy_seed() for _ in range(20)}
    assert len(seeds) == 20
    assert all(0 <= seed < 2**32 for seed in seeds)
