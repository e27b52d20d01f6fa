"""Walks on surfaces of few dimensions by the update rule itself, many at once, and what is known of them exactly."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from unstuck.methods.update import Rule, Setting, gradient_descent, heavy_ball, nesterov, stack, start, step

Slope = Callable[[Tensor], Tensor]
"""Points → the gradients there, both of shape (k, n)."""

STABLE_UPDATES = 2_000
"""To see what diverges."""

WALKERS, SETTLING = 20_000, 200
"""Walks whose spread at a minimum is compared with the formula's, and updates until it is."""

GRID = 150
"""Rates, and momenta, among which a better pair than the formula's is looked for."""


def walked(
    rule: Rule, at: Tensor, slope: Slope, updates: int, rates: Callable[[int], Setting] | None = None
) -> Iterator[Tensor]:
    """The points of walks on a surface, before the first update and after each; shape (k, n), valid until the next.

    Args:
        rule: one for all, or a stack of k.
        at: where the walks start, shape (k, n).
        slope: of the surface.
        updates: how many.
        rates: η_t of the update t, from 0, where it is not the rule's own.
    """
    rows = at.clone()
    state = start(rule, rows)
    yield rows
    for update in range(updates):
        rate = None if rates is None else rates(update)
        rows, state = step(rule, state, rows, slope(rows).clone(), rate=rate)
        yield rows


def path(rule: Rule, at: Tensor, slope: Slope, updates: int, rates: Callable[[int], Setting] | None = None) -> Tensor:
    """All points of :func:`walked`, shape (updates + 1, k, n)."""
    points = at.new_empty(updates + 1, *at.shape)
    for update, rows in enumerate(walked(rule, at, slope, updates, rates)):
        points[update] = rows
    return points


def end(rule: Rule, at: Tensor, slope: Slope, updates: int) -> Tensor:
    """Where the walks end, shape (k, n)."""
    rows = at
    for each in walked(rule, at, slope, updates):
        rows = each
    return rows


def uniform(low: float, high: float, count: int, generator: torch.Generator) -> Tensor:
    """Numbers drawn evenly between two, in double precision, shape (count, 1)."""
    drawn = torch.rand(count, 1, generator=generator, dtype=torch.float64, device="cpu")
    return low + (high - low) * drawn


class Bumpy:
    """L(x) = x²/2 + h exp(−(x − p)² / 2w²): valleys with a bump on the way from the right.

    Attributes:
        place, width, height: p, w and h, each of shape (k, 1).
    """

    def __init__(self, place: Tensor, width: Tensor, height: Tensor) -> None:
        self.place, self.width, self.height = place, width, height

    @staticmethod
    def drawn(count: int, generator: torch.Generator) -> Bumpy:
        """Bumps with a dip before each: its slope back, at most h e^(−1/2)/w, exceeds the valley's slope there."""
        place, width = uniform(1.2, 1.8, count, generator), uniform(0.25, 0.4, count, generator)
        least = math.exp(0.5) * width * (place + width)
        return Bumpy(place, width, uniform(1.05, 3.0, count, generator) * least)

    def loss(self, at: Tensor) -> Tensor:
        """L at points of shape (k, m)."""
        return at.square() / 2 + self._bump(at)

    def slope(self, at: Tensor) -> Tensor:
        """dL/dx at points of shape (k, m)."""
        return at - self._bump(at) * (at - self.place) / self.width.square()

    def top(self) -> Tensor:
        """The loss at the top of each bump, a little before p, shape (k, 1)."""
        shares = torch.linspace(0.0, 1.0, 201, dtype=self.place.dtype, device=self.place.device)
        return self.loss(self.place + self.width * shares).amax(1, keepdim=True)

    def _bump(self, at: Tensor) -> Tensor:
        return self.height * torch.exp(-((at - self.place) / self.width).square() / 2)


def limit_error(momentum: float) -> float:
    """How far the largest rate that does not diverge on a curvature of 1 is from the formula's, as a share.

    2 for gradient descent, 2 (1 + λ) with momentum, 2 (1 + λ)/(1 − λ) where gradients are averaged and not summed,
    2 (1 + λ)/(1 + 2λ) for Nesterov's: the largest of these differences, to the half of a four-hundredth.
    """
    sharp = 2 * (1 + momentum)
    known: list[tuple[float, Callable[[float], Rule]]] = [
        (2.0, gradient_descent),
        (sharp, lambda rate: heavy_ball(rate, momentum)),
        (sharp / (1 - momentum), lambda rate: heavy_ball((1 - momentum) * rate, momentum)),
        (sharp / (1 + 2 * momentum), lambda rate: nesterov(rate, momentum)),
    ]
    shares = np.linspace(0.5, 1.5, 401)
    methods = stack([method(float(share * limit)) for limit, method in known for share in shares])
    middle = last = torch.zeros(len(known) * len(shares), 1, dtype=torch.float64, device="cpu")
    for update, rows in enumerate(walked(methods, torch.ones_like(last), lambda at: at, STABLE_UPDATES)):
        if STABLE_UPDATES // 2 - 50 <= update < STABLE_UPDATES // 2:
            middle = torch.maximum(middle, rows.abs())
        elif update > STABLE_UPDATES - 50:
            last = torch.maximum(last, rows.abs())
    stable = (last.isfinite() & (last <= middle)).view(len(known), -1).sum(1).numpy()
    return float(np.abs((shares[stable - 1] + shares[stable]) / 2 - 1).max())


def best(condition: float) -> tuple[float, float, float]:
    """(rate without momentum, rate with it, that momentum) that are fastest for curvatures from 1/condition to 1."""
    low, root = 1 / condition, math.sqrt(1 / condition)
    return 2 / (1 + low), (2 / (1 + root)) ** 2, ((1 - root) / (1 + root)) ** 2


def best_in_grid(condition: float) -> float:
    """The spectral radius of z² − (1 + λ − η h) z + λ for the worse of both curvatures h, best of a grid, over √λ*."""
    _, rate, momentum = best(condition)
    rates, momenta = np.meshgrid(rate * np.linspace(0.5, 1.5, GRID), np.linspace(0.0, 0.99, GRID))
    radii = []
    for curvature in (1.0, 1.0 / condition):
        middle = 1 + momenta - rates * curvature
        root = np.sqrt((middle**2 - 4 * momenta).astype(complex))
        radii.append(np.maximum(np.abs(middle + root), np.abs(middle - root)) / 2)
    return float(np.maximum(*radii).min() / math.sqrt(momentum))


def spread(rate: float, seed: int) -> float:
    """The variance of walks on x²/2 with noise of variance 1 in each gradient, over the formula's η / (2 − η).

    In general it is η s² / (B λ (2 − η λ)) on curvature λ, s² being the variance of one sample's gradient. The mean
    loss there is λ/2 times the variance: not zero, though the minimum's is.
    """
    generator = torch.Generator(device="cpu").manual_seed(seed)
    at = torch.zeros(WALKERS, 1, dtype=torch.float64, device="cpu")

    def noisy(rows: Tensor) -> Tensor:
        return rows + torch.randn(rows.shape, generator=generator, dtype=rows.dtype, device="cpu")

    for rows in walked(gradient_descent(rate), at, noisy, SETTLING):
        at = rows
    return float(at.square().mean()) * (2 - rate) / rate
