"""Discriminators of pairs: features before the last layer, the order of a pair, the axis of images, spectral norms."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from offnormal.networks.backbones import Plan
from offnormal.networks.pairs import row_code_discriminator, twin_discriminator
from offnormal.random import generator, scoped

VECTORS = Plan((5,), (7,), activation="leaky_relu")
IMAGES = Plan((3, 8, 8), (4, 6), activation="leaky_relu", batch_norm=True, first_norm=False)
CLIPS = Plan((1, 4, 8, 8), (4, 6), activation="leaky_relu")


def drawn(plan: Plan, name: str) -> Tensor:
    return torch.randn(6, *plan.shape, generator=generator(0, name))


@pytest.mark.parametrize("plan", [VECTORS, IMAGES, CLIPS, replace(IMAGES, network="dense")])
def test_a_row_and_its_code_meet_after_a_branch_each(plan: Plan) -> None:
    with scoped(0, "judge"):
        judge = row_code_discriminator(plan, 3, (9,), (11, 10), dropout=0.5).eval()
    x, z = drawn(plan, "x"), torch.randn(6, 3, generator=generator(0, "z"))
    features, logit = judge.features_and_logit(x, z)
    assert features.shape == (6, 10)
    last = judge.joint[-1]
    assert isinstance(last, nn.Linear)
    torch.testing.assert_close(logit, features @ last.weight[0] + last.bias)
    assert torch.equal(judge(x, z), logit)
    by_hand = torch.cat([judge.rows(x), judge.codes(z)], 1)
    torch.testing.assert_close(judge.joint(by_hand).squeeze(1), logit)
    assert by_hand.shape[1] - judge.rows(x).shape[1] == 9
    for changed in (judge(x.flip(0), z), judge(x, z.flip(0))):
        assert not torch.allclose(changed, logit), "both of the pair count"
    torch.testing.assert_close(judge(x[:1], z[:1]), logit[:1])
    linear = nn.functional.linear(z, judge.codes[0].weight, judge.codes[0].bias)
    torch.testing.assert_close(judge.codes(z), torch.where(linear > 0, linear, 0.2 * linear))


def test_without_widths_a_branch_is_its_input_and_the_verdict_linear() -> None:
    judge = row_code_discriminator(replace(VECTORS, hidden_sizes=()), 3, (), (), dropout=0.0)
    x, z = drawn(VECTORS, "x"), torch.randn(6, 3, generator=generator(0, "z"))
    features, _ = judge.features_and_logit(x, z)
    assert torch.equal(features, torch.cat([x, z], 1))


@pytest.mark.parametrize(
    ("plan", "axis", "shape"),
    [
        (VECTORS, "height", (10,)),
        (IMAGES, "height", (3, 16, 8)),
        (IMAGES, "channels", (6, 8, 8)),
        (CLIPS, "height", (1, 4, 16, 8)),
        (CLIPS, "channels", (2, 4, 8, 8)),
    ],
)
def test_two_rows_lie_along_the_axis_in_their_order(plan: Plan, axis: str, shape: tuple[int, ...]) -> None:
    with scoped(0, "judge"):
        judge = twin_discriminator(plan, axis).eval()
    seen: list[Tensor] = []
    judge.chain.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    judge.chain[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    x, other = drawn(plan, "x"), drawn(plan, "other")
    features, logit = judge.features_and_logit(x, other)
    assert seen[0].shape == (6, *shape)
    first, second = seen[0].tensor_split(2, dim=judge.axis)
    assert torch.equal(first, x)
    assert torch.equal(second, other)
    last = judge.chain[-1]
    assert isinstance(last, nn.Linear)
    torch.testing.assert_close(logit, features @ last.weight[0] + last.bias)
    assert not torch.allclose(judge(other, x), logit)


def test_all_weights_but_the_last_layers_have_norm_one() -> None:
    with scoped(0, "judge"):
        pair = row_code_discriminator(IMAGES, 3, (9,), (11,), dropout=0.0).normed()
        twin = twin_discriminator(IMAGES).normed()
        x, z = drawn(IMAGES, "x"), torch.randn(6, 3)
        for _ in range(200):  # each pass in training is one power iteration
            pair(x, z)
            twin(x, x)
    chains = [*pair.rows, *pair.codes, *pair.joint], [*twin.chain]
    for layers in chains:
        norms = [
            torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2).item()
            for layer in layers
            if isinstance(layer, (nn.Linear, nn.Conv2d))
        ]
        assert norms[:-1] == pytest.approx([1.0] * (len(norms) - 1), abs=1e-3)
        assert abs(norms[-1] - 1) > 1e-2
