"""Layers: the profile along depth of activations and gradients, and its geometric trend.

A gradient that vanishes falls by about the same factor from layer to layer on its way back; so its logarithm over
depth is a line, and the slope with its error tells it from a profile that is flat (residual networks, well-scaled
ones) and from one where all layers get a small gradient alike because the loss gives none (saturated outputs).
Glorot & Bengio 2010, "Understanding the difficulty of training deep feedforward neural networks", §4.2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from unstuck import plot
from unstuck.budget import Budget
from unstuck.numerics.geometric import FEWEST, geometric_trend
from unstuck.numerics.statistics import mean
from unstuck.passes.depth_profile import Passed, layers_of, passes_of, relative_gradient
from unstuck.reading import Estimate, Reading, quantity
from unstuck.sharded import check_unsharded
from unstuck.view import View

NAMED = 24
"""Layers that are named on the axis of a figure, at most."""

Profile = NDArray[np.float64]
"""A quantity of every layer, batch by batch, shape (batches, layers); NaN where it was not there."""


@dataclass(frozen=True, kw_only=True)
class LayersReading(Reading):
    """Every layer with weights, in the order of the forward pass."""

    probe: ClassVar[str] = "layers"
    title: ClassVar[str] = "The profile along depth"
    chapter: ClassVar[int] = 0

    depth: int = quantity(
        "layers", "with weights, in the order of the forward pass; one that is called again counts again"
    )
    activation_trend: Estimate | None = quantity(
        "1 / layer", "slope of the logarithm of the activations' size along depth, and its standard error"
    )
    gradient_trend: Estimate | None = quantity(
        "1 / layer",
        "the same of the gradient on them: above 0 it vanishes on its way back, below 0 it explodes",
    )
    sensitivity_trend: Estimate | None = quantity(
        "1 / layer", "the same of gradient times activations, which no scaling of layers against each other changes"
    )
    parameter_trend: Estimate | None = quantity(
        "1 / layer", "the same of the gradient on a layer's parameters over their norm: how fast layers learn"
    )
    activation_ratio: Estimate | None = quantity("", "size of the first layer's activations over the last one's")
    gradient_ratio: Estimate | None = quantity(
        "", "gradient on the first layer's activations over that on the last one's; errors are over batches"
    )
    sensitivity_ratio: Estimate | None = quantity(
        "", "gradient times activations, the first layer's over the last one's"
    )
    parameter_ratio: Estimate | None = quantity(
        "", "gradient over parameters in the first layer, over that in the last"
    )
    output_gradient: Estimate | None = quantity(
        "loss / unit", "gradient of one sample on the last layer's activations: what the loss sends back at all"
    )
    without_gradient: float = quantity("", "share of the layers that a gradient is asked for and exactly none comes to")
    layers: tuple[str, ...] = quantity("", "their names")
    layer_activation: tuple[float, ...] = quantity("", "root mean square of each one's activations")
    layer_gradient: tuple[float | None, ...] = quantity(
        "loss / unit", "norm of one sample's gradient on them, root mean square; none where nothing before is trained"
    )
    layer_sensitivity: tuple[float | None, ...] = quantity("loss", "gradient times activations of each, as norms")
    layer_parameters: tuple[float | None, ...] = quantity(
        "loss / unit²",
        "norm of a batch's gradient on each one's parameters over theirs; none where they are frozen or zero",
    )

    def draw(self) -> go.Figure | None:
        """The four profiles, each over its geometric mean; so lines of one slope are of one trend."""
        if self.depth < 2:
            return None
        figure = plot.figure(
            title=self.title,
            x="layer, from the inputs to the outputs",
            y="over the geometric mean of all layers",
            log_y=True,
            summary=f"From layer to layer, the activations change by a factor of {_factor(self.activation_trend)}, the "
            f"gradient on them by {_factor(self.gradient_trend)}, both together by {_factor(self.sensitivity_trend)}, "
            f"the gradient on the parameters by {_factor(self.parameter_trend)}.",
        )
        places = list(range(1, self.depth + 1))
        for name, values in (
            ("activations", self.layer_activation),
            ("gradient on the activations", self.layer_gradient),
            ("gradient times activations", self.layer_sensitivity),
            ("gradient on the parameters, over their norm", self.layer_parameters),
        ):
            shown = [value if value else math.nan for value in values]
            logs = [math.log(value) for value in shown if 0.0 < value < math.inf]
            if logs:
                middle = math.exp(sum(logs) / len(logs))
                plot.line(figure, places, [value / middle for value in shown], name=name)
                figure.data[-1].update(mode="lines+markers", text=self.layers, hovertemplate="%{y:.3~g} in %{text}")
        if self.depth <= NAMED:
            figure.update_xaxes(tickvals=places, ticktext=self.layers)
        return figure


def _factor(trend: Estimate | None) -> str:
    return "an unknown amount" if trend is None else format(math.exp(trend.value), ".3g")


@dataclass(frozen=True, kw_only=True)
class Layers:
    """One pass, forward and backward, over each batch of the sample, and the gradients that all probes share."""

    reads: ClassVar[type[Reading]] = LayersReading
    curvature: ClassVar[bool] = False
    once: ClassVar[bool] = False

    def measure(self, view: View, budget: Budget) -> LayersReading:
        check_unsharded(view.problem.model)
        view.gradient_evaluations += len(view.sample)
        passes = partial(passes_of, view.problem, view.point, seed=view.seed)
        batches = view.problem.ranks.spread(passes, view.sample)
        calls = _in_order(batches)
        owned = layers_of(view.problem.model, (call.module for call in calls.values()))
        layers = {name: call.module for name, call in calls.items() if call.module in owned}
        learning = [
            {layer: relative_gradient(view.point, gradient, names) for layer, names in owned.items()}
            for _, gradient in view.gradients
        ]
        activation, gradient, sensitivity = (
            _profile([[_of(batch, name, what) for name in layers] for batch in batches])
            for what in ("activation", "gradient", "sensitivity")
        )
        parameters = _profile([[batch[module] for module in layers.values()] for batch in learning])
        asked = [value for value in _level(gradient) if value is not None]
        return LayersReading(
            update=view.update,
            samples=view.samples,
            notes=_notes(layers, batches),
            depth=len(layers),
            activation_trend=_trend(activation),
            gradient_trend=_trend(gradient),
            sensitivity_trend=_trend(sensitivity),
            parameter_trend=_trend(parameters),
            activation_ratio=_first_over_last(view, activation),
            gradient_ratio=_first_over_last(view, gradient),
            sensitivity_ratio=_first_over_last(view, sensitivity),
            parameter_ratio=_first_over_last(view, parameters),
            output_gradient=_estimate(view, gradient[:, -1]) if layers else None,
            without_gradient=sum(value == 0.0 for value in asked) / max(1, len(asked)),
            layers=tuple(layers),
            layer_activation=tuple(value or 0.0 for value in _level(activation)),
            layer_gradient=_level(gradient),
            layer_sensitivity=_level(sensitivity),
            layer_parameters=_level(parameters),
        )


def _in_order(batches: Sequence[Mapping[str, Passed]]) -> dict[str, Passed]:
    """Every call that some pass made, in the order of the passes, the longest one first."""
    return {name: call for batch in sorted(batches, key=len, reverse=True) for name, call in batch.items()}


def _of(batch: Mapping[str, Passed], name: str, what: str) -> float | None:
    """What was noted of a call; None where this pass did not make it."""
    found: float | None = getattr(batch.get(name), what, None)
    return found


def _profile(rows: Sequence[Sequence[float | None]]) -> Profile:
    return np.array([[math.nan if value is None else value for value in row] for row in rows], dtype=np.float64)


def _level(profile: Profile) -> tuple[float | None, ...]:
    """The root mean square of each layer over the batches in which it has one."""
    columns = [column[~np.isnan(column)] for column in profile.T]
    return tuple(float(np.sqrt(np.square(column).mean())) if column.size else None for column in columns)


def _trend(profile: Profile) -> Estimate | None:
    found = geometric_trend([value or 0.0 for value in _level(profile)])
    return None if found is None else Estimate(found.slope, found.standard_error)


def _first_over_last(view: View, profile: Profile) -> Estimate | None:
    """Between the first and the last layer that have one; None where these are the same."""
    there = [place for place, value in enumerate(_level(profile)) if value is not None]
    if len(there) < 2:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        return _estimate(view, profile[:, there[0]] / profile[:, there[-1]])


def _estimate(view: View, values: Profile) -> Estimate | None:
    """The mean over batches and its standard error; None where it is not a number."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return None
    found = mean(finite.tolist())
    return Estimate(found.value, 0.0 if view.exhaustive else found.standard_error)


def _notes(layers: Mapping[str, str], batches: Sequence[Mapping[str, Passed]]) -> tuple[str, ...]:
    notes = []
    if len(layers) < FEWEST:
        notes.append(f"a trend along depth needs {FEWEST} layers with weights that are modules of their own")
    spoiled = sum(any(not call.finite for call in batch.values()) for batch in batches)
    if spoiled:
        notes.append(f"{spoiled} of {len(batches)} batches gave numbers that are not finite; these are left out")
    return tuple(notes)
