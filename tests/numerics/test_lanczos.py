"""Extreme eigenpairs against dense solvers and closed forms, and what a run may have missed."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike
from scipy.sparse.linalg import LinearOperator, eigsh
from tests.numerics.matrices import (
    CPU,
    autoencoder_loss,
    autoencoder_mode,
    diagonal,
    gaussian,
    generator,
    operator_of,
    rotated,
)

from unstuck.numerics.krylov import Floats, OperatorFromProduct
from unstuck.numerics.lanczos import (
    Eigenpairs,
    Extremes,
    extreme_eigenpairs,
    gauss_quadrature,
    lowest_plausible,
    miss_distance,
    miss_probability,
)


def ends(operator: OperatorFromProduct, pairs: int = 2, tolerance: float = 1e-3, seed: int = 0) -> Extremes:
    return extreme_eigenpairs(operator, generator=generator(seed), smallest=pairs, largest=pairs, tolerance=tolerance)


def bounds_hold(pairs: Eigenpairs, spectrum: ArrayLike) -> bool:
    """Whether an eigenvalue lies within the bound of each value; the dense solver's own rounding is granted."""
    known = np.asarray(spectrum, dtype=np.float64)
    rounding = 10 * np.finfo(np.float64).eps * np.abs(known).max()
    return all(
        np.abs(known - value).min() <= bound + rounding for value, bound in zip(pairs.values, pairs.bounds, strict=True)
    )


@pytest.mark.parametrize("size", [1, 2, 3, 10, 120])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_both_ends_agree_with_a_dense_solver(size: int, dtype: torch.dtype) -> None:
    matrix = gaussian(size, seed=size)
    spectrum = np.linalg.eigvalsh(matrix.astype(np.float32).astype(np.float64))
    found = ends(operator_of(matrix.astype(np.float32).astype(np.float64), dtype))
    wanted = min(2, size)
    assert found.smallest.values == pytest.approx(spectrum[:wanted], abs=2e-3)
    assert found.largest.values == pytest.approx(spectrum[-wanted:], abs=2e-3)
    assert bounds_hold(found.smallest, spectrum)
    assert bounds_hold(found.largest, spectrum)
    assert all(found.smallest.converged + found.largest.converged)
    assert found.complete == (size <= found.products)


def test_top_values_agree_with_arpack() -> None:
    matrix = gaussian(150, seed=4)
    products = LinearOperator((150, 150), matvec=lambda vector: matrix @ vector, dtype=np.float64)
    top = np.sort(eigsh(products, k=4, which="LA", return_eigenvectors=False))
    found = ends(operator_of(matrix), pairs=4, tolerance=1e-10)
    assert found.largest.values == pytest.approx(top, abs=1e-9)


def test_bounds_hold_whenever_the_search_ends() -> None:
    matrix = gaussian(200, seed=1)
    spectrum = np.linalg.eigvalsh(matrix)
    for products in (1, 2, 5, 9, 20, 41):
        for dtype in (torch.float64, torch.float32):
            found = extreme_eigenpairs(
                operator_of(matrix, dtype),
                generator=generator(),
                smallest=3,
                largest=3,
                max_products=products,
            )
            assert found.products == products
            assert len(found.largest.values) == min(3, products)
            assert bounds_hold(found.smallest, spectrum)
            assert bounds_hold(found.largest, spectrum)


def test_a_search_that_was_cut_short_says_so() -> None:
    found = extreme_eigenpairs(operator_of(gaussian(200)), generator=generator(), max_products=4)
    assert found.smallest.converged == found.largest.converged == (False,)


def test_half_precision_products_give_bounds_of_their_own_size() -> None:
    matrix = torch.from_numpy(gaussian(50)).to(torch.bfloat16)
    spectrum = np.linalg.eigvalsh(matrix.double().numpy())
    found = ends(operator_of(matrix.double().numpy(), torch.bfloat16))
    assert bounds_hold(found.largest, spectrum)
    assert 1e-3 < found.rounding < 0.2


def test_vectors_are_unit_eigenvectors_within_their_bounds() -> None:
    matrix = gaussian(80, seed=2)
    found = ends(operator_of(matrix), pairs=3, tolerance=1e-12)
    for pairs in (found.smallest, found.largest):
        vectors = pairs.vectors.numpy()
        assert vectors @ vectors.T == pytest.approx(np.eye(3), abs=1e-10)
        residuals = np.linalg.norm(matrix @ vectors.T - vectors.T * pairs.values, axis=0)
        assert (residuals <= np.array(pairs.bounds) + 1e-14).all()  # they are rounded here as well
        assert max(pairs.bounds) < 1e-6


