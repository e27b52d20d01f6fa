"""Take smaller batches: more updates for the same samples, and noise that leaves sharp minima."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from unstuck.methods.batch import with_batch_times
from unstuck.problem import Problem
from unstuck.reading import Readings
from unstuck.remedy import Intervention, Ladder


@dataclass(frozen=True, kw_only=True)
class SmallerBatch:
    """A batch divided by ``factor``; the rate by a rule of :mod:`unstuck.methods.batch`.

    Far above the critical size the best rate hardly depends on the batch (McCandlish et al. 2018, equation 2.6), hence
    the same one.
    """

    slug: ClassVar[str] = "smaller-batch"
    chapter: ClassVar[int] = 2
    intervention: ClassVar[Intervention] = Intervention.BATCH
    lowers_rate: ClassVar[bool] = False
    panacea: ClassVar[bool] = False
    factor: float
    rule: str = "none"

    @classmethod
    def propose(cls, readings: Readings) -> tuple[Self, ...]:  # noqa: ARG003 - the same for every problem
        """Two steps down, at the same rate."""
        return (cls(factor=4), cls(factor=16))

    def apply(self, branch: Problem) -> Problem:
        """The branch on the same samples in smaller batches."""
        return with_batch_times(branch, 1 / self.factor, rule=self.rule)

    def opposite(self) -> Self:
        """A batch as many times as large."""
        return replace(self, factor=1 / self.factor)

    def ladder(self) -> Ladder:
        """Down from a step half as far."""
        values = (self.factor**0.5, self.factor, 2 * self.factor, 4 * self.factor)
        return Ladder(setting="factor", doses=tuple(replace(self, factor=value) for value in values))

    def says(self) -> str:
        """In a sentence."""
        rate = "same learning rate" if self.rule == "none" else f"learning rate that the {self.rule} rule gives"
        return f"take 1/{self.factor:g} of the samples in a batch, at the {rate}"

    def diff(self, problem: Problem) -> str:
        """The loader's batch size."""
        size = problem.data.batch_size
        return (
            f"-train = DataLoader(..., batch_size={size})\n"
            f"+train = DataLoader(..., batch_size={max(round(size / self.factor), 1)})"
        )
