"""One training, from the problem that is handed over to its last update; in the one loop of :mod:`unstuck.walk`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unstuck.check import check
from unstuck.checkpoint import Checkpoint, Record
from unstuck.data import Order, fingerprint
from unstuck.errors import InputError
from unstuck.prescription import Prescription
from unstuck.problem import Problem
from unstuck.progress import Look, Progress, Watcher
from unstuck.recipe import Recipe
from unstuck.report import card, plain
from unstuck.snapshot import Snapshot
from unstuck.treatment import treated
from unstuck.walk import Update, threads_for, walk

COMPARED = 64
"""Samples by which the data of a resumed training are known again."""


def origin_of(problem: Problem, target: str | None) -> dict[str, Any]:
    """What a problem is known by when its training is resumed."""
    data = fingerprint(problem.data.sample(COMPARED, chunk=COMPARED, seed=0))
    return {**card(problem, target), "device": problem.device.type, "data": data}


@dataclass(kw_only=True)
class Course:
    """A training that is ready, or under way.

    Attributes:
        problem: what was handed over; nothing of it is changed.
        branch: what is walked.
        recipe: how; its defaults are written out.
        updates: how many in all.
        prescription: applied after its ``from_update`` updates.
        origin: what problem it is of, by which a resumed training is known again.
        notes: on what the recipe's methods changed and left.
        threads: of torch; sums depend on their number in their last bits.
        every: updates between checkpoints; 0 for none.
        record: where it is written down.
        curve: the updates made.
        broke_at: the update whose loss was not finite, and where the training ended.
        before: seconds that earlier parts of it took.
    """

    problem: Problem
    branch: Problem
    recipe: Recipe
    updates: int
    prescription: Prescription | None
    origin: Mapping[str, Any]
    notes: tuple[str, ...]
    threads: int
    every: int
    record: Record | None = None
    curve: list[Update] = field(default_factory=list)
    broke_at: int | None = None
    before: float = 0.0
    _turned: int = 0
    """The update that the present order of the data began with."""
    _began: float = field(default_factory=time.perf_counter)

    @staticmethod
    def of(
        problem: Problem,
        recipe: Recipe,
        prescription: Prescription | None = None,
        *,
        target: str | None = None,
        every: int = 0,
    ) -> Course:
        """Make a training ready.

        Args:
            problem: what is trained.
            recipe: for how long, and with which methods.
            prescription: with which remedies; not beside methods.
            target: where the problem comes from.
            every: updates between checkpoints, where it is written down.

        Raises:
            InputError: the problem cannot be trained as it was handed over, what is asked for does not fit it, or its
                state is of a kind that no checkpoint can keep.
        """
        check(problem)
        if prescription is not None and recipe.methods:
            raise InputError(
                f"a prescription was tried on the training as it is, not with {', '.join(recipe.methods)}; give one of "
                "them"
            )
        made = treated(problem.branch(), recipe)
        if recipe.methods:
            check(made.problem)
        if prescription is not None and prescription.from_update >= made.updates:
            raise InputError(
                f"the prescription is applied after {prescription.from_update} updates, and the training ends after "
                f"{made.updates}; train for more"
            )
        course = Course(
            problem=problem,
            branch=made.problem,
            recipe=made.recipe,
            updates=made.updates,
            prescription=prescription,
            origin=origin_of(problem, target),
            notes=made.notes,
            threads=threads_for(made.problem),
            every=every,
        )
        if every:
            course.checkpoint().check_readable()
        return course

    @property
    def seconds(self) -> float:
        """That it took until now."""
        return self.before + time.perf_counter() - self._began

    def checkpoint(self) -> Checkpoint:
        """The present state."""
        settings = {
            "recipe": self.recipe.given,
            "prescription": None if self.prescription is None else self.prescription.document(self.problem),
            "origin": self.origin,
            "threads": self.threads,
            "every": self.every,
        }
        return Checkpoint(
            settings=plain(settings),
            snapshot=Snapshot.of(self.branch, len(self.curve)),
            seconds=self.seconds,
        )

    def write_to(self, folder: Path) -> None:
        """Write it down in a folder, from its beginning on; of several processes the first one does.

        Raises:
            InputError: the folder holds a training already.
        """
        with self.branch.ranks.together():
            if self.branch.ranks.rank == 0:
                self.record = Record(folder)
                self.record.start(self.recipe.toml())
                if self.every:
                    self.record.keep(self.checkpoint())

    def go_on_from(self, checkpoint: Checkpoint, made: list[Update]) -> None:
        """Take up the state of a checkpoint, after the updates that were made until then."""
        done = checkpoint.snapshot.update
        if self.prescription is not None and done > self.prescription.from_update:
            self._treat(self.prescription)
        try:
            checkpoint.snapshot.restore(self.branch)
        except (KeyError, RuntimeError, ValueError) as error:
            raise InputError(f"the checkpoint is of another model or optimizer ({error}); train anew") from error
        self.curve, self.before = made, checkpoint.seconds

    def go(self, progress: Progress, watcher: Watcher) -> None:
        """Walk in pieces, the prescription applied when its time has come, to the end or to where a piece breaks."""
        batches = self._batches()
        per_epoch = max(1, self.branch.data.batches_per_epoch // self.branch.accumulate)

        def look(made: tuple[Update, ...]) -> None:
            self.curve += made
            with self.branch.ranks.together():  # a full disk is one process's, and its failure everybody's
                if self.record is not None:
                    self.record.add(made)
            watcher(Look(made=made, updates=self.updates, per_epoch=per_epoch))
            progress("training", len(self.curve) / self.updates)

        progress("training", len(self.curve) / self.updates)
        while len(self.curve) < self.updates and self.broke_at is None:
            done = len(self.curve)
            if self.prescription is not None and done == self.prescription.from_update:
                self._treat(self.prescription)
                batches = self._batches()
            piece = self._piece(done)
            self.broke_at = walk(self.branch, piece, order=self._seed, start=done, batches=batches, told=look).broke_at
            self._rest()

    @property
    def _seed(self) -> int:
        return self.recipe.seed or 0

    def _batches(self) -> Order:
        skip = (len(self.curve) - self._turned) * self.branch.accumulate
        return self.branch.data.order(self._seed, skip=skip)

    def _piece(self, done: int) -> int:
        """Updates until something is to be done."""
        stops = [self.updates]
        if self.prescription is not None:
            stops.append(self.prescription.from_update)
        if self.every:
            stops.append(done - done % self.every + self.every)
        return min(stop for stop in stops if stop > done) - done

    def _rest(self) -> None:
        """Keep a checkpoint where it is time for one."""
        done = len(self.curve)
        due = self.every and (done % self.every == 0 or done == self.updates)
        with self.branch.ranks.together():
            if due and self.record is not None and self.broke_at is None:
                self.record.keep(self.checkpoint())

    def _treat(self, prescription: Prescription) -> None:
        """Apply the prescription; where it changes the data, their order begins anew."""
        try:
            branch = prescription.apply(self.branch)
        except InputError:
            raise
        except Exception as error:  # a remedy may fail in any way on a problem it was not tried on
            reason = str(error).strip().splitlines()[:1] or [type(error).__name__]
            raise InputError(
                f"the prescription of {prescription.remedy} does not fit this problem ({reason[0]}); "
                "diagnose the problem that is to be trained"
            ) from error
        if branch.train is not self.branch.train:
            self._turned = prescription.from_update
        self.branch = branch
