"""Escape: which ways lead down from here, tried rather than predicted.

At a critical point the gradient shows none. Three ways are walked and compared: a few steps along the
gradient; the direction of most negative curvature; and a few gradient steps after the symmetry of the
parameters is broken by a perturbation of the size of an ordinary initialization, which is the way out of a
degenerate saddle, where even the Hessian vanishes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import plotly.graph_objects as go
import torch
from torch import Tensor

from unstuck import plot
from unstuck.budget import Budget
from unstuck.initial import initial_scales, perturbation
from unstuck.reading import Reading, quantity
from unstuck.vector import Point, flatten, moved, norm, unflatten
from unstuck.view import View

LENGTHS = tuple(2.0**power for power in range(-6, 5))
"""Step lengths tried, in units of the size of an ordinary initialization."""

DESCENT_STEPS = 10
PERTURBATIONS = 4

UNITS = 256
"""Rows of a weight matrix that are compared with each other, at most."""

ALIKE = 1e-5
"""Of the size of two rows: the distance up to which they count as one. Rounding leaves less, training more."""


@dataclass(frozen=True, kw_only=True)
class EscapeReading(Reading):
    """How far the loss falls along each way out."""

    probe: ClassVar[str] = "escape"
    title: ClassVar[str] = "Ways down from this point"
    chapter: ClassVar[int] = 1

    loss: float = quantity("loss", "over the sample, where we stand")
    gradient_drop: float = quantity("loss", f"lost in {DESCENT_STEPS} steps along the gradient, the best length each")
    curvature_drop: float = quantity("loss", "lost along the direction of most negative curvature, best length")
    curvature_length: float = quantity("unit", "that best length, with its sign")
    predicted_drop: float = quantity("loss", "what slope and curvature alone predict at that length: −δ gᵀv − ½ λ δ²")
    predicted_ratio: float = quantity(
        "",
        "measured over predicted drop ½|λ|δ² at the shortest length whose drop exceeds rounding; 1 is exact",
    )
    perturbed_drop: float = quantity(
        "loss", f"lost in {DESCENT_STEPS} gradient steps after a perturbation, median of {PERTURBATIONS}"
    )
    symmetric: float = quantity(
        "", "share of the units, rows of weight matrices, whose weights and gradient are those of another one"
    )
    seed: int = 0
    lengths: tuple[float, ...] = ()
    losses: tuple[float, ...] = ()
    model: tuple[float, ...] = ()

    def draw(self) -> go.Figure | None:
        """The loss along the direction of most negative curvature."""
        if len(self.losses) < 2:
            return None
        figure = plot.figure(
            title="The loss along the most negative curvature",
            x="distance along the eigenvector",
            y="loss over the sample",
            summary=f"The lowest point is {self.curvature_drop:.3g} below where we stand; slope and curvature predict "
            f"{self.predicted_drop:.3g} there.",
        )
        plot.line(figure, self.lengths, self.losses, name="loss", role="accent")
        bottom = min(self.losses) - (max(self.losses) - min(self.losses))
        seen = [(at, value) for at, value in zip(self.lengths, self.model, strict=True) if value >= bottom]
        plot.line(figure, [at for at, _ in seen], [value for _, value in seen], name="quadratic model", role="neutral")
        return figure


@dataclass(frozen=True, kw_only=True)
class Escape:
    """Walks the three ways; cost: about a hundred forward passes and fifty gradients of one block."""

    reads: ClassVar[type[Reading]] = EscapeReading
    curvature: ClassVar[bool] = True
    once: ClassVar[bool] = False

    def measure(self, view: View, budget: Budget) -> EscapeReading:
        loss = view.loss_at(view.point)
        unit = initial_norm(view)
        line = along_curvature(view, unit)
        length = min(line, key=lambda at: line[at], default=0.0)
        generator = view.generator(31)
        starts = [
            moved(view.point, perturbation(view.problem.model, view.point, generator), 1.0)
            for _ in range(PERTURBATIONS)
        ]
        fallen = sorted(loss - _descend(view, start, unit) for start in starts)
        drop = loss - line.get(length, loss)
        shown = sorted((at, value) for at, value in {0.0: loss, **line}.items() if abs(at) <= 2 * abs(length))
        return EscapeReading(
            update=view.update,
            samples=view.samples,
            notes=view.finest.notes,
            loss=loss,
            gradient_drop=loss - _descend(view, view.point, unit),
            curvature_drop=max(0.0, drop),
            curvature_length=length if drop > 0 else 0.0,
            predicted_drop=_predicted(view, length) if drop > 0 else 0.0,
            predicted_ratio=_predicted_ratio(view, line, loss),
            perturbed_drop=fallen[len(fallen) // 2],
            symmetric=_symmetric(view),
            seed=view.seed,
            lengths=tuple(at for at, _ in shown),
            losses=tuple(value for _, value in shown),
            model=tuple(loss - _predicted(view, at) for at, _ in shown) if line else (),
        )


def initial_norm(view: View) -> float:
    """The norm of an ordinary initialization of this network: the unit of lengths here."""
    scales = initial_scales(view.problem.model)
    squares = (scales[name] ** 2 * tensor.numel() for name, tensor in view.point.items())
    return max(1e-12, math.sqrt(sum(squares)))


def along_curvature(view: View, unit: float) -> dict[float, float]:
    """Signed length → loss along the eigenvector of the lowest eigenvalue; empty where that is not below zero."""
    ends = view.extremes.smallest
    if ends.values[0] + ends.bounds[0] >= 0:
        return {}
    direction = unflatten(ends.vectors[0], view.point)
    line: dict[float, float] = {}
    for length in (sign * fraction * unit for fraction in LENGTHS for sign in (1.0, -1.0)):
        value = view.loss_at(moved(view.point, direction, length))
        line[length] = value if math.isfinite(value) else math.inf
    return line


def _predicted(view: View, length: float) -> float:
    """The drop that the quadratic model promises at a signed length along the lowest eigenvector."""
    ends = view.extremes.smallest
    slope = float(flatten(view.gradient).double().cpu() @ ends.vectors[0].double().cpu())
    return -length * slope - 0.5 * ends.values[0] * length**2


def _predicted_ratio(view: View, line: dict[float, float], loss: float) -> float:
    """Measured over predicted drop at the shortest length at which the prediction exceeds rounding."""
    ends = view.extremes.smallest
    resolution = 100 * torch.finfo(flatten(view.point).dtype).eps * max(abs(loss), 1e-12)
    for length in sorted({abs(at) for at in line}):
        predicted = 0.5 * abs(ends.values[0]) * length**2
        if predicted > resolution:
            # The mean of both signs: the gradient's own part of the drop cancels.
            return (loss - (line[length] + line[-length]) / 2) / predicted
    return 0.0


def _descend(view: View, start: Point, unit: float) -> float:
    """The loss after a few steps along the gradient, each of the best of the lengths."""
    point, loss = start, view.loss_at(start)
    for number in range(DESCENT_STEPS):
        gradient = view.gradient_at(point, number % len(view.blocks))
        size = norm(gradient)
        if size == 0.0 or not math.isfinite(size):
            break
        tried = {at: view.loss_at(moved(point, gradient, -at * unit / size)) for at in LENGTHS[1::2]}
        length = min(tried, key=lambda at: tried[at])
        if not tried[length] < loss:
            break
        point, loss = moved(point, gradient, -length * unit / size), tried[length]
    return loss


def _symmetric(view: View) -> float:
    """The share of units, rows of weight matrices, whose weights and gradient are those of another one of their matrix.

    Weights alone do not tell: a last layer is often zero at the start, and its rows part at the first update.
    """
    if not any(bool(tensor.any()) for tensor in view.point.values()):
        return 1.0
    matrices = [name for name, tensor in view.point.items() if tensor.dim() > 1 and len(tensor) > 1]
    pairs = [_twins(_some(view.point[name])) & _twins(_some(view.gradient[name])) for name in matrices]
    return sum(int(alike.any(1).sum()) for alike in pairs) / max(1, sum(map(len, pairs)))


def _some(matrix: Tensor) -> Tensor:
    """Evenly spaced rows in double precision, :data:`UNITS` at most."""
    kept = torch.linspace(0, len(matrix) - 1, min(len(matrix), UNITS), device=matrix.device).round().long()
    return matrix.flatten(1)[kept].double()


def _twins(rows: Tensor) -> Tensor:
    """Which pairs of different rows are alike, shape (rows, rows)."""
    sizes = torch.linalg.vector_norm(rows, dim=1)
    apart = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")
    alike = apart <= ALIKE * torch.maximum(sizes[:, None], sizes)
    return alike & ~torch.eye(len(rows), dtype=torch.bool, device=rows.device)
