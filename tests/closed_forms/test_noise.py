"""Gradient noise of linear regression, whose covariance is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.closed_forms.made import DOUBLE, descent, normal, of, set_to
from tests.probes.look import look
from torch import Tensor, nn

from unstuck.numerics.noise import GradientNoise, gradient_noise
from unstuck.probes.gradient import Gradient, GradientReading
from unstuck.problem import Problem
from unstuck.vector import flatten

FEATURES, NOISE = 20, 1.0
GRADIENTS, SAMPLES = 1_200, 16
"""Gradients, and samples in each."""


def drawn(root: Tensor, error: Tensor, count: int, seed: int) -> Problem:
    """½ mean (x'θ − y)² with x ~ N(0, C C') for C = ``root``, y = x'θ* + N(0, s²), at θ = θ* + ``error``, θ* = 0."""
    inputs = normal(count, len(root), seed=seed) @ root.T
    problem = of(
        nn.Linear(len(root), 1, bias=False, dtype=DOUBLE),
        lambda outputs, targets: (outputs - targets).square().mean() / 2,
        inputs,
        NOISE * normal(count, 1, seed=seed + 1),
        descent(),
    )
    return set_to(problem, error[None])


def noise_of(problem: Problem) -> GradientNoise:
    """By gradients of independent batches."""
    point = problem.point()
    batches = problem.data.whole(chunk=SAMPLES)
    gradients = torch.stack([flatten(problem.gradient_at(point, batch)) for batch in batches])
    return gradient_noise((gradients @ gradients.T).numpy(), np.full(len(gradients), float(SAMPLES)))


def within(value: float, error: float, truth: float) -> bool:
    """Whether an estimate is within three of its standard errors of the truth."""
    return abs(value - truth) <= 3 * error


@pytest.mark.parametrize("seed", [0, 10])
def test_isotropic_inputs(seed: int) -> None:
    """C14: tr Σ = (d + 1) ‖D‖² + d s², and B_simple = (d + 1) + d s² / ‖D‖²."""
    error = normal(FEATURES, seed=seed + 3)
    size = float(error @ error)
    found = noise_of(drawn(torch.eye(FEATURES, dtype=DOUBLE), error, GRADIENTS * SAMPLES, seed))
    trace, simple = (FEATURES + 1) * size + FEATURES * NOISE**2, FEATURES + 1 + FEATURES * NOISE**2 / size
    assert within(found.squared_norm.value, found.squared_norm.standard_error, size)
    assert within(found.trace.value, found.trace.standard_error, trace)
    assert found.trace.standard_error < 0.05 * trace
    assert found.scale.interval.low <= simple <= found.scale.interval.high
    assert found.scale.value == pytest.approx(simple, rel=0.05)


@pytest.mark.parametrize("seed", [0, 10])
def test_correlated_inputs(seed: int) -> None:
    """C15: with H = E x x', tr Σ = ‖H D‖² + (D'H D + s²) tr H and G = H D."""
    root = torch.diag(torch.linspace(0.3, 1.5, FEATURES, dtype=DOUBLE)) + 0.1 * normal(FEATURES, FEATURES, seed=99)
    error, covariance = normal(FEATURES, seed=seed + 3), root @ root.T
    gradient = covariance @ error
    trace = float(gradient @ gradient + (error @ gradient + NOISE**2) * covariance.trace())
    found = noise_of(drawn(root, error, GRADIENTS * SAMPLES, seed))
    assert within(found.squared_norm.value, found.squared_norm.standard_error, float(gradient @ gradient))
    assert within(found.trace.value, found.trace.standard_error, trace)
    assert found.scale.value == pytest.approx(trace / float(gradient @ gradient), rel=0.1)


def test_the_probe_says_the_same_noise() -> None:
    """C14: the gradient probe's standard error is √(tr Σ / n) for a sample of n."""
    error = normal(FEATURES, seed=3)
    problem = drawn(torch.eye(FEATURES, dtype=DOUBLE), error, 5_000, 0)
    reading: GradientReading = look(Gradient(), problem)
    size = float(error @ error)
    trace = (FEATURES + 1) * size + FEATURES * NOISE**2
    assert reading.noise == pytest.approx((trace / reading.samples) ** 0.5, rel=0.25)
    assert abs(reading.squared_norm.value - size) <= 3 * reading.squared_norm.error
