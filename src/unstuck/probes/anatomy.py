"""Anatomy: the steps of the problem's own optimizer, read as θ ← θ − (η/σ)·m layer by layer.

What is read, and why m and σ do not cancel although both are made of all past gradients, is in
:mod:`unstuck.methods.anatomy`; here it is measured. Of every layer: how different the rates η/σ of its parameters are,
how far the movement m points where the present gradient does, how much of the step earlier gradients carry, how long
it is beside the weights; and |m|/σ beside how often the gradient kept its sign.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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
from unstuck.data import tensors_of
from unstuck.errors import InputError
from unstuck.methods.anatomy import observe
from unstuck.methods.step_record import ENTRIES, Entries, StepRecord, places, record, together
from unstuck.problem import Problem
from unstuck.reading import Estimate, Reading, quantity
from unstuck.vector import by_layer
from unstuck.view import View
from unstuck.walk import walk

WALKED_FIRST = 20
"""Updates of an optimizer that remembers nothing yet, before it is read."""

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

FROM_STATE, FROM_UPDATES = "the optimizer's state and settings", "the updates that it makes"

STEADY, ALTERNATING = 0.75, 0.25
"""Shares of successive gradients of one sign, from which on and up to which a parameter is called that."""

BINS = 6
"""Parts into which parameters are told apart by that share."""

ROW, FRAME = 34, 150
"""Heights in a figure: of a layer and of all around the layers, in pixels."""


@dataclass(frozen=True, kw_only=True)
class Signs:
    """Parameters whose gradients kept their sign equally often: ``agreement``, and quartiles of their |m|/σ."""

    agreement: float
    quartiles: tuple[float, ...]
    share: float


@dataclass(frozen=True, kw_only=True)
class AnatomyReading(Reading):
    """The optimizer's next steps, taken apart."""

    probe: ClassVar[str] = "anatomy"
    title: ClassVar[str] = "The anatomy of a step"
    chapter: ClassVar[int] = 2

    optimizer: str = quantity("", "the optimizer's class")
    read_from: str = quantity("", "its state and settings, or the updates that it makes")
    mismatch: float = quantity("", "largest difference between a step and what was read, over the step's length")
    updates: int = quantity("updates", "walked on a branch and read one by one")
    walked_first: int = quantity("updates", "walked before these, where the optimizer remembered nothing yet")
    effective_rate: Estimate | None = quantity(
        "", "η/σ, median over the parameters; here and below the mean over the updates, with the deviation over them"
    )
    rate_spread: Estimate | None = quantity(
        "", "η/σ at 95 % of the parameters over that at 5 %; 1 where all share a rate"
    )
    alignment: Estimate | None = quantity("", "cosine between the movement m and the present gradient")
    momentum: Estimate | None = quantity(
        "", "share of the step that earlier gradients carry; below 0 where they hold it back"
    )
    relative_step: Estimate | None = quantity("", "norm of the update over norm of the parameters")
    agreement: Estimate | None = quantity(
        "", "share of successive gradients that agree in sign: 1 steady, 1/2 noise, 0 alternating"
    )
    strength: Estimate | None = quantity(
        "", "|m|/σ, median: how much of its effective rate a parameter uses; none where the rule has no σ"
    )
    steady_strength: Estimate | None = quantity(
        "",
        "|m|/σ where signs agree in at least 3/4: median in the last update, with half the distance of the quartiles",
    )
    alternating_strength: Estimate | None = quantity("", "the same where signs agree in at most 1/4")
    layers: tuple[str, ...] = quantity("", "modules with parameters of their own, in the model's order")
    layer_effective_rate: tuple[float, ...] = quantity("", "median of η/σ in each")
    layer_effective_rate_error: tuple[float, ...] = quantity("", "its deviation over the updates")
    layer_alignment: tuple[float, ...] = quantity("", "cosine of m and gradient in each")
    layer_alignment_error: tuple[float, ...] = quantity("", "its deviation over the updates")
    layer_momentum: tuple[float, ...] = quantity("", "share of each one's step that earlier gradients carry")
    layer_momentum_error: tuple[float, ...] = quantity("", "its deviation over the updates")
    layer_relative_step: tuple[float, ...] = quantity("", "update over parameters in each")
    layer_relative_step_error: tuple[float, ...] = quantity("", "its deviation over the updates")
    layer_agreement: tuple[float, ...] = quantity("", "share of successive gradients that agree in sign in each")
    layer_agreement_error: tuple[float, ...] = quantity("", "its deviation over the updates")
    layer_strength: tuple[float, ...] = quantity("", "median of |m|/σ in each")
    layer_strength_error: tuple[float, ...] = quantity("", "its deviation over the updates")
    layer_rates: tuple[tuple[float, ...], ...] = ()
    """Quantiles of η/σ in each layer, at QUANTILES, mean over the updates."""
    signs: tuple[Signs, ...] = ()

    def draw(self) -> go.Figure:
        """The distribution of η/σ in each layer."""
        figure = self._by_layer(
            "Effective rates, layer by layer",
            x="effective rate η/σ",
            log_x=True,
            summary=f"The median parameter walks at {_said(self.effective_rate)}; between the slowest and the fastest "
            f"5 % the rates differ by a factor of {_said(self.rate_spread)}.",
        )
        lowest, low, middle, high, highest = (list(column) for column in zip(*self.layer_rates, strict=True))
        self._ranges(figure, lowest, highest, width=2, name="5 % to 95 %")
        self._ranges(figure, low, high, width=9, name="the middle half")
        figure.add_scatter(
            x=middle,
            y=self.layers,
            mode="markers",
            name="median",
            marker={"color": plot.COLOURS["opposite"], "size": 9, "symbol": "diamond"},
        )
        return figure

    def pictures(self) -> Mapping[str, go.Figure]:
        """The rates, what movements are made of, how long steps are, and what signs make of |m|/σ."""
        signs = {"signs": self._signs()} if self.signs else {}
        return {"rates": self.draw(), "movements": self._movements(), "lengths": self._lengths(), **signs}

    def _by_layer(self, title: str, *, x: str, summary: str, log_x: bool = False) -> go.Figure:
        figure = plot.figure(title=title, x=x, y="", summary=summary, log_x=log_x)
        figure.update_yaxes(type="category", autorange="reversed")
        figure.update_layout(height=FRAME + ROW * len(self.layers))
        return figure

    def _ranges(self, figure: go.Figure, low: Sequence[float], high: Sequence[float], *, width: int, name: str) -> None:
        """A line from low to high for each layer."""
        figure.add_scatter(
            x=[end for pair in zip(low, high, strict=True) for end in (*pair, None)],
            y=[row for layer in self.layers for row in (layer, layer, None)],
            mode="lines",
            name=name,
            line={"color": plot.COLOURS["accent"], "width": width},
        )

    def _movements(self) -> go.Figure:
        figure = self._by_layer(
            "What the movement is made of",
            x="1: all of it; 0: nothing; below 0: against it",
            summary=f"The cosine between m and the present gradient is {_said(self.alignment)}; the share of the "
            f"step that earlier gradients carry is {_said(self.momentum)}.",
        )
        bars: tuple[tuple[str, plot.Role, tuple[float, ...]], ...] = (
            ("cosine of m and the present gradient", "accent", self.layer_alignment),
            ("share of the step from earlier gradients", "opposite", self.layer_momentum),
        )
        for name, role, values in bars:
            figure.add_bar(x=list(values), y=self.layers, orientation="h", name=name, marker_color=plot.COLOURS[role])
        return figure

    def _lengths(self) -> go.Figure:
        figure = self._by_layer(
            "How long a step is beside the weights",
            x="|change| / |θ|",
            log_x=True,
            summary=f"Over all parameters |change| / |θ| is {_said(self.relative_step)}.",
        )
        figure.add_scatter(
            x=list(self.layer_relative_step),
            y=self.layers,
            mode="markers",
            name="update over weights",
            marker={"color": plot.COLOURS["accent"], "size": 9},
        )
        return figure

    def _signs(self) -> go.Figure:
        figure = plot.figure(
            title="Why m and σ do not cancel",
            x="share of successive gradients that agree in sign",
            y="|m|/σ",
            summary=f"Where gradients keep their sign |m|/σ is {_said(self.steady_strength)}, where they alternate "
            f"{_said(self.alternating_strength)}: m adds them up with their signs, σ their squares.",
        )
        low, middle, high = zip(*(group.quartiles for group in self.signs), strict=True)
        shares = [group.agreement for group in self.signs]
        plot.line_with_spread(figure, shares, middle, low, high, name="median and quartiles")
        figure.data[-1].update(mode="lines+markers")
        return figure


