"""What is known exactly of batch normalization: how far the computation is from it.

Lecture chapter 5.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.func import grad, jacrev

from unstuck.methods.normalize import batch_normalized, normalized_in_testing

SAMPLES, FEATURES, INWARD = 12, 5, 7

DRAWS = 40_000
"""Batches over which the variance of a batch is averaged."""


def standardized(values: Tensor) -> Tensor:
    """z̃, without ε, γ and β."""
    return _with(values, torch.ones_like(values[0]), torch.zeros_like(values[0]))[0]


def _with(values: Tensor, scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return batch_normalized(values, scale=scale, shift=shift, epsilon=0.0)


def errors(seed: int) -> dict[str, float]:
    """Of each formula the largest absolute difference, in double precision.

    ``weights``: a unit's weights are orthogonal to their gradient, which for a W is 1/a of that for W.
    ``batch``: over the batch, the gradients with respect to z have the sum 0, and so have those times z̃.
    ``extremes``: z̃ of two samples is ±1, of one 0, and of m never beyond √(m − 1), which a lone outlier reaches.
    ``identity``: γ = σ and β = μ give z back; testing with the batch's own μ and σ² is training.
    """
    generator = torch.Generator(device="cpu").manual_seed(seed)
    draw = partial(torch.randn, generator=generator, dtype=torch.float64, device="cpu")
    inputs, weight, goal = draw(SAMPLES, INWARD), draw(INWARD, FEATURES), draw(SAMPLES, FEATURES)
    values = inputs @ weight

    def loss(normalized: Tensor) -> Tensor:
        return (normalized - goal).square().mean()

    of_weight: Callable[[Tensor], Tensor] = grad(lambda own: loss(standardized(inputs @ own)))
    slope = of_weight(weight)
    of_values = grad(lambda own: loss(standardized(own)))(values)
    outlier = torch.zeros_like(values)
    outlier[0] = 1.0
    scale, mean = values.std(0, correction=0), values.mean(0)
    again = normalized_in_testing(
        values,
        mean=mean,
        variance=scale.square(),
        scale=torch.ones_like(mean),
        shift=torch.zeros_like(mean),
        epsilon=0.0,
    )
    found = {
        "weights": [(weight * slope).sum(0), of_weight(3.0 * weight) - slope / 3.0],
        "batch": [of_values.sum(0), (of_values * standardized(values)).sum(0)],
        "extremes": [
            standardized(values[:2]).abs() - 1.0,
            _with_epsilon(values[:1]),
            standardized(outlier)[0] - math.sqrt(SAMPLES - 1),
        ],
        "identity": [_with(values, scale, mean)[0] - values, again - standardized(values)],
    }
    return {name: max(float(each.abs().max()) for each in parts) for name, parts in found.items()}


def _with_epsilon(values: Tensor) -> Tensor:
    """z̃ with ε, without which a single sample would be 0/0."""
    return batch_normalized(values, scale=torch.ones_like(values[0]), shift=torch.zeros_like(values[0]), epsilon=1e-5)[
        0
    ]


def coupling(seed: int) -> tuple[float, float]:
    """The largest |∂z̃_j/∂z_i| between two samples, in training and in testing."""
    generator = torch.Generator(device="cpu").manual_seed(seed)
    values = torch.randn(SAMPLES, 1, generator=generator, dtype=torch.float64, device="cpu")
    one, zero = torch.ones_like(values[0]), torch.zeros_like(values[0])
    testing = partial(normalized_in_testing, mean=zero, variance=one, scale=one, shift=zero, epsilon=0.0)
    between = ~torch.eye(SAMPLES, dtype=torch.bool, device="cpu")
    found = [jacrev(function)(values).reshape(SAMPLES, SAMPLES)[between] for function in (standardized, testing)]
    return float(found[0].abs().max()), float(found[1].abs().max())


def variance_of_batches(size: int, seed: int) -> float:
    """The mean of Σ (z − μ)² / (m − 1), which the moving average takes, over batches of m samples of variance 1."""
    generator = torch.Generator(device="cpu").manual_seed(seed)
    drawn = torch.randn(size, DRAWS, generator=generator, dtype=torch.float64, device="cpu")
    return float(_with(drawn, torch.ones_like(drawn[0]), torch.zeros_like(drawn[0]))[2].mean())
