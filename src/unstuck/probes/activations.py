"""Activations: units that are off for every sample, units at the bounds of their activation, units that are alike.

A unit that gives no slope for any sample learns nothing any more. One that is active for some sample, however rarely,
is alive: that most units of a layer are off at any one sample is how rectifiers work. Whether units died or were born
dead is told by looking at the initialization as well (Lu et al. 2019, "Dying ReLU and initialization").
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import plotly.graph_objects as go

from unstuck import plot
from unstuck.budget import Budget
from unstuck.passes.unit_activity import UNITS, Activity, activities_of
from unstuck.problem import Problem
from unstuck.reading import Reading, quantity
from unstuck.sharded import check_unsharded
from unstuck.untouched import generators_kept
from unstuck.view import View

ROW, FRAME = 34, 150
"""Heights in a figure: of a layer and of all around the layers, in pixels."""


@dataclass(frozen=True, kw_only=True)
class ActivationsReading(Reading):
    """The units behind every hidden activation. A layer here is one call of an activation."""

    probe: ClassVar[str] = "activations"
    title: ClassVar[str] = "Units that are off, saturated, or alike"
    chapter: ClassVar[int] = 5

    units: int = quantity("", "behind the hidden activations; channels where these are convolutions'")
    dead: float = quantity("", "share of them that were off or saturated for every sample, at every place")
    worst_dead: float = quantity("", "the same in the layer where it is largest")
    dead_bound: float = quantity(
        "", "a unit that is counted dead is active for no more than this share of the data (rule of three, 95 %)"
    )
    saturated: float | None = quantity(
        "", "share of activations at a bound, over those bounded on both sides; none where there are none"
    )
    worst_saturated: float | None = quantity("", "the same in the layer where it is largest")
    twins: float = quantity("", "share of a layer's units that get the same as another one for every sample, largest")
    rank: float | None = quantity(
        "", "directions along which a layer's activations vary over the sample, participation ratio, smallest"
    )
    initial_dead: float | None = quantity("", "share of units that are dead at initialization")
    initial_worst_dead: float | None = quantity("", "the same in the layer where it is largest")
    initial_worst_saturated: float | None = quantity(
        "", "share of activations at a bound at initialization, in the layer where it is largest"
    )
    layers: tuple[str, ...] = quantity("", "the module and the function of each activation, in their order")
    layer_units: tuple[int, ...] = quantity("", "units of each")
    layer_dead: tuple[float, ...] = quantity("", "share of units that are dead in each")
    layer_off: tuple[float | None, ...] = quantity(
        "", "share of activations at which a rectifier was off: sparseness, no fault"
    )
    layer_saturated: tuple[float | None, ...] = quantity("", "share of activations at a bound in each")
    layer_twins: tuple[float, ...] = quantity("", "share of units with a twin in each")
    layer_rank: tuple[float, ...] = quantity("", "directions along which each one's activations vary")
    layer_initial_dead: tuple[float | None, ...] = ()

    def draw(self) -> go.Figure | None:
        """Dead units of each layer, and how much of the time its units are off or saturated."""
        if not self.layers:
            return None
        figure = self._by_layer(
            self.title,
            x="share",
            summary=f"{100 * self.dead:.3g} % of {self.units} units are off or saturated for all samples, in the worst "
            f"layer {100 * self.worst_dead:.3g} %. That many are off at one sample or another is no fault.",
        )
        bars: tuple[tuple[str, plot.Role, Sequence[float | None]], ...] = (
            ("dead units", "opposite", self.layer_dead),
            ("dead units at initialization", "neutral", self.layer_initial_dead),
            ("activations off or at a bound", "accent", tuple(map(_sum, self.layer_off, self.layer_saturated))),
        )
        for name, role, values in bars:
            if any(value is not None for value in values):
                shown = [math.nan if value is None else value for value in values]
                figure.add_bar(x=shown, y=self.layers, orientation="h", name=name, marker_color=plot.COLOURS[role])
        figure.update_xaxes(range=[0, 1], tickformat=".0%")
        return figure

    def pictures(self) -> Mapping[str, go.Figure]:
        """The units, and along how many directions the activations of each layer vary."""
        figure = self.draw()
        return {} if figure is None else {"units": figure, "ranks": self._ranks()}

    def _ranks(self) -> go.Figure:
        figure = self._by_layer(
            "Directions along which activations vary",
            x="effective rank",
            summary=f"The narrowest layer's activations vary along {self.rank:.3g} directions over the sample.",
        )
        figure.add_bar(x=self.layer_rank, y=self.layers, orientation="h", name="effective rank")
        return figure

    def _by_layer(self, title: str, *, x: str, summary: str) -> go.Figure:
        figure = plot.figure(title=title, x=x, y="", summary=summary)
        figure.update_yaxes(type="category", autorange="reversed")
        figure.update_layout(height=FRAME + ROW * len(self.layers))
        return figure


def _sum(off: float | None, saturated: float | None) -> float | None:
    return None if off is None and saturated is None else (off or 0.0) + (saturated or 0.0)


@dataclass(frozen=True, kw_only=True)
class Activations:
    """A pass over the sample without gradient, and another one at initialization where that can be had."""

    reads: ClassVar[type[Reading]] = ActivationsReading
    curvature: ClassVar[bool] = False
    once: ClassVar[bool] = False

    def measure(self, view: View, budget: Budget) -> ActivationsReading:
        check_unsharded(view.problem.model)
        now = _of(view, view.problem)
        fresh = _fresh(view)
        before = {} if fresh is None else _of(view, fresh)
        return ActivationsReading(
            update=view.update,
            samples=view.samples,
            notes=_notes(view, now),
            units=sum(layer.units for layer in now.values()),
            dead=_dead(now) or 0.0,
            worst_dead=_worst_dead(now) or 0.0,
            dead_bound=min(1.0, 3 / view.samples),
            saturated=_saturated(now),
            worst_saturated=_worst_saturated(now),
            twins=max((layer.twins for layer in now.values()), default=0.0),
            rank=min((layer.rank for layer in now.values()), default=None),
            initial_dead=_dead(before),
            initial_worst_dead=_worst_dead(before),
            initial_worst_saturated=_worst_saturated(before),
            layers=tuple(now),
            layer_units=tuple(layer.units for layer in now.values()),
            layer_dead=tuple(layer.dead / layer.units for layer in now.values()),
            layer_off=tuple(layer.off for layer in now.values()),
            layer_saturated=tuple(layer.saturated for layer in now.values()),
            layer_twins=tuple(layer.twins for layer in now.values()),
            layer_rank=tuple(layer.rank for layer in now.values()),
            layer_initial_dead=tuple(
                before[name].dead / before[name].units if name in before else None for name in now
            ),
        )


def _of(view: View, problem: Problem) -> dict[str, Activity]:
    view.gradient_evaluations += len(view.sample) / 3
    return activities_of(problem, problem.point(), view.sample, seed=view.seed)


def _fresh(view: View) -> Problem | None:
    """The problem before training; None where it cannot be had, or was looked at when the walk began."""
    if view.problem.fresh is None or view.update > 0:
        return None
    with generators_kept():
        made = view.problem.fresh()
    return made if isinstance(made, Problem) else Problem(**made)


def _dead(layers: Mapping[str, Activity]) -> float | None:
    units = sum(layer.units for layer in layers.values())
    return sum(layer.dead for layer in layers.values()) / units if units else None


def _worst_dead(layers: Mapping[str, Activity]) -> float | None:
    return max((layer.dead / layer.units for layer in layers.values()), default=None)


def _saturated(layers: Mapping[str, Activity]) -> float | None:
    """Over all activations with two bounds together."""
    found = [(layer.saturated, layer.entries) for layer in layers.values() if layer.saturated is not None]
    return sum(share * entries for share, entries in found) / sum(entries for _, entries in found) if found else None


def _worst_saturated(layers: Mapping[str, Activity]) -> float | None:
    return max((layer.saturated for layer in layers.values() if layer.saturated is not None), default=None)


def _notes(view: View, layers: Mapping[str, Activity]) -> tuple[str, ...]:
    notes = []
    if not layers:
        notes.append(
            "no hidden activation was seen: there is none, or it is inside torch's recurrent layers or compiled code"
        )
    if view.update > 0:
        notes.append("the state at initialization does not change with the walk: it is read at update 0 alone")
    elif view.problem.fresh is None:
        notes.append("there is no `fresh`, so that the state at initialization is not known")
    if any(layer.units > UNITS for layer in layers.values()):
        notes.append(f"twins and ranks are those of {UNITS} units of a layer, evenly spaced, where it has more")
    return tuple(notes)
