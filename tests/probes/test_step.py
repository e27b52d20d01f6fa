"""The loss along the real update, against closed forms on quadratics."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from tests import zoo
from tests.methods.test_stability import RULES, Build, at_the_limit, descent
from tests.probes.look import Weights, look, quadratic
from tests.readings import STEP

from unstuck.methods.stability import stability_limit
from unstuck.probes.step import Step, StepReading
from unstuck.problem import Problem
from unstuck.specimens import bowl, healthy, product_at_origin, rate_too_high, rate_too_low
from unstuck.walk import walk

CURVATURES, START = [1.0, 3.0, 10.0], [2.0, -1.0, 0.5]


def read(problem: Problem) -> StepReading:
    reading: StepReading = look(Step(), problem)
    return reading


def expected(problem: Problem) -> tuple[float, float, float]:
    """Along the update d from θ on ½ θᵀHθ: best multiple −g·d / dᵀHd, the critical one twice that, and the drop."""
    curvature = torch.tensor(CURVATURES, dtype=torch.float64)
    point = problem.point()["weights"]
    branch = problem.branch()
    walk(branch, 1)
    direction = branch.point()["weights"] - point
    slope, bend = float(-(curvature * point) @ direction), float((curvature * direction) @ direction)
    return slope / bend, 2 * slope / bend, slope**2 / bend / 2


@pytest.mark.parametrize(
    "optimizer",
    [
        *(descent(rate) for rate in (1e-4, 7e-3, 0.03, 0.15, 0.19, 0.5, 3.0)),
        lambda parameters: torch.optim.SGD(parameters, lr=0.01, momentum=0.9, nesterov=True),
        lambda parameters: torch.optim.Adam(parameters, lr=0.003),
        lambda parameters: torch.optim.RMSprop(parameters, lr=1e-4),
    ],
)
def test_best_and_critical_multiple(optimizer: Build) -> None:
    """Found on a grid: of powers of four, and a half and a double of the best of them."""
    problem = quadratic(CURVATURES, START, optimizer)
    best, critical, drop = expected(problem)
    reading = read(problem)
    assert 2**-0.5 / 1.05 <= reading.best_multiple.value / best <= 2**0.5 * 1.05
    assert reading.best_multiple.error == pytest.approx(0.0)
    assert 0.5 <= reading.critical_multiple / critical <= 2
    assert 0.8 * drop <= reading.best_drop.value <= drop * (1 + 1e-9)
    assert reading.draw() is not None


def test_the_losses_along_the_line_are_the_parabola() -> None:
    problem = quadratic([4.0], [1.0], descent(0.1))
    reading = read(problem)
    assert reading.multiples[0] == 4.0**-3
    (losses,) = reading.losses
    assert losses[0] == pytest.approx(2.0)
    assert losses[1:] == pytest.approx([2 * (1 - 0.4 * m) ** 2 for m in reading.multiples])
    assert reading.relative_step == pytest.approx(0.4)
    assert (reading.optimizer, reading.rate, reading.momentum) == ("SGD", 0.1, 0.0)


def test_batches_that_disagree_widen_the_error() -> None:
    """Four batches whose steps are of different length: L_i = ½ (w·x_i − 1)², x growing."""
    model = Weights(0.0)
    inputs = torch.linspace(0.25, 4.0, 16, dtype=torch.float64).reshape(16, 1).repeat_interleave(64, 0)
    problem = Problem(
        model,
        lambda outputs, targets: (outputs - targets).square().mean() / 2,
        [(part, torch.ones_like(part)) for part in inputs.split(64)],
        torch.optim.SGD(model.parameters(), lr=0.01),
    )
    reading = read(problem)
    assert reading.best_multiple.error > 0
    assert reading.best_drop.error < 0.05 * reading.best_drop.value  # all lead along the one line there is
    assert len(reading.losses) == 3


@pytest.mark.parametrize("name", RULES)
def test_sharpness_over_limit(name: str) -> None:
    reading = read(at_the_limit(RULES[name], 0.7))
    assert reading.sharpness_over_limit == pytest.approx(0.7, rel=1e-4)
    assert reading.rule
    limit = stability_limit(RULES[name]([torch.zeros(1)]))
    assert limit is not None
    assert reading.ringing == pytest.approx(limit.ringing(0.7), rel=1e-4)


def test_rules_without_a_formula_say_so() -> None:
    reading = read(quadratic(CURVATURES, START, lambda parameters: torch.optim.RMSprop(parameters, lr=0.01)))
    assert (reading.sharpness, reading.limit, reading.sharpness_over_limit, reading.ringing) == (None,) * 4
    assert "no formula is known" in reading.rule
    reading = read(quadratic(CURVATURES, START, lambda parameters: torch.optim.Adam(parameters, lr=0.01)))
    assert reading.sharpness is None
    assert "no state yet" in reading.rule


def test_a_step_that_goes_nowhere() -> None:
    reading = read(product_at_origin())
    assert reading.relative_step == 0.0
    assert reading.critical_multiple == math.inf
    assert reading.best_drop.value == 0.0


@pytest.mark.parametrize(
    ("optimizer", "momentum", "whole"), [("SGD", 0.0, 0.1), ("SGD", 0.9, 1.0), ("SGD", 1.0, None), ("Adam", 0.9, None)]
)
def test_how_far_a_gradient_is_walked_in_the_end(optimizer: str, momentum: float, whole: float | None) -> None:
    """η (1 + β + β² + …), where that has a sum and the rule is a sum of gradients."""
    found = replace(STEP, rate=0.1, optimizer=optimizer, momentum=momentum).whole_rate
    assert found == (None if whole is None else pytest.approx(whole))


def test_specimens() -> None:
    high, low, well = read(rate_too_high()), read(rate_too_low()), read(healthy())
    assert high.critical_multiple < 1
    assert high.sharpness_over_limit is not None
    assert high.sharpness_over_limit > 2
    assert low.best_multiple.low > 1000
    assert low.sharpness_over_limit is not None
    assert low.sharpness_over_limit < 1e-3
    assert well.critical_multiple > 2
    assert 1 < read(bowl()).best_multiple.value < 10


@pytest.mark.parametrize("name", ["dropout", "lbfgs", "accumulating", "clipping", "schedule per update", "own step"])
def test_other_ways_to_walk(name: str) -> None:
    reading = read(zoo.ZOO[name](torch.float64))
    assert reading.best_multiple.value > 0
    assert reading.best_drop.value > 0


def test_an_update_that_is_not_finite() -> None:
    reading = read(quadratic(CURVATURES, START, descent(1e200)))
    assert reading.best_drop.value <= 0 or not math.isfinite(reading.best_drop.value)
    assert reading.sharpness_over_limit == pytest.approx(10 * 1e200 / 2)
