"""Directions in which a loss is looked at: random ones in the units of the weights, and those that a walk took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unstuck.vector import Point


def is_filter(model: nn.Module, name: str) -> bool:
    """Whether a parameter holds incoming weights of units: neither a bias nor part of a normalization layer."""
    layer, _, kind = name.rpartition(".")
    return "bias" not in kind and "norm" not in type(model.get_submodule(layer)).__name__.lower()


def filter_normalized(model: nn.Module, point: Mapping[str, Tensor], generator: torch.Generator) -> Point:
    """A Gaussian direction in which each unit moves in proportion to its own weights.

    d_i ← d_i / ‖d_i‖ · ‖θ_i‖ for the incoming weights of each unit i, the rows of a weight's first axis; biases and
    normalization layers stand still (Li et al. 2018, "Visualizing the loss landscape of neural nets", section 4). A
    vector or a number is one unit. Where layers are rescaled without changing the function, it changes with them.
    """
    direction: Point = {}
    for name, tensor in point.items():
        drawn = torch.randn(tensor.shape, generator=generator, dtype=torch.float64, device="cpu")
        if not is_filter(model, name):
            direction[name] = torch.zeros_like(tensor)
            continue
        random, weights = (_by_unit(part) for part in (drawn, tensor.double().cpu()))
        scaled = random * weights.norm(dim=1, keepdim=True) / random.norm(dim=1, keepdim=True)
        direction[name] = scaled.view(tensor.shape).to(tensor)
    return direction


def _by_unit(tensor: Tensor) -> Tensor:
    """The weights of one unit a row."""
    return tensor.flatten(1) if tensor.dim() > 1 else tensor.reshape(1, -1)


@dataclass(frozen=True, kw_only=True)
class PrincipalPlane:
    """The plane that lies nearest to the points of a walk, in the mean square, among those through its start.

    Attributes:
        axes: two orthonormal vectors, shape (2, n), that of the larger share first.
        coordinates: of every point of the walk on them, shape (points, 2).
        shares: of the squared distances from the start, explained by each axis.
    """

    axes: Tensor
    coordinates: Tensor
    shares: tuple[float, float]


def principal_plane(displacements: Sequence[Tensor]) -> PrincipalPlane | None:
    """The plane of the first two principal components of a walk; None where it went along a line, or nowhere.

    Components are those of θ_t − θ_0, not centred, so that the plane holds θ_0 itself (Li et al. 2018, section 7,
    take θ_t − θ_end). Each points to where the walk went.

    Args:
        displacements: θ_t − θ_0 for each point, shape (n,).
    """
    walk = torch.stack([displacement.double() for displacement in displacements])
    # The inner products of all points: as small as the walk is long.
    values, vectors = torch.linalg.eigh(walk @ walk.T)
    squares = values.clamp(min=0.0)
    if len(squares) < 2 or float(squares[-2]) <= 1e-12 * float(squares.sum()):
        return None
    axes = torch.stack([vectors[:, -k] @ walk / squares[-k].sqrt() for k in (1, 2)])
    axes = axes * torch.where((axes @ walk[-1]) < 0, -1.0, 1.0)[:, None]
    shares = squares / squares.sum()
    return PrincipalPlane(axes=axes, coordinates=walk @ axes.T, shares=(float(shares[-1]), float(shares[-2])))
