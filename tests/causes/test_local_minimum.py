"""Local minimum: a negligible gradient, no way down, and a loss that is not much better than a constant's."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.readings import DIRECTION, GRADIENT, OUTPUTS, SPECTRUM, finding, only

from unstuck.causes.local_minimum import ADVICE, DEPENDS, FLAT, LOCAL_MINIMUM, NOT_MUCH
from unstuck.reading import Estimate, Reading

AT_REST = replace(GRADIENT, norm=1e-4, noise=0.0, squared_norm=Estimate(1e-8, 0.0))
BELOW_NOISE = replace(GRADIENT, norm=0.1, noise=0.1, squared_norm=Estimate(0.001, 0.002))
UPWARDS = replace(SPECTRUM, lowest=Estimate(0.1, 0.01), proved=None)
STANDS = replace(DIRECTION, end=1.4, slope=Estimate(0.0, 0.001))
LIKE_A_CONSTANT = replace(OUTPUTS, loss=Estimate(1.39, 0.02), constant=1.39)

REST: tuple[Reading, ...] = (AT_REST, UPWARDS, STANDS)


@pytest.mark.parametrize(
    ("readings", "signal"),
    [
        ((*REST, LIKE_A_CONSTANT), True),
        ((BELOW_NOISE, UPWARDS, STANDS, LIKE_A_CONSTANT), True),
        ((AT_REST, replace(UPWARDS, lowest=Estimate(0.0, 1e-9)), STANDS, LIKE_A_CONSTANT), True),
        ((AT_REST, replace(UPWARDS, lowest=Estimate(-0.3, 0.4)), STANDS, LIKE_A_CONSTANT), True),
        ((AT_REST, replace(SPECTRUM, proved=Estimate(0.0, 1e-9)), STANDS, LIKE_A_CONSTANT), True),
        ((*REST, replace(LIKE_A_CONSTANT, input_dependence=None)), True),
        ((), False),
        ((GRADIENT, UPWARDS, STANDS, LIKE_A_CONSTANT), False),
        ((AT_REST, SPECTRUM, STANDS, LIKE_A_CONSTANT), False),
        ((AT_REST, UPWARDS, DIRECTION, LIKE_A_CONSTANT), False),
        ((*REST, replace(LIKE_A_CONSTANT, constant=None)), False),
    ],
    ids=[
        "every way leads up",
        "gradient below its noise",
        "flat directions",
        "curvature below zero within its error",
        "curvature below zero that is none in double precision",
        "dependence on inputs unknown",
        "well",
        "a gradient to follow",
        "saddle point",
        "a walk that falls",
        "no constant to compare with",
    ],
)
def test_at_rest_where_every_way_leads_up(readings: tuple[Reading, ...], signal: bool) -> None:
    assert finding(LOCAL_MINIMUM, *readings).signal is signal


@pytest.mark.parametrize(("times", "signal"), [(0.99, True), (1.01, False)])
def test_a_way_down_is_worth_walking(times: float, signal: bool) -> None:
    lowest = Estimate(-times * FLAT * SPECTRUM.largest.value, 0.0)
    curvature = replace(SPECTRUM, lowest=lowest, proved=lowest)
    assert finding(LOCAL_MINIMUM, AT_REST, curvature, STANDS, LIKE_A_CONSTANT).signal is signal
    within = replace(curvature, lowest=Estimate(lowest.value - 0.01, 0.01))
    assert finding(LOCAL_MINIMUM, AT_REST, within, STANDS, LIKE_A_CONSTANT).signal is signal


@pytest.mark.parametrize(("times", "signal"), [(0.99, False), (1.01, True)])
def test_the_loss_is_high_beyond_its_error(times: float, signal: bool) -> None:
    assert OUTPUTS.constant is not None
    outputs = replace(OUTPUTS, loss=Estimate(times * NOT_MUCH * OUTPUTS.constant + 0.05, 0.05))
    found = finding(LOCAL_MINIMUM, *REST, outputs)
    assert found.signal is signal
    assert found.score < finding(LOCAL_MINIMUM, *REST, LIKE_A_CONSTANT).score
    assert found.judgement.advice == (ADVICE if signal else "")


@pytest.mark.parametrize(("times", "signal"), [(0.99, False), (1.01, True)])
def test_outputs_depend_on_the_inputs(times: float, signal: bool) -> None:
    outputs = replace(LIKE_A_CONSTANT, input_dependence=Estimate(times * DEPENDS - 0.001, 0.001))
    assert finding(LOCAL_MINIMUM, *REST, outputs).signal is signal


def test_the_last_look_counts() -> None:
    later = [replace(reading, update=100) for reading in (AT_REST, UPWARDS)]
    found = finding(LOCAL_MINIMUM, GRADIENT, SPECTRUM, *later, STANDS, LIKE_A_CONSTANT)
    assert found.signal
    assert found.judgement.from_update == 100
    assert not finding(LOCAL_MINIMUM, *REST, replace(GRADIENT, update=100), LIKE_A_CONSTANT).signal
    assert not finding(LOCAL_MINIMUM, *REST, LIKE_A_CONSTANT, replace(OUTPUTS, update=200, constant=9.9)).signal
    assert not finding(LOCAL_MINIMUM, *REST, LIKE_A_CONSTANT, replace(DIRECTION, update=100)).signal


def test_gradient_curvature_and_loss_are_told() -> None:
    evidence = finding(LOCAL_MINIMUM, *REST, LIKE_A_CONSTANT).judgement.evidence
    assert [each.says for each in evidence] == [
        "the gradient's norm is 0.0001 ± 0; 0.5 is typical for this network",
        "the lowest eigenvalue is 0.1 ± 0.01, the largest 4; minimum ratio 0.40",
        "the loss is 1.39, that of the best constant answer 1.39",
    ]
    assert len(finding(LOCAL_MINIMUM, *REST, replace(OUTPUTS, constant=None)).judgement.evidence) == 2


def test_unknown_without_its_probes() -> None:
    needed = {"gradient": AT_REST, "spectrum": UPWARDS, "outputs": OUTPUTS, "direction": STANDS}
    for probe in needed:
        found = LOCAL_MINIMUM.finding(only(*(reading for name, reading in needed.items() if name != probe)))
        assert f"`{probe}`" in str(found.unknown_because)
