"""Signs of a spectrum, counted and estimated, and Frye's residual in closed form."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.numerics.matrices import (
    VARIANCES,
    autoencoder_loss,
    autoencoder_mode,
    diagonal,
    gaussian,
    generator,
    operator_of,
    rotated,
)

from unstuck.numerics.krylov import Floats, NonFiniteProduct
from unstuck.numerics.lanczos import Quadrature, gauss_quadrature
from unstuck.numerics.spectrum import (
    TOLERANCES,
    Share,
    count_signs,
    frobenius_norm,
    magnitude_gap,
    newton_residual,
    newton_residual_by_products,
    sign_shares,
)


def test_a_gaussian_matrix_has_as_many_positive_as_negative_eigenvalues() -> None:
    spectrum = np.linalg.eigvalsh(gaussian(200))
    ratios = [count_signs(spectrum, tolerance).minimum_ratio for tolerance in (0.0, *TOLERANCES)]
    assert ratios == pytest.approx([0.5] * 4, abs=0.02)


@pytest.mark.parametrize("mode", range(4))
def test_the_index_of_an_autoencoder_s_mode_is_its_rank(mode: int) -> None:
    point = autoencoder_mode(mode)
    spectrum = torch.linalg.eigvalsh(torch.func.hessian(autoencoder_loss)(point)).numpy()
    signs = count_signs(spectrum, 1e-9)
    assert autoencoder_loss(point).item() == pytest.approx((sum(VARIANCES) - VARIANCES[mode]) / 2)
    assert (signs.negative, signs.near_zero, signs.positive) == (mode, 1, 7 - mode)
    assert signs.minimum_ratio == (7 - mode) / 8


def test_the_autoencoder_s_origin_has_all_variances_with_both_signs() -> None:
    hessian = torch.func.hessian(autoencoder_loss)(torch.zeros(8, dtype=torch.float64))
    spectrum = torch.linalg.eigvalsh(hessian).numpy()
    assert spectrum == pytest.approx(sorted([*VARIANCES, *(-v for v in VARIANCES)]), abs=1e-12)
    assert count_signs(spectrum, 1e-9).minimum_ratio == 0.5


def test_each_tolerance_has_its_own_count() -> None:
    spectrum = [-2e-4, -2e-7, -2e-10, 0.0, 2e-10, 2e-7, 2e-4, 1.0]
    counts = [count_signs(spectrum, tolerance) for tolerance in (0.0, 1e-9, 1e-6, 1e-3)]
    assert [(c.positive, c.negative, c.near_zero) for c in counts] == [(4, 3, 1), (3, 2, 3), (2, 1, 5), (1, 0, 7)]
    assert all(c.total == 8 for c in counts)


def test_a_zero_spectrum_is_all_near_zero() -> None:
    signs = count_signs(np.zeros(5), 1e-6)
    assert (signs.near_zero, signs.minimum_ratio) == (5, 0.0)


@pytest.mark.parametrize("spectrum", [[], [1.0, float("nan")], [float("inf")]])
def test_eigenvalues_that_are_none_are_refused(spectrum: list[float]) -> None:
    with pytest.raises(ValueError, match="expected finite eigenvalues"):
        count_signs(spectrum, 0.0)


spectra = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30)


@given(spectrum=spectra, tolerance=st.sampled_from(TOLERANCES), factor=st.sampled_from([2.0**-20, 2.0**20]))
def test_counts_do_not_depend_on_order_or_scale_and_swap_with_the_sign(
    spectrum: list[float], tolerance: float, factor: float
) -> None:
    signs = count_signs(spectrum, tolerance)
    flipped = count_signs([-factor * value for value in reversed(spectrum)], tolerance)
    assert (flipped.positive, flipped.negative, flipped.near_zero) == (
        signs.negative,
        signs.positive,
        signs.near_zero,
    )


def test_the_widest_gap_separates_the_numerical_zeros() -> None:
    gap = magnitude_gap([1e-17, -3.0, 2e-17, 0.5, 1.0])
    assert gap.above == 3
    assert gap.ratio == pytest.approx(0.5 / 2e-17)


def test_exact_zeros_make_an_infinite_gap_and_zeros_alone_none() -> None:
    assert magnitude_gap([1.0, 0.0, 0.0]).ratio == float("inf")
    assert magnitude_gap([0.0, 0.0]).ratio == 1.0
    with pytest.raises(ValueError, match="two eigenvalues"):
        magnitude_gap([1.0])


def quadratures(spectrum: Floats, *, steps: int, starts: int, seed: int) -> list[Quadrature]:
    return [
        gauss_quadrature(diagonal(spectrum), steps=steps, generator=generator(1000 * seed + start))
        for start in range(starts)
    ]


def holds(share: Share, truth: float) -> bool:
    return share.interval.low <= truth <= share.interval.high


NETWORK = np.concatenate([np.zeros(150), -np.geomspace(1e-4, 1e-2, 20), np.geomspace(1e-3, 2.0, 30)])


@pytest.mark.parametrize("spectrum", [np.linalg.eigvalsh(gaussian(200)), NETWORK])
@pytest.mark.parametrize(("steps", "starts"), [(8, 1), (20, 4)])
def test_intervals_of_shares_hold_the_truth(spectrum: Floats, steps: int, starts: int) -> None:
    truth = count_signs(spectrum, 1e-3)
    for seed in range(10):
        shares = sign_shares(
            quadratures(spectrum, steps=steps, starts=starts, seed=seed), dimension=200, tolerance=1e-3
        )
        assert holds(shares.positive, truth.positive / 200)
        assert holds(shares.negative, truth.negative / 200)
        assert holds(shares.near_zero, truth.near_zero / 200)
        total = shares.positive.value + shares.negative.value + shares.near_zero.value
        assert total == pytest.approx(1.0)


def test_shares_from_exact_nodes_carry_the_error_of_the_random_starts_alone() -> None:
    spectrum = np.repeat([-1.0, 0.0, 2.0], [20, 50, 30])
    values = []
    for seed in range(100):
        shares = sign_shares(quadratures(spectrum, steps=10, starts=2, seed=seed), dimension=100, tolerance=1e-6)
        assert shares.positive.interval.high - shares.positive.value < 2 * shares.positive.standard_error
        values.append(shares.positive.value)
    expected = (2 * 0.3 * 0.7 / 102 / 2) ** 0.5  # of a Beta distribution, over two starts
    assert np.mean(values) == pytest.approx(0.3, abs=4 * expected / 10)
    assert np.std(values) == pytest.approx(expected, rel=0.25)
    assert expected < shares.positive.standard_error < 1.3 * expected


def test_the_share_of_a_definite_spectrum_is_certain_up_to_resolution() -> None:
    shares = sign_shares(
        quadratures(np.linspace(1.0, 2.0, 300), steps=15, starts=3, seed=0), dimension=300, tolerance=1e-6
    )
    assert shares.positive.value == pytest.approx(1.0)
    assert shares.positive.interval.low > 0.9
    assert shares.negative.value == pytest.approx(0.0)


def test_shares_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one quadrature"):
        sign_shares([], dimension=10, tolerance=1e-6)


def test_a_gradient_in_the_kernel_leaves_everything() -> None:
    # f = x + y²/2 at y = 0: H = diag(0, 1), gradient (1, 0)
    found = newton_residual([0.0, 1.0], [1.0, 0.0], 1e-9)
    assert (found.value, found.residual, found.step) == (1.0, 1.0, 0.0)


def test_a_quadratic_bowl_leaves_nothing() -> None:
    found = newton_residual([1.0, 4.0], [2.0, -4.0], 1e-9)
    assert found.value == 0.0
    assert found.step == pytest.approx(5.0**0.5)


def test_between_the_two_the_formula_holds() -> None:
    # H = diag(0, 1), g = (1, 1): p = (0, −1), r = 1 / (1 · 1 + √2)
    assert newton_residual([0.0, 1.0], [1.0, 1.0], 1e-9).value == pytest.approx(1.0 / (1.0 + 2.0**0.5))


def test_without_curvature_everything_is_left_and_without_gradient_nothing() -> None:
    assert newton_residual([0.0, 0.0], [1.0, 2.0], 1e-9).value == 1.0
    assert newton_residual([0.0, 1.0], [0.0, 0.0], 1e-9).value == 0.0


@pytest.mark.parametrize("mode", range(4))
def test_near_the_modes_of_an_autoencoder_the_model_has_a_critical_point(mode: int) -> None:
    for size, expected in ((0.0, 0.0), (1e-5, 1e-3)):
        shift = size * torch.randn(8, generator=generator(mode), dtype=torch.float64)
        point = autoencoder_mode(mode) + shift
        gradient = torch.func.grad(autoencoder_loss)(point)
        values, vectors = torch.linalg.eigh(torch.func.hessian(autoencoder_loss)(point))
        found = newton_residual(values.numpy(), (vectors.T @ gradient).numpy(), 1e-3)
        assert found.value <= expected


def by_products(spectrum: Floats, components: Floats, dtype: torch.dtype) -> tuple[float, float, bool]:
    matrix, vectors = rotated(spectrum)
    found = newton_residual_by_products(
        operator_of(matrix, dtype),
        torch.from_numpy(vectors @ components).to(dtype),
        frobenius_norm=float(np.linalg.norm(spectrum)),
    )
    return found.value, found.step, found.converged


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(
    "spectrum",
    [
        np.concatenate([np.linspace(1.0, 3.0, 30), np.zeros(30)]),
        np.concatenate([np.linspace(0.1, 1.0, 40), -np.linspace(0.2, 0.5, 10), np.zeros(10)]),
        np.geomspace(0.01, 1.0, 50),
        np.zeros(10),
        np.array([0.0, 1.0]),
        np.array([2.0]),
    ],
)
def test_products_alone_give_the_residual_of_the_full_decomposition(spectrum: Floats, dtype: torch.dtype) -> None:
    components = np.random.default_rng(0).standard_normal(len(spectrum))
    exact = newton_residual(spectrum, components, 1e-4)
    value, step, converged = by_products(spectrum, components, dtype)
    assert converged
    assert value == pytest.approx(exact.value, rel=1e-2, abs=1e-4)
    assert step == pytest.approx(exact.step, rel=1e-2)


def test_products_alone_see_a_gradient_in_the_kernel() -> None:
    spectrum = np.concatenate([np.linspace(1.0, 3.0, 30), np.zeros(30)])
    value, _, converged = by_products(spectrum, (spectrum == 0.0).astype(float), torch.float64)
    assert converged
    assert value == pytest.approx(1.0, abs=1e-9)


def test_products_alone_with_no_gradient_and_with_too_few_products() -> None:
    operator = diagonal(np.geomspace(1e-6, 1.0, 200))
    none = newton_residual_by_products(operator, torch.zeros(200).double(), frobenius_norm=1.0)
    assert (none.value, none.products, none.converged) == (0.0, 0, True)
    few = newton_residual_by_products(operator, torch.ones(200).double(), frobenius_norm=5.0, max_products=3)
    assert (few.products, few.converged) == (3, False)


def test_a_hessian_that_is_not_finite_is_refused() -> None:
    operator = diagonal(np.array([1.0, np.nan]))
    with pytest.raises(NonFiniteProduct):
        newton_residual_by_products(operator, torch.ones(2).double(), frobenius_norm=1.0)


@pytest.mark.parametrize("rademacher", [True, False])
def test_the_frobenius_norm_is_estimated_within_its_error(rademacher: bool) -> None:
    matrix = torch.from_numpy(gaussian(60))
    probes = torch.randn(400, 60, generator=generator(1), dtype=torch.float64)
    found = frobenius_norm((probes.sign() if rademacher else probes) @ matrix)
    exact = float(torch.linalg.matrix_norm(matrix))
    assert abs(found.value - exact) < 3 * found.standard_error < 0.2 * exact
    assert found.count == 400


def test_the_frobenius_norm_of_zero_is_zero() -> None:
    assert frobenius_norm(torch.zeros(3, 5)).value == 0.0
