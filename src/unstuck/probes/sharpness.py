"""Sharpness: how far the loss rises close by, and the same in units of the weights themselves.

A network of rectified units computes the same function when one layer is multiplied by a number and the next divided
by it, and any raw sharpness can be made as large as one likes by that (Dinh et al. 2017, "Sharp minima can generalize
for deep nets"). So beside each raw measure stands its companion that does not change:

* Keskar's φ (Keskar et al. 2017, "On large-batch training for deep learning", equation 4), the highest loss in the box
  |zᵢ| ≤ ε (|θᵢ| + 1), and the same in the box |zᵢ| ≤ ε |θᵢ|;
* λ_max of the Hessian H, and of diag|θ| H diag|θ|;
* the rise along the step of sharpness-aware minimization, ρ g/‖g‖ (Foret et al. 2021), and along that of its adaptive
  kind, ρ T²g/‖Tg‖ with T = diag|θ| (Kwon et al. 2021, "ASAM", equation 8, whose η, added to T, is zero here).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
import plotly.graph_objects as go
import torch
from numpy.typing import NDArray
from torch import Tensor

from unstuck import plot
from unstuck.budget import Budget
from unstuck.curvature.loss import gradient_of
from unstuck.curvature.scaled import Scaled
from unstuck.data import Batch
from unstuck.numerics.box import largest_in_box
from unstuck.numerics.krylov import SymmetricOperator
from unstuck.numerics.lanczos import extreme_eigenpairs
from unstuck.reading import Estimate, Reading, quantity
from unstuck.vector import Point, by_layer, dot, flatten, moved, norm, unflatten, weighted_mean
from unstuck.view import View

Floats = NDArray[np.float64]

WIDE, NARROW = 1e-3, 5e-4
"""Keskar's ε."""

RADIUS, ADAPTIVE_RADIUS = 0.05, 0.5
"""ρ of Foret et al. and of Kwon et al., for CIFAR-10."""

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)
"""Multiples of ρ at which the loss is followed."""

LAYERS = 12
"""So many layers have their own curvature measured at most."""

LAYER_PRODUCTS = 12
"""Products for the largest eigenvalue of one layer, at most."""

COMPARE = (
    "With cross-entropy, sharpness follows the loss that is left: as predictions become certain the Hessian vanishes. "
    "Compare two networks only where their losses are equal."
)


@dataclass(frozen=True, kw_only=True)
class Ascent:
    """The loss along a step of sharpness-aware minimization: the rise at each multiple of ρ, and slope · ρ."""

    name: str
    rises: tuple[float, ...]
    predicted: float

    @property
    def rise(self) -> float:
        """At ρ itself."""
        return self.rises[SHARES.index(1.0)]


