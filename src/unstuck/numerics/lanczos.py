"""Extreme eigenpairs of a symmetric operator, with error bounds, and what a run may have missed.

One run of the Lanczos process, from one random vector, gives both ends of the spectrum. It stops when the
wanted pairs have settled, and each value comes with a bound on its error.

What such a run cannot show: further copies of a multiple eigenvalue. They appear only after a Krylov space is
exhausted, because the search then goes on in the orthogonal complement. And an eigenvalue may lie beyond
those found, if the random start happened to be almost orthogonal to its eigenvector; how likely that is, is
bounded by :func:`miss_probability`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unstuck.numerics.krylov import Krylov, Ritz, SymmetricOperator, random_vector

BULK = 0.01
"""Of the start vector's weight: an end of the spectrum that holds more stands for many eigenvalues, and a few may lie
beyond it, unseen as yet."""

UNSEEN, CHANCE = 0.05, 0.01
"""Such an end is settled when values beyond it by this share of the width are missed with this probability at most."""

ROUNDINGS = 10.0
"""A value is negative where it lies below zero by so many measured rounding errors."""

FAINT = 0.1
"""Of max |θ|: smaller eigenvalues are not settled more finely than one of this size."""

_FACTOR = 1.648  # of the bound by Kuczyński and Woźniakowski


@dataclass(frozen=True, kw_only=True)
class Eigenpairs:
    """Eigenpairs at one end of a spectrum, ascending.

    Attributes:
        values: the k Ritz values θ.
        bounds: r of each, in the unit of the values: some eigenvalue lies within [θ − r, θ + r].
        converged: whether each met the tolerance.
        vectors: unit Ritz vectors v with vᵀHv = θ, one a row, shape (k, n).
    """

    values: tuple[float, ...]
    bounds: tuple[float, ...]
    converged: tuple[bool, ...]
    vectors: Tensor = field(repr=False, compare=False)


@dataclass(frozen=True, kw_only=True)
class Quadrature:
    """The spectrum of an operator as seen from one unit vector v: nodes θ and weights w with Σ w = 1.

    For every polynomial f of degree below 2 m, vᵀ f(H) v = Σ w f(θ) (Golub and Meurant 1994).

    Attributes:
        nodes: the m Ritz values, ascending.
        weights: squared first components of the eigenvectors of T.
        exact: whether the Krylov space was exhausted, so that the nodes are eigenvalues.
    """

    nodes: tuple[float, ...]
    weights: tuple[float, ...]
    exact: bool


@dataclass(frozen=True, kw_only=True)
class Extremes:
    """Both ends of a spectrum.

    Attributes:
        smallest, largest: the wanted pairs of each end, fewer if fewer products were made.
        quadrature: the spectrum as the first Krylov space saw it.
        dimension: n.
        products: products with the operator.
        complete: whether the whole space was exhausted, so that all eigenvalues are known.
        rounding: measured departure of the operator from a symmetric linear one (part of every bound). One
            that is not small beside the values says that the products are not those of one symmetric matrix.
    """

    smallest: Eigenpairs
    largest: Eigenpairs
    quadrature: Quadrature
    dimension: int
    products: int
    complete: bool
    rounding: float


def extreme_eigenpairs(
    operator: SymmetricOperator,
    *,
    generator: torch.Generator,
    smallest: int = 1,
    largest: int = 1,
    tolerance: float = 1e-3,
    max_products: int = 100,
    until_negative: bool = False,
) -> Extremes:
    """The ``smallest`` lowest and ``largest`` highest eigenpairs, from one Lanczos run.

    A pair counts as converged when min(r, r² / gap) ≤ ``tolerance`` · |θ| after two products in a row; a θ that is
    smaller than a tenth of the largest needs no more than that one's tolerance. With a tolerance below one the
    signs of all larger values are settled.

    Args:
        operator: H, symmetric (n × n). The basis holds ``max_products`` vectors of length n at most.
        generator: draws the start; equal generators give equal results.
        smallest, largest: how many pairs are wanted at each end.
        tolerance: relative to each eigenvalue.
        max_products: where the search ends at the latest.
        until_negative: end as soon as the lowest θ is negative beyond rounding, and not before: whatever its distance
            to λ_min, vᵀHv = θ < 0 shows negative curvature. Where there is none, all products are made.

    Raises:
        NonFiniteProduct: a product with the operator is not finite.
    """
    if operator.dimension < 1 or max_products < 1:
        raise ValueError(f"nothing to do with {operator.dimension} dimensions and {max_products} products")
    wanted = _Wanted(smallest=smallest, largest=largest, tolerance=tolerance)
    limit = min(max_products, operator.dimension)
    krylov = Krylov(operator, random_vector(operator, generator))
    before = now = np.zeros(smallest + largest, dtype=bool)
    while True:
        krylov.advance()
        at_limit = krylov.products == limit
        ritz = krylov.ritz()
        before, now = now, wanted.settled(krylov, ritz)
        agreed = now & (before | krylov.closed)
        negative = ritz.values[0] < -ROUNDINGS * krylov.rounding
        if at_limit or (until_negative and negative):
            break
        if not until_negative and agreed.all() and wanted.all_copies_seen(krylov, ritz):
            break
        if krylov.closed:
            krylov.restart(generator)
    agreed |= krylov.complete
    top = max(0, len(ritz.values) - largest)
    return Extremes(
        smallest=_eigenpairs(krylov, ritz, slice(0, smallest), agreed[:smallest]),
        largest=_eigenpairs(krylov, ritz, slice(top, None), agreed[smallest:]),
        quadrature=_quadrature(krylov),
        dimension=operator.dimension,
        products=krylov.products,
        complete=krylov.complete,
        rounding=krylov.rounding,
    )


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    """What a search is after, and when it has it."""

    smallest: int
    largest: int
    tolerance: float

    def settled(self, krylov: Krylov, ritz: Ritz) -> NDArray[np.bool_]:
        """Whether each wanted pair, those of the lower end first, meets the tolerance at this look."""
        count = len(ritz.values)
        if count < self.smallest + self.largest:
            return np.zeros(self.smallest + self.largest, dtype=bool)
        small_enough = ritz.errors() <= self.tolerance * np.maximum(np.abs(ritz.values), FAINT * ritz.scale)
        exhausted = krylov.closed or len(krylov.starts) > 1
        if not exhausted and miss_probability(krylov.dimension, count, UNSEEN) > CHANCE:
            ends = [0, -1]
            small_enough[ends] &= ritz.coefficients[ends, 0] ** 2 <= max(BULK, 10 / krylov.dimension)
        return np.concatenate([small_enough[: self.smallest], small_enough[count - self.largest :]])

    def all_copies_seen(self, krylov: Krylov, ritz: Ritz) -> bool:
        """Whether the complement of what was exhausted can hold no further copy of a wanted value.

        The newest Krylov space began with a random vector of that complement, so its extremes, once
        settled, are the extremes of the whole complement. They must not lie beyond the last wanted value.
        """
        if len(krylov.starts) == 1 and not krylov.closed:
            return True  # nothing is exhausted yet, and one space holds one copy of each eigenvalue
        newest = krylov.ritz(slice(krylov.starts[-1], None))
        margin = self.tolerance * FAINT * ritz.scale
        settled = newest.errors() <= margin
        low_end = self.smallest == 0 or (settled[0] and newest.values[0] >= ritz.values[self.smallest - 1] - margin)
        high_end = self.largest == 0 or (settled[-1] and newest.values[-1] <= ritz.values[-self.largest] + margin)
        return bool(low_end and high_end)


def _eigenpairs(krylov: Krylov, ritz: Ritz, which: slice, agreed: NDArray[np.bool_]) -> Eigenpairs:
    values = ritz.values[which]
    return Eigenpairs(
        values=tuple(values.tolist()),
        bounds=tuple(ritz.residuals[which].tolist()),
        converged=tuple(agreed[: len(values)].tolist()),
        vectors=krylov.combine(ritz.coefficients[which]),
    )


def _quadrature(krylov: Krylov) -> Quadrature:
    """The spectrum as seen from the start vector, which lies in the first Krylov space alone."""
    exhausted = krylov.closed or len(krylov.starts) > 1
    ritz = krylov.ritz(slice(0, krylov.starts[1] if len(krylov.starts) > 1 else None))
    return Quadrature(
        nodes=tuple(ritz.values.tolist()),
        weights=tuple((ritz.coefficients[:, 0] ** 2).tolist()),
        exact=exhausted,
    )


def gauss_quadrature(operator: SymmetricOperator, *, steps: int, generator: torch.Generator) -> Quadrature:
    """The spectrum as seen from one random unit vector, after ``steps`` products (fewer if that is exact).

    Raises:
        NonFiniteProduct: a product with the operator is not finite.
    """
    return quadrature_from(operator, random_vector(operator, generator), steps=steps)


def quadrature_from(operator: SymmetricOperator, vector: Tensor, *, steps: int) -> Quadrature:
    """The same as seen from a vector, which is not zero, at unit length."""
    krylov = Krylov(operator, vector)
    while krylov.products < min(steps, operator.dimension) and not krylov.closed:
        krylov.advance()
    return _quadrature(krylov)


def miss_probability(dimension: int, products: int, distance: float) -> float:
    """A bound on the probability that a Lanczos run from a random vector misses an end of the spectrum.

    That is, that after k ``products`` the lowest Ritz value still lies above λ_min by more than
    ``distance`` ε of the whole width λ_max − λ_min: at most 1.648 √n exp(−√ε (2k − 1)), whatever the
    spectrum; the same holds at the upper end (Kuczyński and Woźniakowski 1992). No bound is needed
    for k ≥ n, where all eigenvalues are found.

    k has to be fixed before the run. Since Ritz values only move outwards, a run that stopped by itself may
    use any k that it was sure to reach.
    """
    if products >= dimension or distance >= 1.0:
        return 0.0
    return min(1.0, _FACTOR * math.sqrt(dimension) * math.exp(-math.sqrt(distance) * (2 * products - 1)))


def miss_distance(dimension: int, products: int, probability: float) -> float:
    """The distance beyond which an end is missed with at most that ``probability``: the inverse of
    :func:`miss_probability`, between 0 and 1 (nothing is known), in widths λ_max − λ_min of the spectrum.
    """
    if products >= dimension:
        return 0.0
    exponent = math.log(_FACTOR * math.sqrt(dimension) / probability)
    return min(1.0, (max(0.0, exponent) / (2 * products - 1)) ** 2)


def lowest_plausible(extremes: Extremes, probability: float = 0.01) -> float:
    """What "no negative curvature" is worth: λ_min lies above this, but for a failure of ``probability``.

    With half the probability for each end, ε = miss_distance(n, k, p/2) gives λ_min ≥ θ_min − ε·(λ_max −
    λ_min) and λ_max − λ_min ≤ (θ_max − θ_min) / (1 − 2ε). Minus infinity when too few products were made.
    k is taken as the products that were made, although the run itself chose when to stop; the bound is loose
    enough that it held on 20 of 20 Gaussian matrices at probability 0.1, but strictly it is for a k fixed before.
    """
    nodes = extremes.quadrature.nodes
    if extremes.quadrature.exact:
        return nodes[0] - extremes.rounding
    distance = miss_distance(extremes.dimension, len(nodes), probability / 2)
    if distance >= 0.5:
        return -math.inf
    return nodes[0] - distance * (nodes[-1] - nodes[0]) / (1.0 - 2.0 * distance) - extremes.rounding
