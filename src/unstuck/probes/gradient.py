"""Gradient: its norm, and how much of it is sampling noise."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import ClassVar

import plotly.graph_objects as go
import torch

from unstuck import plot
from unstuck.budget import Budget
from unstuck.initial import perturbation
from unstuck.methods.anatomy import anatomy
from unstuck.methods.regularization import scale_weight_decay, weight_decay
from unstuck.reading import Estimate, Reading, quantity
from unstuck.vector import Point, dot, moved, norm
from unstuck.view import View

NEGLIGIBLE = 0.01
"""Of the typical gradient: below it a gradient counts as zero even where there is no sampling noise.

Frye et al. 2021 ask for a gradient small compared with its size at initialization; 1 % is ours.
"""

START_POINTS = 3
"""Points of ordinary initialization on which the typical gradient is taken."""


@dataclass(frozen=True, kw_only=True)
class GradientReading(Reading):
    """The gradient over the sample, its sampling error, and what is typical for this network."""

    probe: ClassVar[str] = "gradient"
    title: ClassVar[str] = "Gradient norm, layer by layer"
    chapter: ClassVar[int] = 1

    loss: Estimate = quantity("loss", "mean over the sample; its error is the standard error over batches")
    norm: float = quantity("loss / unit", "norm of the gradient over the sample")
    noise: float = quantity("loss / unit", "standard error of that gradient; 0 where the sample is all the data")
    squared_norm: Estimate = quantity(
        "(loss / unit)²",
        "unbiased estimate of the squared norm, from halves of the sample that share no batch",
    )
    typical: float = quantity("loss / unit", "median norm at three points of ordinary initialization nearby")
    size: float = quantity("unit", "norm of the trainable parameters")
    decay_over_rest: float | None = quantity(
        "",
        "what weight decay adds to an update by this gradient, over all the rest of it, as lengths; 0 where there is "
        "no decay, none where the optimizer's rule is not known or the model is sharded",
    )
    layers: tuple[tuple[str, float], ...] = ()
    """(parameter, gradient norm), in the model's order."""

    @property
    def below_noise(self) -> bool:
        """Whether the gradient cannot be told from zero: its squared norm is within two standard errors of it."""
        return self.squared_norm.value <= 2 * self.squared_norm.error

    @property
    def negligible(self) -> bool:
        """Below its noise, or (where there is no noise) below 1 % of the typical one."""
        return self.norm <= NEGLIGIBLE * self.typical or (self.noise > 0 and self.below_noise)

    def draw(self) -> go.Figure:
        """The norm of each parameter's gradient."""
        figure = plot.figure(
            title=self.title,
            x="gradient norm",
            y="",
            log_x=True,
            summary=f"The whole gradient has norm {self.norm:.3g}; {self.typical:.3g} is typical here.",
        )
        shown = [(name, value) for name, value in self.layers if value > 0] or list(self.layers)
        figure.add_bar(x=[v for _, v in shown], y=[n for n, _ in shown], orientation="h", name="norm")
        return figure


@dataclass(frozen=True, kw_only=True)
class Gradient:
    """Gradients of the sample's batches; cost: one evaluation per batch and three more."""

    reads: ClassVar[type[Reading]] = GradientReading
    curvature: ClassVar[bool] = False
    once: ClassVar[bool] = False

    def measure(self, view: View, budget: Budget) -> GradientReading:
        total = view.gradient
        count = len(view.gradients)
        # With batches g_i of equal size and mean G, E Σ|g_i − G|² / (count − 1) is the trace of one batch's
        # covariance; divided by count it is that of the mean (McCandlish et al. 2018, appendix A.1).
        gaps = [norm({k: g[k] - total[k] for k in total}) ** 2 for _, g in view.gradients]
        variance = 0.0 if view.exhaustive or count < 2 else sum(gaps) / (count - 1) / count
        losses = [loss for loss, _ in view.gradients]
        spread = 0.0
        if count > 1 and not view.exhaustive:
            mean = sum(losses) / count
            spread = (sum((loss - mean) ** 2 for loss in losses) / (count - 1) / count) ** 0.5
        return GradientReading(
            update=view.update,
            samples=view.samples,
            loss=Estimate(view.loss, spread),
            norm=norm(total),
            noise=variance**0.5,
            squared_norm=_squared_norm(view),
            typical=_typical(view),
            size=norm(view.point),
            decay_over_rest=_decay_over_rest(view),
            layers=tuple((name, float(tensor.norm())) for name, tensor in total.items()),
        )


def _squared_norm(view: View) -> Estimate:
    """|G|² from the inner products of gradients of different batches, which share no noise.

    U = Σ_{i≠j} g_i·g_j / (count·(count−1)) is unbiased. Its error is the jackknife over batches; of two, which give
    one product alone, it is taken to be the variance of their mean.
    """
    total = [g for _, g in view.gradients]
    count = len(total)
    if view.exhaustive or count == 1:
        return Estimate(norm(view.gradient) ** 2, 0.0 if view.exhaustive else norm(view.gradient) ** 2)
    if count == 2:
        one, other = total
        return Estimate(dot(one, other), norm(moved(one, other, -1.0)) ** 2 / 4)
    whole = {name: torch.stack([g[name] for g in total]).sum(0) for name in total[0]}
    others = [dot(g, whole) - dot(g, g) for g in total]  # each batch with all others
    pairs = sum(others)
    estimate = pairs / (count * (count - 1))
    without = [(pairs - 2 * own) / ((count - 1) * (count - 2)) for own in others]
    mean = sum(without) / count
    error = ((count - 1) / count * sum((value - mean) ** 2 for value in without)) ** 0.5
    return Estimate(estimate, error)


def _decay_over_rest(view: View) -> float | None:
    """|Δθ with weight decay − Δθ without| / |Δθ without|, as the optimizer would make them of the mean gradient.

    Whether the decay goes through the gradient, momentum and σ, or by them, is thereby accounted for.
    """
    if weight_decay(view.problem.optimizer) == 0:
        return 0.0
    if view.problem.sharded:
        return None  # no process has the whole of it, nor a second copy
    branch = view.problem.branch()
    named = {name: p for name, p in branch.model.named_parameters() if p.requires_grad}
    made: list[Point] = []
    for factor in (1.0, 0.0):
        scale_weight_decay(branch.optimizer, factor)
        parts = anatomy(branch.optimizer, named, view.gradient)
        if parts is None:
            return None
        made.append({name: part.change(view.point[name]) for name, part in parts.items()})
    with_decay, without = made
    return norm(moved(with_decay, without, -1.0)) / max(norm(without), 1e-30)


def _typical(view: View) -> float:
    generator = view.generator(11)
    norms = []
    for _ in range(START_POINTS):
        start = moved(view.point, perturbation(view.problem.model, view.point, generator), 1.0)
        norms.append(norm(view.gradient_at(start)))
    return median(norms)
