"""Learning rate too high: beyond the limit and not falling; falling beyond it is the edge of stability."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from tests.readings import DIRECTION, GRADIENT, OUTPUTS, STEP, finding, only

from unstuck.causes.learning_rate_too_high import (
    FAR_OVER,
    LEARNING_RATE_TOO_HIGH,
    LONG_ENOUGH,
    RINGS,
    STRIDE,
    TURNING_BACK,
)
from unstuck.probes.direction import BLOWN_UP, DirectionReading
from unstuck.probes.outputs import RISE
from unstuck.probes.step import StepReading
from unstuck.reading import Estimate

BOUNCES = replace(DIRECTION, end=1.45, slope=Estimate(0.0, 0.002), cosine=0.0)
"""Goes nowhere; its gradients have no direction in common."""

TURNS_BACK = replace(BOUNCES, cosine=3 * TURNING_BACK)
THROWN = replace(BOUNCES, end=30.0, largest=2 * BLOWN_UP * DIRECTION.start)
BROKEN = replace(BOUNCES, end=None, broke_at=3)

UNLEARNED = replace(OUTPUTS, loss=Estimate(1.4, 0.02))
"""As good as a constant answer."""

OVER = replace(STEP, sharpness_over_limit=1.2)
NEAR = replace(STEP, sharpness_over_limit=0.8)
TOO_LONG = replace(STEP, sharpness=None, limit=None, sharpness_over_limit=None, critical_multiple=0.8)
STRIDES = replace(STEP, relative_step=2 * STRIDE, best_multiple=Estimate(LONG_ENOUGH / 2, 0.0))
OF_UNKNOWN_LIMIT = replace(TOO_LONG, critical_multiple=5.0)


@pytest.mark.parametrize(
    ("step", "walk", "signal"),
    [
        (OVER, BOUNCES, True),
        (OVER, THROWN, True),
        (OVER, BROKEN, True),
        (TOO_LONG, BOUNCES, True),
        (TOO_LONG, BROKEN, True),
        (STEP, THROWN, True),
        (NEAR, TURNS_BACK, True),
        (replace(STEP, sharpness_over_limit=1.01 * FAR_OVER), DIRECTION, True),
        (STRIDES, DIRECTION, True),
        (replace(STRIDES, relative_step=0.99 * STRIDE), DIRECTION, False),
        (replace(STRIDES, best_multiple=Estimate(2 * LONG_ENOUGH, 0.0)), DIRECTION, False),
        (STEP, DIRECTION, False),
        (OVER, DIRECTION, False),
        (TOO_LONG, DIRECTION, False),
        (NEAR, BOUNCES, False),
        (STEP, BOUNCES, False),
        (OF_UNKNOWN_LIMIT, BOUNCES, False),
        (NEAR, replace(TURNS_BACK, slope=DIRECTION.slope, end=0.7), False),
    ],
    ids=[
        "beyond the limit, not falling",
        "beyond the limit, thrown out",
        "beyond the limit, broken",
        "step too long, limit unknown",
        "step too long, broken",
        "thrown out for another reason",
        "turning back near the limit",
        "far beyond the limit and falling",
        "strides and falling",
        "long steps and falling",
        "strides from tiny weights",
        "healthy",
        "edge of stability",
        "falling with too long a step",
        "noise near the limit",
        "noise far from it",
        "noise, limit unknown",
        "turning back and falling",
    ],
)
def test_beyond_the_limit_and_not_falling(step: StepReading, walk: DirectionReading, signal: bool) -> None:
    assert finding(LEARNING_RATE_TOO_HIGH, step, walk, UNLEARNED).signal is signal


def test_any_look_beyond_the_limit_counts() -> None:
    """Once thrown out, the walk may come to rest where the surface is flat."""
    later = replace(STEP, update=100, sharpness_over_limit=0.001)
    assert finding(LEARNING_RATE_TOO_HIGH, OVER, later, BOUNCES).signal


def test_a_batch_of_a_small_loss_may_be_many_times_the_mean() -> None:
    """Above the start, and below a constant answer's loss of 1.39."""
    arrived = replace(BOUNCES, start=0.1, end=0.1, largest=0.5)
    assert finding(LEARNING_RATE_TOO_HIGH, STEP, arrived, replace(OUTPUTS, constant=None)).signal
    assert not finding(LEARNING_RATE_TOO_HIGH, STEP, arrived).signal
    assert finding(LEARNING_RATE_TOO_HIGH, STEP, replace(arrived, largest=2.0)).signal


