"""Gradient noise: a walk that does not fall, whose steps are mostly noise, far from the limit of stability."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.readings import DIRECTION, GRADIENT, NOISE, OUTPUTS, STEP, finding, only

from unstuck.cause import Finding
from unstuck.causes.gradient_noise import GRADIENT_NOISE, LONG, NEAR_LIMIT, TAKEN_BACK
from unstuck.probes.noise import SMALL_GAIN
from unstuck.reading import Estimate, Reading, Within

STANDS = replace(DIRECTION, end=1.4, slope=Estimate(0.0, 0.001))
NOISY = replace(
    NOISE,
    batch=2,
    over_batch=Within(25.0, 20.0, 30.0),
    gain=Within(1 / 26, 1 / 31, 1 / 21),
    squared_norm=Estimate(0.24, 0.01),
    curved_trace=Estimate(20.0, 0.5),
    population=10**9,
)
UNKNOWN_RULE = replace(STEP, optimizer="Adam")
UNLEARNED = replace(OUTPUTS, loss=Estimate(1.4, 0.02))


def unlearned(*readings: Reading) -> Finding:
    """As of a training that is no better than a constant answer."""
    return finding(GRADIENT_NOISE, UNLEARNED, *readings)


@pytest.mark.parametrize(
    ("readings", "signal"),
    [
        ((NOISY, STANDS), True),
        ((NOISY, STANDS, UNKNOWN_RULE), True),
        ((NOISY, STANDS, replace(STEP, sharpness=None, limit=None, sharpness_over_limit=None)), True),
        ((), False),
        ((STANDS,), False),
        ((STANDS, UNKNOWN_RULE), False),
        ((NOISY,), False),
        ((NOISY, UNKNOWN_RULE), False),
        ((NOISY, STANDS, replace(GRADIENT, norm=1e-6)), False),
        ((NOISY, STANDS, replace(GRADIENT, squared_norm=Estimate(0.01, 0.02))), False),
        ((replace(NOISY, curved_trace=Estimate(0.1, 0.01)), STANDS), False),
        ((replace(NOISY, curved_trace=Estimate(-20.0, 0.5)), STANDS), False),
    ],
    ids=[
        "noise takes all back",
        "a rule with a σ",
        "limit unknown",
        "well",
        "stands for another reason",
        "the same under a rule with a σ",
        "noisy and falls",
        "the same of a rule with a σ",
        "vanished gradient",
        "gradient below its noise",
        "steps too short for noise to matter",
        "the surface bends down along the noise",
    ],
)
def test_mostly_noise_and_not_falling(readings: tuple[Reading, ...], signal: bool) -> None:
    assert unlearned(*readings).signal is signal


@pytest.mark.parametrize(("high", "signal"), [(0.99 * SMALL_GAIN, True), (1.01 * SMALL_GAIN, False)])
def test_noise_is_most_of_a_step_beyond_doubt(high: float, signal: bool) -> None:
    noise = replace(NOISY, gain=Within(0.04, 0.03, high))
    assert unlearned(noise, STANDS).signal is signal


@pytest.mark.parametrize(("over", "signal"), [(0.99 * NEAR_LIMIT, True), (1.01 * NEAR_LIMIT, False)])
def test_steps_are_not_long_for_the_curvature(over: float, signal: bool) -> None:
    assert unlearned(NOISY, STANDS, replace(STEP, sharpness_over_limit=over)).signal is signal


@pytest.mark.parametrize(("times", "signal"), [(0.98, False), (1.02, True)])
def test_noise_takes_enough_back(times: float, signal: bool) -> None:
    """η tr(HΣ) / 2B over ‖G‖²: of η = 0.1, B = 2 and ‖G‖² = 0.24 known well, tr(HΣ) / 9.6."""
    at_threshold = TAKEN_BACK * 9.6
    exact = replace(NOISY, squared_norm=Estimate(0.24, 0.0), curved_trace=Estimate(times * at_threshold, 0.0))
    assert unlearned(exact, STANDS).signal is signal


LONG_STEPS = replace(STEP, optimizer="Adam", relative_step=2 * LONG)
OUTWEIGHED = replace(NOISE, over_batch=Within(3.0, 1.5, 6.0))
"""More noise than signal, and not mostly noise."""


@pytest.mark.parametrize(
    ("changed", "signal"),
    [
        ((), True),
        ((replace(GRADIENT, squared_norm=Estimate(0.01, 0.02)),), True),
        ((replace(LONG_STEPS, relative_step=LONG / 2),), False),
        ((replace(LONG_STEPS, sharpness_over_limit=2 * NEAR_LIMIT),), False),
        ((replace(OUTWEIGHED, over_batch=Within(3.0, 0.5, 6.0)),), False),
        ((UNLEARNED,), False),
        ((replace(OUTPUTS, constant=None),), False),
        ((DIRECTION,), False),
    ],
    ids=[
        "stands still under long steps",
        "gradient below its noise",
        "short steps",
        "near the limit",
        "as much signal as noise",
        "has learned nothing",
        "who knows whether it has learned",
        "falls",
    ],
)
def test_a_training_at_its_end_stands_still_under_long_steps(changed: tuple[Reading, ...], signal: bool) -> None:
    """As at a rate that nobody lets decay; where it has decayed, steps are short."""
    given = {type(reading): reading for reading in (OUTWEIGHED, STANDS, LONG_STEPS, OUTPUTS, *changed)}
    assert finding(GRADIENT_NOISE, *given.values()).signal is signal


def test_a_schedule_that_lowers_the_rate_gets_it_on_by_itself() -> None:
    later = replace(LONG_STEPS, update=100)
    assert finding(GRADIENT_NOISE, OUTWEIGHED, STANDS, LONG_STEPS, later, OUTPUTS).signal
    lowered = replace(later, rate=0.9 * LONG_STEPS.rate)
    assert not finding(GRADIENT_NOISE, OUTWEIGHED, STANDS, LONG_STEPS, lowered, OUTPUTS).signal


def test_a_loss_that_climbs_does_not_stand_still() -> None:
    climbed = replace(OUTPUTS, update=OUTPUTS.update + 100, loss=Estimate(2 * OUTPUTS.loss.value, 0.02))
    assert not finding(GRADIENT_NOISE, OUTWEIGHED, STANDS, LONG_STEPS, OUTPUTS, replace(climbed, constant=9.0)).signal


def test_the_length_of_steps_is_told() -> None:
    evidence = finding(GRADIENT_NOISE, OUTWEIGHED, STANDS, LONG_STEPS, OUTPUTS).judgement.evidence
    assert evidence[-1].says == "an update moves the weights by 0.004 of their norm"


def test_what_is_sure_scores_higher() -> None:
    exact = replace(NOISY, squared_norm=Estimate(0.24, 0.0), curved_trace=Estimate(1.1 * TAKEN_BACK * 9.6, 0.0))
    guessed = replace(exact, curved_trace=Estimate(exact.curved_trace.value, exact.curved_trace.value / 10))
    assert unlearned(exact, STANDS).score > unlearned(guessed, STANDS).score


def test_trials_branch_from_the_first_look_that_shows_it() -> None:
    later, last = replace(NOISY, update=50), replace(NOISY, update=100)
    assert unlearned(NOISE, later, last, STANDS).judgement.from_update == 50
    far = replace(STEP, update=100)
    near = replace(STEP, sharpness_over_limit=2 * NEAR_LIMIT)
    assert unlearned(NOISY, last, near, far, STANDS).judgement.from_update == 100


def test_the_walk_no_longer_falls() -> None:
    assert unlearned(NOISY, DIRECTION, replace(STANDS, update=100)).signal
    assert not unlearned(NOISY, STANDS, replace(DIRECTION, update=100)).signal


def test_signal_and_noise_are_told() -> None:
    evidence = unlearned(NOISY, STANDS).judgement.evidence
    assert [each.says for each in evidence if each.reading != "step"] == [
        "the noise of an update on 2 samples is 25 times its signal (20 to 30)",
        "the gradient over 512 samples has a norm of 0.5 ± 0.1",
        "at this rate noise takes back 2.1 times what an update gains",
    ]
    of_noise = unlearned(NOISY, STANDS, UNKNOWN_RULE).judgement.evidence
    assert [each.reading for each in of_noise if each.reading != "step"] == ["noise", "gradient"]


def test_unknown_without_its_probes() -> None:
    needed = {"noise": NOISY, "gradient": GRADIENT, "direction": STANDS, "step": STEP}
    for probe in needed:
        found = GRADIENT_NOISE.finding(only(*(reading for name, reading in needed.items() if name != probe)))
        assert f"`{probe}`" in str(found.unknown_because)
