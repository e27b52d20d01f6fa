"""How exact Adam's σ is in the first updates, and the schedules that follow from it.

Lecture chapter 3.
"""

from __future__ import annotations

import math

import torch
from scipy.special import gammaln
from torch import Tensor

from unstuck.methods.schedule import InverseSquareRoot
from unstuck.methods.update import look, radam, rectification, start, step

MEMORY = 0.999
"""β₂."""

STREAMS = 4_000
"""Parameters, each with gradients of its own."""

COUNTS = (5, 10, 30, 100, 300, 1_000)
"""Updates after which the spread of 1/σ is looked at."""

TABLE = {5: 0.0173, 6: 0.0258, 10: 0.049, 100: 0.215, 1_000: 0.645, 5_000: 0.983}
"""r_t for β₂ = 0.999, by Liu et al. 2020, algorithm 2."""


def spreads(seed: int) -> list[float]:
    """The standard deviation of 1/√v̂ over many streams of gradients from N(0, 1), at :data:`COUNTS`."""
    generator = torch.Generator(device="cpu").manual_seed(seed)
    squares = torch.zeros(STREAMS, dtype=torch.float64, device="cpu")
    found = []
    for update in range(1, COUNTS[-1] + 1):
        gradients = torch.randn(STREAMS, generator=generator, dtype=torch.float64, device="cpu")
        squares.lerp_(gradients.square(), 1 - MEMORY)
        if update in COUNTS:
            found.append(float((squares / (1 - MEMORY**update)).rsqrt().std()))
    return found


def spread_of_mean(count: int) -> float:
    """The standard deviation of 1/√(mean of so many squares), which is √(n/χ²_n): of weights that are still equal.

    Its square is n/(n − 2) − n/2 · (Γ((n − 1)/2)/Γ(n/2))², finite for n > 2 alone.
    """
    first = 0.5 * math.log(count / 2) + float(gammaln((count - 1) / 2) - gammaln(count / 2))
    return math.sqrt(count / (count - 2) - math.exp(2 * first))


def rectified() -> list[float]:
    """r_t at :data:`COUNTS`."""
    return [float(rectification(MEMORY, count)[1]) for count in COUNTS]


def rectification_error() -> float:
    """The largest difference of r_t from the table, relative, within the digits that it has."""
    return max(abs(float(rectification(MEMORY, count)[1]) / value - 1) for count, value in TABLE.items())


def first_rectified() -> tuple[int, int]:
    """The first update with ρ_t > 4, as the paper has it, and the first that our rule scales, as torch's does."""
    by_formula = next(count for count in range(1, 20) if float(rectification(MEMORY, count)[0]) > 4)
    rule, at = radam(1.0, memory=MEMORY), torch.zeros(2, dtype=torch.float64, device="cpu")
    state, gradient = start(rule, at), torch.ones(2, dtype=torch.float64, device="cpu")
    while not isinstance(look(rule, state, at, gradient).scale, Tensor):
        at, state = step(rule, state, at, gradient.clone())
    return by_formula, state.updates + 1


def original_error() -> float:
    """The largest relative difference of Vaswani's schedule, d = 512 and w = 4,000, from its known values."""
    base = 1 / math.sqrt(512 * 4_000)
    known = {1: 1.7469e-7, 4_000: 6.9877e-4, 16_000: 3.4939e-4}
    schedule = InverseSquareRoot(warm_up=4_000)
    return max(abs(base * schedule(update - 1) / value - 1) for update, value in known.items())
