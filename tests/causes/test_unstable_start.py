"""Unstable start: beyond the limit where training starts, and thrown off."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from tests.readings import DIRECTION, OUTPUTS, STEP, finding, only

from unstuck.causes.unstable_start import UNSTABLE_START
from unstuck.probes.direction import BLOWN_UP
from unstuck.reading import Estimate, Reading

STEEP = replace(STEP, sharpness_over_limit=3.0)
TOO_LONG = replace(STEP, sharpness=None, limit=None, sharpness_over_limit=None, critical_multiple=0.5)
THROWN = replace(DIRECTION, end=4.0, largest=6.0, slope=Estimate(0.0, 0.01), losses=(1.4, 3.0, 6.0, 4.0))
BROKEN = replace(DIRECTION, update=10, end=None, broke_at=14, largest=40.0, losses=(1.4, 9.0, 40.0))
STANDS = replace(DIRECTION, end=1.4, slope=Estimate(0.0, 0.001))
UNLEARNED = replace(OUTPUTS, loss=Estimate(1.4, 0.02))


@pytest.mark.parametrize(
    ("readings", "signal"),
    [
        ((STEEP, THROWN), True),
        ((STEEP, BROKEN), True),
        ((TOO_LONG, THROWN), True),
        ((TOO_LONG, replace(BROKEN, start=math.nan, largest=math.nan, broke_at=10)), True),
        ((replace(STEP, critical_multiple=0.5), THROWN), True),
        ((STEEP, STANDS), True),
        ((TOO_LONG, STANDS), True),
        ((), False),
        ((STEEP,), False),
        ((TOO_LONG,), False),
        ((THROWN,), False),
        ((BROKEN,), False),
        ((replace(TOO_LONG, critical_multiple=5.0), THROWN), False),
    ],
    ids=[
        "steep, thrown",
        "steep, broken",
        "first steps too long, thrown",
        "broken at once",
        "within the limit, yet first steps too long",
        "steep, stands",
        "first steps too long, stands",
        "well",
        "edge of stability",
        "long first steps that lead down",
        "thrown for another reason",
        "broken for another reason",
        "thrown, limit unknown",
    ],
)
def test_beyond_the_limit_and_thrown(readings: tuple[Reading, ...], signal: bool) -> None:
    assert finding(UNSTABLE_START, *readings, UNLEARNED).signal is signal


@pytest.mark.parametrize(("times", "signal"), [(0.99, False), (1.01, True)])
def test_beyond_the_limit(times: float, signal: bool) -> None:
    for walk in (THROWN, STANDS):
        assert finding(UNSTABLE_START, replace(STEP, sharpness_over_limit=times), walk, UNLEARNED).signal is signal
        assert finding(UNSTABLE_START, replace(TOO_LONG, critical_multiple=1 / times), walk, UNLEARNED).signal is signal


@pytest.mark.parametrize(("times", "signal"), [(0.99, False), (1.01, True)])
def test_thrown_is_more_than_a_fluctuation(times: float, signal: bool) -> None:
    """Of a walk that falls in the end."""
    walk = replace(DIRECTION, largest=times * BLOWN_UP * DIRECTION.start)
    assert finding(UNSTABLE_START, STEEP, walk).signal is signal


def test_being_thrown_makes_it_surer() -> None:
    at_once = replace(BROKEN, start=math.nan, largest=math.nan, broke_at=10)
    for walk in (THROWN, BROKEN, at_once):
        assert finding(UNSTABLE_START, STEEP, walk).score > finding(UNSTABLE_START, STEEP, STANDS).score


def test_what_has_learned_is_no_start() -> None:
    """At its noise a step overshoots as well; and a batch of a small loss may be many times the mean."""
    assert not finding(UNSTABLE_START, TOO_LONG, STANDS).signal
    spike = replace(STANDS, start=0.1, end=0.1, largest=0.5)
    assert not finding(UNSTABLE_START, TOO_LONG, spike).signal
    assert finding(UNSTABLE_START, TOO_LONG, replace(spike, largest=2.0)).signal


def test_the_start_counts() -> None:
    """What is too steep later is another cause; trials branch from where training starts."""
    later = replace(STEEP, update=100)
    assert not finding(UNSTABLE_START, STEP, later, THROWN).signal
    found = finding(UNSTABLE_START, STEEP, replace(STEP, update=100), THROWN, replace(DIRECTION, update=100))
    assert found.signal
    assert found.judgement.from_update == 0
    assert not finding(UNSTABLE_START, STEEP, DIRECTION, replace(THROWN, update=100)).signal


def test_start_and_walk_are_told() -> None:
    def says(*readings: Reading) -> list[str]:
        return [each.says for each in finding(UNSTABLE_START, *readings).judgement.evidence]

    assert says(STEEP, THROWN) == [
        "at the start the surface is 3 times as sharp as this rule and rate can walk",
        "the loss went from 1.4 to 6 within 2 updates",
    ]
    assert says(TOO_LONG, BROKEN) == [
        "at the start, beyond 0.5 times the first step the loss is above where it was",
        "the loss went from 1.4 to 40 within 4 updates, then it was not a number",
    ]
    assert says(replace(STEP, critical_multiple=0.5), THROWN)[0] == says(TOO_LONG, THROWN)[0]
    assert says(replace(STEEP, critical_multiple=0.5), THROWN)[0] == says(STEEP, THROWN)[0]
    assert "0.2 times as sharp" in says(STEP, THROWN)[0]


def test_a_warm_up_moves_what_it_works_through() -> None:
    mediator = UNSTABLE_START.mediator
    assert mediator is not None
    assert not mediator.rises
    assert mediator.value(STEEP) == 3.0
    assert math.isnan(mediator.value(TOO_LONG))


def test_unknown_without_its_probes() -> None:
    assert "`step`" in str(UNSTABLE_START.finding(only(DIRECTION)).unknown_because)
    assert "`direction`" in str(UNSTABLE_START.finding(only(STEP)).unknown_because)
