"""What a spectrum says: signs of the curvature, and whether a point is a critical point at all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.special import ndtri
from torch import Tensor

from unstuck.numerics.krylov import Floats, Krylov, SymmetricOperator, length
from unstuck.numerics.lanczos import Quadrature
from unstuck.numerics.statistics import Interval, Mean, mean

TOLERANCES = (1e-3, 1e-6, 1e-9)
"""Bands around zero, relative to max |λ|, in which a sign is not taken at its word."""


@dataclass(frozen=True, kw_only=True)
class SignCount:
    """Eigenvalues by sign, those within ± ``tolerance`` · max |λ| counted as near zero."""

    tolerance: float
    positive: int
    negative: int
    near_zero: int

    @property
    def total(self) -> int:
        """All eigenvalues, n."""
        return self.positive + self.negative + self.near_zero

    @property
    def minimum_ratio(self) -> float:
        """Positive eigenvalues / all eigenvalues, the lecture's word: one at a strict local minimum."""
        return self.positive / self.total


def count_signs(eigenvalues: ArrayLike, tolerance: float) -> SignCount:
    """Counts all n eigenvalues by sign.

    Tolerance 0 counts what is positive in floating point, as the lecture's picture does. In trained
    networks more than half of a spectrum can be zero but for rounding, and half of that is counted as
    positive; so the counts at several ``TOLERANCES`` belong beside it.

    Raises:
        ValueError: there are no eigenvalues, or some are not finite.
    """
    values = _checked(eigenvalues)
    edge = tolerance * float(np.abs(values).max())
    positive, negative = int((values > edge).sum()), int((values < -edge).sum())
    return SignCount(
        tolerance=tolerance,
        positive=positive,
        negative=negative,
        near_zero=values.size - positive - negative,
    )


@dataclass(frozen=True, kw_only=True)
class MagnitudeGap:
    """The widest gap between neighbours of a sorted list of |λ|: ``above`` of them are ``ratio`` times
    larger than the next. A spectrum with a sharp zero has one wide gap; a continuous one has none.
    """

    above: int
    ratio: float


def magnitude_gap(eigenvalues: ArrayLike) -> MagnitudeGap:
    """The widest gap of a spectrum of n ≥ 2 eigenvalues; the ratio is infinite before exact zeros.

    Raises:
        ValueError: there are fewer than two eigenvalues, or some are not finite.
    """
    sizes = np.sort(np.abs(_checked(eigenvalues)))[::-1]
    if sizes.size < 2:
        raise ValueError("a gap needs two eigenvalues; got one")
    ratios = np.divide(sizes[:-1], sizes[1:], out=np.full(sizes.size - 1, np.inf), where=sizes[1:] > 0)
    ratios[sizes[:-1] == 0] = 1.0  # between zeros there is no gap
    widest = int(ratios.argmax())
    return MagnitudeGap(above=widest + 1, ratio=float(ratios[widest]))


def _checked(eigenvalues: ArrayLike) -> Floats:
    values = np.asarray(eigenvalues, dtype=np.float64).ravel()
    if values.size == 0 or not np.isfinite(values).all():
        raise ValueError(f"expected finite eigenvalues, at least one; got {values.size}, not all finite")
    return values


@dataclass(frozen=True, kw_only=True)
class Share:
    """A share of the eigenvalues, with the random error of its ``value`` and an interval for the truth."""

    value: float
    standard_error: float
    interval: Interval


@dataclass(frozen=True, kw_only=True)
class SignShares:
    """Estimated shares of the spectrum by sign; ``tolerance`` is relative to the largest |node|."""

    tolerance: float
    positive: Share
    negative: Share
    near_zero: Share


