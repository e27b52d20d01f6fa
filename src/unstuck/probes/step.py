"""Step: the loss along the optimizer's real update, and how near the rate is to the stability limit.

Along the direction d of an update, L(θ + m·d) over the multiple m says whether the present step (m = 1) is
far too short, about right, or beyond the valley. The limit is that of the optimizer on a quadratic of the
largest curvature (:mod:`unstuck.methods.stability`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import plotly.graph_objects as go
import torch

from unstuck import plot
from unstuck.budget import Budget
from unstuck.curvature.scaled import preconditioned
from unstuck.data import Batch
from unstuck.methods.anatomy import anatomy
from unstuck.methods.stability import StabilityLimit, stability_limit
from unstuck.reading import Estimate, Reading, quantity
from unstuck.untouched import in_mode, seeded
from unstuck.vector import Point, flatten, moved, norm
from unstuck.view import View
from unstuck.walk import Walker

DIRECTIONS = 3
"""Updates, from different batches, along which the loss is followed."""

MULTIPLES = tuple(4.0**power for power in range(-3, 10))
"""Multiples of the present step that are tried first; then halves and doubles of the best."""


@dataclass(frozen=True, kw_only=True)
class StepReading(Reading):
    """The loss along the present update."""

    probe: ClassVar[str] = "step"
    title: ClassVar[str] = "The loss along the present step"
    chapter: ClassVar[int] = 3

    optimizer: str = quantity("", "the optimizer's class")
    rate: float = quantity("", "learning rate of the first parameter group")
    momentum: float = quantity("", "share of the last movement that is kept (β₁ for Adam's kin)")
    best_multiple: Estimate = quantity(
        "steps",
        "multiple of the present step at which the loss is lowest; its error is half the range over batches",
    )
    critical_multiple: float = quantity("steps", "multiple beyond which the loss is above where it started")
    best_drop: Estimate = quantity("loss", "how far the loss falls at the best multiple; error as above")
    relative_step: float = quantity("", "norm of the update over the norm of the parameters")
    sharpness: Estimate | None = quantity(
        "loss / unit²", "largest curvature that the update rule sees (preconditioned where it divides by σ)"
    )
    limit: float | None = quantity("loss / unit²", "largest curvature that this rule and rate can walk")
    sharpness_over_limit: float | None = quantity("", "above 1 the rule diverges on a quadratic of that curvature")
    ringing: float | None = quantity(
        "swings", "to and fro along the largest curvature, by momentum, while the swing falls by a factor e"
    )
    rule: str = ""
    multiples: tuple[float, ...] = ()
    losses: tuple[tuple[float, ...], ...] = ()

    @property
    def whole_rate(self) -> float | None:
        """How far a gradient is walked in the end: η / (1 − β) with momentum; None for rules that divide by a σ."""
        return self.rate / (1 - self.momentum) if self.optimizer == "SGD" and self.momentum < 1 else None

    def draw(self) -> go.Figure:
        """The loss over the multiple of the step, one line per batch."""
        figure = plot.figure(
            title=self.title,
            x="multiple of the present step",
            y="loss over the sample",
            log_x=True,
            summary=f"The loss is lowest at {self.best_multiple.value:.3g} times the present step "
            f"and back where it started at {self.critical_multiple:.3g} times.",
        )
        start = self.losses[0][0] if self.losses else 1.0
        ceiling = start + max(4 * abs(self.best_drop.value), 0.1 * abs(start))
        for number, losses in enumerate(self.losses, 1):
            kept = [(m, v) for m, v in zip(self.multiples, losses[1:], strict=True) if v <= ceiling]
            plot.line(figure, [m for m, _ in kept], [v for _, v in kept], name=f"update from batch {number}")
        here = [losses[1:][self.multiples.index(1.0)] for losses in self.losses]
        figure.add_scatter(
            x=[1.0] * len(here), y=here, mode="markers", name="the present step", marker_color=plot.COLOURS["opposite"]
        )
        return figure


@dataclass(frozen=True, kw_only=True)
class Step:
    """Three real updates on branches and forward passes along them; the sharpness by Lanczos."""

    reads: ClassVar[type[Reading]] = StepReading
    curvature: ClassVar[bool] = True
    once: ClassVar[bool] = False

    def measure(self, view: View, budget: Budget) -> StepReading:
        group = view.problem.optimizer.param_groups[0]
        start = view.loss_at(view.point)
        directions = [_update(view, batch) for batch in view.sample[:DIRECTIONS]]
        lines = [_along(view, direction, start) for direction in directions]
        best = [min(line, key=line.__getitem__) for line in lines]
        drops = [start - line[m] for line, m in zip(lines, best, strict=True)]
        middle = math.exp(sum(map(math.log, best)) / len(best))
        shared = sorted(set.intersection(*(set(line) for line in lines)))
        sharpness, limit, rule = _sharpness(view)
        over = None if sharpness is None or limit is None else sharpness.value / limit.curvature
        return StepReading(
            update=view.update,
            samples=view.samples,
            notes=() if sharpness is None else view.hessian.notes,
            optimizer=type(view.problem.optimizer).__name__,
            rate=float(group["lr"]),
            momentum=float(group.get("momentum") or group.get("betas", (0.0,))[0]),
            best_multiple=Estimate(middle, (max(best) - min(best)) / 2),
            critical_multiple=min(_critical(line, m, start) for line, m in zip(lines, best, strict=True)),
            best_drop=Estimate(sum(drops) / len(drops), (max(drops) - min(drops)) / 2),
            relative_step=sum(map(norm, directions)) / len(directions) / max(norm(view.point), 1e-30),
            sharpness=sharpness,
            limit=None if limit is None else limit.curvature,
            sharpness_over_limit=over,
            ringing=None if over is None or limit is None else limit.ringing(over),
            rule=rule,
            multiples=tuple(shared),
            losses=tuple((start, *(line[m] for m in shared)) for line in lines),
        )


def _update(view: View, batch: Batch) -> Point:
    """What one update of the problem's own optimizer adds to θ, given this batch."""
    branch = view.problem.branch()
    view.gradient_evaluations += 1
    with seeded(view.seed), in_mode(branch.model, branch.modes("training")):
        Walker(branch).update([batch])
    after = branch.point()
    return {name: after[name] - tensor for name, tensor in view.point.items()}


