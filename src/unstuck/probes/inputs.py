"""Inputs: the scale and the offset of every feature (LeCun et al. 1998, Efficient BackProp, §4.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import plotly.graph_objects as go
import torch

from unstuck import plot
from unstuck.budget import Budget
from unstuck.errors import InputError
from unstuck.methods.inputs import feature_axis, first_inputs
from unstuck.methods.normalize import FeatureStatistics
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
        statistics = FeatureStatistics.of([inputs], axis=axis)
        mean, deviation = statistics.mean, statistics.deviation
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
