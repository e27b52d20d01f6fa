"""Trials: the same training branched from one snapshot, as it is and with a remedy, under the same data order.

Every arm walks a trunk of 2H updates. After H, and again after 2H, a side branch lets the rate fall to zero, and
its loss at the end is what arms are compared by: all are annealed alike, because an arm that merely lowers the
rate looks better for a while without being so, and the doubled horizon shows which way it goes.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from unstuck.data import Batch
from unstuck.decision import Decision, Ends, Verdict, decide
from unstuck.numerics.statistics import Interval
from unstuck.problem import Problem
from unstuck.remedy import Remedy
from unstuck.snapshot import Snapshot
from unstuck.untouched import derived_seed
from unstuck.walk import walk

ArmName = Literal["untouched", "a/a", "remedy", "opposite"]

ORDERS = 3
"""Data orders per arm, the fewest that have a spread."""

FIRST_ORDER = {"a/a": 100, "dose": 200}
"""Where the orders of the A/A arm and of the choice of a dose begin, so that no two meet."""

SHORTEST = 12
"""Updates: a trunk's half is never shorter, whatever the budget says."""

TAIL = 1 / 4
"""Length of the annealing tail over the length of the trunk before it."""

POINTS = 10
"""Evaluations along each half of a trunk."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """What is done to the problem before it walks."""

    name: ArmName
    treatment: tuple[Remedy, ...] = ()
    cause: str | None = None


@dataclass(frozen=True, kw_only=True)
class ArmRun:
    """One arm under one order."""

    curve: tuple[tuple[int, float], ...]
    half: float
    """Own loss on the sample after H updates and the tail; infinite where the walk broke."""
    full: float
    """The same after 2H."""
    updates: int


@dataclass(frozen=True, kw_only=True)
class Task:
    """One walk of a trial: an arm under an order, over one half of the trunk or the whole."""

    arm: Arm
    order: int
    horizon: int
    whole: bool = True


@dataclass(frozen=True, kw_only=True)
class Ground:
    """Where all arms of a trial start."""

    problem: Problem
    snapshot: Snapshot
    sample: Sequence[Batch]
    seed: int


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One arm's result, compared with the untouched one."""

    arm: ArmName
    remedy: str | None
    settings: Mapping[str, Any]
    cause: str | None
    from_update: int
    updates: int
    measure: str
    per_seed: tuple[float, ...]
    half_per_seed: tuple[float, ...]
    interval: Interval
    """Of the untouched arm's loss minus this one's: above zero this arm is better."""
    gain: float
    """Share of the untouched arm's excess loss that this arm removed; negative where it added."""
    verdict: Verdict
    because: str
    curves: tuple[tuple[tuple[int, float], ...], ...] = dataclasses.field(repr=False)
    treatment: tuple[Remedy, ...] = dataclasses.field(default=(), repr=False)

    @property
    def mean(self) -> float:
        """The mean over orders, of the loss after 2H updates and the tail."""
        return sum(self.per_seed) / len(self.per_seed)

    @property
    def drop(self) -> float:
        """How far below the untouched arm it ends on the average, a diverged run counting as having stayed."""
        return (self.interval.low + self.interval.high) / 2


def updates_of(arms: int, doses: int, horizon: int) -> int:
    """Updates that a trial takes: ``arms`` with all orders, and ``doses`` piloted over one half."""
    whole = 2 * horizon + round(TAIL * horizon) + round(TAIL * 2 * horizon)
    return arms * ORDERS * whole + doses * (horizon + round(TAIL * horizon))


def horizon_for(updates: int, *, remedies: int, doses: int) -> int:
    """The longest H for which a trial of so many remedies and piloted doses fits into ``updates``."""
    horizon = SHORTEST
    while updates_of(remedies + 2, doses, horizon + 1) <= updates:
        horizon += 1
    return horizon


Runner = Callable[[Ground, Sequence[Task]], Iterable[ArmRun]]
"""Performs tasks from one ground and gives their runs in order: in turn, or on other processes."""


def in_turn(ground: Ground, tasks: Sequence[Task]) -> Iterator[ArmRun]:
    """One task after the other, in this process."""
    return (perform(ground, task) for task in tasks)


def perform(ground: Ground, task: Task) -> ArmRun:
    """Walk one arm under one order. A pure function of its arguments."""
    branch, horizon = ground.problem.branch(ground.snapshot), task.horizon
    for remedy in task.arm.treatment:
        branch = remedy.apply(branch)
    order = derived_seed(ground.seed, task.order, 71)
    batches = branch.data.order(order)
    at = sorted({round(horizon * k / POINTS) for k in range(POINTS + 1)})
    ends: list[float] = []
    curve: list[tuple[int, float]] = []
    walked = 0
    for half in (0, 1) if task.whole else (0,):
        start = half * horizon
        run = walk(
            branch,
            horizon,
            order=order,
            start=start,
            batches=batches,
            sample=ground.sample,
            checkpoints=at[bool(half) :],
        )
        curve += run.checkpoints
        walked += len(run.curve)
        if run.broke_at is not None:
            return _ended(curve, ends, walked)
        here = Snapshot.of(branch)
        tail = round(TAIL * (start + horizon))
        annealed = walk(
            branch,
            tail,
            order=order,
            start=start + horizon,
            batches=batches,
            sample=ground.sample,
            checkpoints=(tail,),
            anneal=True,
        )
        walked += len(annealed.curve)
        if annealed.broke_at is not None:
            return _ended(curve, ends, walked)
        ends.append(annealed.checkpoints[-1][1])
        here.restore(branch)
    return ArmRun(curve=tuple(curve), half=ends[0], full=ends[-1], updates=walked)


