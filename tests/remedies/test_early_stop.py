"""Early stopping: the weights stay where they are, whatever else goes on."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests import zoo
from tests.readings import GENERALIZATION, STEP, only
from tests.untouched import assert_untouched

from unstuck.probes.generalization import GeneralizationReading
from unstuck.reading import Estimate
from unstuck.remedies.early_stop import EarlyStop
from unstuck.walk import walk


def at(update: int, loss: float) -> GeneralizationReading:
    return replace(GENERALIZATION, update=update, valid_loss=Estimate(loss, 0.01))


@pytest.mark.parametrize("name", ["momentum", "adamw", "schedule per update", "schedule in sequence", "batch norm"])
@pytest.mark.parametrize("updates", [0, 4])
def test_weights_stay_where_they_are_after_so_many_updates(name: str, updates: int) -> None:
    problem = zoo.ZOO[name](torch.float64)
    with assert_untouched(problem):
        treated, as_it_is = EarlyStop(updates=updates).apply(problem.branch()), problem.branch()
        walk(as_it_is, updates, order=3)
        run = walk(treated, 12, order=3)
        walk(treated, 4, order=4, anneal=True)
    assert all(torch.equal(tensor, as_it_is.point()[name]) for name, tensor in treated.point().items())
    assert {row.rate for row in run.curve[updates:]} == {0.0}


def test_stops_at_the_lowest_held_out_loss_or_half_way_to_the_next_look() -> None:
    looks = only(at(0, 1.4), at(12, 1.2), at(25, 1.3), at(50, 1.9))
    assert EarlyStop.propose(looks) == (EarlyStop(), EarlyStop(updates=6))


def test_there_is_nothing_later_than_the_last_look() -> None:
    assert EarlyStop.propose(only(at(0, 1.4), at(50, 1.2))) == (EarlyStop(),)


def test_not_without_held_out_data() -> None:
    unknown = replace(GENERALIZATION, valid_loss=None)
    assert EarlyStop.propose(only(unknown)) == ()
    assert EarlyStop.propose(only(STEP)) == ()


def test_the_ladder_ends_at_the_dose() -> None:
    ladder = EarlyStop(updates=3).ladder()
    doses = [getattr(dose, ladder.setting) for dose in ladder.doses]
    assert doses == sorted(doses, reverse=True)
    assert doses[-1] == 3
