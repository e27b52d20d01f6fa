"""The statistics that verdicts rest on: paired comparison, trend of a noisy series, means with errors.

Plain numbers in double precision. An error that cannot be known is infinite, never zero.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtr, stdtrit

Floats = NDArray[np.float64]

BLOCKS = 20
"""Into so many blocks a series is averaged before its trend is fitted (fewer when it is shorter)."""

STRONGEST_CORRELATION = 0.95
"""Correlations of neighbouring blocks above this cannot be told from it with so few blocks."""

FEWEST_FREEDOMS = 2.0
"""Degrees of freedom of a trend test, however strongly its blocks are correlated."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A confidence interval; infinite ends where the data bound nothing."""

    low: float
    high: float
    confidence: float


@dataclass(frozen=True, kw_only=True)
class Mean:
    """A mean of ``count`` independent values, with its standard error: infinite for a single value."""

    value: float
    standard_error: float
    count: int

    def interval(self, confidence: float = 0.95) -> Interval:
        """Student's interval, value ± t · standard error with count − 1 degrees of freedom."""
        if self.count < 2:
            return Interval(low=-math.inf, high=math.inf, confidence=confidence)
        margin = float(stdtrit(self.count - 1, 0.5 + confidence / 2.0)) * self.standard_error
        return Interval(low=self.value - margin, high=self.value + margin, confidence=confidence)


def mean(values: Sequence[float]) -> Mean:
    """The mean of independent values, with standard error s/√n.

    Raises:
        ValueError: there are no values, or some are not finite.
    """
    data = _checked(values)
    error = float(data.std(ddof=1)) / math.sqrt(data.size) if data.size > 1 else math.inf
    return Mean(value=float(data.mean()), standard_error=error, count=data.size)


def _checked(values: Sequence[float]) -> Floats:
    data = np.asarray(values, dtype=np.float64)
    if data.size == 0:
        raise ValueError("expected at least one value; got none")
    if not np.isfinite(data).all():
        raise ValueError(f"expected finite values; {int((~np.isfinite(data)).sum())} of {data.size} are not")
    return data


def share_interval(share: float, count: int, confidence: float = 0.95) -> Interval:
    """Wilson's interval (1927) for a share of independent samples: within 0 and 1, and no point even at these.

    Args:
        share: observed, of ``count`` samples.
        count: at least one.
    """
    square = float(ndtri(0.5 + confidence / 2.0)) ** 2 / count
    middle = (share + square / 2.0) / (1.0 + square)
    margin = math.sqrt(square * (share * (1.0 - share) + square / 4.0)) / (1.0 + square)
    return Interval(low=max(0.0, middle - margin), high=min(1.0, middle + margin), confidence=confidence)


@dataclass(frozen=True, kw_only=True)
class Paired:
    """The mean of paired differences a − b over ``count`` pairs.

    ``p_value`` is one-sided: the probability, if a and b did not differ, of a mean at least as far on the
    positive side.
    """

    mean: float
    interval: Interval
    p_value: float
    count: int


def paired_difference(a: Sequence[float], b: Sequence[float], confidence: float = 0.95) -> Paired:
    """Student's paired comparison of two arms, run for run (the same seed on both sides of a pair).

    With losses, ``paired_difference(untouched, treated)`` has a small p-value where the treatment lowers
    the loss. One pair bounds nothing: infinite interval, p = 1. Differences without any spread give an
    interval that is a point, and p = 0 or 1 by their sign.

    Raises:
        ValueError: the arms differ in length, are empty, or hold values that are not finite.
    """
    if len(a) != len(b):
        raise ValueError(f"paired arms need equally many values; got {len(a)} and {len(b)}")
    difference = mean((_checked(a) - _checked(b)).tolist())
    return Paired(
        mean=difference.value,
        interval=difference.interval(confidence),
        p_value=_upper_tail(difference.value, difference.standard_error, difference.count - 1),
        count=difference.count,
    )


