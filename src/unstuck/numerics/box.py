"""The largest value of a function in a box around zero, as far as a short search and many corners find it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import Bounds, minimize

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class BoxMaximum:
    """The highest value that was met; the maximum itself is no lower.

    Attributes:
        value: f there; infinite where f is not finite somewhere in the box.
        at: where, shape (n,).
        corner: the highest value at the corners that were tried.
    """

    value: float
    at: Floats = field(repr=False)
    corner: float


class _NotFinite(Exception):
    """The function has no finite value at a point of the box."""


def largest_in_box(
    value: Callable[[Floats], float],
    value_and_gradient: Callable[[Floats], tuple[float, Floats]],
    half_widths: Floats,
    *,
    generator: torch.Generator,
    corners: int = 20,
    iterations: int = 10,
) -> BoxMaximum:
    """max f(z) over |zᵢ| ≤ wᵢ, from below.

    Tried are the corner that the gradient at zero points to, exact for linear functions, and ``corners`` random ones,
    exact for ½ λ ‖z‖²; then L-BFGS-B (Zhu et al. 1997) goes up from zero and from the best corner. So the answer is
    never below any of these.

    Args:
        value: z, shape (n,) → f.
        value_and_gradient: z → (f, ∂f/∂z).
        half_widths: w, shape (n,), not negative.
        generator: draws the random corners.
        corners: how many.
        iterations: of each L-BFGS-B run.
    """
    search = _Search(value, value_and_gradient, half_widths)
    try:
        slope = search.slope(np.zeros(len(half_widths)))
        drawn = [_signs(len(half_widths), generator) for _ in range(corners + 1)]
        ahead = np.where(slope == 0.0, drawn[0], np.sign(slope))
        tried = [search.value(corner) for corner in (ahead, *drawn[1:])]
        best = (ahead, *drawn[1:])[int(np.argmax(tried))]
        # In units in which the slope is one on the average, so that a first step is as long as the box.
        scale = float(np.abs(slope).mean()) or abs(max(tried) - search.start) / len(half_widths) or 1.0
        for start in (np.zeros(len(half_widths)), best):
            search.climb(start, scale, iterations)
    except _NotFinite:
        return BoxMaximum(value=math.inf, at=search.at * half_widths, corner=math.inf)
    return BoxMaximum(value=search.best, at=search.at * half_widths, corner=max(tried))


def _signs(count: int, generator: torch.Generator) -> Floats:
    drawn = torch.randint(0, 2, (count,), generator=generator, device="cpu")
    return np.asarray(2 * drawn - 1, dtype=np.float64)


class _Search:
    """Looks at f(w ∘ u) for u in [−1, 1]ⁿ and remembers the best."""

    def __init__(
        self,
        value: Callable[[Floats], float],
        value_and_gradient: Callable[[Floats], tuple[float, Floats]],
        half_widths: Floats,
    ) -> None:
        self._value, self._value_and_gradient, self._half_widths = value, value_and_gradient, half_widths
        self.start = self.best = -math.inf
        self.at = np.zeros(len(half_widths))

    def value(self, u: Floats) -> float:
        """f(w ∘ u)."""
        return self._seen(u, self._value(u * self._half_widths))

    def slope(self, u: Floats) -> Floats:
        """w ∘ ∂f/∂z; the first point that is looked at is the start."""
        value, gradient = self._value_and_gradient(u * self._half_widths)
        self._seen(u, value)
        self.start = value if self.start == -math.inf else self.start
        return gradient * self._half_widths

    def climb(self, start: Floats, scale: float, iterations: int) -> None:
        """L-BFGS-B from a start, on (f(0) − f) / scale."""

        def down(u: Floats) -> tuple[float, Floats]:
            value, gradient = self._value_and_gradient(u * self._half_widths)
            self._seen(u, value)
            return (self.start - value) / scale, -gradient * self._half_widths / scale

        minimize(
            down,
            start,
            jac=True,
            method="L-BFGS-B",
            bounds=Bounds(-1.0, 1.0),
            options={"maxiter": iterations, "maxfun": 2 * iterations},
        )

    def _seen(self, u: Floats, value: float) -> float:
        if not math.isfinite(value):
            self.at = u.copy()
            raise _NotFinite
        if value > self.best:
            self.best, self.at = value, u.copy()
        return value
