"""Plain torch, written by hand for these networks: the limit that a library can hope for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from benchmarks.curvature.jobs import GRID, Answer, Solve
from benchmarks.curvature.reference import DoubleBackward
from benchmarks.curvature.workloads import Workload
from torch import Tensor
from torch.nn import functional as F


def flat(pieces: Sequence[Tensor]) -> Tensor:
    """Pieces in the shapes of the parameters as one vector."""
    return torch.cat([piece.detach().reshape(-1) for piece in pieces])


def products(apply: Callable[[Tensor], Tensor], workload: Workload) -> Solve:
    """The job `product` from a function of flat vectors."""
    vector = workload.vector()
    return lambda _seed: Answer(found=apply(vector), products=1)


# Plain torch


def torch_product(workload: Workload) -> Solve:
    """Double backward, the graph kept."""
    hessian = DoubleBackward(workload)
    return products(lambda vector: hessian @ vector, workload)


def torch_gradient(workload: Workload) -> Solve:
    """No product at all: what one gradient takes."""
    return lambda _seed: Answer(found=flat(workload.gradient()))


def torch_landscape(workload: Workload) -> Solve:
    """A loop of plain forward passes, the weights moved in place."""

    def solve(seed: int) -> Answer:
        first, second = workload.vector(2 * seed), workload.vector(2 * seed + 1)
        centre = flat(workload.parameters)
        rows = []
        with torch.no_grad():
            for a in torch.linspace(-1, 1, GRID):
                for b in torch.linspace(-1, 1, GRID):
                    _move(workload, centre + a * first + b * second)
                    rows.append(workload.loss())
            _move(workload, centre)
        return Answer(found=torch.stack(rows).view(GRID, GRID), plane=(first, second))

    return solve


def torch_shared_landscape(workload: Workload) -> Solve:
    """The limit, written by hand for a perceptron with tanh: the first layer is three products for the whole grid."""

    def solve(seed: int) -> Answer:
        first, second = workload.vector(2 * seed), workload.vector(2 * seed + 1)
        steps = torch.linspace(-1, 1, GRID).tolist()
        rows = []
        with torch.no_grad():
            origin, across, up = (workload.split(each) for each in (flat(workload.parameters), first, second))
            seen, along, upward = (F.linear(workload.inputs, *each[:2]) for each in (origin, across, up))
            row, point = torch.empty_like(seen), torch.empty_like(seen)
            for a in steps:
                torch.add(seen, along, alpha=a, out=row)
                start = [torch.add(piece, step, alpha=a) for piece, step in zip(origin, across, strict=True)]
                for b in steps:
                    moved = [torch.add(piece, step, alpha=b) for piece, step in zip(start, up, strict=True)]
                    hidden = torch.add(row, upward, alpha=b, out=point)
                    for weight, bias in zip(moved[2::2], moved[3::2], strict=True):
                        hidden = F.linear(hidden.tanh(), weight, bias)
                    rows.append(workload.criterion(hidden, workload.targets))
        return Answer(found=torch.stack(rows).view(GRID, GRID), plane=(first, second))

    return solve


def _move(workload: Workload, point: Tensor) -> None:
    for parameter, piece in zip(workload.parameters, workload.split(point), strict=True):
        parameter.copy_(piece)


# PyHessian
