"""Everything that should learn learns; what is frozen by intention does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests import zoo
from tests.readings import FINITE, WIRING, only
from torch.optim import lr_scheduler

from unstuck.problem import Problem
from unstuck.remedies.train_all_parameters import TrainAllParameters
from unstuck.walk import walk

SCHEDULES: dict[str, Callable[[torch.optim.Optimizer], Any]] = {
    "none": lambda o: None,
    "a function": lambda o: lr_scheduler.LambdaLR(o, lambda t: 1 / (1 + t)),
    "cosine": lambda o: lr_scheduler.CosineAnnealingLR(o, 30),
    "one cycle": lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=30),
}

OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    **{name: make for name, make in zoo.OPTIMIZERS.items() if name != "lbfgs"},
    "two groups": lambda parameters: torch.optim.SGD(
        [{"params": parameters[:1], "lr": 0.2}, {"params": parameters[1:]}], lr=0.1
    ),
}


def left_out(optimizer: Callable[[Any], torch.optim.Optimizer] = zoo.OPTIMIZERS["momentum"], **fields: Any) -> Problem:
    """The optimizer holds the first layer alone, of which the bias is frozen; the last bias is frozen on purpose."""
    problem = zoo.problem(zoo.perceptron, optimizer=lambda parameters: optimizer(parameters[:2]), **fields)
    first, last = problem.model[0], problem.model[-1]  # type: ignore[index]
    first.bias.requires_grad_(False)
    last.bias.requires_grad_(False)
    return problem


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_an_update_reaches_all_but_what_is_frozen_on_purpose(optimizer: str, schedule: str) -> None:
    problem = left_out(OPTIMIZERS[optimizer], scheduler=SCHEDULES[schedule], schedule_every="update")
    treated = TrainAllParameters().apply(problem.branch())
    before = {name: parameter.detach().clone() for name, parameter in treated.model.named_parameters()}
    walk(treated, 3)
    moved = {name for name, parameter in treated.model.named_parameters() if not torch.equal(parameter, before[name])}
    assert moved == {"0.weight", "0.bias", "2.weight"}
    assert {name for name, parameter in problem.model.named_parameters() if parameter.requires_grad} == {
        "0.weight",
        "2.weight",
    }


def test_walks_as_if_built_with_all_parameters() -> None:
    some = zoo.problem(zoo.perceptron, optimizer=lambda parameters: zoo.OPTIMIZERS["adam"](parameters[:2]))
    treated = TrainAllParameters().apply(some.branch())
    built = zoo.problem(zoo.perceptron, optimizer=zoo.OPTIMIZERS["adam"]).branch()
    assert walk(treated, 9, cosines=True).curve[1:] == walk(built, 9, cosines=True).curve[1:]


def test_proposed_where_it_changes_something() -> None:
    assert TrainAllParameters.propose(only(replace(WIRING, missing=("a",)))) == (TrainAllParameters(),)
    assert TrainAllParameters.propose(only(replace(WIRING, frozen_but_listed=("a",)))) == (TrainAllParameters(),)
    assert TrainAllParameters.propose(only(replace(WIRING, detached=("a",)))) == ()
    assert TrainAllParameters.propose(only(replace(WIRING, frozen=("a",)))) == ()
    assert TrainAllParameters.propose(only(FINITE)) == ()


def test_the_change_to_the_code_thaws_only_what_is_to_be_thawed() -> None:
    assert "requires_grad_(True)" in TrainAllParameters().diff(left_out())
    plain = zoo.problem(zoo.perceptron, optimizer=lambda parameters: torch.optim.SGD(parameters[:2], lr=0.1))
    assert "requires_grad_(True)" not in TrainAllParameters().diff(plain)
