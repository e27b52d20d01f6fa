"""Schedules against torch's own schedulers, number by number, and against the papers' values."""

from __future__ import annotations

import dataclasses
import io
import math
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests import zoo
from torch.optim import lr_scheduler as torchs

from unstuck.errors import InputError
from unstuck.methods.schedule import (
    SCHEDULES,
    Constant,
    Cosine,
    Cyclical,
    Exponential,
    InverseSquareRoot,
    Linear,
    OneCycle,
    Schedule,
    Step,
    WarmUp,
    WarmUpStableDecay,
    inverse_square_root,
    named,
    with_schedule,
)
from unstuck.walk import walk

BASE = 0.3

TORCHS: dict[str, tuple[Schedule, Callable[[Any], Any]]] = {
    "constant": (Constant(), lambda o: torchs.ConstantLR(o, factor=1.0)),
    "step": (Step(updates=60), lambda o: torchs.StepLR(o, 20, gamma=0.1)),
    "step in five": (Step(updates=60, stretches=5, factor=0.5), lambda o: torchs.StepLR(o, 12, gamma=0.5)),
    "exponential": (Exponential(updates=60), lambda o: torchs.ExponentialLR(o, gamma=0.01 ** (1 / 60))),
    "cosine": (Cosine(updates=60), lambda o: torchs.CosineAnnealingLR(o, 60)),
    "cosine to a floor": (Cosine(updates=60, floor=0.1), lambda o: torchs.CosineAnnealingLR(o, 60, eta_min=0.1 * BASE)),
    "linear": (Linear(updates=60), lambda o: torchs.LinearLR(o, 1.0, 0.0, total_iters=60)),
    "linear to a floor": (Linear(updates=50, floor=0.2), lambda o: torchs.LinearLR(o, 1.0, 0.2, total_iters=50)),
    "one-cycle": (OneCycle(updates=61), lambda o: torchs.OneCycleLR(o, BASE, total_steps=61)),
    "one-cycle of lines": (
        OneCycle(updates=61, rise=0.45, start=0.1, end=1e-3, shape="linear"),
        lambda o: torchs.OneCycleLR(
            o, BASE, total_steps=61, pct_start=0.45, anneal_strategy="linear", div_factor=10, final_div_factor=100
        ),
    ),
    "cyclical": (
        Cyclical(updates=60, cycles=3, floor=0.1),
        lambda o: torchs.CyclicLR(o, 0.1 * BASE, BASE, step_size_up=10, cycle_momentum=False),
    ),
    "warm-up before cosine": (
        WarmUp(updates=10, then=Cosine(updates=50)),
        lambda o: torchs.SequentialLR(
            o, [torchs.LinearLR(o, 0.1, 1.0, total_iters=9), torchs.CosineAnnealingLR(o, 50)], milestones=[10]
        ),
    ),
    "warm-up, stable, decay": (
        WarmUpStableDecay(updates=60, warm_up=5, decay=0.25, floor=0.1),
        lambda o: torchs.SequentialLR(
            o,
            [torchs.LinearLR(o, 0.2, 1.0, total_iters=4), torchs.LinearLR(o, 1.0, 0.1, total_iters=15)],
            milestones=[45],
        ),
    ),
    "inverse square root": (
        InverseSquareRoot(warm_up=7),
        lambda o: torchs.LambdaLR(o, lambda t: min((t + 1) ** -0.5, (t + 1) * 7**-1.5) * 7**0.5),
    ),
}


@pytest.mark.filterwarnings("ignore:To get the last learning rate")
@pytest.mark.parametrize("name", TORCHS)
def test_agrees_with_torch(name: str) -> None:
    schedule, scheduler_of = TORCHS[name]
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=BASE, momentum=0.9)
    scheduler = scheduler_of(optimizer)
    for update in range(60):
        assert BASE * schedule(update) == pytest.approx(float(optimizer.param_groups[0]["lr"]), rel=1e-12, abs=1e-16)
        optimizer.step()
        scheduler.step()


