"""Walks on quadratics: which rate diverges, which is best, and how long a valley takes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from tests.closed_forms.made import DOUBLE, batch_of, descent, normal, of, regression, set_to, tensor, values, walked
from tests.probes.look import look, quadratic, view
from torch import Tensor, nn

from unstuck.curvature.whole import whole_hessian
from unstuck.methods.stability import stability_limit
from unstuck.probes.spectrum import Spectrum, SpectrumReading
from unstuck.problem import Problem
from unstuck.remedies.normalize_inputs import NormalizeInputs
from unstuck.vector import flatten

POKEMON = (
    (338.0, 333.0, 328.0, 207.0, 226.0, 25.0, 179.0, 60.0, 208.0, 606.0),
    (640.0, 633.0, 619.0, 393.0, 428.0, 27.0, 193.0, 66.0, 226.0, 1591.0),
)
"""The ten points of the lecture's regression."""

FLAT, STEEP = 5.5735, 1.74683e6
"""The eigenvalues of its Hessian."""


def valley(rate: float) -> Problem:
    """y = w x + b on the ten points, the sum of squares, from w = −4, b = −120."""
    inputs, targets = (tensor(*row)[:, None] for row in POKEMON)
    problem = of(
        nn.Linear(1, 1, dtype=DOUBLE), lambda o, t: (o - t).square().sum(), inputs, targets, descent(rate=rate)
    )
    return set_to(problem, tensor(-4.0)[:, None], tensor(-120.0))


def optimum(problem: Problem) -> Tensor:
    """Where one Newton step leads, which on a quadratic is the minimum."""
    gradient = flatten(problem.gradient_at(problem.point(), batch_of(problem)))
    matrix = whole_hessian(problem.hessian_at(problem.point(), batch_of(problem)))
    step: Tensor = torch.linalg.solve(matrix, gradient)
    return flatten(problem.point()) - step


def test_the_lectures_valley() -> None:
    """C2: eigenvalues 5.5735 and 1.74683e6, minimum at b = −188.4332, w = 2.66945, limit 1.14493e-6."""
    problem = valley(1e-7)
    reading: SpectrumReading = look(Spectrum(), problem)
    assert reading.nodes == pytest.approx((FLAT, STEEP), rel=1e-5)
    assert optimum(problem).tolist() == pytest.approx([2.66945, -188.4332], rel=1e-5)
    assert 2 / reading.largest.value == pytest.approx(1.14493e-6, rel=1e-5)


@pytest.mark.parametrize(("rate", "stays"), [(1.1e-6, True), (1.14e-6, True), (1.15e-6, False), (1.2e-6, False)])
def test_which_rates_the_valley_bears(rate: float, stays: bool) -> None:
    """C2: the walk diverges beyond 2 / λ_max alone."""
    problem = valley(rate)
    limit = stability_limit(problem.optimizer)
    assert limit is not None
    assert (view(problem).extremes.largest.values[-1] < limit.curvature) == stays
    run, _ = walked(problem, 600)
    assert (run.broke_at is None and run.curve[-1].loss < run.curve[0].loss) == stays


@pytest.mark.parametrize(("rate", "left"), [(1e-7, 0.946), (1e-6, 0.573), (1.1e-6, 0.542)])
def test_what_is_left_of_each_direction(rate: float, left: float) -> None:
    """C6: after T updates (1 − ηλ)^T of the error along each eigenvector is left; 1e5 are too few for the valley."""
    problem, updates = valley(rate), 200
    goal = optimum(problem)
    ends = view(problem).extremes
    _, end = walked(problem, updates)
    for vector, value in zip(ends.smallest.vectors, ends.smallest.values, strict=True):
        before, after = (float(vector @ (flatten(point) - goal)) for point in (problem.point(), end))
        remaining = (1 - rate * value) ** updates
        assert after == pytest.approx(remaining * before, rel=1e-6, abs=1e-9 * abs(before))
    along = ends.smallest.vectors[0]  # nearly the constant's own direction
    error = flatten(problem.point()) - goal
    bias = float(along[1] * (along @ error)) * (1 - rate * ends.smallest.values[0]) ** 100_000
    assert bias / float(error[1]) == pytest.approx(left, abs=6e-4)


def test_standardized_inputs_straighten_the_valley() -> None:
    """C2: with standardized inputs gradient descent at 1/L arrives within a hundred updates."""
    branch = NormalizeInputs(axis=1).apply(valley(1.0).branch())
    curvature = view(branch).extremes.largest.values[-1]
    straight = branch.changed(optimizer=torch.optim.SGD(branch.model.parameters(), lr=1 / curvature))
    goal = optimum(straight)
    _, end = walked(straight, 100)
    assert float((flatten(end) - goal).norm() / (flatten(straight.point()) - goal).norm()) < 1e-6


# Stability


