"""What tests of trials share: a ground to stand on, and a remedy that does nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from unstuck.problem import Problem
from unstuck.reading import Readings
from unstuck.remedy import Intervention, Remedy
from unstuck.snapshot import Snapshot
from unstuck.trial import SHORTEST, Ground, Trial, compare
from unstuck.walk import walk


@dataclass(frozen=True, kw_only=True)
class Nothing:
    """A remedy that does nothing; ``number`` tells one dose from another."""

    slug: ClassVar[str] = "nothing"
    chapter: ClassVar[int] = 0
    intervention: ClassVar[Intervention] = Intervention.WIRING
    lowers_rate: ClassVar[bool] = False
    number: int = 0

    @classmethod
    def propose(cls, readings: Readings) -> tuple[Nothing, ...]:  # noqa: ARG003 - the same for every problem
        return (cls(),)

    def apply(self, branch: Problem) -> Problem:
        return branch

    def says(self) -> str:
        return "do nothing"

    def diff(self, problem: Problem) -> str:
        return "+pass"


def ground(problem: Problem, *, seed: int = 0, after: int = 0) -> Ground:
    """Where the problem is after some updates, with its first 24 samples or more."""
    branch = problem.branch()
    walk(branch, after, order=99)
    return Ground(
        problem=branch,
        snapshot=Snapshot.of(branch, after),
        sample=branch.data.sample(64, chunk=64, seed=0),
        seed=seed,
    )


def unheard(updates: int) -> None:
    """Nobody listens."""


def tried(where: Ground, *remedies: Remedy, horizon: int = SHORTEST) -> tuple[Trial, ...]:
    return compare(where, [("a cause", (remedy,)) for remedy in remedies], horizon=horizon, told=unheard)
