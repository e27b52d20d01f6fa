"""Let the learning rate fall: large steps first, small ones once the valley's walls are what is bounced off."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Self

import torch

from unstuck.methods.schedule import inverse_square_root
from unstuck.problem import Problem
from unstuck.reading import Readings
from unstuck.remedy import Intervention, Ladder


@dataclass(frozen=True, kw_only=True)
class DecayLearningRate:
    """η_t = η / √(1 + t/over): the lecture's decay, in place of any schedule the problem had."""

    slug: ClassVar[str] = "decay-learning-rate"
    chapter: ClassVar[int] = 3
    intervention: ClassVar[Intervention] = Intervention.RATE
    lowers_rate: ClassVar[bool] = True
    panacea: ClassVar[bool] = False
    over: int
    rises: bool = False
    """The contrary: η √(1 + t/over)."""

    @classmethod
    def propose(cls, readings: Readings) -> tuple[Self, ...]:  # noqa: ARG003 - the same for every problem
        """A decay that bites within a trial."""
        return (cls(over=10), cls(over=1))

    def apply(self, branch: Problem) -> Problem:
        """The branch under the new schedule."""
        factor = partial(_rising if self.rises else inverse_square_root, over=self.over)
        scheduler = torch.optim.lr_scheduler.LambdaLR(branch.optimizer, factor)
        return branch.changed(scheduler=scheduler, schedule_every="update")

    def opposite(self) -> Self:
        """A rate that rises as much."""
        return replace(self, rises=not self.rises)

    def ladder(self) -> Ladder:
        """A decay that begins later, up to this one."""
        values = (1000 * self.over, 100 * self.over, 10 * self.over, self.over)
        return Ladder(setting="over", doses=tuple(replace(self, over=value) for value in values))

    def says(self) -> str:
        """In a sentence."""
        way = "rise as" if self.rises else "fall as 1/"
        return f"let the learning rate {way}√(1 + t/{self.over}), t counted in updates"

    def diff(self, problem: Problem) -> str:
        """The scheduler, and its step after every update."""
        power = 0.5 if self.rises else -0.5
        return (
            f"+scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: (1 + t / {self.over}) ** {power})\n"
            " optimizer.step()\n+scheduler.step()"
        )


def _rising(update: int, over: int) -> float:
    return 1 / inverse_square_root(update, over)