RULES: dict[str, tuple[Callable[[Any, float], torch.optim.Optimizer], float]] = {
    "gradient descent": (lambda p, rate: torch.optim.SGD(p, lr=rate), 2.0),
    "heavy ball": (lambda p, rate: torch.optim.SGD(p, lr=rate, momentum=0.9), 3.8),
    "averaged gradient": (lambda p, rate: torch.optim.SGD(p, lr=rate, momentum=0.9, dampening=0.9), 38.0),
    "Nesterov": (lambda p, rate: torch.optim.SGD(p, lr=rate, momentum=0.9, nesterov=True), 3.8 / 2.8),
}


@pytest.mark.parametrize("rule", RULES)
def test_the_stability_limit(rule: str) -> None:
    """C3: on curvature 1, β = 0.9, walks stop converging at η = 2, 2(1+β), 2(1+β)/(1−β) and 2(1+β)/(1+2β)."""
    optimizer, largest = RULES[rule]

    def shrinks(rate: float) -> bool:
        run, _ = walked(quadratic([1.0], [1.0], lambda parameters: optimizer(parameters, rate)), 600)
        return run.broke_at is None and run.curve[-1].loss < 0.1 * run.curve[20].loss

    limit = stability_limit(optimizer([nn.Parameter(tensor(1.0))], largest))
    assert limit is not None
    assert limit.curvature == pytest.approx(1.0)
    assert shrinks(0.98 * largest)
    assert not shrinks(1.005 * largest)


CONDITION = 100.0


def bowl(rate: float, momentum: float = 0.0, condition: float = CONDITION) -> Problem:
    """Curvatures 1 and κ, from (1, 1)."""
    return quadratic([1.0, condition], [1.0, 1.0], descent(rate=rate, momentum=momentum))


def shrinkage(problem: Problem, updates: int) -> float:
    """The mean factor per update over the second half of a walk, as the loss shows it."""
    run, _ = walked(problem, updates)
    losses = [row.loss for row in run.curve]
    half = len(losses) // 2
    return float((losses[-1] / losses[half]) ** (0.5 / (len(losses) - 1 - half)))


def test_the_best_heavy_ball() -> None:
    """C4: η = (2/(√L + √μ))², β = ((√κ − 1)/(√κ + 1))² shrink every direction by √β = 9/11; no neighbour is better."""
    rate, momentum = (2 / (10 + 1)) ** 2, ((10 - 1) / (10 + 1)) ** 2
    assert (rate, momentum) == pytest.approx((0.033058, 0.669421), rel=1e-5)
    best = shrinkage(bowl(rate, momentum), 400)
    assert best == pytest.approx(9 / 11, rel=0.01)  # double roots: a factor of T beside the power
    for other in (bowl(0.9 * rate, momentum), bowl(1.05 * rate, momentum), bowl(rate, momentum + 0.05)):
        assert shrinkage(other, 400) > best
    assert shrinkage(bowl(rate, momentum - 0.05), 400) > best


@pytest.mark.parametrize("rate", [2 / 101, 1.9 / 101, 2.01 / 101])
def test_the_best_rate_of_descent(rate: float) -> None:
    """C5: the best rate is 2/(L + μ), and shrinks the error by (κ − 1)/(κ + 1) = 0.980198 per update."""
    found, best = shrinkage(bowl(rate), 400), 99 / 101
    assert found == pytest.approx(best, abs=1e-9) if rate == 2 / 101 else found > best + 1e-4


def distance_after(problem: Problem, updates: int) -> float:
    """The distance to the minimum, relative to what it was."""
    return math.hypot(*values(walked(problem, updates)[1])) / math.hypot(*values(problem.point()))


def test_how_many_updates_it_takes() -> None:
    """C5: to 1e-6 at κ = 100 it takes 691 updates, with the best heavy ball fewer than a hundred."""
    best, heavy = bowl(2 / 101), bowl((2 / 11) ** 2, (9 / 11) ** 2)
    assert distance_after(best, 690) > 1e-6 >= distance_after(best, 691)
    assert distance_after(heavy, 60) > 1e-6 >= distance_after(heavy, 100)


# Linear regression


@pytest.mark.parametrize("half", [False, True])
def test_the_hessian_of_linear_regression(half: bool) -> None:
    """C7: H = (2/n) X'X of the mean squared error, (1/n) X'X of half of it."""
    inputs, targets = normal(30, 6, seed=1), normal(30, 1, seed=2)
    loss = (lambda o, t: (o - t).square().mean() / 2) if half else nn.MSELoss()
    problem = regression(inputs, targets, loss=loss)
    expected = inputs.T @ inputs * ((1 if half else 2) / 30)
    found = whole_hessian(problem.hessian_at(problem.point(), *problem.data.whole(chunk=8)))
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    reading: SpectrumReading = look(Spectrum(), problem)
    assert reading.nodes == pytest.approx(torch.linalg.eigvalsh(expected).tolist(), rel=1e-11)


def test_fewer_samples_than_weights_leave_flat_directions() -> None:
    """C7: of 12 weights on 5 samples, seven directions are flat."""
    reading: SpectrumReading = look(Spectrum(), regression(normal(5, 12), normal(5, 1, seed=1)))
    assert reading.near_zero.value == pytest.approx(7 / 12)
    assert reading.minimum_ratio.value == pytest.approx(5 / 12)
    assert not reading.negative
