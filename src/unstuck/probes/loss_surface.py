"""Loss surface: what a classifier's loss looks like over two of its logits, by cross-entropy and by squared error.

The lecture's picture: all logits of a sample but two stay where they are, and the loss is drawn over these two. Where
the answer is wrong and certain, cross-entropy still has a slope, and the squared error on softmax is flat, so that a
training which starts there does not move (Glorot and Bengio 2010, section 4.2). Both are drawn whatever the problem's
own loss is, and the sample's own logits are marked.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import plotly.graph_objects as go
import torch
from torch import Tensor

from unstuck import plot
from unstuck.budget import Budget
from unstuck.errors import InputError
from unstuck.forward import split
from unstuck.methods.logits import logits_at
from unstuck.methods.loss import LOSSES, Loss, softmax
from unstuck.reading import Estimate, Reading, quantity
from unstuck.view import View

ENTROPY, SQUARES = LOSSES["cross-entropy"], LOSSES["squared-error-on-softmax"]

NAMES = {ENTROPY.name: "cross-entropy", SQUARES.name: "squared error"}

FLAT = 0.01
"""Of the slope of cross-entropy: where that of the squared error is below it, the squared error counts as flat."""

MARGIN = 1.2
"""Half the side of the plane over the sample's larger logit, where the plane would not reach it."""


@dataclass(frozen=True, kw_only=True)
class Surface:
    """A loss over the plane of two logits: ``heights[i][j]`` at ``logits[j]`` of the first and ``logits[i]`` of the
    second; and its slope over their difference, the first less the second."""

    name: str
    heights: tuple[tuple[float, ...], ...]
    slopes: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class LossSurfaceReading(Reading):
    """Two losses over two logits of one sample."""

    probe: ClassVar[str] = "loss-surface"
    title: ClassVar[str] = "The loss over two logits"
    chapter: ClassVar[int] = 4

    right: int | None = quantity("", "class of the sample that is answered worst, which is shown; none without classes")
    pair: tuple[int, ...] = quantity("", "classes whose logits the plane is made of")
    own: tuple[float, ...] = quantity("logit", "where the sample stands on the plane")
    probability: float | None = quantity("", "what the model gives to the right class of that sample")
    cross_entropy: float | None = quantity("loss", "of that sample")
    squared_error: float | None = quantity("loss", "of that sample, Σ (p − y)² on softmax")
    cross_entropy_slope: float | None = quantity("loss / logit", "norm of the gradient on the logits of that sample")
    squared_error_slope: float | None = quantity("loss / logit", "the same of the squared error")
    corner_ratio: float | None = quantity(
        "", "how much steeper cross-entropy is where the plane is most wrong: first logit lowest, second highest"
    )
    wrong: Estimate | None = quantity("", "share of the samples that are answered wrongly, and its standard error")
    flat: Estimate | None = quantity(
        "", "share of these at which the squared error is less than 1/100 as steep as cross-entropy; error as above"
    )
    logits: tuple[float, ...] = ()
    surfaces: tuple[Surface, ...] = ()

    def draw(self) -> go.Figure | None:
        """Both slopes over the difference of the two logits."""
        if not self.surfaces:
            return None
        first, second = self.pair
        figure = plot.figure(
            title="How steep each loss is",
            x=f"logit of class {first} − logit of class {second}",
            y="norm of the gradient on the logits",
            log_y=True,
            summary=f"Class {self.right} is right. At the sample the slope of cross-entropy is "
            f"{self.cross_entropy_slope:.3g}, that of the squared error {self.squared_error_slope:.3g}.",
        )
        for surface in self.surfaces:
            plot.line(figure, [2 * logit for logit in self.logits], surface.slopes, name=surface.name)
        figure.add_vline(x=self.own[0] - self.own[1], annotation_text="the sample")
        return figure

    def pictures(self) -> Mapping[str, go.Figure]:
        """The plane by each loss, and the slopes."""
        slopes = self.draw()
        planes = {surface.name.replace(" ", "-"): self._plane(surface) for surface in self.surfaces}
        return planes | ({} if slopes is None else {"slopes": slopes})

    def _plane(self, surface: Surface) -> go.Figure:
        first, second = self.pair
        lowest, highest = min(map(min, surface.heights)), max(map(max, surface.heights))
        figure = plot.figure(
            title=f"{self.title}: {surface.name}",
            x=f"logit of class {first}",
            y=f"logit of class {second}",
            summary=f"Class {self.right} is right. The {surface.name} goes from {lowest:.3g} to {highest:.3g}.",
        )
        figure.add_contour(x=self.logits, y=self.logits, z=surface.heights, contours_coloring="heatmap")
        figure.add_scatter(
            x=[self.own[0]],
            y=[self.own[1]],
            mode="markers",
            name="the sample",
            showlegend=False,
            marker={
                "color": plot.COLOURS["opposite"],
                "size": 12,
                "symbol": "x",
                "line": {"width": 1, "color": "white"},
            },
        )
        return figure


