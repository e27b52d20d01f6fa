"""Feature normalization of a problem's inputs: which tensor and which axis, and the model behind it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from unstuck.data import tensors_of
from unstuck.errors import InputError
from unstuck.forward import split
from unstuck.methods.normalize import FeatureStatistics
from unstuck.problem import Problem
from unstuck.surgery.normalization_layers import Standardized

SAMPLES, CHUNK = 4_096, 256
"""Samples over which means and deviations are taken, and how many of them are made double at once."""


def first_input(batch: Any) -> Tensor | None:
    """The first input tensor, if it holds floating-point numbers and more than one axis."""
    found = tensors_of(split(batch)[0])
    return found[0] if found and found[0].is_floating_point() and found[0].dim() > 1 else None


def first_inputs(batches: Iterable[Any]) -> Tensor | None:
    """The first inputs of all batches that are shaped as those of the first, without samples that are not finite."""
    found = [part for part in map(first_input, batches) if part is not None]
    if not found:
        return None
    inputs = torch.cat([part for part in found if part.shape[1:] == found[0].shape[1:]])
    finite = inputs[torch.isfinite(inputs).flatten(1).all(1)]
    return finite if len(finite) else None


def feature_axis(inputs: Tensor) -> int:
    """Which axis counts features: columns of a table, channels of an image.

    For three axes (sequences) there is no convention; the one along which the size varies most is taken.
    """
    if inputs.dim() != 3:
        return 1
    spread = {}
    for axis in (2, 1):
        size = FeatureStatistics.of([inputs], axis=axis).deviation
        spread[axis] = float(size.max() / size.clamp_min(1e-12).min())
    return max(spread, key=lambda axis: spread[axis])


def with_normalized_inputs(branch: Problem, *, axis: int | None = None) -> Problem:
    """The branch's model behind a normalization of its first input, fitted on the training data.

    Args:
        branch: is given away.
        axis: along which features are counted; by default as :func:`feature_axis` finds.

    Raises:
        InputError: the inputs are no table of finite numbers.
    """
    parts = [first_inputs([batch]) for batch in branch.data.sample(SAMPLES, chunk=CHUNK, seed=0)]
    inputs = [part for part in parts if part is not None]
    if not inputs:
        raise InputError(
            "feature normalization: the inputs hold no finite floating-point numbers; leave it out, or convert them"
        )
    along = feature_axis(inputs[0]) if axis is None else axis
    alike = [part for part in inputs if part.shape[along] == inputs[0].shape[along]]
    model = Standardized(branch.model, FeatureStatistics.of(alike, axis=along), axis=along, dtype=inputs[0].dtype)
    return branch.changed(model=model.to(branch.device))
