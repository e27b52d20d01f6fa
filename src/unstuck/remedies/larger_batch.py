"""Take larger batches: the noise of a step falls as the root of its samples grows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from unstuck.methods.batch import with_batch_times
from unstuck.problem import Problem
from unstuck.reading import Readings
from unstuck.remedy import Intervention


@dataclass(frozen=True, kw_only=True)
class LargerBatch:
    """``factor`` times the samples in an update, or all there are; the rate by a rule of :mod:`unstuck.methods.batch`.

    At the same rate the noise falls; at one that grows with the batch it is what it was, and updates are fewer.
    """

    slug: ClassVar[str] = "larger-batch"
    chapter: ClassVar[int] = 2
    intervention: ClassVar[Intervention] = Intervention.BATCH
    lowers_rate: ClassVar[bool] = False
    factor: int
    rule: str = "none"

    @classmethod
    def propose(cls, readings: Readings) -> tuple[Self, ...]:  # noqa: ARG003 - the same for every problem
        """Two steps up, at the same rate."""
        return (cls(factor=4), cls(factor=16))

    def apply(self, branch: Problem) -> Problem:
        """The branch on the same samples in larger batches."""
        return with_batch_times(branch, self.factor, rule=self.rule)

    def says(self) -> str:
        """In a sentence."""
        rate = "same learning rate" if self.rule == "none" else f"learning rate that the {self.rule} rule gives"
        return f"take {self.factor:g} times the samples in a batch, at the {rate}"

    def diff(self, problem: Problem) -> str:
        """The loader's batch size."""
        size = problem.data.batch_size
        return (
            f"-train = DataLoader(..., batch_size={size})\n"
            f"+train = DataLoader(..., batch_size={min(size * self.factor, problem.data.samples)})"
        )