def test_equal_generators_give_equal_results() -> None:
    first, again = ends(operator_of(gaussian(60)), seed=3), ends(operator_of(gaussian(60)), seed=3)
    assert first == again
    assert torch.equal(first.smallest.vectors, again.smallest.vectors)


def test_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    ends(diagonal(np.array([2.0, 2.0, 1.0, 0.0])))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(
    "spectrum",
    [
        np.zeros(20),
        np.full(30, 3.0),
        np.append(np.zeros(200), 7.0),  # rank one
        np.concatenate([[5.0, 5.0, 3.0, 2.0], np.zeros(60), [-1.0, -1.0, -1.0]]),  # multiple at both ends
        -np.arange(1.0, 31.0),  # negative definite
        np.concatenate([np.zeros(50), np.linspace(-1.0, 4.0, 10)]),  # a block without any coupling
        np.array([-2.0, 2.0]),
        np.array([0.5]),
    ],
)
def test_degenerate_spectra_with_all_their_copies(spectrum: Floats, dtype: torch.dtype) -> None:
    matrix, _ = rotated(spectrum)
    found = ends(operator_of(matrix, dtype), pairs=3)
    wanted = min(3, len(spectrum))
    scale = float(np.abs(spectrum).max())
    assert found.smallest.values == pytest.approx(np.sort(spectrum)[:wanted], abs=1e-3 * scale + 1e-12)
    assert found.largest.values == pytest.approx(np.sort(spectrum)[-wanted:], abs=1e-3 * scale + 1e-12)
    assert all(found.smallest.converged + found.largest.converged)


def test_a_zero_operator_of_any_size_costs_as_many_products_as_pairs() -> None:
    found = ends(diagonal(np.zeros(10_000)), pairs=1)
    assert found.products == 2
    assert found.smallest.values == found.largest.values == (0.0,)
    assert found.smallest.bounds == (0.0,)


def test_zero_rows_are_eigenvalues_zero() -> None:
    matrix = np.zeros((30, 30))
    matrix[:10, :10] = rotated(np.linspace(1.0, 2.0, 10))[0]
    found = ends(operator_of(matrix), pairs=4, tolerance=1e-8)
    assert found.smallest.values == pytest.approx([0.0] * 4, abs=1e-12)


def test_one_end_alone_takes_fewer_products() -> None:
    operator = diagonal(np.append(np.linspace(0.0, 1.0, 400), 3.0))
    top = extreme_eigenpairs(operator, generator=generator(), smallest=0, largest=1)
    assert top.smallest.values == ()
    assert top.largest.values[0] == pytest.approx(3.0, rel=1e-3)
    assert top.products < ends(operator, pairs=1).products


@pytest.mark.parametrize(("dimension", "products"), [(0, 10), (5, 0)])
def test_nothing_to_do_is_refused(dimension: int, products: int) -> None:
    operator = diagonal(np.ones(dimension))
    with pytest.raises(ValueError, match="nothing to do"):
        extreme_eigenpairs(operator, generator=generator(), max_products=products)


@given(seed=st.integers(0, 1_000), factor=st.floats(1e-12, 1e12), sign=st.sampled_from([1.0, -1.0]))
def test_scaling_the_operator_scales_the_values(seed: int, factor: float, sign: float) -> None:
    matrix = gaussian(25, seed)
    plain, scaled = ends(operator_of(matrix)), ends(operator_of(sign * factor * matrix))
    expected = np.sort(sign * factor * np.array(plain.smallest.values + plain.largest.values))
    assert scaled.products == plain.products
    assert scaled.smallest.values + scaled.largest.values == pytest.approx(expected, rel=1e-5)


@given(seed=st.integers(0, 1_000), shift=st.floats(-5.0, 5.0))
def test_shifting_the_operator_shifts_the_values(seed: int, shift: float) -> None:
    matrix = gaussian(12, seed)
    plain, shifted = (
        ends(operator_of(matrix), tolerance=0.0),
        ends(operator_of(matrix + shift * np.eye(12)), tolerance=0.0),
    )
    assert shifted.smallest.values == pytest.approx(np.array(plain.smallest.values) + shift, abs=1e-11)
    assert shifted.largest.values == pytest.approx(np.array(plain.largest.values) + shift, abs=1e-11)


