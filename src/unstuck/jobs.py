"""Trials on other processes: each makes the problem from its target and brings it to the trial's ground."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch

from unstuck.data import fingerprint
from unstuck.device import place
from unstuck.errors import InputError
from unstuck.measures import MeasureName, sample_for
from unstuck.problem import Problem
from unstuck.remedy import Remedy
from unstuck.snapshot import Snapshot
from unstuck.target import load
from unstuck.trial import ArmRun, Ground, Runner, Task, perform
from unstuck.untouched import generators_kept
from unstuck.view import BLOCK, SAMPLE
from unstuck.walk import fixed_threads


@dataclass(frozen=True, kw_only=True)
class Origin:
    """A trial's ground in picklable parts."""

    target: str
    device: str
    treated: tuple[tuple[Snapshot, Remedy], ...]
    """The steps that were prescribed before this trial, and the states they were applied to."""
    snapshot: Snapshot
    seed: int
    measure: MeasureName
    threads: int
    fingerprint: int
    """Of the sample, to notice a target that gives other data each time."""

    @staticmethod
    def of(ground: Ground, target: str, treated: Sequence[tuple[Snapshot, Remedy]]) -> Origin:
        """The parts of a ground whose problem came from ``target``."""
        return Origin(
            target=target,
            device=str(ground.problem.device),
            treated=tuple(treated),
            snapshot=ground.snapshot,
            seed=ground.seed,
            measure=ground.measure,
            threads=torch.get_num_threads(),
            fingerprint=fingerprint(ground.sample),
        )

    def ground(self) -> Ground:
        """The ground, made anew.

        Raises:
            InputError: the target gives other data than it gave before.
        """
        problem = _loaded(self.target, self.device)
        for snapshot, remedy in self.treated:
            problem = remedy.apply(problem.branch(snapshot))
        sample = sample_for(problem, self.measure, count=SAMPLE, chunk=BLOCK, seed=self.seed)
        if fingerprint(sample) != self.fingerprint:
            raise InputError(f"target {self.target!r} gives other data each time it is called; run with --jobs 1")
        return Ground(problem=problem, snapshot=self.snapshot, sample=sample, seed=self.seed, measure=self.measure)


def on_processes(executor: Executor, origin: Origin) -> Runner:
    """A runner that performs tasks on an executor's workers, as many at once as it has."""

    def run(ground: Ground, tasks: Sequence[Task]) -> Iterable[ArmRun]:
        there = partial(_perform_there, origin, ground.problem.restore)
        return executor.map(there, tasks)

    return run


def _perform_there(origin: Origin, restore: Callable[[Any], Any] | None, task: Task) -> ArmRun:
    with generators_kept(), fixed_threads(origin.threads):
        ground = origin.ground()
        return perform(dataclasses.replace(ground, problem=ground.problem.changed(restore=restore)), task)


@cache
def _loaded(target: str, device: str) -> Problem:
    """The problem of a target, made once per process."""
    return place(load(target), device)
