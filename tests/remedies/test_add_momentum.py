"""Momentum is added to plain gradient descent, in every group, at the same rate."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from tests import zoo
from tests.readings import DIRECTION, STEP, only

from unstuck.problem import Problem
from unstuck.remedies.add_momentum import AddMomentum
from unstuck.walk import walk


def groups(parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
    """Two groups of different rates."""
    halves: list[dict[str, Any]] = [{"params": parameters[:2], "lr": 0.01}, {"params": parameters[2:]}]
    return torch.optim.SGD(halves, lr=0.1)


def problem(momentum: float = 0.0) -> Problem:
    made = zoo.problem(zoo.perceptron, optimizer=groups)
    for group in made.optimizer.param_groups:
        group["momentum"] = momentum
    return made


def test_walks_as_if_it_had_been_built_with_momentum() -> None:
    treated = AddMomentum(momentum=0.8).apply(problem().branch())
    built = problem(momentum=0.8).branch()
    assert walk(treated, 7, cosines=True).curve[1:] == walk(built, 7, cosines=True).curve[1:]
    assert [group["lr"] for group in treated.optimizer.param_groups] == [0.01, 0.1]


def test_proposed_where_there_is_none() -> None:
    assert AddMomentum.propose(only(STEP)) == (AddMomentum(momentum=0.9),)
    assert AddMomentum.propose(only(replace(STEP, momentum=0.9))) == ()
    assert AddMomentum.propose(only(replace(STEP, optimizer="Adam"))) == ()
    assert AddMomentum.propose(only(DIRECTION)) == ()
