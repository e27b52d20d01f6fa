"""Gradients and curvature of classification losses, and of layers that can be rescaled."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.closed_forms.made import DOUBLE, batch_of, descent, normal, of, set_to, tensor
from tests.probes.look import Weights, look
from torch import Tensor, nn
from torch.nn import functional as F

from unstuck.curvature.scaled import Scaled
from unstuck.curvature.whole import whole_hessian
from unstuck.numerics.lanczos import extreme_eigenpairs
from unstuck.probes.outputs import Outputs
from unstuck.probes.spectrum import Spectrum, SpectrumReading
from unstuck.problem import LossFunction, Problem
from unstuck.vector import flatten

# Rescaled layers


def rescaled(factor: float) -> Problem:
    """A network of one hidden ReLU layer, its first weights ``factor`` times larger and its last as much smaller."""
    inputs, targets = normal(40, 5, seed=1), normal(40, 1, seed=2)
    model = nn.Sequential(nn.Linear(5, 8, bias=False), nn.ReLU(), nn.Linear(8, 1, bias=False)).double()
    problem = of(model, nn.MSELoss(), inputs, targets, descent())
    return set_to(problem, factor * normal(8, 5, seed=3), normal(1, 8, seed=4) / factor)


def top(problem: Problem, diagonal: Tensor | None = None) -> float:
    """The largest eigenvalue of H, or of D H D."""
    hessian = problem.hessian_at(problem.point(), batch_of(problem))
    operator = hessian if diagonal is None else Scaled(hessian, diagonal)
    found = extreme_eigenpairs(operator, generator=torch.Generator().manual_seed(0), tolerance=1e-12)
    return found.largest.values[-1]


@pytest.mark.parametrize("factor", [2.0, 10.0, 100.0])
def test_rescaling_changes_sharpness_and_not_the_function(factor: float) -> None:
    """C11: (a W1, W2 / a) has the same loss, and λ_max as large as one likes; with D = |θ| it is the same again."""
    plain, sharp = rescaled(1.0), rescaled(factor)
    loss = plain.mean_loss([batch_of(plain)])
    assert sharp.mean_loss([batch_of(sharp)]) == pytest.approx(loss, rel=1e-14)
    # The block of the last weights is that of a linear regression on activations that are a times larger.
    last = {"2.weight": plain.point()["2.weight"]}, {"2.weight": sharp.point()["2.weight"]}
    blocks = [
        whole_hessian(problem.hessian_at(point, batch_of(problem)))
        for problem, point in zip((plain, sharp), last, strict=True)
    ]
    np.testing.assert_allclose(blocks[1], factor**2 * blocks[0], rtol=1e-10, atol=1e-12)
    assert top(sharp) >= factor**2 * float(torch.linalg.eigvalsh(blocks[0])[-1]) * (1 - 1e-12)
    sizes = [flatten(problem.point()).abs() for problem in (plain, sharp)]
    assert top(sharp, sizes[1]) == pytest.approx(top(plain, sizes[0]), rel=1e-9)


# Softmax


def logits(*scores: float, loss: LossFunction) -> Problem:
    """The scores themselves as parameters; the first class is right."""
    ones = torch.ones(1, len(scores), dtype=DOUBLE)
    return of(Weights(*scores), loss, ones, torch.zeros(1, dtype=torch.long), descent())


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Σ_k (p_k − y_k)² of the softmax p."""
    wanted = F.one_hot(targets, outputs.shape[1]).to(outputs)
    return (outputs.softmax(1) - wanted).square().sum(1).mean()


def slope(problem: Problem) -> list[float]:
    found: list[float] = problem.gradient_at(problem.point(), batch_of(problem))["weights"].tolist()
    return found


@given(st.floats(-8.0, 8.0), st.floats(-8.0, 8.0))
def test_slopes_of_both_losses(first: float, second: float) -> None:
    """C12: cross-entropy has the slope p − y; squared error of two classes has 4 p₁ (1 − p₁)² for it."""
    share = 1 / (1 + math.exp(second - first))
    entropy = slope(logits(first, second, loss=F.cross_entropy))
    assert entropy == pytest.approx([share - 1, 1 - share], abs=1e-12)
    squares = slope(logits(first, second, loss=squared_error))
    size = 4 * share * (1 - share) ** 2
    assert squares == pytest.approx([-size, size], abs=1e-12)
    assert size <= 16 / 27 + 1e-12


