"""The terms of the game against torch's cross-entropy, and that real and fake rows never meet in a batch.

The gradient penalty against finite differences, the spectral norm against NumPy's singular values.
"""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from offnormal.networks.adversarial import (
    code_discriminator,
    features_and_logit,
    gradient_penalty,
    normed_spectrally,
    taken_for_real,
    told_apart,
)
from offnormal.networks.backbones import Plan
from offnormal.random import generator, scoped

REAL = torch.randn(64, 3, generator=generator(0, "real"))
FAKE = 2 + torch.randn(64, 3, generator=generator(0, "fake"))


def test_the_terms_are_cross_entropies_and_only_the_maker_feels_the_last() -> None:
    judge = code_discriminator(3, (8, 4))
    fake = FAKE.clone().requires_grad_()
    terms = told_apart(judge, REAL, fake)
    assert list(terms) == ["real", "fake"]
    torch.testing.assert_close(terms["real"], binary_cross_entropy_with_logits(judge(REAL), torch.ones(64, 1)))
    torch.testing.assert_close(terms["fake"], binary_cross_entropy_with_logits(judge(FAKE), torch.zeros(64, 1)))
    sum(terms.values()).backward()
    assert fake.grad is None
    term = taken_for_real(judge, fake)
    torch.testing.assert_close(term, binary_cross_entropy_with_logits(judge(FAKE), torch.ones(64, 1)))
    term.backward()
    assert fake.grad is not None
    assert float(fake.grad.abs().sum()) > 0


def test_a_norm_over_the_batch_sees_real_and_fake_rows_apart() -> None:
    with scoped(0, "judge"):
        judge = code_discriminator(3, (8,), batch_norm=True).train()
    first, second = told_apart(judge, REAL, FAKE), told_apart(judge, REAL, FAKE + 100)
    assert torch.equal(first["real"], second["real"])
    together = binary_cross_entropy_with_logits(judge(torch.cat([REAL, FAKE]))[:64], torch.ones(64, 1))
    assert abs((first["real"] - together).item()) > 1e-3, "in one pass fake rows would move the verdict on real ones"


# --- the gradient penalty ---------------------------------------------------------------------------------------------


def test_the_penalty_of_a_linear_critic_has_a_closed_form() -> None:
    """Its slope is w wherever it is looked at, so the penalty is (‖w‖ − 1)²."""
    critic = nn.Linear(3, 1)
    with torch.no_grad():
        critic.weight.copy_(torch.tensor([[1.0, -2.0, 2.0]]))
    assert gradient_penalty(critic, REAL, FAKE).item() == pytest.approx((3 - 1) ** 2, rel=1e-6)
    with torch.no_grad():
        critic.weight.mul_(1 / 3)
    assert gradient_penalty(critic, REAL, FAKE).item() == pytest.approx(0, abs=1e-10)


def smooth_critic(shape: tuple[int, ...]) -> nn.Sequential:
    width = math.prod(shape)
    with scoped(0, "critic"):
        return nn.Sequential(nn.Flatten(), nn.Linear(width, 5), nn.Softplus(), nn.Linear(5, 1)).double()


@pytest.mark.parametrize("shape", [(3,), (2, 3, 3)])
def test_the_penalty_and_its_gradient_are_those_of_finite_differences(shape: tuple[int, ...]) -> None:
    """One place per row, whatever its shape, on the line between the two: the slopes are found without autograd."""
    critic = smooth_critic(shape)
    real, fake = (torch.randn(7, *shape, generator=generator(0, name)).double() for name in ("real", "fake"))

    def penalty() -> Tensor:
        with scoped(0, "place"):
            return gradient_penalty(critic, real, fake)

    with scoped(0, "place"):
        place = torch.rand(7, *(1 for _ in shape), dtype=torch.float64)
    between, step = fake + place * (real - fake), 1e-5
    steps = step * torch.eye(math.prod(shape)).double().reshape(-1, 1, *shape)
    with torch.no_grad():
        slopes = torch.stack([(critic(between + s) - critic(between - s))[:, 0] / (2 * step) for s in steps], 1)
        expected = float((slopes.norm(dim=1) - 1).square().mean())
    found = penalty()
    assert found.item() == pytest.approx(expected, rel=1e-7)
    found.backward()
    weight = critic[1].weight
    for i, j in ((0, 0), (3, 1), (4, 2)):
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                weight[i, j] += sign * step
            ends.append(penalty().item())
            with torch.no_grad():
                weight[i, j] -= sign * step
        assert weight.grad[i, j].item() == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-5)


def test_places_lie_between_real_and_fake_and_nothing_flows_into_what_made_them() -> None:
    seen = []

    def critic(x: Tensor) -> Tensor:
        seen.append(x.detach())
        return x.square().sum(1, keepdim=True)

    fake = FAKE.clone().requires_grad_()
    penalty = gradient_penalty(critic, REAL, fake)
    place = (seen[0] - FAKE) / (REAL - FAKE)
    torch.testing.assert_close(place, place[:, :1].expand(-1, 3), rtol=1e-3, atol=1e-3)
    assert ((place > -1e-3) & (place < 1 + 1e-3)).all()
    assert place[:, 0].std() > 0.2, "spread over [0, 1]"
    assert penalty.item() == pytest.approx(float((2 * seen[0].norm(dim=1) - 1).square().mean()), rel=1e-5)
    penalty.backward()
    assert fake.grad is None


