"""The study of what brings back the small batch, at a small size."""

from __future__ import annotations

from typing import Any

import pytest

from unstuck.studies.large_batch import DOUBLINGS, MEASURED, METHODS, RULES, STUDY, draw, measure, plan, run
from unstuck.study import Run, Runs

GATES = {gate.measurement for gate in STUDY.gates}


@pytest.fixture(scope="module")
def rules() -> dict[str, Any]:
    return run(seed=7, part="rules", sizes=(16, 128, 512))


def test_all_rules_are_one_at_the_small_batch(rules: dict[str, Any]) -> None:
    losses = [curve["loss"][0] for curve in rules["curves"].values()]
    assert losses == pytest.approx([losses[0]] * len(RULES), rel=1e-3)
    assert all(len(curve["loss"]) == 3 for curve in rules["curves"].values())


def test_what_is_lost_is_lost_at_the_same_rate(rules: dict[str, Any]) -> None:
    same, linear = (rules["curves"][name]["accuracy"] for name in ("same rate", "linear, warm-up"))
    assert rules["numbers"]["lost"] == pytest.approx(same[0] - same[1])
    assert rules["numbers"]["linear"] == pytest.approx((linear[1] - same[1]) / (same[0] - same[1]))


def test_ghosts_are_measured() -> None:
    assert run(seed=7, part="ghosts")["numbers"].keys() == set(_numbers("ghosts"))


def test_measurements_and_pictures_of_all_parts(rules: dict[str, Any]) -> None:
    methods = {name: {"rates": [1.0] * DOUBLINGS, "loss": [0.5, None] * (DOUBLINGS // 2)} for name in METHODS}
    results: dict[str, dict[str, Any]] = {
        part: {"numbers": dict.fromkeys(_numbers(part), 1.0)} for part in ("methods", "ghosts", "workers")
    }
    results["methods"]["methods"] = methods
    runs = Runs([Run({"seed": 7, "part": part}, result) for part, result in (results | {"rules": rules}).items()])
    measured = {each.name: each.values for each in measure(runs)}
    assert measured.keys() == MEASURED.keys()
    assert measured.keys() >= GATES
    assert measured["loss of LARS over that of Adam"] == {7: 1.0}
    assert draw(runs).keys() == {"rules", "methods"}
    assert {settings["part"] for settings in plan((7,), quick=True)} == {"rules", "methods", "ghosts", "workers"}


def _numbers(part: str) -> list[str]:
    return [number for own, number, _ in MEASURED.values() if own == part]
