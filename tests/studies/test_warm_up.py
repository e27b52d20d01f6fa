"""The study of warm-ups: how its numbers are made of what was trained, and small runs."""

from __future__ import annotations

import math
from typing import Any

import pytest

from unstuck.studies.warm_up import STUDY, best, measure, plan, run
from unstuck.study import Run, Runs
from unstuck.study.experiments.warming import KINDS, REMEDIES


def trained(**losses: float | None) -> dict[str, Any]:
    return {name: {"loss": loss, "curve": []} for name, loss in losses.items()}


def test_the_best_of_all_rates_counts() -> None:
    result = trained(**{"without, 0.01": 3.0, "without, 0.03": None, "with warm-up, 0.01": 2.0})
    assert best(result, "without") == 3.0
    assert best(result, "with warm-up") == 2.0


def test_gains_are_differences_of_losses() -> None:
    arms = trained(
        **{"without, 0.003": 2.6, "without, 0.01": 3.2, "with warm-up, 0.003": 2.8, "with warm-up, 0.01": 2.7}
    )
    residual = {"rates": [0.1, 0.2], "without": [0.4, math.inf], "with warm-up": [0.2, 0.1], "curvature": [50.0, 2.0]}
    start = run(seed=0, part="start", updates=0, rates=())
    results = {
        "post-norm": arms | trained(**dict.fromkeys(REMEDIES, 3.0)),
        "pre-norm": arms,
        "residual": residual,
        "start": start,
    }
    found = {
        one.name: one for one in measure(Runs([Run({"seed": 0, "part": part}, own) for part, own in results.items()]))
    }
    expected = {
        "gain of a warm-up, post-norm": 0.5,
        "gain of a warm-up, post-norm, at best rates": -0.1,
        "gain of RAdam, post-norm": 0.2,
        "gain of a warm-up over RAdam": 0.3,
        "largest rate of a residual network, with over without": 2.0,
        "loss of a residual network, without over with": 4.0,
        "curvature at the start over that after a warm-up": 25.0,
        "gradient at depth 16 over 2, pre-norm": start["pre-norm"][-1] / start["pre-norm"][0],
    }
    for name, value in expected.items():
        assert found[name].values[0] == pytest.approx(value), name
    assert {gate.measurement for gate in STUDY.gates} <= set(found)


def test_every_arm_has_the_same_rates() -> None:
    rates = {settings["part"]: settings["rates"] for settings in plan((3,), False)}
    assert rates[KINDS[0]] == rates[KINDS[1]]
    assert {settings["seed"] for settings in plan((3, 4), True)} == {3, 4}