@dataclass(frozen=True, kw_only=True)
class SharpnessReading(Reading):
    """Raw measures of sharpness, each beside its companion in units of the weights."""

    probe: ClassVar[str] = "sharpness"
    title: ClassVar[str] = "Sharpness, raw and in units of the weights"
    chapter: ClassVar[int] = 1

    loss: float = quantity("loss", "over the sample")
    box: float = quantity("", f"Keskar's φ in the box {WIDE:g} (|θ| + 1): 100 (highest loss − loss) / (1 + loss)")
    adaptive_box: float = quantity("", f"the same in the box {WIDE:g} |θ|")
    narrow_box: float = quantity("", f"Keskar's φ in the box {NARROW:g} (|θ| + 1)")
    narrow_adaptive_box: float = quantity("", f"the same in the box {NARROW:g} |θ|")
    largest: Estimate = quantity("loss / unit²", "largest eigenvalue of the Hessian, with a bound on its error")
    adaptive_largest: Estimate = quantity("loss", "largest eigenvalue of diag|θ| H diag|θ|, likewise")
    rise: float = quantity("loss", f"at ρ g/‖g‖, ρ = {RADIUS:g} (sharpness-aware minimization)")
    predicted_rise: float = quantity("loss", "to first order: ρ ‖g‖")
    adaptive_rise: float = quantity("loss", f"at ρ T²g/‖Tg‖, T = diag|θ|, ρ = {ADAPTIVE_RADIUS:g}")
    predicted_adaptive_rise: float = quantity("loss", "to first order: ρ ‖Tg‖")
    layers: tuple[str, ...] = quantity("", "modules with parameters of their own, in the model's order")
    layer_largest: tuple[float, ...] = quantity("loss / unit²", "largest eigenvalue of each one's diagonal block")
    layer_largest_error: tuple[float, ...] = quantity("loss / unit²", "bounds on the errors of these")
    layer_adaptive_largest: tuple[float, ...] = quantity("loss", "of each one's block of diag|θ| H diag|θ|")
    layer_adaptive_largest_error: tuple[float, ...] = quantity("loss", "bounds on the errors of these")
    ascents: tuple[Ascent, ...] = ()

    def draw(self) -> go.Figure:
        """The loss along both steps uphill, and what the slope predicts."""
        figure = plot.figure(
            title="The loss along the steps of sharpness-aware minimization",
            x="share of the step's own radius ρ",
            y="rise of the loss",
            summary=f"At ρ = {RADIUS:g} the loss rises by {self.rise:.3g}, where the slope predicts "
            f"{self.predicted_rise:.3g}; in units of the weights, at ρ = {ADAPTIVE_RADIUS:g}, by "
            f"{self.adaptive_rise:.3g} and {self.predicted_adaptive_rise:.3g}.",
        )
        roles: tuple[plot.Role, ...] = ("opposite", "accent")
        for ascent, role in zip(self.ascents, roles, strict=False):
            plot.line(figure, SHARES, ascent.rises, name=ascent.name, role=role)
            plot.line(figure, SHARES, [share * ascent.predicted for share in SHARES], name=f"{ascent.name}, slope")
            figure.data[-1].line.update(color=plot.COLOURS[role], dash="dot", width=1)
        return figure

    def pictures(self) -> Mapping[str, go.Figure]:
        """The steps uphill, and the layers."""
        return {"ascent": self.draw()} | ({"layers": self._layers()} if self.layers else {})

    def _layers(self) -> go.Figure:
        figure = plot.figure(
            title="Largest curvature of each layer",
            x="layer",
            y="largest eigenvalue",
            log_y=True,
            summary="Each layer's own block of the Hessian, raw and in units of its weights.",
        )
        kinds: tuple[tuple[str, plot.Role, tuple[float, ...], tuple[float, ...]], ...] = (
            ("raw (loss / unit²)", "opposite", self.layer_largest, self.layer_largest_error),
            ("of relative changes (loss)", "accent", self.layer_adaptive_largest, self.layer_adaptive_largest_error),
        )
        for name, role, values, errors in kinds:
            figure.add_bar(
                x=self.layers,
                y=[value if value > 0 else math.nan for value in values],
                error_y={"array": errors, "color": plot.COLOURS["neutral"]},
                name=name,
                marker_color=plot.COLOURS[role],
            )
        figure.update_xaxes(type="category")
        return figure


@dataclass(frozen=True, kw_only=True)
class Sharpness:
    """Eight short climbs in boxes, two Lanczos runs over all parameters and two for each layer.

    Attributes:
        corners: of each box that are tried; the answer is never below the best of them.
    """

    reads: ClassVar[type[Reading]] = SharpnessReading
    curvature: ClassVar[bool] = True
    once: ClassVar[bool] = False

    corners: int = 20

    def measure(self, view: View, budget: Budget) -> SharpnessReading:
        loss, weights = view.loss_at(view.point), flatten(view.point).abs()
        top = view.extremes.largest
        adaptive_top = view.ends_of(Scaled(view.hessian, weights), purpose=71).largest
        raw, adaptive = _ascents(view, loss)
        layers = by_layer(view.point)
        measured = layers if len(layers) <= LAYERS else {}
        curvatures = [_layer_curvatures(view, part) for part in measured.values()]
        return SharpnessReading(
            update=view.update,
            samples=view.samples,
            notes=(*view.hessian.notes, COMPARE, *_skipped(layers)),
            loss=loss,
            box=_box(view, loss, WIDE * (weights + 1), self.corners),
            adaptive_box=_box(view, loss, WIDE * weights, self.corners),
            narrow_box=_box(view, loss, NARROW * (weights + 1), self.corners),
            narrow_adaptive_box=_box(view, loss, NARROW * weights, self.corners),
            largest=Estimate(top.values[-1], top.bounds[-1]),
            adaptive_largest=Estimate(adaptive_top.values[-1], adaptive_top.bounds[-1]),
            rise=raw.rise,
            predicted_rise=raw.predicted,
            adaptive_rise=adaptive.rise,
            predicted_adaptive_rise=adaptive.predicted,
            layers=tuple(measured),
            layer_largest=tuple(plain.value for plain, _ in curvatures),
            layer_largest_error=tuple(plain.error for plain, _ in curvatures),
            layer_adaptive_largest=tuple(scaled.value for _, scaled in curvatures),
            layer_adaptive_largest_error=tuple(scaled.error for _, scaled in curvatures),
            ascents=(raw, adaptive),
        )


