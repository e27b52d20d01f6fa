"""Exploding gradient: it grows towards the inputs and does harm, or spikes."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from tests.readings import DIRECTION, LAYERS, OUTPUTS, finding, only

from unstuck.causes.exploding_gradient import EXPLODING_GRADIENT, FAR, LARGE, SPIKE
from unstuck.probes.direction import DirectionReading
from unstuck.reading import Estimate, Reading

GROWING = replace(LAYERS, depth=10, gradient_trend=Estimate(-0.4, 0.05), gradient_ratio=Estimate(3 * LARGE, 1.0))
RESIDUAL = replace(LAYERS, depth=14, gradient_trend=Estimate(-0.2, 0.02), gradient_ratio=Estimate(0.7 * LARGE, 0.4))
"""With batch normalization: its activations grow along depth, and it is well."""

FAR_OFF = replace(OUTPUTS, update=0, loss=Estimate(2 * FAR * 1.39, 0.1))
AT_CONSTANT = replace(OUTPUTS, loss=Estimate(1.39, 0.01))
THROWN = replace(DIRECTION, end=30.0, slope=Estimate(0.1, 0.2), largest=2 * FAR * DIRECTION.start)
BROKEN = replace(DIRECTION, end=None, broke_at=3)


@pytest.mark.parametrize(
    ("given", "signal"),
    [
        ((GROWING, FAR_OFF, AT_CONSTANT), True),
        ((GROWING, AT_CONSTANT, THROWN), True),
        ((GROWING, FAR_OFF, BROKEN), True),
        ((GROWING, OUTPUTS, THROWN), True),
        ((GROWING, AT_CONSTANT), True),
        ((GROWING, replace(OUTPUTS, constant=None), BROKEN), True),
        ((GROWING, OUTPUTS), False),
        ((GROWING, FAR_OFF, OUTPUTS), False),
        ((RESIDUAL, FAR_OFF, AT_CONSTANT), False),
        ((LAYERS, FAR_OFF, BROKEN), False),
        ((replace(GROWING, gradient_trend=Estimate(-0.4, 0.3)), FAR_OFF, BROKEN), False),
        ((replace(GROWING, gradient_ratio=Estimate(LARGE, 1.0)), FAR_OFF, BROKEN), False),
        ((replace(GROWING, gradient_trend=None), FAR_OFF, BROKEN), False),
        ((LAYERS, replace(GROWING, update=100), AT_CONSTANT, THROWN), False),
    ],
    ids=[
        "starts far off and stays useless",
        "thrown out",
        "broken",
        "thrown out for a while",
        "no better than a constant",
        "broken, no constant answer is known",
        "grows and learns",
        "starts far off and learns",
        "residual",
        "flat profile",
        "no line",
        "large within the error",
        "too few layers",
        "only where the walk has thrown it",
    ],
)
def test_it_grows_and_does_harm(given: tuple[Reading, ...], signal: bool) -> None:
    assert finding(EXPLODING_GRADIENT, *given).signal is signal


def test_what_is_worst_is_surest() -> None:
    worst = finding(EXPLODING_GRADIENT, GROWING, FAR_OFF, AT_CONSTANT, THROWN)
    assert worst.score > finding(EXPLODING_GRADIENT, GROWING, AT_CONSTANT).score


def spiking(times: float, rare: int = 10) -> DirectionReading:
    """A walk that falls, along gradients that grow, of which one in so many is longer."""
    norms = tuple((0.5 + 0.01 * at) * (times if at % rare == 0 else 1.0) for at in range(100))
    return replace(DIRECTION, norms=norms)


@pytest.mark.parametrize(
    ("walk", "signal"),
    [
        (spiking(1.2 * SPIKE), True),
        (spiking(0.8 * SPIKE), False),
        (spiking(1.2 * SPIKE, rare=50), False),
        (spiking(1.0), False),
        (replace(DIRECTION, norms=(1e9, *spiking(1.0).norms)), False),
        (replace(DIRECTION, norms=spiking(100.0).norms[:10]), False),
    ],
    ids=["spikes", "fluctuations", "twice in a hundred", "grows on the way", "once, at the start", "too few to tell"],
)
def test_gradients_that_spike(walk: DirectionReading, signal: bool) -> None:
    found = finding(EXPLODING_GRADIENT, LAYERS, walk)
    assert found.signal is signal
    assert ("one gradient in 20 is" in found.judgement.evidence[0].says) is signal


def test_growth_is_told_before_spikes() -> None:
    found = finding(EXPLODING_GRADIENT, GROWING, FAR_OFF, AT_CONSTANT, spiking(1.2 * SPIKE))
    assert found.score == finding(EXPLODING_GRADIENT, GROWING, FAR_OFF, AT_CONSTANT).score
    assert "through 10 layers" in found.judgement.evidence[0].says


def test_the_growth_is_told_first() -> None:
    evidence = finding(EXPLODING_GRADIENT, GROWING, FAR_OFF, BROKEN).judgement.evidence
    assert evidence[0].value == 3 * LARGE
    assert "through 10 layers the gradient becomes 30 times as large" in evidence[0].says
    assert evidence[-1].says.endswith("then not a number")


def test_a_walk_without_a_finite_loss_is_judged() -> None:
    walk = replace(BROKEN, start=math.nan, largest=math.nan, broke_at=0)
    assert finding(EXPLODING_GRADIENT, GROWING, AT_CONSTANT, walk).signal


def test_unknown_without_its_probe() -> None:
    assert "layers" in str(EXPLODING_GRADIENT.finding(only(OUTPUTS, DIRECTION)).unknown_because)
