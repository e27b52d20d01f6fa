"""Ways out of a saddle, and what each has spent before it descends, in gradients.

Lecture chapter 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.func import hessian

from unstuck.methods.update import Rule, gradient_descent, heavy_ball
from unstuck.numerics.lanczos import extreme_eigenpairs
from unstuck.study.experiments.surface import Function, hessian_operator

METHODS = ("perturbed gradient descent", "perturbed momentum", "Lanczos", "whole Hessian")

PERTURBED = 1e-3
"""Length of a perturbation, over that of the parameters, or over the distance to the minimum."""

PRODUCT = 2
"""Gradients that a product with the Hessian costs (Pearlmutter 1994)."""

SETTLED = 1e-4
"""How sharply Lanczos settles the lowest curvature, over the highest."""


def way_down(losses: Function, point: Tensor, generator: torch.Generator) -> tuple[Tensor, float, int]:
    """A direction of negative curvature by Lanczos, its curvature, and the products that it took."""
    found = extreme_eigenpairs(
        hessian_operator(losses, point),
        generator=generator,
        smallest=1,
        largest=0,
        tolerance=SETTLED,
        max_products=len(point),
    )
    return found.smallest.vectors[0], found.smallest.values[0], found.products


def best_along(losses: Function, point: Tensor, direction: Tensor) -> tuple[Tensor, int]:
    """The lowest of the points that are 2^(−9) … 2 away both ways, and the losses that it took to find it."""
    lengths = torch.tensor([side * 2.0**power for power in range(-9, 2) for side in (1, -1)], device="cpu")
    tried = point + lengths.to(point)[:, None] * direction
    return tried[losses(tried).argmin()], len(tried)


def starts(losses: Function, point: Tensor, size: float, generator: torch.Generator) -> tuple[Tensor, list[float]]:
    """Where each of METHODS starts its descent, shape (4, n), and what it has spent before, in gradients."""
    noise = torch.randn(len(point), generator=generator, dtype=point.dtype, device="cpu")
    perturbed = point + PERTURBED * size * noise / noise.norm()
    direction, _, products = way_down(losses, point, generator)
    by_lanczos, tried = best_along(losses, point, direction)
    by_all, _ = best_along(losses, point, torch.linalg.eigh(hessian(losses)(point)).eigenvectors[:, 0])
    spent = [0.0, 0.0, float(PRODUCT * products + tried), float(PRODUCT * len(point) + tried)]
    return torch.stack([perturbed, perturbed, by_lanczos, by_all]), spent


def rules_of(rates: Sequence[float]) -> list[Rule]:
    """Of METHODS, in their order, with each rate."""
    makers = (gradient_descent, heavy_ball, gradient_descent, gradient_descent)
    return [maker(rate) for maker in makers for rate in rates]


def one_way_down(curvatures: Tensor, low: float) -> tuple[Function, Callable[[Tensor, int], Tensor]]:
    """½ Σ λ x² − μ (½ x_1² − ¼ x_1⁴), the sum over all axes but the first, and its gradient; its minima are μ/4 deep.

    Args:
        curvatures: λ, shape (n,), of which the first is not used.
        low: μ.
    """
    curved = torch.cat([curvatures.new_full((1,), -low), curvatures[1:]])

    def losses(rows: Tensor) -> Tensor:
        return 0.5 * rows.square() @ curved + 0.25 * low * rows[..., 0] ** 4

    def gradients(rows: Tensor, _: int) -> Tensor:
        slopes = rows * curved
        slopes[:, 0] += low * rows[:, 0] ** 3
        return slopes

    return losses, gradients
