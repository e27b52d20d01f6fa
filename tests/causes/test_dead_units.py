"""Dead units: most of a layer, for every sample, and a model that says nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.readings import ACTIVATIONS, DIRECTION, OUTPUTS, finding, only

from unstuck.causes.dead_units import DEAD_UNITS, MOST
from unstuck.reading import Estimate, Reading

DEAD = replace(ACTIVATIONS, dead=0.5, worst_dead=1.0, layers=("1 relu", "3 relu"), layer_dead=(0.0, 1.0))
SATURATED = replace(ACTIVATIONS, saturated=0.5, worst_saturated=0.95)
SPARSE = replace(ACTIVATIONS, worst_saturated=None, saturated=None, layer_off=(0.95, 0.9))
BY_CHANCE = replace(DEAD, worst_dead=0.66, layer_dead=(0.0, 0.66))
"""Deep rectifier networks at torch's own initialization have layers like this."""

USELESS = replace(OUTPUTS, loss=Estimate(1.39, 0.01))
OPAQUE = replace(OUTPUTS, constant=None, input_dependence=None)
STANDS = replace(DIRECTION, end=1.4, slope=Estimate(0.0, 0.001))


@pytest.mark.parametrize(
    ("given", "signal"),
    [
        ((DEAD, USELESS), True),
        ((DEAD, OPAQUE, STANDS), True),
        ((SATURATED, USELESS), True),
        ((ACTIVATIONS, replace(DEAD, update=100), USELESS), True),
        ((DEAD, OUTPUTS), False),
        ((SATURATED, OUTPUTS), False),
        ((DEAD, OPAQUE), False),
        ((SPARSE, USELESS), False),
        ((BY_CHANCE, USELESS), False),
        ((replace(SATURATED, worst_saturated=MOST / 2), USELESS), False),
        (
            (replace(ACTIVATIONS, units=0, layers=(), layer_dead=(), saturated=None, worst_saturated=None), USELESS),
            False,
        ),
    ],
    ids=[
        "dead and no better than a constant",
        "dead, no constant answer is known, and nothing falls",
        "saturated and no better than a constant",
        "died on the walk",
        "a shortcut leads around the dead layer",
        "saturated and learning",
        "no constant answer is known, and the loss falls",
        "sparse",
        "half of a layer, by chance",
        "some saturated",
        "no activations",
    ],
)
def test_most_of_a_layer_and_nothing_learned(given: tuple[Reading, ...], signal: bool) -> None:
    assert finding(DEAD_UNITS, *given).signal is signal


def test_born_dead_is_surer_than_saturated_and_than_killed() -> None:
    killed = finding(DEAD_UNITS, ACTIVATIONS, replace(DEAD, update=100), USELESS)
    assert finding(DEAD_UNITS, DEAD, USELESS).score > finding(DEAD_UNITS, SATURATED, USELESS).score > killed.score
    assert "the walk did it" in killed.judgement.evidence[0].says
    assert killed.judgement.evidence[0].update == 100


def test_the_layer_and_its_initialization_are_told() -> None:
    says = finding(DEAD_UNITS, replace(DEAD, initial_worst_dead=0.0), USELESS).judgement.evidence[0].says
    assert "100% of a layer's units are off or saturated for all 512 samples (3 relu)" in says
    assert says.endswith("at initialization, 0%")


def test_unknown_without_its_probe() -> None:
    assert "activations" in str(DEAD_UNITS.finding(only(OUTPUTS, DIRECTION)).unknown_because)
