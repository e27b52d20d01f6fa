"""Batch time: how long an update and an epoch take, against the batch size.

The lecture's figure: on parallel hardware an update takes hardly longer for many samples than for few, so that an
epoch of large batches is over sooner. Here t(B) = a + b·B is fitted to the times of updates: a is what each of them
takes whatever it looks at, b what a sample adds. At B½ = a/b both are equal, and an epoch of N samples, (N/B) t(B),
takes twice as long as in very large batches. Below B½ a larger batch costs an update little, above it almost in
proportion.

These are times of this machine as it was, with whatever else it had to do: no cause and no remedy reads them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import ClassVar

import numpy as np
import plotly.graph_objects as go
import torch

from unstuck import plot
from unstuck.budget import Budget
from unstuck.curvature.choice import bytes_saved
from unstuck.curvature.hessian import MEMORY
from unstuck.data import Batch, Data, first_samples, samples_in
from unstuck.errors import InputError, UnstuckError, in_a_line
from unstuck.methods.batch import joined
from unstuck.numerics.fit import FEWEST, Line, weighted_line
from unstuck.reading import Estimate, Reading, quantity
from unstuck.untouched import in_mode, seeded
from unstuck.view import View
from unstuck.walk import Walker

FACTOR = 2
"""From one batch size to the next."""

WARM_UPS = 2
"""Updates of a size before those that are timed: they fill the optimizer's state and the allocator's caches."""

REPEATS = 7
"""Updates of a size that are timed."""

FEWEST_TIMED = 3
"""The same where there is no work left for more; a size with fewer is left out."""

FEWEST_UPDATES = 1 + FEWEST_TIMED
"""Of any size: one at least to warm up."""

NOISY = 0.25
"""Of a typical median: where updates of one size differ by more, no half speed is told."""

NO_VERDICT = "These are times of this machine as it was; no diagnosis rests on them."
TOO_NOISY = "Updates of one size took very different times, so no half speed is told: the machine had more to do."


@dataclass(frozen=True, kw_only=True)
class Timing:
    """What the timed updates of one batch size took, in seconds."""

    size: int
    seconds: tuple[float, ...]

    @property
    def middle(self) -> float:
        """The median."""
        return median(self.seconds)

    @property
    def quartiles(self) -> tuple[float, float]:
        """The lower and the upper one."""
        low, _, high = quantiles(self.seconds, n=4, method="inclusive")
        return low, high

    @property
    def spread(self) -> float:
        """Half the distance between them."""
        low, high = self.quartiles
        return (high - low) / 2


@dataclass(frozen=True, kw_only=True)
class BatchTimeReading(Reading):
    """Times of updates and epochs."""

    probe: ClassVar[str] = "batch-time"
    title: ClassVar[str] = "Time per update and per epoch"
    chapter: ClassVar[int] = 2

    batch_sizes: tuple[int, ...] = quantity("samples", "B, in an update, over all processes")
    update_time: tuple[float, ...] = quantity("s", "t(B), median of some updates, whose data lie in memory")
    update_spread: tuple[float, ...] = quantity("s", "half the distance between the quartiles of these updates")
    epoch_time: tuple[float, ...] = quantity("s", "(N/B) t(B), for the N samples of the training set")
    fixed: Estimate | None = quantity("s", "a of the fit t(B) = a + b·B, for any update; and its standard error")
    per_sample: Estimate | None = quantity("s / sample", "b of the fit, for each sample in it; error as above")
    half_speed: Estimate | None = quantity(
        "samples", "B½ = a/b: below it a larger batch costs an update little; error as above"
    )
    misfit: float | None = quantity("", "largest distance of a median from the fit, over the median")
    fixed_share: float | None = quantity("", "a / (a + b·B) at the training's own batch")
    fastest: float = quantity("samples / s", "at the batch size that is fastest through an epoch")
    fastest_batch: int = quantity("samples", "this batch size")
    threads: int = quantity("", "of torch, as this problem is walked here; its own training may have more")
    device: str = quantity("", "where the model lives")
    own_batch: int = 0
    repeats: tuple[int, ...] = ()
    """Updates that were timed, of each size."""
    quartiles: tuple[tuple[float, float], ...] = ()
    """Of their times."""

    def draw(self) -> go.Figure:
        """Both times over the batch size, and the fit."""
        first, last = self.batch_sizes[0], self.batch_sizes[-1]
        half = "" if self.half_speed is None else f" Half speed is at {self.half_speed.value:.3g} samples."
        figure = plot.figure(
            title=self.title,
            x="batch size in samples",
            y="seconds",
            log_x=True,
            log_y=True,
            summary=f"From {first} to {last} samples an update goes from {self.update_time[0]:.3g} s to "
            f"{self.update_time[-1]:.3g} s, an epoch from {self.epoch_time[0]:.3g} s to {self.epoch_time[-1]:.3g} s."
            f"{half}",
        )
        self._draw_times(figure, "an update", "accent", lambda _: 1.0)
        self._draw_times(figure, "an epoch", "opposite", lambda size: self.samples / size)
        self._mark(figure, "the training's batch", "square-open", self.own_batch)
        if self.half_speed is not None:
            self._mark(figure, "half speed", "diamond-open", self.half_speed.value)
        return figure

    def _draw_times(self, figure: go.Figure, name: str, role: plot.Role, updates: Callable[[float], float]) -> None:
        """Points with their quartiles, and the fit, of so many updates of a size."""
        counts = [updates(size) for size in self.batch_sizes]
        middles = [seconds * count for seconds, count in zip(self.update_time, counts, strict=True)]
        ends = [(low * count, high * count) for (low, high), count in zip(self.quartiles, counts, strict=True)]
        figure.add_scatter(
            x=self.batch_sizes,
            y=middles,
            error_y={
                "array": [high - middle for (_, high), middle in zip(ends, middles, strict=True)],
                "arrayminus": [middle - low for (low, _), middle in zip(ends, middles, strict=True)],
            },
            mode="markers",
            name=name,
            marker={"color": plot.COLOURS[role], "size": 7},
        )
        if self.fixed is not None and self.per_sample is not None:
            sizes = np.geomspace(self.batch_sizes[0], self.batch_sizes[-1])
            fitted = [updates(size) * (self.fixed.value + self.per_sample.value * size) for size in sizes]
            plot.line(figure, sizes, fitted, name=f"{name}, a + b·B", role=role)

    def _mark(self, figure: go.Figure, name: str, symbol: str, size: float) -> None:
        """A size on both curves, where it lies between those that were timed."""
        if not self.batch_sizes[0] <= size <= self.batch_sizes[-1]:
            return
        at = np.exp(np.interp(np.log(size), np.log(self.batch_sizes), np.log(self.update_time)))
        figure.add_scatter(
            x=[size, size],
            y=[at, at * self.samples / size],
            mode="markers",
            name=name,
            marker={"color": plot.COLOURS["untouched"], "size": 15, "symbol": symbol, "line": {"width": 2}},
        )


@dataclass(frozen=True, kw_only=True)
class BatchTime:
    """Times a few updates of each size, from one sample to the whole set, on branches, with the real optimizer.

    Attributes:
        work: what they may cost together, in gradient evaluations of the training's own batch; a larger batch counts
            as so many of them. It decides where the sizes end.
    """

    reads: ClassVar[type[Reading]] = BatchTimeReading
    curvature: ClassVar[bool] = False
    once: ClassVar[bool] = True

    work: int = 300

    def __post_init__(self) -> None:
        if self.work < FEWEST_UPDATES:
            raise InputError(
                f"batch-time: `work` must be {FEWEST_UPDATES} or more gradient evaluations; got {self.work}"
            )

    def measure(self, view: View, budget: Budget, clock: Callable[[], float] = time.perf_counter) -> BatchTimeReading:
        timings, notes = _timings(view, max(FEWEST_UPDATES, min(self.work, budget.updates)), clock)
        problem = view.problem
        sizes = [timing.size * problem.ranks.size for timing in timings]
        times = [timing.middle for timing in timings]
        speeds = [size / seconds for size, seconds in zip(sizes, times, strict=True)]
        line = _fitted(sizes, timings)
        noisy = median(timing.spread / timing.middle for timing in timings) > NOISY
        half = None if noisy else _half_speed(line)
        return BatchTimeReading(
            update=view.update,
            samples=problem.data.samples,
            notes=(NO_VERDICT, *notes, *([TOO_NOISY] if noisy else [])),
            batch_sizes=tuple(sizes),
            update_time=tuple(times),
            update_spread=tuple(timing.spread for timing in timings),
            epoch_time=tuple(problem.data.samples / speed for speed in speeds),
            fixed=None if line is None else Estimate(line.intercept, line.intercept_error),
            per_sample=None if line is None else Estimate(line.slope, line.slope_error),
            half_speed=half,
            misfit=None if line is None else max(abs(1 - line.at(s) / t) for s, t in zip(sizes, times, strict=True)),
            fixed_share=None if half is None else half.value / (half.value + problem.data.batch_size),
            fastest=max(speeds),
            fastest_batch=sizes[speeds.index(max(speeds))],
            threads=torch.get_num_threads(),
            device=str(problem.device),
            own_batch=problem.data.batch_size,
            repeats=tuple(len(timing.seconds) for timing in timings),
            quartiles=tuple(timing.quartiles for timing in timings),
        )


def _timings(view: View, work: float, clock: Callable[[], float]) -> tuple[list[Timing], list[str]]:
    """Sizes in geometric steps, from the smallest that the model takes to the whole set, and the training's own.

    Which they are does not depend on the clock, so that several processes time the same ones.

    Returns:
        What they took, and notes on those that were left out.
    """
    problem, data = view.problem, view.problem.data
    own, most = (max(1, samples // problem.ranks.size) for samples in (data.batch_size, data.samples))
    least = min(own, 2 if any(problem.modes("measuring").values()) else 1)  # batch normalization takes no single sample
    steps = {least * FACTOR**power for power in range(most.bit_length())}
    limits = _Limits(own=own, work=work, kept=_bytes_kept(view, own) / own)
    timings: list[Timing] = []
    failures: dict[int, Exception] = {}
    for size in sorted({*(step for step in steps if step < most), own, most}):
        try:
            timings.append(_timing(view, size, limits, clock))
        except Exception as error:  # noqa: BLE001 - a model may refuse a size, in any way
            failures[size] = error
            if size > own:
                break
    if not timings:
        raise next(iter(failures.values()))
    named = {size: f"{size} samples{' or more' if size > own else ''}" for size in failures}
    return timings, [f"No update with {named[s]} was timed: {in_a_line(error)}." for s, error in failures.items()]


@dataclass(kw_only=True)
class _Limits:
    """How far sizes go.

    Attributes:
        own: the training's own batch, on one process.
        work: gradient evaluations of such a batch that are left.
        kept: bytes that a sample's graph holds.
    """

    own: int
    work: float
    kept: float

    def cost(self, size: int) -> float:
        """Of an update, in gradient evaluations."""
        return max(1.0, size / self.own)

    def updates(self, size: int) -> int:
        """How many there is work for.

        Raises:
            UnstuckError: too few, or one would not fit into memory.
        """
        if size > self.own and size * self.kept > MEMORY:
            raise UnstuckError(f"its graph would hold more than {MEMORY / 2**30:.0f} GiB")
        found = min(WARM_UPS + REPEATS, int(self.work / self.cost(size)))
        if found < FEWEST_UPDATES:
            raise UnstuckError("it would be more work than was asked for")
        return found


def _timing(view: View, size: int, limits: _Limits, clock: Callable[[], float]) -> Timing:
    """Updates on a branch of their own: none sees what others made of the weights."""
    updates = limits.updates(size)
    limits.work -= updates * limits.cost(size)
    view.gradient_evaluations += updates * limits.cost(size)
    batch, branch = _batch(view.problem.data, size, view.seed), view.problem.branch()
    seconds = []
    with seeded(view.seed), in_mode(branch.model, branch.modes("training")):
        walker = Walker(branch)
        for _ in range(updates):
            synchronize(branch.device)
            began = clock()
            walker.update([batch])
            synchronize(branch.device)
            seconds.append(clock() - began)
    return Timing(size=size, seconds=tuple(seconds[min(WARM_UPS, updates - FEWEST_TIMED) :]))


def _bytes_kept(view: View, size: int) -> int:
    """What the graph of an update holds, beside the parameters, which are there anyway."""
    branch = view.problem.branch()
    view.gradient_evaluations += 1
    with seeded(view.seed), in_mode(branch.model, branch.modes("training")), bytes_saved() as saved:
        Walker(branch).update([_batch(view.problem.data, size, view.seed)])
    for parameter in branch.model.parameters():
        saved.pop(parameter.untyped_storage().data_ptr(), None)
    return sum(saved.values())


def _batch(data: Data, size: int, seed: int) -> Batch:
    """So many samples of the training set, as the loader puts them together."""
    drawn = data.sample(size, chunk=size, seed=seed)
    return first_samples(drawn[0] if samples_in(drawn[0]) >= size else joined(drawn), size)


def synchronize(device: torch.device) -> None:
    """Wait until a device has done what it was given; a processor has when a call returns."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def _fitted(sizes: Sequence[int], timings: Sequence[Timing]) -> Line | None:
    """t(B) = a + b·B through the medians, whose relative errors are taken to be alike; None for too few of them."""
    if len(timings) < FEWEST:
        return None
    weights = [len(timing.seconds) / timing.middle**2 for timing in timings]
    return weighted_line(sizes, [timing.middle for timing in timings], weights)


def _half_speed(line: Line | None) -> Estimate | None:
    """a/b, where both show beyond their errors."""
    if line is None or line.intercept <= line.intercept_error or line.slope <= line.slope_error:
        return None
    return Estimate(*line.ratio())
