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

from unstuck.curvature.hessian import Part
from unstuck.vector import unflatten

Line = Callable[[Tensor], Tensor]
"""t → L(θ + t v)."""


@dataclass(frozen=True, kw_only=True)
class Curvature:
    """vᵀHv for a unit vector v, in double precision; ``rounding`` bounds what arithmetic may have added."""

    value: float
    rounding: float

    @property
    def negative(self) -> bool:
        """Whether it lies below zero beyond rounding: then H has a negative eigenvalue, for certain."""
        return self.value < -self.rounding


def curvature_along(
    parts: Sequence[Part], point: Mapping[str, Tensor], direction: Tensor, *, scale: float
) -> Curvature:
    """vᵀHv of Σ s_i · L_i, with everything in double precision, at the price of about five gradients.

    Two passes back. Forward mode applied twice costs twice as much where it was measured, and is wrong for some
    operations (normalization layers, as of torch 2.13).

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

    def line(part: Part) -> Line:
        return lambda t: part.loss({name: tensor + t * along[name] for name, tensor in point.items()})

    total = sum(part.share * _second_derivative(line(part), unit.device) for part in parts)
    return Curvature(value=total, rounding=torch.finfo(torch.float64).eps * math.sqrt(len(unit)) * abs(scale))


def _second_derivative(line: Line, device: torch.device) -> float:
    """d²L(θ + t v)/dt² at t = 0."""
    t = torch.zeros((), dtype=torch.float64, device=device, requires_grad=True)
    with torch.enable_grad():
        loss = line(t)
        if loss.dtype != torch.float64:
            raise TypeError(f"the loss comes in {loss.dtype} although all is given in double precision")
        (slope,) = torch.autograd.grad(loss, t, create_graph=True, materialize_grads=True)
        if not slope.requires_grad:
            return 0.0
        (second,) = torch.autograd.grad(slope, t, materialize_grads=True)
    return float(second)
