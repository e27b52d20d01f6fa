"""The study of momentum, at a small size."""

from __future__ import annotations

import math

import pytest

from unstuck.studies.momentum import MEASURED, STUDY, draw, measure, run
from unstuck.study import Run, Runs

GATES = {gate.measurement: gate for gate in STUDY.gates}
SETTINGS = {"seed": 7, "part": "surfaces", "conditions": [100]}


@pytest.fixture(scope="module")
def runs() -> Runs:
    networks = {"numbers": [1.5, None]}
    return Runs([Run(SETTINGS, run(**SETTINGS)), Run({"seed": 7, "part": "networks"}, networks)])  # type: ignore[arg-type]


def test_closed_forms_come_out(runs: Runs) -> None:
    measured = {each.name: each.values for each in measure(runs)}
    assert GATES.keys() == measured.keys()
    assert measured["movement minus the weighted sum of all gradients"][7] < 1e-14
    assert measured["error of the stability limits"][7] <= 0.0025
    assert measured["updates of a network, without over with momentum"] == {7: 1.5}
    assert math.isnan(measured["loss at a low rate, momentum against ten times the rate"][7])


def test_a_run_gives_every_number_and_the_same_ones_again(runs: Runs) -> None:
    (result,) = runs.where(part="surfaces").results()
    assert len(result["numbers"]) == len(MEASURED["surfaces"])
    (valley,) = result["valleys"]
    assert valley["gradient descent"] == pytest.approx(math.log(1e6) / -math.log(99 / 101), rel=0.15)
    assert valley["momentum"] < valley["gradient descent"] / 5


def test_each_movement_drawn_is_the_sum_of_its_arrows(runs: Runs) -> None:
    walk = runs.where(part="surfaces").results()[0]["walk"]
    for at, after, carried, downhill in zip(
        walk["points"], walk["points"][1:], walk["carried"], walk["downhill"], strict=False
    ):
        for before, now, *parts in zip(at, after, carried, downhill, strict=True):
            assert now == pytest.approx(before + sum(parts))


def test_pictures_are_drawn(runs: Runs) -> None:
    assert draw(runs).keys() == {"vectors", "bump", "all-bumps", "valleys"}
