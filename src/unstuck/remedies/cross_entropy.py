"""Train a classifier on cross-entropy, which has a slope wherever the model is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unstuck.data import Batch
from unstuck.forward import call, split
from unstuck.methods.logits import LogitsSeen
from unstuck.probes.outputs import OutputsReading
from unstuck.problem import Problem
from unstuck.reading import Readings
from unstuck.remedy import Intervention


@dataclass(frozen=True, kw_only=True)
class CrossEntropy:
    """Follow −log of the probability of the right class, computed from the outputs as they are.

    The model's output stays what it was, and results are still judged by the problem's own loss.
    """

    slug: ClassVar[str] = "cross-entropy"
    chapter: ClassVar[int] = 4
    intervention: ClassVar[Intervention] = Intervention.LOSS
    lowers_rate: ClassVar[bool] = False
    panacea: ClassVar[bool] = False
    outputs: str
    """What the model gives: probabilities, shares (one sigmoid per output) or scores."""
    expects: str = "outputs"
    """What the problem's own loss expects: the outputs as they are, or "scores", which it then squashes itself. Given
    the logits that belong to the outputs, it says how good they are; given the outputs, it squashes them a second
    time, and no answer looks certain."""

    @classmethod
    def propose(cls, readings: Readings) -> tuple[Self, ...]:
        """As the outputs are, where another loss of a classifier is followed than their cross-entropy."""
        found = readings.get(OutputsReading)
        if found is None or not _classifies(found.first):
            return ()
        return (cls(outputs=found.first.kind, expects="scores" if found.first.form in SQUASHING else "outputs"),)

    def apply(self, branch: Problem) -> Problem:
        """The branch following cross-entropy."""
        step = partial(entropy, outputs=self.outputs, each=self.expects == "outputs")
        return branch.changed(training_step=step, restore=self._restore())

    def _restore(self) -> Callable[[Tensor], Tensor] | None:
        if self.outputs == "scores":
            return partial(F.log_softmax, dim=1)
        return partial(logits_of, shares=self.outputs == "shares") if self.expects == "scores" else None

    def opposite(self) -> None:
        """None: no other loss is its contrary."""

    def ladder(self) -> None:
        """None: it is followed or not."""

    def says(self) -> str:
        """In a sentence."""
        return "train on cross-entropy of the logits"

    def diff(self, problem: Problem) -> str:
        """The layer that goes and the loss that comes."""
        if self.outputs == "shares":
            return (
                "-    torch.nn.Sigmoid(),  # at the end of the model\n-loss = ...\n"
                "+loss = torch.nn.BCEWithLogitsLoss()  # torch.nn.CrossEntropyLoss() where one of the classes is right"
            )
        if self.outputs == "scores":
            return "-loss = torch.nn.NLLLoss()\n+loss = torch.nn.CrossEntropyLoss()"
        return (
            "-    torch.nn.Softmax(dim=1),  # at the end of the model; apply it only where probabilities are read\n"
            "-loss = ...\n+loss = torch.nn.CrossEntropyLoss()"
        )


SQUASHING = ("cross-entropy", "binary cross-entropy of scores", "negative log-likelihood")
"""Losses that take logits, or logarithms of probabilities."""


def _classifies(outputs: OutputsReading) -> bool:
    """Whether the outputs stand for classes, and the loss on them is known not to be their cross-entropy."""
    if outputs.kind == "probabilities":
        return outputs.form != "unknown"
    if outputs.kind == "shares":
        one_each = outputs.binary_targets and outputs.form not in ("unknown", "binary cross-entropy")
        return one_each or outputs.form in ("cross-entropy", "negative log-likelihood")
    return outputs.kind == "scores" and outputs.form == "negative log-likelihood"


def entropy(model: nn.Module, batch: Batch, *, outputs: str, each: bool = True) -> Tensor:
    """Cross-entropy of a model's outputs that are probabilities, shares or scores; class or one-hot targets.

    Shares that meet class numbers are answers to one question per class: is it this one? Without ``each`` they were
    meant to be probabilities, as a loss of one class's probability alone takes them: their logits go through a softmax.

    Probabilities that have saturated to 0 and 1 have no logarithm to differentiate, so the logits are taken from
    where they are last seen: at the entrance of the softmax or sigmoid that made the outputs.
    """
    inputs, targets = split(batch)
    with LogitsSeen() as seen:
        given = call(model, inputs)
    logits = given if outputs == "scores" else seen.behind(given)
    if logits is None:
        logits = logits_of(given, shares=outputs == "shares")
    if outputs == "shares" and targets.numel() == logits.numel():
        return F.binary_cross_entropy_with_logits(logits, targets.view_as(logits).to(logits.dtype))
    if outputs == "shares" and each:
        answers = F.one_hot(targets, logits.shape[1]).movedim(-1, 1).to(logits.dtype)
        return F.binary_cross_entropy_with_logits(logits, answers)
    return F.cross_entropy(logits, targets.to(logits.dtype) if targets.shape == logits.shape else targets)


def logits_of(outputs: Tensor, *, shares: bool) -> Tensor:
    """Logits that give these outputs: ln p of probabilities, ln(p / (1 − p)) of shares."""
    tiny = torch.finfo(outputs.dtype).tiny
    logarithms = outputs.clamp_min(tiny).log()
    return logarithms - (1 - outputs).clamp_min(tiny).log() if shares else logarithms
