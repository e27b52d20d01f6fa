"""Derivatives the plain way, to compare ours with: a copy of the model, one pass, autograd twice."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from unstuck.data import Batch
from unstuck.problem import Problem


def trained(model: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def place(problem: Problem) -> Tensor:
    """The trainable parameters as one vector, shape (n,)."""
    return torch.cat([parameter.detach().reshape(-1) for parameter in trained(problem.model)])


def gradient_pieces(
    problem: Problem, batches: Sequence[Batch], flat: Tensor, *, seed: int = 0
) -> tuple[Tensor, list[nn.Parameter]]:
    """The gradient of the mean over all samples, shape (n,), with its graph, and what it is a gradient by."""
    assert problem.loss is not None
    model = copy.deepcopy(problem.model).train()
    leaves = trained(model)
    with torch.no_grad():
        for leaf, piece in zip(leaves, flat.split([leaf.numel() for leaf in leaves]), strict=True):
            leaf.copy_(piece.view_as(leaf))
    total, samples = torch.zeros((), dtype=flat.dtype), 0
    with torch.random.fork_rng(devices=[]), sdpa_kernel(SDPBackend.MATH):
        for *inputs, targets in batches:
            torch.manual_seed(seed)
            total = total + len(targets) * problem.loss(model(*inputs), targets)
            samples += len(targets)
    pieces = torch.autograd.grad(total / samples, leaves, create_graph=True, allow_unused=True)
    filled = [torch.zeros_like(leaf) if piece is None else piece for leaf, piece in zip(leaves, pieces, strict=True)]
    return torch.cat([piece.reshape(-1) for piece in filled]), leaves


def product(problem: Problem, batches: Sequence[Batch], vector: Tensor, *, seed: int = 0) -> Tensor:
    """H v by differentiating gradient · v, shape (n,)."""
    gradient, leaves = gradient_pieces(problem, batches, place(problem), seed=seed)
    pieces = torch.autograd.grad(gradient @ vector, leaves, allow_unused=True)
    filled = [torch.zeros_like(leaf) if piece is None else piece for leaf, piece in zip(leaves, pieces, strict=True)]
    return torch.cat([piece.reshape(-1) for piece in filled])


def difference(
    problem: Problem, batches: Sequence[Batch], vector: Tensor, *, seed: int = 0, step: float = 1e-5
) -> Tensor:
    """H v by subtracting two gradients, shape (n,)."""
    flat = place(problem)
    ahead, behind = (
        gradient_pieces(problem, batches, flat + side * step * vector, seed=seed)[0].detach() for side in (1.0, -1.0)
    )
    return (ahead - behind) / (2.0 * step)


def operator(problem: Problem, batches: Sequence[Batch], *, seed: int = 0) -> LinearOperator:
    """H for scipy's solvers, in double precision."""
    count = place(problem).numel()

    def times(vector: NDArray[np.float64]) -> NDArray[np.float64]:
        rows = torch.from_numpy(np.array(vector, dtype=np.float64).reshape(-1))
        return np.asarray(product(problem, batches, rows, seed=seed))

    return LinearOperator((count, count), matvec=times, dtype=np.float64)
