"""What a step changes, against each gradient taken by hand, and what is known exactly."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from unstuck.fleet_network import Network
from unstuck.study.experiments.curved import Curved, mean_loss
from unstuck.study.experiments.networks import squared_error
from unstuck.study.experiments.shift import STEPS, along_the_gradient, at_loss, drifts, layer_shifts, theorem_error

RATE = 0.1


def small() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3), nn.Tanh(), nn.Linear(3, 2)).double()


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    both = torch.randn(7, 6, generator=generator, dtype=torch.float64)
    return both[:, :4], both[:, 4:]


def row_of(model: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def slopes(model: nn.Sequential) -> list[torch.Tensor]:
    inputs, targets = batch()
    loss = squared_error(model(inputs), targets).mean()
    return list(torch.autograd.grad(loss, list(model.parameters())))


@pytest.mark.parametrize(("place", "layer"), [(0, 2), (1, 4)])
def test_the_shift_is_that_of_the_layers_before(place: int, layer: int) -> None:
    model, mixed = small(), small()
    network = Network.of(small())
    surface = Curved(mean_loss(network, squared_error, *batch()))
    apart, before, cosine = layer_shifts(network, surface, row_of(model)[None], RATE)
    taken = slopes(model)
    with torch.no_grad():
        for number, (parameter, slope) in enumerate(zip(mixed.parameters(), taken, strict=True)):
            if number < layer:
                parameter.sub_(RATE * slope)
    now, then = taken[layer], slopes(mixed)[layer]
    assert apart.shape == (1, 2)
    torch.testing.assert_close(apart[0, place], (then - now).norm())
    torch.testing.assert_close(before[0, place], now.norm())
    torch.testing.assert_close(cosine[0, place], (now * then).sum() / now.norm() / then.norm())


def test_along_the_gradient_of_a_parabola_all_is_known() -> None:
    curvature = 3.0
    surface = Curved(lambda row: 0.5 * curvature * row.square().sum())
    rows = torch.tensor([[1.0, -2.0], [0.5, 0.0]], dtype=torch.float64)
    heights, changes = along_the_gradient(surface, rows, RATE)
    lengths = RATE * torch.tensor(STEPS, dtype=torch.float64)
    torch.testing.assert_close(changes, (curvature * lengths).expand(2, -1))
    start = 0.5 * curvature * rows.square().sum(1, keepdim=True)
    torch.testing.assert_close(heights, start * (1.0 - curvature * lengths).square())


def test_the_drift_of_a_shifted_unit_is_its_shift_in_deviations() -> None:
    model = nn.Sequential(nn.Linear(4, 1), nn.ReLU(), nn.Linear(1, 2)).double()
    network, inputs = Network.of(copy.deepcopy(model)), batch()[0]
    rows = row_of(model).expand(2, -1).clone()
    moved = rows.clone()
    moved[1, 4] += 0.5
    expected = 0.5 / model[0](inputs).detach().std(correction=0)
    found = drifts(model, network, (rows, moved), inputs, 0)
    torch.testing.assert_close(found, torch.stack([torch.zeros_like(expected), expected]))


@pytest.mark.parametrize("seed", range(3))
def test_the_theorem_is_exact(seed: int) -> None:
    assert theorem_error(seed) < 1e-12


def test_a_value_is_taken_where_the_loss_comes_down() -> None:
    losses, values = [4.0, 1.0, 2.0, 0.25], [1.0, 4.0, 100.0, 16.0]
    assert at_loss(losses, values, 2.0) == pytest.approx(2.0)
    assert at_loss([4.0, 1.0], [1.0, 4.0], 1.0) == pytest.approx(4.0)
    assert math.isnan(at_loss(losses, values, 0.1))
    assert math.isnan(at_loss(losses, values, 5.0))
    assert math.isnan(at_loss([4.0, math.nan], [1.0, 2.0], 2.0))
