"""Give every parameter a rate of its own: where no single one suits all directions, divide by σ."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Self

from unstuck.methods.optimizers import with_optimizer
from unstuck.probes.direction import DirectionReading
from unstuck.probes.step import StepReading
from unstuck.probes.wiring import WiringReading
from unstuck.problem import Problem
from unstuck.reading import Readings
from unstuck.remedy import Intervention

RATES = (1e-3, 1e-2)
"""Doses that are tried whatever was read: the default of Kingma & Ba 2015, and ten times that for small networks."""

APART = 3.0
"""Doses that are nearer to each other than this factor are one."""

PLAIN = ("SGD", "LARS")
"""Optimizers whose parameters share a rate, by the names of their classes."""


@dataclass(frozen=True, kw_only=True)
class AdaptiveOptimizer:
    """Adam at ``rate``, its state at the beginning; the groups' ratios, their decay and the schedule stay."""

    slug: ClassVar[str] = "adaptive-optimizer"
    chapter: ClassVar[int] = 3
    intervention: ClassVar[Intervention] = Intervention.OPTIMIZER
    lowers_rate: ClassVar[bool] = False
    panacea: ClassVar[bool] = True
    rate: float

    @classmethod
    def propose(cls, readings: Readings) -> tuple[Self, ...]:
        """Where all parameters share a rate: the one that makes steps as long as the best of the present ones."""
        steps = readings.get(StepReading)
        if steps is None or steps.latest.optimizer not in PLAIN:
            return ()
        rates: list[float] = []
        for rate in (*_alike(readings, steps.latest), *RATES):
            if all(max(rate / other, other / rate) > APART for other in rates):
                rates.append(rate)
        return tuple(cls(rate=float(f"{rate:.2g}")) for rate in rates)

    def apply(self, branch: Problem) -> Problem:
        """The branch under Adam."""
        return with_optimizer(branch, "adam", rate=self.rate)

    def opposite(self) -> None:
        """None: gradient descent is what the untouched arm walks by."""

    def ladder(self) -> None:
        """None: its rate is found, not dosed."""

    def says(self) -> str:
        """In a sentence."""
        return f"train with Adam at a learning rate of {self.rate:g}"

    def diff(self, problem: Problem) -> str:
        """The line that builds the optimizer."""
        return f"-optimizer = {type(problem.optimizer).__name__}(...)\n+optimizer = Adam(..., lr={self.rate:g})"


def _alike(readings: Readings, step: StepReading) -> list[float]:
    """η m* ‖g‖ / √n: the root mean square, over n parameters, of the best multiple m* of a typical gradient step."""
    walks, wiring = readings.get(DirectionReading), readings.get(WiringReading)
    if walks is None or wiring is None:
        return []
    length = step.rate * step.best_multiple.value * walks.latest.typical_norm
    rate = length / math.sqrt(max(1, wiring.latest.parameters))
    return [rate] if 0 < rate < math.inf else []
