"""Let the learning rate fall: large steps first, small ones once the valley's walls are what is bounced off."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Self

import torch

from unstuck.methods.schedule import inverse_square_root
from unstuck.problem import Problem
from unstuck.reading import Readings
from unstuck.remedy import Intervention


@dataclass(frozen=True, kw_only=True)
class DecayLearningRate:
    """η_t = η / √(1 + t/over): the lecture's decay, in place of any schedule the problem had."""

    slug: ClassVar[str] = "decay-learning-rate"
    chapter: ClassVar[int] = 3
    intervention: ClassVar[Intervention] = Intervention.RATE
    lowers_rate: ClassVar[bool] = True
    over: int

    @classmethod
    def propose(cls, readings: Readings) -> tuple[Self, ...]:  # noqa: ARG003 - the same for every problem
        """A decay that bites within a trial."""
        return (cls(over=10), cls(over=1))

    def apply(self, branch: Problem) -> Problem:
        """The branch under the new schedule."""
        factor = partial(inverse_square_root, over=self.over)
        scheduler = torch.optim.lr_scheduler.LambdaLR(branch.optimizer, factor)
        return branch.changed(scheduler=scheduler, schedule_every="update")

    def says(self) -> str:
        """In a sentence."""
        return f"let the learning rate fall as 1/√(1 + t/{self.over}), t counted in updates"

    def diff(self, problem: Problem) -> str:
        """The scheduler, and its step after every update."""
        return (
            f"+scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: (1 + t / {self.over}) ** -0.5)\n"
            " optimizer.step()\n+scheduler.step()"
        )
