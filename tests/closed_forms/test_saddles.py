"""Saddles of small networks: the lecture's product of weights, linear autoencoders, networks at zero."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.closed_forms.made import DOUBLE, batch_of, descent, normal, of, product, set_to, tensor, values, walked
from tests.probes.look import look, view
from torch import Tensor, nn

from unstuck.causes.saddle_point import SADDLE_POINT
from unstuck.curvature.whole import whole_hessian
from unstuck.methods.stability import stability_limit
from unstuck.numerics.spectrum import count_signs, newton_residual, newton_residual_by_products
from unstuck.probes.escape import Escape
from unstuck.probes.gradient import Gradient
from unstuck.probes.spectrum import Spectrum, SpectrumReading
from unstuck.problem import Problem
from unstuck.reading import History
from unstuck.vector import flatten

WEIGHTS = st.floats(-3.0, 3.0, allow_subnormal=False)


def hessian_of(problem: Problem) -> Tensor:
    return whole_hessian(problem.hessian_at(problem.point(), batch_of(problem)))


def spectrum(problem: Problem) -> SpectrumReading:
    reading: SpectrumReading = look(Spectrum(), problem)
    return reading


# L = (1 − w1 w2)²


@settings(max_examples=30)
@given(WEIGHTS, WEIGHTS)
def test_gradient_and_hessian_of_the_product(first: float, second: float) -> None:
    """C1: ∇L = −2 (1 − w1 w2)(w2, w1), H = [[2 w2², 4 w1 w2 − 2], [4 w1 w2 − 2, 2 w1²]]."""
    problem = product(first, second)
    gradient = problem.gradient_at(problem.point(), batch_of(problem))
    slope = -2 * (1 - first * second)
    assert values(gradient) == pytest.approx([slope * second, slope * first], rel=1e-12, abs=1e-12)
    across = 4 * first * second - 2
    expected = [[2 * second**2, across], [across, 2 * first**2]]
    np.testing.assert_allclose(hessian_of(problem), expected, rtol=1e-12, atol=1e-12)


def test_the_origin_is_a_saddle() -> None:
    """C1: at the origin the eigenvalues are ±2, down along (1, 1)/√2 and up along (1, −1)/√2."""
    problem = product(0.0, 0.0)
    reading, ends = spectrum(problem), view(problem).extremes
    assert (reading.lowest.value, reading.largest.value) == pytest.approx((-2.0, 2.0), rel=1e-14)
    assert reading.eigenvector == pytest.approx((0.5**0.5, 0.5**0.5))
    up = ends.largest.vectors[-1]
    assert float(up @ tensor(1.0, -1.0)) ** 2 == pytest.approx(2.0)
    assert look(Gradient(), problem).norm == 0.0


@settings(max_examples=20)
@given(st.floats(0.2, 5.0))
def test_sharpness_of_the_minima(first: float) -> None:
    """C1b: on w1 w2 = 1 the eigenvalues are 0 and 2 (w1² + w2²), never below 4."""
    reading = spectrum(product(first, 1 / first))
    assert reading.nodes == pytest.approx((0.0, 2 * (first**2 + first**-2)), rel=1e-9, abs=1e-9)
    assert reading.largest.high >= 4.0
    assert reading.minimum_ratio.value == reading.near_zero.value == 0.5


def test_the_least_sharp_minimum() -> None:
    """C1b: (1, 1) has 0 and 4, (2, ½) has 0 and 8.5."""
    assert spectrum(product(1.0, 1.0)).nodes == pytest.approx((0.0, 4.0), abs=1e-14)
    assert spectrum(product(2.0, 0.5)).nodes == pytest.approx((0.0, 8.5), abs=1e-14)


@pytest.mark.parametrize(("rate", "stays"), [(0.49, True), (0.51, False)])
def test_where_the_least_sharp_minimum_can_be_kept(rate: float, stays: bool) -> None:
    """C1b: gradient descent stays at (1, 1) for a rate below ½ = 2 / 4 alone."""
    problem = product(1.0 + 1e-6, 1.0 + 1e-6, optimizer=descent(rate))
    limit = stability_limit(problem.optimizer)
    assert limit is not None
    assert (spectrum(problem).largest.value < limit.curvature) == stays
    run, _ = walked(problem, 150)
    assert (run.curve[-1].loss < run.curve[0].loss) == stays


@pytest.mark.parametrize(("start", "updates"), [(1e-3, 321), (1e-6, 670), (1e-9, 1019)])
def test_how_long_an_escape_takes(start: float, updates: int) -> None:
    """C1c: from (d, d) gradient descent reaches ½ after about ln(½/d) / ln(1 + 2η) updates."""
    run, _ = walked(product(start, start, optimizer=descent(0.01)), updates + 1)
    reached = next(row.update for row in run.curve if row.loss <= (1 - 0.5**2) ** 2)
    assert reached == updates
    lowest = spectrum(product(0.0, 0.0)).lowest.value
    assert reached == pytest.approx(math.log(0.5 / start) / math.log(1 - 0.01 * lowest), rel=0.025)


def test_an_exact_start_on_the_stable_manifold_stays() -> None:
    """C1d: from (d, −d) gradient descent goes to the saddle; a push of 1e-12 off that line and it leaves."""
    run, end = walked(product(0.5, -0.5, optimizer=descent(0.05)), 500)
    assert values(end)[0] == -values(end)[1]
    assert values(end) == pytest.approx([0.0, 0.0], abs=1e-20)
    assert run.curve[-1].loss == pytest.approx(1.0)
    pushed, end = walked(product(0.5 + 1e-12, -0.5, optimizer=descent(0.05)), 500)
    assert pushed.curve[250].loss > 0.99
    assert pushed.curve[-1].loss < 1e-6
    assert values(end)[0] * values(end)[1] == pytest.approx(1.0, abs=1e-6)


def test_what_gradient_flow_conserves() -> None:
    """C1d: w1² − w2² does not change along the flow; a step changes it by the factor 1 − (2 η (1 − w1 w2))²."""

    def drift(rate: float) -> float:
        _, end = walked(product(1.2, 0.3, optimizer=descent(rate)), round(2 / rate))
        first, second = values(end)
        return abs(first**2 - second**2 - (1.2**2 - 0.3**2))

    assert drift(0.02) / drift(0.01) == pytest.approx(2.0, rel=0.05)
    assert drift(0.01) < 0.02
    _, end = walked(product(1.2, 0.3, optimizer=descent(0.1)), 1)
    factor = 1 - (2 * 0.1 * (1 - 1.2 * 0.3)) ** 2
    assert values(end)[0] ** 2 - values(end)[1] ** 2 == pytest.approx(factor * (1.2**2 - 0.3**2), rel=1e-12)


def test_three_layers_at_zero() -> None:
    """C8: the Hessian of a product of three at zero vanishes: curvature decides nothing, a try does."""
    problem = product(0.0, 0.0, 0.0)
    assert not hessian_of(problem).any()
    reading, ways = spectrum(problem), look(Escape(), problem)
    assert not reading.negative
    assert reading.near_zero.value == 1.0
    assert reading.minimum_ratio.value == 0.0
    assert ways.curvature_drop == 0.0
    assert ways.perturbed_drop > 0.5
    slope = look(Gradient(), problem)
    judged = SADDLE_POINT.judge(History((slope,)), History((reading,)), History((ways,)))
    assert judged.score > 0.5


# Linear autoencoder of rank one, L = ½ tr((A B − I) S (A B − I)')


VARIANCES = (5.0, 3.0, 2.0, 1.0)


class Autoencoder(nn.Module):
    """x → A B x with A (4 × 1) and B (1 × 4)."""

    def __init__(self, decoder: Tensor, encoder: Tensor) -> None:
        super().__init__()
        self.decoder, self.encoder = nn.Parameter(decoder.clone()), nn.Parameter(encoder.clone())

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.outer(inputs @ self.encoder, self.decoder)


def autoencoder(decoder: Tensor, encoder: Tensor) -> Problem:
    """Four samples whose second moments are S."""
    samples = torch.diag(tensor(*VARIANCES).mul(4).sqrt())
    return of(
        Autoencoder(decoder, encoder), lambda o, t: (o - t).square().sum(1).mean() / 2, samples, samples, descent()
    )


@pytest.mark.parametrize(
    ("mode", "loss", "lowest"), [(0, 3.0, 0.0), (1, 4.0, -1.0990), (2, 4.5, -1.7202), (3, 5.0, -2.3852)]
)
@pytest.mark.parametrize("size", [1.0, 2.0])
def test_the_critical_points_of_an_autoencoder(mode: int, loss: float, lowest: float, size: float) -> None:
    """C9: each eigenvector of S is critical; the k-th has loss (tr S − λ_k)/2, k − 1 negative eigenvalues, one zero."""
    unit = torch.eye(4, dtype=DOUBLE)[mode]
    problem = autoencoder(size * unit, unit / size)
    reading, slope = spectrum(problem), look(Gradient(), problem)
    assert slope.loss.value == pytest.approx(loss)
    assert slope.loss.value == pytest.approx((sum(VARIANCES) - VARIANCES[mode]) / 2)
    assert slope.norm < 1e-14
    signs = count_signs(reading.nodes, 1e-9)
    assert (signs.negative, signs.near_zero) == (mode, 1)
    assert reading.newton_residual < 1e-9
    if size == 1.0:  # the scale of A against that of B changes the eigenvalues, not their signs
        assert reading.lowest.value == pytest.approx(lowest, abs=5e-5)


def test_an_autoencoder_at_zero() -> None:
    """C9: at the origin the eigenvalues are ± those of S."""
    zero = torch.zeros(4, dtype=DOUBLE)
    reading = spectrum(autoencoder(zero, zero))
    assert reading.nodes == pytest.approx(sorted([*VARIANCES, *(-value for value in VARIANCES)]), rel=1e-12)


def test_the_speed_of_learning_in_two_linear_layers() -> None:
    """C9b: u = w1 w2 follows u(t) = s e^{2st} / (e^{2st} − 1 + s/u0) (Saxe et al. 2013); Euler's error is linear."""
    strength, start, time = 2.0, 1e-3, 2.0
    grown = math.exp(2 * strength * time)
    expected = strength * grown / (grown - 1 + strength / start)
    assert expected == pytest.approx(1.19718, abs=5e-6)

    def reached(rate: float) -> float:
        weight = math.sqrt(start)
        half = product(
            weight,
            weight,
            optimizer=descent(rate),
            target=strength,
            loss=lambda outputs, targets: (outputs - targets).square().mean() / 2,
        )
        first, second = values(walked(half, round(time / rate))[1])
        return first * second

    coarse, fine = reached(4e-3), reached(2e-3)
    assert (coarse - expected) / (fine - expected) == pytest.approx(2.0, rel=0.02)
    assert 2 * fine - coarse == pytest.approx(expected, abs=4e-4)


