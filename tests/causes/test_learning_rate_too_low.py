"""Learning rate too low: the loss keeps falling for many times the present step, and there is room for it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.readings import DIRECTION, GRADIENT, STEP, finding, only

from unstuck.causes.learning_rate_too_low import FAR_FROM_LIMIT, LEARNING_RATE_TOO_LOW, SHORT
from unstuck.reading import Estimate, Reading

SHORT_STEPS = replace(STEP, best_multiple=Estimate(3 * SHORT, SHORT), sharpness_over_limit=FAR_FROM_LIMIT / 10)


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
        ([SHORT_STEPS, replace(GRADIENT, squared_norm=Estimate(0.01, 0.02))], False),
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


def test_the_gradient_is_that_of_the_same_look() -> None:
    vanished = replace(GRADIENT, update=100, norm=1e-9)
    assert not finding(LEARNING_RATE_TOO_LOW, replace(SHORT_STEPS, update=100), GRADIENT, vanished).signal
    assert finding(LEARNING_RATE_TOO_LOW, SHORT_STEPS, GRADIENT, vanished).signal


def test_more_room_is_a_stronger_sign() -> None:
    far = replace(SHORT_STEPS, best_multiple=Estimate(1000 * SHORT, SHORT))
    assert finding(LEARNING_RATE_TOO_LOW, far).score > finding(LEARNING_RATE_TOO_LOW, SHORT_STEPS).score


def test_unknown_without_its_probes() -> None:
    assert "gradient" in str(LEARNING_RATE_TOO_LOW.finding(only(STEP, DIRECTION)).unknown_because)
