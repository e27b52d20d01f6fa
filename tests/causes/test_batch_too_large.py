"""Batch too large: a part of it would get several times as far on the same samples, and steps have room."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from tests.readings import GRADIENT, NOISE, STEP, finding, only

from unstuck.causes.batch_too_large import AS_FAR, BATCH_TOO_LARGE, PART, ROOM, SMALL, as_far
from unstuck.probes.noise import NoiseReading
from unstuck.reading import Estimate, Reading, Within


def of(batch: int, low: float, high: float, *, update: int = 0) -> NoiseReading:
    """A noise scale between the two, in a data set without end."""
    return replace(
        NOISE,
        update=update,
        batch=batch,
        population=10**9,
        scale=Within((low + high) / 2, low, high),
        gain=Within(1 / (1 + (low + high) / 2 / batch), 1 / (1 + high / batch), 1 / (1 + low / batch)),
    )


LARGE = of(1024, 20.0, 30.0)


@pytest.mark.parametrize(
    ("readings", "signal"),
    [
        ((LARGE,), True),
        ((LARGE, replace(STEP, sharpness=None, limit=None, sharpness_over_limit=None)), True),
        ((), False),
        ((of(1024, 500.0, 600.0),), False),
        ((of(1024, 20.0, 600.0),), False),
        ((of(1024, 20.0, math.inf),), False),
        ((LARGE, replace(GRADIENT, norm=1e-6)), False),
        ((LARGE, replace(GRADIENT, squared_norm=Estimate(0.01, 0.02))), False),
        ((LARGE, replace(STEP, optimizer="LBFGS")), False),
    ],
    ids=[
        "far above the noise scale",
        "limit unknown",
        "well",
        "of the noise scale's size",
        "scale known too little",
        "scale bounded from below alone",
        "vanished gradient",
        "gradient below its noise",
        "a rule for large batches",
    ],
)
def test_samples_that_buy_nothing(readings: tuple[Reading, ...], signal: bool) -> None:
    assert finding(BATCH_TOO_LARGE, *readings).signal is signal


@pytest.mark.parametrize(("batch", "signal"), [(SMALL, False), (SMALL + 1, True)])
def test_small_batches_are_never_too_large(batch: int, signal: bool) -> None:
    assert finding(BATCH_TOO_LARGE, of(batch, 0.1, 0.2)).signal is signal


@pytest.mark.parametrize(("over", "signal"), [(1.01 * ROOM, False), (0.99 * ROOM, True)])
def test_steps_have_room(over: float, signal: bool) -> None:
    assert finding(BATCH_TOO_LARGE, LARGE, replace(STEP, sharpness_over_limit=over)).signal is signal


def test_how_far_a_part_gets() -> None:
    """PART (1 + x) / (1 + PART x), x the noise scale over the batch, at the upper end of x: AS_FAR at an eighth."""
    for x in (0.02, 0.1, 1.0):
        assert as_far(of(1000, 0.0, 1000 * x)) == pytest.approx(PART * (1 + x) / (1 + PART * x), rel=1e-5)
    assert as_far(of(1000, 0.0, 125.0)) == pytest.approx(AS_FAR, rel=1e-5)
    assert as_far(of(1000, 0.0, math.inf)) == 0.0


@pytest.mark.parametrize(("share", "signal"), [(0.99, True), (1.01, False)])
def test_an_eighth_is_the_threshold(share: float, signal: bool) -> None:
    assert finding(BATCH_TOO_LARGE, of(1024, 1.0, share * 1024 / 8)).signal is signal


def test_all_data_at_once() -> None:
    """Without noise of its own: against the noise that a part would have."""
    whole = replace(LARGE, population=1024, gain=Within(1.0, 1.0, 1.0))
    x = 30 * (1 / 256 - 1 / 1024)
    assert as_far(whole) == pytest.approx(PART / (1 + x))
    assert finding(BATCH_TOO_LARGE, whole).signal


def test_trials_branch_from_the_first_look_that_shows_it() -> None:
    later = of(1024, 10.0, 15.0, update=100)
    assert finding(BATCH_TOO_LARGE, LARGE, later).judgement.from_update == 0
    assert finding(BATCH_TOO_LARGE, of(1024, 500.0, 600.0), later).judgement.from_update == 100
    arrived = replace(GRADIENT, update=100, norm=1e-6)
    assert not finding(BATCH_TOO_LARGE, of(1024, 500.0, 600.0), later, GRADIENT, arrived).signal


def test_scale_and_room_are_told() -> None:
    noise, step = finding(BATCH_TOO_LARGE, LARGE).judgement.evidence
    assert noise.says == (
        "the gradient noise scale is 25 samples (20 to 30), the batch 1024 of 1000000000: a 4th of it would get at "
        "least 3.7 times as far on the same samples"
    )
    assert (noise.value, step.value) == (25.0, STEP.sharpness_over_limit)
    unknown = replace(STEP, sharpness=None, limit=None, sharpness_over_limit=None)
    assert len(finding(BATCH_TOO_LARGE, LARGE, unknown).judgement.evidence) == 1


def test_smaller_batches_move_what_it_works_through() -> None:
    mediator = BATCH_TOO_LARGE.mediator
    assert mediator is not None
    assert not mediator.rises
    values = [mediator.value(of(batch, 20.0, 30.0)) for batch in (1024, 256, 64)]
    assert values == sorted(values, reverse=True)


def test_unknown_without_its_probes() -> None:
    for given, probe in (((GRADIENT, STEP), "noise"), ((LARGE, STEP), "gradient"), ((LARGE, GRADIENT), "step")):
        assert f"`{probe}`" in str(BATCH_TOO_LARGE.finding(only(*given)).unknown_because)