@given(seed=st.integers(0, 1_000))
def test_the_order_of_the_coordinates_does_not_matter(seed: int) -> None:
    matrix = gaussian(15, seed)
    order = np.random.default_rng(seed).permutation(15)
    plain, permuted = ends(operator_of(matrix)), ends(operator_of(matrix[order][:, order]))
    assert permuted.largest.values == pytest.approx(plain.largest.values, abs=5e-3)


@pytest.mark.parametrize(
    ("point", "spectrum"), [((0.0, 0.0), (-2.0, 2.0)), ((1.0, 1.0), (0.0, 4.0)), ((2.0, 0.5), (0.0, 8.5))]
)
def test_the_hessian_of_two_linear_units(point: tuple[float, float], spectrum: tuple[float, float]) -> None:
    # L = (1 − w₁w₂)²: at the origin −2 along (1, 1)/√2; at the minima w₁w₂ = 1 the values 0 and 2(w₁² + w₂²)
    def loss(weights: torch.Tensor) -> torch.Tensor:
        return (1.0 - weights[0] * weights[1]) ** 2

    hessian = torch.func.hessian(loss)(torch.tensor(point, dtype=torch.float64))
    found = ends(operator_of(hessian.numpy()), pairs=1)
    assert found.smallest.values[0] == pytest.approx(spectrum[0], abs=1e-12)
    assert found.largest.values[0] == pytest.approx(spectrum[1], abs=1e-12)
    if point == (0.0, 0.0):
        assert abs(found.smallest.vectors[0].sum().item()) == pytest.approx(math.sqrt(2.0))


def test_the_hessian_of_three_linear_units_at_the_origin_is_zero() -> None:
    hessian = torch.func.hessian(lambda w: (1.0 - w.prod()) ** 2)(torch.zeros(3, dtype=torch.float64))
    found = ends(operator_of(hessian.numpy()), pairs=1)
    assert found.smallest.values == found.largest.values == (0.0,)


@pytest.mark.parametrize(("mode", "lowest"), [(0, 0.0), (1, -1.0990), (2, -1.7202), (3, -2.3852)])
def test_the_modes_of_a_linear_autoencoder(mode: int, lowest: float) -> None:
    hessian = torch.func.hessian(autoencoder_loss)(autoencoder_mode(mode))
    found = ends(operator_of(hessian.numpy()), pairs=1, tolerance=1e-10)
    assert found.smallest.values[0] == pytest.approx(lowest, abs=1e-4)


def test_cross_entropy_in_the_logits() -> None:
    logits = torch.tensor([0.3, -1.2, 2.0, 0.0], dtype=torch.float64)
    hessian = torch.func.hessian(lambda z: torch.logsumexp(z, 0) - z[1])(logits)
    found = ends(operator_of(hessian.numpy()), pairs=1, tolerance=1e-10)
    assert found.smallest.values[0] == pytest.approx(0.0, abs=1e-12)  # all logits moving alike
    assert found.smallest.vectors[0].abs().numpy() == pytest.approx(np.full(4, 0.5))
    assert found.largest.values[0] <= 0.5


def test_the_quadrature_integrates_polynomials_exactly() -> None:
    matrix = gaussian(40)
    found = gauss_quadrature(operator_of(matrix), steps=6, generator=generator(2))
    start = torch.randn(40, generator=generator(2)).double().numpy()
    start /= np.linalg.norm(start)
    nodes, weights = np.array(found.nodes), np.array(found.weights)
    assert not found.exact
    for degree in range(12):
        moment = start @ np.linalg.matrix_power(matrix, degree) @ start
        assert weights @ nodes**degree == pytest.approx(moment, abs=1e-12)


def test_the_quadrature_of_an_exhausted_space_is_exact() -> None:
    found = gauss_quadrature(diagonal(np.array([1.0, 1.0, 4.0, 0.0])), steps=10, generator=generator())
    assert found.exact
    assert found.nodes == pytest.approx([0.0, 1.0, 4.0], abs=1e-12)


def test_a_search_keeps_the_quadrature_of_its_first_space() -> None:
    operator = diagonal(np.array([5.0, 5.0, 5.0, 1.0, 1.0, 0.0]))
    found = ends(operator, pairs=3)
    alone = gauss_quadrature(operator, steps=6, generator=generator())
    assert found.products == 6
    assert found.quadrature == alone


