"""Direction: does the walk get anywhere? The fall of the loss against its noise, and which way gradients point."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median
from typing import ClassVar

import plotly.graph_objects as go

from unstuck import plot
from unstuck.budget import Budget
from unstuck.numerics.statistics import trend
from unstuck.reading import Estimate, Reading, quantity
from unstuck.view import View
from unstuck.walk import Run, walk

BLOWN_UP = 3.0
"""A batch loss this many times the loss at the start is no fluctuation, where it is also above a constant answer's."""

WINDOW = 48
"""Updates walked when the probe is asked for by itself."""


@dataclass(frozen=True, kw_only=True)
class DirectionReading(Reading):
    """A stretch of the walk, as it is."""

    probe: ClassVar[str] = "direction"
    title: ClassVar[str] = "The walk, as it is"
    chapter: ClassVar[int] = 3

    updates: int = quantity("updates", "walked")
    start: float = quantity("loss", "over the fixed sample, before")
    end: float | None = quantity("loss", "over the fixed sample, after; none where the walk broke")
    slope: Estimate = quantity("loss / update", "trend of the batch losses, and its standard error")
    cosine: float = quantity("", "median cosine between successive gradients; below 0 the steps turn back")
    largest: float = quantity("loss", "highest batch loss on the way")
    typical_norm: float = quantity("loss / unit", "median gradient norm on the way")
    broke_at: int | None = quantity("update", "where the loss stopped being finite; none where it did not")
    losses: tuple[float, ...] = ()
    norms: tuple[float, ...] = ()
    """Of the gradients on the way, as long as they are finite."""

    @property
    def falls(self) -> bool:
        """Whether the loss falls beyond its noise."""
        return self.end is not None and self.slope.high < 0 and self.end < self.start

    def thrown(self, constant: float | None) -> bool:
        """Whether the loss has blown up: it broke, or a batch's is far above the start and what a constant answer has.

        At a small loss single batches are many times the mean.

        Args:
            constant: the loss of the best constant answer; None where it is not known.
        """
        return self.broke_at is not None or self.largest > max(BLOWN_UP * abs(self.start), 1e-12, constant or 0.0)

    def draw(self) -> go.Figure:
        """The loss of each batch."""
        figure = plot.figure(
            title=self.title,
            x="update",
            y="loss of the batch",
            summary=f"Over {self.updates} updates the loss went from {self.start:.4g} to "
            f"{'not a number' if self.end is None else format(self.end, '.4g')}.",
        )
        plot.line(figure, [self.update + i for i in range(len(self.losses))], self.losses, name="as it is")
        return figure


@dataclass(frozen=True, kw_only=True)
class Direction:
    """Walks a branch for a while."""

    reads: ClassVar[type[Reading]] = DirectionReading
    curvature: ClassVar[bool] = False
    once: ClassVar[bool] = False

    def measure(self, view: View, budget: Budget) -> DirectionReading:
        updates = max(2, min(WINDOW, budget.updates))
        run = walk(
            view.problem.branch(),
            updates,
            order=view.seed,
            sample=view.sample,
            checkpoints=(0, updates),
            cosines=True,
        )
        view.gradient_evaluations += len(run.curve) * view.problem.accumulate
        return of_run(run, samples=view.samples)


def of_run(run: Run, *, samples: int) -> DirectionReading:
    """The reading of a walk that was made anyway; its first and last checkpoints are the start and the end."""
    losses = [row.loss for row in run.curve if math.isfinite(row.loss)]
    cosines = [row.cosine for row in run.curve if math.isfinite(row.cosine)]
    norms = [row.gradient_norm for row in run.curve if math.isfinite(row.gradient_norm)]
    fitted = trend(losses) if len(losses) > 3 else None
    return DirectionReading(
        update=run.curve[0].update,
        samples=samples,
        updates=len(run.curve),
        start=run.checkpoints[0][1],
        end=run.checkpoints[-1][1] if run.broke_at is None else None,
        slope=Estimate(fitted.slope, fitted.standard_error) if fitted else Estimate(0.0, math.inf),
        cosine=median(cosines) if cosines else 0.0,
        largest=max(losses, default=math.nan),
        typical_norm=median(norms or [0.0]),
        broke_at=run.broke_at,
        losses=tuple(losses),
        norms=tuple(norms),
    )
