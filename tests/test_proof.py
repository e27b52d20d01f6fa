"""Elements of a proof, judged from numbers made by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from unstuck.budget import Cost
from unstuck.proof import (
    Course,
    Doses,
    Element,
    Outcome,
    Point,
    Proof,
    Replanting,
    dose_response,
    fault_returns,
    mediator_first,
    obstacle,
    proves,
    refuted,
)
from unstuck.proof_figure import drawn

JITTER = (0.01, -0.01, 0.0)
"""Between the orders."""


def ends(*means: float, jitter: Sequence[float] = JITTER) -> tuple[tuple[float, ...], ...]:
    """Losses of doses under three orders, the jitter of neighbours in opposite directions."""
    return tuple(tuple(mean + (-1) ** k * each for each in jitter) for k, mean in enumerate(means))


def response(*means: float, peaks: bool = False, jitter: Sequence[float] = JITTER) -> Proof:
    losses = ends(*means, jitter=jitter)
    values = tuple(10.0**k for k in range(len(means)))
    return dose_response(Doses(setting="factor", values=values, losses=losses, untouched=(1.0,) * 3, peaks=peaks))


@pytest.mark.parametrize(
    ("means", "peaks", "outcome"),
    [
        ((0.9, 0.7, 0.5, 0.3), False, "passed"),  # more does more
        ((0.9, 0.5, 0.5, 0.5), False, "passed"),  # and then no more
        ((0.9, 0.5, 0.3, 0.8), False, "passed"),  # or too much
        ((0.9, 0.5, 0.3, 0.8), True, "passed"),
        ((0.3, 0.5, 0.7, 0.9), True, "passed"),  # the least is enough
        ((0.9, 0.7, 0.5, 0.3), True, "failed"),  # of rates too much is worse
        ((0.5, 0.5, 0.5, 0.5), False, "failed"),  # any dose does
        ((0.5, 0.5, 0.5, 0.5), True, "failed"),
        ((0.9, 0.4, 0.8, 0.3), False, "failed"),  # there and back
        ((0.3, 0.8, 0.4, 0.9), True, "failed"),
    ],
)
def test_the_response_rises_to_a_best_dose(means: tuple[float, ...], peaks: bool, outcome: str) -> None:
    assert response(*means, peaks=peaks).outcome == outcome


def test_within_the_noise_between_orders_there_is_no_response() -> None:
    assert response(0.6, 0.5, 0.5, 0.4, jitter=(0.3, -0.3, 0.0)).outcome == "failed"


def test_a_response_tells_its_best_dose_and_keeps_its_numbers() -> None:
    found = response(0.9, 0.7, 0.3, 0.8, peaks=True)
    assert "factor = 100" in found.says
    assert found.numbers["doses"] == (1.0, 10.0, 100.0, 1000.0)
    assert found.numbers["losses"] == ends(0.9, 0.7, 0.3, 0.8)
    assert found.numbers["untouched"] == (1.0, 1.0, 1.0)


def course(
    treated: Sequence[tuple[float, float]], untouched: Sequence[float] = (8.0, 8.0, 8.0), *, rises: bool = False
) -> Proof:
    """Mediator and loss at updates 0, 10 and 20; before the treatment they are 8 and 2."""
    cost = Cost(gradient_evaluations=3)
    points = [Point(update=10 * k, value=value, loss=loss, cost=cost) for k, (value, loss) in enumerate(treated)]
    plain = [Point(update=10 * k, value=value, loss=2.0) for k, value in enumerate(untouched)]
    return mediator_first(Course(says="the sharpness", rises=rises, treated=points, untouched=plain))


@pytest.mark.parametrize(
    ("treated", "outcome"),
    [
        ([(1.0, 2.0), (1.0, 0.5), (1.0, 0.1)], "passed"),  # at once
        ([(8.0, 2.0), (3.0, 1.9), (1.0, 0.1)], "passed"),
        ([(1.0, 0.5), (1.0, 0.3), (1.0, 0.1)], "passed"),  # both at once, by the treatment itself
        ([(8.0, 2.0), (3.0, 0.5), (1.0, 0.1)], "failed"),  # together, as far as can be told
        ([(8.0, 2.0), (7.0, 0.5), (1.0, 0.1)], "failed"),  # the loss went first
        ([(8.0, 2.0), (8.0, 0.5), (8.0, 0.1)], "failed"),  # it does not move
        ([(1.0, 2.0), (1.0, 2.1), (1.0, 2.2)], "failed"),  # the loss does not fall
        ([(1.0, 2.0), (4.0, 0.5), (8.0, 0.1)], "passed"),  # there and back
        ([(20.0, 2.0), (20.0, 0.5), (20.0, 0.1)], "failed"),  # the other way
    ],
)
def test_the_mediator_moves_first_and_the_way_that_cures(treated: list[tuple[float, float]], outcome: str) -> None:
    assert course(treated).outcome == outcome
    mirrored = [(16.0 - value, loss) for value, loss in treated]
    assert course(mirrored, rises=True).outcome == outcome


def test_the_picture_shows_how_much_of_their_way_both_have_made() -> None:
    made = course([(8.0, 2.0), (4.0, 2.0), (0.0, 1.0)])
    figure = drawn([made])["mediator"]
    assert [list(line.y) for line in figure.data] == [[0.0, 0.5, 1.0], [0.0, 0.0, 1.0]]
    assert list(figure.data[0].x) == [0, 10, 20]
    still = drawn([course([(9.0, 2.0), (9.0, 2.5), (9.0, 2.5)])])["mediator"]
    assert not still.data


def test_the_picture_of_doses_shows_the_range_between_orders() -> None:
    figure = drawn([response(0.9, 0.7, 0.3, 0.8)])["dose-response"]
    treated = next(line for line in figure.data if line.name == "treated")
    assert list(treated.x) == [1.0, 10.0, 100.0, 1000.0]
    assert treated.y == pytest.approx((0.9, 0.7, 0.3, 0.8))
    assert treated.customdata[0] == pytest.approx((0.89, 0.91))


def test_an_element_that_was_not_looked_for_has_no_picture() -> None:
    assert not drawn(proofs(doses="not run", mediator="not applicable"))


def test_what_moves_by_itself_is_no_mediator() -> None:
    treated = [(8.0, 2.0), (3.0, 1.9), (1.0, 0.1)]
    assert course(treated, untouched=(8.0, 5.0, 1.0)).outcome == "passed"  # later
    found = course(treated, untouched=(8.0, 3.5, 1.0))
    assert found.outcome == "failed"
    assert "untouched" in found.says
    assert course(treated, untouched=(8.0, 20.0, 30.0)).outcome == "passed"  # the other way


def test_what_it_took_to_read_is_counted() -> None:
    assert course([(1.0, 2.0), (1.0, 0.5), (1.0, 0.1)]).cost.gradient_evaluations == 9


@pytest.mark.parametrize(
    ("replanted", "outcome"),
    [
        ((2.0, 2.0, 2.0), "passed"),
        ((0.5, 0.52, 0.48), "passed"),  # a quarter of the gain is lost
        ((0.2, 0.22, 0.18), "failed"),  # a tenth is not material
        ((0.1, 0.1, 0.1), "failed"),
        ((0.1, 2.0, 0.1), "failed"),  # under one order
    ],
)
def test_the_fault_brings_the_failure_back(replanted: tuple[float, ...], outcome: str) -> None:
    untouched, treated = (1.7, 1.71, 1.69), (0.1, 0.11, 0.09)
    found = fault_returns(Replanting(at=7, untouched=untouched, treated=treated, replanted=replanted))
    assert found.outcome == outcome
    assert "after 7 updates" in found.says


def test_a_cure_that_gained_nothing_has_nothing_to_lose() -> None:
    found = fault_returns(Replanting(at=7, untouched=(1.0,) * 3, treated=(1.0,) * 3, replanted=(2.0,) * 3))
    assert found.outcome == "failed"
    assert not math.isfinite(found.numbers["interval"][0]) or found.numbers["interval"][0] >= 0


def proofs(**outcomes: Outcome) -> list[Proof]:
    names: dict[str, Element] = {"control": "control", "opposite": "opposite", "doses": "dose-response"}
    names |= {"mediator": "mediator", "replanting": "re-planting"}
    given = {name: outcomes.get(name, "passed") for name in names}
    return [Proof(element=names[name], outcome=given[name], expected="", says="") for name in names]


def test_all_that_applies_has_to_pass() -> None:
    assert proves(proofs())
    assert proves(proofs(opposite="not applicable", doses="not applicable"))
    assert proves(proofs(opposite="not applicable", replanting="not applicable"))
    missing: tuple[Outcome, Outcome] = ("failed", "not run")
    for outcome in missing:
        for name in ("control", "opposite", "doses", "mediator", "replanting"):
            assert not proves(proofs(**{name: outcome}))


def test_a_proof_that_was_broken_off_is_none() -> None:
    for number in range(len(proofs())):  # from none to all but one
        assert not proves(proofs()[:number])


@pytest.mark.parametrize(
    ("outcomes", "says"),
    [
        ({}, ""),
        ({"mediator": "failed", "replanting": "failed", "doses": "not run"}, "mediator and re-planting failed"),
        ({"doses": "not run"}, "dose-response was not run"),
        ({"mediator": "not applicable"}, "what it works through cannot be read"),
        (
            {"doses": "not applicable", "replanting": "not applicable"},
            "neither dose-response nor re-planting applies",
        ),
    ],
)
def test_what_stands_in_the_way_is_told(outcomes: dict[str, Outcome], says: str) -> None:
    assert obstacle(proofs(**outcomes)) == says
    assert refuted(proofs(**outcomes)) is ("failed" in outcomes.values())
