"""Trace and Frobenius norm of an operator from its products with random vectors."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from unstuck.numerics.krylov import SymmetricOperator
from unstuck.numerics.spectrum import frobenius_norm
from unstuck.numerics.statistics import Mean, mean

BLOCK = 16
"""Vectors multiplied at a time: all of them at once would need k · n numbers."""


@dataclass(frozen=True, kw_only=True)
class Trace:
    """Estimates from k random vectors of ±1, each with its standard error.

    Attributes:
        trace: tr H, the sum of the eigenvalues.
        frobenius_norm: ‖H‖_F, the root of the sum of their squares.
        samples: zᵀHz of each vector; their mean is the trace.
    """

    trace: Mean
    frobenius_norm: Mean
    samples: tuple[float, ...]


def hutchinson(operator: SymmetricOperator, *, count: int, generator: torch.Generator) -> Trace:
    """tr H as the mean of zᵀHz over vectors z of independent signs (Hutchinson 1990).

    The estimate is unbiased, its variance 2 (‖H‖_F² − Σ H_ii²) / k; the standard error is that of the sample.
    All ``count`` vectors are used: there is no stopping rule to bias the result.

    Args:
        operator: H, symmetric (n × n).
        count: k, two or more, so that there is a standard error.
        generator: draws the signs.
    """
    if count < 2:
        raise ValueError(f"a standard error needs two vectors or more; got {count}")
    samples: list[float] = []
    squares: list[Tensor] = []
    for start in range(0, count, BLOCK):
        signs = random_signs(operator, min(BLOCK, count - start), generator)
        products = operator.block(signs)
        samples += (signs.double() * products.double()).sum(1).tolist()
        squares.append(torch.linalg.vector_norm(products.double(), dim=1))
    return Trace(
        trace=mean(samples),
        frobenius_norm=frobenius_norm(torch.cat(squares)[:, None]),
        samples=tuple(samples),
    )


def random_signs(operator: SymmetricOperator, count: int, generator: torch.Generator) -> Tensor:
    """Rows of independent ±1, shape (count, n), the same on every device for a generator on the CPU."""
    bits = torch.randint(2, (count, operator.dimension), generator=generator, device=generator.device)
    return (2 * bits - 1).to(operator.device, operator.dtype)


def exact_trace(eigenvalues: Tensor) -> tuple[float, float]:
    """Trace and Frobenius norm of a spectrum that is known whole."""
    values = eigenvalues.double()
    return float(values.sum()), math.sqrt(float(values.square().sum()))
