"""Rates times a factor: in every group, now and wherever the schedule leads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests import zoo
from tests.readings import DIRECTION, STEP, only
from torch.optim import lr_scheduler

from unstuck.problem import Problem
from unstuck.remedies.lower_learning_rate import LowerLearningRate
from unstuck.walk import walk

SCHEDULES: dict[str, Callable[[torch.optim.Optimizer], Any]] = {
    "constant": lambda o: None,
    "exponential": lambda o: lr_scheduler.ExponentialLR(o, 0.9),
    "steps": lambda o: lr_scheduler.MultiStepLR(o, [3, 8]),
    "a function": lambda o: lr_scheduler.LambdaLR(o, lambda t: 1 / (1 + t)),
    "cosine": lambda o: lr_scheduler.CosineAnnealingLR(o, 10),
    "cosine to a floor": lambda o: lr_scheduler.CosineAnnealingLR(o, 10, eta_min=0.005),
    "cosine with restarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 4, eta_min=0.001),
    "one cycle": lambda o: lr_scheduler.OneCycleLR(o, [0.02, 0.2], total_steps=30),
    "cyclic": lambda o: lr_scheduler.CyclicLR(o, 0.01, 0.1, step_size_up=4, cycle_momentum=False),
    "warm-up, then cosine": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.LinearLR(o, 0.1, total_iters=6), lr_scheduler.CosineAnnealingLR(o, 20)], [6]
    ),
    "two at once": lambda o: lr_scheduler.ChainedScheduler(
        [lr_scheduler.LinearLR(o, 0.1, total_iters=6), lr_scheduler.ExponentialLR(o, 0.9)]
    ),
}


def groups(parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
    halves: list[dict[str, Any]] = [{"params": parameters[:2], "lr": 0.01}, {"params": parameters[2:]}]
    return torch.optim.SGD(halves, lr=0.1)


def rates(branch: Problem, updates: int) -> list[float]:
    """Every group's rate after each update."""
    found = []
    for _ in range(updates):
        walk(branch, 1)
        found += [float(group["lr"]) for group in branch.optimizer.param_groups]
    return found


@pytest.mark.parametrize("before", [0, 4])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_whole_schedule_is_scaled(schedule: str, before: int) -> None:
    problem = zoo.problem(
        zoo.perceptron, optimizer=groups, scheduler=SCHEDULES[schedule], schedule_every="update"
    ).branch()
    rates(problem, before)
    treated = LowerLearningRate(factor=0.1).apply(problem.branch())
    now = [group["lr"] for group in problem.optimizer.param_groups]
    assert [group["lr"] for group in treated.optimizer.param_groups] == pytest.approx([0.1 * rate for rate in now])
    assert rates(treated, 12) == pytest.approx([0.1 * rate for rate in rates(problem, 12)])


def test_doses_are_shares_of_the_limit_where_it_is_exceeded() -> None:
    doses = LowerLearningRate.propose(only(replace(STEP, sharpness_over_limit=50.0)))
    assert len(doses) > 1
    assert [dose.factor for dose in doses] == sorted((dose.factor for dose in doses), reverse=True)
    assert all(dose.factor * 50 < 1 for dose in doses)


def test_the_limit_is_that_of_the_start() -> None:
    later = replace(STEP, update=100, sharpness_over_limit=1e-6)
    start = replace(STEP, sharpness_over_limit=50.0)
    assert LowerLearningRate.propose(only(later, start)) == LowerLearningRate.propose(only(start))


@pytest.mark.parametrize("limit", [None, 0.5])
def test_a_third_and_powers_of_ten_where_it_is_unknown_or_not_exceeded(limit: float | None) -> None:
    doses = LowerLearningRate.propose(only(replace(STEP, sharpness_over_limit=limit)))
    assert [dose.factor for dose in doses] == [0.3, 0.1, 0.01, 0.001]
    assert doses == LowerLearningRate.propose(only(DIRECTION))
