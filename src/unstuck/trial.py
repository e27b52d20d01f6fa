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
from unstuck.numerics.statistics import Interval, Paired, holm, paired_difference
from unstuck.problem import Problem, Snapshot
from unstuck.remedy import Remedy
from unstuck.untouched import derived_seed
from unstuck.walk import walk

ArmName = Literal["untouched", "a/a", "remedy", "opposite"]
Verdict = Literal["better", "same", "worse", "failed", "reference"]

ORDERS = 3
"""Data orders per arm, the fewest that have a spread."""

SIGNIFICANT = 0.05
"""Of one-sided paired tests, after Holm's correction over the remedy arms."""

MATERIAL = 0.2
"""Share of the untouched arm's excess loss that a cure removes at least."""

SHORTEST = 12
"""Updates: a trunk's half is never shorter, whatever the budget says."""

TAIL = 1 / 4
"""Length of the annealing tail over the length of the trunk before it."""

HOPELESS = 1e9
"""What a run scores that never had a finite loss."""

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
    tasks = [Task(arm=arm, order=2 * ORDERS, horizon=horizon, whole=False) for arm in arms]
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
    measure: str = "train_loss",
    told: Callable[[int], None],
    run: Runner = in_turn,
) -> tuple[Trial, ...]:
    """Run the untouched arm, the A/A arm and one arm per candidate; judge them.

    Args:
        ground: the snapshot all arms start from.
        candidates: (cause, doses of one remedy) per remedy arm.
        horizon: H.
        measure: what arms are compared by.
        told: called with the updates of each finished piece.
        run: performs the walks.
    """
    arms = [Arm(name="untouched"), Arm(name="a/a")]
    for cause, doses in candidates:
        chosen = best_dose(ground, doses, horizon, told=told, run=run)
        arms.append(Arm(name="remedy", treatment=(chosen,), cause=cause))
    ground = _judged_alike(ground, arms)
    again = {"a/a": ORDERS}
    tasks = [
        Task(arm=arm, order=order + again.get(arm.name, 0), horizon=horizon) for arm in arms for order in range(ORDERS)
    ]
    runs: list[ArmRun] = []
    for result in run(ground, tasks):
        runs.append(result)
        told(result.updates)
    results = [tuple(runs[first : first + ORDERS]) for first in range(0, len(runs), ORDERS)]
    return _judge(ground, arms, results, measure)


def _judged_alike(ground: Ground, arms: Sequence[Arm]) -> Ground:
    """Where a remedy restores the outputs that the own loss expects, every arm's outputs are restored alike."""
    for arm in arms[2:]:
        branch = ground.problem.branch(ground.snapshot)
        for remedy in arm.treatment:
            branch = remedy.apply(branch)
        if branch.restore is not None:
            return dataclasses.replace(ground, problem=dataclasses.replace(ground.problem, restore=branch.restore))
    return ground


def _judge(
    ground: Ground, arms: Sequence[Arm], results: Sequence[tuple[ArmRun, ...]], measure: str
) -> tuple[Trial, ...]:
    start = results[0][0].curve[0][1]
    start = start if math.isfinite(start) else HOPELESS
    untouched = _Scores.of(results[0], start)
    compared = [_Scores.of(runs, start).against(untouched) for runs in results]
    noise = max(abs(compared[1].interval.low), abs(compared[1].interval.high))
    corrected = holm([each.p_value for each in compared[2:]]) if len(arms) > 2 else ()
    trials = []
    for number, (arm, runs) in enumerate(zip(arms, results, strict=True)):
        scores = _Scores.of(runs, start)
        verdict: Verdict = "reference"
        because = "what every other arm is compared with"
        if arm.name == "a/a":
            because = "the same recipe under other data orders: the noise that a difference has to exceed"
        if number >= 2:
            verdict, because = _verdict(
                scores,
                untouched,
                start=start,
                corrected=corrected[number - 2],
                noise=noise,
                lowers_rate=any(remedy.lowers_rate for remedy in arm.treatment),
            )
        own = arm.treatment[-1] if arm.treatment else None
        trials.append(
            Trial(
                arm=arm.name,
                remedy=None if own is None else own.slug,
                settings={} if own is None else dataclasses.asdict(own),  # type: ignore[call-overload]
                cause=arm.cause,
                from_update=ground.snapshot.update,
                updates=runs[0].updates,
                measure=measure,
                per_seed=tuple(run.full for run in runs),
                half_per_seed=tuple(run.half for run in runs),
                interval=compared[number].interval,
                gain=_gain(_mean(untouched.full), _mean(scores.full)),
                verdict=verdict,
                because=because,
                curves=tuple(run.curve for run in runs),
                treatment=arm.treatment,
            )
        )
    return tuple(trials)


@dataclass(frozen=True, kw_only=True)
class _Scores:
    """An arm's ends. A run that broke or ended above its start counts as having stayed where it was: how far a
    diverging run has got says nothing, and would drown every difference in its spread."""

    half: tuple[float, ...]
    full: tuple[float, ...]
    worst: tuple[float, ...]
    """``full`` without the cap."""
    broke: bool

    @staticmethod
    def of(runs: Sequence[ArmRun], start: float) -> _Scores:
        return _Scores(
            half=tuple(min(run.half, start) for run in runs),
            full=tuple(min(run.full, start) for run in runs),
            worst=tuple(run.full for run in runs),
            broke=any(not math.isfinite(run.full) for run in runs),
        )

    def against(self, untouched: _Scores) -> Paired:
        return paired_difference(untouched.full, self.full)


def _verdict(
    scores: _Scores, untouched: _Scores, *, start: float, corrected: float, noise: float, lowers_rate: bool
) -> tuple[Verdict, str]:
    """Better: beyond the noise, significant, and material, at the horizon and at its double."""
    if scores.broke:
        return "failed", "the loss stopped being finite"
    before, after = _mean(untouched.full), _mean(scores.full)
    gain = before - after
    if min(scores.worst) > max(untouched.worst) and _mean(scores.worst) - _mean(untouched.worst) > noise:
        return "worse", f"{_mean(scores.worst) - _mean(untouched.worst):.3g} above the untouched arm"
    if gain <= noise:
        return "same", f"the difference of {gain:.3g} is within the noise of {noise:.3g} between data orders"
    if corrected > SIGNIFICANT:
        return "same", f"the difference of {gain:.3g} is not significant (corrected p = {corrected:.2f})"
    share, share_at_half = _gain(before, after), _gain(_mean(untouched.half), _mean(scores.half))
    walked_down = _gain(start, before) >= MATERIAL / 2
    twice_as_fast = walked_down and _mean(scores.half) <= before
    if lowers_rate and share < share_at_half / 2:
        return "same", f"the gain shrinks as the horizon doubles, from {share_at_half:.0%} to {share:.0%}"
    if share < MATERIAL and not twice_as_fast:
        return "same", f"it removes {share:.0%} of the excess loss, which is not material"
    speed = "; it needs at most half the updates" if twice_as_fast else ""
    return "better", f"it removes {share:.0%} of the excess loss{speed}"


def _gain(before: float, after: float) -> float:
    """The share of the excess loss removed; the floor is zero, or the lower of the two where losses are negative."""
    floor = min(0.0, before, after)
    return (before - after) / max(before - floor, 1e-300)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
