"""Shuffle the data: a batch is to be a sample of all there is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from unstuck.methods.batch import with_shuffle
from unstuck.problem import Problem
from unstuck.reading import Readings
from unstuck.remedy import Intervention


@dataclass(frozen=True, kw_only=True)
class Shuffle:
    """The samples of every epoch in a random order, in batches of the same sizes."""

    slug: ClassVar[str] = "shuffle"
    chapter: ClassVar[int] = 0
    intervention: ClassVar[Intervention] = Intervention.DATA
    lowers_rate: ClassVar[bool] = False
    panacea: ClassVar[bool] = False

    @classmethod
    def propose(cls, readings: Readings) -> tuple[Self, ...]:  # noqa: ARG003 - the same for every problem
        """There is one way."""
        return (cls(),)

    def apply(self, branch: Problem) -> Problem:
        """The branch on shuffled data."""
        return with_shuffle(branch)

    def opposite(self) -> None:
        """None: the data's own order is what the untouched arm walks in."""

    def ladder(self) -> None:
        """None: they are shuffled or not."""

    def says(self) -> str:
        """In a sentence."""
        return "shuffle the training data anew in every epoch"

    def diff(self, problem: Problem) -> str:
        """The loader's argument."""
        return "-train = DataLoader(...)\n+train = DataLoader(..., shuffle=True)"
