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
from unstuck.vector import unflatten

AGREEMENT = 1e-6
"""Relative difference of the two modes beyond which reverse mode is used."""

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
    parts: Sequence[Part], point: Mapping[str, Tensor], direction: Tensor, *, scale: float, rehearsal: Part
) -> Curvature:
    """vᵀHv of Σ s_i · L_i, with everything in double precision.

    Forward mode applied twice is the cheaper way, and wrong for some operations (normalization layers, as of
    torch 2.13); it is used after it agreed with reverse mode on the rehearsal.

    Args:
        parts: losses that compute in double precision.
        point: θ in double precision.
        direction: v, shape (n,), any length but zero.
        scale: ‖H‖ or an estimate; rounding is counted in units of ε · √n · ‖H‖.
        rehearsal: the loss of a few samples.

    Raises:
        TypeError: the model computes in a lower precision whatever it is given.
    """
    unit = direction.double() / direction.double().norm()
    along = unflatten(unit, point)
    zero = torch.zeros((), dtype=torch.float64, device=unit.device)

    def line(part: Part) -> Line:
        return lambda t: part.loss({name: tensor + t * along[name] for name, tensor in point.items()})

    second = _forward if _agree(line(rehearsal), zero) else _reverse
    total = sum(part.share * second(line(part), zero) for part in parts)
    return Curvature(value=total, rounding=torch.finfo(torch.float64).eps * math.sqrt(len(unit)) * abs(scale))


def _agree(line: Line, zero: Tensor) -> bool:
    """Whether forward mode twice gives what reverse mode twice gives."""
    try:
        return math.isclose(_forward(line, zero), _reverse(line, zero), rel_tol=AGREEMENT)
    except (RuntimeError, NotImplementedError) as error:  # forward mode knows fewer operations
        raise_if_out_of_memory(error)
        return False


def _forward(line: Line, zero: Tensor) -> float:
    """d²L/dt² at t = 0 by forward mode over forward mode."""
    one = torch.ones_like(zero)

    def slope(t: Tensor) -> Tensor:
        found: Tensor = torch.func.jvp(line, (t,), (one,))[1]
        return found

    return float(_double(torch.func.jvp(slope, (zero,), (one,))[1]))


def _reverse(line: Line, zero: Tensor) -> float:
    """d²L/dt² at t = 0 by two passes back."""
    t = zero.clone().requires_grad_()
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(_double(line(t)), t, create_graph=True, materialize_grads=True)
        if not slope.requires_grad:
            return 0.0
        (second,) = torch.autograd.grad(slope, t, materialize_grads=True)
    return float(second)


def _double(value: Tensor) -> Tensor:
    if value.dtype != torch.float64:
        raise TypeError(f"the loss comes in {value.dtype} although all is given in double precision")
    return value
