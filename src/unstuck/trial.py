"""Trials: the same training branched from one snapshot, as it is and with a remedy, under the same data order.

Every arm walks a trunk of 2H updates. After H, and again after 2H, a side branch lets the rate fall to zero, and
its loss at the end is what arms are compared by: all are annealed alike, because an arm that merely lowers the
rate looks better for a while without being so, and the doubled horizon shows which way it goes.

H is counted in updates of the untouched arm. One whose batches are of another size sees as many samples.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import torch

from unstuck.data import Batch
from unstuck.decision import EQUAL, Decision, Verdict
from unstuck.errors import InputError, in_a_line
from unstuck.horizon import TAIL, own_updates
from unstuck.measures import MEASURES, MeasureName
from unstuck.numerics.statistics import Interval
from unstuck.problem import Problem
from unstuck.remedy import Remedy
from unstuck.snapshot import Snapshot, state_of
from unstuck.untouched import derived_seed
from unstuck.walk import Run, walk

ArmName = Literal["untouched", "a/a", "remedy", "opposite"]

POINTS = 10
"""Evaluations along each half of a trunk."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """What is done to the problem before it walks."""

    name: ArmName
    treatment: tuple[Remedy, ...] = ()
    cause: str | None = None
    replanted_at: int | None = None
    """The update, of the untouched arm, at which the fault is put back; None where it is not."""


@dataclass(frozen=True, kw_only=True)
class ArmRun:
    """One arm under one order."""

    curve: tuple[tuple[int, float], ...]
    """(update of the untouched arm that has seen as many samples, own loss on the sample)."""
    half: float
    """Own loss on the sample after H updates and the tail; infinite where the walk broke."""
    full: float
    """The same after 2H."""
    updates: int
    samples: int = 0
    gradient_evaluations: int = 0
    failure: str | None = None
    """Why there was nothing to walk, or no more, in a line: the remedy raised."""


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
    measure: MeasureName = "train_loss"
    """What is taken of every arm on the sample."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One arm's result, compared with the untouched one."""

    arm: ArmName
    remedy: str | None
    settings: Mapping[str, Any]
    cause: str | None
    from_update: int
    updates: int
    """Of its own, under one order, tails included; so are samples and gradient evaluations."""
    samples: int
    gradient_evaluations: int
    measure: MeasureName
    per_seed: tuple[float, ...]
    half_per_seed: tuple[float, ...]
    interval: Interval
    """Of the untouched arm's loss minus this one's: above zero this arm is better."""
    differences: tuple[float, ...] = ()
    """What the interval is of, order by order; a run that went astray counts as having stayed where it was."""
    gain: float
    """Share of the untouched arm's excess loss that this arm removed; negative where it added."""
    gain_at_equal_cost: float | None
    """The same on the trunks, where both have taken as many gradient evaluations; None where samples say it already."""
    verdict: Verdict
    because: str
    undecided: bool = False
    """Whether the gain is material, and more orders would be needed to tell it from noise."""
    curves: tuple[tuple[tuple[int, float], ...], ...] = dataclasses.field(repr=False)
    treatment: tuple[Remedy, ...] = dataclasses.field(default=(), repr=False)

    @property
    def mean(self) -> float:
        """The mean over orders, of the loss after 2H updates and the tail; NaN where nothing was walked."""
        return sum(self.per_seed) / len(self.per_seed) if self.per_seed else math.nan

    @property
    def drop(self) -> float:
        """How far below the untouched arm it ends on the average, a diverged run counting as having stayed."""
        return (self.interval.low + self.interval.high) / 2

    def opposes(self, won: Trial) -> bool:
        """Whether this is the arm of the other's opposite."""
        return (self.arm, self.cause, self.remedy) == ("opposite", won.cause, won.remedy)


def helps_as_much(opposite: Trial, won: Trial) -> bool:
    """Whether a remedy's opposite does: then noise, or any change, would do, whatever the cause."""
    return opposite.verdict != "failed" and opposite.drop >= (1 - EQUAL) * won.drop


def trial_of(
    arm: Arm,
    runs: Sequence[ArmRun],
    decision: Decision,
    *,
    from_update: int,
    measure: MeasureName,
    gain_at_equal_cost: float | None = None,
) -> Trial:
    """An arm's runs, one per order, and what was decided of them."""
    own = arm.treatment[-1] if arm.treatment else None
    before = "".join(f"after {remedy.slug}, " for remedy in arm.treatment[:-1])
    return Trial(
        arm=arm.name,
        remedy=None if own is None else own.slug,
        settings={} if own is None else dataclasses.asdict(own),  # type: ignore[call-overload]
        cause=arm.cause,
        from_update=from_update,
        updates=runs[0].updates if runs else 0,
        samples=runs[0].samples if runs else 0,
        gradient_evaluations=runs[0].gradient_evaluations if runs else 0,
        measure=measure,
        per_seed=tuple(run.full for run in runs),
        half_per_seed=tuple(run.half for run in runs),
        interval=decision.interval,
        differences=decision.differences,
        gain=decision.gain,
        gain_at_equal_cost=gain_at_equal_cost,
        verdict=decision.verdict,
        because=before + decision.because,
        undecided=decision.undecided,
        curves=tuple(run.curve for run in runs),
        treatment=arm.treatment,
    )


Runner = Callable[[Ground, Sequence[Task]], Iterable[ArmRun]]
"""Performs tasks from one ground and gives their runs in order: in turn, or on other processes."""


