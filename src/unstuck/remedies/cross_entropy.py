"""Train a classifier on cross-entropy, which has a slope wherever the model is wrong."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from unstuck.probes.outputs import OutputsReading
from unstuck.problem import Problem
from unstuck.reading import Readings
from unstuck.remedy import Intervention


@dataclass(frozen=True, kw_only=True)
class CrossEntropy:
    """Follow −log of the probability of the right class, computed from the outputs as they are.

    The model's output stays what it was: probabilities are read as probabilities, scores as logits. Results
    are still judged by the problem's own loss.
    """

    slug: ClassVar[str] = "cross-entropy"
    chapter: ClassVar[int] = 4
    intervention: ClassVar[Intervention] = Intervention.LOSS
    lowers_rate: ClassVar[bool] = False
    outputs: str
    """What the model gives: probabilities, shares (one sigmoid per output) or scores."""

    @classmethod
    def propose(cls, readings: Readings) -> tuple[Self, ...]:
        """As the outputs are."""
        found = readings.get(OutputsReading)
        return (cls(outputs=found.first.kind),) if found is not None else ()

    def apply(self, branch: Problem) -> Problem:
        """The branch following cross-entropy."""
        restore = partial(F.log_softmax, dim=1) if self.outputs == "scores" else None
        return dataclasses.replace(branch, training_loss=partial(entropy, outputs=self.outputs), restore=restore)

    def says(self) -> str:
        """In a sentence."""
        return "train on cross-entropy of the logits"

    def diff(self, problem: Problem) -> str:
        """The layer that goes and the loss that comes."""
        if self.outputs == "shares":
            return (
                "-    torch.nn.Sigmoid(),  # at the end of the model\n-loss = ...\n+loss = torch.nn.BCEWithLogitsLoss()"
            )
        if self.outputs == "scores":
            return "-loss = torch.nn.NLLLoss()\n+loss = torch.nn.CrossEntropyLoss()"
        return (
            "-    torch.nn.Softmax(dim=1),  # at the end of the model; apply it only where probabilities are read\n"
            "-loss = ...\n+loss = torch.nn.CrossEntropyLoss()"
        )


def entropy(outputs_given: Tensor, targets: Tensor, *, outputs: str) -> Tensor:
    """Cross-entropy of outputs that are probabilities, shares or scores; class or one-hot targets."""
    smallest = torch.finfo(outputs_given.dtype).tiny
    if outputs == "shares":
        shares = outputs_given.clamp(smallest, 1 - torch.finfo(outputs_given.dtype).eps)
        return F.binary_cross_entropy(shares, targets.view_as(shares).to(shares.dtype))
    logits = outputs_given if outputs == "scores" else outputs_given.clamp_min(smallest).log()
    return F.cross_entropy(logits, targets.to(logits.dtype) if targets.shape == logits.shape else targets)