def _said(estimate: Estimate | None) -> str:
    return "not known" if estimate is None else f"{estimate.value:.2g}"


@dataclass(frozen=True, kw_only=True)
class Anatomy:
    """A short walk on a branch; each of its updates is read as it is made.

    Attributes:
        updates: that are read.
    """

    reads: ClassVar[type[Reading]] = AnatomyReading
    curvature: ClassVar[bool] = False
    once: ClassVar[bool] = False

    updates: int = 20

    def __post_init__(self) -> None:
        if self.updates < 2:
            raise InputError(
                f"anatomy: `updates` must be 2 or more, to compare successive gradients; got {self.updates}"
            )

    def measure(self, view: View, budget: Budget) -> AnatomyReading:
        branch = view.problem.branch()
        first = 0 if _remembers(branch.optimizer) else min(WALKED_FIRST, budget.updates)
        records = _walked(view, branch, first, max(2, min(self.updates, budget.updates)))
        moved = {name: p for name, p in view.point.items() if all(name in record.sums for record in records)}
        if not moved:
            raise InputError("anatomy: the optimizer moves none of the model's parameters; see the probe `wiring`")
        whole = _Part(records, moved)
        layers = {name: _Part(records, part) for name, part in by_layer(moved).items()}
        rates, rate_errors = _column([layer.effective_rate for layer in layers.values()])
        alignments, alignment_errors = _column([layer.alignment for layer in layers.values()])
        momenta, momentum_errors = _column([layer.momentum for layer in layers.values()])
        steps, step_errors = _column([layer.relative_step for layer in layers.values()])
        agreements, agreement_errors = _column([layer.agreement for layer in layers.values()])
        strengths, strength_errors = _column([layer.strength for layer in layers.values()])
        return AnatomyReading(
            update=view.update,
            samples=len(records) * branch.accumulate * branch.data.batch_size,
            notes=_notes(records, first, branch.optimizer, whole.entries),
            optimizer=type(branch.optimizer).__name__,
            read_from=FROM_STATE if all(record.from_state for record in records) else FROM_UPDATES,
            mismatch=max(record.mismatch for record in records),
            updates=len(records),
            walked_first=first,
            effective_rate=whole.effective_rate,
            rate_spread=whole.rate_spread,
            alignment=whole.alignment,
            momentum=whole.momentum,
            relative_step=whole.relative_step,
            agreement=whole.agreement,
            strength=whole.strength,
            steady_strength=_median(whole.entries, whole.entries.agreements >= STEADY),
            alternating_strength=_median(whole.entries, whole.entries.agreements <= ALTERNATING),
            layers=tuple(layers),
            layer_effective_rate=rates,
            layer_effective_rate_error=rate_errors,
            layer_alignment=alignments,
            layer_alignment_error=alignment_errors,
            layer_momentum=momenta,
            layer_momentum_error=momentum_errors,
            layer_relative_step=steps,
            layer_relative_step_error=step_errors,
            layer_agreement=agreements,
            layer_agreement_error=agreement_errors,
            layer_strength=strengths,
            layer_strength_error=strength_errors,
            layer_rates=tuple(layer.rates for layer in layers.values()),
            signs=_signs(whole.entries),
        )