@dataclass(frozen=True, kw_only=True)
class LossSurface:
    """Passes forward over the sample, then work on the logits alone.

    Attributes:
        pair: the classes whose logits are varied; by default the right one and the likeliest of the others.
        span: half the side of the plane, around zero; more where the sample's own logits lie beyond.
        points: on each side.
    """

    reads: ClassVar[type[Reading]] = LossSurfaceReading
    curvature: ClassVar[bool] = False
    once: ClassVar[bool] = False

    pair: tuple[int, int] | None = None
    span: float = 10.0
    points: int = 41

    def __post_init__(self) -> None:
        if self.span <= 0 or self.points < 2:
            raise InputError(
                f"loss-surface: `span` must be above 0 and `points` 2 or more; got {self.span} and {self.points}"
            )

    def measure(self, view: View, budget: Budget) -> LossSurfaceReading:
        seen = _look(view)
        if isinstance(seen, str):
            return _none(view, seen)
        logits, wanted = seen.logits, seen.wanted
        right = int(wanted.argmax())
        pair = self._pair(logits, right)
        own = (float(logits[pair[0]]), float(logits[pair[1]]))
        span = max(self.span, MARGIN * max(map(abs, own)))
        places = torch.linspace(-span, span, self.points, dtype=logits.dtype, device=logits.device)
        plane = _Plane(logits, wanted, pair)
        corner = plane.at(torch.stack([-places[-1:], places[-1:]], 1))
        here = logits[None]
        return LossSurfaceReading(
            update=view.update,
            samples=view.samples,
            right=right,
            pair=pair,
            own=own,
            probability=float(softmax(here)[0, right]),
            cross_entropy=float(ENTROPY.error(here, wanted[None])),
            squared_error=float(SQUARES.error(here, wanted[None])),
            cross_entropy_slope=plane.slopes(ENTROPY, here)[0],
            squared_error_slope=plane.slopes(SQUARES, here)[0],
            corner_ratio=plane.steeper(corner),
            wrong=seen.wrong,
            flat=seen.flat,
            logits=tuple(places.tolist()),
            surfaces=tuple(plane.surface(loss, places, sum(own) / 2) for loss in (ENTROPY, SQUARES)),
        )

    def _pair(self, logits: Tensor, right: int) -> tuple[int, int]:
        if self.pair is None:
            others = logits.clone()
            others[right] = -math.inf
            return right, int(others.argmax())
        if not (self.pair[0] != self.pair[1] and all(0 <= each < len(logits) for each in self.pair)):
            raise InputError(f"loss-surface: `pair` must be two classes of 0 to {len(logits) - 1}; got {self.pair}")
        return self.pair


@dataclass(frozen=True, kw_only=True, eq=False)
class _Seen:
    """What the model answers: logits and y of the sample it answers worst, shape (classes,); shares of all samples."""

    logits: Tensor
    wanted: Tensor
    wrong: Estimate
    flat: Estimate | None


