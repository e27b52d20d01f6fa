"""Warm up: let the rate rise over the first updates, until the walk is where it can bear the whole."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from unstuck.methods.warm_up import Gradual, with_schedule_on_top
from unstuck.problem import Problem
from unstuck.reading import Readings
from unstuck.remedy import Intervention, Ladder


@dataclass(frozen=True, kw_only=True)
class WarmUp:
    """The rate rises over ``updates`` updates to what it was; on top of any schedule."""

    slug: ClassVar[str] = "warm-up"
    chapter: ClassVar[int] = 3
    intervention: ClassVar[Intervention] = Intervention.RATE
    lowers_rate: ClassVar[bool] = True
    panacea: ClassVar[bool] = False
    updates: int

    @classmethod
    def propose(cls, readings: Readings) -> tuple[Self, ...]:  # noqa: ARG003 - the same for every problem
        """One that is over soon within a trial: one that is not would be a lower rate throughout, and show no more."""
        return (cls(updates=20),)

    def apply(self, branch: Problem) -> Problem:
        """The branch with its rate rising at first."""
        return with_schedule_on_top(branch, Gradual(updates=self.updates, start=1 / self.updates))

    def opposite(self) -> None:
        """None: a start above the rate is another one."""

    def ladder(self) -> Ladder:
        """From a few updates to three times as many."""
        values = (max(1, self.updates // 8), max(1, self.updates // 3), self.updates, 3 * self.updates)
        return Ladder(setting="updates", doses=tuple(replace(self, updates=value) for value in values))

    def says(self) -> str:
        """In a sentence."""
        return f"let the learning rate rise over the first {self.updates} updates"

    def diff(self, problem: Problem) -> str:
        """Torch's own, which goes together with most other schedulers."""
        return (
            "+warm_up = torch.optim.lr_scheduler.LinearLR(\n"
            f"+    optimizer, start_factor={1 / self.updates:g}, total_iters={self.updates}\n+)\n"
            " optimizer.step()\n+warm_up.step()"
        )
