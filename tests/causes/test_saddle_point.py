"""Saddle point: a negligible gradient, and a way down that the gradient does not know."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.readings import ESCAPE, GRADIENT, SPECTRUM, finding, only

from unstuck.causes.saddle_point import ADVANTAGE, CRITICAL, MATERIAL, MOST, SADDLE_POINT
from unstuck.reading import Estimate, Reading

AT_REST = replace(GRADIENT, norm=1e-4, noise=0.0, squared_norm=Estimate(1e-8, 0.0))
BELOW_NOISE = replace(GRADIENT, norm=0.1, noise=0.1, squared_norm=Estimate(0.001, 0.002))
NEAR_A_CRITICAL_POINT = replace(SPECTRUM, newton_residual=CRITICAL / 10)
FLAT = replace(
    SPECTRUM, largest=Estimate(0.0, 1e-9), lowest=Estimate(0.0, 1e-9), newton_residual=1.0, near_zero=Estimate(1, 0)
)
"""Of a degenerate saddle: the Hessian vanishes."""

NO_WAY = replace(ESCAPE, gradient_drop=0.0, curvature_drop=0.0, curvature_length=0.0, perturbed_drop=0.0)
ALONG_CURVATURE = replace(NO_WAY, curvature_drop=0.5, curvature_length=1.0)
BY_BREAKING = replace(NO_WAY, perturbed_drop=0.5, symmetric=1.0)
NEAR_THE_ORIGIN = replace(NO_WAY, gradient_drop=0.1, perturbed_drop=0.5)

SADDLE: tuple[Reading, ...] = (AT_REST, NEAR_A_CRITICAL_POINT, ALONG_CURVATURE)


@pytest.mark.parametrize(
    ("readings", "signal"),
    [
        (SADDLE, True),
        ((BELOW_NOISE, NEAR_A_CRITICAL_POINT, ALONG_CURVATURE), True),
        ((AT_REST, FLAT, BY_BREAKING), True),
        ((GRADIENT, SPECTRUM, BY_BREAKING), True),
        ((), False),
        ((GRADIENT, NEAR_A_CRITICAL_POINT, ALONG_CURVATURE), False),
        ((AT_REST, NEAR_A_CRITICAL_POINT, NO_WAY), False),
        ((AT_REST, replace(NEAR_A_CRITICAL_POINT, lowest=Estimate(-0.3, 0.4)), ALONG_CURVATURE), False),
        ((AT_REST, replace(NEAR_A_CRITICAL_POINT, lowest=Estimate(0.3, 0.01)), NO_WAY), False),
        ((AT_REST, replace(SPECTRUM, newton_residual=0.95), ALONG_CURVATURE), False),
        ((AT_REST, FLAT, replace(BY_BREAKING, symmetric=0.0)), False),
        ((GRADIENT, SPECTRUM, replace(BY_BREAKING, perturbed_drop=-1.0)), True),
        ((GRADIENT, SPECTRUM, replace(BY_BREAKING, symmetric=0.9 * MOST)), False),
        ((GRADIENT, NEAR_A_CRITICAL_POINT, NEAR_THE_ORIGIN), True),
        ((GRADIENT, SPECTRUM, NEAR_THE_ORIGIN), False),
        ((GRADIENT, replace(NEAR_A_CRITICAL_POINT, lowest=Estimate(-0.3, 0.4)), NEAR_THE_ORIGIN), False),
        ((GRADIENT, NEAR_A_CRITICAL_POINT, replace(NEAR_THE_ORIGIN, perturbed_drop=0.9 * ADVANTAGE * 0.1)), False),
    ],
    ids=[
        "negative curvature",
        "gradient below its noise",
        "degenerate, units alike",
        "units alike stay alike",
        "a training that goes well",
        "a gradient to follow",
        "no way down",
        "curvature within its error",
        "minimum",
        "gradient-flat",
        "plateau without symmetry",
        "units alike, and ten steps do not show it",
        "some units alike",
        "near the origin",
        "small weights, no critical point",
        "small weights, curvature within its error",
        "an ordinary start leads little farther",
    ],
)
def test_negligible_gradient_and_a_way_down(readings: tuple[Reading, ...], signal: bool) -> None:
    assert finding(SADDLE_POINT, *readings).signal is signal


@pytest.mark.parametrize(("share", "signal"), [(0.5, False), (2.0, True)])
def test_the_way_down_is_material(share: float, signal: bool) -> None:
    ways = replace(ALONG_CURVATURE, curvature_drop=share * MATERIAL * ESCAPE.loss)
    assert finding(SADDLE_POINT, AT_REST, NEAR_A_CRITICAL_POINT, ways).signal is signal


@pytest.mark.parametrize(("times", "signal"), [(0.5, False), (2.0, True)])
def test_it_leads_farther_than_the_gradient(times: float, signal: bool) -> None:
    ways = replace(ALONG_CURVATURE, gradient_drop=0.1, curvature_drop=times * ADVANTAGE * 0.1)
    assert finding(SADDLE_POINT, AT_REST, NEAR_A_CRITICAL_POINT, ways).signal is signal


def test_trials_branch_from_the_first_point_that_shows_it() -> None:
    start = (GRADIENT, SPECTRUM, ESCAPE)
    later = tuple(replace(reading, update=100) for reading in SADDLE)
    assert finding(SADDLE_POINT, *SADDLE).judgement.from_update == 0
    assert finding(SADDLE_POINT, *start, *later).judgement.from_update == 100
    assert finding(SADDLE_POINT, *SADDLE, *later).judgement.from_update == 0
    assert {evidence.update for evidence in finding(SADDLE_POINT, *start, *later).judgement.evidence} == {100}


def test_a_walk_into_the_origin_started_elsewhere() -> None:
    later = tuple(replace(reading, update=100) for reading in (GRADIENT, NEAR_A_CRITICAL_POINT, NEAR_THE_ORIGIN))
    assert not finding(SADDLE_POINT, GRADIENT, SPECTRUM, ESCAPE, *later).signal


def test_units_that_are_alike_are_surer_than_any_other_sign() -> None:
    """Weights of zero leave units off as well, which is a consequence."""
    alike = finding(SADDLE_POINT, GRADIENT, SPECTRUM, BY_BREAKING).score
    assert alike > 0.95
    assert alike > finding(SADDLE_POINT, *SADDLE).score


def test_unknown_without_its_probes() -> None:
    for given in ((GRADIENT, SPECTRUM), (GRADIENT, ESCAPE), (SPECTRUM, ESCAPE)):
        found = SADDLE_POINT.finding(only(*given))
        assert not found.signal
        assert found.unknown_because is not None