def test_a_critic_without_slope_has_a_finite_penalty() -> None:
    flat = nn.Linear(3, 1)
    nn.init.zeros_(flat.weight)
    penalty = gradient_penalty(flat, REAL, FAKE)
    penalty.backward()
    assert penalty.item() == pytest.approx(1, abs=1e-5)
    assert flat.weight.grad.isfinite().all()


# --- the spectral norm ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "plan",
    [
        Plan((6,), (9, 4), "dense", "leaky_relu"),
        Plan((2, 8, 8), (4, 5), activation="leaky_relu", dense_sizes=(7,)),
        Plan((1, 4, 8, 8), (3,), activation="leaky_relu"),
    ],
    ids=["table", "images", "clips"],
)
def test_the_largest_singular_value_of_every_layer_becomes_one(plan: Plan) -> None:
    with scoped(0, "judge"):
        plain = plan.encoder(1)
        judge = normed_spectrally(copy.deepcopy(plain)).train()
    x = torch.randn(4, *plan.shape, generator=generator(0, "rows"))
    with scoped(0, "steps"):
        for _ in range(60):
            judge(x)
    maps = [m for m in judge if hasattr(m, "weight")]
    originals = [m for m in plain if hasattr(m, "weight")]
    assert len(maps) >= 2
    for normed, original in zip(maps, originals, strict=True):
        matrix, before = (m.weight.detach().flatten(1).numpy() for m in (normed, original))
        assert np.linalg.svd(matrix, compute_uv=False)[0] == pytest.approx(1, rel=1e-3)
        np.testing.assert_allclose(matrix * np.linalg.svd(before, compute_uv=False)[0], before, rtol=2e-3, atol=1e-6)


def test_scoring_moves_nothing_of_a_normed_discriminator_and_its_state_is_all_of_it() -> None:
    with scoped(0, "judge"):
        judge = normed_spectrally(code_discriminator(3, (8, 4)))
    judge(REAL)
    judge.eval()
    before = {name: tensor.clone() for name, tensor in judge.state_dict().items()}
    first, alone = judge(REAL), judge(REAL[:1])
    assert torch.equal(first, judge(REAL))
    torch.testing.assert_close(first[:1], alone)
    assert all(torch.equal(tensor, before[name]) for name, tensor in judge.state_dict().items())
    with torch.device("meta"):
        empty = normed_spectrally(code_discriminator(3, (8, 4)))
    empty.load_state_dict(before, assign=True)
    assert torch.equal(empty.eval()(REAL), first), "as a model file is loaded"
    judge.train()(REAL)
    assert any(not torch.equal(tensor, before[name]) for name, tensor in judge.state_dict().items())


@pytest.mark.parametrize("training", [True, False])
def test_a_normed_discriminator_is_taken_apart_and_put_together_with_its_norm(training: bool) -> None:
    """As pickle does, and `copy.copy`; scikit-learn's checks pickle AnoGAN."""
    judge = normed_spectrally(code_discriminator(3, (8, 4))).train(training)
    before = torch.get_rng_state()
    again = nn.Sequential(*map(copy.copy, judge))
    assert torch.equal(torch.get_rng_state(), before)
    assert again.state_dict().keys() == judge.state_dict().keys()
    assert all(torch.equal(again.state_dict()[name], tensor) for name, tensor in judge.state_dict().items())
    assert torch.equal(again(REAL), judge(REAL)), "one more power iteration in training, none else"
    assert len(tuple(again.parameters())) == 6
    assert torch.equal(copy.deepcopy(again).eval()(REAL), judge.eval()(REAL))


def test_every_weight_of_a_normed_discriminator_is_trained() -> None:
    judge = normed_spectrally(code_discriminator(3, (8, 4)))
    parameters = tuple(judge.parameters())
    sum(told_apart(judge, REAL, FAKE).values()).backward(inputs=parameters)
    assert len(parameters) == 6
    assert all(bool(p.grad.abs().sum() > 0) for p in parameters)


# --- features ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plan", "width"),
    [
        (Plan((6,), (9, 4), "dense", "leaky_relu"), 4),
        (Plan((2, 8, 8), (3, 5), activation="leaky_relu"), 5 * 2 * 2),
        (Plan((2, 8, 8), (3, 5), activation="leaky_relu", dense_sizes=(7,), dropout=0.5), 7),
        (Plan((2, 4, 4), (6,), "dense", "leaky_relu"), 6),
    ],
)
def test_features_are_what_goes_into_the_last_layer_and_the_logit_is_that_of_the_whole(plan: Plan, width: int) -> None:
    with scoped(0, "judge"):
        judge = plan.encoder(1).eval()
    x = torch.randn(4, *plan.shape, generator=generator(0, "rows"))
    features, logit = features_and_logit(judge, x)
    assert features.shape == (4, width)
    torch.testing.assert_close(logit[:, None], judge(x))
    torch.testing.assert_close(features @ judge[-1].weight[0] + judge[-1].bias, logit)
