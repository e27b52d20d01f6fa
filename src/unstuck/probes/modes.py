"""Modes: the loss in training and in evaluation on the same data, and where the difference comes from.

A loss that is worse in evaluation mode may be due to moving averages that lag behind the weights or are wrong; then
statistics taken anew close the gap. What is left with these is due to the batches: the statistics of small ones
scatter, and the weights fit that. Dropout is the third part, and makes evaluation better, not worse. So

    evaluation − trained = (evaluation − recomputed) + (recomputed − batch) + (batch − trained)

where `batch` is without dropout: moving averages + batches + dropout (Ioffe & Szegedy 2015, §3.1; Wu & Johnson 2021,
"Rethinking 'Batch' in BatchNorm", §3).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import plotly.graph_objects as go
import torch
from torch import Tensor, nn

from unstuck import plot
from unstuck.budget import Budget
from unstuck.data import Batch, samples_in
from unstuck.methods.recalibration import moving_layers, recalibrated
from unstuck.methods.regularization import dropout
from unstuck.problem import Mode, Problem
from unstuck.reading import Estimate, Reading, quantity
from unstuck.view import SAMPLE, View

BATCHES = 8
"""Batches of the size of training that are looked at, at least, where the data has as many."""

BATCH_NORM = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@dataclass(frozen=True, kw_only=True)
class ModesReading(Reading):
    """The problem's own loss over the same batches, in each mode."""

    probe: ClassVar[str] = "modes"
    title: ClassVar[str] = "Training mode against evaluation mode"
    chapter: ClassVar[int] = 5

    batch_size: int = quantity("", "samples of each batch: those of training, where the data has as many")
    trained: Estimate = quantity("loss", "as it is trained: with dropout; errors are standard errors over batches")
    batch: Estimate = quantity("loss", "without dropout, batch normalization by the batch's own statistics")
    evaluation: Estimate = quantity("loss", "in evaluation mode")
    recomputed: Estimate | None = quantity("loss", "in evaluation mode, moving averages taken anew over these batches")
    gap: Estimate = quantity("loss", "evaluation − trained; this and its parts are differences batch by batch")
    averages_gap: Estimate | None = quantity("loss", "evaluation − recomputed: moving averages that lag or are wrong")
    batches_gap: Estimate | None = quantity("loss", "recomputed − batch: how much the weights rest on the batch's own")
    dropout_gap: Estimate = quantity("loss", "batch − trained: dropout, below 0 where it costs")
    dropout: float = quantity("", "largest share of units that some module leaves out in training")
    modules: tuple[str, ...] = quantity("", "what depends on the mode")
    layers: tuple[str, ...] = quantity("", "batch normalizations with moving averages that move")
    layer_distance: tuple[float, ...] = quantity(
        "deviations", "√(mean over channels of (Δμ² + Δσ²)/σ²) between moving averages and recomputed statistics"
    )

    def draw(self) -> go.Figure | None:
        """The loss in each mode with its error; None where nothing depends on the mode."""
        if not self.modules and self.gap.value == 0:
            return None
        losses = {
            "as trained": self.trained,
            "batch statistics, no dropout": self.batch,
            "evaluation": self.evaluation,
            "evaluation, statistics recomputed": self.recomputed,
        }
        known = {name: loss for name, loss in losses.items() if loss is not None}
        averages = "" if self.averages_gap is None else f"; moving averages make {self.averages_gap.value:.3g} of that"
        figure = plot.figure(
            title=self.title,
            x="loss",
            y="",
            summary=f"In evaluation the loss is {self.gap.value:.3g} above that as trained on the same data{averages}.",
        )
        figure.add_scatter(
            x=[loss.value for loss in known.values()],
            y=list(known),
            error_x={"type": "data", "array": [loss.error for loss in known.values()]},
            mode="markers",
            name="loss",
            marker={"color": plot.COLOURS["accent"], "size": 10},
        )
        figure.update_yaxes(type="category", autorange="reversed")
        return figure

    def pictures(self) -> Mapping[str, go.Figure]:
        """The losses, and how far the moving averages of each layer are off."""
        losses = self.draw()
        if losses is None:
            return {}
        return {"losses": losses, **({"averages": self._averages()} if self.layers else {})}

    def _averages(self) -> go.Figure:
        figure = plot.figure(
            title="Moving averages against statistics taken anew",
            x="distance in deviations of a channel",
            y="",
            summary=f"The layer that is farthest off is {max(self.layer_distance):.3g} deviations away.",
        )
        figure.add_bar(x=list(self.layer_distance), y=self.layers, orientation="h", name="distance")
        figure.update_yaxes(type="category", autorange="reversed")
        return figure


