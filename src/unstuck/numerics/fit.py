"""Straight lines through points of unequal weight."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FEWEST = 3
"""Points that a line is fitted to, at least: two are on every line, and leave no error."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """y = intercept + slope · x, with the standard errors of both and their covariance."""

    intercept: float
    slope: float
    intercept_error: float
    slope_error: float
    covariance: float

    def at(self, x: float) -> float:
        """The line's height."""
        return self.intercept + self.slope * x

    def ratio(self) -> tuple[float, float]:
        """a/b of intercept a and slope b, neither of them zero, and its standard error to first order,
        |a/b| √((σ_a/a)² + (σ_b/b)² − 2 σ_ab/(a b))."""
        a, b = self.intercept, self.slope
        squares = (self.intercept_error / a) ** 2 + (self.slope_error / b) ** 2 - 2.0 * self.covariance / (a * b)
        return a / b, abs(a / b) * math.sqrt(max(squares, 0.0))


def weighted_line(x: Sequence[float], y: Sequence[float], weights: Sequence[float]) -> Line:
    """The line that minimizes Σ wᵢ (yᵢ − a − b xᵢ)².

    Weights are inverse variances up to a common factor s². It is taken from the remainders, with n − 2 degrees of
    freedom, so that what is not on a line widens the errors: cov(a, b) = s² (XᵀWX)⁻¹.

    Args:
        x: shape (n,), n at least 3.
        y: shape (n,).
        weights: shape (n,), positive.

    Raises:
        ValueError: there are fewer points, their numbers differ, a weight is not positive, or all x are the same.
    """
    places, heights, scales = (np.asarray(each, dtype=np.float64) for each in (x, y, weights))
    if not len(places) == len(heights) == len(scales) >= FEWEST:
        raise ValueError(f"a line needs {FEWEST} points or more; got {len(x)} x, {len(y)} y and {len(weights)} weights")
    if not (scales > 0.0).all() or (places == places[0]).all():
        raise ValueError("a line needs positive weights, and more than one x")
    total = float(scales.sum())
    middle, level = float(scales @ places) / total, float(scales @ heights) / total
    spread = float(scales @ (places - middle) ** 2)
    slope = float(scales @ ((places - middle) * (heights - level))) / spread
    intercept = level - slope * middle
    factor = float(scales @ (heights - intercept - slope * places) ** 2) / (len(places) - 2)
    return Line(
        intercept=intercept,
        slope=slope,
        intercept_error=math.sqrt(factor * (1.0 / total + middle**2 / spread)),
        slope_error=math.sqrt(factor / spread),
        covariance=-factor * middle / spread,
    )
