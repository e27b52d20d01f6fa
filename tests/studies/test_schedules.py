"""The study of learning-rate schedules, at a small size."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from unstuck.studies.schedules import SAYS, STUDY, draw, measure, plan, run
from unstuck.study import Run, Runs
from unstuck.study.experiments.horizons import ARMS, RATES


@pytest.fixture(scope="module")
def runs() -> Runs:
    parts = ("horizons", "labelled right", "range")
    planned: list[dict[str, Any]] = [{"seed": 7, "part": part, "updates": 60} for part in parts]
    return Runs([Run(settings, json.loads(json.dumps(run(**settings)))) for settings in planned])


def test_all_arms_are_tried_at_as_many_rates(runs: Runs) -> None:
    losses = runs.where(part="horizons").results()[0]["losses"]
    assert set(losses) == set(ARMS)
    assert all(np.shape(own) == (3, len(RATES)) for own in losses.values())


def test_ratios_are_those_of_the_best_rates(runs: Runs) -> None:
    result = runs.where(part="horizons").results()[0]
    losses, numbers = result["losses"], result["numbers"]
    constant = losses["constant"][-1]
    assert numbers["cosine over constant at the end"] == pytest.approx(min(losses["cosine"][-1]) / min(constant))
    same = losses["cosine"][-1][int(np.argmin(constant))]
    assert numbers["cosine over constant at the constant's rate"] == pytest.approx(same / min(constant))
    free = int(np.argmin(losses["schedule-free"][-1]))
    ratios = [own[free] / min(best) for own, best in zip(losses["schedule-free"], losses["cosine"], strict=True)]
    assert numbers["schedule-free over cosine"] == pytest.approx(max(ratios))


def test_everything_that_is_said_is_measured_and_drawn(runs: Runs) -> None:
    measured = {each.name: each for each in measure(runs)}
    assert measured.keys() == SAYS.keys()
    assert measured.keys() >= {gate.measurement for gate in STUDY.gates}
    assert all(each.values.keys() == {7} for each in measured.values())
    assert draw(runs).keys() == {"horizons", "curves", "rates", "range-test"}


def test_a_first_look_is_half_as_long() -> None:
    assert [settings.get("updates") for settings in plan((1,), quick=True)] == [600, 600, None]
    assert [settings.get("updates") for settings in plan((1,), quick=False)] == [1_200, 1_200, None]
