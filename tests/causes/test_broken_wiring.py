"""Broken wiring: by names, exactly; intention is not held against anyone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.readings import OUTPUTS, WIRING, finding, only

from unstuck.causes.broken_wiring import BROKEN_WIRING, MUCH
from unstuck.probes.wiring import WiringReading


@pytest.mark.parametrize(
    "wiring",
    [
        replace(WIRING, missing=("head.weight",), missing_share=0.001),
        replace(WIRING, frozen_but_listed=("head.weight",), missing_share=0.001),
    ],
    ids=["not in the optimizer", "in it and frozen"],
)
def test_one_parameter_that_no_update_changes_is_a_fact(wiring: WiringReading) -> None:
    found = finding(BROKEN_WIRING, wiring)
    assert found.signal
    assert found.judgement.certain
    assert found.judgement.treatable
    assert found.judgement.evidence[0].value == "head.weight"


def test_much_out_of_the_losss_reach_is_a_fact_that_code_has_to_mend() -> None:
    found = finding(BROKEN_WIRING, replace(WIRING, detached=("body.weight",), missing_share=1.5 * MUCH))
    assert found.signal
    assert found.judgement.certain
    assert not found.judgement.treatable
    assert "body.weight" in found.judgement.advice


def test_a_little_out_of_the_losss_reach_may_be_an_output_nobody_uses() -> None:
    found = finding(BROKEN_WIRING, replace(WIRING, detached=("pooler.weight",), missing_share=MUCH / 2))
    assert not found.signal
    assert "pooler.weight" in found.judgement.advice


@pytest.mark.parametrize(
    "wiring",
    [
        WIRING,
        replace(WIRING, frozen=("body.weight", "body.bias")),  # frozen and not in the optimizer: by intention
        replace(WIRING, still=("dead.weight",), coverage=0.1),  # reached, with a gradient of zero
    ],
    ids=["all well", "frozen by intention", "units without gradient"],
)
def test_what_is_wired_is_no_sign(wiring: WiringReading) -> None:
    found = finding(BROKEN_WIRING, wiring)
    assert found.score == 0.0
    assert not found.judgement.certain


def test_many_names_are_counted_rather_than_listed() -> None:
    names = tuple(f"layer.{number}" for number in range(9))
    (evidence, *_) = finding(BROKEN_WIRING, replace(WIRING, missing=names)).judgement.evidence
    assert evidence.value == "layer.0, layer.1, layer.2, layer.3 and 5 more"


def test_unknown_without_its_probe() -> None:
    found = BROKEN_WIRING.finding(only(OUTPUTS))
    assert not found.signal
    assert found.unknown_because is not None
    assert "wiring" in found.unknown_because
