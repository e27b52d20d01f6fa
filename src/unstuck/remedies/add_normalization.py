"""Normalize what hidden layers give, so that none squeezes or swells what the next ones see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from torch import nn

from unstuck.errors import InputError
from unstuck.probes.inputs import InputsReading
from unstuck.problem import Problem
from unstuck.reading import Readings
from unstuck.remedy import Intervention
from unstuck.surgery.insertion import with_normalization

OUTPUTS = {
    "batch": ("torch.nn.BatchNorm1d(units)", "torch.nn.BatchNorm2d(channels)"),
    "layer": ("torch.nn.LayerNorm(units)", "torch.nn.GroupNorm(1, channels)"),
    "instance": ("torch.nn.InstanceNorm1d(channels, affine=True)", "torch.nn.InstanceNorm2d(channels, affine=True)"),
    "group": ("torch.nn.GroupNorm(groups, units)", "torch.nn.GroupNorm(groups, channels)"),
    "batch-renorm": 2 * ("unstuck.surgery.normalization_layers.BatchRenorm(units)",),
}
"""What is put after a layer or its activation: in networks without images, and with."""

WEIGHTS = {"weight": "weight_norm", "spectral": "spectral_norm"}
"""What is put around a layer."""


@dataclass(frozen=True, kw_only=True)
class AddNormalization:
    """Batch, layer or another normalization for every hidden layer that feeds an activation."""

    slug: ClassVar[str] = "add-normalization"
    chapter: ClassVar[int] = 5
    intervention: ClassVar[Intervention] = Intervention.ARCHITECTURE
    lowers_rate: ClassVar[bool] = False
    panacea: ClassVar[bool] = True
    kind: str = "batch"
    place: str = "before activation"

    def __post_init__(self) -> None:
        known = (*OUTPUTS, *WEIGHTS)
        if self.kind not in known:
            raise InputError(f"add-normalization: kind {self.kind!r} is not known; known are {', '.join(known)}")

    @classmethod
    def propose(cls, readings: Readings) -> tuple[Self, ...]:
        """For tables and images batch normalization, then layer normalization; for sequences the latter alone."""
        inputs = readings.get(InputsReading)
        independent = inputs is not None and inputs.first.features > 0 and inputs.first.axis == 1
        return tuple(cls(kind=kind) for kind in (("batch", "layer") if independent else ("layer",)))

    def apply(self, branch: Problem) -> Problem:
        """The branch with normalization wherever a layer qualifies."""
        return with_normalization(branch, self.kind, place=self.place).problem

    def opposite(self) -> None:
        """None: nothing undoes what is not there."""

    def ladder(self) -> None:
        """None: a layer is normalized or not."""

    def says(self) -> str:
        """In a sentence."""
        if self.kind in WEIGHTS:
            return f"put {self.kind} normalization on the weights of every hidden layer"
        return f"put {self.kind} normalization {self.place.partition(' ')[0]} the activation of every hidden layer"

    def diff(self, problem: Problem) -> str:
        """What comes at each hidden layer of the model."""
        if self.kind in WEIGHTS:
            around = f"torch.nn.utils.parametrizations.{WEIGHTS[self.kind]}"
            return f"-    layer,  # each hidden one that feeds an activation\n+    {around}(layer),"
        images = any(isinstance(module, nn.Conv2d) for module in problem.model.modules())
        lines = [" layer,  # each hidden one", " activation,"]
        at = 1 if self.place == "before activation" else 2
        return "\n".join([*lines[:at], f"+{OUTPUTS[self.kind][images]},", *lines[at:]])
