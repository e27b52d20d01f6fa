"""Ill-conditioned: the steepest direction leaves no room, and along the others the gradient gains little."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.readings import GRADIENT, INPUTS, SPECTRUM, STEP, finding, only

from unstuck.causes.ill_conditioned import ILL_CONDITIONED, NO_ROOM, SMALL_SHARE, TOGETHER
from unstuck.reading import Estimate, Reading

NARROW = replace(SPECTRUM, descent_share=SMALL_SHARE / 3)
FULL = replace(STEP, sharpness_over_limit=2 * NO_ROOM)


@pytest.mark.parametrize(
    ("readings", "signal"),
    [
        ((NARROW, FULL), True),
        ((), False),
        ((NARROW,), False),
        ((FULL,), False),
        ((NARROW, replace(FULL, sharpness=None, limit=None, sharpness_over_limit=None)), False),
        ((NARROW, replace(FULL, optimizer="Adam")), False),
        ((NARROW, FULL, replace(GRADIENT, norm=1e-6)), False),
        ((NARROW, FULL, replace(GRADIENT, squared_norm=Estimate(0.01, 0.02))), False),
    ],
    ids=[
        "a narrow valley, walked as fast as can be",
        "well",
        "a rate that can be raised",
        "edge of stability",
        "limit unknown",
        "a rate for every parameter",
        "vanished gradient",
        "gradient below its noise",
    ],
)
def test_no_room_and_little_gain(readings: tuple[Reading, ...], signal: bool) -> None:
    assert finding(ILL_CONDITIONED, *readings).signal is signal


@pytest.mark.parametrize(("times", "signal"), [(0.99, True), (1.01, False)])
def test_the_share_is_small(times: float, signal: bool) -> None:
    spectrum = replace(SPECTRUM, descent_share=times * SMALL_SHARE)
    assert finding(ILL_CONDITIONED, spectrum, FULL).signal is signal


@pytest.mark.parametrize(("times", "signal"), [(0.99, False), (1.01, True)])
def test_the_rate_cannot_be_raised(times: float, signal: bool) -> None:
    step = replace(STEP, sharpness_over_limit=times * NO_ROOM)
    found = finding(ILL_CONDITIONED, NARROW, step)
    assert found.signal is signal
    assert ("leaves no room" in found.judgement.evidence[1].says) is signal


def test_the_last_look_counts() -> None:
    """When what is steep has been walked down; the gradient is that of the same look."""
    wide, room = replace(SPECTRUM, update=100), replace(STEP, update=100)
    assert not finding(ILL_CONDITIONED, NARROW, FULL, wide).signal
    assert not finding(ILL_CONDITIONED, NARROW, FULL, room).signal
    later = (replace(NARROW, update=100), replace(FULL, update=100))
    assert finding(ILL_CONDITIONED, SPECTRUM, STEP, *later).signal
    assert finding(ILL_CONDITIONED, *later, replace(GRADIENT, norm=1e-6), replace(GRADIENT, update=100)).signal
    assert not finding(ILL_CONDITIONED, *later, GRADIENT, replace(GRADIENT, update=100, norm=1e-6)).signal


def test_share_room_and_inputs_are_told() -> None:
    evidence = finding(ILL_CONDITIONED, NARROW, FULL, replace(INPUTS, normalized_condition=80.0)).judgement.evidence
    assert [each.value for each in evidence] == [SMALL_SHARE / 3, 2 * NO_ROOM, 80.0]
    assert evidence[0].says == (
        "the best step along the gradient gains 0.01 of what a step would that is scaled by the curvature of each "
        "direction"
    )
    assert (evidence[2].expected, "80 times" in evidence[2].says) == ("about 2.2", True)
    unknown = replace(INPUTS, noise_condition=None)
    assert finding(ILL_CONDITIONED, unknown).judgement.evidence[2].expected == "near 1"


def test_unknown_without_its_probes_but_for_the_inputs() -> None:
    needed = {"spectrum": NARROW, "step": FULL, "gradient": GRADIENT}
    for probe in needed:
        found = ILL_CONDITIONED.finding(only(*(reading for name, reading in needed.items() if name != probe)))
        assert f"`{probe}`" in str(found.unknown_because)
    found = ILL_CONDITIONED.finding(only(*needed.values()))
    assert found.signal
    assert len(found.judgement.evidence) == 2
    constant = ILL_CONDITIONED.finding(only(*needed.values(), replace(INPUTS, normalized_condition=None)))
    assert len(constant.judgement.evidence) == 2


@pytest.mark.parametrize(("times", "signal"), [(0.99, False), (1.01, True)])
@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
def test_inputs_that_go_together_suit_no_rule(optimizer: str, times: float, signal: bool) -> None:
    found = finding(
        ILL_CONDITIONED, replace(INPUTS, normalized_condition=times * TOGETHER), replace(STEP, optimizer=optimizer)
    )
    assert found.signal is signal
    assert (found.judgement.evidence[0].reading == "inputs") is signal
