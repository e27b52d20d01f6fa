"""Take the statistics that batch normalization uses in testing anew, at the weights as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from unstuck.methods.recalibration import recalibrated
from unstuck.problem import Problem
from unstuck.reading import Readings
from unstuck.remedy import Intervention

SAMPLES = 4_096
"""Of the training data; Wu & Johnson 2021, §3, find a thousand to be enough."""


@dataclass(frozen=True, kw_only=True)
class RecalibrateBatchNorm:
    """Replace the moving averages by the mean and variance over training data; nothing that is trained changes."""

    slug: ClassVar[str] = "recalibrate-batch-norm"
    chapter: ClassVar[int] = 5
    intervention: ClassVar[Intervention] = Intervention.WIRING
    lowers_rate: ClassVar[bool] = False
    panacea: ClassVar[bool] = False

    @classmethod
    def propose(cls, readings: Readings) -> tuple[Self, ...]:  # noqa: ARG003 - the same for every problem
        """One way."""
        return (cls(),)

    def apply(self, branch: Problem) -> Problem:
        """The branch with statistics of its present weights, over batches of the size of training."""
        return recalibrated(branch, branch.data.sample(SAMPLES, chunk=branch.data.batch_size, seed=0))

    def opposite(self) -> None:
        """None: the averages as they are stand in the untouched arm."""

    def ladder(self) -> None:
        """None: they are taken anew or not."""

    def says(self) -> str:
        """In a sentence."""
        return "take the running statistics of batch normalization anew, over training data at the present weights"

    def diff(self, problem: Problem) -> str:
        """One line between training and evaluation."""
        return "+torch.optim.swa_utils.update_bn(train_loader, model)  # before each evaluation\n model.eval()"
