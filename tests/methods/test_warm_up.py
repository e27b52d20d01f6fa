"""A schedule on top of another: the product of both, whatever the other one is, and from wherever it goes on."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from tests import zoo
from tests.untouched import assert_untouched

from unstuck.errors import InputError
from unstuck.methods.rate import scale_rates
from unstuck.methods.schedule import Constant, WarmUp
from unstuck.methods.warm_up import Gradual, with_schedule_on_top
from unstuck.problem import Problem
from unstuck.walk import walk

UPDATES = 12
RISE = Gradual(updates=7, start=0.2)

SCHEDULERS: dict[str, dict[str, Any]] = zoo.SCHEDULES | {
    "none": {},
    "of a function": {"scheduler": lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda epoch: 1 / (1 + epoch))},
    "cosine per epoch": {"scheduler": lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 4)},
    "cyclical": {
        "scheduler": lambda o: torch.optim.lr_scheduler.CyclicLR(o, 0.01, 0.1, step_size_up=3),
        "schedule_every": "update",
    },
}


def rates(problem: Problem, updates: int = UPDATES) -> list[float]:
    return [row.rate for row in walk(problem.branch(), updates).curve]


@pytest.mark.parametrize("name", SCHEDULERS)
def test_rates_are_the_product(name: str) -> None:
    problem = zoo.problem(zoo.perceptron, **SCHEDULERS[name])
    treated = with_schedule_on_top(problem.branch(), RISE)
    expected = [RISE(update) * rate for update, rate in enumerate(rates(problem))]
    assert rates(treated) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_goes_on_from_a_snapshot(name: str) -> None:
    problem = zoo.problem(zoo.perceptron, **SCHEDULERS[name])
    treated = with_schedule_on_top(problem.branch(), RISE)
    run = walk(treated.branch(), UPDATES, snapshots=(5,))
    rest = treated.branch(run.snapshots[0])
    assert [row.rate for row in walk(rest, UPDATES - 5, start=5).curve] == [row.rate for row in run.curve[5:]]


def test_rates_that_are_scaled_meanwhile_stay_scaled() -> None:
    problem = zoo.problem(zoo.perceptron, **zoo.SCHEDULES["per epoch"])
    treated = with_schedule_on_top(problem.branch(), RISE)
    before = rates(treated)
    scale_rates(treated.optimizer, treated.scheduler, 3.0)
    assert rates(treated) == pytest.approx([3 * rate for rate in before])


def test_every_group_is_warmed_up() -> None:
    def groups(parameters: Any) -> torch.optim.Optimizer:
        return torch.optim.SGD([{"params": parameters[:2], "lr": 0.1}, {"params": parameters[2:]}], lr=0.01)

    problem = zoo.problem(zoo.perceptron, optimizer=groups, **zoo.SCHEDULES["per epoch"])
    treated = with_schedule_on_top(problem.branch(), WarmUp(updates=4, then=Constant()))
    walk(treated, 1)
    assert [group["lr"] for group in treated.optimizer.param_groups] == pytest.approx([0.05, 0.005])


def test_a_plateau_schedule_gives_way() -> None:
    """It is stepped by nobody here, and holds nothing that a warm-up would have to be on top of."""
    problem = zoo.problem(zoo.perceptron, scheduler=lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(o, patience=0))
    treated = with_schedule_on_top(problem.branch(), RISE)
    assert rates(treated) == pytest.approx([0.05 * RISE(update) for update in range(UPDATES)])


def test_epochs_are_counted_in_updates() -> None:
    problem = dataclasses.replace(zoo.problem(zoo.perceptron, **zoo.SCHEDULES["per epoch"]), accumulate=2)
    treated = with_schedule_on_top(problem.branch(), WarmUp(updates=1, then=Constant()))
    assert rates(treated, 5) == [0.05] * 2 + [0.025] * 2 + [0.0125]


def test_goyals_warm_up() -> None:
    """From 0.1 to 0.1 k over five epochs of 156 updates, the paper's own for k = 32."""
    warm_up = Gradual(updates=780, start=1 / 32)
    assert [3.2 * warm_up(update) for update in (0, 390, 780, 9_000)] == pytest.approx([0.1, 1.65, 3.2, 3.2])


@pytest.mark.parametrize("settings", [{"updates": 0, "start": 0.5}, {"updates": 3, "start": 0.0}])
def test_what_makes_no_sense_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="a gradual warm-up lasts 1 update or more and starts at a share"):
        Gradual(**settings)


def test_nothing_of_the_callers_is_changed() -> None:
    problem = zoo.problem(zoo.perceptron, **zoo.SCHEDULES["per update"])
    with assert_untouched(problem):
        walk(with_schedule_on_top(problem.branch(), RISE), 3)
