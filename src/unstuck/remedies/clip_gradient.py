"""Clip the gradient's norm, so that one steep place cannot throw the walk away."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from unstuck.probes.direction import DirectionReading
from unstuck.probes.step import StepReading
from unstuck.problem import Problem
from unstuck.reading import Readings
from unstuck.remedy import Intervention, Ladder

SHORT = 0.01
"""Of the parameters' norm: a step that long changes no network beyond recognition; ordinary ones are a tenth of it."""


@dataclass(frozen=True, kw_only=True)
class ClipGradient:
    """Scale gradients longer than ``norm`` down to it (Pascanu et al. 2013)."""

    slug: ClassVar[str] = "clip-gradient"
    chapter: ClassVar[int] = 0
    intervention: ClassVar[Intervention] = Intervention.CLIPPING
    lowers_rate: ClassVar[bool] = True
    panacea: ClassVar[bool] = False
    norm: float

    @classmethod
    def propose(cls, readings: Readings) -> tuple[Self, ...]:
        """The typical norm, and a tenth of it, or less where steps would still be long.

        Typical is the median on the way, or the norm at the start, whichever is shorter: one is that of the ruins where
        the walk was thrown out, the other may be that of an outlier.
        """
        walks, steps = readings.get(DirectionReading), readings.get(StepReading)
        if walks is None or not walks.first.typical_norm > 0:
            return ()
        typical = min(norm for norm in (walks.first.typical_norm, *walks.first.norms[:1]) if norm > 0)
        length = steps.first.relative_step if steps is not None else 0.0
        share = min(0.1, SHORT / length) if 0 < length < math.inf else 0.1
        return tuple(cls(norm=float(f"{times * typical:.2g}")) for times in (1.0, share))

    def apply(self, branch: Problem) -> Problem:
        """The branch, clipping."""
        return branch.changed(clip_norm=self.norm)

    def opposite(self) -> None:
        """None: a longer norm clips nothing, as the untouched arm does."""

    def ladder(self) -> Ladder:
        """Norms from above most gradients to well below them."""
        values = (10 * self.norm, 3 * self.norm, self.norm, self.norm / 10)
        return Ladder(setting="norm", doses=tuple(replace(self, norm=value) for value in values))

    def says(self) -> str:
        """In a sentence."""
        return f"clip the gradient's norm at {self.norm:g}"

    def diff(self, problem: Problem) -> str:
        """One line between backward and step."""
        return (
            f" loss.backward()\n+torch.nn.utils.clip_grad_norm_(model.parameters(), {self.norm:g})\n optimizer.step()"
        )
