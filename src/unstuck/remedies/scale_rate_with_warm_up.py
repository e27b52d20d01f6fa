"""Scale the rate up to what a large batch can bear, and warm up to it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from unstuck.methods.rate import scale_rates, scaled_rate_diff
from unstuck.methods.warm_up import Gradual, with_schedule_on_top
from unstuck.probes.step import StepReading
from unstuck.problem import Problem
from unstuck.reading import Readings
from unstuck.remedy import Intervention, Ladder

FACTORS = (4.0, 16.0)
"""Doses: a batch that was made so many times as large at the same rate."""

UPDATES = 50
"""Of the warm-up."""


@dataclass(frozen=True, kw_only=True)
class ScaleRateWithWarmUp:
    """Every rate times ``factor``, reached from the present one over ``warm_up`` updates (Goyal et al. 2017)."""

    slug: ClassVar[str] = "scale-rate-with-warm-up"
    chapter: ClassVar[int] = 3
    intervention: ClassVar[Intervention] = Intervention.RATE
    lowers_rate: ClassVar[bool] = False
    panacea: ClassVar[bool] = False
    factor: float
    warm_up: int

    @classmethod
    def propose(cls, readings: Readings) -> tuple[Self, ...]:
        """The factors that stay below the stability limit, as far as it is known."""
        steps = readings.get(StepReading)
        over = None if steps is None else steps.latest.sharpness_over_limit
        return tuple(cls(factor=factor, warm_up=UPDATES) for factor in FACTORS if over is None or factor * over < 1)

    def apply(self, branch: Problem) -> Problem:
        """The branch with its rates rising to the scaled ones."""
        scale_rates(branch.optimizer, branch.scheduler, self.factor)
        return with_schedule_on_top(branch, Gradual(updates=self.warm_up, start=1 / self.factor))

    def opposite(self) -> Self:
        """Scaled down by as much."""
        return replace(self, factor=1 / self.factor)

    def ladder(self) -> Ladder:
        """Half-way steps up to it, and a hundred times as much."""
        values = (self.factor**0.25, self.factor**0.5, self.factor, 100 * self.factor)
        return Ladder(setting="factor", doses=tuple(replace(self, factor=value) for value in values), peaks=True)

    def says(self) -> str:
        """In a sentence."""
        return f"let the learning rate rise to {self.factor:g} times what it is over {self.warm_up} updates"

    def diff(self, problem: Problem) -> str:
        """The changed argument of the optimizer, and torch's own warm-up."""
        return (
            f"{scaled_rate_diff(problem.optimizer, self.factor)}\n"
            "+warm_up = torch.optim.lr_scheduler.LinearLR(\n"
            f"+    optimizer, start_factor={1 / self.factor:g}, total_iters={self.warm_up}\n+)\n"
            " optimizer.step()\n+warm_up.step()"
        )
