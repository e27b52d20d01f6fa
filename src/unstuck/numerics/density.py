"""The spectral density: how the eigenvalues of an operator are spread, by stochastic Lanczos quadrature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from unstuck.numerics.krylov import Floats, SymmetricOperator
from unstuck.numerics.lanczos import Quadrature, gauss_quadrature

POINTS = 400
"""Places at which a density is given."""

WIDTH = 0.01
"""Standard deviation of the smoothing, relative to the spectrum's whole width."""

MARGIN = 3.0
"""Standard deviations shown beyond both ends."""


@dataclass(frozen=True, kw_only=True)
class Density:
    """The density of eigenvalues, smoothed by a normal kernel, in shares per unit of the eigenvalue.

    Attributes:
        at: where, ascending, shape (POINTS,).
        value: the mean over the random vectors.
        standard_error: of that mean; zero for a spectrum known whole, infinite for a single vector.
        width: σ of the kernel, in the unit of the eigenvalues.
    """

    at: tuple[float, ...]
    value: tuple[float, ...]
    standard_error: tuple[float, ...]
    width: float


def lanczos_quadratures(
    operator: SymmetricOperator, *, steps: int, count: int, generator: torch.Generator
) -> tuple[Quadrature, ...]:
    """The spectrum as seen from ``count`` random vectors, ``steps`` products each (Ubaru, Chen, Saad 2017)."""
    return tuple(gauss_quadrature(operator, steps=steps, generator=generator) for _ in range(count))


def spectral_density(quadratures: Sequence[Quadrature]) -> Density:
    """φ(t) = 1/k Σ_i Σ_l w_il N(t; θ_il, σ²) (Ghorbani, Krishnan, Xiao 2019, section 3).

    Each vector's weights sum to one, and so does the density, but for what the margins cut off.
    """
    low = min(quadrature.nodes[0] for quadrature in quadratures)
    high = max(quadrature.nodes[-1] for quadrature in quadratures)
    width = WIDTH * (high - low) or WIDTH * max(abs(high), 1.0)
    at = np.linspace(low - MARGIN * width, high + MARGIN * width, POINTS)
    seen = np.stack([_smoothed(quadrature, at, width) for quadrature in quadratures])
    error = _standard_error(seen) if len(quadratures) > 1 else np.full(POINTS, np.nan)
    return Density(
        at=tuple(at.tolist()),
        value=tuple(seen.mean(0).tolist()),
        standard_error=tuple(error.tolist()),
        width=width,
    )


def _smoothed(quadrature: Quadrature, at: Floats, width: float) -> Floats:
    distances = (at[:, None] - np.asarray(quadrature.nodes)) / width
    kernels = np.exp(-0.5 * distances**2) / (width * np.sqrt(2 * np.pi))
    return np.asarray(kernels @ np.asarray(quadrature.weights))


def _standard_error(seen: Floats) -> Floats:
    if len(seen) < 2:
        return np.full(seen.shape[1], np.inf)
    return np.asarray(seen.std(0, ddof=1) / np.sqrt(len(seen)))
