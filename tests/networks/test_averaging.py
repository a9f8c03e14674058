"""Averages of weights against a loop by hand, across a stop and a start."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from offnormal.networks.averaging import WeightAverages
from offnormal.random import generator, scoped


def networks() -> nn.ModuleDict:
    with scoped(0, "networks"):
        return nn.ModuleDict({"encoder": nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), "judge": nn.Linear(4, 1)})


def walk(steps: int) -> list[dict[str, Tensor]]:
    """Weights after each of some steps."""
    own = generator(0, "walk")
    return [
        {name: torch.randn(weight.shape, generator=own) for name, weight in networks().named_parameters()}
        for _ in range(steps)
    ]


def follow(averages: WeightAverages, nets: nn.Module, places: list[dict[str, Tensor]]) -> None:
    with torch.no_grad():
        for place in places:
            for name, weight in nets.named_parameters():
                weight.copy_(place[name])
            averages.take(nets)


def by_hand(decay: float, places: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    averages = {name: weight.detach().clone() for name, weight in networks().named_parameters()}
    for t, place in enumerate(places):
        keep = min(decay, (1 + t) / (10 + t))
        averages = {name: keep * average + (1 - keep) * place[name] for name, average in averages.items()}
    return averages


@pytest.mark.parametrize("decay", [0.9, 0.999, 0.0])
def test_they_are_those_of_a_loop_by_hand_with_its_warm_up(decay: float) -> None:
    """At 0.9 the warm-up ends after 81 steps; at 0.999 all 200 are in it; at 0 the last weights are all there is."""
    nets, places = networks(), walk(200)
    averages = WeightAverages(nets, decay)
    follow(averages, nets, places)
    mean = nets["encoder"][1].running_mean.fill_(5.0).clone()
    with torch.no_grad():
        averages.put_into(nets)
    for name, expected in by_hand(decay, places).items():
        torch.testing.assert_close(nets.get_parameter(name), expected, rtol=1e-4, atol=1e-6)
        assert decay > 0 or torch.equal(expected, places[-1][name])
    assert torch.equal(nets["encoder"][1].running_mean, mean), "statistics of norms are not weights"
    assert all(weight.requires_grad for weight in nets.parameters())


def test_they_go_on_from_a_saved_state_bit_for_bit() -> None:
    nets, places = networks(), walk(60)
    whole = WeightAverages(nets, 0.95)
    follow(whole, nets, places)
    first = WeightAverages(nets := networks(), 0.95)
    follow(first, nets, places[:25])
    second = WeightAverages(networks(), 0.95)
    second.load_state_dict(first.state_dict())
    follow(second, nets, places[25:])
    assert all(
        torch.equal(a, b) for a, b in zip(whole.state_dict().values(), second.state_dict().values(), strict=True)
    )
    assert float(second.steps) == 60


def test_they_hold_copies_and_nothing_to_be_trained() -> None:
    nets = networks()
    averages = WeightAverages(nets, 0.9)
    with torch.no_grad():
        nets["judge"].weight.fill_(7.0)
    assert not (averages.get_buffer("judge/weight") == 7).any()
    assert not list(averages.parameters())
    assert len(averages.state_dict()) == 1 + len(list(nets.parameters()))
    with torch.device("meta"):
        assert WeightAverages(nn.Linear(2, 2), 0.9).state_dict().keys() == {"steps", "weight", "bias"}
