"""Rank and condition of columns, against tables that are made to have them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from unstuck.numerics.conditioning import conditioning, noise_condition

EPSILON = torch.finfo(torch.float64).eps


def orthonormal(rows: int, columns: int) -> Tensor:
    """Columns without mean, orthogonal, of deviation one."""
    table = torch.randn(rows, columns, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rotated: Tensor = torch.linalg.qr(table - table.mean(0))[0]
    return rotated * math.sqrt(rows)


def test_scales_alone() -> None:
    scales = torch.tensor([1.0, 3.0, 1e4], dtype=torch.float64)
    found = conditioning(orthonormal(50, 3) * scales + 7, epsilon=EPSILON)
    assert found.rank == 3
    assert found.condition == pytest.approx(1e8)
    assert found.normalized_condition == pytest.approx(1.0)


def test_correlation_is_what_normalization_leaves() -> None:
    """Two columns of correlation r: (1 + r)/(1 − r)."""
    one, two = orthonormal(40, 2).T
    table = torch.stack([100 * one, 0.8 * one + 0.6 * two], 1)
    assert conditioning(table, epsilon=EPSILON).normalized_condition == pytest.approx(1.8 / 0.2)


def test_the_condition_is_that_of_numpys_covariance() -> None:
    mixed = torch.randn(5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    table = orthonormal(60, 5) @ mixed
    values = np.linalg.eigvalsh(np.cov(table.numpy().T))
    assert conditioning(table, epsilon=EPSILON).condition == pytest.approx(values[-1] / values[0], rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_columns_that_follow_from_others_count_once(dtype: torch.dtype) -> None:
    table = orthonormal(30, 4)
    table = torch.cat([table, 5 * table[:, :1], table[:, 1:2] - table[:, 2:3]], 1).to(dtype)
    found = conditioning(table, epsilon=torch.finfo(dtype).eps)
    assert found.rank == 4
    assert found.condition is not None
    assert found.condition < 30


def test_fewer_rows_than_columns() -> None:
    table = torch.randn(10, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert conditioning(table, epsilon=EPSILON).rank == 9


def test_no_columns() -> None:
    found = conditioning(torch.zeros(5, 0), epsilon=EPSILON)
    assert (found.rank, found.condition, found.normalized_condition) == (0, None, None)


def test_noise_shows_the_condition_of_marchenko_and_pastur() -> None:
    table = torch.randn(2000, 200, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    expected = noise_condition(rows=2000, columns=200)
    assert expected is not None
    assert conditioning(table, epsilon=EPSILON).normalized_condition == pytest.approx(expected, rel=0.1)
    assert noise_condition(rows=10, columns=10) is None
