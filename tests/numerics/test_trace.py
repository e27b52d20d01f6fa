"""Hutchinson's estimate against matrices whose trace, variance and blocks are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.numerics.matrices import operator_of
from torch import Tensor

from unstuck.numerics.trace import hutchinson, random_signs

DOUBLE = torch.float64


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def symmetric(n: int, seed: int = 1) -> Tensor:
    matrix = torch.randn(n, n, dtype=DOUBLE, generator=generator(seed))
    return (matrix + matrix.T) / 2


def test_a_diagonal_matrix_has_no_variance() -> None:
    diagonal = torch.arange(-3.0, 8.0, dtype=DOUBLE)
    found = hutchinson(operator_of(torch.diag(diagonal).numpy()), count=3, generator=generator())
    assert found.trace.value == pytest.approx(float(diagonal.sum()), rel=1e-14)
    assert found.trace.standard_error == pytest.approx(0.0, abs=1e-12)


def test_unbiased_with_the_variance_of_the_formula() -> None:
    """C32: the variance of one estimate is 2 (‖H‖_F² − Σ H_ii²)."""
    matrix = symmetric(12)
    count = 40_000
    found = hutchinson(operator_of(matrix.numpy()), count=count, generator=generator())
    variance = 2 * float(matrix.square().sum() - matrix.diagonal().square().sum())
    assert np.var(found.samples, ddof=1) == pytest.approx(variance, rel=0.05)
    assert found.trace.standard_error == pytest.approx((variance / count) ** 0.5, rel=0.05)
    assert abs(found.trace.value - float(matrix.trace())) < 4 * found.trace.standard_error
    assert found.frobenius_norm.value == pytest.approx(float(matrix.norm()), rel=0.01)


def test_a_negative_trace_takes_all_its_vectors() -> None:
    matrix = symmetric(9) - 5 * torch.eye(9, dtype=DOUBLE)
    found = hutchinson(operator_of(matrix.numpy()), count=37, generator=generator())
    assert found.trace.count == len(found.samples) == 37
    assert found.trace.value < 0


def test_groups_are_the_traces_of_diagonal_blocks() -> None:
    matrix = symmetric(10)
    found = hutchinson(operator_of(matrix.numpy()), count=5_000, generator=generator(), groups=(2, 3, 5))
    blocks = [float(matrix[a:b, a:b].trace()) for a, b in ((0, 2), (2, 5), (5, 10))]
    for group, block in zip(found.groups, blocks, strict=True):
        assert abs(group.value - block) < 4 * group.standard_error
    assert sum(group.value for group in found.groups) == pytest.approx(found.trace.value, rel=1e-12)


def test_the_same_generator_gives_the_same_answer() -> None:
    operator = operator_of(symmetric(8).numpy())
    assert hutchinson(operator, count=5, generator=generator(3)) == hutchinson(
        operator, count=5, generator=generator(3)
    )
    assert set(random_signs(operator, 4, generator()).unique().tolist()) == {-1.0, 1.0}


def test_one_vector_has_no_error() -> None:
    with pytest.raises(ValueError, match="two"):
        hutchinson(operator_of(symmetric(4).numpy()), count=1, generator=generator())