def test_the_steepest_place_of_squared_error() -> None:
    """C12: its slope is 16/27 at most, where the right class has one third; cross-entropy's reaches one."""
    steepest = -slope(logits(-math.log(2.0), 0.0, loss=squared_error))[0]
    assert steepest == pytest.approx(16 / 27, rel=1e-12)
    shares = np.linspace(0.01, 0.99, 99)
    slopes = [-slope(logits(math.log(p / (1 - p)), 0.0, loss=squared_error))[0] for p in shares]
    assert shares[int(np.argmax(slopes))] == pytest.approx(0.33)
    assert max(slopes) < steepest


def test_how_much_flatter_squared_error_is_far_off() -> None:
    """C12: at (−10, 10) with the first class right the slopes are 1.2129e8 apart, and the probe says so."""
    entropy, squares = (slope(logits(-10.0, 10.0, loss=loss))[0] for loss in (F.cross_entropy, squared_error))
    assert entropy / squares == pytest.approx(1.2129e8, rel=1e-4)

    def of_shares(outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs - F.one_hot(targets, 2).to(outputs)).square().sum(1).mean()

    ends_in_softmax = nn.Sequential(Weights(-10.0, 10.0), nn.Softmax(1))
    ones, target = torch.ones(1, 2, dtype=DOUBLE), torch.zeros(1, dtype=torch.long)
    reading = look(Outputs(), of(ends_in_softmax, of_shares, ones, target, descent()))
    assert reading.kind == "probabilities"
    assert reading.slope_over_error == pytest.approx(1 / 1.2129e8, rel=1e-4)


@given(st.lists(st.floats(-5.0, 5.0), min_size=2, max_size=5))
def test_the_curvature_of_cross_entropy_in_its_scores(scores: list[float]) -> None:
    """C13: H = diag(p) − p p'; a common shift of all scores changes nothing, and λ_max ≤ ½."""
    problem = logits(*scores, loss=F.cross_entropy)
    hessian = problem.hessian_at(problem.point(), batch_of(problem))
    shares = tensor(*scores).softmax(0)
    expected = torch.diag(shares) - torch.outer(shares, shares)
    matrix = whole_hessian(hessian)
    np.testing.assert_allclose(matrix, expected, rtol=1e-10, atol=1e-15)
    np.testing.assert_allclose(hessian @ torch.ones(len(scores), dtype=DOUBLE), 0.0, atol=1e-15)
    assert float(torch.linalg.eigvalsh(matrix)[-1]) <= 0.5 + 1e-15


def test_softmax_regression() -> None:
    """C13: H = (1/n) Σ (diag p − p p') ⊗ x x'; d directions are flat, and λ_max ≤ λ_max(X'X/n)/2."""
    samples, features, classes = 30, 4, 3
    inputs = normal(samples, features, seed=5)
    targets = torch.randint(0, classes, (samples,), generator=torch.Generator().manual_seed(6))
    problem = of(
        nn.Linear(features, classes, bias=False, dtype=DOUBLE), nn.CrossEntropyLoss(), inputs, targets, descent()
    )
    weight = normal(classes, features, seed=7)
    set_to(problem, weight)
    expected = torch.zeros(classes * features, classes * features, dtype=DOUBLE)
    for row in inputs:
        shares = (weight @ row).softmax(0)
        expected += torch.kron(torch.diag(shares) - torch.outer(shares, shares), torch.outer(row, row)) / samples
    found = whole_hessian(problem.hessian_at(problem.point(), *problem.data.whole(chunk=8)))
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-14)
    reading: SpectrumReading = look(Spectrum(), problem)
    assert reading.near_zero.value == pytest.approx(features / (classes * features))
    assert not reading.negative
    largest = float(torch.linalg.eigvalsh(inputs.T @ inputs / samples)[-1])
    assert reading.largest.value <= largest / 2
    # The loss is convex in its scores, which are linear in the weights: nothing but the Gauss-Newton matrix is left.
    curved = problem.gauss_newton_at(problem.point(), batch_of(problem))
    rows = torch.eye(classes * features, dtype=DOUBLE)
    np.testing.assert_allclose(curved.block(rows), expected, rtol=1e-11, atol=1e-14)
