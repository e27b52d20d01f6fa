"""What is true: float64 answers to compare with, computed once by the plainest means and kept in ``.cache``.

Nothing here is shared with the package under test.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from benchmarks.curvature.workloads import CACHE, Workload, load
from torch import Tensor

LARGEST = 10
"""Eigenvalues of largest magnitude that are asked for."""

CONVERGED = 1e-9
"""Relative residual at which an eigenvalue is taken for true."""

TRACE_PROBES = 1000


class DoubleBackward:
    """Products with the Hessian of a workload by two backward passes, the graph of the first one kept."""

    def __init__(self, workload: Workload) -> None:
        self._parameters = workload.parameters
        self._pieces = torch.autograd.grad(workload.loss(), self._parameters, create_graph=True)
        self._split = workload.split

    def __matmul__(self, vector: Tensor) -> Tensor:
        second = torch.autograd.grad(self._pieces, self._parameters, self._split(vector), retain_graph=True)
        return torch.cat([piece.reshape(-1) for piece in second])


def product(name: str, samples: int | None) -> Tensor:
    """The Hessian over the first samples (all, if None) times :meth:`Workload.vector`."""

    def compute() -> Tensor:
        workload = _double(name, samples)
        return DoubleBackward(workload) @ workload.vector().double()

    return _kept(f"product-{name}-{samples}", compute)


def spectrum(name: str) -> Tensor:
    """Eigenvalues in ascending order: all of them for W4, else those converged at both ends of the spectrum."""

    def compute() -> Tensor:
        workload = _double(name)
        hessian = DoubleBackward(workload)
        if workload.dimension < 2000:
            columns = torch.stack([hessian @ unit for unit in torch.eye(workload.dimension, dtype=torch.double)])
            return cast(Tensor, torch.linalg.eigvalsh((columns + columns.T) / 2))
        return _lanczos(hessian, workload.vector().double())

    return _kept(f"spectrum-{name}", compute)


def largest(name: str) -> Tensor:
    """The ten eigenvalues of largest magnitude, descending by magnitude."""
    values = spectrum(name)
    return values[values.abs().argsort(descending=True)[:LARGEST]]


def trace(name: str) -> tuple[float, float]:
    """The trace by Hutchinson's estimator with very many probes, and its standard error."""

    def compute() -> Tensor:
        workload = load(name)
        hessian = DoubleBackward(workload)
        generator = torch.Generator().manual_seed(0)
        signs = (torch.randint(2, (workload.dimension,), generator=generator) * 2.0 - 1 for _ in range(TRACE_PROBES))
        return torch.stack([(sign @ (hessian @ sign)).double() for sign in signs])

    samples = _kept(f"trace-{name}", compute)
    return float(samples.mean()), float(samples.std() / TRACE_PROBES**0.5)


def losses(name: str, points: list[Tensor]) -> Tensor:
    """The loss at the trained point moved by each of the given vectors."""
    workload = _double(name)
    found = []
    with torch.no_grad():
        for point in points:
            for parameter, piece in zip(workload.parameters, workload.split(point.double()), strict=True):
                parameter.add_(piece)
            found.append(workload.loss())
            for parameter, piece in zip(workload.parameters, workload.split(point.double()), strict=True):
                parameter.sub_(piece)
    return torch.stack(found)


def _double(name: str, samples: int | None = None) -> Workload:
    whole = load(name)
    return (whole if samples is None else whole.part(samples)).double()


def _kept(key: str, compute: Callable[[], Tensor]) -> Tensor:
    file = CACHE / f"{key}.pt"
    if not file.exists():
        torch.save(compute(), file)
    return cast(Tensor, torch.load(file))


def _lanczos(hessian: DoubleBackward, start: Tensor) -> Tensor:
    """Lanczos with full reorthogonalization until the wanted eigenvalues have converged."""
    basis = [start / start.norm()]
    diagonal: list[float] = []
    beside: list[float] = []
    while True:
        rest = hessian @ basis[-1]
        diagonal.append(float(rest @ basis[-1]))
        rows = torch.stack(basis)
        for _ in range(2):
            rest -= rows.T @ (rows @ rest)
        beside.append(float(rest.norm()))
        basis.append(rest / beside[-1])
        small = torch.diag(torch.tensor(diagonal, dtype=torch.double))
        small += torch.diag(torch.tensor(beside[:-1], dtype=torch.double), 1)
        small += torch.diag(torch.tensor(beside[:-1], dtype=torch.double), -1)
        values, vectors = torch.linalg.eigh(small)
        settled = beside[-1] * vectors[-1].abs() <= CONVERGED * values.abs()
        wanted = [*values.abs().argsort(descending=True)[:LARGEST].tolist(), 0]
        if len(diagonal) > LARGEST and bool(settled[wanted].all()):
            converged: Tensor = values[settled]
            return converged