def _box(view: View, loss: float, half_widths: Tensor, corners: int) -> float:
    """100 (max f − f) / (1 + f) over the box |z| ≤ w around θ; f is the loss, w of shape (n,)."""

    def at(z: Floats) -> Point:
        return moved(view.point, unflatten(torch.as_tensor(z, device=half_widths.device), view.point), 1.0)

    def slope(z: Floats) -> tuple[float, Floats]:
        value, gradient = _loss_and_gradient(view, at(z))
        return value, np.asarray(flatten(gradient).double().cpu())

    found = largest_in_box(
        lambda z: view.loss_at(at(z)),
        slope,
        np.asarray(half_widths.double().cpu()),
        generator=view.generator(72),
        corners=corners,
    )
    return 100 * (max(found.value, loss) - loss) / (1 + loss)


def _loss_and_gradient(view: View, point: Point) -> tuple[float, Point]:
    """Loss and gradient over the sample at a point."""
    view.gradient_evaluations += len(view.blocks)

    def measured(block: Batch) -> tuple[float, Point]:
        return gradient_of(partial(view.problem.loss_at, batch=block, seed=view.seed), point)

    found = view.problem.ranks.spread(measured, view.blocks)
    terms = [view.problem.terms(block) for block in view.blocks]
    shares = [term / sum(terms) for term in terms]
    pairs = list(zip(shares, (gradient for _, gradient in found), strict=True))
    gradient = {name: torch.stack([share * part[name] for share, part in pairs]).sum(0) for name in point}
    return weighted_mean(zip(terms, (value for value, _ in found), strict=True)), gradient


def _ascents(view: View, loss: float) -> tuple[Ascent, Ascent]:
    """Along ρ g/‖g‖, and along ρ T²g/‖Tg‖."""
    gradient = view.gradient
    scaled = {name: slope * view.point[name].abs() for name, slope in gradient.items()}
    twice = {name: slope * view.point[name].abs() for name, slope in scaled.items()}
    return (
        _ascent(view, loss, f"raw, ρ = {RADIUS:g}", gradient, norm(gradient), RADIUS),
        _ascent(view, loss, f"of relative changes, ρ = {ADAPTIVE_RADIUS:g}", twice, norm(scaled), ADAPTIVE_RADIUS),
    )


def _ascent(view: View, loss: float, name: str, direction: Point, size: float, radius: float) -> Ascent:
    """The rises along ρ · direction / size; none where there is no slope."""
    if size == 0.0:
        return Ascent(name=name, rises=(0.0,) * len(SHARES), predicted=0.0)
    rises = [view.loss_at(moved(view.point, direction, share * radius / size)) - loss for share in SHARES]
    return Ascent(name=name, rises=tuple(rises), predicted=radius / size * dot(view.gradient, direction))


def _layer_curvatures(view: View, part: Point) -> tuple[Estimate, Estimate]:
    """The largest eigenvalue of a layer's block of the Hessian, and of diag|θ| H diag|θ|."""
    view.gradient_evaluations += 2 * len(view.blocks)
    block = view.problem.hessian_at(part, *view.blocks, seed=view.seed, tune=view.tune)
    return _largest(view, block), _largest(view, Scaled(block, flatten(part).abs()))


def _largest(view: View, operator: SymmetricOperator) -> Estimate:
    found = extreme_eigenpairs(
        operator,
        generator=view.generator(73),
        smallest=0,
        largest=1,
        tolerance=1e-2,
        max_products=LAYER_PRODUCTS,
    )
    view.gradient_evaluations += 2 * len(view.blocks) * found.products
    return Estimate(found.largest.values[-1], found.largest.bounds[-1])


def _skipped(layers: Mapping[str, Point]) -> list[str]:
    if len(layers) <= LAYERS:
        return []
    return [f"The model has {len(layers)} layers; the curvature of each is measured where there are {LAYERS} at most."]
