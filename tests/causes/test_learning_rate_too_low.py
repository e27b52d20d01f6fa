"""Learning rate too low: the loss keeps falling for many times the present step, and there is room for it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.readings import DIRECTION, GRADIENT, NOISE, STEP, finding, only

from unstuck.causes.learning_rate_too_low import FAR_FROM_LIMIT, LEARNING_RATE_TOO_LOW, NOTHING, SHORT, WORTH
from unstuck.reading import Estimate, Reading

SHORT_STEPS = replace(
    STEP, rate=1e-5, best_multiple=Estimate(3 * SHORT, SHORT), sharpness_over_limit=FAR_FROM_LIMIT / 10
)
NOTHING_OF_A_STEP = replace(SHORT_STEPS, best_multiple=Estimate(2 * NOTHING, 0.0))
WORTHLESS = replace(SHORT_STEPS, best_drop=Estimate(WORTH * DIRECTION.start / 2, 0.0))
BELOW_NOISE = replace(GRADIENT, squared_norm=Estimate(0.01, 0.02))


@pytest.mark.parametrize(
    ("changed", "signal"),
    [
        ([SHORT_STEPS], True),
        ([replace(SHORT_STEPS, sharpness=None, limit=None, sharpness_over_limit=None)], True),
        ([STEP], False),
        ([replace(SHORT_STEPS, best_multiple=Estimate(SHORT / 2, 0.0))], False),
        ([replace(SHORT_STEPS, best_multiple=Estimate(3 * SHORT, 3 * SHORT))], False),
        ([replace(SHORT_STEPS, sharpness_over_limit=2 * FAR_FROM_LIMIT)], False),
        ([replace(SHORT_STEPS, best_drop=Estimate(0.1, 0.2))], False),
        ([SHORT_STEPS, replace(GRADIENT, norm=1e-6)], False),
        ([SHORT_STEPS, BELOW_NOISE], False),
        ([NOTHING_OF_A_STEP, BELOW_NOISE], True),
        ([WORTHLESS], False),
        ([SHORT_STEPS, replace(DIRECTION, end=None, broke_at=5)], False),
    ],
    ids=[
        "many steps long",
        "limit unknown",
        "ordinary steps",
        "a few steps long",
        "within its error",
        "near the limit",
        "a drop within its error",
        "vanished gradient",
        "gradient below its noise",
        "gradient below its noise, and steps that are nothing",
        "hardly anything to be gained",
        "a walk that broke",
    ],
)
def test_short_steps_with_room(changed: list[Reading], signal: bool) -> None:
    assert finding(LEARNING_RATE_TOO_LOW, *changed).signal is signal


def test_the_last_look_counts() -> None:
    """At the start an optimizer has no state yet, and momentum not its length."""
    later = replace(STEP, update=100)
    assert not finding(LEARNING_RATE_TOO_LOW, SHORT_STEPS, later).signal
    assert finding(LEARNING_RATE_TOO_LOW, STEP, replace(SHORT_STEPS, update=100)).signal


def test_the_first_look_counts_where_the_rule_has_its_state() -> None:
    """As under a schedule that has all but ended: the walk leads where the gradient drowns in noise."""
    later = (replace(SHORT_STEPS, optimizer="Adam", update=100), replace(BELOW_NOISE, update=100))
    begun = replace(SHORT_STEPS, optimizer="Adam")
    assert finding(LEARNING_RATE_TOO_LOW, begun, GRADIENT, *later).signal
    fresh = replace(begun, sharpness=None, limit=None, sharpness_over_limit=None)
    assert not finding(LEARNING_RATE_TOO_LOW, fresh, GRADIENT, *later).signal


def test_the_gradient_is_that_of_the_same_look() -> None:
    vanished = replace(GRADIENT, update=100, norm=1e-9)
    assert not finding(LEARNING_RATE_TOO_LOW, replace(SHORT_STEPS, update=100), GRADIENT, vanished).signal
    assert finding(LEARNING_RATE_TOO_LOW, SHORT_STEPS, GRADIENT, vanished).signal


@pytest.mark.parametrize(("times", "signal"), [(0.99, False), (1.01, True)])
def test_longer_steps_would_not_drown_in_noise(times: float, signal: bool) -> None:
    """Noise takes back t of the gain of η, so that η / 2t gains most: SHORT times η, where t = 1 / (2 SHORT)."""
    at_threshold = replace(SHORT_STEPS, rate=1 / (2 * SHORT * NOISE.taken_back(1.0).value))
    step = replace(at_threshold, rate=at_threshold.rate / times)
    assert finding(LEARNING_RATE_TOO_LOW, step).signal is signal
    assert finding(LEARNING_RATE_TOO_LOW, replace(step, optimizer="Adam")).signal
    assert finding(LEARNING_RATE_TOO_LOW, step, replace(NOISE, curved_trace=Estimate(-1.0, 0.1))).signal


def test_it_can_be_judged_without_the_noise() -> None:
    assert LEARNING_RATE_TOO_LOW.finding(only(SHORT_STEPS, DIRECTION, GRADIENT)).signal


def test_more_room_is_a_stronger_sign() -> None:
    far = replace(SHORT_STEPS, best_multiple=Estimate(1000 * SHORT, SHORT))
    assert finding(LEARNING_RATE_TOO_LOW, far).score > finding(LEARNING_RATE_TOO_LOW, SHORT_STEPS).score


def test_unknown_without_its_probes() -> None:
    assert "gradient" in str(LEARNING_RATE_TOO_LOW.finding(only(STEP, DIRECTION)).unknown_because)
