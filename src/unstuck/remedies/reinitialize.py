"""Start again from an ordinary, asymmetric initialization."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch

from unstuck.initial import reinitialize
from unstuck.problem import Problem
from unstuck.reading import Readings
from unstuck.remedy import Intervention, Ladder


@dataclass(frozen=True, kw_only=True)
class Reinitialize:
    """Every module's own default initialization, drawn under ``seed``; the optimizer forgets its state.

    With a ``share`` s below one, so far towards it: w ← w + s (w_new − w).
    """

    slug: ClassVar[str] = "reinitialize"
    chapter: ClassVar[int] = 1
    intervention: ClassVar[Intervention] = Intervention.INITIALIZATION
    lowers_rate: ClassVar[bool] = False
    panacea: ClassVar[bool] = False
    seed: int = 0
    share: float = 1.0

    @classmethod
    def propose(cls, readings: Readings) -> tuple[Self, ...]:  # noqa: ARG003 - the same for every problem
        """One draw."""
        return (cls(),)

    def apply(self, branch: Problem) -> Problem:
        """The branch at its new start."""
        before = [parameter.detach().clone() for parameter in branch.model.parameters()]
        reinitialize(branch.model, self.seed)
        if self.share < 1:
            with torch.no_grad():
                for old, parameter in zip(before, branch.model.parameters(), strict=True):
                    parameter.copy_(old.lerp(parameter, self.share))
        branch.optimizer.state.clear()
        return branch

    def opposite(self) -> None:
        """None: the present point is where the untouched arm starts."""

    def ladder(self) -> Ladder:
        """From hardly away from the present point to all the way."""
        values = (0.01, 0.1, 0.3, self.share)
        return Ladder(setting="share", doses=tuple(replace(self, share=value) for value in values))

    def says(self) -> str:
        """In a sentence."""
        how_far = "" if self.share == 1 else f"move the weights by {self.share:g} of the way to new ones: "
        return f"{how_far}initialize the weights anew, by each layer's own default"

    def diff(self, problem: Problem) -> str:
        """What replaces the initialization that was used."""
        return (
            "-# the initialization that was used (zeros, a constant, the same for every unit)\n"
            "+for module in model.modules():\n"
            '+    if hasattr(module, "reset_parameters"):\n'
            "+        module.reset_parameters()"
        )
