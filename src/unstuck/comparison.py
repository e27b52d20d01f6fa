"""A comparison: all arms from one ground under the same orders, and what is decided of them, look by look."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from unstuck.decision import SIGNIFICANT, Decision, Ends, decide, failed, level_of_look, share
from unstuck.horizon import ORDERS, updates_of
from unstuck.numerics.statistics import Interval
from unstuck.plan import Candidate, Plan, dose_of
from unstuck.remedy import Remedy
from unstuck.trial import Arm, ArmRun, Runner, Task, Trial, in_turn, trial_of

FIRST_ORDER = {"a/a": 100, "dose": 200}
"""Where the orders of the A/A arm and of the choice of a dose begin, so that no two meet."""

MORE_ORDERS = 300
"""How far the orders of a longer comparison are from those of the one before."""

LONGER = 1.5
"""A longer comparison is so many times as long, at least."""

LOOKS = 4
"""How often arms are looked at, at most: after 3, 6, 9 and 12 orders."""

UNTOUCHED, AGAIN = Arm(name="untouched"), Arm(name="a/a")


def ignored(updates: int) -> None:
    """Tell nobody of the updates that were walked."""


@dataclass(kw_only=True)
class Comparison:
    """Arms as they are walked, and what is decided of them so far.

    Attributes:
        plan: what is tried.
        horizon: H.
        ceiling: the loss of the best constant answer, where it is known; where some arm gets below it, one above
            it has learned nothing, and how far above says nothing.
        told: called with the updates of each finished piece.
        run: performs the walks.
    """

    plan: Plan
    horizon: int
    ceiling: float | None = None
    told: Callable[[int], None] = ignored
    run: Runner = in_turn
    first_order: int = 0
    """Data orders are numbered from here on: a longer comparison has others than the one before."""
    arms: list[Arm] = field(default_factory=lambda: [UNTOUCHED, AGAIN])
    runs: dict[Arm, list[ArmRun]] = field(default_factory=dict)
    decisions: dict[Arm, Decision] = field(default_factory=dict)
    spent: int = 0
    """Updates that were walked."""

    def __post_init__(self) -> None:
        self.known = dict(self.plan.known)

    def settle(self, limit: int) -> None:
        """Walk every arm under three orders; then, three more at a time, those that are material and undecided.

        What was decided at one look stays: only arms still open are looked at again, with the untouched and the A/A
        arm under as many orders.

        Args:
            limit: updates that all this may take together.
        """
        self.arms += [
            Arm(name="remedy", treatment=(*each.after, self._best(each)), cause=each.cause)
            for each in self.plan.candidates
        ]
        least = self.cost([UNTOUCHED, AGAIN, min(self.arms[2:], key=self.pace)])
        looks = min(LOOKS, 1 + max(0, limit - self.spent - self.cost(self.arms)) // least)
        still_open = self.arms[2:]
        for look in range(1, looks + 1):
            self.walk([UNTOUCHED, AGAIN, *still_open])
            still_open = self._looked_at(still_open, level_of_look(look, looks))
            won = any(decision.verdict == "better" for decision in self.decisions.values())
            kept = self.cost([UNTOUCHED]) if won else 0  # for its opposite
            if not still_open or self.cost([UNTOUCHED, AGAIN, *still_open]) > limit - self.spent - kept:
                return

    def longer(self, updates: int) -> Comparison | None:
        """The same with the arms that looked promising alone, for as long as so many updates allow, on other orders.

        An arm that does nothing looks promising with probability α and is then called better with probability α, under
        orders that have nothing to do with the first ones: to try again adds α² to the error of the first comparison,
        or, of an arm that was material and undecided, α times the share of such arms.

        None where there are none, or where their walks would hardly be longer.
        """
        hopeful = [arm for arm in self.arms[2:] if self.decisions[arm].promising]
        candidates = [
            Candidate(
                cause=arm.cause or "",
                remedy=arm.treatment[-1].slug,
                doses=arm.treatment[-1:],
                after=arm.treatment[:-1],
            )
            for arm in hopeful
        ]
        plan, horizon = replace(self.plan, candidates=tuple(candidates), failed=()).fitting(updates, updates)
        if horizon < LONGER * self.horizon:
            return None
        return Comparison(plan=plan, horizon=horizon, ceiling=self.ceiling, first_order=self.first_order + MORE_ORDERS)

    def oppose(self, won: Trial, limit: int) -> bool:
        """Walk the opposite of a remedy, where there is a sensible one; False where ``limit`` is too low for it.

        Args:
            won: the remedy's arm.
            limit: updates that the whole comparison may take, with this.
        """
        opposite = won.treatment[-1].opposite()
        if opposite is None:
            return True
        arm = Arm(name="opposite", treatment=(*won.treatment[:-1], opposite), cause=won.cause)
        self.know(opposite)  # one that cannot be applied fails as soon as it is walked
        if self.cost([arm]) > limit - self.spent:
            return False
        self.walk([arm])
        self.arms.append(arm)
        self._looked_at([arm], SIGNIFICANT)
        return True

    @property
    def trials(self) -> tuple[Trial, ...]:
        """Every arm's result: untouched, A/A, the remedies, an opposite, and what could not be walked."""
        walked = (
            trial_of(
                arm,
                self.runs[arm],
                self.decisions[arm],
                from_update=self.plan.ground.snapshot.update,
                measure=self.plan.ground.measure,
                gain_at_equal_cost=self._gain_at_equal_cost(arm),
            )
            for arm in self.arms
        )
        return (*walked, *self.plan.failures())

    def know(self, dose: Remedy) -> bool:
        """Learn at which pace a dose walks; False where it cannot be applied."""
        if dose not in self.known:
            try:
                self.known[dose] = dose_of(self.plan.ground, dose)
            except Exception:  # noqa: BLE001 - a remedy may raise anything
                return False
        return True

    def cost(self, arms: Sequence[Arm]) -> int:
        """Updates that these arms take under three more orders."""
        return updates_of(self.horizon, [self.pace(arm) for arm in arms])

    def pace(self, arm: Arm) -> float:
        """Its updates that see as many samples as one of the untouched arm."""
        return math.prod(self.known[remedy].pace for remedy in arm.treatment if remedy in self.known)

    def walk(self, arms: Sequence[Arm], *, whole: bool = True) -> None:
        """Walk arms under three orders, or three more; over the whole trunk, or one half."""
        first = {arm: self.first_order + FIRST_ORDER.get(arm.name, 0) + len(self.runs.get(arm, ())) for arm in arms}
        tasks = [
            Task(arm=arm, order=first[arm] + more, horizon=self.horizon, whole=whole)
            for arm in arms
            for more in range(ORDERS)
        ]
        for task, result in zip(tasks, self._performed(tasks), strict=True):
            self.runs.setdefault(task.arm, []).append(result)

    def _performed(self, tasks: Sequence[Task]) -> list[ArmRun]:
        found: list[ArmRun] = []
        for result in self.run(self.plan.ground, tasks):
            found.append(result)
            self.account(result.updates)
        return found

    def account(self, updates: int) -> None:
        """Count what was walked, and tell of it."""
        self.spent += updates
        self.told(updates)

    def _best(self, candidate: Candidate) -> Remedy:
        """The dose that is best over one half under one order, which no arm of the trial uses again."""
        doses = candidate.doses
        if len(doses) == 1:
            return doses[0]
        arms = [Arm(name="remedy", treatment=(*candidate.after, dose)) for dose in doses]
        tasks = [
            Task(arm=arm, order=self.first_order + FIRST_ORDER["dose"], horizon=self.horizon, whole=False)
            for arm in arms
        ]
        halves = [result.half for result in self._performed(tasks)]
        return doses[min(range(len(doses)), key=lambda i: (not math.isfinite(halves[i]), halves[i]))]

    def _looked_at(self, arms: Sequence[Arm], level: float) -> list[Arm]:
        """Decide these arms, of the family of all arms of their name; gives those that are undecided."""
        family = [arm for arm in self.arms if arm.name == arms[0].name and not self._failure(arm)]
        decisions = decide(
            self._ends(UNTOUCHED),
            self._ends(AGAIN),
            [self._ends(arm) for arm in family],
            start=self.start,
            lowers_rate=[any(remedy.lowers_rate for remedy in arm.treatment) for arm in family],
            idle=self.ceiling is not None and min(run.full for run in self.runs[UNTOUCHED]) >= self.ceiling,
            level=level,
        )
        self.decisions |= {UNTOUCHED: REFERENCE, AGAIN: decisions[0]}
        found = dict(zip(family, decisions[1:], strict=True))
        self.decisions |= {arm: found[arm] if arm in found else failed(self._failure(arm) or "") for arm in arms}
        return [arm for arm in arms if self.decisions[arm].undecided]

    def _failure(self, arm: Arm) -> str | None:
        return next((run.failure for run in self.runs[arm] if run.failure is not None), None)

    def _ends(self, arm: Arm) -> Ends:
        return Ends(half=tuple(run.half for run in self.runs[arm]), full=tuple(run.full for run in self.runs[arm]))

    @property
    def start(self) -> float:
        """What arms have to get below: where they began, or the best constant answer.

        A held-out loss rises in the untouched training itself, and so does the gap between modes: there, what it
        comes to.
        """
        start = self.runs[UNTOUCHED][0].curve[0][1]
        if self.plan.ground.measure != "train_loss":
            return max([start, *(run.full for run in self.runs[UNTOUCHED] if math.isfinite(run.full))])
        if self.ceiling is None or self.plan.ground.problem.restore is not None:
            return start  # a constant answer's loss is known of outputs as they are, not of restored ones
        if any(run.full < self.ceiling for runs in self.runs.values() for run in runs):
            return min(self.ceiling, start)
        return start  # where no arm gets below it, a constant answer may be all there is to learn

    def _gain_at_equal_cost(self, arm: Arm) -> float | None:
        """On the trunks, at the farthest point where both arms have taken as many gradient evaluations."""
        cost = math.prod(self.known[remedy].cost for remedy in arm.treatment if remedy in self.known)
        if cost == 1:
            return None
        taken = 2 * self.horizon * min(1.0, cost)
        before = [_loss_at(run, taken, self.start) for run in self.runs[UNTOUCHED]]
        after = [_loss_at(run, taken / cost, self.start) for run in self.runs[arm]]
        floor = min(0.0, *before, *after)
        return share(sum(before) / len(before), sum(after) / len(after), floor)


REFERENCE = Decision(
    interval=Interval(low=0.0, high=0.0, confidence=0.95),
    gain=0.0,
    verdict="reference",
    because="what every other arm is compared with",
)


def _loss_at(run: ArmRun, update: float, start: float) -> float:
    """A trunk's loss between two checkpoints; where it broke, or is above its start, the start's."""
    if not run.curve or run.curve[-1][0] < update:
        return start
    updates, losses = zip(*run.curve, strict=True)
    return min(start, float(np.interp(update, updates, losses)))
