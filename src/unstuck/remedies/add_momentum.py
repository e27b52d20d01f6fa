"""Carry the movement on: momentum walks through plateaus and along valleys."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from unstuck.probes.step import StepReading
from unstuck.problem import Problem
from unstuck.reading import Readings
from unstuck.remedy import Intervention, Ladder


@dataclass(frozen=True, kw_only=True)
class AddMomentum:
    """Heavy-ball momentum for plain gradient descent, at the same rate."""

    slug: ClassVar[str] = "add-momentum"
    chapter: ClassVar[int] = 2
    intervention: ClassVar[Intervention] = Intervention.OPTIMIZER
    lowers_rate: ClassVar[bool] = False
    panacea: ClassVar[bool] = False
    momentum: float

    @classmethod
    def propose(cls, readings: Readings) -> tuple[Self, ...]:
        """Only where there is none."""
        steps = readings.get(StepReading)
        plain = steps is not None and steps.latest.optimizer == "SGD" and steps.latest.momentum == 0
        return (cls(momentum=0.9),) if plain else ()

    def apply(self, branch: Problem) -> Problem:
        """The branch with momentum in every group."""
        for group in branch.optimizer.param_groups:
            group["momentum"] = self.momentum
        return branch

    def opposite(self) -> None:
        """None: a movement that is turned back is no method."""

    def ladder(self) -> Ladder:
        """Up to a movement over a hundred updates."""
        values = (0.5, 0.8, self.momentum, 0.99)
        return Ladder(setting="momentum", doses=tuple(replace(self, momentum=value) for value in values))

    def says(self) -> str:
        """In a sentence."""
        return f"add momentum {self.momentum:g}"

    def diff(self, problem: Problem) -> str:
        """The changed argument of the optimizer."""
        rate = float(problem.optimizer.param_groups[0]["lr"])
        return f"-optimizer = SGD(..., lr={rate:g})\n+optimizer = SGD(..., lr={rate:g}, momentum={self.momentum:g})"
