"""Estimates of operators that are known: traces, random matrices, products and Lanczos values."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests import zoo
from tests.numerics.matrices import diagonal, gaussian, generator, operator_of, rotated

from unstuck.numerics.krylov import Krylov
from unstuck.numerics.lanczos import extreme_eigenpairs, gauss_quadrature
from unstuck.numerics.spectrum import count_signs, sign_shares
from unstuck.numerics.trace import hutchinson
from unstuck.vector import flatten, moved, unflatten

DOUBLE = torch.float64


@pytest.mark.parametrize("seed", [0, 1])
def test_the_variance_of_a_trace(seed: int) -> None:
    """C32: signs give an unbiased trace, each of variance 2 (‖H‖_F² − Σ H_ii²), whatever its sign."""
    matrix = rotated(np.linspace(-6.0, 3.0, 30), seed=seed)[0]
    found = hutchinson(operator_of(matrix), count=4_000, generator=generator(seed))
    variance = 2 * (np.sum(matrix**2) - np.sum(np.diag(matrix) ** 2))
    assert np.var(found.samples, ddof=1) == pytest.approx(variance, rel=0.1)
    assert found.trace.standard_error == pytest.approx((variance / 4_000) ** 0.5, rel=0.05)
    assert np.trace(matrix) == pytest.approx(-45.0)
    assert abs(found.trace.value + 45.0) <= 3 * found.trace.standard_error
    size = np.sqrt(np.sum(matrix**2))
    assert abs(found.frobenius_norm.value - size) <= 3 * found.frobenius_norm.standard_error


def test_a_diagonal_matrix_is_traced_without_error() -> None:
    """C32: where ‖H‖_F² = Σ H_ii² nothing is left to chance."""
    found = hutchinson(diagonal(np.arange(-5.0, 3.0)), count=2, generator=generator())
    assert found.trace.value == pytest.approx(-12.0, rel=1e-14)
    assert found.trace.standard_error == pytest.approx(0.0, abs=1e-13)


@pytest.mark.parametrize("seed", range(3))
def test_a_random_symmetric_matrix(seed: int) -> None:
    """C33: half of its eigenvalues are positive, and its spectrum ends at ±2."""
    matrix = gaussian(400, seed=seed)
    known = np.linalg.eigvalsh(matrix)
    assert count_signs(known, 0.0).minimum_ratio == pytest.approx(0.5, abs=0.02)
    found = extreme_eigenpairs(operator_of(matrix), generator=generator(seed))
    ends = (found.smallest.values[0], found.largest.values[0])
    assert ends == pytest.approx((known[0], known[-1]), abs=2e-3)  # the tolerance, of a scale of two
    assert ends == pytest.approx((-2.0, 2.0), abs=0.08)  # they scatter by n^(−2/3)
    seen = [gauss_quadrature(operator_of(matrix), steps=40, generator=generator(10 + seed)) for _ in range(4)]
    share = sign_shares(seen, dimension=400, tolerance=0.0).positive
    assert share.interval.low <= 0.5 <= share.interval.high
    assert share.value == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("name", ["perceptron", "attention", "lstm", "batch norm", "dropout"])
def test_products_are_symmetric(name: str) -> None:
    """C34: |u'Hv − v'Hu| is rounding, and subtracted gradients err by the square of their step."""
    problem = zoo.MODELS[name](DOUBLE)
    batches, point = problem.data.sample(24, chunk=10, seed=0), problem.point()
    hessian = problem.hessian_at(point, *batches)
    left, right = (torch.randn(hessian.dimension, dtype=DOUBLE, generator=generator(seed)) for seed in (1, 2))
    product = hessian @ right
    assert float((left @ product - right @ (hessian @ left)).abs()) <= 1e-10 * float(left.norm() * product.norm())

    def error(step: float) -> float:
        direction = unflatten(right, point)
        total = torch.zeros_like(product)
        for batch in batches:
            ahead, behind = (
                flatten(problem.gradient_at(moved(point, direction, side * step), batch)) for side in (1.0, -1.0)
            )
            total += problem.terms(batch) / 24 * (ahead - behind) / (2 * step)
        return float((total - product).norm())

    assert error(2e-3) / error(1e-3) == pytest.approx(4.0, rel=0.1)


def test_lanczos_finds_a_known_spectrum() -> None:
    """C34: the ends of 1, ½, ⅓, … and of their negatives, to the bound that is given."""
    known = np.concatenate([1 / np.arange(1.0, 101.0), -2 / np.arange(1.0, 101.0)])
    found = extreme_eigenpairs(
        operator_of(rotated(known)[0]), generator=generator(), smallest=3, largest=3, tolerance=1e-12, max_products=120
    )
    assert found.largest.values == pytest.approx([1 / 3, 1 / 2, 1.0], rel=1e-10)
    assert found.smallest.values == pytest.approx([-2.0, -1.0, -2 / 3], rel=1e-10)


@pytest.mark.parametrize("dtype", [DOUBLE, torch.float32])
def test_there_are_no_ghosts(dtype: torch.dtype) -> None:
    """C34: a value that has long converged does not come back as a copy of itself (Paige 1972)."""
    known = np.concatenate([np.linspace(0.0, 1.0, 296), [10.0, 20.0, 50.0, 100.0]])
    operator = operator_of(rotated(known)[0], dtype)
    krylov = Krylov(operator, torch.randn(300, dtype=dtype, generator=generator()))
    for _ in range(150):
        krylov.advance()
    values = krylov.ritz().values
    assert values[values > 2.0] == pytest.approx([10.0, 20.0, 50.0, 100.0], rel=1e-5)
