"""A point θ: the trainable parameters by name, and as one flat vector."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

Point = dict[str, Tensor]
"""The trainable parameters of a model by name, detached from it."""


def flatten(point: Mapping[str, Tensor]) -> Tensor:
    """All entries of a point as one vector of shape (n,), in the point's own order."""
    return torch.cat([tensor.reshape(-1) for tensor in point.values()])


def unflatten(flat: Tensor, like: Mapping[str, Tensor]) -> Point:
    """The inverse of :func:`flatten`: pieces of ``flat`` (shape (n,)) with the names, shapes and types of ``like``."""
    pieces = torch.split(flat, [tensor.numel() for tensor in like.values()])
    return {name: piece.view_as(tensor).to(tensor) for (name, tensor), piece in zip(like.items(), pieces, strict=True)}


def moved(point: Mapping[str, Tensor], direction: Mapping[str, Tensor], length: float) -> Point:
    """The point θ + length · direction."""
    return {name: tensor + length * direction[name] for name, tensor in point.items()}


def widened(tensor: Tensor) -> Tensor:
    """The tensor in double precision where it holds real numbers; others as they are."""
    return tensor.double() if tensor.is_floating_point() else tensor


def by_layer(point: Mapping[str, Tensor]) -> dict[str, Point]:
    """The parameters of each module that has its own, by the module's name."""
    layers: dict[str, Point] = {}
    for name, tensor in point.items():
        layers.setdefault(name.rpartition(".")[0] or "the model", {})[name] = tensor
    return layers


def dot(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> float:
    """The inner product of two points, summed in double precision."""
    return sum(float((left[name].double() * right[name].double()).sum()) for name in left)


def norm(point: Mapping[str, Tensor]) -> float:
    """The Euclidean norm of a point."""
    return float(dot(point, point) ** 0.5)


def weighted_mean(found: Iterable[tuple[float, float]]) -> float:
    """Σ wᵢ xᵢ / Σ wᵢ of pairs (wᵢ, xᵢ), added in their order."""
    total = weights = 0.0
    for weight, value in found:
        total += weight * value
        weights += weight
    return total / weights
