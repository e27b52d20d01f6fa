"""Take back weight decay and dropout where they outweigh the data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from unstuck.methods.regularization import dropout, scale_dropout, scale_weight_decay, weight_decay
from unstuck.problem import Problem
from unstuck.reading import Readings
from unstuck.remedy import Intervention, Ladder

FACTORS = (0.0, 0.1)
"""Doses: none of it, and a tenth of it, which is what is left of a decay that is ten times too strong."""


@dataclass(frozen=True, kw_only=True)
class ReduceRegularization:
    """Weight decay and the shares of dropout times ``factor``, below one."""

    slug: ClassVar[str] = "reduce-regularization"
    chapter: ClassVar[int] = 0
    intervention: ClassVar[Intervention] = Intervention.DECAY
    lowers_rate: ClassVar[bool] = False
    panacea: ClassVar[bool] = False
    factor: float

    @classmethod
    def propose(cls, readings: Readings) -> tuple[Self, ...]:  # noqa: ARG003 - the same for every problem
        """None of it, and a little."""
        return tuple(cls(factor=factor) for factor in FACTORS)

    def apply(self, branch: Problem) -> Problem:
        """The branch under less of both."""
        scale_weight_decay(branch.optimizer, self.factor)
        scale_dropout(branch.model, self.factor)
        return branch

    def opposite(self) -> None:
        """None: twice as much of what is too much shows nothing, and dropout has an end at 1."""

    def ladder(self) -> Ladder:
        """From most of it down to none."""
        values = sorted({0.5, 0.2, 0.05, 0.0, self.factor}, reverse=True)
        return Ladder(setting="factor", doses=tuple(replace(self, factor=value) for value in values))

    def says(self) -> str:
        """In a sentence."""
        if self.factor == 0:
            return "train without weight decay and dropout"
        return f"multiply weight decay and the shares of dropout by {self.factor:g}"

    def diff(self, problem: Problem) -> str:
        """The changed arguments of the optimizer and of the dropout modules."""
        decay, share, name = weight_decay(problem.optimizer), dropout(problem.model), type(problem.optimizer).__name__
        lines = []
        if decay or not share:
            lines += [f"-optimizer = {name}(..., weight_decay={decay:g})"]
            lines += [f"+optimizer = {name}(..., weight_decay={decay * self.factor:g})"]
        if share:
            lines += [f"-    torch.nn.Dropout({share:g}),", f"+    torch.nn.Dropout({share * self.factor:g}),"]
        return "\n".join(lines)