SPECTRA = {
    "even": np.linspace(0.0, 1.0, 150),
    "crowded at the ends": (1.0 - np.cos(np.pi * np.arange(150) / 149)) / 2.0,
    "one just outside": np.append(np.linspace(0.03, 1.0, 149), 0.0),
}


@pytest.mark.parametrize("spectrum", SPECTRA.values(), ids=SPECTRA.keys())
def test_the_lower_end_is_missed_no_more_often_than_stated(spectrum: Floats) -> None:
    starts = 60
    for products in (5, 12, 25):
        distance = miss_distance(150, products, 0.2)
        lowest = [
            gauss_quadrature(diagonal(spectrum), steps=products, generator=generator(seed)).nodes[0]
            for seed in range(starts)
        ]
        missed = sum(value > distance for value in lowest)  # the width of the spectrum is one
        assert missed / starts <= 0.2


def test_distance_and_probability_are_each_others_inverse() -> None:
    distance = miss_distance(10_000, 40, 0.05)
    assert 0.0 < distance < 1.0
    assert miss_probability(10_000, 40, distance) == pytest.approx(0.05)
    assert miss_probability(10_000, 40, distance / 4) > 0.05


def test_nothing_is_missed_by_a_run_through_the_whole_space() -> None:
    assert miss_probability(10, 10, 1e-9) == 0.0
    assert miss_distance(10, 10, 1e-9) == 0.0


def test_one_product_says_nothing() -> None:
    assert miss_probability(1_000_000, 1, 0.5) == 1.0
    assert miss_distance(1_000_000, 1, 0.01) == 1.0


def test_the_lowest_plausible_value_lies_below_the_lowest() -> None:
    below = 0
    for seed in range(20):
        matrix = gaussian(300, seed)
        found = ends(operator_of(matrix), pairs=1, seed=seed)
        plausible = lowest_plausible(found, 0.1)
        below += plausible <= np.linalg.eigvalsh(matrix)[0]
        assert -math.inf < plausible < found.smallest.values[0]
    assert below == 20


def test_the_lowest_plausible_value_after_few_and_after_all_products() -> None:
    few = extreme_eigenpairs(diagonal(np.linspace(0.0, 1.0, 500)), generator=generator(), max_products=2)
    assert lowest_plausible(few) == -math.inf
    every = ends(diagonal(np.array([4.0, 1.0, -3.0])), pairs=1)
    assert lowest_plausible(every) == pytest.approx(-3.0)


def test_vectors_stay_on_the_operator_s_device_and_in_its_type() -> None:
    found = ends(operator_of(gaussian(20), torch.float32))
    assert found.largest.vectors.dtype == torch.float32
    assert found.largest.vectors.device == CPU


@pytest.mark.parametrize("seed", range(5))
def test_a_few_negative_values_beyond_a_flat_bulk_are_not_missed(seed: int) -> None:
    """Nearly all of a random start lies in the bulk at zero, which looks settled after two or three products."""
    values = np.concatenate([[-0.1], np.zeros(2_000), np.linspace(0.2, 1.0, 9)])
    found = extreme_eigenpairs(diagonal(values), generator=generator(seed), smallest=1, largest=0)
    assert found.smallest.converged == (True,)
    assert found.smallest.values[0] == pytest.approx(-0.1, rel=1e-3)


@pytest.mark.parametrize("seed", range(5))
def test_a_run_may_end_at_the_first_negative_value(seed: int) -> None:
    values = np.concatenate([[-0.1, -0.05], np.linspace(0.0, 1.0, 500)])
    found = extreme_eigenpairs(diagonal(values), generator=generator(seed), until_negative=True, largest=0)
    settled = extreme_eigenpairs(diagonal(values), generator=generator(seed), largest=0)
    (vector,) = found.smallest.vectors
    assert float(vector @ (torch.from_numpy(values) * vector)) == pytest.approx(found.smallest.values[0], rel=1e-9)
    assert found.smallest.values[0] < 0
    assert found.products < settled.products
    none = extreme_eigenpairs(diagonal(values[2:]), generator=generator(seed), until_negative=True, largest=0)
    assert none.products == 100
    assert none.smallest.values[0] > -1e-12
    assert -0.05 < lowest_plausible(none) <= 0.0
