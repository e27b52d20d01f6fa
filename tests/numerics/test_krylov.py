"""The Lanczos process: its relation holds, its basis stays orthonormal, and what is amiss is measured."""

import numpy as np
import pytest
import torch
from tests.numerics.matrices import CPU, diagonal, gaussian, generator, operator_of
from torch import Tensor

from unstuck.numerics.krylov import Krylov, NonFiniteProduct, OperatorFromProduct, length, random_vector


def advanced(operator: OperatorFromProduct, steps: int, seed: int = 0) -> Krylov:
    krylov = Krylov(operator, random_vector(operator, generator(seed)))
    for _ in range(steps):
        krylov.advance()
    return krylov


@pytest.mark.parametrize(("dtype", "precision"), [(torch.float64, 1e-12), (torch.float32, 1e-4)])
def test_the_lanczos_relation_holds_on_an_orthonormal_basis(dtype: torch.dtype, precision: float) -> None:
    matrix = gaussian(60)
    krylov = advanced(operator_of(matrix, dtype), 30)
    basis = krylov.combine(np.eye(30)).double().numpy()
    extended = krylov.extended()
    inside = basis @ matrix @ basis.T
    beyond = matrix @ basis.T - basis.T @ extended[:-1]
    assert np.abs(basis @ basis.T - np.eye(30)).max() < precision
    assert np.abs(inside - extended[:-1]).max() < precision
    assert np.abs(beyond[:, :-1]).max() < precision
    assert np.linalg.norm(beyond[:, -1]) == pytest.approx(extended[-1, -1], abs=precision)


def test_converged_eigenvalues_leave_no_ghosts() -> None:
    # one value far outside: without orthogonalization, copies of it appear within these 80 steps
    spectrum = np.append(np.linspace(0.0, 1.0, 299), 50.0)
    values = advanced(diagonal(spectrum), 80).ritz().values
    assert int((values > 2.0).sum()) == 1


def test_an_exhausted_space_is_closed_and_a_restart_finds_the_second_copies() -> None:
    krylov = advanced(diagonal(np.array([3.0, 3.0, 1.0, 1.0, 0.0])), 3)
    assert krylov.closed
    assert krylov.ritz().values == pytest.approx([0.0, 1.0, 3.0], abs=1e-12)
    krylov.restart(generator(7))
    krylov.advance()
    krylov.advance()
    assert krylov.complete
    assert krylov.ritz().values == pytest.approx([0.0, 1.0, 1.0, 3.0, 3.0], abs=1e-12)


@pytest.mark.parametrize("amount", [1e-6, 1e-3, 1e-1])
def test_asymmetry_is_measured(amount: float) -> None:
    skew = np.random.default_rng(3).standard_normal((40, 40)) * amount / np.sqrt(40)
    krylov = advanced(operator_of(gaussian(40) + skew - skew.T), 20)
    assert amount < krylov.rounding < 20 * amount


def test_products_that_change_from_call_to_call_are_measured() -> None:
    noise, matrix = generator(5), torch.from_numpy(gaussian(40))

    def product(vector: Tensor) -> Tensor:
        kept = torch.rand(40, generator=noise, dtype=torch.float64) < 0.5
        return matrix @ vector * kept

    operator = OperatorFromProduct(product=product, dimension=40, dtype=torch.float64, device=CPU)
    assert advanced(operator, 20).rounding > 0.5


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_product_that_is_not_finite_is_refused(bad: float) -> None:
    operator = diagonal(np.array([1.0, bad, 2.0, bad]))
    with pytest.raises(NonFiniteProduct, match=r"product 1 .* 2 of 4 entries"):
        advanced(operator, 1)


def test_a_product_that_returns_its_argument_does_no_harm() -> None:
    identity = OperatorFromProduct(product=lambda vector: vector, dimension=5, dtype=torch.float64, device=CPU)
    krylov = advanced(identity, 1)
    basis = krylov.combine(np.eye(1))
    assert krylov.closed
    assert float(basis.norm()) == pytest.approx(1.0)


@pytest.mark.parametrize("scale", [1e-25, 1.0, 1e25])
def test_norms_do_not_underflow_or_overflow(scale: float) -> None:
    assert length(torch.tensor([3.0, 4.0]) * scale) == pytest.approx(5.0 * scale, rel=1e-6)
    assert length(torch.zeros(2)) == 0.0
