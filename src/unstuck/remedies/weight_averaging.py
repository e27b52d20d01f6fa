"""Average the weights along the walk: where steps are dominated by noise, the average is better than any of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from unstuck.methods.averaging import with_averaging
from unstuck.probes.step import StepReading
from unstuck.problem import Problem
from unstuck.reading import Readings
from unstuck.remedy import Intervention, Ladder

UNAVERAGED = ("Averaged", "LBFGS", "SGDScheduleFree", "AdamWScheduleFree", "RAdamScheduleFree")
"""Optimizers that average already, or whose steps mean nothing on the average, by the names of their classes."""


@dataclass(frozen=True, kw_only=True)
class WeightAveraging:
    """Judged by an average in which an update of s updates ago weighs ``decay`` to the power of s; 1: all alike.

    It quiets the noise much as a falling rate does (Sandler et al. 2023, "Training trajectories, mini-batch losses and
    the curious role of the learning rate"), and like one it looks better for a while where nothing is wrong.
    """

    slug: ClassVar[str] = "weight-averaging"
    chapter: ClassVar[int] = 2
    intervention: ClassVar[Intervention] = Intervention.OPTIMIZER
    lowers_rate: ClassVar[bool] = True
    panacea: ClassVar[bool] = False
    decay: float
    start: int = 0
    every: int = 1

    @classmethod
    def propose(cls, readings: Readings) -> tuple[Self, ...]:
        """The last hundred updates, and the last ten."""
        steps = readings.get(StepReading)
        if steps is None or steps.latest.optimizer in UNAVERAGED:
            return ()
        return (cls(decay=0.99), cls(decay=0.9))

    def apply(self, branch: Problem) -> Problem:
        """The branch with an average beside its walk."""
        return with_averaging(branch, decay=self.decay, start=self.start, every=self.every)

    def opposite(self) -> None:
        """None: an average that weighs old weights most is that of a shorter walk."""

    def ladder(self) -> Ladder | None:
        """Averages that reach farther and farther back; None for the equal mean, which reaches all the way."""
        if self.decay == 1:
            return None
        values = (self.decay**8, self.decay**4, self.decay**2, self.decay)
        return Ladder(setting="decay", doses=tuple(replace(self, decay=value) for value in values))

    def says(self) -> str:
        """In a sentence."""
        kind = "the equal mean" if self.decay == 1 else f"a moving average (decay {self.decay:g})"
        return f"evaluate and keep {kind} of the weights along the walk"

    def diff(self, problem: Problem) -> str:
        """Torch's own averaging; running statistics are taken anew at the end."""
        how = "" if self.decay == 1 else f", multi_avg_fn=swa_utils.get_ema_multi_avg_fn({self.decay:g})"
        return (
            f"+averaged = swa_utils.AveragedModel(model{how})  # from torch.optim import swa_utils\n"
            " optimizer.step()\n+averaged.update_parameters(model)\n"
            "+swa_utils.update_bn(train, averaged)  # at the end; then evaluate and keep `averaged`"
        )
