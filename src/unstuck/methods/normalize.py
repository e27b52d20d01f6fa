"""Normalization: instead of a better way over the mountain, another mountain.

Lecture chapter 5. Everything here is a function of tensors: what it normalizes, scales and shifts is given to it, so
that each formula can be read, differentiated, and mapped over many networks at once.

Values have the shape (N, C), N samples of C features, or (N, C, *places), images or sequences of C channels.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

LARGEST = 20.0
"""No normalized feature gets larger on the training set: one that hardly ever changes is divided by its range."""

ROUNDING = 4.0
"""Units in the last place of a mean: a feature that never gets farther from it is constant."""


@dataclass(frozen=True, kw_only=True)
class FeatureStatistics:
    """What feature normalization knows of the training set: a few numbers per feature, in double precision.

    Attributes:
        count: n, the numbers that each feature's statistics are made of.
        mean: μ, shape (features,).
        squares: Σ (x − μ)², shape (features,).
        low: the smallest x, shape (features,).
        high: the largest x, shape (features,).
    """

    count: int
    mean: Tensor
    squares: Tensor
    low: Tensor
    high: Tensor

    @staticmethod
    def of(batches: Iterable[Tensor], *, axis: int) -> FeatureStatistics:
        """The statistics of all batches together, read one after the other. There must be one at least.

        Args:
            batches: tensors of any shape, alike along ``axis``.
            axis: along which features are counted; means are taken over all others.
        """
        first, *others = (_of_one(batch, axis) for batch in batches)
        for statistics in others:
            first = first.pooled(statistics)
        return first

    def pooled(self, other: FeatureStatistics) -> FeatureStatistics:
        """Of two parts of a data set together (Chan, Golub & LeVeque 1979, with means in place of sums).

        δ = μ₂ − μ₁, μ = μ₁ + δ n₂/n, S = S₁ + S₂ + δ² n₁n₂/n: no difference of large numbers is taken.
        """
        count = self.count + other.count
        apart = other.mean - self.mean
        return FeatureStatistics(
            count=count,
            mean=self.mean + apart * (other.count / count),
            squares=self.squares + other.squares + apart.square() * (self.count * other.count / count),
            low=torch.minimum(self.low, other.low),
            high=torch.maximum(self.high, other.high),
        )

    @property
    def deviation(self) -> Tensor:
        """σ = √(S/n), shape (features,)."""
        return (self.squares / self.count).sqrt()

    def divisor(self, dtype: torch.dtype) -> Tensor:
        """σ of each feature, shape (features,); larger where it hardly ever changes, 1 where it never does.

        Args:
            dtype: of the features, whose rounding tells what is constant.
        """
        reach = torch.maximum(self.high - self.mean, self.mean - self.low)
        varies = reach > ROUNDING * torch.finfo(dtype).eps * self.mean.abs()
        return torch.where(varies, torch.maximum(self.deviation, reach / LARGEST), 1.0)


def _of_one(batch: Tensor, axis: int) -> FeatureStatistics:
    table = batch.detach().double().movedim(axis, 0).flatten(1)
    mean = table.mean(1)
    squares = (table - mean[:, None]).square().sum(1)
    return FeatureStatistics(count=table.shape[1], mean=mean, squares=squares, low=table.amin(1), high=table.amax(1))


def feature_normalized(values: Tensor, *, mean: Tensor, divisor: Tensor, axis: int = 1) -> Tensor:
    """Feature normalization: x̃ᵣ = (xᵣ − μᵣ) / σᵣ for each feature r (lecture chapter 5).

    Args:
        values: x, features along ``axis``.
        mean: μ over the training set, shape (features,); held-out data are normalized by the same.
        divisor: σ, shape (features,).
        axis: along which features are counted.
    """
    return (values - _along(mean, values, axis)) / _along(divisor, values, axis)


def batch_normalized(
    values: Tensor, *, scale: Tensor, shift: Tensor, epsilon: float, weights: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Batch normalization in training (Ioffe & Szegedy 2015, algorithm 1; lecture chapter 5).

    μ = Σ z / m, σ² = Σ (z − μ)² / m, z̃ = (z − μ) / √(σ² + ε), ẑ = γ ⊙ z̃ + β: for each channel over the samples and
    places of the batch, m numbers. μ and σ are functions of all of them, so that samples are coupled: ∂z̃_j/∂z_i ≠ 0.

    Args:
        values: z, shape (N, C) or (N, C, *places).
        scale: γ, shape (C,).
        shift: β, shape (C,).
        epsilon: ε.
        weights: shape (N,); samples that weigh nothing are counted in no statistic, whatever they hold, and what is
            given for them is finite and means nothing. By default all are counted.

    Returns:
        ẑ, μ and the variance Σ (z − μ)² / (m − 1), the unbiased one that moving averages take (ibid., algorithm 2);
        of a single number it is 0. Both have shape (C,).
    """
    if weights is None:
        weights = torch.ones(len(values), device=values.device)
    values = torch.where(_along(weights > 0, values, 0), values, 0.0)
    mean, variance, count = _batch_statistics(values, weights)
    normalized = normalized_in_testing(values, mean=mean, variance=variance, scale=scale, shift=shift, epsilon=epsilon)
    return normalized, mean, variance * count / (count - 1).clamp_min(1)


