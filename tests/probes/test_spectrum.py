"""Eigenvalues, against closed forms and against dense solvers on a Hessian made by other means."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator, eigsh
from tests import by_hand, zoo
from tests.probes.look import look, quadratic, view
from torch import Tensor, nn

from unstuck.numerics.descent import DAMPING
from unstuck.probes.spectrum import Spectrum, SpectrumReading
from unstuck.problem import Problem
from unstuck.specimens import bowl, deep_product_at_origin, product_at_origin, zero_initialized
from unstuck.vector import flatten
from unstuck.view import SMALL

Matrix = NDArray[np.float64]


def descent(parameters: list[Tensor]) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.1)


def read(problem: Problem, seed: int = 0) -> SpectrumReading:
    reading: SpectrumReading = look(Spectrum(), problem, seed=seed)
    return reading


def naive(problem: Problem) -> Matrix:
    """The Hessian over all data by torch's own function."""
    (everything,) = problem.data.whole(chunk=10**6)
    flat = flatten(problem.point())
    matrix = torch.autograd.functional.hessian(
        lambda at: by_hand.mean_loss(problem, [everything], at), flat, vectorize=True
    )
    return np.asarray(matrix)


def test_the_lectures_saddle() -> None:
    """L = (1 − w1 w2)² at the origin: H = [[0, −2], [−2, 0]], eigenvalues ±2, and the way down is (1, 1)/√2."""
    problem = product_at_origin()
    system = view(problem).eigensystem
    assert system is not None
    np.testing.assert_allclose((system.vectors.T * system.values) @ system.vectors, [[0, -2], [-2, 0]], atol=1e-12)
    reading = read(problem)
    assert (reading.dimension, reading.exact) == (2, True)
    assert (reading.lowest.value, reading.largest.value) == pytest.approx((-2.0, 2.0), rel=1e-6)
    assert reading.eigenvector == pytest.approx((0.5**0.5, 0.5**0.5), rel=1e-6)
    assert reading.minimum_ratio.value == 0.5
    assert reading.near_zero.value == 0.0
    assert reading.negative
    assert reading.newton_residual == 0.0
    assert reading.engine == "double backward"
    assert reading.draw() is not None


def test_the_lectures_minima_are_flat_along_a_valley() -> None:
    """At w1 w2 = 1 the Hessian is 2 (w2, w1)(w2, w1)ᵀ: one eigenvalue 2 (w1² + w2²), one zero, minimum ratio ½."""
    problem = product_at_origin()
    with torch.no_grad():
        for parameter, value in zip(problem.model.parameters(), (2.0, 0.5), strict=True):
            parameter.fill_(value)
    reading = read(problem)
    assert reading.largest.value == pytest.approx(2 * (4 + 0.25), rel=1e-6)
    assert reading.lowest.value == pytest.approx(0.0, abs=1e-6)
    assert not reading.negative
    assert reading.minimum_ratio.value == 0.5
    assert reading.near_zero.value == 0.5


def test_three_layers_at_the_origin_have_no_curvature() -> None:
    reading = read(deep_product_at_origin())
    assert (reading.lowest.value, reading.largest.value) == (0.0, 0.0)
    assert reading.near_zero.value == 1.0
    assert not reading.negative


def test_linear_regression() -> None:
    """H = 2/n XᵀX of the inputs with a column of ones."""
    reading = read(bowl())
    inputs, _ = next(bowl().data.whole(chunk=10**6))
    table = np.c_[inputs.double().numpy(), np.ones(len(inputs))]
    expected = np.linalg.eigvalsh(2 / len(inputs) * table.T @ table)
    np.testing.assert_allclose(reading.nodes, expected, rtol=1e-5)
    assert reading.minimum_ratio.value == 1.0
    assert reading.newton_residual < 1e-3  # one Newton step away from the minimum


SOLVED = ["perceptron", "layer norm", "lstm", "attention", "tied weights", "weight norm", "two inputs"]


