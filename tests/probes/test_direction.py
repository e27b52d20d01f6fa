"""A stretch of the walk: does the loss fall, and do the gradients agree?"""

from __future__ import annotations

import math

import pytest
import torch
from tests import zoo
from tests.probes.look import look, quadratic, view

from unstuck.budget import Budget
from unstuck.probes.direction import WINDOW, Direction, DirectionReading, of_run
from unstuck.problem import Problem
from unstuck.specimens import bowl, healthy, product_at_origin, rate_too_high
from unstuck.walk import Run, Update, walk


def read(problem: Problem) -> DirectionReading:
    reading: DirectionReading = look(Direction(), problem)
    return reading


def parabola(rate: float) -> Problem:
    """½ w², walked from 1: w_t = (1 − rate)^t."""
    return quadratic([1.0], [1.0], lambda parameters: torch.optim.SGD(parameters, lr=rate))


def test_down_a_parabola() -> None:
    reading = read(parabola(0.1))
    assert reading.updates == len(reading.losses) == WINDOW
    assert reading.start == 0.5
    assert reading.end == pytest.approx(0.5 * 0.9 ** (2 * WINDOW))
    assert reading.losses == pytest.approx([0.5 * 0.9 ** (2 * t) for t in range(WINDOW)])
    assert reading.cosine == pytest.approx(1.0)
    assert reading.slope.high < 0
    assert reading.falls
    assert reading.largest == 0.5
    assert reading.typical_norm == pytest.approx(0.9 ** (WINDOW / 2), rel=0.1)
    assert reading.broke_at is None
    assert reading.draw() is not None


def test_bouncing_between_the_walls() -> None:
    reading = read(parabola(1.999))
    assert reading.cosine == pytest.approx(-1.0)
    growing = read(parabola(2.1))
    assert growing.cosine == pytest.approx(-1.0)
    assert not growing.falls
    assert growing.largest == pytest.approx(0.5 * 1.1 ** (2 * WINDOW - 2))
    assert growing.end is not None
    assert growing.end > growing.start


def test_a_walk_that_breaks() -> None:
    reading = read(parabola(1e90))
    assert reading.broke_at is not None
    assert reading.end is None
    assert not reading.falls
    assert math.isfinite(reading.largest)
    assert reading.draw() is not None


def test_standing_still() -> None:
    reading = read(product_at_origin())
    assert (reading.start, reading.end) == (1.0, 1.0)
    assert not reading.falls
    assert reading.typical_norm == 0.0


def test_specimens() -> None:
    assert read(healthy()).falls
    assert read(bowl()).falls
    assert not read(rate_too_high()).falls


def test_the_budget_bounds_the_walk_and_the_cost_is_counted() -> None:
    problem = zoo.ZOO["accumulating"](torch.float64)
    seen = view(problem)
    assert Direction().measure(seen, Budget(updates=7)).updates == 7
    assert seen.gradient_evaluations == 14


def test_the_walk_is_the_one_of_the_views_seed() -> None:
    problem = zoo.MODELS["dropout"](torch.float64)
    run = walk(problem.branch(), WINDOW, order=3)
    assert look(Direction(), problem, seed=3).losses == tuple(row.loss for row in run.curve)
    assert look(Direction(), problem, seed=3) == look(Direction(), problem, seed=3)
    assert look(Direction(), problem, seed=4).losses != tuple(row.loss for row in run.curve)


def test_of_a_run_that_was_made_anyway() -> None:
    rows = [(5.0, math.nan), (4.0, 0.5), (math.nan, math.nan), (2.0, -0.5), (1.0, 0.1), (0.5, 0.1)]
    curve = tuple(
        Update(update=10 + i, loss=loss, rate=0.1, gradient_norm=float(i), cosine=cosine)
        for i, (loss, cosine) in enumerate(rows)
    )
    reading = of_run(Run(curve=curve, checkpoints=((10, 5.0), (16, 0.4))), samples=3)
    assert (reading.update, reading.updates, reading.samples) == (10, 6, 3)
    assert reading.losses == (5.0, 4.0, 2.0, 1.0, 0.5)
    assert reading.cosine == pytest.approx(0.1)
    assert (reading.start, reading.end) == (5.0, 0.4)
    short = of_run(Run(curve=curve[:2], checkpoints=((10, 5.0), (12, 4.0))), samples=3)
    assert short.slope.error == math.inf
    assert not short.falls