class _Part:
    """A layer, or the whole model: what was recorded of its tensors together, as means over the updates."""

    def __init__(self, records: Sequence[StepRecord], tensors: Mapping[str, Tensor]) -> None:
        sums = [together(record.sums[name] for name in tensors) for record in records]
        self.entries = Entries.of(records, {name: tensor.numel() for name, tensor in tensors.items()})
        quantiles = self.entries.rate_quantiles(QUANTILES)
        self.rates: tuple[float, ...] = tuple(quantiles.mean(0).tolist())
        self.effective_rate = _estimate(quantiles[:, 2].tolist())
        self.rate_spread = _estimate([high / low if low > 0 else math.nan for low, *_, high in quantiles.tolist()])
        self.alignment = _estimate([each.alignment for each in sums])
        self.momentum = _estimate([each.momentum for each in sums])
        self.relative_step = _estimate([each.relative_step for each in sums])
        self.agreement = _estimate(self.entries.agreement)
        self.strength = _estimate(self.entries.strength.tolist())


def _remembers(optimizer: torch.optim.Optimizer) -> bool:
    """Whether it holds anything of earlier gradients."""
    return any(bool(tensor.any()) for state in optimizer.state.values() for tensor in tensors_of(state))


def _walked(view: View, branch: Problem, first: int, updates: int) -> list[StepRecord]:
    """The steps that were read, up to where they stop being finite."""
    batches = branch.data.order(view.seed)
    named = {name: parameter for name, parameter in branch.model.named_parameters() if name in view.point}
    followed = places(named, view.generator(81))
    walk(branch, first, order=view.seed, start=view.update, batches=batches)
    view.gradient_evaluations += (first + updates) * branch.accumulate
    records: list[StepRecord] = []
    for count in range(updates):
        start = view.update + first + count
        step = partial(walk, branch, 1, order=view.seed, start=start, batches=batches)
        made = record(observe(branch.optimizer, named, step), named, followed)
        if records and not made.finite:
            break
        records.append(made)
    return records


