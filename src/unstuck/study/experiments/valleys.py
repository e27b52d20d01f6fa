"""Narrow valleys of two weights: the lecturer's ten points, one with walls of bounded steepness, and one that turns.

Lecture chapter 3.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from unstuck.datasets.ten_points import ten_points
from unstuck.methods.schedule import inverse_square_root
from unstuck.methods.update import adagrad, adagrad_mean, adam, gradient_descent, heavy_ball, rmsprop, stack
from unstuck.study.experiments.walks import best, path

UPDATES, SOONER = 100_000, 20_000
"""Of walks at rates that are too low or decay, and of RMSProp, Adam and momentum beside them."""

LOW, HIGH, BEYOND, BOUNCING = 1e-7, 1.1e-6, 1.2e-6, 1e-2
"""The lecture's lower rate, one just below and one just above the limit of the ten points, the lecture's higher one."""


class TenPoints:
    """The squared error, summed, of y = b + w·x over the ten points, less its smallest value: a quadratic.

    Attributes:
        hessian: of (b, w), shape (2, 2).
        curvatures: its eigenvalues, the lower first.
        minimum: (b, w).
    """

    def __init__(self, *, standardized: bool = False) -> None:
        x, y = ten_points()
        self._mean = x.mean() if standardized else x.new_zeros(())
        self._deviation = x.std(correction=0) if standardized else x.new_ones(())
        columns = torch.stack([torch.ones_like(x), (x - self._mean) / self._deviation], dim=1)
        self.hessian = 2.0 * columns.T @ columns
        self.curvatures = torch.linalg.eigvalsh(self.hessian)
        self.minimum: Tensor = torch.linalg.lstsq(columns, y[:, None]).solution[:, 0]

    def of_line(self, at: Tensor) -> Tensor:
        """The weights here of the line y = b + w·x, shape (..., 2)."""
        bias, weight = at.unbind(-1)
        return torch.stack([bias + weight * self._mean, weight * self._deviation], dim=-1)

    def slope(self, at: Tensor) -> Tensor:
        """The gradient at points of shape (..., 2)."""
        return (at - self.minimum) @ self.hessian

    def loss(self, at: Tensor) -> Tensor:
        """Above the smallest, at points of shape (..., 2)."""
        return (self.slope(at) * (at - self.minimum)).sum(-1) / 2

    def left(self, at: Tensor, start: Tensor) -> Tensor:
        """|b − b*| at points of shape (..., 2), over that at the start."""
        shares: Tensor = (at - self.minimum)[..., 0] / (start - self.minimum)[..., 0]
        return shares.abs()

    def descended(self, at: Tensor, rate: float, updates: int) -> Tensor:
        """Where gradient descent comes: along each direction (1 − η λ)ᵀ of the way is left, shape (2,)."""
        curvatures, directions = torch.linalg.eigh(self.hessian)
        along = directions.T @ (at - self.minimum)
        end: Tensor = self.minimum + directions @ ((1.0 - rate * curvatures) ** updates * along)
        return end


class Walled:
    """L(u, v) = f u²/2 + s h² ln cosh(v/h): its floor has the curvatures f and s, its walls the slope s h.

    A rate above 2/s makes gradient descent bounce from wall to wall, by η s h.

    Attributes:
        flat, steep: f and s.
        half_width: h.
        turned: of each walk, whether the valley lies across both weights, turned by 45°, shape (k, 1); None: in none.
    """

    def __init__(self, flat: float, steep: float, half_width: float, turned: Tensor | None = None) -> None:
        self.flat, self.steep, self.half_width, self.turned = flat, steep, half_width, turned

    def across(self, at: Tensor) -> Tensor:
        """Weights of shape (k, 2) → (u, v), and back."""
        if self.turned is None:
            return at
        first, second = at.chunk(2, dim=1)
        return torch.where(self.turned, math.sqrt(0.5) * torch.cat([first + second, first - second], dim=1), at)

    def slope(self, at: Tensor) -> Tensor:
        """The gradient at points of shape (k, 2)."""
        along, aside = self.across(at).chunk(2, dim=1)
        wall = self.steep * self.half_width * torch.tanh(aside / self.half_width)
        return self.across(torch.cat([self.flat * along, wall], dim=1))

    def loss(self, at: Tensor) -> Tensor:
        """At points of shape (k, 2), shape (k,)."""
        along, aside = self.across(at).unbind(1)
        ratio = (aside / self.half_width).abs()
        logarithm = ratio + torch.log1p(torch.exp(-2.0 * ratio)) - math.log(2.0)  # ln cosh, without overflow
        return self.flat * along.square() / 2 + self.steep * self.half_width**2 * logarithm


class Crescent:
    """L = s (r − 1)²/2 + f (1 − cos φ) in polar coordinates: a valley along a circle, down to (1, 0).

    The way along it turns, so that a weight across the valley is later one along it.
    """

    def __init__(self, steep: float, flat: float) -> None:
        self.steep, self.flat = steep, flat

    def loss(self, at: Tensor) -> Tensor:
        """At points of shape (..., 2)."""
        radius = at.norm(dim=-1)
        losses: Tensor = self.steep * (radius - 1.0).square() / 2 + self.flat * (1.0 - at[..., 0] / radius)
        return losses

    def slope(self, at: Tensor) -> Tensor:
        """The gradient at points of shape (k, 2)."""
        radius = at.norm(dim=1, keepdim=True)
        outward = at / radius
        around = torch.stack([-outward[:, 1], outward[:, 0]], dim=1)
        slopes: Tensor = self.steep * (radius - 1.0) * outward + self.flat * outward[:, 1:] / radius * around
        return slopes


def walks_from(points: TenPoints, at: Tensor) -> dict[str, Tensor]:
    """From one start, shape (1, 2), by constant rates and by methods with a rate for each; (updates + 1, 2) each."""
    descents = stack([gradient_descent(LOW), gradient_descent(HIGH)])
    low, high = path(descents, at.repeat(2, 1), points.slope, UPDATES).unbind(1)
    constant, decaying = adagrad_walks(points, at)
    sooner = {
        name: path(rule, at, points.slope, SOONER)[:, 0]
        for name, rule in (("RMSProp", rmsprop(0.01)), ("Adam", adam(0.1)))
    }
    return {"1e-7": low, "1.1e-6": high, "Adagrad": constant[:, 0], "Adagrad with decay": decaying[:, 0]} | sooner


def known(points: TenPoints, at: Tensor, walks: Mapping[str, Tensor]) -> dict[str, float]:
    """What closed forms say of these walks, and walks that only they judge."""
    flat, steep = points.curvatures.tolist()
    _, rate, momentum = best(steep / flat)
    ball = path(heavy_ball(rate / steep, momentum), at, points.slope, SOONER)[-1, 0]
    beyond = path(gradient_descent(BEYOND), at, points.slope, 1_000)[-1, 0]
    once = path(gradient_descent(BOUNCING), at, points.slope, 1)[-1, 0]
    paper = path(adagrad(1.0, epsilon=0.0), at, points.slope, SOONER)[:, 0]
    apart = [
        flat / 5.5735 - 1.0,  # as the lecturer's data were first measured
        2.0 / steep / 1.14493e-6 - 1.0,
        float((points.descended(at[0], LOW, UPDATES) - walks["1e-7"][-1]).norm() / at.norm()),
        float((paper - walks["Adagrad with decay"][: SOONER + 1]).norm(dim=1).amax() / at.norm()),
    ]
    return {
        "error of the closed forms": max(map(abs, apart)),
        "loss just beyond the limit": float(points.loss(beyond) / points.loss(at[0])),
        "loss after one update at 1e-2": float(points.loss(once) / points.loss(at[0])),
        "left with momentum": float(points.left(ball, at[0])),
        "updates with standardized inputs": standardized(at),
    }


def standardized(at: Tensor) -> float:
    """Updates of gradient descent from the same line to a millionth of the way, at the rate 1 over the curvature."""
    points = TenPoints(standardized=True)
    begun = points.of_line(at)
    walk = path(gradient_descent(1.0 / float(points.curvatures[1])), begun, points.slope, 100)[:, 0]
    away = ((walk - points.minimum).norm(dim=1) > 1e-6 * (begun - points.minimum).norm()).int()
    return float(away.argmin()) if bool((away == 0).any()) else math.inf


def adagrad_walks(points: TenPoints, at: Tensor, updates: int = UPDATES) -> tuple[Tensor, Tensor]:
    """The lecture's Adagrad at the rates 1 and 1/√(t + 1), from starts of shape (k, 2); (updates + 1, k, 2) each."""
    factors = [[1.0, inverse_square_root(update, over=1)] for update in range(updates)]
    rates = torch.tensor(factors, dtype=torch.float64, device="cpu").repeat_interleave(len(at), dim=1)[..., None]
    walk = path(adagrad_mean(1.0), at.repeat(2, 1), points.slope, updates, lambda update: rates[update])
    constant, decaying = walk.chunk(2, dim=1)
    return constant, decaying


def bursts(points: TenPoints, *walks: Tensor) -> tuple[list[float], list[list[float]]]:
    """How near the first walk comes, and how far each lets the loss rise above its lowest until then; by starts."""
    losses = [points.loss(walk).clamp_min(1e-9) for walk in walks]  # of 15,000 and more: what is lower is rounding
    rises = [(loss / loss.cummin(0).values).amax(0).tolist() for loss in losses]
    return points.left(walks[0], walks[0][0]).amin(0).tolist(), rises
