"""Give every layer a step in proportion to its own weights: large batches leave few updates, and all have to count."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import ClassVar, Self

from unstuck.methods.optimizers import with_optimizer
from unstuck.probes.step import StepReading
from unstuck.problem import Problem
from unstuck.reading import Readings
from unstuck.remedy import Intervention, Ladder

SHARES = (1e-4, 0.1)
"""The shortest and the longest step that is proposed, as a share of the weights."""

MOMENTUM = 0.9


@dataclass(frozen=True, kw_only=True)
class LayerwiseScaling:
    """LARS or LAMB whose steps in each layer are ``share`` of its weights' norm.

    LARS leaves biases and normalization layers to gradient descent at the present rate; its ``share`` is that of a
    steady movement, which momentum makes of ten steps.
    """

    slug: ClassVar[str] = "layerwise-scaling"
    chapter: ClassVar[int] = 2
    intervention: ClassVar[Intervention] = Intervention.OPTIMIZER
    lowers_rate: ClassVar[bool] = False
    panacea: ClassVar[bool] = False
    optimizer: str
    share: float

    @classmethod
    def propose(cls, readings: Readings) -> tuple[Self, ...]:
        """Steps as long as the best of the present ones, but alike in all layers; LARS in place of gradient descent."""
        steps = readings.get(StepReading)
        if steps is None or find_spec("pytorch_optimizer") is None:
            return ()
        best = steps.latest.relative_step * steps.latest.best_multiple.value
        share = float(f"{min(max(best, SHARES[0]), SHARES[1]):.2g}")
        names = ("lars", "lamb") if steps.latest.optimizer == "SGD" else ("lamb",)
        return tuple(cls(optimizer=name, share=share) for name in names)

    def apply(self, branch: Problem) -> Problem:
        """The branch under LARS or LAMB."""
        if self.optimizer == "lamb":
            return with_optimizer(branch, "lamb", rate=self.share)
        rate = _base_rate(branch)
        return with_optimizer(branch, "lars", rate=rate, momentum=MOMENTUM, trust=self._trust(rate))

    def _trust(self, rate: float) -> float:
        return self.share * (1 - MOMENTUM) / rate

    def opposite(self) -> None:
        """None: one step for all layers is what the untouched arm takes."""

    def ladder(self) -> Ladder:
        """Steps up to a hundred times as long."""
        values = (self.share / 30, self.share / 5, self.share, 100 * self.share)
        return Ladder(setting="share", doses=tuple(replace(self, share=value) for value in values), peaks=True)

    def says(self) -> str:
        """In a sentence."""
        return f"train with {self.optimizer.upper()}, with steps of {self.share:g} of the weights' norm in each layer"

    def diff(self, problem: Problem) -> str:
        """The line that builds the optimizer."""
        rate = _base_rate(problem)
        new = (
            f"Lamb(..., lr={self.share:g}, weight_decouple=False, adam_debias=True)"
            if self.optimizer == "lamb"
            else f"LARS(..., lr={rate:g}, momentum={MOMENTUM:g}, trust_coefficient={self._trust(rate):.3g})"
        )
        return f"-optimizer = {type(problem.optimizer).__name__}(...)\n+optimizer = {new}  # of pytorch_optimizer"


def _base_rate(problem: Problem) -> float:
    group = problem.optimizer.param_groups[0]
    return float(group.get("initial_lr", group["lr"]))