def in_turn(ground: Ground, tasks: Sequence[Task]) -> Iterator[ArmRun]:
    """One task after the other, in this process."""
    return (perform(ground, task) for task in tasks)


def samples_per_update(problem: Problem) -> int:
    """Over accumulated batches and all processes."""
    return problem.accumulate * problem.data.batch_size


def perform(ground: Ground, task: Task) -> ArmRun:
    """Walk one arm under one order. A pure function of its arguments.

    What a remedy raises, at once or in its walk, is the arm's failure; what the untouched training raises is raised.
    """
    branch = ground.problem.branch(ground.snapshot)
    way = _Way(ground, task)
    if not task.arm.treatment:
        return way.walked(branch)
    try:
        for remedy in task.arm.treatment:
            branch = remedy.apply(branch)
        return way.walked(branch)
    except Exception as error:  # noqa: BLE001 - a remedy, or the model it has changed, may raise anything
        return way.ended(failure=in_a_line(error))


def replanted(treated: Problem, ground: Ground) -> Problem:
    """The fault put back where the cure has got to: the problem's own recipe, at the weights of its treated branch.

    Its optimizer begins without a state, its schedule where the ground is.

    Raises:
        InputError: the treated model is another network, which the problem's recipe does not fit.
    """
    if len(list(treated.model.parameters())) != len(list(ground.problem.model.parameters())):
        raise InputError("the treated model is another network: it has other parameters")
    branch, there = ground.problem.branch(ground.snapshot), state_of(treated)
    for name, tensor in state_of(branch).items():
        own = name.removeprefix("model.")
        # A remedy may have put the model into another module, behind a standardization of its inputs, say.
        found = [there[name]] if name in there else [there[other] for other in there if other.endswith(f".{own}")]
        if len(found) != 1 or found[0].shape != tensor.shape:
            raise InputError(f"the treated model is another network: {own} has no counterpart in it")
        with torch.no_grad():
            tensor.copy_(found[0])
    branch.optimizer.state.clear()
    return branch


class _Way:
    """One arm under one order: how far it has come, and what was seen on the way."""

    def __init__(self, ground: Ground, task: Task) -> None:
        self._ground = ground
        self._task = task
        self._order = derived_seed(ground.seed, task.order, 71)
        self._curve: list[tuple[int, float]] = []
        self._ends: list[float] = []
        self._spent = {"updates": 0, "samples": 0, "gradient_evaluations": 0}

    def walked(self, branch: Problem) -> ArmRun:
        """Walk the branch along the trunk, and a tail from the end of each half."""
        self._stand_on(branch)
        horizon, again = self._task.horizon, self._task.arm.replanted_at
        for begin in (0, horizon) if self._task.whole else (0,):
            end = begin + horizon
            places = {begin, end} if again is None or not begin < again < end else {begin, again, end}
            for first, last in pairwise(sorted(places)):
                if first == again:
                    self._stand_on(replanted(self._branch, self._ground))
                if not self._trunk(first, last):
                    return self.ended()
            if not self._tail(end):
                return self.ended()
        return self.ended()

    def ended(self, failure: str | None = None) -> ArmRun:
        """What has come out, whether the way was walked to its end or not."""
        finished = failure is None and len(self._ends) == 1 + self._task.whole
        return ArmRun(
            curve=tuple(self._curve),
            half=self._ends[0] if self._ends else math.inf,
            full=self._ends[-1] if finished else math.inf,
            failure=failure,
            **self._spent,
        )

    def _stand_on(self, branch: Problem) -> None:
        self._branch = branch
        self._pace = samples_per_update(self._ground.problem) / samples_per_update(branch)
        seen = self._spent["samples"] // branch.data.batch_size
        self._batches = branch.data.order(self._order, skip=seen)

    def _trunk(self, begin: int, end: int) -> bool:
        """From one update to another, counted in those of the untouched arm; False where the loss broke."""
        points = {begin + round((end - begin) * k / POINTS) for k in range(bool(begin), POINTS + 1)}
        first, last = own_updates(begin, self._pace), own_updates(end, self._pace)
        run = self._piece(last - first, start=first, checkpoints={own_updates(p, self._pace) - first for p in points})
        self._curve += [(round(update / self._pace), loss) for update, loss in run.checkpoints]
        return run.broke_at is None

    def _tail(self, done: int) -> bool:
        """Let the rate fall to zero on a side branch, and come back; False where the loss broke."""
        here = Snapshot.of(self._branch)
        tail = own_updates(TAIL * done, self._pace)
        run = self._piece(tail, start=own_updates(done, self._pace), checkpoints={tail}, anneal=True)
        if run.broke_at is not None:
            return False
        self._ends.append(run.checkpoints[-1][1])
        here.restore(self._branch)
        return True

    def _piece(self, updates: int, *, start: int, checkpoints: set[int], anneal: bool = False) -> Run:
        self._spend(updates)  # also where the walk raises in the middle
        run = walk(
            self._branch,
            updates,
            order=self._order,
            start=start,
            batches=self._batches,
            sample=self._ground.sample,
            measure=MEASURES[self._ground.measure],
            checkpoints=checkpoints,
            anneal=anneal,
        )
        self._spend(len(run.curve) - updates)
        return run

    def _spend(self, updates: int) -> None:
        self._spent["updates"] += updates
        self._spent["samples"] += updates * samples_per_update(self._branch)
        self._spent["gradient_evaluations"] += updates * self._branch.accumulate
