"""Learning-rate schedules as functions of the update number.

A schedule gives the factor s(t) on the base rate: update t, counted from 0, is made with η_t = η · s(t). It holds no
state, so one schedule serves a problem (:func:`with_schedule`), a fleet and a picture. Beyond its end a schedule stays
where it ended.

Lecture chapter 3.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch

from unstuck.errors import InputError
from unstuck.problem import Problem

Schedule = Callable[[int], float]
"""Update number, from 0 → the factor on the base rate."""

PREFIX = "warm-up-"
"""In front of a schedule's name it puts a warm-up in front of the schedule."""

WARM_UP = 10
"""Updates of a schedule over those of a warm-up whose length is not said."""


def inverse_square_root(update: int, over: int) -> float:
    """The lecture's decay η_t = η / √(t + 1), with ``over`` updates as the unit of t."""
    return float((1 + update / over) ** -0.5)


@dataclass(frozen=True, kw_only=True)
class Constant:
    """s(t) = 1. Lecture chapter 3."""

    def __call__(self, update: int) -> float:
        return 1.0


@dataclass(frozen=True, kw_only=True)
class Until:
    """s(t) = 1 for T updates, then 0: the walk stands still. Early stopping (Prechelt 1998).

    Attributes:
        updates: T.
    """

    updates: int

    def __call__(self, update: int) -> float:
        return float(update < self.updates)


