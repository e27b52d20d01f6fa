"""Unnormalized inputs: size, evenness and offset out of range."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.readings import FINITE, INPUTS, finding, only

from unstuck.causes.unnormalized_inputs import BOTH, FAR, LARGE, SMALL, UNEVEN, UNNORMALIZED_INPUTS
from unstuck.probes.inputs import InputsReading


@pytest.mark.parametrize(
    ("inside", "outside"),
    [
        (replace(INPUTS, size=LARGE / 2), replace(INPUTS, size=LARGE * 2)),
        (replace(INPUTS, size=SMALL * 2), replace(INPUTS, size=SMALL / 2)),
        (replace(INPUTS, largest_over_typical=UNEVEN / 2), replace(INPUTS, largest_over_typical=UNEVEN * 2)),
        (
            replace(INPUTS, largest_over_typical=1.5 * BOTH, typical_over_smallest=BOTH / 2),
            replace(INPUTS, largest_over_typical=1.5 * BOTH, typical_over_smallest=BOTH * 2),
        ),
        (replace(INPUTS, offset=FAR / 2), replace(INPUTS, offset=FAR * 2)),
    ],
    ids=["large", "small", "uneven", "uneven on both sides", "far from zero"],
)
def test_out_of_range_is_a_fact(inside: InputsReading, outside: InputsReading) -> None:
    assert not finding(UNNORMALIZED_INPUTS, inside).signal
    found = finding(UNNORMALIZED_INPUTS, outside)
    assert found.signal
    assert found.judgement.certain
    assert found.score > finding(UNNORMALIZED_INPUTS, inside).score


@pytest.mark.parametrize(
    "inputs",
    [
        INPUTS,
        replace(INPUTS, size=0.33, offset=0.5),
        replace(INPUTS, typical_over_smallest=1e4),
        replace(INPUTS, constant=0.3),
        replace(INPUTS, size=1.0, offset=1.0, largest_over_typical=0.0, typical_over_smallest=0.0, constant=1.0),
        replace(INPUTS, axis=0, features=0, size=0.0, largest_over_typical=0.0, offset=0.0),
    ],
    ids=["standardized", "pixels in 0..1", "border pixels", "some constant", "all constant", "token numbers"],
)
def test_what_is_no_sign(inputs: InputsReading) -> None:
    found = finding(UNNORMALIZED_INPUTS, inputs)
    assert not found.signal
    assert not found.judgement.certain


def test_an_offset_of_constant_inputs_is_none() -> None:
    """The lecture's own example has one constant input; its distance from zero is no deviation's worth."""
    assert not finding(UNNORMALIZED_INPUTS, replace(INPUTS, size=1.0, offset=30.0, constant=1.0)).signal


def test_what_is_out_of_range_is_told() -> None:
    evidence = finding(UNNORMALIZED_INPUTS, replace(INPUTS, size=80.0, largest_over_typical=1000.0)).judgement.evidence
    assert {each.value for each in evidence} == {80.0, 1000.0}


def test_unknown_without_its_probe() -> None:
    assert "inputs" in str(UNNORMALIZED_INPUTS.finding(only(FINITE)).unknown_because)
