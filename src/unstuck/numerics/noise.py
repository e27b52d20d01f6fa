"""Signal and noise of a stochastic gradient, from inner products of gradients that share no sample.

Plain numbers in double precision. Let g_i be the mean gradient of b_i samples out of N, i = 1 … m, n = Σ b_i of them,
K_ij = g_i·g_j, and ḡ = Σ b_i g_i / n. With G the mean over all N samples and Σ their covariance,

    tr Σ ≈ s² = Σ b_i ‖g_i − ḡ‖² / (m − 1),        ‖G‖² ≈ ‖ḡ‖² − (1 − n/N) s²/n

are unbiased; 1 − n/N is what sampling without replacement saves (Cochran 1977, *Sampling Techniques*, section 2.6).
Where all b_i are equal and N is infinite, these are the estimators of McCandlish et al. 2018, "An empirical model of
large-batch training" (appendix A.1), with B_small = b and B_big = n. With K_ij = g_i·H g_j the same sums give
tr(HΣ) and G·HG.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unstuck.numerics.statistics import Interval, Mean, Ratio, ratio_of_means

Floats = NDArray[np.float64]

FEWEST = 3
"""Gradients from which a standard error can be taken: with one left out there still have to be two."""

ROUNDING = 1e-12
"""Of the mean squared norm of gradients: products at or below it are what single precision leaves."""

TINY = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True, kw_only=True)
class GradientNoise:
    """Signal and noise of a stochastic gradient.

    Attributes:
        squared_norm: ‖G‖², unbiased; it may come out negative where noise prevails.
        trace: tr Σ, the variance of one sample's gradient summed over parameters, unbiased.
        scale: tr Σ / ‖G‖², in samples: the batch size at which signal and noise are equal (B_simple).
    """

    squared_norm: Mean
    trace: Mean
    scale: Ratio


def gradient_noise(
    products: Floats, counts: Floats, *, population: float = math.inf, confidence: float = 0.95
) -> GradientNoise:
    """Signal and noise from m gradients of different samples.

    Standard errors are the jackknife's, with what sampling without replacement saves. Batches are a random partition
    even where they hold all samples, so that tr Σ from them keeps its error. The scale is the ratio of both, with
    Fieller's interval over the jackknife's pseudo-values.

    Args:
        products: K, shape (m, m), symmetric.
        counts: b, the samples in each gradient, shape (m,).
        population: N, of which the samples were drawn without replacement.

    Raises:
        ValueError: there are fewer than two gradients of several samples, or products that are not finite.
    """
    count, samples = len(counts), float(counts.sum())
    if not np.isfinite(products).all():
        raise ValueError("expected finite gradients; some are not")
    if count < 2 and population > 1:
        raise ValueError("the noise of a gradient takes gradients of two different parts of the data; got one")
    left = max(0.0, 1.0 - samples / population)
    square, trace = _moments(products, counts)
    signal = square - left * trace / samples
    saved = np.sqrt([left if counts.max() == 1.0 else 1.0, left])[:, None]
    deviations = np.where(saved > 0.0, _left_out(products, counts), 0.0) * saved
    return GradientNoise(
        squared_norm=_mean(signal, deviations[1]),
        trace=_mean(trace, deviations[0]),
        scale=_ratio(trace, signal, deviations, confidence),
    )


def _moments(products: Floats, counts: Floats) -> tuple[float, float]:
    """‖ḡ‖² and s²."""
    samples = counts.sum()
    square = float(counts @ products @ counts / samples**2)
    if len(counts) == 1:
        return square, 0.0
    return square, float((counts @ products.diagonal() - samples * square) / (len(counts) - 1))


def _left_out(products: Floats, counts: Floats) -> Floats:
    """How far the jackknife's pseudo-values of s² and ‖ḡ‖² − s²/n lie from their mean, shape (2, m).

    Those of m values are m times the whole's less m − 1 times what is left without one. Infinite where m is too small.
    """
    count = len(counts)
    if count < FEWEST:
        return np.full((2, count), 0.0 if count == 1 else math.inf)
    samples, own = counts.sum(), products.diagonal()
    rest = samples - counts
    squares = (counts @ products @ counts - 2 * counts * (products @ counts) + counts**2 * own) / rest**2
    traces = (counts @ own - counts * own - rest * squares) / (count - 2)
    without: Floats = np.stack([traces, squares - traces / rest])
    deviations: Floats = (count - 1) * (without.mean(1, keepdims=True) - without)
    return deviations


def _mean(value: float, deviations: Floats) -> Mean:
    """A value with the standard error that pseudo-values give it."""
    count = len(deviations)
    error = math.sqrt(float(deviations @ deviations) / (count * max(1, count - 1)))
    return Mean(value=value, standard_error=error, count=count)


def _ratio(trace: float, signal: float, deviations: Floats, confidence: float) -> Ratio:
    """tr Σ / ‖G‖², known exactly where nothing deviates, and not bounded at all where deviations are not known."""
    if deviations.any() and np.isfinite(deviations).all():
        tops, bottoms = deviations + np.array([[trace], [signal]])
        return ratio_of_means(tops.tolist(), bottoms.tolist(), confidence)
    value = max(0.0, trace / signal) if signal > 0.0 else math.inf if trace > 0.0 else math.nan
    low, high = (0.0, math.inf) if deviations.any() else (value, value)
    return Ratio(value=value, interval=Interval(low=low, high=high, confidence=confidence))


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How far gradients of different samples point the same way, and how far they would without a common part.

    The gradients of one class may well agree where those of all classes cancel, and many small ones may agree where a
    few large ones point the other way. So the null of a cosine is not 0, nor half of the pairs, but what the same
    gradients show without their common part: g_i − ḡ ‖g_i‖ / mean ‖g‖, whose mean is zero. That of coherence is 0.

    Attributes:
        coherence: mean inner product of all pairs over the mean square, within −1 and 1 (Chatterjee & Zielinski 2020,
            "Making coherence out of nothing at all", section 2).
        cosine: mean over all pairs.
        share: of all pairs, those whose inner product is positive, ties counting half.
        cosines: of all pairs, shape (pairs,).
        cosines_of_noise, cosine_of_noise, share_of_noise: the same without the common part.
    """

    coherence: Mean
    cosine: Mean
    share: Mean
    cosines: Floats
    cosine_of_noise: float
    share_of_noise: float
    cosines_of_noise: Floats