@dataclass(frozen=True, kw_only=True)
class Step:
    """s(t) = f^⌊k t / T⌋: k equal stretches, each at f times the rate before.

    Three stretches of f = 1/10 are those of He et al. 2016 ("Deep residual learning", section 4.2). Lecture chapter 3.

    Attributes:
        updates: T.
        stretches: k.
        factor: f.
    """

    updates: int
    stretches: int = 3
    factor: float = 0.1

    def __post_init__(self) -> None:
        _check_counts(updates=self.updates, stretches=self.stretches)
        _check_shares(factor=self.factor)

    def __call__(self, update: int) -> float:
        return float(self.factor ** (min(update, self.updates - 1) * self.stretches // self.updates))


@dataclass(frozen=True, kw_only=True)
class Exponential:
    """s(t) = f^(t/T): every update takes the same share off, down to f at the end. Lecture chapter 3.

    Attributes:
        updates: T.
        floor: f.
    """

    updates: int
    floor: float = 0.01

    def __post_init__(self) -> None:
        _check_counts(updates=self.updates)
        _check_shares(floor=self.floor)

    def __call__(self, update: int) -> float:
        return float(self.floor ** (min(update, self.updates) / self.updates))


@dataclass(frozen=True, kw_only=True)
class Cosine:
    """s(t) = f + (1 − f) (1 + cos(π t/T)) / 2.

    Loshchilov and Hutter 2017, "SGDR", equation 5, without restarts. Lecture chapter 3.

    Attributes:
        updates: T.
        floor: f.
    """

    updates: int
    floor: float = 0.0

    def __post_init__(self) -> None:
        _check_counts(updates=self.updates)
        _check_floors(floor=self.floor)

    def __call__(self, update: int) -> float:
        return _arc(1.0, self.floor, min(update, self.updates) / self.updates)


@dataclass(frozen=True, kw_only=True)
class Linear:
    """s(t) = 1 − (1 − f) t/T. Lecture chapter 3.

    Attributes:
        updates: T.
        floor: f.
    """

    updates: int
    floor: float = 0.0

    def __post_init__(self) -> None:
        _check_counts(updates=self.updates)
        _check_floors(floor=self.floor)

    def __call__(self, update: int) -> float:
        return _line(1.0, self.floor, min(update, self.updates) / self.updates)


@dataclass(frozen=True, kw_only=True)
class InverseSquareRoot:
    """s(t) = min((t + 1)/w, √(w/(t + 1))): up for w updates, then down for ever.

    Vaswani et al. 2017, "Attention is all you need", equation 3, over its peak (d w)^(−1/2), which as base rate gives
    the paper's own: 6.98771e-4 for d = 512 and w = 4000. Lecture chapter 3.

    Attributes:
        warm_up: w.
    """

    warm_up: int

    def __post_init__(self) -> None:
        _check_counts(warm_up=self.warm_up)

    def __call__(self, update: int) -> float:
        beyond = update + 1 - self.warm_up
        return _rise(update, self.warm_up) if beyond < 0 else inverse_square_root(beyond, over=self.warm_up)


@dataclass(frozen=True, kw_only=True)
class OneCycle:
    """Up from b to 1 over r T updates, then down to e at the last one, along arcs of the cosine or straight lines.

    Smith and Topin 2018, "Super-convergence", whose lines are straight; arcs and two phases are how torch has it.
    Lecture chapter 3.

    Attributes:
        updates: T.
        rise: r.
        start: b.
        end: e.
        shape: of the ways up and down.
    """

    updates: int
    rise: float = 0.3
    start: float = 0.04
    end: float = 4e-6
    shape: Literal["cosine", "linear"] = "cosine"

    def __post_init__(self) -> None:
        _check_counts(updates=self.updates)
        _check_shares(rise=self.rise)
        _check_floors(start=self.start, end=self.end)
        if self.updates < 2 or self.rise == 1:
            raise InputError("a one-cycle schedule needs two updates or more, and a `rise` below 1, to come down again")
        if self.shape not in ("cosine", "linear"):
            raise InputError(f"the `shape` of a one-cycle schedule is cosine or linear; got {self.shape!r}")

    def __call__(self, update: int) -> float:
        between = _arc if self.shape == "cosine" else _line
        last = self.updates - 1
        top = max(self.rise * self.updates - 1, 0.0)
        if update < top:
            return between(self.start, 1.0, update / top)
        return between(1.0, self.end, (min(update, last) - top) / (last - top))


@dataclass(frozen=True, kw_only=True)
class WarmUpStableDecay:
    """Up for w updates, 1, and over the last d T updates a straight line down to f.

    Hu et al. 2024, "MiniCPM", section 4; the line and d = 1/5 as in Hägele et al. 2024, "Scaling laws and
    compute-optimal training beyond fixed training durations". Lecture chapter 3.

    Attributes:
        updates: T.
        warm_up: w.
        decay: d.
        floor: f.
    """

    updates: int
    warm_up: int
    decay: float = 0.2
    floor: float = 0.0

    def __post_init__(self) -> None:
        _check_counts(updates=self.updates, warm_up=self.warm_up)
        _check_shares(decay=self.decay)
        _check_floors(floor=self.floor)
        if self.warm_up > (1 - self.decay) * self.updates:
            raise InputError(
                f"a schedule of {self.updates} updates, {self.decay:.0%} of them decay, has no room for a warm-up of "
                f"{self.warm_up}; give more updates or a shorter warm-up"
            )

    def __call__(self, update: int) -> float:
        if update < self.warm_up:
            return _rise(update, self.warm_up)
        stable = (1 - self.decay) * self.updates
        return _line(1.0, self.floor, max(min(update, self.updates) - stable, 0.0) / (self.decay * self.updates))


@dataclass(frozen=True, kw_only=True)
class Cyclical:
    """k triangles from f up to 1 and back: s(t) = f + (1 − f) (1 − |2 (k t/T mod 1) − 1|).

    Smith 2017, "Cyclical learning rates", the policy `triangular`. Lecture chapter 3.

    Attributes:
        updates: T.
        cycles: k.
        floor: f.
    """

    updates: int
    cycles: int = 4
    floor: float = 0.1

    def __post_init__(self) -> None:
        _check_counts(updates=self.updates, cycles=self.cycles)
        _check_floors(floor=self.floor)

    def __call__(self, update: int) -> float:
        phase = min(update, self.updates) * self.cycles % self.updates / self.updates
        return _line(self.floor, 1.0, 1 - abs(2 * phase - 1))


@dataclass(frozen=True, kw_only=True)
class WarmUp:
    """s(t) = (t + 1)/w · s'(0) for w updates, then s'(t − w): a straight way up to where another schedule starts.

    Goyal et al. 2017, "Accurate, large minibatch SGD", section 2.2. Lecture chapter 3.

    Attributes:
        updates: w.
        then: s'.
    """

    updates: int
    then: Schedule

    def __post_init__(self) -> None:
        _check_counts(warm_up=self.updates)

    def __call__(self, update: int) -> float:
        if update < self.updates:
            return _rise(update, self.updates) * self.then(0)
        return self.then(update - self.updates)


SCHEDULES: Mapping[str, type[Any]] = {
    "constant": Constant,
    "step": Step,
    "exponential": Exponential,
    "cosine": Cosine,
    "linear": Linear,
    "inverse-square-root": InverseSquareRoot,
    "one-cycle": OneCycle,
    "warm-up-stable-decay": WarmUpStableDecay,
    "cyclical": Cyclical,
}
"""Every schedule by its name; :data:`PREFIX` before one is understood as well (:func:`named`)."""


def named(name: str, *, updates: int, warm_up: int = 0, **settings: Any) -> Schedule:
    """The schedule of a name for a training of so many updates.

    Args:
        name: one of :data:`SCHEDULES`, alone or after ``warm-up-``.
        updates: of the whole training, its warm-up included.
        warm_up: of these; 0: a tenth where the name asks for one or the schedule has one of its own, else none.
        settings: the schedule's own.

    Raises:
        InputError: no schedule has that name, a setting is none of its own, or it is shorter than its warm-up.
    """
    kind = name if name in SCHEDULES else name.removeprefix(PREFIX)
    if kind not in SCHEDULES:
        raise InputError(f"no schedule is called {name!r}; there are {', '.join(SCHEDULES)}, and {PREFIX} before them")
    own = [field.name for field in dataclasses.fields(SCHEDULES[kind])]
    settable = [each for each in own if each not in ("updates", "warm_up")]
    strange = [each for each in settings if each not in settable]
    if strange:
        raise InputError(f"the schedule {kind} has no {', '.join(strange)}; it has {', '.join(settable) or 'none'}")
    _check_counts(updates=updates)
    has_its_own = "warm_up" in own
    if warm_up == 0 and (kind != name or has_its_own):
        warm_up = max(1, updates // WARM_UP)
    if not 0 <= warm_up < updates:
        raise InputError(
            f"a schedule of {updates} updates has no room for a warm-up of {warm_up}; give it more updates"
        )
    lengths = {"warm_up": warm_up, "updates": updates if has_its_own else updates - warm_up}
    schedule: Schedule = SCHEDULES[kind](**{each: lengths[each] for each in own if each in lengths}, **settings)
    return schedule if has_its_own or warm_up == 0 else WarmUp(updates=warm_up, then=schedule)


def with_schedule(branch: Problem, schedule: Schedule) -> Problem:
    """The branch under a schedule, in place of any it had; its optimizer's present rates are the base rates."""
    for group in branch.optimizer.param_groups:
        group.pop("initial_lr", None)  # an earlier scheduler's base rate, which torch would take for ours
    # A partial has no attributes: torch would store those of the schedule itself, and write into them on loading.
    scheduler = torch.optim.lr_scheduler.LambdaLR(branch.optimizer, partial(schedule))
    return branch.changed(scheduler=scheduler, schedule_every="update")


def _line(start: float, end: float, share: float) -> float:
    return start + (end - start) * share


def _arc(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def _rise(update: int, warm_up: int) -> float:
    """(t + 1)/w: the first update is made with a rate already, the last of the w with the whole."""
    return (update + 1) / warm_up


def _check_counts(**counts: int) -> None:
    for name, count in counts.items():
        if not isinstance(count, int) or count < 1:
            raise InputError(f"the `{name}` of a schedule must be a whole number, 1 or more; got {count!r}")


def _check_shares(**shares: float) -> None:
    for name, share in shares.items():
        if not isinstance(share, int | float) or not 0 < share <= 1:
            raise InputError(f"the `{name}` of a schedule must be above 0 and at most 1; got {share!r}")


def _check_floors(**floors: float) -> None:
    for name, floor in floors.items():
        if not isinstance(floor, int | float) or not 0 <= floor <= 1:
            raise InputError(f"the `{name}` of a schedule must be between 0 and 1; got {floor!r}")
