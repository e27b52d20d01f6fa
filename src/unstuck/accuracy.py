"""The share of right answers, where a problem has classes."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

import torch
from torch import Tensor

from unstuck.data import Batch
from unstuck.forward import split
from unstuck.judged import judged_weights
from unstuck.problem import Problem

PERFECT = 0.01
"""Of the loss of the output 0 for class 1: at or below it, the output 1 is a perfect answer, a probability."""


def accuracy(problem: Problem, batches: Iterable[Batch]) -> float | None:
    """The share of right answers over the batches (the same on every process), in eval mode, as the training is judged.

    None where there are no answers to count: outputs of shape (N, K, ...), K ≥ 2, that meet class numbers of
    shape (N, ...) are answered by the highest output, class numbers below zero are left out (losses ignore
    them); one output per sample that meets targets 0 and 1 is answered by its side of the boundary. At least
    two classes have to occur. An output that is not a number is no answer, hence wrong.
    """
    with judged_weights(problem, statistics=True):
        return _accuracy(problem, batches)


def _accuracy(problem: Problem, batches: Iterable[Batch]) -> float | None:
    """The share of right answers at the weights that are in the model."""
    point = problem.point()

    def counted(batch: Batch) -> tuple[int, int, set[float]] | None:
        """Right answers, all answers, and the classes among the targets."""
        with torch.no_grad():
            outputs = problem.run_at(point, batch, mode="evaluation", own=True)[1]
            if not isinstance(outputs, Tensor):
                return None
            found = _answers(problem, problem.restored(outputs), split(problem.to_device(batch))[1])
        if found is None:
            return None
        answers, targets = found
        return int((answers == targets).sum()), targets.numel(), set(targets.unique().tolist())

    remaining = iter(batches)
    found = [counted(first) for first in islice(remaining, 1)]
    if found != [None]:
        found += problem.ranks.spread(counted, remaining)
    counts = [count for count in found if count is not None]
    if len(counts) < len(found):
        return None
    classes = set[float]().union(*(kinds for _, _, kinds in counts))
    return sum(right for right, _, _ in counts) / sum(total for _, total, _ in counts) if len(classes) > 1 else None


def _answers(problem: Problem, outputs: Tensor, targets: object) -> tuple[Tensor, Tensor] | None:
    """The class that each output stands for (−1: none), and the right one; None where there are no classes."""
    if not isinstance(targets, Tensor) or outputs.dim() == 0:
        return None
    many = outputs.dim() > 1 and outputs.shape[1] > 1
    if many and not targets.is_floating_point() and targets.shape == outputs.shape[:1] + outputs.shape[2:]:
        counted = targets >= 0
        answers = outputs.argmax(1).masked_fill(outputs.isnan().any(1), -1)
        return answers[counted], targets[counted]
    one_each = outputs.numel() == targets.numel() == len(outputs)
    if one_each and bool(((targets == 0) | (targets == 1)).all()):
        boundary = _boundary(problem, outputs, targets)
        if boundary is not None:
            answers = (outputs > boundary).long().masked_fill(outputs.isnan(), -1)
            return answers.flatten(), targets.flatten().long()
    return None


def _boundary(problem: Problem, outputs: Tensor, targets: Tensor) -> float | None:
    """Between the outputs that stand for class 0 and class 1: ½ for probabilities, 0 for scores.

    The loss tells: where it finds nothing wrong with the output 1 for class 1, outputs run from 0 to 1 (a
    sigmoid under binary cross-entropy, or a squared error). None where it cannot be asked.
    """
    if problem.loss is None:
        return None
    ones = torch.ones_like(targets)
    try:
        worst, best = (float(problem.loss(torch.full_like(outputs, value), ones)) for value in (0.0, 1.0))
    except (RuntimeError, ValueError):
        return None
    return 0.5 if best <= PERFECT * worst else 0.0