def _batch_statistics(values: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and biased variance of each channel, shape (C,), and m, over the samples that weigh something."""
    counted = _along(weights > 0, values, 0)
    count = counted.sum() * values[0, 0].numel()
    axes = [axis for axis in range(values.dim()) if axis != 1]
    mean = torch.where(counted, values, 0.0).sum(axes) / count.clamp_min(1)
    centred = torch.where(counted, values - _along(mean, values), 0.0)
    return mean, centred.square().sum(axes) / count.clamp_min(1), count


def normalized_in_testing(
    values: Tensor, *, mean: Tensor, variance: Tensor, scale: Tensor, shift: Tensor, epsilon: float
) -> Tensor:
    """Batch normalization in testing: ẑ = γ ⊙ (z − μ̄) / √(σ̄² + ε) + β by moving averages (lecture chapter 5).

    Each sample by itself: one may come alone. Training is the same formula with the batch's own μ and σ².

    Args:
        values: z, shape (N, C) or (N, C, *places).
        mean: μ̄, shape (C,).
        variance: σ̄², shape (C,).
        scale: γ, shape (C,).
        shift: β, shape (C,).
        epsilon: ε.
    """
    slope = scale / (variance + epsilon).sqrt()
    return _along(slope, values) * (values - _along(mean, values)) + _along(shift, values)


def moved_average(running: Tensor, batch_statistic: Tensor, *, momentum: float | Tensor) -> Tensor:
    """μ̄ ← p μ̄ + (1 − p) μ, the moving average that stands for a batch in testing (lecture chapter 5).

    Args:
        running: μ̄, or the average of the unbiased variance.
        batch_statistic: μ of the batch, or its unbiased variance.
        momentum: 1 − p; torch gives this name to the share of the new batch.
    """
    return (1 - momentum) * running + momentum * batch_statistic


def batch_renormalized(
    values: Tensor,
    *,
    running_mean: Tensor,
    running_variance: Tensor,
    scale: Tensor,
    shift: Tensor,
    epsilon: float,
    largest_ratio: Tensor,
    largest_distance: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Batch renormalization in training (Ioffe 2017, algorithm 1), for batches that are no fair sample.

    x̂ = (z − μ)/σ · r + d, ẑ = γ ⊙ x̂ + β with r = clip(σ/σ̄, 1/r_max, r_max) and d = clip((μ − μ̄)/σ̄, −d_max, d_max),
    through which no gradient goes. At r_max = 1, d_max = 0 it is batch normalization; where nothing is clipped,
    x̂ = (z − μ̄)/σ̄ as in testing, but the gradient goes through μ and σ. Here σ̄² is the moving average of the unbiased
    variance, as in batch normalization; in the paper, σ̄ is that of σ.

    Args:
        values: z, shape (N, C) or (N, C, *places).
        running_mean: μ̄, shape (C,).
        running_variance: σ̄², shape (C,).
        scale: γ, shape (C,).
        shift: β, shape (C,).
        epsilon: ε.
        largest_ratio: r_max, 1 or more, shape ().
        largest_distance: d_max, 0 or more, shape ().

    Returns:
        ẑ, and the batch's mean and unbiased variance for the moving averages.
    """
    mean, variance, count = _batch_statistics(values, torch.ones(len(values), device=values.device))
    typical = (running_variance + epsilon).sqrt()
    ratio = ((variance + epsilon).sqrt() / typical).detach().clamp(1 / largest_ratio, largest_ratio)
    distance = ((mean - running_mean) / typical).detach().clamp(-largest_distance, largest_distance)
    normalized = normalized_in_testing(
        values, mean=mean, variance=variance, scale=scale * ratio, shift=scale * distance + shift, epsilon=epsilon
    )
    return normalized, mean, variance * count / (count - 1).clamp_min(1)


def renormalization_limits(update: Tensor, *, plain: int) -> tuple[Tensor, Tensor]:
    """r_max and d_max after so many updates, as in Ioffe 2017, §4.1: plain batch normalization, then ever less of it.

    r_max = 1 and d_max = 0 for ``plain`` updates; they then rise in straight lines to 3 at 8 and to 5 at 5 times as
    many (5,000, 40,000 and 25,000 in the paper).

    Args:
        update: how many updates have been made, shape ().
        plain: updates of plain batch normalization.
    """
    over = (update / plain - 1).clamp_min(0)
    return 1 + 2 * (over / 7).clamp_max(1), 5 * (over / 4).clamp_max(1)


def layer_normalized(values: Tensor, *, scale: Tensor, shift: Tensor, epsilon: float) -> Tensor:
    """Layer normalization (Ba, Kiros & Hinton 2016, equation 3; lecture chapter 5): over all features of a sample.

    Args:
        values: z, shape (N, C) or (N, C, *places).
        scale: γ, shaped as one sample: every feature has its own.
        shift: β, shaped as one sample.
        epsilon: ε.
    """
    return scale * _standardized(values.flatten(1), epsilon).view_as(values) + shift


def group_normalized(values: Tensor, *, groups: int, scale: Tensor, shift: Tensor, epsilon: float) -> Tensor:
    """Group normalization (Wu & He 2018, equation 7; lecture chapter 5): over the channels of a group and all places.

    One group is layer normalization; as many as channels, instance normalization.

    Args:
        values: z, shape (N, C) or (N, C, *places).
        groups: G, a divisor of C; neighbouring channels share a group.
        scale: γ, shape (C,).
        shift: β, shape (C,).
        epsilon: ε.
    """
    standardized = _standardized(values.reshape(len(values), groups, -1), epsilon).view_as(values)
    return _along(scale, values) * standardized + _along(shift, values)


def instance_normalized(values: Tensor, *, scale: Tensor, shift: Tensor, epsilon: float) -> Tensor:
    """Instance normalization (Ulyanov, Vedaldi & Lempitsky 2016; lecture chapter 5): each channel of each sample.

    Args:
        values: z, shape (N, C, *places).
        scale: γ, shape (C,).
        shift: β, shape (C,).
        epsilon: ε.
    """
    return group_normalized(values, groups=values.shape[1], scale=scale, shift=shift, epsilon=epsilon)


def _standardized(values: Tensor, epsilon: float) -> Tensor:
    """(z − μ) / √(σ² + ε) over the last axis."""
    centred = values - values.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + epsilon).sqrt()


