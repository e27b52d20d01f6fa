"""Proving a cause: the walks and measurements from which the elements of a proof are judged."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from unstuck.budget import Budget
from unstuck.cause import Cause, Mediator
from unstuck.comparison import UNTOUCHED, Comparison
from unstuck.errors import InputError, in_a_line
from unstuck.horizon import ORDERS, Lengths, own_updates, updates_of
from unstuck.measures import MEASURES
from unstuck.problem import Problem
from unstuck.proof import (
    Course,
    Doses,
    Element,
    Outcome,
    Point,
    Proof,
    Replanting,
    dose_response,
    fault_returns,
    mediator_first,
)
from unstuck.reading import measured
from unstuck.remedy import Intervention, Ladder
from unstuck.trial import Arm, Trial, helps_as_much, replanted, samples_per_update
from unstuck.untouched import derived_seed
from unstuck.view import View
from unstuck.walk import walk

LOOKED_AT = (0, 1 / 32, 1 / 8, 1 / 4, 1 / 2, 1)
"""Where along the trunk mediators are read, denser at the start, where cures begin."""

RUNGS = 4
"""Doses of a ladder, at least."""


@dataclass(kw_only=True)
class Proving:
    """A winner on its way to a proof.

    Attributes:
        comparison: in which it won.
        won: its arm.
        cause: what is to be proved.
        probes: what may be measured.
        limit: updates that the comparison may take with all this.
    """

    comparison: Comparison
    won: Trial
    cause: Cause
    probes: Sequence[type[Any]]
    limit: int

    def elements(self) -> Iterator[Proof]:
        """One after the other; the opposite has mostly been walked, and the others take ever more updates."""
        yield self.control()
        yield self.opposite()
        yield self.mediator()
        yield self.replanting()
        yield self.doses()

    def control(self) -> Proof:
        """What the trial has shown."""
        low, high = self.won.interval.low, self.won.interval.high
        return Proof(
            element="control",
            outcome="passed",
            expected="the remedy made for this cause is better than the untouched training",
            says=f"under {len(self.won.per_seed)} data orders {self.won.because}",
            numbers={"gain": self.won.gain, "interval": (low, high)},
        )

    def opposite(self) -> Proof:
        """Whether the contrary change helps as much."""
        expected = "the opposite does not help as much"
        if self.won.treatment[-1].opposite() is None:
            return _left("opposite", "not applicable", expected, f"{self.won.remedy} has no sensible opposite")
        trials = self._opposites()
        if not trials:
            self.comparison.oppose(self.won, self.limit)
            trials = self._opposites()
        if not trials:
            return _left("opposite", "not run", expected, "the budget does not hold it")
        return Proof(
            element="opposite",
            outcome="failed" if helps_as_much(trials[0], self.won) else "passed",
            expected=expected,
            says=f"{trials[0].treatment[-1].says()}: {trials[0].verdict}, {trials[0].because}",
            numbers={"gain": trials[0].gain, "interval": (trials[0].interval.low, trials[0].interval.high)},
        )

    def _opposites(self) -> list[Trial]:
        return [trial for trial in self.comparison.trials if trial.opposes(self.won)]

    def replanting(self) -> Proof:
        """Put the fault back half-way down, and see whether the failure comes back."""
        expected = "with the fault put back, the failure comes back"
        remedy, ground = self.won.treatment[-1], self.comparison.plan.ground
        if remedy.intervention in (Intervention.POINT, Intervention.INITIALIZATION):
            because = "the fault is the point itself, at which the untouched arm starts"
            return _left("re-planting", "not applicable", expected, because)
        try:
            replanted(remedy.apply(ground.problem.branch(ground.snapshot)), ground)
        except InputError as error:
            return _left("re-planting", "not applicable", expected, in_a_line(error))
        arm = Arm(name="remedy", treatment=self.won.treatment, cause=self.won.cause, replanted_at=self._half_way())
        if updates_of(self.comparison.horizon, [max(1.0, self.comparison.pace(arm))]) > self._left:
            return _left("re-planting", "not run", expected, "the budget does not hold it")
        self.comparison.walk([arm])
        runs = self.comparison.runs[arm]
        if any(run.failure for run in runs):
            return _left("re-planting", "not run", expected, next(run.failure or "" for run in runs))
        return fault_returns(
            Replanting(
                at=arm.replanted_at or 0,
                untouched=self._capped(self.comparison.trials[0].per_seed[:ORDERS]),
                treated=self._capped(self.won.per_seed[:ORDERS]),
                replanted=self._capped([run.full for run in runs]),
            )
        )

    def _half_way(self) -> int:
        """The update by which the cure has made half of its fall."""
        updates = np.array([update for update, _ in self.won.curves[0]])
        losses = np.mean([[loss for _, loss in curve] for curve in self.won.curves[:ORDERS]], axis=0)
        middle = (losses[0] + losses.min()) / 2
        after = int(np.argmax(losses <= middle))
        if after == 0:
            return 1
        share = (losses[after - 1] - middle) / max(losses[after - 1] - losses[after], 1e-300)
        update = updates[after - 1] + share * (updates[after] - updates[after - 1])
        return min(max(1, round(float(update))), 2 * self.comparison.horizon - 1)

    def doses(self) -> Proof:
        """Walk the rungs of the remedy's ladder over one half each."""
        expected = "more of it does more, up to a best dose"
        ladder = self.won.treatment[-1].ladder()
        if ladder is None:
            return _left("dose-response", "not applicable", expected, f"{self.won.remedy} has no doses")
        arms = self._rungs(ladder)
        if len(arms) < RUNGS:
            because = f"only {len(arms)} of its doses can be applied here"
            return _left("dose-response", "not applicable", expected, because)
        comparison, new = self.comparison, [arm for arm in arms if arm.treatment != self.won.treatment]
        halves = [Lengths.of(comparison.horizon, comparison.pace(arm)).half for arm in new]
        if ORDERS * sum(halves) > self._left:
            return _left("dose-response", "not run", expected, "the budget does not hold it")
        comparison.walk(new, whole=False)
        found = {arm: [run.half for run in comparison.runs[arm]] for arm in new}
        own = self.won.half_per_seed[:ORDERS]
        return dose_response(
            Doses(
                setting=ladder.setting,
                values=tuple(float(getattr(arm.treatment[-1], ladder.setting)) for arm in arms),
                losses=tuple(self._capped(found.get(arm, own)) for arm in arms),
                untouched=self._capped(comparison.trials[0].half_per_seed[:ORDERS]),
                peaks=ladder.peaks,
            )
        )

    def _rungs(self, ladder: Ladder) -> list[Arm]:
        """The doses that can be applied."""
        doses = [dose for dose in ladder.doses if self.comparison.know(dose)]
        return [Arm(name="remedy", treatment=(dose,), cause=self.won.cause) for dose in doses]

    def mediator(self) -> Proof:
        """Read the mediator along an untouched and a treated walk, beside the loss."""
        expected = "the quantity that it works through moves before the loss does"
        mediator = self.cause.mediator
        probe = next((each for each in self.probes if mediator and each.reads is mediator.reads), None)
        if mediator is None or probe is None:
            return _left("mediator", "not applicable", expected, "no probe reads what it works through")
        comparison, ground = self.comparison, self.comparison.plan.ground
        arms = (UNTOUCHED, Arm(name="remedy", treatment=self.won.treatment))
        if sum(own_updates(2 * comparison.horizon, comparison.pace(arm)) for arm in arms) > self._left:
            return _left("mediator", "not run", expected, "the budget does not hold it")
        plain, treated = ground.problem.branch(ground.snapshot), ground.problem.branch(ground.snapshot)
        walk_as_it_is = self._read(plain, probe, mediator)
        try:
            before = next(walk_as_it_is)
            cured = list(self._read(self.won.treatment[-1].apply(treated), probe, mediator))
            if not all(math.isfinite(point.value) for point in (before, *cured)):
                return _left("mediator", "not applicable", expected, f"{mediator.says} cannot be read here")
            course = Course(says=mediator.says, rises=mediator.rises, treated=cured, untouched=[before])
            untouched = [before, *itertools.islice(walk_as_it_is, course.moved_at)]
        except Exception as error:  # noqa: BLE001 - a probe, or a model under it, may raise anything
            because = f"the probe {probe.reads.probe} gave no reading: {in_a_line(error)}"
            return _left("mediator", "not run", expected, because)
        return mediator_first(replace(course, untouched=untouched))

    def _read(self, branch: Problem, probe: type[Any], mediator: Mediator) -> Iterator[Point]:
        """The mediator and the own loss at each place of a walk, as far as it gets; nothing is walked ahead."""
        horizon, ground = self.comparison.horizon, self.comparison.plan.ground
        order = derived_seed(ground.seed, self.comparison.first_order, 71)  # the first of the trial
        pace = samples_per_update(ground.problem) / samples_per_update(branch)
        batches = branch.data.order(order)
        done = 0
        for place in sorted({round(2 * horizon * share) for share in LOOKED_AT}):
            run = walk(branch, own_updates(place, pace) - done, order=order, start=done, batches=batches)
            done += len(run.curve)
            self.comparison.account(len(run.curve))
            if run.broke_at is not None:
                return
            made = measured(probe(), View(branch, update=ground.snapshot.update + place, seed=ground.seed), Budget())
            value, loss = mediator.value(made.reading), MEASURES[ground.measure](branch, ground.sample)
            yield Point(update=place, value=value, loss=loss, cost=made.cost)

    @property
    def _left(self) -> int:
        return self.limit - self.comparison.spent

    def _capped(self, ends: Sequence[float]) -> tuple[float, ...]:
        """Runs that broke, or ended above their start, count as having stayed there, as in the trial."""
        start = self.comparison.start
        return tuple(min(start, end) if math.isfinite(end) else start for end in ends)


def _left(element: Element, outcome: Outcome, expected: str, because: str) -> Proof:
    return Proof(element=element, outcome=outcome, expected=expected, says=because)
