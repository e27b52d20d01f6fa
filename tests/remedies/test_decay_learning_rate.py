"""The lecture's decay, update by update, in every group."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from tests import zoo

from unstuck.reading import Readings
from unstuck.remedies.decay_learning_rate import DecayLearningRate
from unstuck.walk import walk

RATES = (0.01, 0.1)


def groups(parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
    halves: list[dict[str, Any]] = [{"params": parameters[:2], "lr": RATES[0]}, {"params": parameters[2:]}]
    return torch.optim.SGD(halves, lr=RATES[1])


def halving(optimizer: torch.optim.Optimizer) -> Any:
    return torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)


@pytest.mark.parametrize("scheduler", [None, halving], ids=["without a schedule", "in place of a schedule"])
@pytest.mark.parametrize("over", [1, 10])
def test_rates_fall_as_one_over_the_root(over: int, scheduler: Any) -> None:
    problem = zoo.problem(zoo.perceptron, optimizer=groups, scheduler=scheduler)
    treated = DecayLearningRate(over=over).apply(problem.branch())
    run = walk(treated, 20)
    assert [row.rate for row in run.curve] == pytest.approx(
        [RATES[0] / math.sqrt(1 + update / over) for update in range(20)]
    )
    after = [group["lr"] for group in treated.optimizer.param_groups]
    assert after == pytest.approx([rate / math.sqrt(1 + 20 / over) for rate in RATES])
    assert [group["lr"] for group in problem.optimizer.param_groups] == list(RATES)


def test_in_place_of_a_schedule_that_went_on_for_a_while_it_starts_from_that_schedules_beginning() -> None:
    """A rate that a schedule has brought to nothing is not decayed further."""
    branch = zoo.problem(zoo.perceptron, optimizer=groups, scheduler=halving).branch()
    walk(branch, 20)
    treated = DecayLearningRate(over=10).apply(branch)
    assert [group["lr"] for group in treated.optimizer.param_groups] == pytest.approx(list(RATES))


def test_two_paces_are_proposed_to_every_problem() -> None:
    assert DecayLearningRate.propose(Readings()) == (DecayLearningRate(over=10), DecayLearningRate(over=1))
