"""Curvature along one direction in double precision: what proves a sign beyond the rounding of a training's type.

For a unit vector v, vᵀHv is the second derivative of the one-dimensional function L(θ + t v) at t = 0. A value
below zero there is a way down at a critical point, whatever made the vector.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unstuck.curvature.engines import raise_if_out_of_memory
from unstuck.curvature.hessian import Part
from unstuck.vector import Point, unflatten


@dataclass(frozen=True, kw_only=True)
class Curvature:
    """vᵀHv for a unit vector v, in double precision; ``rounding`` bounds what arithmetic may have added."""

    value: float
    rounding: float

    @property
    def negative(self) -> bool:
        """Whether it lies below zero beyond rounding: then H has a negative eigenvalue, for certain."""
        return self.value < -self.rounding


def curvature_along(parts: Sequence[Part], point: Mapping[str, Tensor], direction: Tensor, scale: float) -> Curvature:
    """vᵀHv of Σ s_i · L_i, with everything in double precision.

    Args:
        parts: losses that compute in double precision.
        point: θ in double precision.
        direction: v, shape (n,), any length but zero.
        scale: ‖H‖ or an estimate; rounding is counted in units of ε · √n · ‖H‖.

    Raises:
        TypeError: the model computes in a lower precision whatever it is given.
    """
    unit = direction.double() / direction.double().norm()
    along = unflatten(unit, point)
    total = sum(part.share * _second_derivative(part, point, along) for part in parts)
    return Curvature(value=total, rounding=torch.finfo(torch.float64).eps * math.sqrt(len(unit)) * abs(scale))


def _second_derivative(part: Part, point: Mapping[str, Tensor], along: Point) -> float:
    """d²L(θ + t v)/dt² at t = 0: forward mode twice, or two passes back where a part of the model has none."""
    first = next(iter(point.values()))

    def line(t: Tensor) -> Tensor:
        return part.loss({name: tensor + t * along[name] for name, tensor in point.items()})

    def slope(t: Tensor) -> Tensor:
        found: Tensor = torch.func.jvp(line, (t,), (torch.ones_like(t),))[1]
        return found

    zero = torch.zeros((), dtype=torch.float64, device=first.device)
    try:
        value, second = torch.func.jvp(slope, (zero,), (torch.ones_like(zero),))[:2]
    except (RuntimeError, NotImplementedError) as error:
        raise_if_out_of_memory(error)
        value, second = _by_two_passes_back(line, zero)
    if value.dtype != torch.float64:
        raise TypeError(f"the loss comes in {value.dtype} although all is given in double precision")
    return float(second)


def _by_two_passes_back(line: Callable[[Tensor], Tensor], zero: Tensor) -> tuple[Tensor, Tensor]:
    t = zero.clone().requires_grad_()
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(line(t), t, create_graph=True, materialize_grads=True)
        if not slope.requires_grad:
            return slope, torch.zeros_like(slope)
        (second,) = torch.autograd.grad(slope, t, materialize_grads=True)
    return slope.detach(), second
