"""Regularize: weight decay pulls the weights back to zero as hard as the data have pulled them away from it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from unstuck.methods.regularization import weight_decay, with_weight_decay
from unstuck.probes.step import StepReading
from unstuck.problem import Problem
from unstuck.reading import Readings
from unstuck.remedy import Intervention, Ladder

PULLS = (1.0, 0.3, 3.0)
"""Doses: how long the pull of the decay is beside an update of the training as it is, where that is longest."""


@dataclass(frozen=True, kw_only=True)
class Regularize:
    """Weight decay ``decay`` (λ)."""

    slug: ClassVar[str] = "regularize"
    chapter: ClassVar[int] = 0
    intervention: ClassVar[Intervention] = Intervention.DECAY
    lowers_rate: ClassVar[bool] = False
    panacea: ClassVar[bool] = False
    decay: float

    @classmethod
    def propose(cls, readings: Readings) -> tuple[Self, ...]:
        """From the length of an update: λ = c |Δθ| / (η |θ|), so that η λ |θ| is c |Δθ|."""
        steps = readings.get(StepReading)
        if steps is None:
            return ()
        balanced = max((step.relative_step / step.rate for step in steps.readings if step.rate > 0), default=0.0)
        return tuple(cls(decay=float(f"{pull * balanced:.2g}")) for pull in PULLS) if balanced > 0 else ()

    def apply(self, branch: Problem) -> Problem:
        """The branch under weight decay."""
        return with_weight_decay(branch, self.decay)

    def opposite(self) -> None:
        """None: weights that are pushed away from zero are no method."""

    def ladder(self) -> Ladder:
        """Up from a thirtieth of it to three times as much, at which little is learned."""
        values = (self.decay / 30, self.decay / 5, self.decay, 3 * self.decay)
        return Ladder(setting="decay", doses=tuple(replace(self, decay=value) for value in values), peaks=True)

    def says(self) -> str:
        """In a sentence."""
        return f"set the weight decay to {self.decay:g}"

    def diff(self, problem: Problem) -> str:
        """The changed argument of the optimizer."""
        before, name = weight_decay(problem.optimizer), type(problem.optimizer).__name__
        return (
            f"-optimizer = {name}(..., weight_decay={before:g})\n"
            f"+optimizer = {'AdamW' if name == 'Adam' else name}(..., weight_decay={self.decay:g})"
        )
