"""Inputs: the scale and the offset of every feature (LeCun et al. 1998, Efficient BackProp, §4.3)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import plotly.graph_objects as go
import torch
from torch import Tensor

from unstuck import plot
from unstuck.budget import Budget
from unstuck.data import tensors_of
from unstuck.errors import InputError
from unstuck.forward import split
from unstuck.reading import Reading, quantity
from unstuck.view import View


@dataclass(frozen=True, kw_only=True)
class InputsReading(Reading):
    """The first floating-point input tensor, feature by feature."""

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
        if inputs is None:
            return _nothing(view, "the inputs are no table of finite floating-point numbers: there is no scale")
        axis = feature_axis(inputs)
        mean, deviation = moments(inputs, axis)
        varying = deviation[deviation > 1e-7 * (mean.abs() + deviation.max())]
        typical = float(varying.median()) if len(varying) else 0.0
        smallest = float(torch.quantile(varying, 0.05)) if len(varying) else 0.0
        offset = (mean[deviation > 0].abs() / deviation[deviation > 0]).median() if len(varying) else mean.abs().max()
        shown = varying.sort(descending=True).values
        return InputsReading(
            update=view.update,
            samples=len(inputs),
            axis=axis,
            features=len(deviation),
            size=float(inputs.double().pow(2).mean().sqrt()),
            largest_over_typical=float(deviation.max()) / typical if typical else 0.0,
            typical_over_smallest=typical / smallest if smallest else 0.0,
            offset=float(offset),
            constant=1 - len(varying) / len(deviation),
            deviations=tuple(shown[:: max(1, len(shown) // 200)].tolist()),
        )


def first_input(batch: Any) -> Tensor | None:
    """The first input tensor, if it holds floating-point numbers and more than one axis."""
    found = tensors_of(split(batch)[0])
    return found[0] if found and found[0].is_floating_point() and found[0].dim() > 1 else None


def first_inputs(batches: Iterable[Any]) -> Tensor | None:
    """The first inputs of all batches that are shaped as those of the first, without samples that are not finite."""
    found = [part for part in map(first_input, batches) if part is not None]
    if not found:
        return None
    inputs = torch.cat([part for part in found if part.shape[1:] == found[0].shape[1:]])
    finite = inputs[torch.isfinite(inputs).flatten(1).all(1)]
    return finite if len(finite) else None


def feature_axis(inputs: Tensor) -> int:
    """Which axis counts features: columns of a table, channels of an image.

    For three axes (sequences) there is no convention; the one along which the size varies most is taken.
    """
    if inputs.dim() == 2:
        return 1
    if inputs.dim() > 3:
        return 1
    spread = {}
    for axis in (2, 1):
        size = moments(inputs, axis)[1]
        spread[axis] = float(size.max() / size.clamp_min(1e-12).min())
    return max(spread, key=lambda axis: spread[axis])


def moments(inputs: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each feature, shape (features,), in double precision."""
    table = inputs.detach().double().movedim(axis, 0).flatten(1)
    return table.mean(1), table.std(1, correction=0)


def _nothing(view: View, because: str) -> InputsReading:
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
    )
