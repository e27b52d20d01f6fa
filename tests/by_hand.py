"""Training and derivatives as a user of torch writes them down, to compare ours with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from unstuck.data import Batch
from unstuck.problem import Problem
from unstuck.untouched import derived_seed


def loss_of(problem: Problem, batch: Batch, model: nn.Module | None = None) -> Tensor:
    """The loss of one batch, on the model as it stands."""
    model = model or problem.model
    with torch.autocast("cpu", dtype=problem.precision, enabled=problem.precision is not None):
        if problem.step is not None:
            return problem.step(model, batch)
        assert problem.loss is not None
        *inputs, targets = batch
        outputs = model(**inputs[0]) if isinstance(inputs[0], dict) else model(*inputs)
        return problem.loss(outputs, targets)


def backward(problem: Problem, batches: Sequence[Batch]) -> Tensor:
    """Gradients of the mean over the batches, clipped where the problem says so."""
    problem.optimizer.zero_grad()
    total = torch.zeros(())
    for batch in batches:
        loss = loss_of(problem, batch) / len(batches)
        torch.autograd.backward(loss)
        total = total + loss.detach()
    if problem.clip_norm is not None:
        torch.nn.utils.clip_grad_norm_(problem.model.parameters(), problem.clip_norm)
    return total


def train(problem: Problem, updates: int, batches: Iterator[Batch], *, order: int = 0) -> list[float]:
    """A training loop over the caller's own objects; gives the losses. Masks are seeded update by update."""
    problem.model.train()
    losses = []
    for number in range(updates):
        torch.manual_seed(derived_seed(order, number))
        given = [next(batches) for _ in range(problem.accumulate)]
        if isinstance(problem.optimizer, torch.optim.LBFGS):
            loss: Any = problem.optimizer.step(lambda given=given: backward(problem, given))
        else:
            loss = backward(problem, given)
            problem.optimizer.step()
        losses.append(float(loss))
        per_epoch = problem.data.batches_per_epoch // problem.accumulate
        if problem.scheduler is not None and (problem.schedule_every == "update" or (number + 1) % per_epoch == 0):
            problem.scheduler.step()
    return losses


def mean_loss(problem: Problem, batches: Sequence[Batch], flat: Tensor) -> Tensor:
    """The mean over all samples as a function of one vector, shape (n,), under the masks of seed 0."""
    trainable = {name: p for name, p in problem.model.named_parameters() if p.requires_grad}
    pieces = flat.split([p.numel() for p in trainable.values()])
    point = {name: piece.view_as(p) for (name, p), piece in zip(trainable.items(), pieces, strict=True)}
    total, samples = torch.zeros((), dtype=flat.dtype), 0
    for batch in batches:
        torch.manual_seed(0)
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            loss = torch.func.functional_call(_Loss(problem), {f"model.{k}": v for k, v in point.items()}, (batch,))
        total, samples = total + loss * len(batch[-1]), samples + len(batch[-1])
    return total / samples


class _Loss(nn.Module):
    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self.model = problem.model
        self._problem = problem

    def forward(self, batch: Batch) -> Tensor:
        return loss_of(self._problem, batch, self.model)
