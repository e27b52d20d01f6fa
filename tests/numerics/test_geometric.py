"""Geometric trends against scipy's regression, and where there is none."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import linregress

from unstuck.numerics.geometric import geometric_trend


@pytest.mark.parametrize("factor", [0.25, 1.0, 3.0])
def test_a_geometric_series(factor: float) -> None:
    found = geometric_trend([2.0 * factor**place for place in range(7)])
    assert found is not None
    assert found.slope == pytest.approx(math.log(factor), abs=1e-12)
    assert found.standard_error == pytest.approx(0.0, abs=1e-12)
    assert found.count == 7


def test_slope_and_error_are_those_of_least_squares() -> None:
    values = np.exp(np.random.default_rng(0).normal(size=12) + 0.3 * np.arange(12))
    expected = linregress(np.arange(12), np.log(values))
    found = geometric_trend(values.tolist())
    assert found is not None
    assert (found.slope, found.standard_error) == pytest.approx((expected.slope, expected.stderr))


def test_the_error_covers_the_truth_as_often_as_it_says() -> None:
    """Of a thousand noisy flat profiles, |slope| exceeds two standard errors in about one of twenty."""
    generator = np.random.default_rng(1)
    found = [geometric_trend(np.exp(generator.normal(size=30)).tolist()) for _ in range(1000)]
    beyond = [trend for trend in found if trend is not None and abs(trend.slope) > 2 * trend.standard_error]
    assert 30 <= len(beyond) <= 80


def test_what_has_no_logarithm_is_left_out_in_its_place() -> None:
    found = geometric_trend([1.0, 0.0, 4.0, math.nan, 16.0, math.inf, 64.0])
    assert found is not None
    assert found.slope == pytest.approx(math.log(2))
    assert found.count == 4


@pytest.mark.parametrize("values", [[], [1.0, 2.0], [0.0, 0.0, 0.0, 1.0, 2.0], [-1.0, -2.0, -3.0]])
def test_fewer_than_three_places_have_no_trend(values: list[float]) -> None:
    assert geometric_trend(values) is None
