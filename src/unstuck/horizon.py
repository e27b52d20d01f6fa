"""How long the arms of a trial walk: as many samples each, whatever the size of their batches.

Lengths are counted in updates of the untouched arm. An arm's *pace* is how many of its own updates see the samples of
one of them: 4 on a quarter of the batch, 1/4 on four times as much.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

ORDERS = 3
"""Data orders per arm, the fewest that have a spread; where they do not decide, as many more."""

SHORTEST = 12
"""Updates: a trunk's half is never shorter, whatever the budget says."""

TAIL = 1 / 4
"""Length of the annealing tail over the length of the trunk before it."""


def own_updates(updates: float, pace: float) -> int:
    """An arm's updates that see as many samples as so many of the untouched one: one at least, or none for none."""
    return max(1, round(pace * updates)) if updates else 0


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """What an arm walks under one order, in its own updates."""

    half: int
    """The trunk of H with its tail."""
    whole: int
    """The trunk of 2H with both tails."""

    @staticmethod
    def of(horizon: int, pace: float = 1.0) -> Lengths:
        """Those of an arm of this pace where H is the horizon."""
        first = own_updates(horizon, pace) + own_updates(TAIL * horizon, pace)
        return Lengths(
            half=first,
            whole=first
            + own_updates(2 * horizon, pace)
            - own_updates(horizon, pace)
            + own_updates(TAIL * 2 * horizon, pace),
        )


def updates_of(horizon: int, arms: Sequence[float], pilots: Sequence[float] = ()) -> int:
    """Updates that a trial takes: arms of these paces under all orders, and pilots over one half under one."""
    walked = sum(Lengths.of(horizon, pace).whole for pace in arms)
    return ORDERS * walked + sum(Lengths.of(horizon, pace).half for pace in pilots)


def longest(updates: int, arms: Sequence[float], pilots: Sequence[float] = ()) -> int:
    """The longest H, of :data:`SHORTEST` at least, for which a trial fits into ``updates``.

    Where an arm's batch is k times as large, a multiple of k, so that it ends where the samples of the others do.
    """
    horizons = range(SHORTEST, max(SHORTEST, updates) + 1)
    fits = bisect_right(horizons, updates, key=lambda horizon: updates_of(horizon, arms, pilots))
    horizon = horizons[max(0, fits - 1)]
    even = horizon - horizon % max(1, round(1 / min(arms)))
    return even if even >= SHORTEST else horizon
