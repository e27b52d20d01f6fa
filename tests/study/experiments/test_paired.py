"""Paired comparisons: against Student's interval by hand, and where there is nothing to compare."""

from __future__ import annotations

import math

import pytest
from scipy import stats

from unstuck.study.experiments.paired import Ends, intervals, log_ratios, told

ENDS: Ends = [
    {"base": {"held out": 1.0}, "half": {"held out": 0.5}, "lost": {"held out": None}},
    {"base": {"held out": 3.0}, "half": {"held out": 1.4}, "lost": {"held out": 1.0}},
    {"base": {"held out": 2.0}, "half": {"held out": 1.1}, "lost": {"held out": 1.0}},
]


def test_ratios_are_those_of_each_seed() -> None:
    assert log_ratios(ENDS, "half", "base") == pytest.approx([math.log(0.5), math.log(1.4 / 3.0), math.log(0.55)])
    assert math.isnan(log_ratios(ENDS, "lost", "base")[0])


def test_intervals_hold_together() -> None:
    """Two methods at 90 % together are 95 % each."""
    ratios = log_ratios(ENDS, "half", "base")
    low, high = stats.t.interval(0.95, 2, loc=sum(ratios) / 3, scale=stats.sem(ratios))
    found = intervals(ENDS, "base", 0.9)
    assert found["half"] == pytest.approx((sum(ratios) / 3, low, high))
    assert found["lost"][1:] == (-math.inf, math.inf)


@pytest.mark.parametrize(
    ("values", "text"),
    [((), "not tried"), ((1.0, math.nan), "diverged"), ((1.25,), "1.25"), ((1.0, 1.0), "1.00 (1.00 to 1.00)")],
)
def test_a_mean_is_told_with_its_interval(values: tuple[float, ...], text: str) -> None:
    assert told(values) == text