def _column(estimates: Sequence[Estimate | None]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Values and errors; not numbers where there is none."""
    known = [estimate or Estimate(math.nan, math.nan) for estimate in estimates]
    return tuple(estimate.value for estimate in known), tuple(estimate.error for estimate in known)


def _mean(values: Sequence[float]) -> float:
    """Over the updates that have one."""
    finite = [value for value in values if math.isfinite(value)]
    return sum(finite) / len(finite) if finite else math.nan


def _estimate(values: Sequence[float]) -> Estimate | None:
    mean = _mean(values)
    if math.isnan(mean):
        return None
    return Estimate(mean, _mean([(value - mean) ** 2 for value in values]) ** 0.5)


def _median(entries: Entries, chosen: NDArray[np.bool_]) -> Estimate | None:
    found = entries.quartiles(chosen)
    if found is None or not all(map(math.isfinite, found[1])):
        return None
    low, middle, high = found[1]
    return Estimate(middle, (high - low) / 2)


def _signs(entries: Entries) -> tuple[Signs, ...]:
    """Groups of parameters by how often their gradients kept their sign; none where nothing is divided by σ."""
    edges = np.linspace(0, 1, BINS + 1)
    groups = np.digitize(entries.agreements, edges[1:-1], right=True)
    found = [(group, entries.quartiles((groups == group) & np.isfinite(entries.agreements))) for group in range(BINS)]
    return tuple(
        Signs(agreement=float(edges[group] + edges[group + 1]) / 2, share=held[0], quartiles=held[1])
        for group, held in found
        if held is not None and all(map(math.isfinite, held[1]))
    )


def _notes(
    records: Sequence[StepRecord], first: int, optimizer: torch.optim.Optimizer, entries: Entries
) -> tuple[str, ...]:
    name, notes = type(optimizer).__name__, []
    if first:
        notes.append(
            f"The optimizer remembered nothing yet: it was walked {first} updates on a branch, and is read after them."
        )
    if not all(record.from_state for record in records):
        notes.append(
            f"{name} is read through the updates that it makes, as if it divided by nothing: its formula is not known "
            "here, or does not tell these updates. So σ is 1, and what earlier gradients carry cannot be told apart."
        )
    if (entries.weights > 1).any():
        notes.append(
            f"Of tensors with more than {ENTRIES:,} entries so many, drawn at random, stand for all in medians."
        )
    return tuple(notes)
