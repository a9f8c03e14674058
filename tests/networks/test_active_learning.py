"""The networks that SO-GAAL and MO-GAAL share: where they start, what D is shown, and the score by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import logit
from torch import Tensor
from torch.nn.functional import binary_cross_entropy

from offnormal.batches import Batch, Batches
from offnormal.networks.active_learning import ActiveLearning, generators, rows_of_each
from offnormal.random import generator, scoped

ROWS = torch.rand(200, 3, generator=generator(0, "rows"))


def network(k: int = 4, rank: int = 0) -> ActiveLearning:
    with scoped(0, "build"):
        return ActiveLearning(n_features=3, n_generators=k, hidden=16, rank=rank)


@pytest.mark.parametrize("rank", [0, 2])
def test_generators_start_as_the_identity_and_keep_apart(rank: int) -> None:
    with scoped(0, "build"):
        made = generators(3, 5, rank)
    noise = torch.rand(3, 7, 5, generator=generator(0, "noise"))
    torch.testing.assert_close(made(noise), noise)
    before = made(noise)
    rows = made(noise)[1].square().sum()
    rows.backward()
    with torch.no_grad():
        for weight in made.parameters():
            assert weight.grad is not None
            weight.sub_(0.1 * weight.grad)
    after = made(noise)
    assert torch.equal(after[[0, 2]], before[[0, 2]]), "the others have not moved"
    assert float((after[1] - before[1]).detach().abs().max()) > 0.01
    assert float(after.detach().min()) >= 0


@pytest.mark.parametrize(("k", "rows"), [(1, 128), (4, 10), (10, 500), (10, 1024), (10, 7), (100, 64)])
def test_the_generators_share_the_batch_in_proportion(k: int, rows: int) -> None:
    counts = rows_of_each(k, rows)
    exact = rows * np.arange(k, 0, -1) / (k * (k + 1) / 2)
    assert len(counts) == k
    assert (np.abs(np.array(counts) - exact) < 1.01).all()
    assert min(counts) >= 1
    if exact.min() >= 1:
        assert sum(counts) == rows


def test_the_discriminator_is_shown_the_rows_and_each_generators_share() -> None:
    net = network()
    shown: list[Tensor] = []
    net.discriminator.register_forward_hook(lambda _, inputs, __: shown.append(inputs[0]))
    with torch.no_grad():
        net.generators[2].bias += 10 * torch.arange(4.0)[:, None, None]  # generator i lifts its rows by 10 i
    with scoped(1, "step"):
        terms = net.discriminator_losses(Batch(ROWS[:100], torch.arange(100)))
    real, fake = shown
    assert torch.equal(real, ROWS[:100])
    makers = (fake / 10).floor()
    assert bool((makers == makers[:, :1]).all()), "noise lies in [0, 1)"
    assert torch.equal(makers[:, 0].long().bincount(), torch.tensor([40, 30, 20, 10]))
    both = torch.sigmoid(net.discriminator(torch.cat([real, fake])).double()).flatten()
    together = binary_cross_entropy(both, torch.cat([torch.ones(100), torch.zeros(100)]).double())
    total = terms["real"] + terms["fake"]
    torch.testing.assert_close(total.double(), together, rtol=1e-5, atol=0)
    total.backward()
    assert all(weight.grad is None for weight in net.generators.parameters())


def test_the_score_is_one_minus_d_in_log_odds_and_rises_outside_the_box() -> None:
    net = network(k=1).eval()
    with torch.no_grad():
        net.discriminator[2].weight *= 20
        net.summarize(Batches(ROWS, 64))
        probability = torch.sigmoid(net.discriminator(ROWS).double()).flatten()
        score = net.score(ROWS)
        np.testing.assert_allclose(score.numpy(), logit(1 - probability.numpy()), rtol=1e-5, atol=1e-5)
        low, high = ROWS.amin(0), ROWS.amax(0)
        assert torch.equal(net.low, low)
        assert torch.equal(net.high, high)
        assert float(net.reach) == pytest.approx(float(score.max() - score.min()))
        for times in (1.5, 1e2, 1e6, 1e15):  # of the box's width beyond its upper end, in the second column
            row = ROWS[:1].clone()
            row[0, 1] = high[1] + times * (high[1] - low[1])
            edge = row.clone()
            edge[0, 1] = high[1]
            expected = net.score(edge) + net.reach * times
            torch.testing.assert_close(net.score(row), expected, rtol=1e-5, atol=1e-5)
        before = torch.random.get_rng_state()
        assert torch.equal(net.score(ROWS), score)
        assert torch.equal(before, torch.random.get_rng_state())


def test_constant_rows_have_a_finite_score() -> None:
    net = network(k=1)
    with torch.no_grad():
        net.summarize(Batches(torch.zeros(5, 3), 64))
        assert float(net.reach) == 1
        assert float(net.score(torch.full((1, 3), 2.0)) - net.score(torch.zeros(1, 3))) == pytest.approx(2 * 3**0.5)


def test_generated_rows_are_as_many_as_asked_for_and_of_all_generators() -> None:
    net = network()
    with torch.no_grad():
        net.generators[2].bias += 10 * torch.arange(4.0)[:, None, None]
        with scoped(0, "generate"):
            made = net.generate(ROWS)
            few = net.generate(ROWS[:2])
    assert made.shape == ROWS.shape
    assert few.shape == (2, 3)
    assert len(set((made[:32, 0] / 10).long().tolist())) == 4, "the first rows are not those of the first one alone"