def _along(view: View, direction: Point, start: float) -> dict[float, float]:
    """Multiple → loss; what is not finite counts as infinitely high."""
    line: dict[float, float] = {}

    def follow(multiple: float) -> None:
        loss = view.loss_at(moved(view.point, direction, multiple))
        line[multiple] = loss if math.isfinite(loss) else math.inf

    for multiple in MULTIPLES:
        follow(multiple)
        if line[multiple] > 10 * abs(start) + 1 and multiple > 1:
            break
    best = min(line, key=lambda m: line[m])
    follow(best / 2)
    follow(best * 2)
    return line


def _critical(line: dict[float, float], best: float, start: float) -> float:
    """The multiple beyond the best at which the loss is back at its start, between two tried ones."""
    rounding = 1e-6 * abs(start)
    beyond = [m for m in sorted(line) if m > best and line[m] > start + rounding]
    if not beyond:
        return math.inf
    last = max((m for m in line if m < beyond[0] and line[m] < start), default=beyond[0])
    return math.sqrt(last * beyond[0])


def _sharpness(view: View) -> tuple[Estimate | None, StabilityLimit | None, str]:
    limit = stability_limit(view.problem.optimizer)
    if limit is None:
        return None, None, "no formula is known for this optimizer's stability limit"
    if not limit.preconditioned:
        top = view.extremes.largest
        return Estimate(top.values[-1], top.bounds[-1]), limit, limit.rule
    named = {name: p for name, p in view.problem.model.named_parameters() if p.requires_grad}
    if not view.problem.optimizer.state:
        return None, None, "the optimizer has no state yet, so σ is not known"
    parts = anatomy(view.problem.optimizer, named, view.gradient) or {}
    sigma = {name: torch.ones_like(p) * (parts[name].scale if name in parts else 1.0) for name, p in view.point.items()}
    top = view.ends_of(preconditioned(view.hessian, flatten(sigma)), purpose=22).largest
    return Estimate(top.values[-1], top.bounds[-1]), limit, limit.rule
