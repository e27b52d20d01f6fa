"""Gradient noise of linear regression, whose covariance is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.closed_forms.made import DOUBLE, descent, normal, of, set_to
from tests.probes.look import look
from torch import Tensor, nn

from unstuck.numerics.noise import gradient_noise
from unstuck.passes.sample_gradients import sample_gradients
from unstuck.probes.gradient import Gradient, GradientReading
from unstuck.probes.noise import Noise, NoiseReading
from unstuck.problem import Problem
from unstuck.reading import Within

FEATURES, NOISE = 20, 1.0
GRADIENTS, SAMPLES = 2_000, 32
"""Gradients, and samples in each."""

EYE = torch.eye(FEATURES, dtype=DOUBLE)


def drawn(root: Tensor, error: Tensor, count: int, seed: int, noise: float = NOISE) -> Problem:
    """½ mean (x'θ − y)² with x ~ N(0, C C') for C = ``root``, y = x'θ* + N(0, s²), at θ = θ* + ``error``, θ* = 0."""
    inputs = normal(count, len(root), seed=seed) @ root.T
    problem = of(
        nn.Linear(len(root), 1, bias=False, dtype=DOUBLE),
        lambda outputs, targets: (outputs - targets).square().mean() / 2,
        inputs,
        noise * normal(count, 1, seed=seed + 1),
        descent(),
    )
    return set_to(problem, error[None])


def gradients_of(problem: Problem) -> Tensor:
    """Of independent batches, shape (m, d)."""
    (batch,) = problem.data.whole(chunk=10**6)
    (singles,) = sample_gradients(problem, problem.point(), batch, way="vmap", seed=0).values()
    return singles.reshape(-1, SAMPLES, FEATURES).mean(1)


def correlated() -> tuple[Tensor, Tensor]:
    """C and H = C C'."""
    root = torch.diag(torch.linspace(0.3, 1.5, FEATURES, dtype=DOUBLE)) + 0.1 * normal(FEATURES, FEATURES, seed=99)
    return root, root @ root.T


def within(value: float, error: float, truth: float) -> bool:
    """Whether an estimate is within three of its standard errors of the truth."""
    return abs(value - truth) <= 3 * error


def holds(found: Within | None, truth: float) -> bool:
    return found is not None and found.low <= truth <= found.high


@pytest.mark.parametrize("seed", [0, 20])
def test_isotropic_inputs(seed: int) -> None:
    """C14: tr Σ = (d + 1) ‖D‖² + d s², and B_simple = (d + 1) + d s² / ‖D‖²."""
    error = normal(FEATURES, seed=seed + 3)
    size = float(error @ error)
    trace, simple = (FEATURES + 1) * size + FEATURES * NOISE**2, FEATURES + 1 + FEATURES * NOISE**2 / size
    rows = gradients_of(drawn(EYE, error, GRADIENTS * SAMPLES, seed))
    found = gradient_noise((rows @ rows.T).numpy(), np.full(GRADIENTS, float(SAMPLES)))
    assert within(found.squared_norm.value, found.squared_norm.standard_error, size)
    assert within(found.trace.value, found.trace.standard_error, trace)
    assert found.scale.interval.low <= simple <= found.scale.interval.high
    assert found.scale.value == pytest.approx(simple, rel=0.03)


@pytest.mark.parametrize("seed", [0, 20])
def test_correlated_inputs(seed: int) -> None:
    """C15: Σ = H D D' H + (D'H D + s²) H and G = H D, so that tr HΣ = D'H³D + (D'H D + s²) tr H²."""
    (root, hessian), error = correlated(), normal(FEATURES, seed=seed + 3)
    gradient = hessian @ error
    weight = float(error @ gradient + NOISE**2)
    square, trace = float(gradient @ gradient), float(gradient @ gradient + weight * hessian.trace())
    bent = float(gradient @ hessian @ gradient)
    rows = gradients_of(drawn(root, error, GRADIENTS * SAMPLES, seed))
    counts = np.full(GRADIENTS, float(SAMPLES))
    plain = gradient_noise((rows @ rows.T).numpy(), counts)
    curved = gradient_noise((rows @ hessian @ rows.T).numpy(), counts)
    assert plain.scale.value == pytest.approx(trace / square, rel=0.03)
    assert curved.squared_norm.value == pytest.approx(bent, rel=0.03)
    assert curved.scale.value == pytest.approx((bent + weight * float((hessian @ hessian).trace())) / bent, rel=0.03)


def read(root: Tensor, error: Tensor, seed: int, noise: float = NOISE) -> NoiseReading:
    reading: NoiseReading = look(Noise(), drawn(root, error, 10_000, seed, noise))
    return reading


def test_the_probe_holds_the_truth_in_its_intervals() -> None:
    """C14 and C15, from a thousand samples, by single ones and by batches, the Hessian being that of others."""
    held = []
    for seed in range(0, 60, 10):
        error = normal(FEATURES, seed=seed + 3)
        simple = FEATURES + 1 + FEATURES * NOISE**2 / float(error @ error)
        isotropic = read(EYE, error, seed)
        assert isotropic.scale.value == pytest.approx(simple, rel=0.15)
        held += [holds(found, simple) for found in (isotropic.scale_by_samples, isotropic.scale_by_batches)]
        held += [holds(isotropic.curved_scale, simple)]  # H is the identity
        root, hessian = correlated()
        gradient = hessian @ error
        weight, bent = float(error @ gradient + NOISE**2), float(gradient @ hessian @ gradient)
        bowed = read(root, error, seed)
        held += [holds(bowed.scale, 1 + weight * float(hessian.trace() / (gradient @ gradient)))]
        held += [holds(bowed.curved_scale, 1 + weight * float((hessian @ hessian).trace()) / bent)]
    assert sum(held) >= 0.85 * len(held)  # intervals of 95 %


def test_the_best_rate_follows_from_the_scale() -> None:
    """C16: without noise in the targets the mean square of D changes by the factor 1 − 2η + η² (1 + (d + 1)/B)."""
    reading, batch = read(EYE, normal(FEATURES, seed=3), 0, noise=0.0), 4
    assert holds(reading.curved_scale, FEATURES + 1)
    assert reading.curved_scale is not None
    error, inputs = normal(FEATURES, seed=4), normal(20_000, batch, FEATURES, seed=5)
    steps = torch.einsum("nbi,nbj,j->ni", inputs, inputs, error) / batch

    def factor(rate: float) -> float:
        return float((error - rate * steps).square().sum(1).mean() / error.square().sum())

    for rate in (0.05, 0.1, 0.2, 0.3):
        spread = 1 + (FEATURES + 1) / batch
        assert factor(rate) == pytest.approx(1 - 2 * rate + rate**2 * spread, abs=0.01)
    best = 1 / (1 + reading.curved_scale.value / batch)  # ε_max is 1 where H is the identity
    assert factor(best) < min(factor(0.7 * best), factor(1.4 * best))
    assert factor(1.8 * best) < 1 < factor(2.3 * best)


def test_the_gradient_probe_says_the_same_noise() -> None:
    """C14: the gradient probe's standard error is √(tr Σ / n) for a sample of n."""
    error = normal(FEATURES, seed=3)
    problem = drawn(EYE, error, 5_000, 0)
    reading: GradientReading = look(Gradient(), problem)
    size = float(error @ error)
    trace = (FEATURES + 1) * size + FEATURES * NOISE**2
    assert reading.noise == pytest.approx((trace / reading.samples) ** 0.5, rel=0.25)
    assert abs(reading.squared_norm.value - size) <= 3 * reading.squared_norm.error
