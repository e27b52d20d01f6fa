"""This package, asked the same questions; nothing is told to it that a user would have to know beforehand."""

from __future__ import annotations

import torch
from benchmarks.curvature.jobs import GRID, Adapter, Answer, Solve
from benchmarks.curvature.reference import LARGEST
from benchmarks.curvature.workloads import Workload
from torch import Tensor

from unstuck import Problem
from unstuck.curvature.hessian import Hessian
from unstuck.curvature.whole import whole_hessian
from unstuck.directions import filter_normalized
from unstuck.landscape import grid_losses
from unstuck.numerics.density import lanczos_quadratures, spectral_density
from unstuck.numerics.eigensystem import eigensystem
from unstuck.numerics.lanczos import extreme_eigenpairs
from unstuck.numerics.trace import hutchinson
from unstuck.vector import flatten

BLOCK = 8


def problem_of(workload: Workload) -> Problem:
    """The workload as a training."""
    optimizer = torch.optim.SGD(workload.parameters, lr=0.1)
    return Problem(workload.model, workload.criterion, [workload.batch], optimizer)


def hessian_of(workload: Workload, *, precise: bool = False) -> Hessian:
    """Its Hessian over all data, where it stands."""
    problem = problem_of(workload)
    return problem.hessian_at(problem.point(), workload.batch, mode="evaluation", precise=precise)


def product(workload: Workload) -> Solve:
    """One vector."""
    hessian, vector = hessian_of(workload), workload.vector()
    return lambda _seed: Answer(found=hessian @ vector, products=1)


def block(workload: Workload) -> Solve:
    """Eight vectors at once."""
    hessian = hessian_of(workload)
    rows = torch.stack([workload.vector(seed) for seed in range(BLOCK)])
    return lambda _seed: Answer(found=hessian.block(rows)[0], products=BLOCK)


def top10(workload: Workload) -> Solve:
    """Both ends of the spectrum from one run; the lowest value shows that the ten largest are largest in magnitude."""

    def solve(seed: int) -> Answer:
        ends = extreme_eigenpairs(hessian_of(workload), generator=_generator(seed), smallest=1, largest=LARGEST)
        values = torch.tensor([*ends.smallest.values, *ends.largest.values])
        chosen = values.abs().argsort(descending=True)[:LARGEST]
        bounds = torch.tensor([*ends.smallest.bounds, *ends.largest.bounds])
        return Answer(found=values[chosen], bounds=bounds[chosen], products=ends.products)

    return solve


def lowest(workload: Workload) -> Solve:
    """The value itself, with the largest from the same run."""

    def solve(seed: int) -> Answer:
        ends = extreme_eigenpairs(hessian_of(workload), generator=_generator(seed))
        return Answer(
            found=torch.tensor(ends.smallest.values), bounds=torch.tensor(ends.smallest.bounds), products=ends.products
        )

    return solve


def sign(workload: Workload) -> Solve:
    """Whether there is negative curvature: a vector that shows it, near the lowest value or not."""

    def solve(seed: int) -> Answer:
        ends = extreme_eigenpairs(hessian_of(workload), generator=_generator(seed), until_negative=True)
        return Answer(found=torch.tensor(ends.smallest.values), products=ends.products)

    return solve


def density(workload: Workload) -> Solve:
    """Stochastic Lanczos quadrature, smoothed."""

    def solve(seed: int) -> Answer:
        runs = lanczos_quadratures(hessian_of(workload), steps=80, count=3, generator=_generator(seed))
        spectral_density(runs)
        found = torch.tensor([[run.nodes for run in runs], [run.weights for run in runs]])
        return Answer(found=found, products=240)

    return solve


def trace(workload: Workload) -> Solve:
    """Hutchinson's estimator."""

    def solve(seed: int) -> Answer:
        found = hutchinson(hessian_of(workload), count=20, generator=_generator(seed)).trace
        return Answer(found=torch.tensor(found.value), bounds=torch.tensor(found.standard_error), products=20)

    return solve


def whole(workload: Workload) -> Solve:
    """The matrix and its eigenvalues, in the type of the training."""
    return lambda _seed: Answer(found=_eigenvalues(whole_hessian(hessian_of(workload))))


def precise_system(workload: Workload) -> Solve:
    """As a spectrum is reported: in double precision, with eigenvectors and a bound."""

    def solve(_seed: int) -> Answer:
        matrix = whole_hessian(hessian_of(workload, precise=True))
        return Answer(found=eigensystem(matrix, torch.finfo(matrix.dtype).eps).values)

    return solve


def landscape(workload: Workload) -> Solve:
    """Filter-normalized directions."""

    def solve(seed: int) -> Answer:
        problem, generator = problem_of(workload), _generator(seed)
        point = problem.point()
        first, second = (filter_normalized(problem.model, point, generator) for _ in range(2))
        along = torch.linspace(-1, 1, GRID).tolist()
        losses = grid_losses(problem, point, (first, second), along, along, [workload.batch], mode="evaluation")
        return Answer(found=losses, plane=(flatten(first), flatten(second)))

    return solve


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _eigenvalues(matrix: Tensor) -> Tensor:
    values: Tensor = torch.linalg.eigvalsh(matrix)
    return values


OURS: dict[str, dict[str, Adapter]] = {
    "product": {"unstuck": product, "unstuck, block of 8": block},
    "top10": {"unstuck": top10},
    "saddle": {"unstuck": lowest, "unstuck, the sign alone": sign},
    "density": {"unstuck": density},
    "trace": {"unstuck": trace},
    "whole": {"unstuck": whole, "unstuck, double precision, with vectors": precise_system},
    "landscape": {"unstuck": landscape},
}
"""Job → tool → adapter."""
