"""Backbones: sizes that meet whatever the shape, chains that end at the feature map, activations by hand."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from offnormal.errors import InvalidParameter
from offnormal.networks.backbones import SLOPE, Plan, hidden_activations
from offnormal.random import generator, scoped

IMAGES_AND_CLIPS: list[tuple[tuple[int, ...], dict[str, Any]]] = [
    ((1, 28, 28), {"hidden_sizes": (16, 32, 64), "kernel_sizes": (2, 3, 3)}),
    ((3, 32, 32), {}),
    ((3, 17, 23), {"kernel_sizes": (3,)}),
    ((1, 21, 9), {"hidden_sizes": (4, 5), "kernel_sizes": (5, 2), "batch_norm": True}),
    ((2, 7, 7), {"activation": "relu"}),
    ((1, 8, 18, 21), {"hidden_sizes": (3, 4), "batch_norm": True}),
    ((3, 5, 9, 11), {"hidden_sizes": (3, 4), "kernel_sizes": (3,)}),
    ((1, 28, 28), {"hidden_sizes": (4, 5, 6), "kernel_sizes": (3, 4, 4), "strides": (1, 2, 2)}),
    ((3, 17, 23), {"hidden_sizes": (4, 5), "kernel_sizes": (5, 4), "strides": (3, 1)}),
]
LINEAR_BEFORE_THE_CODE: list[tuple[tuple[int, ...], dict[str, Any]]] = [
    ((3, 17, 23), {"hidden_sizes": (4, 5), "kernel_sizes": (5, 4), "strides": (3, 1), "dense_sizes": (9, 8)}),
    ((1, 8, 9, 10), {"hidden_sizes": (3, 4), "strides": (1, 2), "dense_sizes": (7,), "batch_norm": True}),
    ((2, 8, 8), {"hidden_sizes": (3, 4), "dense_sizes": (6,), "dropout": 0.3, "first_norm": False}),
]
DENSE: list[tuple[tuple[int, ...], dict[str, Any]]] = [
    ((7,), {}),
    ((7,), {"hidden_sizes": ()}),
    ((7,), {"hidden_sizes": (5, 4), "activation": "leaky_relu", "batch_norm": True}),
    ((3, 6, 5), {"network": "dense", "hidden_sizes": (9,)}),
    ((1, 4, 6, 5), {"network": "dense", "hidden_sizes": (9,)}),
    ((7,), {"hidden_sizes": (5, 4), "activation": "relu", "dropout": 0.2, "start": 0.3}),
]


def rows(shape: tuple[int, ...], n: int = 4) -> Tensor:
    return torch.randn(n, *shape, generator=generator(0, "rows"))


def reaches_every_parameter(*chains: nn.Sequential, x: Tensor) -> bool:
    for chain in chains:
        x = chain(x)
    x.pow(3).sum().backward()
    return all(p.grad is not None and bool(p.grad.abs().sum() > 0) for chain in chains for p in chain.parameters())


@pytest.mark.parametrize(("shape", "changes"), [*IMAGES_AND_CLIPS, *LINEAR_BEFORE_THE_CODE, *DENSE])
def test_the_decoder_leads_back_to_the_shape_of_a_row(shape: tuple[int, ...], changes: dict[str, Any]) -> None:
    plan = Plan(shape, **changes)
    with scoped(0, "build"):
        encoder, decoder = plan.backbone(6)
    x = rows(shape)
    assert encoder(x).shape == (4, 6)
    assert decoder(encoder(x)).shape == x.shape
    assert isinstance(encoder[-1], nn.Linear), "the code is linear"
    assert reaches_every_parameter(encoder, decoder, x=x)
    twice = plan.decoder(6, outputs_per_value=2)(torch.zeros(4, 6))
    assert twice.shape == (4, 2 * shape[0], *shape[1:])


@pytest.mark.parametrize(("shape", "changes"), IMAGES_AND_CLIPS)
def test_chains_may_end_and_begin_at_the_flattened_feature_map(shape: tuple[int, ...], changes: dict[str, Any]) -> None:
    """The chain without a code is the chain with one, less its linear layer: same weights from the same seed."""
    plan, x = Plan(shape, **changes), rows(shape)
    with scoped(0, "encoder"):
        flat = plan.encoder(None)
    with scoped(0, "encoder"):
        coded = plan.encoder(6)
    torch.testing.assert_close(flat(x), coded[:-1](x), rtol=0, atol=0)
    grid = coded[:-2](x).shape[1:]
    assert plan.feature_map == tuple(grid)
    assert grid[0] == plan.sizes()[-1]
    decoder = plan.decoder(None)
    assert not any(isinstance(module, nn.Linear) for module in (*flat, *decoder))
    assert decoder(flat(x)).shape == x.shape
    assert reaches_every_parameter(flat, decoder, x=x)


def test_a_fully_connected_network_has_no_feature_map() -> None:
    for plan in (Plan((7,)), Plan((1, 8, 8), network="dense")):
        for ask in (plan.encoder, plan.decoder):
            with pytest.raises(InvalidParameter, match="no feature map"):
                ask(None)


def test_what_cannot_be_built_says_why() -> None:
    with pytest.raises(InvalidParameter, match="Convolutions need images"):
        Plan((7,), network="convolutional").backbone(2)
    with pytest.raises(InvalidParameter, match="Images of 6×6 are too small for 3 convolutions"):
        Plan((1, 6, 6), hidden_sizes=(2, 2, 2)).backbone(2)
    with pytest.raises(InvalidParameter, match="3 convolutions and 2 kernel sizes"):
        Plan((1, 28, 28), hidden_sizes=(2, 2, 2), kernel_sizes=(3, 4)).backbone(2)
    small = Plan((1, 28, 28), hidden_sizes=(2, 2, 2), kernel_sizes=(1, 3, 3))
    small.encoder(2)  # MemAE's of digits: it skips pixels, but its decoder makes all
    with pytest.raises(InvalidParameter, match="makes only every second pixel"):
        small.decoder(2)


def test_shapes_decide_the_network_where_nobody_does() -> None:
    assert Plan((400,)).sizes() == (200, 100)
    assert [Plan((1, side, side)).sizes() for side in (4, 8, 64)] == [(32,), (32, 64), (32, 64, 128)]
    assert not Plan((7,)).convolutional
    assert Plan((1, 8, 8)).convolutional
    assert not Plan((1, 8, 8), network="dense").convolutional


@pytest.mark.parametrize("activation", ["tanh", "leaky_relu"])
def test_hidden_activations_of_a_dense_encoder_are_those_of_its_equations(activation: str) -> None:
    with scoped(0, "build"):
        encoder = Plan((7,), hidden_sizes=(6, 5), activation=activation).encoder(3)
    linear = [m for m in encoder if isinstance(m, nn.Linear)]
    assert [(m.in_features, m.out_features) for m in linear] == list(pairwise((7, 6, 5, 3)))
    x = rows((7,))
    by_hand = []
    h = x
    for i, layer in enumerate(linear):
        h = h @ layer.weight.T + layer.bias
        if i < 2:
            h = h.tanh() if activation == "tanh" else torch.where(h > 0, h, SLOPE * h)
        by_hand.append(h)
    found = hidden_activations(encoder, x)
    assert len(found) == 3
    torch.testing.assert_close(found, by_hand)


def test_hidden_activations_of_convolutions_come_after_norm_and_activation() -> None:
    with scoped(0, "build"):
        encoder = Plan((2, 9, 9), hidden_sizes=(3, 4), activation="relu", batch_norm=True).encoder(5).eval()
    first, norm, _, second, norm_2, _, _, last = encoder
    assert isinstance(norm, nn.BatchNorm2d)
    assert isinstance(norm_2, nn.BatchNorm2d)
    with torch.no_grad():
        norm.running_mean.fill_(0.3)
        norm_2.running_var.fill_(2.5)
    x = rows((2, 9, 9))
    one = ((first(x) - 0.3) / (1 + norm.eps) ** 0.5).clamp_min(0)
    two = (second(one) / (2.5 + norm_2.eps) ** 0.5).clamp_min(0)
    code = two.flatten(1) @ last.weight.T + last.bias
    found = hidden_activations(encoder, x)
    assert [value.shape for value in found] == [(4, 3, 4, 4), (4, 16), (4, 5)], "flat before the code"
    torch.testing.assert_close(found, [one, two.flatten(1), code])


def test_hidden_activations_of_a_dense_network_on_images_begin_with_its_first_layer() -> None:
    encoder = Plan((1, 4, 4), network="dense", hidden_sizes=(6,)).encoder(2)
    found = hidden_activations(encoder, rows((1, 4, 4)))
    assert [value.shape for value in found] == [(4, 6), (4, 2)]


# --- what the networks of the adversarial papers need ---------------------------------------------------------------


def maps_of(chain: nn.Sequential) -> list[nn.Module]:
    return [module for module in chain if isinstance(getattr(module, "weight", None), Tensor) and not is_norm(module)]


def is_norm(module: nn.Module) -> bool:
    return isinstance(module, nn.modules.batchnorm._BatchNorm)


def kinds(chain: nn.Sequential) -> list[str]:
    return [type(module).__name__ for module in chain]


def test_linear_layers_stand_between_the_convolutions_and_the_code_and_mirror_in_the_decoder() -> None:
    plan = Plan((2, 9, 9), (3, 4), activation="relu", batch_norm=True, dense_sizes=(7, 6))
    encoder, decoder = plan.backbone(5)
    flat = 4 * 2 * 2
    sizes = [(m.in_features, m.out_features) for m in encoder if isinstance(m, nn.Linear)]
    assert sizes == [(flat, 7), (7, 6), (6, 5)]
    assert [(m.in_features, m.out_features) for m in decoder if isinstance(m, nn.Linear)] == [
        (wide, narrow)[::-1] for wide, narrow in reversed(sizes)
    ]
    assert kinds(encoder) == [
        *("Conv2d", "BatchNorm2d", "ReLU") * 2, "Flatten", *("Linear", "BatchNorm1d", "ReLU") * 2, "Linear",
    ]  # fmt: skip
    assert kinds(decoder) == [
        *("Linear", "BatchNorm1d", "ReLU") * 2, "Linear", "Unflatten", "BatchNorm2d", "ReLU",
        "ConvTranspose2d", "BatchNorm2d", "ReLU", "ConvTranspose2d",
    ]  # fmt: skip
    assert not any(isinstance(module, nn.Linear) for module in (*plan.encoder(None), *plan.decoder(None)))


def test_strides_are_those_of_each_convolution() -> None:
    """ALAD's and EGBAD's discriminator of digits begins with a convolution that keeps the size."""
    plan = Plan((1, 28, 28), (4, 5, 6), kernel_sizes=(3, 4, 4), strides=(1, 2, 2))
    assert plan.feature_map == (6, 7, 7)
    x = rows((1, 28, 28))
    sides = [x.shape[-1] for x in hidden_activations(plan.encoder(None), x)[:-1]]
    assert sides == [28, 14]
    assert Plan((1, 28, 28), (4, 5), strides=(4,), kernel_sizes=(4,)).feature_map == (5, 2, 2)
    assert Plan((1, 28, 28), (4, 5), strides=(1,), kernel_sizes=(3,)).feature_map == (5, 28, 28)


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(InvalidParameter, match="2 convolutions and 3 strides"):
        Plan((1, 28, 28), (2, 2), strides=(1, 2, 2)).backbone(2)
    plan = Plan((1, 28, 28), (2, 2), kernel_sizes=(3, 2), strides=(2, 3))
    plan.encoder(2)
    with pytest.raises(InvalidParameter, match="makes only every second pixel"):
        plan.decoder(2)


@pytest.mark.parametrize(
    ("shape", "changes"),
    [((7,), {}), ((2, 8, 8), {"dense_sizes": (9,)}), ((2, 8, 8), {"network": "dense"}), ((1, 4, 8, 8), {})],
)
def test_dropout_follows_every_hidden_activation_and_is_off_in_evaluation(
    shape: tuple[int, ...], changes: dict[str, Any]
) -> None:
    options: dict[str, Any] = {"hidden_sizes": (6, 5), "activation": "leaky_relu", **changes}
    with scoped(0, "build"):
        encoder, decoder = Plan(shape, dropout=0.4, **options).backbone(3)
    with scoped(0, "build"):
        plain = Plan(shape, start=None, **options).backbone(3)
    x = rows(shape)
    for chain, without in ((encoder, plain.encoder), (decoder, plain.decoder)):
        order = kinds(chain)
        after = [order[i + 1] for i, name in enumerate(order) if name == "LeakyReLU"]
        assert after == ["Dropout"] * (len(maps_of(chain)) - 1)
        given = x if chain is encoder else torch.ones(4, 3)
        torch.testing.assert_close(chain.eval()(given), without.eval()(given), rtol=0, atol=0)
        assert torch.equal(chain(given), chain(given))
        chain.train()
        with scoped(0, "dropout"):
            assert not torch.equal(chain(given), chain(given))
    assert {m.p for m in encoder if isinstance(m, nn.Dropout)} == {0.4}


def test_the_first_layer_of_an_encoder_may_be_without_norm() -> None:
    options: dict[str, Any] = {"hidden_sizes": (6, 5), "activation": "leaky_relu", "batch_norm": True}
    for shape in ((7,), (2, 8, 8)):
        with_first, without = Plan(shape, **options), Plan(shape, first_norm=False, **options)
        assert [is_norm(m) for m in with_first.encoder(3)].count(True) == 2
        encoder = without.encoder(3)
        assert [is_norm(m) for m in encoder].count(True) == 1
        first = next(i for i, m in enumerate(encoder) if m in maps_of(encoder))
        assert isinstance(encoder[first + 1], nn.LeakyReLU)
    decoders = [Plan((2, 8, 8), first_norm=first, **options).decoder(3) for first in (True, False)]
    assert kinds(decoders[0]) == kinds(decoders[1]), "of images; the decoder is not meant"


@pytest.mark.parametrize("shape", [(50,), (3, 16, 16), (1, 8, 16, 16)])
def test_weights_begin_as_they_are_told_and_biases_at_zero(shape: tuple[int, ...]) -> None:
    options: dict[str, Any] = {"hidden_sizes": (40, 50), "activation": "relu"}
    with scoped(0, "build"):
        normal = [*Plan(shape, start=0.02, **options).backbone(30)]
        glorot = [*Plan(shape, **options).backbone(30)]
    for chain in normal:
        for layer in maps_of(chain):
            assert layer.weight.std().item() == pytest.approx(0.02, rel=0.1)
            assert layer.weight.mean().abs() < 0.002
            assert layer.weight.abs().max() > 0.05, "no uniform draw of that spread reaches so far"
            assert not layer.bias.any()
    for chain in glorot:
        for layer in maps_of(chain):
            fan_in, fan_out = nn.init._calculate_fan_in_and_fan_out(layer.weight)
            limit = (6 / (fan_in + fan_out)) ** 0.5
            assert 0.98 * limit < layer.weight.abs().max() <= limit
            assert not layer.bias.any()
