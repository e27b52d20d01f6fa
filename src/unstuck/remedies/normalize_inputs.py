"""Standardize the input features: the same mountain, seen without the distortion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from unstuck.probes.inputs import InputsReading
from unstuck.problem import Problem
from unstuck.reading import Readings
from unstuck.remedy import Intervention
from unstuck.surgery.inputs import with_normalized_inputs


@dataclass(frozen=True, kw_only=True)
class NormalizeInputs:
    """Subtract each feature's mean and divide by its deviation, both over the training data."""

    slug: ClassVar[str] = "normalize-inputs"
    chapter: ClassVar[int] = 5
    intervention: ClassVar[Intervention] = Intervention.DATA
    lowers_rate: ClassVar[bool] = False
    panacea: ClassVar[bool] = False
    axis: int

    @classmethod
    def propose(cls, readings: Readings) -> tuple[Self, ...]:
        """Where the inputs have features."""
        inputs = readings.get(InputsReading)
        return (cls(axis=inputs.first.axis),) if inputs is not None and inputs.first.features else ()

    def apply(self, branch: Problem) -> Problem:
        """The branch's model behind a standardization of its first input."""
        return with_normalized_inputs(branch, axis=self.axis)

    def opposite(self) -> None:
        """None: the inputs as they are stand in the untouched arm."""

    def ladder(self) -> None:
        """None: they are standardized or not."""

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
