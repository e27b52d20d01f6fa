"""Gradient noise: a walk that does not fall, whose steps are mostly noise, far from the limit of stability."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.readings import DIRECTION, GRADIENT, NOISE, STEP, finding, only

from unstuck.causes.gradient_noise import GRADIENT_NOISE, NEAR_LIMIT, TAKEN_BACK
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
    assert finding(GRADIENT_NOISE, *readings).signal is signal


@pytest.mark.parametrize(("high", "signal"), [(0.99 * SMALL_GAIN, True), (1.01 * SMALL_GAIN, False)])
def test_noise_is_most_of_a_step_beyond_doubt(high: float, signal: bool) -> None:
    noise = replace(NOISY, gain=Within(0.04, 0.03, high))
    assert finding(GRADIENT_NOISE, noise, STANDS).signal is signal


@pytest.mark.parametrize(("over", "signal"), [(0.99 * NEAR_LIMIT, True), (1.01 * NEAR_LIMIT, False)])
def test_steps_are_not_long_for_the_curvature(over: float, signal: bool) -> None:
    assert finding(GRADIENT_NOISE, NOISY, STANDS, replace(STEP, sharpness_over_limit=over)).signal is signal


@pytest.mark.parametrize(("times", "signal"), [(0.98, False), (1.02, True)])
def test_noise_takes_enough_back(times: float, signal: bool) -> None:
    """η tr(HΣ) / 2B over ‖G‖²: of η = 0.1, B = 2 and ‖G‖² = 0.24 known well, tr(HΣ) / 9.6."""
    at_threshold = TAKEN_BACK * 9.6
    exact = replace(NOISY, squared_norm=Estimate(0.24, 0.0), curved_trace=Estimate(times * at_threshold, 0.0))
    assert finding(GRADIENT_NOISE, exact, STANDS).signal is signal


def test_what_is_sure_scores_higher() -> None:
    exact = replace(NOISY, squared_norm=Estimate(0.24, 0.0), curved_trace=Estimate(1.1 * TAKEN_BACK * 9.6, 0.0))
    guessed = replace(exact, curved_trace=Estimate(exact.curved_trace.value, exact.curved_trace.value / 10))
    assert finding(GRADIENT_NOISE, exact, STANDS).score > finding(GRADIENT_NOISE, guessed, STANDS).score


def test_trials_branch_from_the_first_look_that_shows_it() -> None:
    later, last = replace(NOISY, update=50), replace(NOISY, update=100)
    assert finding(GRADIENT_NOISE, NOISE, later, last, STANDS).judgement.from_update == 50
    far = replace(STEP, update=100)
    near = replace(STEP, sharpness_over_limit=2 * NEAR_LIMIT)
    assert finding(GRADIENT_NOISE, NOISY, last, near, far, STANDS).judgement.from_update == 100


def test_the_walk_no_longer_falls() -> None:
    assert finding(GRADIENT_NOISE, NOISY, DIRECTION, replace(STANDS, update=100)).signal
    assert not finding(GRADIENT_NOISE, NOISY, STANDS, replace(DIRECTION, update=100)).signal


def test_signal_and_noise_are_told() -> None:
    evidence = finding(GRADIENT_NOISE, NOISY, STANDS).judgement.evidence
    assert [each.says for each in evidence] == [
        "the noise of an update on 2 samples is 25 times its signal (20 to 30)",
        "the gradient over 512 samples has a norm of 0.5 ± 0.1",
        "at this rate noise takes back 2.1 times what an update gains",
    ]
    assert len(finding(GRADIENT_NOISE, NOISY, STANDS, UNKNOWN_RULE).judgement.evidence) == 2


def test_unknown_without_its_probes() -> None:
    needed = {"noise": NOISY, "gradient": GRADIENT, "direction": STANDS, "step": STEP}
    for probe in needed:
        found = GRADIENT_NOISE.finding(only(*(reading for name, reading in needed.items() if name != probe)))
        assert f"`{probe}`" in str(found.unknown_because)