def _ended(curve: Sequence[tuple[int, float]], ends: Sequence[float], walked: int) -> ArmRun:
    half = ends[0] if ends else math.inf
    return ArmRun(curve=tuple(curve), half=half, full=math.inf, updates=walked)


def best_dose(
    ground: Ground, doses: Sequence[Remedy], horizon: int, *, told: Callable[[int], None], run: Runner
) -> Remedy:
    """The dose that is best over one half under one order, which no arm of the trial uses again."""
    if len(doses) == 1:
        return doses[0]
    arms = [Arm(name="remedy", treatment=(dose,)) for dose in doses]
    tasks = [Task(arm=arm, order=FIRST_ORDER["dose"], horizon=horizon, whole=False) for arm in arms]
    found: list[float] = []
    for result in run(ground, tasks):
        found.append(result.half)
        told(result.updates)
    return doses[min(range(len(doses)), key=lambda i: (not math.isfinite(found[i]), found[i]))]


def compare(
    ground: Ground,
    candidates: Sequence[tuple[str, Sequence[Remedy]]],
    *,
    horizon: int,
    growth: int = 0,
    ceiling: float | None = None,
    measure: str = "train_loss",
    told: Callable[[int], None],
    run: Runner = in_turn,
) -> tuple[Trial, ...]:
    """Run the untouched arm, the A/A arm and one arm per candidate; judge them.

    Args:
        ground: the snapshot all arms start from.
        candidates: (cause, doses of one remedy) per remedy arm.
        horizon: H.
        growth: updates that may be added where an arm's gain is material and not yet beyond the noise: the
            untouched arm, the A/A arm and that one are then walked under three more orders.
        ceiling: the loss of the best constant answer, where it is known; where some arm gets below it, one above
            it has learned nothing, and how far above says nothing.
        measure: what arms are compared by.
        told: called with the updates of each finished piece.
        run: performs the walks.
    """
    arms = [Arm(name="untouched"), Arm(name="a/a")]
    for cause, doses in candidates:
        chosen = best_dose(ground, doses, horizon, told=told, run=run)
        arms.append(Arm(name="remedy", treatment=(chosen,), cause=cause))
    ground = _judged_alike(ground, arms)
    if ceiling is None or ground.problem.restore is not None:
        ceiling = math.inf  # a constant answer's loss is known of outputs as they are, not of restored ones
    runs: dict[Arm, list[ArmRun]] = {arm: [] for arm in arms}

    def grow(grown: Sequence[Arm]) -> None:
        tasks = [
            Task(arm=arm, order=FIRST_ORDER.get(arm.name, 0) + len(runs[arm]) + more, horizon=horizon)
            for arm in grown
            for more in range(ORDERS)
        ]
        for task, result in zip(tasks, run(ground, tasks), strict=True):
            runs[task.arm].append(result)
            told(result.updates)

    grow(arms)
    decisions = _decided(arms, runs, ceiling)
    open_still = [arm for arm, decision in decisions.items() if decision.undecided]
    if open_still and updates_of(2 + len(open_still), 0, horizon) <= growth:
        grow([*arms[:2], *open_still])
        decisions = _decided(arms, runs, ceiling)
    return tuple(_trial(arm, runs[arm], decisions.get(arm, UNTOUCHED), ground.snapshot, measure) for arm in arms)


def _judged_alike(ground: Ground, arms: Sequence[Arm]) -> Ground:
    """Where a remedy restores the outputs that the own loss expects, every arm's outputs are restored alike."""
    for arm in arms[2:]:
        branch = ground.problem.branch(ground.snapshot)
        for remedy in arm.treatment:
            branch = remedy.apply(branch)
        if branch.restore is not None:
            return dataclasses.replace(ground, problem=ground.problem.changed(restore=branch.restore))
    return ground


def _decided(arms: Sequence[Arm], runs: Mapping[Arm, Sequence[ArmRun]], ceiling: float) -> dict[Arm, Decision]:
    """What is decided of every arm but the untouched one."""
    ends = [Ends(half=tuple(run.half for run in runs[arm]), full=tuple(run.full for run in runs[arm])) for arm in arms]
    start = runs[arms[0]][0].curve[0][1]
    if any(end < ceiling for each in ends for end in each.full):
        start = min(ceiling, start)  # where no arm gets below it, a constant answer may be all there is to learn
    lowers = [any(remedy.lowers_rate for remedy in arm.treatment) for arm in arms[2:]]
    decisions = decide(ends[0], ends[1], ends[2:], start=start, lowers_rate=lowers)
    return dict(zip(arms[1:], decisions, strict=True))


UNTOUCHED = Decision(
    interval=Interval(low=0.0, high=0.0, confidence=0.95),
    gain=0.0,
    verdict="reference",
    because="what every other arm is compared with",
)


def _trial(arm: Arm, runs: Sequence[ArmRun], decision: Decision, snapshot: Snapshot, measure: str) -> Trial:
    own = arm.treatment[-1] if arm.treatment else None
    return Trial(
        arm=arm.name,
        remedy=None if own is None else own.slug,
        settings={} if own is None else dataclasses.asdict(own),  # type: ignore[call-overload]
        cause=arm.cause,
        from_update=snapshot.update,
        updates=runs[0].updates,
        measure=measure,
        per_seed=tuple(run.full for run in runs),
        half_per_seed=tuple(run.half for run in runs),
        interval=decision.interval,
        gain=decision.gain,
        verdict=decision.verdict,
        because=decision.because,
        curves=tuple(run.curve for run in runs),
        treatment=arm.treatment,
    )
