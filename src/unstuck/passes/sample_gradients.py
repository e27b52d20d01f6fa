"""The gradient of each sample of a batch, of which the batch's gradient is the mean.

They are made all at once by ``vmap``, or one by one. Either way is trusted only after the mean over a few samples was
found to be the gradient of their batch, which it is not where samples meet (batch normalization), nor where the loss is
no mean over samples.

Lecture chapter 2.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from unstuck.curvature.engines import raise_if_out_of_memory
from unstuck.data import Batch, first_samples, map_tensors, samples_at, samples_in, tensors_of
from unstuck.problem import Mode, Problem
from unstuck.untouched import derived_seed
from unstuck.vector import Point, dot

TRIED = 4
"""Samples on which a way is tried."""

AGREEMENT = 0.01
"""Of the size of a sample's gradient: so far the mean may lie from the gradient of the batch, or eight rounding errors
where these are larger. Statistics of a batch move it by far more."""


def sample_gradients(problem: Problem, point: Point, batch: Batch, *, way: str, seed: int) -> Point:
    """∂L/∂θ at ``point`` for each of the batch's k samples, each tensor with k in front of its shape.

    Args:
        problem: whose loss; training mode, purely.
        point: θ.
        batch: k samples.
        way: as :func:`way_for` has found.
        seed: of the dropout masks, which differ from sample to sample.
    """
    return _WAYS[way](problem, point, batch, "training", seed)


def way_for(problem: Problem, point: Point, batch: Batch) -> str | None:
    """How single gradients can be made: "vmap", "one by one", or not at all (None)."""
    few = first_samples(batch, TRIED)
    whole = problem.gradient_at(point, few, mode="measuring")
    resolution = torch.finfo(problem.precision or next(iter(point.values())).dtype).eps
    for name, gradients in _WAYS.items():
        try:
            singles = gradients(problem, point, few, "measuring", 0)
        except Exception as error:  # noqa: BLE001 - a model may refuse, in any way
            raise_if_out_of_memory(error)
            continue
        gap = {name: rows.mean(0) - whole[name] for name, rows in singles.items()}
        size = dot(singles, singles) / samples_in(few)
        if dot(gap, gap) <= max(AGREEMENT, 8 * resolution) ** 2 * size:
            return name
    return None


def _by_vmap(problem: Problem, point: Point, batch: Batch, mode: Mode, seed: int) -> Point:
    if problem.sharded:
        raise NotImplementedError("the parameters of a sharded model are not in one place")
    length = samples_in(batch)

    def of_each(tensor: Tensor) -> bool:
        return tensor.dim() > 0 and len(tensor) == length

    def loss(at: Point, *samples: Tensor) -> Tensor:
        left = iter(samples)
        alone = map_tensors(lambda tensor: next(left)[None] if of_each(tensor) else tensor, batch)
        return problem.loss_at(at, alone, mode=mode, seed=seed)

    given = [tensor for tensor in tensors_of(batch) if of_each(tensor)]
    along = (None, *(0 for _ in given))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of operations that it runs sample by sample
        found: Point = torch.vmap(torch.func.grad(loss), in_dims=along, randomness="different")(point, *given)
    return {name: rows.detach() for name, rows in found.items()}


def _one_by_one(problem: Problem, point: Point, batch: Batch, mode: Mode, seed: int) -> Point:
    found = [
        problem.gradient_at(
            point, samples_at(batch, slice(place, place + 1)), mode=mode, seed=derived_seed(seed, place)
        )
        for place in range(samples_in(batch))
    ]
    return {name: torch.stack([gradient[name] for gradient in found]) for name in point}


_WAYS: Mapping[str, Callable[[Problem, Point, Batch, Mode, int], Point]] = MappingProxyType(
    {"vmap": _by_vmap, "one by one": _one_by_one}
)
