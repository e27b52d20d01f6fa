"""A larger rate, reached from the present one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests import zoo
from tests.readings import STEP, only

from unstuck.remedies.scale_rate_with_warm_up import ScaleRateWithWarmUp
from unstuck.walk import walk


@pytest.mark.parametrize("name", ["none", *zoo.SCHEDULES])
def test_the_rate_goes_from_what_it_was_to_the_multiple(name: str) -> None:
    problem = zoo.problem(zoo.perceptron, **zoo.SCHEDULES.get(name, {}))
    before = [row.rate for row in walk(problem.branch(), 12).curve]
    treated = ScaleRateWithWarmUp(factor=4.0, warm_up=6).apply(problem.branch())
    rates = [row.rate for row in walk(treated, 12).curve]
    assert rates == pytest.approx([rate * (1 + 3 * min(1.0, t / 6)) for t, rate in enumerate(before)])


@pytest.mark.parametrize(("over", "factors"), [(None, [4, 16]), (0.05, [4, 16]), (0.2, [4]), (0.5, [])])
def test_not_beyond_the_stability_limit(over: float | None, factors: list[float]) -> None:
    doses = ScaleRateWithWarmUp.propose(only(replace(STEP, sharpness_over_limit=over)))
    assert [dose.factor for dose in doses] == factors


def test_a_ladder_where_nothing_is_known() -> None:
    assert [dose.factor for dose in ScaleRateWithWarmUp.propose(only())] == [4, 16]