def test_the_transformers_rate() -> None:
    """C31: d^(−½) min(t^(−½), t · w^(−3/2)), t from 1; its peak is 6.98771e-4 at the 4,000th update."""
    width, warm_up = 512, 4000
    rates = [(width * warm_up) ** -0.5 * InverseSquareRoot(warm_up=warm_up)(update) for update in range(20_000)]
    expected = [width**-0.5 * min(t**-0.5, t * warm_up**-1.5) for t in range(1, 20_001)]
    assert rates == pytest.approx(expected, rel=1e-12)
    assert rates.index(max(rates)) + 1 == 4000
    assert max(rates) == pytest.approx(6.98771e-4, rel=1e-6)


def test_the_lectures_decay() -> None:
    assert [inverse_square_root(t, 1) for t in range(50)] == pytest.approx([1 / math.sqrt(t + 1) for t in range(50)])


ENDS = {  # the value at which a schedule of 60 updates stays
    "constant": 1.0,
    "step": 0.01,
    "exponential": 0.01,
    "cosine": 0.0,
    "linear": 0.0,
    "one-cycle": 4e-6,
    "warm-up-stable-decay": 0.0,
    "cyclical": 0.1,
}


@pytest.mark.parametrize("name", ENDS)
def test_beyond_its_end_a_schedule_stays_where_it_ended(name: str) -> None:
    schedule = named(name, updates=60)
    assert [schedule(update) for update in (60, 61, 1000)] == pytest.approx([ENDS[name]] * 3, abs=1e-15)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("updates", [2, 3, 10, 37])
def test_every_schedule_is_a_pure_function_between_nothing_and_one(name: str, updates: int) -> None:
    schedule = named(name, updates=updates)
    factors = [schedule(update) for update in range(updates)]
    again = pickle.loads(pickle.dumps(schedule))
    assert [again(update) for update in reversed(range(updates))] == factors[::-1]
    assert again == schedule
    assert hash(again) == hash(schedule)
    assert all(isinstance(factor, float) and 0 <= factor <= 1 for factor in factors)
    assert factors[0] > 0


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_warm_up_in_front_of_any(name: str) -> None:
    has_its_own = name in ("inverse-square-root", "warm-up-stable-decay")
    schedule = named(f"warm-up-{name}", updates=50, warm_up=8)
    assert schedule == named(name, updates=50, warm_up=8)
    then = None if has_its_own else named(name, updates=42)
    start = 1.0 if then is None else then(0)
    assert [schedule(update) for update in range(8)] == pytest.approx([start * (t + 1) / 8 for t in range(8)])
    assert then is None or [schedule(update) for update in range(8, 50)] == [then(update) for update in range(42)]


def test_a_warm_up_whose_length_is_not_said_takes_a_tenth() -> None:
    assert named("warm-up-cosine", updates=50) == WarmUp(updates=5, then=Cosine(updates=45))
    assert named("warm-up-stable-decay", updates=50) == WarmUpStableDecay(updates=50, warm_up=5)
    assert named("warm-up-linear", updates=4) == WarmUp(updates=1, then=Linear(updates=3))
    assert named("cosine", updates=50) == Cosine(updates=50)


