"""Rates times a factor above one, not beyond the stability limit."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests import zoo
from tests.readings import DIRECTION, STEP, only

from unstuck.reading import Estimate
from unstuck.remedies.raise_learning_rate import LEAST, RaiseLearningRate

FREE = replace(STEP, best_multiple=Estimate(100.0, 20.0), sharpness=None, limit=None, sharpness_over_limit=None)


def test_every_rate_is_raised() -> None:
    problem = zoo.problem(zoo.perceptron, **zoo.SCHEDULES["per epoch"])
    treated = RaiseLearningRate(factor=30.0).apply(problem.branch())
    assert [group["lr"] for group in treated.optimizer.param_groups] == pytest.approx([1.5])
    assert treated.scheduler.base_lrs == pytest.approx([1.5])
    assert [group["lr"] for group in problem.optimizer.param_groups] == [0.05]
    assert problem.scheduler.base_lrs == [0.05]


def test_a_ladder_from_twice_the_best_multiple() -> None:
    factors = [dose.factor for dose in RaiseLearningRate.propose(only(FREE))]
    assert factors[0] == 240.0
    assert factors == sorted(factors, reverse=True)
    assert len(set(factors)) == len(factors) > 1
    assert factors[-1] >= LEAST


def test_not_beyond_the_limit() -> None:
    factors = [dose.factor for dose in RaiseLearningRate.propose(only(replace(FREE, sharpness_over_limit=0.1)))]
    assert factors[0] == 10.0


def test_small_raises_are_not_proposed() -> None:
    assert RaiseLearningRate.propose(only(replace(FREE, best_multiple=Estimate(1.0, 0.2)))) == ()
    assert RaiseLearningRate.propose(only(replace(FREE, sharpness_over_limit=0.8))) == ()
    assert RaiseLearningRate.propose(only(DIRECTION)) == ()


def test_the_last_look_counts() -> None:
    later = replace(STEP, update=100, best_multiple=Estimate(1.0, 0.0))
    assert RaiseLearningRate.propose(only(FREE, later)) == ()
