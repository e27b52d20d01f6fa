"""The exam: walk the problem for a while as it is, keep snapshots, and look at it there with every probe needed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from unstuck.budget import Budget, Cost
from unstuck.cause import Cause
from unstuck.decision import MATERIAL
from unstuck.errors import InputError, in_a_line
from unstuck.numerics.statistics import trend
from unstuck.probes.direction import Direction, DirectionReading, of_run
from unstuck.probes.finite import FiniteReading
from unstuck.probes.generalization import Generalization
from unstuck.probes.outputs import OutputsReading
from unstuck.problem import Problem
from unstuck.reading import Measured, Probe, Reading, Readings, measured
from unstuck.snapshot import Snapshot
from unstuck.view import View, view_of
from unstuck.walk import Run, walk

FEWEST_LOSSES = 8
"""Losses that a trend is fitted to, at least."""

LAST_LOOKS = 5
"""Losses whose median is the end of a walk: one may be that of a spike."""

KEPT = (0.0, 0.125, 0.25, 0.5, 1.0)
"""Where in the window snapshots are kept: denser at the start, where damage is done."""


@dataclass(frozen=True, kw_only=True)
class Observation:
    """The window: the walk as it is, and the snapshots on the way."""

    run: Run
    snapshots: tuple[Snapshot, ...]

    @property
    def start(self) -> Snapshot:
        """Where the problem was handed over."""
        return self.snapshots[0]

    @property
    def last(self) -> Snapshot:
        """The last one kept before the walk ended or broke."""
        return self.snapshots[-1]

    def at(self, update: int) -> Snapshot:
        """The last one at or before an update."""
        return next(s for s in reversed(self.snapshots) if s.update <= max(0, update))


def observe(problem: Problem, updates: int, view: View) -> tuple[Observation, Measured]:
    """Walk a branch of the problem and read the walk."""
    keep = {round(share * updates) for share in KEPT}
    run = walk(
        problem.branch(),
        updates,
        order=view.seed,
        sample=view.sample,
        checkpoints=(0, updates),
        snapshots=keep,
        cosines=True,
    )
    cost = Cost(gradient_evaluations=len(run.curve) * problem.accumulate, updates=len(run.curve))
    reading = of_run(run, samples=view.samples)
    return (
        Observation(run=run, snapshots=run.snapshots),
        Measured(reading=reading, settings={"updates": updates}, cost=cost),
    )


@dataclass(frozen=True, kw_only=True)
class Examined:
    """A problem and what is known of it."""

    problem: Problem
    observation: Observation
    readings: Readings
    stuck: bool

    @property
    def slow(self) -> bool:
        """Whether it gets on, below the best constant answer, and has hardly got anywhere within the window.

        A trial that is not much longer than the window can then show nothing of a remedy that lets it get on faster.
        """
        walk, outputs = self.readings.get(DirectionReading), self.readings.get(OutputsReading)
        if walk is None or outputs is None or outputs.latest.above_constant or not walk.latest.falls:
            return False
        end = walk.latest.end
        return end is not None and walk.latest.start - end < MATERIAL * abs(walk.latest.start)


@dataclass(frozen=True, kw_only=True)
class Patience:
    """What came of a training that was left to itself where it seemed stuck."""

    updates: int
    before: float
    after: float

    @property
    def paid(self) -> bool:
        """Whether it went on: a plateau was behind it."""
        return self.before - self.after >= MATERIAL * abs(self.before)

    def __str__(self) -> str:
        return (
            f"left to itself for {self.updates} more updates, its loss went from {self.before:.4g} to {self.after:.4g}"
        )


def wait(problem: Problem, observation: Observation, updates: int, view: View) -> Patience:
    """Walk on from the end of the window; what came of it is held against the lowest loss until then."""
    branch = problem.branch(observation.last)
    start = observation.last.update
    batches = branch.data.order(view.seed, skip=start * problem.accumulate)
    looks = {updates - back for back in range(min(updates, LAST_LOOKS))}
    run = walk(
        branch, updates, order=view.seed, start=start, batches=batches, sample=view.sample, checkpoints={0, *looks}
    )
    losses = [loss for _, loss in run.checkpoints]
    before = min([losses[0], *(loss for _, loss in observation.run.checkpoints if math.isfinite(loss))])
    after = median(losses[1:]) if run.broke_at is None else math.inf
    return Patience(updates=len(run.curve), before=before, after=after)


@dataclass
class Record:
    """What an exam has found so far; it is written into as it happens, so that an interruption loses nothing."""

    notes: list[str]
    made: list[Measured] = field(default_factory=list)

    @property
    def readings(self) -> Readings:
        """All readings until now."""
        return Readings(self.made)


def look(view: View, probes: Iterable[Probe[Reading]], budget: Budget, record: Record) -> None:
    """Run probes on a view, cheapest first. One that fails leaves a note; one that finds NaN ends the look."""
    for probe in probes:
        try:
            record.made.append(measured(probe, view, budget))
        except InputError:
            raise
        except Exception as error:  # noqa: BLE001 - a model, a loss or a stranger's probe may raise anything
            told = in_a_line(error)
            record.notes.append(f"the probe {probe.reads.probe} gave no reading at update {view.update}: {told}")
            continue
        reading = record.made[-1].reading
        if isinstance(reading, FiniteReading) and not reading.finite:
            break


def needed(causes: Sequence[Cause], probes: Sequence[type[Any]], *, curvature: bool) -> list[Probe[Reading]]:
    """The probes that some cause needs, cheap or dear ones; the walk itself is read by :func:`observe`."""
    kinds = {kind for cause in causes for kind, _ in cause.needs.values()}
    return [
        probe() for probe in probes if probe.curvature is curvature and probe.reads in kinds and probe is not Direction
    ]


def first_look(
    problem: Problem, causes: Sequence[Cause], probes: Sequence[type[Any]], updates: int, *, seed: int, record: Record
) -> Observation:
    """What needs no second derivatives: at the start, then along the window, then at its end."""
    budget = Budget(updates=updates)
    start = Snapshot.of(problem)
    view = view_of(problem, start, seed=seed)
    look(view, needed(causes, probes, curvature=False), budget, record)
    finite = record.readings.get(FiniteReading)
    if finite is not None and not finite.first.finite and finite.first.kind != "data":
        return Observation(run=Run(curve=()), snapshots=(start,))
    observation, read = observe(problem, updates, view)
    record.made.append(read)
    followed = [probe for probe in needed(causes, probes, curvature=False) if isinstance(probe, Generalization)]
    for between in observation.snapshots[1:-1]:
        look(view_of(problem, between, seed=seed), followed, budget, record)  # a held-out loss turns on the way
    last = view_of(problem, observation.last, seed=seed, suspect=observation.run.suspect)
    if last.update > 0 or observation.run.suspect is not None:
        again = [probe for probe in needed(causes, probes, curvature=False) if not probe.once]
        look(last, again, budget, record)
    return observation


def deep_look(
    problem: Problem,
    causes: Sequence[Cause],
    probes: Sequence[type[Any]],
    observation: Observation,
    *,
    seed: int,
    record: Record,
) -> None:
    """What needs second derivatives: at the start and at the last snapshot that is whole."""
    dear = needed(causes, probes, curvature=True)
    for update in sorted({observation.start.update, observation.last.update}):
        look(view_of(problem, observation.at(update), seed=seed), dear, Budget(), record)


def is_stuck(readings: Readings) -> bool:
    """No progress beyond noise, and a loss no better than the best constant answer's (where that is known)."""
    walks, outputs = readings.get(DirectionReading), readings.get(OutputsReading)
    if walks is None:
        return True
    collapsed = outputs is not None and outputs.latest.above_constant and not _still_falls(walks.latest)
    if walks.latest.falls and not collapsed:
        return False
    if walks.latest.broke_at is not None or outputs is None or outputs.latest.constant is None:
        return True
    return outputs.latest.above_constant


def _still_falls(walk: DirectionReading) -> bool:
    """Whether the later half of the walk falls: a spike at the start and a dead network after it are no progress."""
    later = walk.losses[len(walk.losses) // 2 :]
    if len(later) < FEWEST_LOSSES:
        return walk.falls
    fitted = trend(later)
    return fitted.slope + fitted.standard_error < 0