def weight_normalized(direction: Tensor, length: Tensor) -> Tensor:
    """Weight normalization (Salimans & Kingma 2016, equation 2): w = g v/‖v‖ for the weights of each unit.

    Args:
        direction: v, shape (units, ...), of which only the direction counts.
        length: g, shape (units,).
    """
    return _along(length / direction.flatten(1).norm(dim=1), direction, 0) * direction


def spectral_normalized(weight: Tensor, left: Tensor, *, steps: int = 1) -> tuple[Tensor, Tensor]:
    """Spectral normalization (Miyato et al. 2018, algorithm 1): W/σ(W), which stretches no vector.

    v ← Wᵀu/‖Wᵀu‖, u ← Wv/‖Wv‖, σ = uᵀWv: power iteration, from update to update on the same u. No gradient goes
    through u and v, so that ∂σ/∂W = uvᵀ.

    Args:
        weight: W, shape (units, ...), a matrix of one row per unit.
        left: u, shape (units,), what the last call gave; at first any direction.
        steps: of the power iteration, 1 or more.

    Returns:
        W/σ and u.
    """
    matrix = weight.flatten(1)
    still = matrix.detach()
    for _ in range(steps):
        right = F.normalize(still.mT @ left, dim=0)
        left = F.normalize(still @ right, dim=0)
    return weight / (left @ matrix @ right), left


def _along(values: Tensor, like: Tensor, axis: int = 1) -> Tensor:
    """A vector laid along one axis of ``like``, so that it broadcasts."""
    shape = [1] * like.dim()
    shape[axis] = -1
    return values.reshape(shape)
