"""Vanishing gradient: a slope along depth, a faint first layer, and outputs that say nothing, all at the start."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.readings import DIRECTION, LAYERS, OUTPUTS, finding, only

from unstuck.causes.vanishing_gradient import BLIND, FAINT, VANISHING_GRADIENT
from unstuck.reading import Estimate, Reading

FADING = replace(
    LAYERS,
    depth=10,
    gradient_trend=Estimate(1.2, 0.05),
    gradient_ratio=Estimate(FAINT / 100, FAINT / 1000),
    parameter_trend=Estimate(1.1, 0.1),
    parameter_ratio=Estimate(FAINT / 100, FAINT / 1000),
)
IGNORING = replace(OUTPUTS, loss=Estimate(1.39, 0.01), input_dependence=Estimate(BLIND / 100, BLIND / 1000))
AT_START = replace(IGNORING, update=0)
LEARNING = replace(OUTPUTS, input_dependence=Estimate(BLIND / 100, BLIND / 1000))
"""Far-off targets: little of the outputs depends on the inputs, and the model is better than any constant."""

STANDS = replace(DIRECTION, end=1.4, slope=Estimate(0.0, 0.001))


@pytest.mark.parametrize(
    ("given", "signal"),
    [
        ((FADING, IGNORING), True),
        ((FADING, replace(IGNORING, input_dependence=Estimate(0.4, 0.01))), True),
        ((FADING, replace(IGNORING, constant=None, input_dependence=None), STANDS), True),
        ((FADING, AT_START, OUTPUTS), True),
        ((FADING, replace(LAYERS, update=100), AT_START, OUTPUTS), True),
        ((FADING, replace(LAYERS, update=100), OUTPUTS), False),
        ((FADING, OUTPUTS), False),
        ((FADING, LEARNING), False),
        ((FADING, replace(IGNORING, constant=None, input_dependence=None), DIRECTION), False),
        ((LAYERS, IGNORING), False),
        ((replace(FADING, gradient_ratio=Estimate(2 * FAINT, 0.0)), IGNORING), False),
        ((replace(FADING, gradient_ratio=Estimate(FAINT / 2, FAINT)), IGNORING), False),
        ((replace(FADING, gradient_trend=Estimate(1.2, 0.7)), IGNORING), False),
        ((replace(FADING, parameter_trend=Estimate(0.0, 0.1)), IGNORING), False),
        ((replace(FADING, gradient_trend=None, gradient_ratio=None), IGNORING), False),
        ((LAYERS, replace(FADING, update=100), IGNORING), False),
    ],
    ids=[
        "fades, ignores its inputs",
        "fades, above the constant answer",
        "fades, no constant answer is known, and nothing falls",
        "ignored its inputs at the start",
        "mended by the walk",
        "mended by the walk, and never blind",
        "a deep network that learns",
        "far-off targets",
        "no constant answer is known, and the loss falls",
        "flat profile",
        "not faint enough",
        "faint within the error",
        "no line",
        "parameters learn alike in all layers",
        "too few layers",
        "only after the walk",
    ],
)
def test_slope_ratio_and_outputs_together(given: tuple[Reading, ...], signal: bool) -> None:
    assert finding(VANISHING_GRADIENT, *given).signal is signal


def test_ignored_inputs_make_it_surer() -> None:
    depends = replace(IGNORING, input_dependence=Estimate(0.4, 0.01))
    assert finding(VANISHING_GRADIENT, FADING, IGNORING).score > finding(VANISHING_GRADIENT, FADING, depends).score


def test_trials_branch_from_the_start() -> None:
    found = finding(VANISHING_GRADIENT, FADING, replace(FADING, update=100), AT_START, OUTPUTS)
    assert found.judgement.from_update == 0
    assert {evidence.update for evidence in found.judgement.evidence} == {0}


def test_what_is_left_at_the_first_layer_is_told() -> None:
    evidence = finding(VANISHING_GRADIENT, FADING, IGNORING).judgement.evidence
    assert evidence[0].value == FAINT / 100
    assert "of 10 layers, 0.0001 is left" in evidence[0].says


def test_unknown_without_its_probe() -> None:
    assert "layers" in str(VANISHING_GRADIENT.finding(only(OUTPUTS, DIRECTION)).unknown_because)