def sign_shares(
    quadratures: Sequence[Quadrature], *, dimension: int, tolerance: float, confidence: float = 0.95
) -> SignShares:
    """Shares of positive, negative and near-zero eigenvalues by stochastic Lanczos quadrature.

    The share below t is estimated by the weights of the nodes below t, averaged over the random starts
    (Ubaru, Chen, Saad 2017; Ghorbani, Krishnan, Xiao 2019). Two errors make the interval:

    * the starts are random. The true weight below t of one uniformly random unit vector is a
      Beta(pn/2, (1 − p)n/2) variable with mean p, the share, and variance 2p(1 − p)/(n + 2), at most
      1/(2(n + 2)); this largest value, over the number of starts, gives the standard error;
    * m nodes resolve a spectrum no finer than their own weights: the weight below t lies between those of
      the nodes below t without the last, and with the next one more (the separation theorem of
      Chebyshev, Markov and Stieltjes; Szegő 1939, section 3.41). Exact where the nodes are eigenvalues.

    Where many eigenvalues crowd at zero, the node there carries all their weight, and the interval says
    that their signs are not known.

    Args:
        quadratures: of one operator, from independent random starts.
        dimension: n of the operator.

    Raises:
        ValueError: no quadrature was given.
    """
    if not quadratures:
        raise ValueError("an estimate of shares needs at least one quadrature; got none")
    edge = tolerance * max(max(abs(node) for node in each.nodes) for each in quadratures)
    error = math.sqrt(0.5 / (dimension + 2) / len(quadratures))
    margin = float(ndtri(0.5 + confidence / 2.0)) * error

    def share(bounds: Floats) -> Share:
        low, value, high = bounds
        interval = Interval(
            low=max(0.0, float(low) - margin), high=min(1.0, float(high) + margin), confidence=confidence
        )
        return Share(value=float(value), standard_error=error, interval=interval)

    below = np.mean([_weight_below(each, -edge, inclusive=False) for each in quadratures], axis=0)
    up_to = np.mean([_weight_below(each, edge, inclusive=True) for each in quadratures], axis=0)
    return SignShares(
        tolerance=tolerance,
        positive=share(1.0 - up_to[::-1]),
        negative=share(below),
        near_zero=share(up_to - below[::-1]),
    )


def _weight_below(quadrature: Quadrature, edge: float, *, inclusive: bool) -> Floats:
    """The weight of the spectrum below ``edge``: lower bound, estimate, upper bound."""
    count = int(np.searchsorted(quadrature.nodes, edge, side="right" if inclusive else "left"))
    sums = np.concatenate([[0.0], np.cumsum(quadrature.weights)])
    reach = 0 if quadrature.exact else 1
    return sums[[max(0, count - reach), count, min(len(sums) - 1, count + reach)]]


@dataclass(frozen=True, kw_only=True)
class NewtonResidual:
    """Whether the quadratic model of a loss has a critical point at all (Frye et al. 2021).

    With p the minimum-norm least-squares solution of H p = −g,

        r = ‖H p + g‖ / (‖H‖_F ‖p‖ + ‖g‖),   0 ≤ r ≤ 1, and r = 0 where g = 0.

    Near 0, p leads to a critical point of the model. Above 0.9 the point is *gradient-flat*: the
    gradient lies where the curvature is zero, and methods that look for critical points stop at such
    points although the loss still falls.

    Attributes:
        value: r.
        residual: ‖H p + g‖, in the unit of the gradient.
        step: ‖p‖, in the unit of the parameters.
        converged: whether p solves the problem; if not, ‖H p + g‖ can still fall with more products.
        products: products with the operator that it took.
    """

    value: float
    residual: float
    step: float
    converged: bool
    products: int


def newton_residual(eigenvalues: ArrayLike, components: ArrayLike, cutoff: float) -> NewtonResidual:
    """Frye's residual from a full eigen-decomposition.

    Args:
        eigenvalues: of H, shape (n,).
        components: the gradient's components along the eigenvectors, Qᵀg, shape (n,).
        cutoff: curvature within ± cutoff · max |λ| counts as none; not below the rounding of H.

    Raises:
        ValueError: there are no eigenvalues, or some are not finite.
    """
    values, parts = _checked(eigenvalues), np.asarray(components, dtype=np.float64)
    curved = np.abs(values) > cutoff * float(np.abs(values).max())
    step = np.zeros_like(parts)
    step[curved] = -parts[curved] / values[curved]
    return _newton_residual(
        residual=float(np.linalg.norm(values * step + parts)),
        step=float(np.linalg.norm(step)),
        gradient=float(np.linalg.norm(parts)),
        frobenius_norm=float(np.linalg.norm(values)),
        converged=True,
        products=0,
    )


