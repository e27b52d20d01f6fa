"""Warm-up: the rate rises to what it was, and a peak that would throw the walk away at once becomes bearable."""

from __future__ import annotations

import pytest
import torch
from tests import zoo
from tests.readings import only

from unstuck.remedies.warm_up import WarmUp
from unstuck.walk import walk


@pytest.mark.parametrize("name", ["none", *zoo.SCHEDULES])
def test_rises_to_the_rate_that_it_was(name: str) -> None:
    problem = zoo.problem(zoo.perceptron, **zoo.SCHEDULES.get(name, {}))
    before = [row.rate for row in walk(problem.branch(), 12).curve]
    rates = [row.rate for row in walk(WarmUp(updates=5).apply(problem.branch()), 12).curve]
    assert rates == pytest.approx([rate * min(1.0, 0.2 + 0.8 * t / 5) for t, rate in enumerate(before)])


class Quartic(torch.nn.Module):
    """L = w⁴/4 from w = 3: η times the curvature, 3w², is far beyond 2 at the start, and below it near the bottom."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(3.0, dtype=torch.float64))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        loss: torch.Tensor = self.weight**4 / 4
        return loss


def test_a_rate_that_throws_the_walk_away_at_once_is_bearable_later() -> None:
    problem = zoo.problem(
        Quartic, loss=lambda outputs, targets: outputs, optimizer=lambda p: torch.optim.SGD(p, lr=0.3)
    )
    assert walk(problem.branch(), 60).broke_at is not None
    treated = WarmUp(updates=20).apply(problem.branch())
    run = walk(treated, 60)
    assert run.broke_at is None
    assert run.curve[-1].rate == pytest.approx(0.3)
    assert run.curve[-1].loss < 1e-3


def test_proposed_are_a_short_and_a_long_one() -> None:
    assert [dose.updates for dose in WarmUp.propose(only())] == [20]