@pytest.mark.parametrize("name", SOLVED)
def test_small_networks_are_solved_whole(name: str) -> None:
    problem = zoo.MODELS[name](torch.float64)
    reading = read(problem)
    assert reading.exact
    assert reading.dimension == problem.dimension
    if name == "weight norm":
        assert reading.engine == "finite difference"
        return  # torch's own second derivative is wrong there
    matrix = naive(zoo.MODELS[name](torch.float64))
    values, vectors = np.linalg.eigh(matrix)
    np.testing.assert_allclose(reading.nodes, values, rtol=1e-8, atol=1e-11)
    assert reading.largest.error < 1e-9
    assert reading.minimum_ratio.value == pytest.approx(np.mean(values > 1e-6 * np.abs(values).max()))
    assert reading.near_zero.value == pytest.approx(np.mean(np.abs(values) <= 1e-6 * np.abs(values).max()))
    assert reading.eigenvector == () or len(reading.eigenvector) == problem.dimension
    residual = matrix @ vectors[:, 0] - values[0] * vectors[:, 0]
    assert np.abs(residual).max() < 1e-9


def large() -> Problem:
    """2,051 parameters, where only the ends are looked for."""
    return zoo.problem(
        lambda: nn.Sequential(nn.Linear(zoo.FEATURES, 40), nn.Tanh(), nn.Linear(40, 42), nn.Tanh(), nn.Linear(42, 3))
    )


@pytest.fixture(scope="module")
def whole() -> Matrix:
    return naive(large())


@pytest.mark.parametrize("seed", [0, 1])
def test_the_ends_of_larger_networks(whole: Matrix, seed: int) -> None:
    reading = read(large(), seed)
    assert large().dimension > SMALL
    assert not reading.exact
    operator = LinearOperator(whole.shape, matvec=lambda vector: whole @ vector, dtype=np.float64)
    (highest,) = eigsh(operator, k=1, which="LA", return_eigenvectors=False)
    (lowest,) = eigsh(operator, k=1, which="SA", return_eigenvectors=False)
    rounding = 1e-12 * highest  # of the oracle
    assert abs(reading.largest.value - highest) <= reading.largest.error + rounding
    assert abs(reading.lowest.value - lowest) <= reading.lowest.error + rounding
    assert reading.largest.error < 0.02 * highest
    assert reading.negative == (lowest < 0)
    assert reading.lowest_plausible <= lowest + rounding
    values = np.linalg.eigvalsh(whole)
    ratio = np.mean(values > 1e-6 * np.abs(values).max())
    assert abs(reading.minimum_ratio.value - ratio) <= 2 * reading.minimum_ratio.error
    assert sum(reading.weights) == pytest.approx(1.0)
    assert reading.eigenvector == ()


def test_the_residual_tells_critical_points_from_slopes() -> None:
    assert read(quadratic([1.0, -2.0, 0.5], [1.0, 1.0, 1.0], descent)).newton_residual < 1e-6
    flat_slope = quadratic([1.0, 0.0], [0.0, 0.0], descent)
    loss = flat_slope.loss
    assert loss is not None
    tilted = Problem(
        flat_slope.model,
        lambda outputs, targets: loss(outputs, targets) + outputs[:, 1].mean(),
        flat_slope.train,
        flat_slope.optimizer,
    )
    assert read(tilted).newton_residual == pytest.approx(1.0)


@pytest.mark.parametrize("condition", [1.0, 4.0, 100.0])
def test_a_gradient_step_beside_a_newton_step(condition: float) -> None:
    """On ½ (x² + κ y²) with equal slopes: 4κ / (1 + κ)²; along one axis alone the gradient step is Newton's."""
    reading = read(quadratic([1.0, condition], [1.0, 1 / condition], descent))
    assert reading.descent_share == pytest.approx(4 * condition / (1 + condition) ** 2)
    assert read(quadratic([1.0, condition], [0.0, 1.0], descent)).descent_share == pytest.approx(1.0)
    assert read(quadratic([1.0, condition], [0.0, 0.0], descent)).descent_share == 1.0


def share_of_a_newton_step(problem: Problem, hessian: Matrix) -> float:
    """½ (gᵀg)² / gᵀ|H|g over ½ gᵀ|H|⁻¹g, by matrices; no curvature counts as less than DAMPING of the largest."""
    (everything,) = problem.data.whole(chunk=10**6)
    by_hand.loss_of(problem, everything).backward()
    slope = flatten({name: p.grad for name, p in problem.model.named_parameters() if p.grad is not None}).numpy()
    values, vectors = np.linalg.eigh(hessian)
    sizes = np.maximum(np.abs(values), DAMPING * np.abs(values).max())
    damped = vectors @ np.diag(sizes) @ vectors.T
    return float((slope @ slope) ** 2 / (slope @ damped @ slope) / (slope @ np.linalg.solve(damped, slope)))