def pooled_difference(a: Sequence[float], b: Sequence[float], confidence: float = 0.95) -> Interval:
    """Student's interval for mean(a) − mean(b) of independent samples with one common spread.

    The spread is pooled, with len(a) + len(b) − 2 degrees of freedom; no bound where there are none.

    Raises:
        ValueError: one is empty, or holds values that are not finite.
    """
    one, two = _checked(a), _checked(b)
    freedoms = one.size + two.size - 2
    if freedoms < 1:
        return Interval(low=-math.inf, high=math.inf, confidence=confidence)
    squares = float(((one - one.mean()) ** 2).sum() + ((two - two.mean()) ** 2).sum())
    error = math.sqrt(squares / freedoms * (1.0 / one.size + 1.0 / two.size))
    margin = float(stdtrit(freedoms, 0.5 + confidence / 2.0)) * error
    difference = float(one.mean() - two.mean())
    return Interval(low=difference - margin, high=difference + margin, confidence=confidence)


def _upper_tail(value: float, standard_error: float, freedoms: float) -> float:
    """P(T ≥ value / standard error) of Student's T; 1 where the error is unknown or there is no effect."""
    if math.isinf(standard_error):
        return 1.0
    if standard_error == 0.0:
        return 0.0 if value > 0.0 else 1.0
    return float(stdtr(freedoms, -value / standard_error))


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """p-values corrected for being several, in their own order (Holm 1979).

    The i-th smallest of m, i from 0, becomes the largest (m − j) p_j of those up to it, at most 1. Claiming
    all those at most α errs anywhere with probability α at most, whatever their dependence.
    """
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, (len(p_values) - rank) * p_values[index])
        adjusted[index] = min(1.0, highest)
    return tuple(adjusted)


@dataclass(frozen=True, kw_only=True)
class Trend:
    """The straight-line trend of a series.

    Attributes:
        slope: change per step.
        standard_error: of the slope, with autocorrelation; infinite when the series is too short.
        t: slope / standard error.
        p_value: one-sided: the probability, without a trend, of a slope at least as negative.
        count: length of the series.
        effective_count: independent block means that the series is worth.
    """

    slope: float
    standard_error: float
    t: float
    p_value: float
    count: int
    effective_count: float


def trend(values: Sequence[float]) -> Trend:
    """Whether a series, a loss say, has fallen beyond its noise: slope, standard error, t and p-value.

    Neighbouring losses are not independent, and their correlation is rarely of one simple kind, so the
    series is first averaged in ``BLOCKS`` blocks. A straight line is fitted to the block means. Noise is
    what a parabola leaves, so that the bend of a loss that flattens out is not taken for noise; p = 3
    coefficients. From the remainders' correlation r at lag one, corrected for the fit's bias by
    (p + (p + 2) r)/n, follow the effective number of blocks n(1 − r)/(1 + r) and the standard error's factor
    √((1 + r)/(1 − r)) (Santer et al. 2000).

    Measured on series without a trend, p ≤ 0.05 comes out in 3 to 5 % for white noise; for autoregressive
    noise in at most 8 % while its correlation time (1 + r)/(1 − r) is below a third of the series, in 11 to
    14 % at two thirds. Nothing can tell a trend from noise that is as slow as the series is long.

    Raises:
        ValueError: there are no values, or some are not finite.
    """
    data = _checked(values)
    pieces = np.array_split(np.arange(data.size), min(BLOCKS, data.size))
    times = np.array([piece.mean() for piece in pieces])
    levels = np.array([data[piece].mean() for piece in pieces])
    times -= times.mean()
    spread = float(times @ times)
    slope = float(times @ levels) / spread if spread > 0.0 else 0.0
    noise, effective = _noise(times, levels)
    error = math.inf if math.isinf(noise) else noise / math.sqrt(spread)
    return Trend(
        slope=slope,
        standard_error=error,
        t=slope / error if error > 0.0 else 0.0,
        p_value=_upper_tail(-slope, error, max(FEWEST_FREEDOMS, effective - 3.0)),
        count=data.size,
        effective_count=effective,
    )


