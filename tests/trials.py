"""What tests of trials share: a ground to stand on, and a remedy that does nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from unstuck.comparison import Comparison
from unstuck.horizon import SHORTEST
from unstuck.plan import Candidate, Plan
from unstuck.problem import Problem
from unstuck.reading import Readings
from unstuck.remedy import Intervention, Ladder, Remedy
from unstuck.snapshot import Snapshot
from unstuck.trial import Ground, Trial
from unstuck.walk import walk


@dataclass(frozen=True, kw_only=True)
class Nothing:
    """A remedy that does nothing; ``number`` tells one dose from another."""

    slug: ClassVar[str] = "nothing"
    chapter: ClassVar[int] = 0
    intervention: ClassVar[Intervention] = Intervention.WIRING
    lowers_rate: ClassVar[bool] = False
    panacea: ClassVar[bool] = False
    number: int = 0

    @classmethod
    def propose(cls, readings: Readings) -> tuple[Self, ...]:  # noqa: ARG003 - the same for every problem
        return (cls(),)

    def apply(self, branch: Problem) -> Problem:
        return branch

    def opposite(self) -> Nothing | None:
        return Nothing(number=-self.number) if self.number else None

    def ladder(self) -> Ladder | None:
        return None

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


def compared(
    where: Ground,
    *candidates: tuple[str, Sequence[Remedy]],
    horizon: int = SHORTEST,
    growth: int = 0,
    told: Callable[[int], None] = unheard,
    **given: Any,
) -> Comparison:
    """A comparison of (cause, doses), settled within its first look and so many updates more."""
    plan = Plan.of(
        where, [Candidate(cause=cause, remedy=doses[0].slug, doses=tuple(doses)) for cause, doses in candidates]
    )
    comparison = Comparison(plan=plan, horizon=horizon, told=told, **given)
    comparison.settle(plan.updates(horizon) + growth)
    return comparison


def tried(where: Ground, *remedies: Remedy, horizon: int = SHORTEST) -> tuple[Trial, ...]:
    """What comes out where each remedy is tried in one dose."""
    return compared(where, *(("a cause", (remedy,)) for remedy in remedies), horizon=horizon).trials
