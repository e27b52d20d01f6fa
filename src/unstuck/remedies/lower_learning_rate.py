"""Lower the learning rate until the steps fit the valley."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from unstuck.methods.rate import scale_rates, scaled_rate_diff
from unstuck.probes.step import StepReading
from unstuck.problem import Problem
from unstuck.reading import Readings
from unstuck.remedy import Intervention, Ladder

OF_THE_LIMIT = (0.5, 0.15, 0.05)
"""Doses as shares of the stability limit, where it is known and exceeded."""

BLIND = (0.3, 0.1, 0.01, 0.001)
"""Doses where it is not. The first gives most of the cure within a trial, where a rate is ten times too high and the
tuned one, slower at first, overtakes it only later."""


@dataclass(frozen=True, kw_only=True)
class LowerLearningRate:
    """Every rate times ``factor``, below one."""

    slug: ClassVar[str] = "lower-learning-rate"
    chapter: ClassVar[int] = 3
    intervention: ClassVar[Intervention] = Intervention.RATE
    lowers_rate: ClassVar[bool] = True
    panacea: ClassVar[bool] = False
    factor: float

    @classmethod
    def propose(cls, readings: Readings) -> tuple[Self, ...]:
        """From the stability limit at the start, where walking has not yet bent the surface."""
        steps = readings.get(StepReading)
        over = None if steps is None else steps.first.sharpness_over_limit
        if over is not None and over > 1:
            return tuple(cls(factor=float(f"{share / over:.2g}")) for share in OF_THE_LIMIT)
        return tuple(cls(factor=factor) for factor in BLIND)

    def apply(self, branch: Problem) -> Problem:
        """The branch with its rates scaled."""
        scale_rates(branch.optimizer, branch.scheduler, self.factor)
        return branch

    def opposite(self) -> Self:
        """Every rate times as much."""
        return replace(self, factor=1 / self.factor)

    def ladder(self) -> Ladder:
        """Half-way steps down to it, and a hundredth of it, at which nothing moves."""
        values = (self.factor**0.25, self.factor**0.5, self.factor, self.factor / 100)
        return Ladder(setting="factor", doses=tuple(replace(self, factor=value) for value in values), peaks=True)

    def says(self) -> str:
        """In a sentence."""
        return f"multiply the learning rate by {self.factor:g}"

    def diff(self, problem: Problem) -> str:
        """The changed argument of the optimizer."""
        return scaled_rate_diff(problem.optimizer, self.factor)
