"""Inputs: the scale and the offset of every feature, how they go together, and whether they tell of the targets.

Unequal scales, and features that nearly follow from others, make the surface steep along some directions and flat
along others: for a linear layer the Hessian is made of the inputs' covariance (LeCun et al. 1998, "Efficient BackProp",
§4.3 and 5.3). Whether inputs tell of targets is asked of neighbours, without the model
(:mod:`unstuck.numerics.neighbours`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import plotly.graph_objects as go
import torch
from torch import Tensor

from unstuck import plot
from unstuck.budget import Budget
from unstuck.data import tensors_of
from unstuck.errors import InputError
from unstuck.forward import split
from unstuck.methods.normalize import FeatureStatistics
from unstuck.numerics.conditioning import conditioning, noise_condition
from unstuck.numerics.neighbours import shared_by_neighbours
from unstuck.reading import Estimate, Reading, quantity
from unstuck.surgery.inputs import feature_axis, first_inputs
from unstuck.view import View

FEATURES, NUMBERS = 1_024, 2**20
"""Features whose covariance is looked at, at most and evenly spaced, and the numbers of all rows together."""


@dataclass(frozen=True, kw_only=True)
class InputsReading(Reading):
    """The first input tensor: feature by feature where it holds floating-point numbers, and beside the targets."""

    probe: ClassVar[str] = "inputs"
    title: ClassVar[str] = "Scale of the input features"
    chapter: ClassVar[int] = 5

    axis: int = quantity("", "the axis of the input tensor that counts features")
    features: int = quantity("", "features along it; 0 where the inputs are not floating-point numbers")
    size: float = quantity("input", "root mean square over all inputs")
    largest_over_typical: float = quantity("", "deviation of the widest feature over the median one")
    typical_over_smallest: float = quantity("", "median deviation over the narrowest 5 % (constant ones left out)")
    offset: float = quantity("", "median over features of |mean| / deviation")
    constant: float = quantity("", "share of features that never change")
    rank: int = quantity("", "directions in which features vary independently; fewer than there are samples")
    condition: float | None = quantity(
        "", "variance along the widest of these directions over that along the narrowest"
    )
    normalized_condition: float | None = quantity(
        "", "the same with every feature divided by its deviation: what normalization leaves"
    )
    noise_condition: float | None = quantity(
        "", "what as many independent features show in so few samples (Marchenko & Pastur 1967); none for too few"
    )
    alike: bool = quantity("", "every sample has the same input")
    told: Estimate | None = quantity(
        "",
        "of the targets' mean squared distance, the share that is missing between nearest neighbours by their inputs: "
        "0 where inputs tell nothing; error: its deviation where targets are dealt out at random",
    )
    deviations: tuple[float, ...] = ()

    def draw(self) -> go.Figure | None:
        """The sorted deviations of the features."""
        if not self.features:
            return None
        figure = plot.figure(
            title=self.title,
            x="features, widest first",
            y="standard deviation",
            log_y=True,
            summary=f"The widest of {self.features} features is {self.largest_over_typical:.3g} times the typical one.",
        )
        plot.line(figure, list(range(1, len(self.deviations) + 1)), self.deviations, name="deviation")
        return figure


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Means and deviations over the sample; no gradient is evaluated."""

    reads: ClassVar[type[Reading]] = InputsReading
    curvature: ClassVar[bool] = False
    once: ClassVar[bool] = True

    def measure(self, view: View, budget: Budget) -> InputsReading:
        try:
            inputs = first_inputs(view.sample)
        except InputError as error:
            return _nothing(view, str(error))
        alike, told = _alike(view), _told(view)
        if inputs is None:
            because = "the inputs are no table of finite floating-point numbers: there is no scale"
            return _nothing(view, because, alike=alike, told=told)
        axis = feature_axis(inputs)
        statistics = FeatureStatistics.of([inputs], axis=axis)
        mean, deviation = statistics.mean, statistics.deviation
        varies = deviation > 1e-7 * (mean.abs() + deviation.max())
        varying = deviation[varies]
        typical = float(varying.median()) if len(varying) else 0.0
        smallest = float(torch.quantile(varying, 0.05)) if len(varying) else 0.0
        offset = (mean[deviation > 0].abs() / deviation[deviation > 0]).median() if len(varying) else mean.abs().max()
        shown = varying.sort(descending=True).values
        table = _table(inputs, axis, varies)
        found = conditioning(table, epsilon=torch.finfo(inputs.dtype).eps)
        return InputsReading(
            update=view.update,
            samples=len(inputs),
            notes=_notes(len(inputs), len(varying), table.shape[1]),
            axis=axis,
            features=len(deviation),
            size=float(inputs.double().pow(2).mean().sqrt()),
            largest_over_typical=float(deviation.max()) / typical if typical else 0.0,
            typical_over_smallest=typical / smallest if smallest else 0.0,
            offset=float(offset),
            constant=1 - len(varying) / len(deviation),
            rank=found.rank,
            condition=found.condition,
            normalized_condition=found.normalized_condition,
            noise_condition=noise_condition(rows=len(inputs), columns=table.shape[1]),
            alike=alike,
            told=told,
            deviations=tuple(shown[:: max(1, len(shown) // 200)].tolist()),
        )


def _alike(view: View) -> bool:
    """Whether every tensor of the inputs is the same for all samples, of which there are several."""
    inputs = [[tensor for tensor in tensors_of(split(batch)[0]) if tensor.dim()] for batch in view.sample]
    first = [tensor[:1] for tensor in inputs[0]]
    return (
        view.samples > 1
        and bool(first)
        and all(
            tensor.shape[1:] == one.shape[1:] and bool((tensor == one).all())
            for tensors in inputs
            for tensor, one in zip(tensors, first, strict=False)
        )
    )


def _told(view: View) -> Estimate | None:
    """What the first input tensor tells of the targets; None where they are no tensors of one shape and finite."""
    pairs = [split(batch) for batch in view.sample]
    inputs = [found[0] for found in (tensors_of(given) for given, _ in pairs) if found and found[0].dim()]
    targets = [target for _, target in pairs if isinstance(target, Tensor) and target.dim()]
    ragged = any(len({tensor.shape[1:] for tensor in part}) > 1 for part in (inputs, targets))
    if ragged or not len(inputs) == len(targets) == len(pairs):
        return None
    given, wanted = torch.cat(inputs), torch.cat(targets)
    if not bool(torch.isfinite(given).all() & torch.isfinite(wanted).all()):
        return None
    found = shared_by_neighbours(given, wanted, generator=view.generator(43))
    return None if found is None else Estimate(*found)


def _table(inputs: Tensor, axis: int, varying: Tensor) -> Tensor:
    """Rows of the features that vary, shape (rows, features): all of them, or some that are evenly spaced."""
    columns = varying.nonzero().flatten()
    columns = columns[:: max(1, -(-len(columns) // FEATURES))]
    rows = inputs.movedim(axis, -1).flatten(0, -2)
    most = NUMBERS // max(1, len(columns))
    return rows[:: -(-len(rows) // most)][:, columns]


def _notes(samples: int, varying: int, looked_at: int) -> tuple[str, ...]:
    notes = []
    if looked_at < varying:
        notes.append(f"rank and conditions are those of {looked_at} features, evenly spaced")
    if looked_at >= samples:
        notes.append("there are no more samples than features: the narrowest directions are those of the sample")
    return tuple(notes)


def _nothing(view: View, because: str, *, alike: bool = False, told: Estimate | None = None) -> InputsReading:
    return InputsReading(
        update=view.update,
        samples=view.samples,
        notes=(because,),
        axis=0,
        features=0,
        size=0.0,
        largest_over_typical=0.0,
        typical_over_smallest=0.0,
        offset=0.0,
        constant=0.0,
        rank=0,
        condition=None,
        normalized_condition=None,
        noise_condition=None,
        alike=alike,
        told=told,
    )
