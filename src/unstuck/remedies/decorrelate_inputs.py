"""Decorrelate the input features: a valley that is narrow because they go together becomes a round one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from unstuck.probes.inputs import InputsReading
from unstuck.problem import Problem
from unstuck.reading import Readings
from unstuck.remedy import Intervention
from unstuck.surgery.decorrelation import with_decorrelated_inputs

TOGETHER = 10.0
"""Times what chance alone would show, by which the widest direction exceeds the narrowest: below, there is nothing to
be turned."""


@dataclass(frozen=True, kw_only=True)
class DecorrelateInputs:
    """Turn and stretch a table of features so that over the training data each varies by one, on its own (whitening).

    LeCun et al. 1998, Efficient BackProp, §4.3; Kessy, Lewin and Strimmer 2018.
    """

    slug: ClassVar[str] = "decorrelate-inputs"
    chapter: ClassVar[int] = 5
    intervention: ClassVar[Intervention] = Intervention.DATA
    lowers_rate: ClassVar[bool] = False
    panacea: ClassVar[bool] = False

    @classmethod
    def propose(cls, readings: Readings) -> tuple[Self, ...]:
        """Where features go together by more than chance."""
        inputs = readings.get(InputsReading)
        if inputs is None or inputs.first.normalized_condition is None:
            return ()
        return (cls(),) if inputs.first.normalized_condition > TOGETHER * (inputs.first.noise_condition or 1.0) else ()

    def apply(self, branch: Problem) -> Problem:
        """The branch's model behind a decorrelation of its first input."""
        return with_decorrelated_inputs(branch)

    def opposite(self) -> None:
        """None: the inputs as they are stand in the untouched arm."""

    def ladder(self) -> None:
        """None: they are decorrelated or not."""

    def says(self) -> str:
        """In a sentence."""
        return "decorrelate the inputs: turn and stretch them so that their covariance over the training data is one"

    def diff(self, problem: Problem) -> str:
        """A few lines before the loaders are built."""
        return (
            "+mean, deviation = inputs.mean(0), inputs.std(0)\n"
            "+extents, directions = torch.linalg.eigh(torch.corrcoef(inputs.T))\n"
            "+mixing = directions / extents.clamp_min(1e-8 * extents.max()).sqrt() @ directions.T\n"
            "+inputs = (inputs - mean) / deviation @ mixing  # the same numbers for held-out data"
        )