def test_settings_are_those_of_the_schedule() -> None:
    assert named("cosine", updates=50, floor=0.1) == Cosine(updates=50, floor=0.1)
    cycle = named("warm-up-one-cycle", updates=50, warm_up=2, shape="linear", rise=0.5)
    assert cycle == WarmUp(updates=2, then=OneCycle(updates=48, rise=0.5, shape="linear"))


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "unknown": (lambda: named("cosin", updates=9), "'cosin'.*constant, step, .*cyclical"),
    "unknown after the prefix": (lambda: named("warm-up-cosin", updates=9), "'warm-up-cosin'"),
    "only the prefix": (lambda: named("warm-up", updates=9), "'warm-up'"),
    "strange setting": (lambda: named("cosine", updates=9, gamma=0.1), "cosine has no gamma; it has floor"),
    "no settings": (lambda: named("constant", updates=9, floor=0.1), "constant has no floor; it has none"),
    "all warm-up": (lambda: named("warm-up-cosine", updates=9, warm_up=9), "9 updates has no room.* warm-up of 9"),
    "longer warm-up": (lambda: named("inverse-square-root", updates=9, warm_up=20), "9 updates.*warm-up of 20"),
    "negative warm-up": (lambda: named("linear", updates=9, warm_up=-1), "warm-up of -1"),
    "one update": (lambda: named("warm-up-linear", updates=1), "1 updates has no room"),
    "no updates": (lambda: named("linear", updates=0), "`updates`.*got 0"),
    "half an update": (lambda: named("linear", updates=2.5), "`updates`.*got 2.5"),  # type: ignore[arg-type]
    "decay before warm-up": (lambda: WarmUpStableDecay(updates=10, warm_up=9), "no room for a warm-up of 9"),
    "growing": (lambda: Step(updates=9, factor=2.0), "`factor`.*at most 1; got 2.0"),
    "to nothing": (lambda: Exponential(updates=9, floor=0.0), "`floor`.*above 0"),
    "below nothing": (lambda: Linear(updates=9, floor=-0.1), "`floor`.*between 0 and 1; got -0.1"),
    "a word": (lambda: named("cosine", updates=9, floor="low"), "`floor`.*got 'low'"),
    "no way down": (lambda: OneCycle(updates=9, rise=1.0), "come down"),
    "cycle of one": (lambda: OneCycle(updates=1), "two updates"),
    "shape": (lambda: named("one-cycle", updates=9, shape="round"), "`shape`.*'round'"),
    "half a cycle": (lambda: Cyclical(updates=9, cycles=0), "`cycles`.*got 0"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    made, says = REFUSED[name]
    with pytest.raises(InputError, match=says):
        made()


def groups(parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
    halves: list[dict[str, Any]] = [{"params": parameters[:2], "lr": 0.01}, {"params": parameters[2:]}]
    return torch.optim.SGD(halves, lr=0.1)


def test_a_problem_is_walked_under_its_schedule() -> None:
    schedule = named("warm-up-cosine", updates=20, warm_up=4)
    treated = with_schedule(zoo.problem(zoo.perceptron, optimizer=groups).branch(), schedule)
    run = walk(treated, 20)
    assert [row.rate for row in run.curve] == pytest.approx([0.01 * schedule(update) for update in range(20)])
    assert treated.schedule_every == "update"


def test_base_rates_are_the_present_ones_whatever_schedule_there_was() -> None:
    branch = zoo.problem(zoo.perceptron, optimizer=groups, scheduler=lambda o: torchs.StepLR(o, 1, gamma=0.5)).branch()
    walk(branch, 2 * branch.data.batches_per_epoch)
    present = [group["lr"] for group in branch.optimizer.param_groups]
    assert present == pytest.approx([0.01 / 4, 0.1 / 4])
    treated = with_schedule(branch, Linear(updates=10))
    walk(treated, 5)
    assert [group["lr"] for group in treated.optimizer.param_groups] == pytest.approx([rate / 2 for rate in present])


@pytest.mark.parametrize("name", [*SCHEDULES, "warm-up-cosine"])
def test_state_goes_to_a_file_and_comes_back(name: str) -> None:
    """Also through torch's loader that takes numbers alone; the schedules themselves are not written into."""
    schedules: list[Schedule] = [named(name, updates=30), Cosine(updates=12)]
    first, second = (with_schedule(zoo.problem(zoo.perceptron).branch(), schedule) for schedule in schedules)
    walk(first, 7)
    file = io.BytesIO()
    torch.save(first.scheduler.state_dict(), file)
    file.seek(0)
    second.scheduler.load_state_dict(torch.load(file, weights_only=True))
    assert second.scheduler.last_epoch == 7
    assert schedules[1] == Cosine(updates=12)
    third = first.branch()
    walk(first, 5, start=7)
    walk(third, 5, start=7)
    assert third.optimizer.param_groups[0]["lr"] == first.optimizer.param_groups[0]["lr"]
    assert third.scheduler.last_epoch == 12
    assert pickle.loads(pickle.dumps(first.scheduler.lr_lambdas[0]))(3) == schedules[0](3)


def test_schedules_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Cosine(updates=3).updates = 4  # type: ignore[misc]
