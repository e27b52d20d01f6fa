"""Adam in place of one rate for all: it walks a valley that gradient descent cannot."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests import zoo
from tests.readings import DIRECTION, STEP, WIRING, only
from torch import nn

from unstuck.reading import Estimate
from unstuck.remedies.adaptive_optimizer import AdaptiveOptimizer
from unstuck.walk import walk


def test_walks_as_if_it_had_been_built_with_adam() -> None:
    problem = zoo.problem(zoo.perceptron, **zoo.SCHEDULES["per epoch"])
    built = zoo.problem(zoo.perceptron, optimizer=lambda p: torch.optim.Adam(p, lr=0.02), **zoo.SCHEDULES["per epoch"])
    treated = AdaptiveOptimizer(rate=0.02).apply(problem.branch())
    runs = [walk(branch, 12).curve for branch in (treated, built.branch())]
    assert [(row.loss, row.rate) for row in runs[0]] == [(row.loss, row.rate) for row in runs[1]]


def test_a_valley_ten_thousand_times_as_steep_one_way_as_the_other() -> None:
    inputs = zoo.table()[0] * torch.tensor([1.0, 1.0, 1.0, 100.0], dtype=torch.float64)
    targets = inputs @ torch.tensor([[1.0], [-1.0], [0.5], [0.01]], dtype=torch.float64)
    problem = zoo.problem(
        lambda: nn.Linear(zoo.FEATURES, 1, bias=False),
        loss=nn.MSELoss(),
        train=zoo.shuffled(inputs, targets, batch=zoo.SAMPLES),
        optimizer=lambda p: torch.optim.SGD(p, lr=5e-5),  # half of what the steep way allows
    )
    whole = list(problem.data.whole(chunk=24))
    plain, treated = problem.branch(), AdaptiveOptimizer(rate=0.1).apply(problem.branch())
    for branch in (plain, treated):
        walk(branch, 300)
    assert treated.mean_loss(whole) < 1e-3 * plain.mean_loss(whole)


def test_the_first_dose_makes_steps_of_the_present_length() -> None:
    step = replace(STEP, rate=0.2, best_multiple=Estimate(5.0, 1.0))
    first, *rest = AdaptiveOptimizer.propose(
        only(step, replace(DIRECTION, typical_norm=6.0), replace(WIRING, parameters=90_000))
    )
    assert first.rate == pytest.approx(0.2 * 5 * 6 / 300)
    assert [dose.rate for dose in rest] == [1e-3]  # a hundredth is the same dose


def test_defaults_where_the_length_is_not_known() -> None:
    assert [dose.rate for dose in AdaptiveOptimizer.propose(only(STEP))] == [1e-3, 1e-2]


def test_not_where_parameters_have_rates_of_their_own() -> None:
    assert AdaptiveOptimizer.propose(only(replace(STEP, optimizer="RMSprop"))) == ()
    assert AdaptiveOptimizer.propose(only(DIRECTION)) == ()
