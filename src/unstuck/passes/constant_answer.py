"""The best constant answer: what a model gives that ignores its inputs and knows the targets' shares.

A model that is no better has learned nothing of the inputs, whatever its loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from unstuck.errors import InputError
from unstuck.problem import LossFunction

STEPS = 60
"""Iterations of L-BFGS towards it."""

FAR = 1e3
"""Scores that go so many times beyond the targets go on without end: the loss has no minimum."""


def kind_of(outputs: Tensor) -> str:
    """What outputs are, shape (N, ...): probabilities, log-probabilities, shares (within 0 and 1), or scores."""
    many = outputs.dim() > 1 and outputs.shape[1] > 1
    if many and bool((outputs >= 0).all()) and bool(((outputs.sum(1) - 1).abs() < 1e-3).all()):
        return "probabilities"
    if many and bool((outputs <= 0).all()) and bool((outputs.logsumexp(1).abs() < 1e-3).all()):
        return "log-probabilities"
    if bool((outputs >= 0).all()) and bool((outputs <= 1).all()):
        return "shares"
    return "scores"


SHAPED: dict[str, Callable[[Tensor], Tensor]] = {
    "probabilities": lambda free: free.softmax(0),
    "log-probabilities": lambda free: free.log_softmax(0),
    "shares": torch.sigmoid,
    "scores": lambda free: free,
}
"""Kind → how free numbers become an output of it."""


def best_constant(loss: LossFunction, outputs: Tensor, targets: Tensor, kind: str) -> Tensor | None:
    """The one output, shape (...), that has the lowest loss when it is given for every sample.

    Args:
        loss: of outputs and targets.
        outputs: shape (N, ...); nothing but their shape and type matters.
        targets: what ``loss`` takes.
        kind: of the outputs, as :func:`kind_of` tells.

    Returns:
        None where the loss has no minimum or cannot be asked.
    """
    free = torch.zeros(outputs.shape[1:], dtype=outputs.dtype, device=outputs.device, requires_grad=True)
    shape = SHAPED[kind]
    optimizer: torch.optim.Optimizer = torch.optim.LBFGS([free], max_iter=STEPS, line_search_fn="strong_wolfe")

    def closure() -> float:
        optimizer.zero_grad()
        value = loss(shape(free).expand_as(outputs).clone(), targets)
        value.backward()
        return float(value.detach())

    try:
        with torch.enable_grad():
            optimizer.step(closure)
            best = loss_of_constant(loss, shape(free.detach()), outputs, targets)
    except (RuntimeError, ValueError, IndexError, InputError):
        return None
    unbounded = kind == "scores" and float(free.detach().abs().max()) > FAR * (1 + float(targets.abs().max()))
    return shape(free.detach()) if math.isfinite(best) and not unbounded else None


def loss_of_constant(loss: LossFunction, constant: Tensor, outputs: Tensor, targets: Tensor) -> float:
    """The loss where every sample is given the same output."""
    return float(loss(constant.expand_as(outputs).clone(), targets))
