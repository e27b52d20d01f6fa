"""What a trial is to try: every dose looked at once before anything walks, and how much of it a budget holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unstuck.decision import failed
from unstuck.errors import in_a_line
from unstuck.horizon import SHORTEST, longest, updates_of
from unstuck.remedy import Remedy
from unstuck.trial import Arm, Ground, Trial, samples_per_update, trial_of

COMFORTABLE = 2 * SHORTEST
"""Updates: where the horizon is shorter, doses on small batches, which take many updates, are left out first."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One remedy for one cause: its doses, best guess first; or why it has none, in a line."""

    cause: str
    remedy: str
    doses: tuple[Remedy, ...] = ()
    after: tuple[Remedy, ...] = ()
    """What is done before it, to the same arm: another remedy, whose fault may mask this one's gain."""
    failure: str | None = None


@dataclass(frozen=True, kw_only=True)
class Dose:
    """What is known of a dose before it walks."""

    pace: float
    """Its updates that see as many samples as one of the untouched arm."""
    cost: float
    """Its gradient evaluations over those of the untouched arm, for the same samples."""
    restore: Callable[[Any], Any] | None
    """What it makes of outputs before the own loss judges them."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be tried from one ground."""

    ground: Ground
    candidates: tuple[Candidate, ...]
    """Those that can be tried."""
    failed: tuple[Candidate, ...]
    """Those of which no dose can be applied, with the reason."""
    known: Mapping[Remedy, Dose]

    @staticmethod
    def of(ground: Ground, candidates: Sequence[Candidate]) -> Plan:
        """Apply every dose once, to learn at which pace it walks; one that raises is left out.

        Where a remedy restores the outputs that the own loss expects, every arm's outputs are restored alike.
        """
        known: dict[Remedy, Dose] = {}
        failures: dict[Remedy, str] = {}
        for dose in (dose for candidate in candidates for dose in (*candidate.after, *candidate.doses)):
            try:
                known[dose] = dose_of(ground, dose)
            except Exception as error:  # noqa: BLE001 - a remedy may raise anything
                failures[dose] = in_a_line(error)
        restores = [dose.restore for dose in known.values() if dose.restore is not None]
        if restores:
            ground = dataclasses.replace(ground, problem=ground.problem.changed(restore=restores[0]))
        fit = [dataclasses.replace(each, doses=tuple(d for d in each.doses if d in known)) for each in candidates]
        return Plan(
            ground=ground,
            candidates=tuple(candidate for candidate in fit if candidate.doses),
            failed=tuple(
                dataclasses.replace(before, failure=before.failure or failures[before.doses[0]])
                for before, candidate in zip(candidates, fit, strict=True)
                if not candidate.doses
            ),
            known=known,
        )

    def within(self, updates: int) -> Plan:
        """The plan without doses on small batches, the smallest first, as long as they make every arm's walk short."""
        spare = [
            dose for each in self.candidates if len(each.doses) > 1 for dose in each.doses if self.known[dose].pace > 1
        ]
        if not spare or self.horizon(updates) >= COMFORTABLE:
            return self
        dearest = max(spare, key=lambda dose: self.known[dose].pace)
        fewer = (
            dataclasses.replace(each, doses=tuple(dose for dose in each.doses if dose != dearest))
            for each in self.candidates
        )
        return dataclasses.replace(self, candidates=tuple(fewer)).within(updates)

    def fitting(self, updates: int, most: int) -> tuple[Plan, int]:
        """The plan without its last candidates where even their shortest trial would not fit; and its horizon.

        Args:
            updates: that the trial is to take.
            most: that it may take, where its shortest walks are longer than that.
        """
        for count in range(len(self.candidates), 0, -1):
            fewer = dataclasses.replace(self, candidates=self.candidates[:count]).within(updates)
            horizon = fewer.horizon(updates)
            if fewer.updates(horizon) <= most:
                return fewer, horizon
        return dataclasses.replace(self, candidates=()), 0

    def horizon(self, updates: int) -> int:
        """The longest H for which all orders of all arms fit into so many updates, whichever dose is chosen."""
        return longest(updates, self._arms, self._pilots)

    def updates(self, horizon: int) -> int:
        """What it takes at most to look at all arms once."""
        return updates_of(horizon, self._arms, self._pilots)

    def failures(self) -> tuple[Trial, ...]:
        """The arms that cannot be walked."""
        return tuple(
            dataclasses.replace(
                trial_of(
                    Arm(name="remedy", treatment=candidate.doses[:1], cause=candidate.cause),
                    (),
                    failed(candidate.failure or ""),
                    from_update=self.ground.snapshot.update,
                    measure=self.ground.measure,
                ),
                remedy=candidate.remedy,
            )
            for candidate in self.failed
        )

    @property
    def _arms(self) -> list[float]:
        return [1.0, 1.0, *(max(self.known[dose].pace for dose in each.doses) for each in self.candidates)]

    @property
    def _pilots(self) -> list[float]:
        return [self.known[dose].pace for each in self.candidates if len(each.doses) > 1 for dose in each.doses]


def dose_of(ground: Ground, remedy: Remedy) -> Dose:
    """Apply a remedy to a branch, and look at how it would walk."""
    problem, treated = ground.problem, remedy.apply(ground.problem.branch(ground.snapshot))
    pace = samples_per_update(problem) / samples_per_update(treated)
    return Dose(pace=pace, cost=pace * treated.accumulate / problem.accumulate, restore=treated.restore)
