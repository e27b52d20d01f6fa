"""Less regularization: the training is the one that was built with less of it."""

from __future__ import annotations

import pytest
import torch
from tests import zoo
from tests.readings import only
from torch import nn

from unstuck.methods.regularization import dropout, weight_decay
from unstuck.problem import Problem
from unstuck.remedies.reduce_regularization import ReduceRegularization
from unstuck.walk import walk


def problem(decay: float, share: float) -> Problem:
    return zoo.problem(
        lambda: zoo.perceptron(nn.Dropout(share)),
        optimizer=lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=decay),
    )


@pytest.mark.parametrize("factor", [0.0, 0.1])
def test_as_if_it_had_been_built_with_less(factor: float) -> None:
    treated = ReduceRegularization(factor=factor).apply(problem(2.0, 0.8).branch())
    built = problem(2.0 * factor, 0.8 * factor).branch()
    assert weight_decay(treated.optimizer) == weight_decay(built.optimizer)
    assert dropout(treated.model) == dropout(built.model)
    assert [row.loss for row in walk(treated, 5).curve] == [row.loss for row in walk(built, 5).curve]


def test_proposed_are_none_and_a_tenth() -> None:
    assert [dose.factor for dose in ReduceRegularization.propose(only())] == [0.0, 0.1]


def test_the_change_to_the_code_names_what_is_there() -> None:
    remedy = ReduceRegularization(factor=0.1)
    both, decay, share = problem(2.0, 0.8), problem(2.0, 0.0), problem(0.0, 0.8)
    assert len(remedy.diff(both).splitlines()) == 4
    assert "Dropout" not in remedy.diff(decay)
    assert "weight_decay" not in remedy.diff(share)


@pytest.mark.parametrize("factor", [0.0, 0.1])
def test_the_ladder_goes_down_to_none_by_way_of_the_dose(factor: float) -> None:
    ladder = ReduceRegularization(factor=factor).ladder()
    doses = [getattr(dose, ladder.setting) for dose in ladder.doses]
    assert doses == sorted(doses, reverse=True)
    assert factor in doses
    assert doses[-1] == 0
