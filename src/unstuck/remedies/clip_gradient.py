"""Clip the gradient's norm, so that one steep place cannot throw the walk away."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from unstuck.probes.direction import DirectionReading
from unstuck.problem import Problem
from unstuck.reading import Readings
from unstuck.remedy import Intervention, Ladder


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
        """The median norm on the way, and a tenth of it."""
        walks = readings.get(DirectionReading)
        typical = walks.first.typical_norm if walks is not None else 0.0
        return tuple(cls(norm=float(f"{share * typical:.2g}")) for share in (1.0, 0.1) if typical > 0)

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
