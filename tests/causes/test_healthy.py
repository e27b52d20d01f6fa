"""Healthy: the loss falls beyond its noise, or has arrived."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from tests.readings import DIRECTION, OUTPUTS, finding, only

from unstuck.causes.healthy import HEALTHY
from unstuck.probes.direction import DirectionReading
from unstuck.probes.outputs import OutputsReading
from unstuck.reading import Estimate

AT_REST = replace(DIRECTION, start=0.7, end=0.7, slope=Estimate(0.0, 0.001))
WITHIN_NOISE = replace(DIRECTION, start=1.39, end=1.38, slope=Estimate(-0.001, 0.002))
BROKEN = replace(DIRECTION, end=None, broke_at=17)
NO_BETTER_THAN_CONSTANT = replace(OUTPUTS, loss=Estimate(1.38, 0.01))
NO_NUMBER = replace(OUTPUTS, loss=Estimate(math.nan, math.nan))
OF_NO_KIND = replace(OUTPUTS, constant=None, kind="unknown", form="unknown")


@pytest.mark.parametrize(
    ("walk", "outputs", "well"),
    [
        (DIRECTION, OUTPUTS, True),
        (DIRECTION, NO_BETTER_THAN_CONSTANT, True),
        (DIRECTION, OF_NO_KIND, True),
        (AT_REST, OUTPUTS, True),
        (WITHIN_NOISE, NO_BETTER_THAN_CONSTANT, False),
        (WITHIN_NOISE, OF_NO_KIND, False),
        (BROKEN, NO_BETTER_THAN_CONSTANT, False),
        (BROKEN, OUTPUTS, False),
        (WITHIN_NOISE, NO_NUMBER, False),
    ],
    ids=[
        "falls, and has arrived",
        "falls from high above",
        "falls, reference unknown",
        "has arrived",
        "no progress beyond noise",
        "no progress, reference unknown",
        "broke",
        "broke where it had arrived",
        "a loss that is no number is not below a constant's",
    ],
)
def test_falls_or_has_arrived(walk: DirectionReading, outputs: OutputsReading, well: bool) -> None:
    assert finding(HEALTHY, walk, outputs).signal is well


def test_surest_where_it_falls_and_has_arrived() -> None:
    assert finding(HEALTHY).score > finding(HEALTHY, AT_REST).score > finding(HEALTHY, BROKEN, OF_NO_KIND).score


def test_unknown_without_its_probes() -> None:
    assert HEALTHY.finding(only(DIRECTION)).unknown_because is not None
    assert HEALTHY.finding(only(OUTPUTS)).unknown_because is not None
