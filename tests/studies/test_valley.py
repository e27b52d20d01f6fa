"""The study of the narrow valley, at a small size."""

from __future__ import annotations

import pytest

from unstuck.studies import valley
from unstuck.studies.valley import SAYS, STUDY, measure, plan, run
from unstuck.study import Run, Runs

GATES = {gate.measurement for gate in STUDY.gates}


@pytest.fixture(scope="module")
def runs() -> Runs:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(valley, "UPDATES", 2_000)
        patch.setattr(valley, "FEWER", 400)
        settings = {"seed": 7, "part": "bouncing"}
        return Runs([Run(settings, run(7, "bouncing"))])


def test_a_rate_above_the_limit_bounces_and_every_gate_has_its_number(runs: Runs) -> None:
    assert SAYS.keys() == GATES
    measured = {each.name: each.values for each in measure(runs)}
    assert measured["share of updates that cross the valley at 1e-2"] == {7: 1.0}
    assert 0.9 < measured["gradient at the end over that at the start"][7] <= 1.0
    assert measured["left in the turned valley by adaptive methods"][7] > 0.3
    assert measured["left at 1e-7"] == {}


def test_of_a_number_that_two_parts_have_the_larger_counts() -> None:
    name = "rise of the loss, Adagrad with decay"
    parts = [Run({"seed": 7}, {"numbers": {name: number}}) for number in (1.0, 3.0, 2.0)]
    assert {each.name: each.values for each in measure(Runs(parts))}[name] == {7: 3.0}


def test_the_lecture_is_planned_once_and_every_part_in_a_quick_plan_too() -> None:
    for quick in (False, True):
        parts = [settings["part"] for settings in plan((3, 8), quick)]
        assert parts.count("lecture") == 1
        assert set(parts) == {"lecture", "starts", "bouncing"}
