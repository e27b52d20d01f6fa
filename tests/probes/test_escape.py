"""Ways down from where we stand, at the lecture's critical points and elsewhere."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from tests import zoo
from tests.probes.look import look, quadratic, view
from torch import Tensor, nn

from unstuck.initial import initial_scales
from unstuck.probes.escape import Escape, EscapeReading, along_curvature, initial_norm
from unstuck.problem import Problem
from unstuck.specimens import bowl, deep_product_at_origin, healthy, product_at_origin, zero_initialized


def read(problem: Problem, seed: int = 0) -> EscapeReading:
    reading: EscapeReading = look(Escape(), problem, seed=seed)
    return reading


def descent(parameters: list[Tensor]) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.1)


def test_the_lectures_saddle() -> None:
    """L = (1 − w1 w2)² falls from 1 to 0 along (1, 1)/√2, at the length √2; the gradient shows no way at all."""
    reading = read(product_at_origin())
    assert reading.loss == 1.0
    assert reading.gradient_drop == 0.0
    assert 0.8 < reading.curvature_drop <= 1.0
    assert abs(reading.curvature_length) == pytest.approx(2**0.5, rel=0.45)  # lengths are tried in doubles
    assert reading.predicted_ratio == pytest.approx(1.0, rel=0.01)
    assert reading.perturbed_drop > 0.5
    assert reading.symmetric == 1.0
    assert reading.draw() is not None
    line = dict(zip(reading.lengths, reading.losses, strict=True))
    for length, loss in line.items():
        assert loss == pytest.approx((1 - length**2 / 2) ** 2, rel=1e-5, abs=1e-6)


def test_a_degenerate_saddle_shows_no_curvature_but_a_way() -> None:
    reading = read(deep_product_at_origin())
    assert (reading.gradient_drop, reading.curvature_drop, reading.curvature_length) == (0.0, 0.0, 0.0)
    assert reading.perturbed_drop > 0.3
    assert reading.symmetric == 1.0
    assert reading.draw() is None


def test_a_minimum_has_no_way_down() -> None:
    reading = read(quadratic([1.0, 3.0], [0.0, 0.0], descent))
    assert (reading.loss, reading.gradient_drop, reading.curvature_drop) == (0.0, 0.0, 0.0)
    assert reading.perturbed_drop <= 0.0


def test_beside_a_minimum_the_gradient_is_the_way() -> None:
    reading = read(quadratic([1.0, 3.0], [1.0, 1.0], descent))
    assert reading.gradient_drop == pytest.approx(2.0, rel=0.05)
    assert reading.curvature_drop == 0.0


@pytest.mark.parametrize("curvature", [-1e-3, -1.0, -50.0])
def test_the_drop_along_negative_curvature_is_the_predicted_one(curvature: float) -> None:
    problem = quadratic([2.0, curvature, 0.5], [0.0, 0.0, 0.0], descent)
    reading = read(problem)
    assert reading.predicted_ratio == pytest.approx(1.0, rel=1e-6)
    longest = 16 * initial_norm(view(problem))
    assert abs(reading.curvature_length) == pytest.approx(longest)  # the parabola has no bottom
    assert reading.curvature_drop == pytest.approx(-curvature * longest**2 / 2)


def test_a_slope_across_the_direction_cancels_in_the_prediction() -> None:
    problem = quadratic([2.0, -1.0], [0.0, 0.3], descent)
    reading = read(problem)
    assert reading.predicted_ratio == pytest.approx(1.0, rel=1e-6)
    assert reading.predicted_drop == pytest.approx(reading.curvature_drop)  # of a quadratic, slope and all
    assert reading.model == pytest.approx(reading.losses)


def test_lengths_are_in_units_of_an_ordinary_initialization() -> None:
    seen = view(healthy())
    scales = initial_scales(seen.problem.model)
    drawn = [np.sqrt(scales[name] ** 2 * tensor.numel()) for name, tensor in seen.point.items()]
    assert initial_norm(seen) == pytest.approx(np.linalg.norm(drawn))
    line = along_curvature(view(product_at_origin()), 2.0)
    assert sorted(line) == sorted(sign * 2.0 * 2.0**power for power in range(-6, 5) for sign in (-1, 1))
    assert along_curvature(view(bowl()), 1.0) == {}


def network(change: Callable[[list[nn.Linear]], None]) -> Problem:
    """Three layers, changed before anything is trained."""

    def model() -> nn.Module:
        made = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 3))
        with torch.no_grad():
            change([module for module in made if isinstance(module, nn.Linear)])
        return made

    return zoo.problem(model)


def constant(layers: list[nn.Linear]) -> None:
    """Every weight and bias the same: hidden units are alike, the outputs' gradients are not."""
    for layer in layers:
        layer.weight.fill_(0.3)
        layer.bias.fill_(0.3)


def copied(layers: list[nn.Linear]) -> None:
    """Two of the first layer's five units do the same, and the next layer takes both for the same."""
    layers[0].weight[1] = layers[0].weight[0]
    layers[0].bias[1] = layers[0].bias[0]
    layers[1].weight[:, 1] = layers[1].weight[:, 0]


def zero_outputs(layers: list[nn.Linear]) -> None:
    """As many networks start: the rows are all zero, and part at the first update."""
    layers[-1].weight.zero_()


def alike_incoming(layers: list[nn.Linear]) -> None:
    """Units that get the same, and whose outgoing weights tell them apart."""
    layers[0].weight.fill_(0.3)
    layers[0].bias.zero_()


@pytest.mark.parametrize(
    ("problem", "share"),
    [
        (lambda: network(constant), 10 / 13),
        (lambda: network(copied), 2 / 13),
        (lambda: network(zero_outputs), 0.0),
        (lambda: network(alike_incoming), 0.0),
        (zero_initialized, 1.0),
        (healthy, 0.0),
    ],
)
def test_units_that_stay_alike_are_counted(problem: Callable[[], Problem], share: float) -> None:
    assert read(problem()).symmetric == pytest.approx(share)


def test_zero_weights_are_left_by_breaking_their_symmetry() -> None:
    reading = read(zero_initialized())
    assert reading.gradient_drop < 0.05
    assert reading.perturbed_drop > 3 * reading.gradient_drop


def test_a_look_is_repeated_by_its_seed() -> None:
    first, second, third = (read(zoo.MODELS["dropout"](torch.float64), seed) for seed in (1, 1, 2))
    assert first == second
    assert first.perturbed_drop != third.perturbed_drop