def _newton_residual(
    *, residual: float, step: float, gradient: float, frobenius_norm: float, converged: bool, products: int
) -> NewtonResidual:
    return NewtonResidual(
        value=residual / (frobenius_norm * step + gradient) if gradient > 0.0 else 0.0,
        residual=residual,
        step=step,
        converged=converged,
        products=products,
    )


def newton_residual_by_products(
    operator: SymmetricOperator,
    gradient: Tensor,
    *,
    frobenius_norm: float,
    cutoff: float = 1e-4,
    max_products: int = 100,
) -> NewtonResidual:
    """Frye's residual from products with H alone, in the Krylov space of the gradient.

    −H⁺g is a polynomial in H times g, so the minimum-norm solution lies in that space, and there it solves
    the small problem min ‖T̲ y + ‖g‖ e₁‖ in minimum norm (Choi, Paige, Saunders 2011). It is solved by
    singular values on the fully orthogonalized basis: MINRES needs less memory, but where H is singular,
    as it is here, its solution is not the one of minimum norm.

    Ends when the residual ρ = H p + g is at most ``cutoff`` · ‖g‖, or lies where there is no curvature:
    ‖H ρ‖ ≤ ``cutoff`` · ‖H‖ ‖ρ‖. Then T̲ has a singular value at or below ``cutoff`` · ‖H‖, for ρ is in
    the space; such values count as zero.

    Args:
        operator: H, symmetric (n × n).
        gradient: g, shape (n,).
        frobenius_norm: ‖H‖_F or an estimate, as :func:`frobenius_norm` gives.
        cutoff: curvature within ± cutoff · ‖H‖ counts as none.
        max_products: where the search ends at the latest.

    Raises:
        NonFiniteProduct: a product with the operator is not finite.
    """
    size = length(gradient)
    if size == 0.0:
        return _newton_residual(
            residual=0.0, step=0.0, gradient=0.0, frobenius_norm=frobenius_norm, converged=True, products=0
        )
    krylov = Krylov(operator, gradient)
    y, rest = np.zeros(0), np.ones(1)  # of the problem scaled to ‖g‖ = 1
    converged = False
    while not converged and krylov.products < min(max_products, operator.dimension):
        krylov.advance()
        matrix = krylov.extended()
        slope = np.linalg.norm(matrix @ rest)  # of ½ ‖H p + g‖² at the p before this product
        flat = slope <= cutoff * krylov.scale * np.linalg.norm(rest)
        y, rest = _least_squares(matrix, max(krylov.rounding, cutoff * krylov.scale))
        converged = bool(krylov.closed or flat or np.linalg.norm(rest) <= cutoff)
    return _newton_residual(
        residual=size * float(np.linalg.norm(rest)),
        step=size * float(np.linalg.norm(y)),
        gradient=size,
        frobenius_norm=frobenius_norm,
        converged=converged,
        products=krylov.products,
    )


def _least_squares(matrix: Floats, cutoff: float) -> tuple[Floats, Floats]:
    """The minimum-norm y of min ‖T̲ y + e₁‖, singular values up to ``cutoff`` being zero; and T̲ y + e₁."""
    left, sizes, right = np.linalg.svd(matrix, full_matrices=False)
    inverse = np.divide(1.0, sizes, out=np.zeros_like(sizes), where=sizes > cutoff)
    y = -right.T @ (inverse * left[0])
    rest = matrix @ y
    rest[0] += 1.0
    return y, rest


def frobenius_norm(products: Tensor) -> Mean:
    """‖H‖_F from products H zᵢ with independent random probes, E[z zᵀ] = I (Hutchinson 1990).

    E‖H z‖² = tr(H²) = ‖H‖_F²; the square root's standard error follows by the delta method.

    Args:
        products: one a row, shape (k, n); probes of ±1, or standard normal.
    """
    squares = mean(torch.linalg.vector_norm(products.double(), dim=1).square().tolist())
    root = math.sqrt(squares.value)
    error = squares.standard_error / (2.0 * root) if root > 0.0 else squares.standard_error
    return Mean(value=root, standard_error=error, count=squares.count)
