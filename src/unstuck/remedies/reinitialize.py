"""Start again from an ordinary, asymmetric initialization."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from unstuck.initial import reinitialize
from unstuck.problem import Problem
from unstuck.reading import Readings
from unstuck.remedy import Intervention


@dataclass(frozen=True, kw_only=True)
class Reinitialize:
    """Every module's own default initialization, drawn under ``seed``; the optimizer forgets its state."""

    slug: ClassVar[str] = "reinitialize"
    chapter: ClassVar[int] = 1
    intervention: ClassVar[Intervention] = Intervention.INITIALIZATION
    lowers_rate: ClassVar[bool] = False
    panacea: ClassVar[bool] = False
    seed: int = 0

    @classmethod
    def propose(cls, readings: Readings) -> tuple[Self, ...]:  # noqa: ARG003 - the same for every problem
        """One draw."""
        return (cls(),)

    def apply(self, branch: Problem) -> Problem:
        """The branch at its new start."""
        reinitialize(branch.model, self.seed)
        branch.optimizer.state.clear()
        return branch

    def opposite(self) -> None:
        """None: the present point is where the untouched arm starts."""

    def ladder(self) -> None:
        """None: a start is as good as another."""

    def says(self) -> str:
        """In a sentence."""
        return "initialize the weights anew, by each layer's own default"

    def diff(self, problem: Problem) -> str:
        """What replaces the initialization that was used."""
        return (
            "-# the initialization that was used (zeros, a constant, the same for every unit)\n"
            "+for module in model.modules():\n"
            '+    if hasattr(module, "reset_parameters"):\n'
            "+        module.reset_parameters()"
        )
