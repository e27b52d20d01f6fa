"""How far a gradient step gets beside a Newton step: what one rate for all directions costs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DAMPING = 1e-3
"""Of the largest curvature: flatter directions count as so steep. A rate that the steepest direction bears moves
nothing along them in the thousand updates or so that are diagnosed."""


def descent_share(curvatures: Floats, squares: Floats) -> float:
    """Of what a Newton step gains, the share that the best step along the gradient gains.

    On a quadratic with curvatures hᵢ, and the gradient's components cᵢ along their directions, these gains are
    ½ (Σ cᵢ²)² / Σ hᵢ cᵢ² and ½ Σ cᵢ² / hᵢ. Their quotient is Kantorovich's: 1 where all directions that matter are
    equally steep, and 4κ/(1 + κ)² or more where they differ by a factor of κ (Luenberger and Ye, *Linear and Nonlinear
    Programming*, section 8.2). As steps down are asked for, curvatures count by their size, as in Dauphin et al. 2014,
    and none as less than DAMPING of the largest.

    Args:
        curvatures: eigenvalues, or the nodes of the quadrature that starts from the gradient, shape (n,).
        squares: cᵢ², or the weights of the nodes, shape (n,).

    Returns:
        Between 0 and 1; 1 where there is no gradient or no curvature.
    """
    sizes, weights = np.abs(np.asarray(curvatures)), np.asarray(squares)
    total, largest = float(weights.sum()), float(sizes.max(initial=0.0))
    if total == 0.0 or largest == 0.0:
        return 1.0
    damped = np.maximum(sizes, DAMPING * largest)
    return float(total**2 / ((damped @ weights) * (weights / damped).sum()))
