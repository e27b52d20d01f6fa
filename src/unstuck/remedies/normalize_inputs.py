"""Standardize the input features: the same mountain, seen without the distortion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from unstuck.errors import InputError
from unstuck.probes.inputs import InputsReading, first_inputs, moments
from unstuck.problem import Problem
from unstuck.reading import Readings
from unstuck.remedy import Intervention

SAMPLES = 4_096
"""Samples over which means and deviations are taken."""

LARGEST = 20.0
"""No standardized input gets larger: features that hardly ever change are divided by their range instead."""

ROUNDING = 4.0
"""Units in the last place of a mean: a feature that never gets farther from it is constant."""


@dataclass(frozen=True, kw_only=True)
class NormalizeInputs:
    """Subtract each feature's mean and divide by its deviation, both over the training data."""

    slug: ClassVar[str] = "normalize-inputs"
    chapter: ClassVar[int] = 5
    intervention: ClassVar[Intervention] = Intervention.DATA
    lowers_rate: ClassVar[bool] = False
    axis: int

    @classmethod
    def propose(cls, readings: Readings) -> tuple[Self, ...]:
        """Where the inputs have features."""
        inputs = readings.get(InputsReading)
        return (cls(axis=inputs.first.axis),) if inputs is not None and inputs.first.features else ()

    def apply(self, branch: Problem) -> Problem:
        """The branch's model behind a standardization of its first input."""
        inputs = first_inputs(branch.data.sample(SAMPLES, chunk=SAMPLES, seed=0))
        if inputs is None:
            raise InputError("normalize-inputs: the inputs hold no finite floating-point numbers to standardize")
        model = Standardized(branch.model, *standardization(inputs, self.axis), axis=self.axis)
        return branch.changed(model=model.to(branch.device))

    def says(self) -> str:
        """In a sentence."""
        return "standardize the inputs: subtract each feature's mean and divide by its standard deviation"

    def diff(self, problem: Problem) -> str:
        """Two lines before the loaders are built."""
        return (
            f"+others = [axis for axis in range(inputs.dim()) if axis != {self.axis}]\n"
            "+mean, deviation = inputs.mean(others, keepdim=True), inputs.std(others, keepdim=True)\n"
            "+inputs = (inputs - mean) / deviation.clamp_min(1e-6)  # the same two numbers for held-out data"
        )


def standardization(inputs: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Mean and divisor of each feature, shapes (features,); constant features are divided by one."""
    mean, deviation = moments(inputs, axis)
    table = inputs.double().movedim(axis, 0).flatten(1)
    reach = (table - mean[:, None]).abs().amax(1)
    varies = reach > ROUNDING * torch.finfo(inputs.dtype).eps * mean.abs()
    divisor = torch.where(varies, torch.maximum(deviation, reach / LARGEST), torch.ones_like(deviation))
    return mean.to(inputs.dtype), divisor.to(inputs.dtype)


class Standardized(nn.Module):
    """A model behind (x − mean) / divisor, feature by feature, on its first input."""

    mean: Tensor
    divisor: Tensor

    def __init__(self, model: nn.Module, mean: Tensor, divisor: Tensor, *, axis: int) -> None:
        super().__init__()
        self.model = model
        self.axis = axis
        self.register_buffer("mean", mean)
        self.register_buffer("divisor", divisor)
        self.train(model.training)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The model's outputs for standardized inputs."""
        if args:
            return self.model(self._standardized(args[0]), *args[1:], **kwargs)
        first = next(iter(kwargs))
        return self.model(**{**kwargs, first: self._standardized(kwargs[first])})

    def _standardized(self, inputs: Tensor) -> Tensor:
        shape = [1] * inputs.dim()
        shape[self.axis] = -1
        return (inputs - self.mean.view(shape)) / self.divisor.view(shape)
