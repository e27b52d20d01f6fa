"""Problems whose derivatives are known in closed form, in double precision, each with all its data in one batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from unstuck.problem import LossFunction, Problem
from unstuck.specimens.small import Product
from unstuck.vector import Point
from unstuck.walk import Run, walk

DOUBLE = torch.float64
Optimizer = Callable[[Sequence[Tensor]], torch.optim.Optimizer]


def descent(rate: float = 0.1, momentum: float = 0.0) -> Optimizer:
    return lambda parameters: torch.optim.SGD(parameters, lr=rate, momentum=momentum)


def tensor(*values: float) -> Tensor:
    return torch.tensor(values, dtype=DOUBLE)


def of(model: nn.Module, loss: LossFunction, inputs: Tensor, targets: Tensor, optimizer: Optimizer) -> Problem:
    """All data in one batch."""
    return Problem(
        model,
        loss,
        DataLoader(TensorDataset(inputs, targets), batch_size=len(inputs)),
        optimizer([*model.parameters()]),
    )


def set_to(problem: Problem, *values: Tensor) -> Problem:
    """The problem with its parameters set, in their own order."""
    with torch.no_grad():
        for parameter, value in zip(problem.model.parameters(), values, strict=True):
            parameter.copy_(value)
    return problem


def product(
    *weights: float, optimizer: Optimizer | None = None, target: float = 1.0, loss: LossFunction | None = None
) -> Problem:
    """(target − w1 · w2 · …)², the lecture's network on one sample."""
    ones = torch.ones(1, 1, dtype=DOUBLE)
    made = of(
        Product(len(weights)).double(), loss or nn.MSELoss(), ones, target * ones, optimizer or descent(rate=0.01)
    )
    return set_to(made, *tensor(*weights))


def regression(
    inputs: Tensor, targets: Tensor, *, loss: LossFunction | None = None, optimizer: Optimizer | None = None
) -> Problem:
    """Linear regression without a constant, mean squared error, from zero."""
    made = of(
        nn.Linear(inputs.shape[1], 1, bias=False, dtype=DOUBLE),
        loss or nn.MSELoss(),
        inputs,
        targets,
        optimizer or descent(),
    )
    return set_to(made, torch.zeros(1, inputs.shape[1], dtype=DOUBLE))


def batch_of(problem: Problem) -> tuple[Tensor, Tensor]:
    """All data of a problem."""
    inputs, targets = next(problem.data.whole(chunk=10**6))
    return inputs, targets


def walked(problem: Problem, updates: int) -> tuple[Run, Point]:
    """A walk, and where it ended."""
    branch = problem.branch()
    run = walk(branch, updates)
    return run, branch.point()


def values(point: Point) -> list[float]:
    """All entries of a point."""
    return [float(entry) for piece in point.values() for entry in piece.reshape(-1)]


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers."""
    return torch.randn(*shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed))
