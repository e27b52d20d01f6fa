"""Gates and verdicts against hand-made numbers."""

from __future__ import annotations

import math
from typing import Any

import pytest

from unstuck.errors import InputError
from unstuck.study import Checked, Gate, Measurement, verdict_of


def measured(*values: float) -> Measurement:
    return Measurement(name="ratio", says="a ratio", values=dict(enumerate(values)))


def gate(**settings: Any) -> Gate:
    given: dict[str, Any] = {"measurement": "ratio", "says": "it is so", "low": 2.0} | settings
    return Gate(**given)


@pytest.mark.parametrize(
    ("over", "values", "holds"),
    [
        ("every seed", (2.0, 3.0, 9.0), True),
        ("every seed", (2.0, 1.999, 9.0), False),
        ("every seed", (2.0, math.nan), False),
        ("every seed", (2.0, math.inf), True),
        ("four seeds of five", (3.0, 3.0, 3.0, 3.0, 0.1), True),
        ("four seeds of five", (3.0, 3.0, 3.0, 0.1, 0.1), False),
        ("four seeds of five", (3.0, 3.0, 3.0, 3.0, math.nan), True),
        ("four seeds of five", (3.0, 3.0, 0.1), False),  # four in five of three are three
        ("mean", (1.0, 3.0), True),
        ("mean", (1.0, 2.9), False),
        ("mean", (1.0, math.nan), False),
        ("median", (0.0, 2.5, 9.0), True),
        ("median", (0.0, 1.5, 9.0), False),
        ("geometric mean", (1.1, 4.0), True),
        ("geometric mean", (1.1, 3.0), False),
        ("geometric mean", (0.9, 40.0), False),  # one seed is on the wrong side of 1
        ("geometric mean", (-1.0, 4.0), False),
    ],
)
def test_what_of_the_seeds_must_lie_within(over: Any, values: tuple[float, ...], holds: bool) -> None:
    assert gate(over=over).check(measured(*values)).holds is holds


def test_an_upper_bound_of_ratios_asks_for_the_lower_side_of_one() -> None:
    upper = Gate(measurement="ratio", says="less", high=0.5, over="geometric mean")
    assert upper.check(measured(0.1, 0.9)).holds
    assert not upper.check(measured(0.01, 1.1)).holds


def test_the_value_that_stands_for_all_is_the_one_nearest_to_failing() -> None:
    both = Gate(measurement="ratio", says="between", low=0.0, high=10.0)
    assert both.check(measured(5.0, 9.0, 2.0)).value == 9.0
    assert both.check(measured(5.0, 9.0, -2.0)).value == -2.0


def test_seeds_are_counted_and_put_to_the_sign_test() -> None:
    checked = gate().check(measured(3.0, 3.0, 3.0, 3.0, 1.0))
    assert (checked.count, checked.agreeing) == (5, 4)
    assert checked.p_value == pytest.approx(6 / 32)  # four or five heads of five
    assert gate().check(measured(3.0, 3.0, 3.0, 3.0, 3.0)).p_value == pytest.approx(1 / 32)
    assert gate().check(measured(1.0, 1.0)).p_value == 1.0


def test_the_interval_is_students() -> None:
    interval = gate().check(measured(1.0, 2.0, 3.0)).interval
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx(
        (2.0 - 4.302653 / math.sqrt(3), 2.0 + 4.302653 / math.sqrt(3))
    )
    assert gate().check(measured(1.0)).interval is None
    assert gate().check(measured(1.0, math.inf)).interval is None


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({}, "2 ≤ ratio, every seed"),
        ({"high": 3.5, "over": "mean"}, "2 ≤ ratio ≤ 3.5, mean of the seeds"),
        ({"low": -math.inf, "high": 1e-3, "over": "median"}, "ratio ≤ 0.001, median of the seeds"),
    ],
)
def test_the_inequality_in_words(settings: dict[str, Any], text: str) -> None:
    assert gate(**settings).inequality == text


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"low": -math.inf}, "has no bound"),
        ({"low": 3.0, "high": 2.0}, "cross"),
        ({"over": "some"}, "`over` is one of every seed"),
        ({"role": "hope"}, "`role` is one of claim"),
    ],
)
def test_gates_that_are_none(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        gate(**settings)


def test_nothing_measured_is_no_pass() -> None:
    with pytest.raises(InputError, match="was measured for no seed"):
        gate().check(measured())


def checks(*outcomes: tuple[str, bool]) -> list[Checked]:
    return [gate(role=role).check(measured(3.0 if holds else 1.0)) for role, holds in outcomes]


@pytest.mark.parametrize(
    ("outcomes", "verdict"),
    [
        ([("claim", True)], "agrees"),
        ([("claim", True), ("control", True), ("qualification", False)], "agrees"),
        ([("claim", True), ("qualification", True)], "agrees with qualification"),
        ([("claim", True), ("claim", False)], "agrees with qualification"),
        ([("claim", False), ("claim", True)], "does not reproduce here"),
        ([("control", False), ("claim", True)], "does not reproduce here"),
        ([("qualification", True), ("claim", False)], "does not reproduce here"),
    ],
)
def test_the_verdict(outcomes: list[tuple[str, bool]], verdict: str) -> None:
    assert verdict_of(checks(*outcomes)) == verdict
