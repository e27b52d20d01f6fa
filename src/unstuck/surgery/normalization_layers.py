"""Normalization as modules, where torch has none of its own.

Lecture chapter 5.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from unstuck.methods.normalize import (
    FeatureStatistics,
    batch_renormalized,
    feature_normalized,
    moved_average,
    normalized_in_testing,
    renormalization_limits,
)

PLAIN = 100
"""Updates of plain batch normalization before renormalization sets in; 5,000 in the paper's runs of 130,000."""


class Standardized(nn.Module):
    """A model behind the feature normalization of its first input."""

    mean: Tensor
    divisor: Tensor

    def __init__(self, model: nn.Module, statistics: FeatureStatistics, *, axis: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.model = model
        self.axis = axis
        self.register_buffer("mean", statistics.mean.to(dtype))
        self.register_buffer("divisor", statistics.divisor(dtype).to(dtype))
        self.train(model.training)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The model's outputs for normalized inputs."""
        if args:
            return self.model(self._normalized(args[0]), *args[1:], **kwargs)
        first = next(iter(kwargs))
        return self.model(**{**kwargs, first: self._normalized(kwargs[first])})

    def _normalized(self, inputs: Tensor) -> Tensor:
        return feature_normalized(inputs, mean=self.mean, divisor=self.divisor, axis=self.axis)


class BatchRenorm(nn.Module):
    """Batch renormalization of (N, C) or (N, C, *places) with its moving averages (Ioffe 2017)."""

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, channels: int, *, epsilon: float = 1e-5, momentum: float = 0.01, plain: int = PLAIN) -> None:
        super().__init__()
        self.epsilon, self.momentum, self.plain = epsilon, momentum, plain
        self.weight = nn.Parameter(torch.ones(channels, device="cpu"))
        self.bias = nn.Parameter(torch.zeros(channels, device="cpu"))
        self.register_buffer("running_mean", torch.zeros(channels, device="cpu"))
        self.register_buffer("running_var", torch.ones(channels, device="cpu"))
        self.register_buffer("num_batches_tracked", torch.zeros((), dtype=torch.int64, device="cpu"))

    def forward(self, values: Tensor) -> Tensor:
        """Normalized values, in their own type; statistics are in that of the averages."""
        given, values = values, values.to(self.running_mean.dtype)
        scaling = {"scale": self.weight, "shift": self.bias}
        if not self.training:
            averages = {"mean": self.running_mean, "variance": self.running_var}
            return normalized_in_testing(values, **averages, **scaling, epsilon=self.epsilon).to(given.dtype)
        largest_ratio, largest_distance = renormalization_limits(self.num_batches_tracked, plain=self.plain)
        normalized, mean, variance = batch_renormalized(
            values,
            running_mean=self.running_mean,
            running_variance=self.running_var,
            **scaling,
            epsilon=self.epsilon,
            largest_ratio=largest_ratio,
            largest_distance=largest_distance,
        )
        with torch.no_grad():
            for average, statistic in ((self.running_mean, mean), (self.running_var, variance)):
                average.copy_(moved_average(average, statistic, momentum=self.momentum))
            self.num_batches_tracked.add_(1)
        return normalized.to(given.dtype)


class FeaturesLast(nn.Module):
    """A normalization of (N, C), over every place of (N, *places, C): linear layers keep their features last."""

    def __init__(self, normalization: nn.Module) -> None:
        super().__init__()
        self.normalization = normalization

    def forward(self, values: Tensor) -> Tensor:
        """Normalized values, of the same shape."""
        normalized: Tensor = self.normalization(values.flatten(0, -2)).view(values.shape)
        return normalized
