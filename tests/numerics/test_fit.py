"""Weighted lines against scipy's and numpy's own."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import curve_fit

from unstuck.numerics.fit import weighted_line

X = [1.0, 2.0, 4.0, 8.0, 64.0, 4096.0]


def noisy(seed: int) -> tuple[list[float], list[float]]:
    """y of about 3 + x/2, and the inverse variances of its noise, up to a factor."""
    generator = np.random.default_rng(seed)
    line = 3.0 + 0.5 * np.array(X)
    return (line * (1.0 + 0.1 * generator.standard_normal(len(X)))).tolist(), (7.0 / line**2).tolist()


@pytest.mark.parametrize("seed", range(4))
def test_values_and_errors_are_those_of_curve_fit(seed: int) -> None:
    y, weights = noisy(seed)
    fitted = weighted_line(X, y, weights)
    expected, covariance = curve_fit(
        lambda x, a, b: a + b * x, X, y, p0=(1.0, 1.0), sigma=np.array(weights) ** -0.5, xtol=1e-14, ftol=1e-14
    )
    assert [fitted.intercept, fitted.slope] == pytest.approx(expected, rel=1e-6)
    errors = [fitted.intercept_error, fitted.slope_error]
    assert errors == pytest.approx(np.sqrt(np.diag(covariance)), rel=1e-4)
    assert fitted.covariance == pytest.approx(covariance[0, 1], rel=1e-4)
    assert fitted.at(10.0) == pytest.approx(expected[0] + 10.0 * expected[1])


def test_weights_matter_up_to_a_factor() -> None:
    y, weights = noisy(1)
    equal = weighted_line(X, y, [2.0] * len(X))
    assert [equal.slope, equal.intercept] == pytest.approx(np.polyfit(X, y, 1))
    assert equal.slope != pytest.approx(weighted_line(X, y, weights).slope, rel=1e-3)
    doubled = weighted_line(X, y, [2.0 * weight for weight in weights])
    assert doubled.slope_error == pytest.approx(weighted_line(X, y, weights).slope_error)


def test_points_on_a_line_leave_no_error() -> None:
    fitted = weighted_line(X, [2.0 + 0.25 * x for x in X], [1.0, 5.0, 2.0, 1.0, 1.0, 3.0])
    assert (fitted.intercept, fitted.slope) == pytest.approx((2.0, 0.25))
    assert max(fitted.intercept_error, fitted.slope_error) < 1e-12
    assert fitted.ratio() == pytest.approx((8.0, 0.0), abs=1e-9)


def test_the_error_of_the_ratio_is_its_spread_over_draws() -> None:
    """Of 2,000 noisy lines."""
    fitted = [weighted_line(X, *noisy(seed)) for seed in range(2000)]
    ratios = [line.ratio()[0] for line in fitted]
    assert np.mean(ratios) == pytest.approx(6.0, rel=0.02)
    expected = np.sqrt(np.mean([line.ratio()[1] ** 2 for line in fitted]))
    assert np.std(ratios) == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize(
    ("x", "y", "weights"),
    [
        ([1.0, 2.0], [1.0, 2.0], [1.0, 1.0]),
        (X, [1.0] * 5, [1.0] * 6),
        ([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [1.0, 0.0, 1.0]),
        ([2.0, 2.0, 2.0], [1.0, 2.0, 3.0], [1.0, 1.0, 1.0]),
    ],
)
def test_no_line(x: list[float], y: list[float], weights: list[float]) -> None:
    with pytest.raises(ValueError, match="a line needs"):
        weighted_line(x, y, weights)
