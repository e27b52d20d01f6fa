"""Normalization: instead of walking the mountain better, move the mountain.

Lecture chapter 5. Everything here is a function of tensors: what it normalizes, scales and shifts is given to it, so
that each formula can be read, differentiated, and mapped over many networks at once.

Values have the shape (N, C), N samples of C features, or (N, C, *places), images or sequences of C channels.
"""

from __future__ import annotations

import torch
from torch import Tensor


def batch_normalized(
    values: Tensor, *, scale: Tensor, shift: Tensor, epsilon: float, weights: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Batch normalization in training (Ioffe & Szegedy 2015, algorithm 1; lecture chapter 5).

    μ = Σ z / m, σ² = Σ (z − μ)² / m, z̃ = (z − μ) / √(σ² + ε), ẑ = γ ⊙ z̃ + β: for each channel over the samples and
    places of the batch, m numbers. μ and σ depend on all samples, so that each z̃_j depends on every z_i, and the
    gradient goes through μ and σ as well.

    Args:
        values: z, shape (N, C) or (N, C, *places).
        scale: γ, shape (C,).
        shift: β, shape (C,).
        epsilon: ε.
        weights: shape (N,); samples that weigh nothing are counted in no statistic, whatever they hold, and give β.
            By default all are counted.

    Returns:
        ẑ, μ and the variance Σ (z − μ)² / (m − 1), the unbiased one that moving averages take (ibid., algorithm 2);
        of a single number it is 0. Both have shape (C,).
    """
    if weights is None:
        weights = torch.ones(len(values), device=values.device)
    counted = _along(weights > 0, values, axis=0)
    count = counted.sum() * values[0, 0].numel()
    axes = [axis for axis in range(values.dim()) if axis != 1]
    mean = torch.where(counted, values, 0.0).sum(axes) / count.clamp_min(1)
    centred = torch.where(counted, values - _along(mean, values), 0.0)
    squares = centred.square().sum(axes)
    deviation = (squares / count.clamp_min(1) + epsilon).sqrt()
    normalized = _along(scale / deviation, values) * centred + _along(shift, values)
    return normalized, mean, squares / (count - 1).clamp_min(1)


def moved_average(running: Tensor, batch_statistic: Tensor, *, momentum: float | Tensor) -> Tensor:
    """μ̄ ← p μ̄ + (1 − p) μ, the moving average that stands for a batch in testing (lecture chapter 5).

    Args:
        running: μ̄, or the average of the unbiased variance.
        batch_statistic: μ of the batch, or its unbiased variance.
        momentum: 1 − p; torch gives this name to the share of the new batch.
    """
    return (1 - momentum) * running + momentum * batch_statistic


def _along(values: Tensor, like: Tensor, *, axis: int = 1) -> Tensor:
    """A vector laid along one axis of ``like``, so that it broadcasts."""
    return values.view([-1 if each == axis else 1 for each in range(like.dim())])