@dataclass(frozen=True, kw_only=True)
class Modes:
    """Forward passes alone: three over the batches, and two more where there are moving averages."""

    reads: ClassVar[type[Reading]] = ModesReading
    curvature: ClassVar[bool] = False
    once: ClassVar[bool] = False

    def measure(self, view: View, budget: Budget) -> ModesReading:
        problem = view.problem
        size = problem.data.batch_size
        batches = problem.data.sample(max(SAMPLE, BATCHES * size), chunk=size, seed=view.seed)
        trained, batch, evaluation = (
            _losses(view, problem, batches, mode) for mode in ("training", "measuring", "evaluation")
        )
        again = _recomputed(view, batches)
        recomputed = None if again is None else _losses(view, again, batches, "evaluation")
        weights = [problem.terms(each) for each in batches]
        distances = {} if again is None else _distances(problem, again)

        def over_batches(losses: Sequence[float], less: Sequence[float] | None = None) -> Estimate:
            return _estimate([a - b for a, b in zip(losses, less or [0.0] * len(losses), strict=True)], weights)

        modules = _modules(problem)
        return ModesReading(
            update=view.update,
            samples=sum(map(samples_in, batches)),
            notes=_notes(modules, trained, evaluation),
            batch_size=samples_in(batches[0]),
            trained=over_batches(trained),
            batch=over_batches(batch),
            evaluation=over_batches(evaluation),
            recomputed=None if recomputed is None else over_batches(recomputed),
            gap=over_batches(evaluation, trained),
            averages_gap=None if recomputed is None else over_batches(evaluation, recomputed),
            batches_gap=None if recomputed is None else over_batches(recomputed, batch),
            dropout_gap=over_batches(batch, trained),
            dropout=dropout(problem.model),
            modules=modules,
            layers=tuple(distances),
            layer_distance=tuple(distances.values()),
        )


def _losses(view: View, problem: Problem, batches: Sequence[Batch], mode: Mode) -> list[float]:
    view.gradient_evaluations += len(batches) / 3
    point = problem.point()

    def measured(batch: Batch) -> float:
        with torch.no_grad():
            return float(problem.loss_at(point, batch, mode=mode, seed=view.seed, own=True))

    return problem.ranks.spread(measured, batches)


def _recomputed(view: View, batches: Sequence[Batch]) -> Problem | None:
    """A branch whose moving averages are taken anew; None where there are none."""
    branch = view.problem.branch()
    if not moving_layers(branch):
        return None
    view.gradient_evaluations += len(batches) / 3
    return recalibrated(branch, batches)


def _estimate(values: Sequence[float], weights: Sequence[float]) -> Estimate:
    """The weighted mean, and the standard error over batches."""
    mean = sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)
    if len(values) < 2:
        return Estimate(mean, math.inf)
    return Estimate(mean, math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1) / len(values)))


def _distances(problem: Problem, again: Problem) -> dict[str, float]:
    """Of each layer, how far the moving averages are from the recomputed statistics.

    √(Δμ² + Δσ²) is the Wasserstein distance of two normal distributions; in units of σ, averaged over channels.
    """
    moving, found = set(moving_layers(problem)), {}
    for name, layer in problem.model.named_modules():
        if layer not in moving:
            continue
        mean, deviation = _statistics(layer)
        new_mean, new_deviation = _statistics(again.model.get_submodule(name))
        squares = ((mean - new_mean).square() + (deviation - new_deviation).square()) / new_deviation.square()
        found[name] = float(squares.mean().sqrt())
    return found


def _statistics(layer: nn.Module) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each channel as they are used, shape (channels,)."""
    epsilon = getattr(layer, "eps", 1e-5)
    return layer.get_buffer("running_mean").double(), (layer.get_buffer("running_var").double() + epsilon).sqrt()


def _modules(problem: Problem) -> tuple[str, ...]:
    """Each module that depends on the mode, and how."""
    training = problem.modes("training")
    kinds = {name: _dependence(module) for name, module in problem.model.named_modules()}
    return tuple(
        f"{name or 'the model'}: {kind}{'' if training[name] else ', in evaluation mode throughout'}"
        for name, kind in kinds.items()
        if kind
    )


def _dependence(module: nn.Module) -> str | None:
    kind = type(module).__name__
    if getattr(module, "running_mean", None) is not None:
        return f"{kind}, moving averages"
    if isinstance(module, BATCH_NORM):
        return f"{kind}, the batch's own statistics in both modes"
    if isinstance(module, nn.MultiheadAttention | nn.RNNBase):
        return f"{kind}, dropout of {module.dropout:g}" if module.dropout else None
    if "drop" in kind.lower():
        share = getattr(module, "p", None)
        return (f"{kind} of {share:g}" if share else None) if isinstance(share, int | float) else kind
    return f"{kind}, random slopes" if isinstance(module, nn.RReLU) else None


def _notes(modules: Sequence[str], trained: Sequence[float], evaluation: Sequence[float]) -> tuple[str, ...]:
    if modules:
        return ()
    if list(trained) == list(evaluation):
        return ("no module depends on the mode, and the losses are the same: there is nothing to tell apart",)
    return ("the losses differ although no module is known to depend on the mode: the model asks for it itself",)
