"""Non-finite: certain where the first look finds it, a suspicion where the walk ran into it."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from tests.readings import DIRECTION, FINITE, OUTPUTS, finding, only

from unstuck.causes.non_finite import ADVICE, NON_FINITE
from unstuck.reading import Estimate

BROKE = replace(DIRECTION, end=None, broke_at=40)


@pytest.mark.parametrize("kind", ADVICE)
def test_found_at_the_first_look_it_is_a_fact_and_the_place_is_named(kind: str) -> None:
    found = finding(NON_FINITE, replace(FINITE, finite=False, kind=kind, place="the place", share=0.01))
    assert found.signal
    assert found.judgement.certain
    assert not found.judgement.treatable
    assert "the place" in found.judgement.advice
    assert ADVICE[kind] in found.judgement.advice


def test_a_batch_of_bad_data_met_on_the_way_is_a_fact_too() -> None:
    met = replace(FINITE, update=40, finite=False, kind="data", place="inputs (1 of 32)", share=0.01)
    found = finding(NON_FINITE, FINITE, met, BROKE)
    assert found.judgement.certain
    assert not found.judgement.treatable
    assert "inputs (1 of 32)" in found.judgement.advice


@pytest.mark.parametrize("kind", ["module", "loss", "gradient"])
def test_a_batch_that_breaks_where_the_walk_began_is_a_fact(kind: str) -> None:
    """Whether the walk broke on it at once, or its samples were seen before."""
    at_once = replace(FINITE, finite=False, kind=kind, place="there", share=0.01)
    later, seen = replace(at_once, update=40), replace(OUTPUTS, update=0, loss=Estimate(math.nan, math.nan))
    for readings in ((FINITE, at_once, BROKE), (FINITE, seen, later, BROKE)):
        found = finding(NON_FINITE, *readings)
        assert found.judgement.certain
        assert not found.judgement.treatable
        assert found.judgement.evidence[0].says == f"the first NaN or infinity is in the {kind}: there"
    assert not finding(NON_FINITE, FINITE, replace(seen, update=40), later, BROKE).judgement.certain


@pytest.mark.parametrize("kind", ["module", "loss", "gradient", None])
def test_what_the_walk_ran_into_is_a_suspicion_that_shorter_steps_may_cure(kind: str | None) -> None:
    later = replace(FINITE, update=40, finite=kind is None, kind=kind or "", place="there" if kind else "")
    found = finding(NON_FINITE, FINITE, later, BROKE)
    assert found.signal
    assert not found.judgement.certain
    assert found.judgement.treatable


def test_finite_numbers_are_no_sign() -> None:
    assert finding(NON_FINITE).score == 0.0
    alone = NON_FINITE.finding(only(FINITE))  # the walk is welcome, and not needed
    assert alone.score == 0.0
    assert alone.unknown_because is None


def test_unknown_without_its_probe() -> None:
    assert "finite" in str(NON_FINITE.finding(only(DIRECTION)).unknown_because)