def _look(view: View) -> _Seen | str:
    """The answers over the sample; a sentence where they are none of a classifier."""
    view.gradient_evaluations += len(view.sample) / 3
    worst: list[tuple[float, Tensor, Tensor]] = []
    wrong = flat = count = 0
    for batch in view.sample:
        logits = logits_at(view.problem, view.point, batch, seed=view.seed)
        targets = None if logits is None else split(view.problem.to_device(batch))[1]
        if logits is None or not isinstance(targets, Tensor):
            return "its outputs and targets are not one tensor each, or are not handed out (`step`, sharded models)"
        try:
            ENTROPY.check(logits, targets)
        except InputError as error:
            return str(error)
        z, y = (rows.double().movedim(1, -1).flatten(0, -2) for rows in ENTROPY.read(logits, targets))
        errors, false = ENTROPY.error(z, y), z.argmax(1) != y.argmax(1)
        place = int(errors.argmax())
        worst.append((float(errors[place]), z[place], y[place]))
        gentle = SQUARES.slope(z, y).norm(dim=1) < FLAT * ENTROPY.slope(z, y).norm(dim=1)
        wrong, flat, count = wrong + int(false.sum()), flat + int((false & gentle).sum()), count + len(z)
    _, logits, wanted = max(worst, key=lambda answer: answer[0])
    return _Seen(
        logits=logits,
        wanted=wanted,
        wrong=_share(wrong, count, exact=view.exhaustive),
        flat=_share(flat, wrong, exact=view.exhaustive) if wrong else None,
    )


def _share(part: int, whole: int, *, exact: bool) -> Estimate:
    """A share p of n samples, with √(p (1 − p)/n); exact where they are all there is."""
    share = part / whole
    return Estimate(share, 0.0 if exact else math.sqrt(share * (1 - share) / whole))


def _none(view: View, because: str) -> LossSurfaceReading:
    return LossSurfaceReading(
        update=view.update,
        samples=view.samples,
        notes=(f"No classifier is seen here: {because}. There is no surface over its logits.",),
        right=None,
        pair=(),
        own=(),
        probability=None,
        cross_entropy=None,
        squared_error=None,
        cross_entropy_slope=None,
        squared_error_slope=None,
        corner_ratio=None,
        wrong=None,
        flat=None,
    )


@dataclass(frozen=True, eq=False)
class _Plane:
    """All logits of a sample but two stay where they are."""

    logits: Tensor
    wanted: Tensor
    pair: tuple[int, int]

    def at(self, points: Tensor) -> Tensor:
        """Logits with these for the two, shapes (n, 2) → (n, classes)."""
        rows = self.logits.repeat(len(points), 1)
        rows[:, list(self.pair)] = points
        return rows

    def slopes(self, loss: Loss, rows: Tensor) -> tuple[float, ...]:
        """The norm of the gradient on the logits, for each row."""
        return tuple(loss.slope(rows, self.wanted.expand_as(rows)).norm(dim=1).tolist())

    def steeper(self, row: Tensor) -> float:
        """How many times the slope of the squared error that of cross-entropy is, shape (1, classes)."""
        (entropy,), (squares,) = self.slopes(ENTROPY, row), self.slopes(SQUARES, row)
        return entropy / squares if squares > 0 else math.inf

    def surface(self, loss: Loss, places: Tensor, middle: float) -> Surface:
        """The loss over the square of places, line by line; its slope along the diagonal through (middle, middle)."""
        lines = [self.at(torch.stack([places, second.expand_as(places)], 1)) for second in places]
        diagonal = self.at(torch.stack([middle + places, middle - places], 1))
        return Surface(
            name=NAMES[loss.name],
            heights=tuple(tuple(loss.error(rows, self.wanted.expand_as(rows)).tolist()) for rows in lines),
            slopes=self.slopes(loss, diagonal),
        )
