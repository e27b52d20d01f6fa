"""A schedule on top of the one that a problem has: warm-ups, which leave the rest of a training as it was.

Lecture chapter 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from unstuck.errors import InputError
from unstuck.methods.schedule import Schedule, with_schedule
from unstuck.problem import Problem


@dataclass(frozen=True, kw_only=True)
class Gradual:
    """s(t) = b + (1 − b) t/w for w updates, then 1: from the rate that was good to another one.

    Goyal et al. 2017, "Accurate, large minibatch SGD", section 2.2: from η to kη, hence b = 1/k. Lecture chapter 3.

    Attributes:
        updates: w.
        start: b.
    """

    updates: int
    start: float

    def __post_init__(self) -> None:
        if self.updates < 1 or self.start <= 0:
            raise InputError(
                "a gradual warm-up lasts 1 update or more and starts at a share of the rate above 0; "
                f"got {self.updates} and {self.start:g}"
            )

    def __call__(self, update: int) -> float:
        return self.start + (1 - self.start) * min(1.0, update / self.updates)


class Multiplied:
    """A scheduler whose rates are multiplied by a schedule, update by update.

    Attributes:
        optimizer: whose rates they are.
        done: updates that were made.
    """

    def __init__(self, scheduler: Any, schedule: Schedule, *, every: int) -> None:
        """``scheduler`` is stepped once in so many updates."""
        self.optimizer: torch.optim.Optimizer = scheduler.optimizer
        self.done = 0
        self._schedulers = [scheduler]  # where torch's schedulers of several keep theirs, too
        self._schedule = schedule
        self._every = every
        self._multiply(schedule(0))

    def step(self) -> None:
        """After an update: the scheduler's step, in its own time, on rates of its own."""
        if self._schedule(self.done) == 0:
            return
        self._multiply(1 / self._schedule(self.done))
        self.done += 1
        if self.done % self._every == 0:
            self._schedulers[0].step()
        self._multiply(self._schedule(self.done))

    def _multiply(self, factor: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = group["lr"] * factor

    def state_dict(self) -> dict[str, Any]:
        """Where it is; the rates themselves are the optimizer's."""
        return {"done": self.done, "scheduler": self._schedulers[0].state_dict()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.done = state_dict["done"]
        self._schedulers[0].load_state_dict(state_dict["scheduler"])


def with_schedule_on_top(branch: Problem, schedule: Schedule) -> Problem:
    """The branch with its rates, and those of the schedule it has, multiplied by another schedule.

    Args:
        branch: given away.
        schedule: factors above zero; one that comes to zero stays there.
    """
    scheduler = branch.scheduler
    listens = isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau)
    if scheduler is None or listens:  # to a loss that only the caller's loop computes: it is never stepped here
        return with_schedule(branch, schedule)
    per_epoch = max(1, branch.data.batches_per_epoch // branch.accumulate)
    every = 1 if branch.schedule_every == "update" else per_epoch
    return branch.changed(scheduler=Multiplied(scheduler, schedule, every=every), schedule_every="update")
