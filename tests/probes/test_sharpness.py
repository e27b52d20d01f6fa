"""Sharpness, against closed forms, and what rescaled layers do to it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests import by_hand, zoo
from tests.probes.look import Weights, look, quadratic
from tests.untouched import assert_untouched
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from unstuck.measuring import measure
from unstuck.probes.sharpness import LAYERS, Sharpness, SharpnessReading
from unstuck.problem import Problem
from unstuck.specimens import product_at_origin, softmax_twice
from unstuck.vector import flatten


def read(problem: Problem, seed: int = 0) -> SharpnessReading:
    reading: SharpnessReading = look(Sharpness(), problem, seed=seed)
    return reading


def descent(parameters: list[Tensor]) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.1)


def tilted(slopes: list[float], start: list[float]) -> Problem:
    """L(θ) = c · θ + 2."""
    model = Weights(*start)
    ones = torch.ones(1, len(start), dtype=torch.float64)
    return Problem(
        model,
        lambda outputs, targets: (outputs * torch.tensor(slopes)).sum() + 2,
        DataLoader(TensorDataset(ones, ones)),
        descent(list(model.parameters())),
    )


def test_a_linear_loss_rises_in_a_box_by_its_slopes() -> None:
    """max f = f + ε Σ |cᵢ| (|θᵢ| + 1), and without the 1 in units of the weights."""
    slopes, start = [1.0, -2.0, 0.5], [3.0, 0.25, -1.0]
    reading = read(tilted(slopes, start))
    loss = 2 + 3.0 - 0.5 - 0.5
    widths = {
        "box": (1e-3, 1),
        "narrow_box": (5e-4, 1),
        "adaptive_box": (1e-3, 0),
        "narrow_adaptive_box": (5e-4, 0),
    }
    for name, (size, more) in widths.items():
        rise = size * sum(abs(c) * (abs(x) + more) for c, x in zip(slopes, start, strict=True))
        assert getattr(reading, name) == pytest.approx(100 * rise / (1 + loss), rel=1e-10), name
    assert reading.rise == pytest.approx(0.05 * np.linalg.norm(slopes))
    assert reading.rise == pytest.approx(reading.predicted_rise)
    scaled = np.multiply(slopes, start)
    assert reading.adaptive_rise == pytest.approx(0.5 * np.linalg.norm(scaled))
    assert reading.adaptive_rise == pytest.approx(reading.predicted_adaptive_rise)


def test_a_bowl_at_its_minimum_rises_by_its_curvature() -> None:
    """½ λ ε² n at θ = 0, where no weight has a width of its own."""
    reading = read(quadratic([4.0] * 6, [0.0] * 6, descent))
    assert reading.box == pytest.approx(100 * 0.5 * 4.0 * 1e-6 * 6, rel=1e-9)
    assert reading.narrow_box == pytest.approx(100 * 0.5 * 4.0 * 0.25e-6 * 6, rel=1e-9)
    assert (reading.adaptive_box, reading.adaptive_rise, reading.rise) == (0.0, 0.0, 0.0)
    assert reading.largest.value == pytest.approx(4.0)
    assert reading.adaptive_largest.value == pytest.approx(0.0)


def test_away_from_it_the_rise_exceeds_the_slopes_by_the_curvature() -> None:
    """f(θ + ρ u) − f = ρ u·g + ½ ρ² uᵀHu, u = g/‖g‖ or T²g/‖Tg‖."""
    curvature, start = np.array([3.0, 1.0]), np.array([1.0, -2.0])
    reading = read(quadratic(curvature.tolist(), start.tolist(), descent))
    slope = curvature * start
    raw = 0.05 * slope / np.linalg.norm(slope)
    adaptive = 0.5 * start**2 * slope / np.linalg.norm(start * slope)
    assert reading.rise == pytest.approx(raw @ slope + raw @ (curvature * raw) / 2)
    assert reading.predicted_rise == pytest.approx(raw @ slope)
    assert reading.adaptive_rise == pytest.approx(adaptive @ slope + adaptive @ (curvature * adaptive) / 2)
    assert reading.predicted_adaptive_rise == pytest.approx(adaptive @ slope)
    assert reading.adaptive_largest.value == pytest.approx(4.0)  # of diag(3 · 1², 1 · 2²)


def test_keskars_box_is_not_that_of_the_weights_at_the_lectures_saddle() -> None:
    """(1 − w1 w2)² is largest at w1 = −w2 = ε: (1 + ε²)². A box in units of weights that are zero is a point."""
    reading = read(product_at_origin())
    assert reading.box == pytest.approx(100 * 2e-6 / 2, rel=0.1)  # single precision
    assert reading.adaptive_box == 0.0


def rectified(factors: Tensor) -> Problem:
    """Two layers of rectified units; the weights into each unit times its factor, those out of it over it."""
    problem = zoo.problem(lambda: nn.Sequential(nn.Linear(zoo.FEATURES, 6), nn.ReLU(), nn.Linear(6, zoo.CLASSES)))
    with torch.no_grad():
        problem.model[0].weight.mul_(factors[:, None])  # type: ignore[index]
        problem.model[0].bias.mul_(factors)  # type: ignore[index]
        problem.model[2].weight.div_(factors)  # type: ignore[index]
    return problem


RAW = ("box", "narrow_box", "rise")
COMPANIONS = ("adaptive_box", "narrow_adaptive_box", "adaptive_rise", "predicted_adaptive_rise")


@pytest.mark.parametrize(
    "factors",
    [torch.full((6,), 100.0), torch.full((6,), 0.01), torch.tensor([1e-2, 0.1, 1.0, 10.0, 100.0, 30.0])],
    ids=["layer up", "layer down", "unit by unit"],
)
def test_rescaled_layers_change_the_raw_measures_and_not_their_companions(factors: Tensor) -> None:
    """Dinh et al. 2017: the function stays what it is, and the Hessian grows as one likes."""
    before, after = read(rectified(torch.ones(6))), read(rectified(factors.double()))
    assert after.loss == pytest.approx(before.loss, rel=1e-14)
    assert after.largest.value > 100 * before.largest.value
    assert after.box > 3 * before.box
    assert after.predicted_rise > 3 * before.predicted_rise
    for name in COMPANIONS:
        assert getattr(after, name) == pytest.approx(getattr(before, name), rel=1e-6), name
    assert after.adaptive_largest.value == pytest.approx(before.adaptive_largest.value, rel=1e-6)
    assert after.layer_adaptive_largest == pytest.approx(before.layer_adaptive_largest, rel=1e-6)
    assert max(np.divide(after.layer_largest, before.layer_largest)) > 100


def test_each_layer_has_the_curvature_of_its_own_block() -> None:
    problem = zoo.MODELS["perceptron"](torch.float64)
    (everything,) = problem.data.whole(chunk=10**6)
    flat = flatten(problem.point())
    matrix = np.asarray(
        torch.autograd.functional.hessian(lambda at: by_hand.mean_loss(problem, [everything], at), flat)
    )
    weights = np.abs(np.asarray(flat))
    reading = read(problem)
    assert reading.layers == ("0", "2")
    for number, block in enumerate((slice(0, 25), slice(25, 43))):
        own, size = matrix[block, block], weights[block]
        highest, adaptive = (np.linalg.eigvalsh(part)[-1] for part in (own, size[:, None] * own * size))
        assert abs(reading.layer_largest[number] - highest) <= reading.layer_largest_error[number] + 1e-12
        assert abs(reading.layer_adaptive_largest[number] - adaptive) <= (
            reading.layer_adaptive_largest_error[number] + 1e-12
        )
        assert reading.layer_largest[number] == pytest.approx(highest, rel=0.05)
    assert reading.largest.value == pytest.approx(np.linalg.eigvalsh(matrix)[-1])
    adaptive = np.linalg.eigvalsh(weights[:, None] * matrix * weights)[-1]
    assert abs(reading.adaptive_largest.value - adaptive) <= reading.adaptive_largest.error + 1e-12


def test_many_layers_are_left_out_with_a_note() -> None:
    deep = [nn.Linear(3, 3) for _ in range(LAYERS)]
    reading = read(zoo.problem(lambda: nn.Sequential(nn.Linear(zoo.FEATURES, 3), *deep)))
    assert reading.layers == ()
    assert reading.layer_largest == ()
    assert any(f"{LAYERS + 1} layers" in note for note in reading.notes)
    assert list(reading.pictures()) == ["ascent"]


@pytest.mark.parametrize("name", ["batch norm", "dropout", "own step", "sparse embedding", "two inputs"])
def test_every_kind_of_model_is_measured_and_nothing_is_touched(name: str) -> None:
    problem = zoo.MODELS[name](torch.float64)
    with assert_untouched(problem):
        first, second = (measure(problem, Sharpness(corners=3), seed=1) for _ in range(2))
    assert first == second
    assert first.box >= first.narrow_box >= 0.0
    assert list(first.pictures()) == ["ascent", "layers"]


def test_it_says_that_losses_must_be_equal_to_compare() -> None:
    reading = read(softmax_twice())
    assert any("only where their losses are equal" in note for note in reading.notes)
    figure = reading.draw()
    assert [line.name for line in figure.data] == [
        "raw, ρ = 0.05",
        "raw, ρ = 0.05, slope",
        "of relative changes, ρ = 0.5",
        "of relative changes, ρ = 0.5, slope",
    ]
    assert figure.data[0].y[4] == reading.rise
