"""Time per update, by clocks that were made: what a loss of B samples takes is a + b·B."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch
from tests import zoo
from tests.probes.look import Weights, view
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from unstuck import causes
from unstuck.budget import Budget
from unstuck.errors import InputError
from unstuck.probes import batch_time
from unstuck.probes.batch_time import NO_VERDICT, TOO_NOISY, BatchTime, BatchTimeReading, synchronize
from unstuck.problem import Problem


class Machine:
    """One on which an update with B samples takes so long; the clock stands still in between."""

    def __init__(self, seconds: Callable[[int], float]) -> None:
        self.seconds = seconds
        self.now = 100.0
        self.sizes: list[int] = []

    def __deepcopy__(self, memo: dict[int, Any]) -> Machine:
        return self  # a branch has its loss from the same machine

    def clock(self) -> float:
        return self.now

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        self.now += self.seconds(len(outputs))
        self.sizes.append(len(outputs))
        return outputs.square().mean()

    def problem(self, *, samples: int = 100, batch: int = 10, **fields: Any) -> Problem:
        model = Weights(1.0)
        data = TensorDataset(torch.ones(samples, 1), torch.zeros(samples))
        given: dict[str, Any] = {"train": DataLoader(data, batch_size=batch, shuffle=True), **fields}
        return Problem(model=model, loss=self.loss, optimizer=torch.optim.SGD(model.parameters(), lr=0.1), **given)

    def read(self, probe: BatchTime | None = None, *, budget: int = 2000, **given: Any) -> BatchTimeReading:
        probe = probe or BatchTime()
        return probe.measure(view(self.problem(**given)), Budget(updates=budget), clock=self.clock)


def in_turn(factors: Sequence[float], *, fixed: float = 2e-3, per_sample: float = 1e-4) -> Callable[[int], float]:
    """a + b·B, times these factors one after the other."""
    following: Iterator[float] = itertools.cycle(factors)
    return lambda size: (fixed + per_sample * size) * next(following)


def test_a_straight_line_is_found_exactly() -> None:
    machine = Machine(lambda size: 2e-3 + 1e-4 * size)
    reading = machine.read()
    assert reading.batch_sizes == (1, 2, 4, 8, 10, 16, 32, 64, 100)
    assert reading.update_time == pytest.approx([2e-3 + 1e-4 * size for size in reading.batch_sizes])
    assert reading.epoch_time == pytest.approx([0.2 / size + 1e-2 for size in reading.batch_sizes])
    assert reading.update_spread == pytest.approx([0.0] * 9, abs=1e-12)
    assert reading.fixed is not None
    assert reading.per_sample is not None
    assert reading.half_speed is not None
    assert (reading.fixed.value, reading.per_sample.value) == pytest.approx((2e-3, 1e-4))
    assert reading.half_speed.value == pytest.approx(20.0)
    assert max(reading.fixed.error, reading.per_sample.error, reading.half_speed.error, reading.misfit or 0) < 1e-9
    assert reading.fixed_share == pytest.approx(20 / 30)
    assert reading.fastest == pytest.approx(100 / 1.2e-2)
    assert reading.fastest_batch == 100
    assert (reading.threads, reading.device, reading.samples) == (torch.get_num_threads(), "cpu", 100)
    assert reading.notes == (NO_VERDICT,)


def test_the_picture_shows_both_times_and_the_fit() -> None:
    reading = Machine(in_turn([1.1, 1, 0.9])).read()
    assert reading.half_speed is not None
    update, fit, epoch, epoch_fit, own, half = reading.draw().data
    assert list(update.y) == pytest.approx(reading.update_time)
    assert list(epoch.y) == pytest.approx(reading.epoch_time)
    for trace in (update, epoch):
        assert all(low < middle for low, middle in zip(trace.error_y.arrayminus, trace.y, strict=True))
    assert list(fit.x) == list(epoch_fit.x)
    assert list(epoch_fit.y) == pytest.approx([y * 100 / x for x, y in zip(fit.x, fit.y, strict=True)])
    assert (list(own.x), own.y[0]) == ([10, 10], pytest.approx(reading.update_time[4]))
    assert list(half.x) == [reading.half_speed.value] * 2


def test_what_is_timed_is_counted_and_nothing_is_warm_at_first() -> None:
    """The first two updates of a size do not count: here they take ever so long."""
    slow = dict.fromkeys((1, 2, 4, 8, 10, 16, 32, 64, 100), 2)

    def seconds(size: int) -> float:
        slow[size] -= 1
        return 1.0 if slow[size] >= 0 else 2e-3 + 1e-4 * size

    machine = Machine(seconds)
    problem = machine.problem()
    seen = view(problem)
    reading = BatchTime().measure(seen, Budget(), clock=machine.clock)
    assert reading.repeats == (7,) * 9
    counts = {size: machine.sizes.count(size) for size in set(machine.sizes)}
    assert counts == {1: 9, 2: 9, 4: 9, 8: 9, 10: 10, 16: 9, 32: 9, 64: 9, 100: 9}  # one looks at memory
    assert reading.half_speed is not None
    assert reading.half_speed.value == pytest.approx(20.0)
    assert seen.gradient_evaluations == pytest.approx(1 + 9 * (5 + 1.6 + 3.2 + 6.4 + 10))
    assert problem.point()["weights"] == pytest.approx([1.0])


@pytest.mark.parametrize(
    ("work", "budget", "last", "repeats"),
    [
        (300, 2000, 100, 7),  # the whole set
        (115, 2000, 64, 3),  # 9 updates of each size up to 10 are 45, of 16 14.4, of 32 28.8; 4 of 64 are 25.6
        (60, 2000, 16, 7),
        (2000, 45, 10, 7),
        (2000, 20, 2, 7),
        (2000, 1, 1, 3),
    ],
)
def test_work_ends_the_sizes(work: int, budget: int, last: int, repeats: int) -> None:
    machine = Machine(lambda size: 2e-3 + 1e-4 * size)
    reading = machine.read(BatchTime(work=work), budget=budget)
    assert (reading.batch_sizes[-1], reading.repeats[-1]) == (last, repeats)
    spent = sum(max(1.0, size / 10) for size in machine.sizes) - 1
    assert spent <= max(4, min(work, budget))
    assert (len(reading.notes) == 1) == (last == 100)
    assert (reading.half_speed is None) == (len(reading.batch_sizes) < 3)
    assert reading.draw().data


def test_the_fit_widens_its_errors_where_times_are_not_on_a_line() -> None:
    straight = Machine(lambda size: 2e-3 + 1e-4 * size).read()
    bent = Machine(lambda size: 2e-3 + 1e-4 * size**1.1).read()
    assert straight.half_speed is not None
    assert bent.half_speed is not None
    assert bent.half_speed.error > 1e6 * straight.half_speed.error
    assert bent.misfit is not None
    assert 0.01 < bent.misfit < 0.2


def test_medians_and_quartiles() -> None:
    """After one that looks at memory and two to warm up, seven by factors of 1 to 7."""
    reading = Machine(in_turn([9, 9, 9, 4, 1, 7, 2, 6, 3, 5])).read(BatchTime(work=9), batch=1)
    assert reading.batch_sizes == (1,)
    one = 2e-3 + 1e-4
    assert reading.update_time == pytest.approx([4 * one])
    assert reading.quartiles[0] == pytest.approx((2.5 * one, 5.5 * one))
    assert reading.update_spread == pytest.approx([1.5 * one])
    assert reading.notes[-1] == TOO_NOISY


def test_a_busy_machine_is_told_no_half_speed() -> None:
    steady, busy = (Machine(in_turn([1 + noise, 1, 1 - noise])).read() for noise in (0.1, 0.6))
    assert steady.half_speed is not None
    assert steady.half_speed.value == pytest.approx(20.0, rel=0.2)
    assert busy.half_speed is None
    assert TOO_NOISY in busy.notes
    assert TOO_NOISY not in steady.notes


@pytest.mark.parametrize("part", ["fixed", "per_sample"])
def test_no_half_speed_where_one_part_does_not_show(part: str) -> None:
    """On a machine that does one after the other, and on one that does all at once."""
    reading = Machine(in_turn([1.1, 0.9, 1.05, 0.98], **{part: 0.0})).read()
    assert reading.half_speed is None
    assert reading.fixed_share is None
    assert reading.fixed is not None
    assert "half speed" not in [trace.name for trace in reading.draw().data]


def test_sizes_that_the_model_refuses_are_left_out() -> None:
    def picky(size: int) -> float:
        if size in (1, 64):
            raise RuntimeError(f"no {size}\nplease")
        return 2e-3 + 1e-4 * size

    reading = Machine(picky).read()
    assert reading.batch_sizes == (2, 4, 8, 10, 16, 32)
    assert reading.notes[1:] == (
        "No update with 1 samples was timed: RuntimeError: no 1.",
        "No update with 64 samples or more was timed: RuntimeError: no 64.",
    )


def test_a_model_that_refuses_every_size_says_why() -> None:
    def never(size: int) -> float:
        raise RuntimeError("not today")

    with pytest.raises(RuntimeError, match="not today"):
        Machine(never).read()


@pytest.mark.parametrize(("numbers", "last"), [(400, 16), (410, 24)])
def test_a_large_model_is_not_held_once_per_sample(monkeypatch: pytest.MonkeyPatch, numbers: int, last: int) -> None:
    """Of a sample, its 4 inputs, 400 units and what the loss needs are kept; 41,000 weights are there anyway."""
    monkeypatch.setattr(batch_time, "MEMORY", 24 * numbers * 8)
    problem = zoo.problem(lambda: nn.Sequential(nn.Linear(4, 200), nn.Linear(200, 200), nn.Linear(200, 3)))
    assert BatchTime().measure(view(problem), Budget()).batch_sizes[-1] == last


def test_memory_ends_the_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_time, "MEMORY", 0)
    reading = Machine(lambda size: 1.0 + size).read()
    assert reading.batch_sizes == (1, 2, 4, 8, 10)  # the training's own is walked anyway
    assert "No update with 16 samples or more was timed: its graph would hold" in reading.notes[1]


def test_recorded_batches_are_joined_and_cut() -> None:
    batches = [(torch.ones(6, 1), torch.zeros(6)) for _ in range(4)]
    reading = Machine(lambda size: 2e-3 + 1e-4 * size).read(train=batches)
    assert reading.batch_sizes == (1, 2, 4, 6, 8, 16, 24)
    assert reading.half_speed is not None
    unlike = [(torch.ones(6, width), torch.zeros(6)) for width in (1, 2, 1, 2)]
    reading = Machine(lambda size: 2e-3 + 1e-4 * size).read(train=unlike)
    assert reading.batch_sizes == (1, 2, 4, 6)
    assert "cannot be joined" in reading.notes[-1]


@pytest.mark.parametrize("name", ["batch norm", "named inputs", "adam", "lbfgs", "accumulating", "stream loader"])
def test_other_ways_to_train(name: str) -> None:
    """By the real clock: the numbers are those of this machine, and only what they are of is looked at."""
    reading = BatchTime().measure(view(zoo.ZOO[name](torch.float64)), Budget())
    least = 2 if name == "batch norm" else 1
    steps = {least * 2**power for power in range(5)}
    assert reading.batch_sizes == tuple(sorted({step for step in steps if step < 24} | {5, 24}))
    assert all(seconds > 0 for seconds in reading.update_time)


def test_no_cause_reads_it() -> None:
    assert not [cause.slug for cause in causes.ALL if BatchTimeReading in {kind for kind, _ in cause.needs.values()}]
    assert NO_VERDICT in Machine(lambda size: 1.0 + size).read().notes


def test_devices_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[torch.device] = []
    monkeypatch.setattr(torch.accelerator, "synchronize", waited.append)
    synchronize(torch.device("cpu"))
    assert waited == []
    for kind in ("cuda", "mps", "xpu"):
        synchronize(torch.device(kind))
    assert [device.type for device in waited] == ["cuda", "mps", "xpu"]


def test_less_than_the_fewest_updates_is_no_work() -> None:
    with pytest.raises(InputError, match=r"batch-time: `work` must be 4 .*; got 3"):
        BatchTime(work=3)
