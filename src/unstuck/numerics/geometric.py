"""Geometric trends: the factor by which a positive quantity changes from each place to the next."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FEWEST = 3
"""Places that a trend is fitted to, at least: two are on every line, and leave no error."""


@dataclass(frozen=True, kw_only=True)
class GeometricTrend:
    """log x_i ≈ a + slope · i.

    Attributes:
        slope: natural logarithm of the factor per place.
        standard_error: of the slope, from how far the logarithms lie off the line.
        count: places that it was fitted to.
    """

    slope: float
    standard_error: float
    count: int


def geometric_trend(values: Sequence[float]) -> GeometricTrend | None:
    """The line of least squares through the points (i, log x_i).

    With t_i = i − mean of i and n places, slope = Σ t_i log x_i / Σ t_i², and its standard error is
    √(Σ (log x_i − line)² / (n − 2) / Σ t_i²). Values that are not positive and finite are left out, and the others
    keep their places; None where fewer than three are left.
    """
    placed = [(place, math.log(value)) for place, value in enumerate(values) if 0.0 < value < math.inf]
    if len(placed) < FEWEST:
        return None
    places, logs = np.array(placed).T
    places -= places.mean()
    spread = float(places @ places)
    slope = float(places @ logs) / spread
    rest = logs - logs.mean() - slope * places
    error = math.sqrt(float(rest @ rest) / (len(placed) - 2) / spread)
    return GeometricTrend(slope=slope, standard_error=error, count=len(placed))
