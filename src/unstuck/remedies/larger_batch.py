"""Take larger batches: the noise of a step falls as the root of its samples grows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from unstuck.methods.batch import with_batch_times
from unstuck.problem import Problem
from unstuck.reading import Readings
from unstuck.remedy import Intervention, Ladder


@dataclass(frozen=True, kw_only=True)
class LargerBatch:
    """``factor`` times the samples in an update, or all there are; the rate by a rule of :mod:`unstuck.methods.batch`.

    At the same rate the noise falls; at one that grows with the batch it is what it was, and updates are fewer.
    """

    slug: ClassVar[str] = "larger-batch"
    chapter: ClassVar[int] = 2
    intervention: ClassVar[Intervention] = Intervention.BATCH
    lowers_rate: ClassVar[bool] = False
    panacea: ClassVar[bool] = False
    factor: float
    rule: str = "none"

    @classmethod
    def propose(cls, readings: Readings) -> tuple[Self, ...]:  # noqa: ARG003 - the same for every problem
        """Two steps up, at the same rate."""
        return (cls(factor=4), cls(factor=16))

    def apply(self, branch: Problem) -> Problem:
        """The branch on the same samples in larger batches."""
        return with_batch_times(branch, self.factor, rule=self.rule)

    def opposite(self) -> Self:
        """Half a batch: a step the other way, as far as it can be afforded at equal samples."""
        return replace(self, factor=0.5)

    def ladder(self) -> Ladder:
        """Up to sixteen times as large; beyond the best one updates are few."""
        values = (self.factor**0.5, self.factor, 2 * self.factor, 4 * self.factor)
        return Ladder(setting="factor", doses=tuple(replace(self, factor=value) for value in values))

    def says(self) -> str:
        """In a sentence."""
        rate = "same learning rate" if self.rule == "none" else f"learning rate that the {self.rule} rule gives"
        return f"take {self.factor:g} times the samples in a batch, at the {rate}"

    def diff(self, problem: Problem) -> str:
        """The loader's batch size."""
        size = problem.data.batch_size
        return (
            f"-train = DataLoader(..., batch_size={size})\n"
            f"+train = DataLoader(..., batch_size={min(round(size * self.factor), problem.data.samples)})"
        )