# Steps that know the curvature


class Saddle(nn.Module):
    """A point of the plane."""

    def __init__(self, *at: float) -> None:
        super().__init__()
        self.at = nn.Parameter(tensor(*at))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.at + inputs


def test_the_newton_step_goes_to_the_saddle() -> None:
    """C10: on 5x²/2 − y²/2 at (1, 0.01) the Newton step is −(1, 0.01): it ends on the saddle, and r = 0."""
    zero = torch.zeros(1, 2, dtype=DOUBLE)
    problem = of(
        Saddle(1.0, 0.01), lambda o, t: (5 * o[:, 0] ** 2 - o[:, 1] ** 2).mean() / 2, zero, zero, descent(rate=0.1)
    )
    gradient = flatten(problem.gradient_at(problem.point(), batch_of(problem)))
    torch.testing.assert_close(gradient, tensor(5.0, -0.01))
    eigenvalues, vectors = torch.linalg.eigh(hessian_of(problem))
    found = newton_residual(eigenvalues.numpy(), (vectors.T @ gradient).numpy(), cutoff=1e-9)
    operator = problem.hessian_at(problem.point(), batch_of(problem))
    by_products = newton_residual_by_products(operator, gradient, frobenius_norm=math.sqrt(26.0), cutoff=1e-9)
    for residual in (found, by_products):
        assert residual.step == pytest.approx(math.hypot(1.0, 0.01), rel=1e-12)
        assert residual.residual == pytest.approx(0.0, abs=1e-12)
    # Gradient descent leaves the saddle instead: |x| shrinks by 1 − 5η and y grows by 1 + η.
    _, end = walked(problem, 10)
    assert values(end) == pytest.approx([0.5**10, 0.01 * 1.1**10], rel=1e-12)


def test_a_tanh_network_at_zero() -> None:
    """C10b: at zero weights H has eigenvalues ± ‖(2/n) X'y‖, each once per hidden unit, and zeros."""
    hidden, inputs, targets = 4, normal(12, 3, seed=1), normal(12, 1, seed=2)
    model = nn.Sequential(nn.Linear(3, hidden, bias=False), nn.Tanh(), nn.Linear(hidden, 1, bias=False)).double()
    problem = of(model, nn.MSELoss(), inputs, targets, descent())
    set_to(problem, *(torch.zeros_like(parameter) for parameter in model.parameters()))
    size = float((2 / 12 * inputs.T @ targets).norm())
    reading = spectrum(problem)
    assert look(Gradient(), problem).norm == 0.0
    assert reading.nodes == pytest.approx([-size] * 4 + [0.0] * 8 + [size] * 4, rel=1e-12, abs=1e-12)
    assert reading.lowest.value == pytest.approx(-size)
    assert reading.negative
