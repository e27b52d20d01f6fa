"""Methods held against each other seed by seed, with the intervals that it takes to name one better."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from unstuck.numerics.statistics import mean

Ends = Sequence[Mapping[str, Mapping[str, Any]]]
"""Of each seed: method → part of the data → loss at the end, None where it was not finite."""


def log_ratios(ends: Ends, one: str, other: str, part: str = "held out") -> list[float]:
    """The logarithm of the ratio of two losses, seed by seed; NaN where one was not finite."""
    pairs = [(own[one][part], own[other][part]) for own in ends]
    return [math.log(first / second) if first and second else math.nan for first, second in pairs]


def intervals(ends: Ends, base: str, sure: float) -> dict[str, tuple[float, float, float]]:
    """Of each other method the mean logarithm of its held-out loss over the base's, and its paired interval.

    Each interval is so wide that all hold together with this confidence (Bonferroni's correction).
    """
    names = [name for name in ends[0] if name != base]
    found = {}
    for name in names:
        ratios = log_ratios(ends, name, base)
        if all(map(math.isfinite, ratios)):
            own = mean(ratios)
            interval = own.interval(1.0 - (1.0 - sure) / len(names))
            found[name] = (own.value, interval.low, interval.high)
        else:
            found[name] = (math.nan, -math.inf, math.inf)
    return found


def told(values: Sequence[float]) -> str:
    """A mean and its interval at 95 %, as a table has it."""
    if not values:
        return "not tried"
    if not all(map(math.isfinite, values)):
        return "diverged"
    own = mean(values)
    interval = own.interval()
    return f"{own.value:.2f} ({interval.low:.2f} to {interval.high:.2f})" if own.count > 1 else f"{own.value:.2f}"