def _noise(times: Floats, levels: Floats) -> tuple[float, float]:
    """The deviation of block means around a parabola, as a slope feels it, and their effective number."""
    count, coefficients = len(levels), 3
    if count <= coefficients:
        return math.inf, float(count)
    powers, _ = np.linalg.qr(np.vander(times / times.max(), coefficients))
    rest = levels - powers @ (powers.T @ levels)
    squares = float(rest @ rest)
    floor = (np.finfo(np.float64).eps * float(np.abs(levels).max())) ** 2 * count  # equal losses have no trend
    if squares <= floor:
        return math.sqrt(floor), float(count)
    correlation = float(rest[1:] @ rest[:-1]) / squares
    correlation += (coefficients + (coefficients + 2) * max(0.0, correlation)) / count
    correlation = min(max(0.0, correlation), STRONGEST_CORRELATION)
    stretch = (1.0 + correlation) / (1.0 - correlation)
    return math.sqrt(squares / (count - coefficients) * stretch), count / stretch


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """A ratio of two means that cannot be negative, with its interval."""

    value: float
    interval: Interval


def ratio_of_means(numerators: Sequence[float], denominators: Sequence[float], confidence: float = 0.95) -> Ratio:
    """The ratio of two means over the same draws (not the mean of ratios), with Fieller's interval (1954).

    The interval holds each ratio ρ ≥ 0 for which the mean of xᵢ − ρ yᵢ is within t standard errors of zero.
    It reaches to infinity where the denominator may be zero, as does the value where that is not positive.

    Raises:
        ValueError: the sequences differ in length, are empty, or hold values that are not finite.
    """
    x, y = _checked(numerators), _checked(denominators)
    if x.size != y.size:
        raise ValueError(f"a ratio needs equally many values on both sides; got {x.size} and {y.size}")
    value = max(0.0, float(x.mean() / y.mean())) if y.mean() > 0.0 else math.inf
    if x.size < 2:
        return Ratio(value=value, interval=Interval(low=0.0, high=math.inf, confidence=confidence))
    low, high = _fieller(x, y, float(stdtrit(x.size - 1, 0.5 + confidence / 2.0)))
    return Ratio(value=value, interval=Interval(low=low, high=high, confidence=confidence))


def _fieller(x: Floats, y: Floats, t: float) -> tuple[float, float]:
    """The non-negative solutions of (x̄ − ρȳ)² ≤ t² (s_xx − 2ρ s_xy + ρ² s_yy)/n."""
    (xx, xy), (_, yy) = np.cov(x, y) * (t * t / x.size)
    top, bottom = float(x.mean()), float(y.mean())
    square, half, constant = bottom**2 - float(yy), top * bottom - float(xy), top**2 - float(xx)
    discriminant = half * half - square * constant
    if square > 0.0 and bottom < 0.0 < top:  # a denominator that cannot be negative is, beyond its error
        return 0.0, math.inf
    if square > 0.0:  # the denominator differs from zero: the set lies between the roots
        root = math.sqrt(max(0.0, discriminant))
        return max(0.0, (half - root) / square), max(0.0, (half + root) / square)
    if square < 0.0 < constant:  # the numerator does, so zero is excluded: all beyond the upper root
        return (half - math.sqrt(discriminant)) / square, math.inf
    return 0.0, math.inf


def weighted_quantiles(values: Floats, weights: Floats, shares: Sequence[float]) -> Floats:
    """The smallest values at or below which these shares of the weight lie.

    Args:
        values: shape (n,), n at least 1.
        weights: shape (n,), positive.
        shares: between 0 and 1, shape (k,).

    Returns:
        Shape (k,), each one of the values.
    """
    order = np.argsort(values)
    below = np.cumsum(weights[order])
    places = np.searchsorted(below, np.asarray(shares) * below[-1])
    found: Floats = values[order][np.minimum(places, len(values) - 1)]
    return found