@pytest.mark.parametrize("name", ["perceptron", "layer norm", "lstm", "attention"])
def test_descent_in_small_networks(name: str) -> None:
    expected = share_of_a_newton_step(zoo.MODELS[name](torch.float64), naive(zoo.MODELS[name](torch.float64)))
    assert 0.01 < expected < 0.95
    assert read(zoo.MODELS[name](torch.float64)).descent_share == pytest.approx(expected, rel=1e-6)


def test_descent_in_larger_networks(whole: Matrix) -> None:
    expected = share_of_a_newton_step(large(), whole)
    assert read(large()).descent_share == pytest.approx(expected, rel=0.1)  # of few products, near zero curvature
    still = large()
    with torch.no_grad():
        for parameter in still.model.parameters():
            parameter.zero_()
    flat = Problem(still.model, lambda outputs, _: outputs.square().mean(), still.train, still.optimizer)
    assert read(flat).descent_share == 1.0


@pytest.mark.parametrize("condition", [10.0, 1000.0])
def test_whole_and_estimated_spectra_tell_the_same_of_descent(condition: float) -> None:
    """The same curvatures, in as many copies as make the network too large to be solved whole."""
    kinds = np.geomspace(1.0, condition, 20)

    def copies(count: int) -> SpectrumReading:
        curvature = np.repeat(kinds, count).tolist()
        return read(quadratic(curvature, [1.0 / (1.0 + value) for value in curvature], descent))

    few, many = copies(2), copies(SMALL // 20 + 1)
    assert (few.exact, many.exact) == (True, False)
    slopes = (kinds / (1 + kinds)) ** 2
    damped = np.maximum(kinds, DAMPING * condition)
    expected = slopes.sum() ** 2 / (slopes @ damped) / (slopes / damped).sum()
    assert few.descent_share == pytest.approx(expected)
    assert many.descent_share == pytest.approx(expected, rel=1e-6)


def test_a_network_at_zero_is_a_saddle() -> None:
    """Zero weights leave the output biases alone with curvature; the rest is flat to second order."""
    reading = read(zero_initialized())
    assert reading.exact
    assert reading.largest.value > 0.1
    assert reading.near_zero.value > 0.9


def test_an_odd_sample_is_weighed_by_its_sizes() -> None:
    """Recorded batches of five and four samples."""
    problem = zoo.ZOO["list loader"](torch.float64)
    values = np.linalg.eigvalsh(naive(zoo.MODELS["perceptron"](torch.float64)))
    np.testing.assert_allclose(read(problem).nodes, values, rtol=1e-8, atol=1e-11)


def test_small_networks_in_single_precision_are_solved_in_double() -> None:
    exact = read(zoo.problem(zoo.perceptron))
    rough = read(zoo.problem(zoo.perceptron, torch.float32))
    assert rough.largest.error < 1e-12
    assert rough.largest.value == pytest.approx(exact.largest.value, rel=1e-5)  # of rounded parameters and data
    assert rough.lowest.value == pytest.approx(exact.lowest.value, rel=1e-4)


class Single(nn.Module):
    """Computes in single precision whatever it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(zoo.FEATURES, zoo.CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        weight, bias = self.inner.weight.float(), self.inner.bias.float()
        outputs: Tensor = nn.functional.linear(inputs.float(), weight, bias)
        return outputs


def test_single_precision_says_its_error() -> None:
    exact = read(zoo.problem(lambda: nn.Linear(zoo.FEATURES, zoo.CLASSES), torch.float64))
    rough = read(zoo.problem(Single, torch.float32))
    assert rough.exact
    assert rough.proved is None
    assert exact.largest.error < 1e-12 < 1e-9 < rough.largest.error
    assert abs(rough.largest.value - exact.largest.value) < rough.largest.error
    assert abs(rough.lowest.value - exact.lowest.value) < rough.lowest.error
    assert any("not" in note and "1e-09" in note for note in rough.notes)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_way_down_is_proved_in_double_precision(seed: int) -> None:
    """Single precision, too large for the whole matrix: vᵀHv of the vector that was found, by a naive product."""
    problem = zoo.problem(
        lambda: nn.Sequential(nn.Linear(zoo.FEATURES, 40), nn.Tanh(), nn.Linear(40, 42), nn.Tanh(), nn.Linear(42, 3)),
        torch.float32,
    )
    reading = read(problem, seed)
    assert not reading.exact
    assert reading.proved is not None
    assert reading.proved.error < 1e-12
    assert reading.proved.value == pytest.approx(reading.lowest.value, abs=1e-5 * reading.largest.value)
    assert reading.negative
