"""Trace and Frobenius norm of an operator from its products with random vectors."""

from __future__ import annotations

from collections.abc import Sequence
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
        groups: the trace of each group's diagonal block.
        samples: zᵀHz of each vector; their mean is the trace.
    """

    trace: Mean
    frobenius_norm: Mean
    groups: tuple[Mean, ...]
    samples: tuple[float, ...]


def hutchinson(
    operator: SymmetricOperator, *, count: int, generator: torch.Generator, groups: Sequence[int] = ()
) -> Trace:
    """tr H as the mean of zᵀHz over vectors z of independent signs (Hutchinson 1990).

    The estimate is unbiased, its variance 2 (‖H‖_F² − Σ H_ii²) / k; the standard error is that of the sample.
    All ``count`` vectors are used: there is no stopping rule to bias the result. The terms of zᵀHz that belong
    to a group of entries estimate the trace of its diagonal block.

    Args:
        operator: H, symmetric (n × n).
        count: k, two or more, so that there is a standard error.
        generator: draws the signs.
        groups: lengths of consecutive groups of entries, summing to n.
    """
    if count < 2:
        raise ValueError(f"a standard error needs two vectors or more; got {count}")
    lengths = list(groups) or [operator.dimension]
    terms: list[Tensor] = []
    norms: list[Tensor] = []
    for start in range(0, count, BLOCK):
        signs = random_signs(operator, min(BLOCK, count - start), generator)
        products = operator.block(signs)
        # A product with ±1 is exact; only the sums need double precision.
        parts = (signs * products).split(lengths, dim=1)
        terms.append(torch.stack([part.sum(1, dtype=torch.float64) for part in parts], dim=1))
        norms.append(torch.linalg.vector_norm(products, dim=1, dtype=torch.float64))
    table = torch.cat(terms)  # vectors × groups
    samples = table.sum(1).tolist()
    return Trace(
        trace=mean(samples),
        frobenius_norm=frobenius_norm(torch.cat(norms)[:, None]),
        groups=tuple(mean(column.tolist()) for column in table.T) if groups else (),
        samples=tuple(samples),
    )


def random_signs(operator: SymmetricOperator, count: int, generator: torch.Generator) -> Tensor:
    """Rows of independent ±1, shape (count, n), the same on every device for a generator on the CPU."""
    bits = torch.randint(2, (count, operator.dimension), generator=generator, device=generator.device, dtype=torch.int8)
    return bits.mul_(2).sub_(1).to(operator.device, operator.dtype)
