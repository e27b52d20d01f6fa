"""The exam: what the window tells of how far a training has got, and what came of leaving it to itself."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests import zoo
from tests.readings import DIRECTION, OUTPUTS, only

from unstuck.exam import Examined, Observation, wait
from unstuck.reading import Estimate
from unstuck.snapshot import Snapshot
from unstuck.view import view_of
from unstuck.walk import Run


@pytest.mark.parametrize(
    ("walk", "loss", "slow"),
    [
        ({"end": 1.2}, 1.0, True),
        ({"end": 1.0}, 1.0, False),  # more than a fifth of 1.4 is gone
        ({"end": 1.2}, 1.4, False),  # no better than a constant answer yet
        ({"end": 1.2, "slope": Estimate(-0.002, 0.003)}, 1.0, False),  # it does not get on
        ({"end": None}, 1.0, False),
    ],
)
def test_slow_is_what_gets_on_and_has_hardly_got_anywhere(walk: Mapping[str, Any], loss: float, slow: bool) -> None:
    problem = zoo.problem(zoo.perceptron, torch.float64)
    readings = only(replace(DIRECTION, **walk), replace(OUTPUTS, constant=1.39, loss=Estimate(loss, 0.01)))
    observation = Observation(run=Run(curve=()), snapshots=(Snapshot.of(problem),))
    assert Examined(problem=problem, observation=observation, readings=readings, stuck=False).slow is slow


def test_what_came_of_waiting_is_held_against_the_lowest_loss_until_then() -> None:
    """A window that ends at a high is no plateau: to come down from there is not to go on."""
    problem = zoo.problem(zoo.perceptron, torch.float64)
    start = Snapshot.of(problem)
    view = view_of(problem, start, seed=0)

    def before(*losses: float) -> float:
        run = Run(curve=(), checkpoints=tuple(enumerate(losses)))
        return wait(problem, Observation(run=run, snapshots=(start,)), 8, view).before

    here = before()
    assert math.isfinite(here)
    assert before(here / 2, here) == here / 2
    assert before(math.nan, here * 2) == here
