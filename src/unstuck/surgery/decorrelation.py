"""Decorrelation of a problem's inputs: tables whose features go together, turned back into features of their own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from unstuck.errors import InputError
from unstuck.methods.normalize import FeatureStatistics
from unstuck.problem import Problem
from unstuck.surgery.inputs import CHUNK, SAMPLES, first_inputs

NARROWEST = 1e-4
"""Deviation of a direction over that of the widest, below which it is left as narrow: it may be rounding alone."""


class Decorrelated(nn.Module):
    """A model behind the decorrelation of its first input, (x − μ) W, shape (samples, features)."""

    mean: Tensor
    mixing: Tensor

    def __init__(self, model: nn.Module, *, mean: Tensor, mixing: Tensor) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("mean", mean)
        self.register_buffer("mixing", mixing)
        self.train(model.training)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The model's outputs for decorrelated inputs."""
        if args:
            return self.model(self._decorrelated(args[0]), *args[1:], **kwargs)
        first = next(iter(kwargs))
        return self.model(**{**kwargs, first: self._decorrelated(kwargs[first])})

    def _decorrelated(self, inputs: Tensor) -> Tensor:
        return (inputs - self.mean) @ self.mixing


def decorrelation(table: Tensor) -> tuple[Tensor, Tensor]:
    """μ, shape (features,), and W = D^(−½) C^(−½), shape (features, features), in double precision.

    D holds the variances of the columns, C are their correlations: (x − μ) W has the covariance 1, and of all such
    tables its columns are nearest to the standardized ones (ZCA-cor: Kessy, Lewin & Strimmer 2018, "Optimal whitening
    and decorrelation", equation 14). Directions without extent stay so.

    Args:
        table: shape (rows, features).
    """
    statistics = FeatureStatistics.of([table], axis=1)
    divisor = statistics.divisor(table.dtype)
    standard = (table.double() - statistics.mean) / divisor
    _, extents, directions = torch.linalg.svd(standard / len(table) ** 0.5, full_matrices=False)
    inverse = 1 / extents.clamp_min(NARROWEST * extents[0].clamp_min(torch.finfo(extents.dtype).tiny))
    return statistics.mean, (directions.T * inverse) @ directions / divisor[:, None]


def with_decorrelated_inputs(branch: Problem) -> Problem:
    """The branch's model behind a decorrelation of its first input, fitted on the training data.

    Args:
        branch: is given away.

    Raises:
        InputError: the inputs are no table of finite numbers.
    """
    inputs = first_inputs(branch.data.sample(SAMPLES, chunk=CHUNK, seed=0))
    if inputs is None or inputs.dim() != 2:
        raise InputError(
            "decorrelation: the inputs are no table of finite floating-point numbers; leave it out, or flatten them"
        )
    mean, mixing = decorrelation(inputs)
    model = Decorrelated(branch.model, mean=mean.to(inputs.dtype), mixing=mixing.to(inputs.dtype))
    return branch.changed(model=model.to(branch.device))