def agreement(products: Floats) -> Agreement:
    """Agreement of m gradients, each of as many samples, drawn of infinitely many.

    Standard errors are the jackknife's over the gradients. A gradient of zero agrees with none and differs from none;
    of one gradient alone nothing is known.

    Args:
        products: K, shape (m, m), symmetric.

    Raises:
        ValueError: some products are not finite.
    """
    if not np.isfinite(products).all():
        raise ValueError("expected finite gradients; some are not")
    size = float(products.diagonal().mean())
    cosines, of_noise = (_cosines(each, ROUNDING * size) for each in (products, _without_common_part(products)))
    pairs = np.triu_indices(len(products), 1)
    return Agreement(
        coherence=_over_pairs(products / max(size, TINY)),
        cosine=_over_pairs(cosines),
        share=_over_pairs(_agree(cosines)),
        cosines=cosines[pairs],
        cosine_of_noise=_over_pairs(of_noise).value,
        share_of_noise=_over_pairs(_agree(of_noise)).value,
        cosines_of_noise=of_noise[pairs],
    )


def _without_common_part(products: Floats) -> Floats:
    """Inner products of g_i − ḡ s_i, s_i = ‖g_i‖ / mean ‖g‖, the common part taken from products of different ones."""
    lengths = np.sqrt(products.diagonal())
    shares = lengths / max(float(lengths.mean()), TINY)
    along = (products.sum(1) - products.diagonal()) / max(1, len(products) - 1)  # g_i·ḡ
    one_sided = np.outer(along, shares)
    alone: Floats = products - one_sided - one_sided.T + np.outer(shares, shares) * along.mean()
    return alone


def _cosines(products: Floats, rounding: float) -> Floats:
    """Products over norms, within −1 and 1; products within rounding are zero."""
    norms = np.sqrt(np.maximum(products.diagonal(), max(rounding, TINY)))
    cosines: Floats = np.clip(products / norms[:, None] / norms, -1.0, 1.0)
    return np.where(np.abs(products) > rounding, cosines, 0.0)


def _agree(cosines: Floats) -> Floats:
    agree: Floats = (np.sign(cosines) + 1.0) / 2.0
    return agree


def _over_pairs(values: Floats) -> Mean:
    """The mean of a symmetric matrix off its diagonal, with the jackknife's error."""
    count = len(values)
    if count < 2:
        return Mean(value=math.nan, standard_error=math.inf, count=count)
    rows = values.sum(1) - values.diagonal()
    value = float(rows.sum() / (count * (count - 1)))
    if count < FEWEST:
        return Mean(value=value, standard_error=math.inf, count=count)
    without = (rows.sum() - 2.0 * rows) / ((count - 1) * (count - 2))
    return _mean(value, (count - 1) * (without.mean() - without))
