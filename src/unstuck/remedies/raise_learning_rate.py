"""Raise the learning rate towards the longest step that still goes down."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from unstuck.methods.rate import scale_rates, scaled_rate_diff
from unstuck.probes.step import StepReading
from unstuck.problem import Problem
from unstuck.reading import Readings
from unstuck.remedy import Intervention, Ladder

LADDER = (1.0, 1 / 3, 1 / 10, 1 / 30)
"""Doses below the highest."""

LEAST = 3.0
"""Smaller raises are a matter of taste, not a cure."""


@dataclass(frozen=True, kw_only=True)
class RaiseLearningRate:
    """Every rate times ``factor``, above one."""

    slug: ClassVar[str] = "raise-learning-rate"
    chapter: ClassVar[int] = 3
    intervention: ClassVar[Intervention] = Intervention.RATE
    lowers_rate: ClassVar[bool] = False
    panacea: ClassVar[bool] = False
    factor: float

    @classmethod
    def propose(cls, readings: Readings) -> tuple[Self, ...]:
        """Downwards from twice the best multiple of the present step, but not beyond the stability limit."""
        steps = readings.get(StepReading)
        if steps is None:
            return ()
        highest = 2 * steps.latest.best_multiple.high
        over = steps.latest.sharpness_over_limit
        if over is not None and over > 0:
            highest = min(highest, 1 / over)
        doses = [highest * share for share in LADDER if highest * share >= LEAST]
        return tuple(cls(factor=float(f"{dose:.2g}")) for dose in doses)

    def apply(self, branch: Problem) -> Problem:
        """The branch with its rates scaled."""
        scale_rates(branch.optimizer, branch.scheduler, self.factor)
        return branch

    def opposite(self) -> Self:
        """Every rate divided by as much."""
        return replace(self, factor=1 / self.factor)

    def ladder(self) -> Ladder:
        """Half-way steps up to it, and a hundred times as much, which no valley bears."""
        values = (self.factor**0.25, self.factor**0.5, self.factor, 100 * self.factor)
        return Ladder(setting="factor", doses=tuple(replace(self, factor=value) for value in values), peaks=True)

    def says(self) -> str:
        """In a sentence."""
        return f"multiply the learning rate by {self.factor:g}"

    def diff(self, problem: Problem) -> str:
        """The changed argument of the optimizer."""
        return scaled_rate_diff(problem.optimizer, self.factor)
