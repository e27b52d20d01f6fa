"""Let every parameter learn that was left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from unstuck.probes.wiring import WiringReading
from unstuck.problem import Problem
from unstuck.reading import Readings
from unstuck.remedy import Intervention


@dataclass(frozen=True, kw_only=True)
class TrainAllParameters:
    """Hand the optimizer what is trainable and missing, and make trainable what it holds frozen."""

    slug: ClassVar[str] = "train-all-parameters"
    chapter: ClassVar[int] = 0
    intervention: ClassVar[Intervention] = Intervention.WIRING
    lowers_rate: ClassVar[bool] = False
    panacea: ClassVar[bool] = False

    @classmethod
    def propose(cls, readings: Readings) -> tuple[Self, ...]:
        """Where some are missing or frozen; what is detached only the model's code can mend."""
        wiring = readings.get(WiringReading)
        if wiring is None or not (wiring.first.missing or wiring.first.frozen_but_listed):
            return ()
        return (cls(),)

    def apply(self, branch: Problem) -> Problem:
        """The branch with what was missing in its first parameter group, which schedulers know already."""
        listed = {id(p) for group in branch.optimizer.param_groups for p in group["params"]}
        missing = [p for p in branch.model.parameters() if p.requires_grad and id(p) not in listed]
        for parameter in branch.model.parameters():
            if id(parameter) in listed:
                parameter.requires_grad_(True)
        branch.optimizer.param_groups[0]["params"].extend(missing)
        return branch

    def opposite(self) -> None:
        """None: what is left out is left out in the untouched arm."""

    def ladder(self) -> None:
        """None: a parameter is trained or not."""

    def says(self) -> str:
        """In a sentence."""
        return "hand all trainable parameters to the optimizer"

    def diff(self, problem: Problem) -> str:
        """The optimizer's first argument; before it, what it holds is made trainable."""
        name = type(problem.optimizer).__name__
        frozen = any(not p.requires_grad for group in problem.optimizer.param_groups for p in group["params"])
        thaw = (
            '+for group in optimizer.param_groups:\n+    for parameter in group["params"]:\n'
            "+        parameter.requires_grad_(True)\n"
        )
        return (
            f"{thaw if frozen else ''}-optimizer = {name}(some_parameters, ...)\n"
            f"+optimizer = {name}([p for p in model.parameters() if p.requires_grad], ...)"
        )
