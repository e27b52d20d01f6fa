"""Stop where the held-out loss is lowest: what is learned after that does not hold for other data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from unstuck.methods.schedule import Until
from unstuck.methods.warm_up import with_schedule_on_top
from unstuck.probes.generalization import GeneralizationReading, lowest
from unstuck.problem import Problem
from unstuck.reading import Readings
from unstuck.remedy import Intervention, Ladder


@dataclass(frozen=True, kw_only=True)
class EarlyStop:
    """Stand still after ``updates`` more updates.

    A trial branches, and a prescription begins, where the held-out loss was lowest: 0 keeps the weights of that point.
    Which point that is was seen on the walk that was observed, and is tried under other data orders. So what a trial
    shows is no mere choice of the best of many looks at the same held-out samples (Prechelt 1998, "Early stopping -
    but when?").
    """

    slug: ClassVar[str] = "early-stop"
    chapter: ClassVar[int] = 0
    intervention: ClassVar[Intervention] = Intervention.RATE
    lowers_rate: ClassVar[bool] = True
    panacea: ClassVar[bool] = False
    updates: int = 0

    @classmethod
    def propose(cls, readings: Readings) -> tuple[Self, ...]:
        """At the lowest of the held-out losses that were seen, and half-way to the next one."""
        history = readings.get(GeneralizationReading)
        best = None if history is None else lowest(history)
        if history is None or best is None:
            return ()
        later = [reading.update - best.update for reading in history.readings if reading.update > best.update + 1]
        return (cls(), cls(updates=later[0] // 2)) if later else (cls(),)

    def apply(self, branch: Problem) -> Problem:
        """The branch under a rate that is zero from then on."""
        return with_schedule_on_top(branch, Until(updates=self.updates))

    def opposite(self) -> None:
        """None: to go on is what the untouched training does."""

    def ladder(self) -> Ladder:
        """Later and later backwards: the farther it goes on, the worse."""
        values = sorted({self.updates, *(self.updates + later for later in (5, 20, 80))}, reverse=True)
        return Ladder(setting="updates", doses=tuple(replace(self, updates=value) for value in values))

    def says(self) -> str:
        """In a sentence."""
        return "stop there" if self.updates == 0 else f"stop {self.updates} updates later"

    def diff(self, problem: Problem) -> str:
        """How a training of another length finds the place itself."""
        return (
            "+lowest, kept = math.inf, None\n"
            " for epoch in range(epochs):\n"
            "     ...  # train, then measure the held-out loss\n"
            "+    if held_out_loss < lowest:\n"
            "+        lowest, kept = held_out_loss, copy.deepcopy(model.state_dict())\n"
            "+model.load_state_dict(kept)"
        )
