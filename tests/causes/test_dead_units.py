"""Dead units: most of a layer, at the start, or later in a model that says nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.readings import ACTIVATIONS, DIRECTION, OUTPUTS, finding, only

from unstuck.causes.dead_units import BOUND, DEAD_UNITS, SILENT
from unstuck.reading import Estimate, Reading

DEAD = replace(ACTIVATIONS, dead=0.5, worst_dead=1.0, layers=("1 relu", "3 relu"), layer_dead=(0.0, 1.0))
SATURATED = replace(ACTIVATIONS, saturated=0.5, worst_saturated=0.95, layer_saturated=(0.05, 0.95))
SPARSE = replace(ACTIVATIONS, worst_saturated=None, saturated=None, layer_saturated=(None, None), layer_off=(0.97, 0.9))
KEPT_OFF = replace(SPARSE, worst_dead=0.5, layer_dead=(0.5, 0.0), layer_off=(0.9999, 0.95))
ALL_ALIKE = replace(DEAD, layer_dead=(1.0, 1.0), layer_off=(1.0, 1.0), layer_twins=(1.0, 1.0))
NONE = replace(ACTIVATIONS, units=0, layers=(), layer_dead=(), layer_off=(), layer_saturated=(), layer_twins=())
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
        ((DEAD, OUTPUTS), True),
        ((SATURATED, OUTPUTS), True),
        ((KEPT_OFF, OUTPUTS), True),
        ((KEPT_OFF, replace(SPARSE, update=100), OUTPUTS), True),
        ((DEAD, OPAQUE), True),
        ((ACTIVATIONS, replace(DEAD, update=100), OUTPUTS), False),
        ((ACTIVATIONS, replace(SATURATED, update=100), OUTPUTS), False),
        ((ALL_ALIKE, USELESS), False),
        ((SPARSE, USELESS), False),
        ((BY_CHANCE, USELESS), False),
        ((replace(SATURATED, layer_saturated=(0.0, 0.98 * BOUND)), USELESS), False),
        ((replace(KEPT_OFF, layer_off=(SILENT, None)), USELESS), False),
        ((NONE, USELESS), False),
    ],
    ids=[
        "dead and no better than a constant",
        "dead, no constant answer is known, and nothing falls",
        "saturated and no better than a constant",
        "died on the walk",
        "born dead, a shortcut leads around",
        "born saturated, the last layer learns",
        "hardly ever on",
        "hardly ever on at the start",
        "born dead, no constant answer is known, and the loss falls",
        "died on the walk, which goes on",
        "saturated by the walk, which goes on",
        "all alike, as with weights of zero",
        "sparse",
        "half of a layer, by chance",
        "some saturated",
        "on now and then",
        "no activations",
    ],
)
def test_most_of_a_layer(given: tuple[Reading, ...], signal: bool) -> None:
    assert finding(DEAD_UNITS, *given).signal is signal


def test_born_dead_is_surer_than_saturated_than_learning_and_than_killed() -> None:
    killed = finding(DEAD_UNITS, ACTIVATIONS, replace(DEAD, update=100), USELESS)
    born = [
        finding(DEAD_UNITS, *given).score for given in ((DEAD, USELESS), (SATURATED, USELESS), (SATURATED, OUTPUTS))
    ]
    assert sorted([*born, killed.score], reverse=True) == [*born, killed.score]
    assert "the walk did it" in killed.judgement.evidence[0].says
    assert killed.judgement.evidence[0].update == 100


def test_trials_branch_from_before_units_died() -> None:
    for born in (KEPT_OFF, ACTIVATIONS):
        assert finding(DEAD_UNITS, born, replace(DEAD, update=100), USELESS).judgement.from_update == 0


def test_how_seldom_units_are_on_is_told() -> None:
    says = finding(DEAD_UNITS, KEPT_OFF, USELESS).judgement.evidence[0].says
    assert says.startswith("a layer's units are on for 0.0001 of the time, 50% of them never")


def test_what_is_dead_in_a_layer_whose_units_are_alike_is_not_counted() -> None:
    behind = replace(DEAD, layer_dead=(1.0, 1.0), layer_twins=(0.0, 1.0))
    assert finding(DEAD_UNITS, behind, USELESS).signal
    assert "(1 relu)" in finding(DEAD_UNITS, behind, USELESS).judgement.evidence[0].says


def test_the_layer_and_its_initialization_are_told() -> None:
    says = finding(DEAD_UNITS, replace(DEAD, initial_worst_dead=0.0), USELESS).judgement.evidence[0].says
    assert "100% of a layer's units are off or saturated for all 512 samples (3 relu)" in says
    assert says.endswith("at initialization, 0%")
    saturated = replace(SATURATED, initial_worst_dead=0.0, initial_worst_saturated=0.9)
    assert finding(DEAD_UNITS, saturated, USELESS).judgement.evidence[0].says.endswith("at initialization, 90%")


def test_unknown_without_its_probe() -> None:
    assert "activations" in str(DEAD_UNITS.finding(only(OUTPUTS, DIRECTION)).unknown_because)