def test_strides_are_those_of_the_start() -> None:
    """Later the weights may have been drawn in, as by their decay."""
    later = replace(STRIDES, update=100)
    assert not finding(LEARNING_RATE_TOO_HIGH, STEP, later).signal
    assert finding(LEARNING_RATE_TOO_HIGH, STRIDES, replace(STEP, update=100)).judgement.evidence[0].says == (
        "the first step is 0.4 times as long as the weights themselves"
    )


def test_a_training_that_has_arrived_stands_still_as_well() -> None:
    arrived = replace(GRADIENT, squared_norm=Estimate(0.01, 0.02))
    assert not finding(LEARNING_RATE_TOO_HIGH, TOO_LONG, BOUNCES, UNLEARNED, arrived).signal
    assert not finding(LEARNING_RATE_TOO_HIGH, TOO_LONG, BOUNCES).signal
    later = (replace(TOO_LONG, update=100), replace(GRADIENT, update=100))
    assert finding(LEARNING_RATE_TOO_HIGH, TOO_LONG, BOUNCES, UNLEARNED, arrived, *later).signal


@pytest.mark.parametrize(("times", "signal"), [(1.1, True), (0.9, False)])
def test_a_training_that_had_learned_does_not_climb(times: float, signal: bool) -> None:
    """Where it stays, too long a step may be one made of noise."""
    before = replace(OUTPUTS, update=0)
    climbed = replace(OUTPUTS, update=100, loss=Estimate((1 + times * RISE) * OUTPUTS.loss.value, 0.02))
    later = replace(TOO_LONG, update=100)
    found = finding(LEARNING_RATE_TOO_HIGH, TOO_LONG, later, BOUNCES, before, climbed)
    assert found.signal is signal
    assert found.judgement.from_update == (100 if signal else None)
    assert not finding(LEARNING_RATE_TOO_HIGH, STEP, BOUNCES, before, climbed).signal


def test_momentum_that_swings_for_long_is_acted_on_where_it_has_its_length() -> None:
    swings = replace(STEP, update=100, momentum=0.999, ringing=2 * RINGS)
    found = finding(LEARNING_RATE_TOO_HIGH, STEP, swings, DIRECTION)
    assert found.signal
    assert found.judgement.from_update == 100
    assert "with momentum 0.999 the walk swings 20 times to and fro" in found.judgement.evidence[0].says
    assert not finding(LEARNING_RATE_TOO_HIGH, STEP, replace(swings, ringing=RINGS / 2), DIRECTION).signal
    early = (replace(swings, update=0), replace(STEP, update=100))
    assert not finding(LEARNING_RATE_TOO_HIGH, *early, DIRECTION).signal


def test_the_worst_excess_is_told_first() -> None:
    later = replace(STEP, update=100, sharpness_over_limit=40.0)
    evidence = finding(LEARNING_RATE_TOO_HIGH, OVER, later, BOUNCES).judgement.evidence
    assert evidence[0].value == 40.0
    assert evidence[0].update == 100
    assert "40 times as sharp" in evidence[0].says


def test_a_walk_without_a_finite_loss_is_judged() -> None:
    walk = replace(BROKEN, start=math.nan, largest=math.nan, broke_at=0)
    assert finding(LEARNING_RATE_TOO_HIGH, OVER, walk).signal


def test_unknown_without_its_probes() -> None:
    found = LEARNING_RATE_TOO_HIGH.finding(only(DIRECTION))
    assert not found.signal
    assert "step" in str(found.unknown_because)
