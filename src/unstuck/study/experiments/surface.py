"""Functions of some weights: what gradient and Hessian say of a point, walks, and ways down from a saddle.

Lecture chapter 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.func import grad, hessian, jvp, vmap

from unstuck.methods.update import Rule, gradient_descent, stack, start, step
from unstuck.numerics.krylov import OperatorFromProduct

Function = Callable[[Tensor], Tensor]


def lecture(weights: Tensor) -> Tensor:
    """(1 − w1·w2)²: two linear units one after the other, one sample x = 1 with the target 1. Any number of weights."""
    loss: Tensor = (1.0 - weights.prod(-1)).square()
    return loss


def taylor(function: Function, point: Tensor, move: Tensor) -> Tensor:
    """L(θ) + gᵀΔ + ½ ΔᵀHΔ."""
    value: Tensor = function(point) + grad(function)(point) @ move + 0.5 * move @ hessian(function)(point) @ move
    return value


def hessian_operator(function: Function, point: Tensor) -> OperatorFromProduct:
    """The Hessian, known by its products."""
    return OperatorFromProduct(
        product=lambda vector: jvp(grad(function), (point,), (vector,))[1],
        dimension=len(point),
        dtype=point.dtype,
        device=point.device,
    )


def kind(function: Function, point: Tensor, tolerance: float = 1e-9) -> str:
    """What gradient and Hessian say of a point; what is within the tolerance counts as zero."""
    if float(grad(function)(point).norm()) > tolerance:
        return "no critical point"
    curvatures = torch.linalg.eigvalsh(hessian(function)(point))
    lowest, highest = float(curvatures[0]), float(curvatures[-1])
    if lowest < -tolerance and highest > tolerance:
        return "saddle point"
    if lowest > tolerance:
        return "local minimum"
    return "local maximum" if highest < -tolerance else "undecided"


def departure(generator: torch.Generator) -> float:
    """How far from the closed forms of (1 − w1·w2)² what is computed is, at the saddle, in the valley, and anywhere."""
    at = torch.randn(2, generator=generator, dtype=torch.float64, device="cpu")
    one, two = at.tolist()
    curved = torch.tensor(
        [[2 * two**2, 4 * one * two - 2], [4 * one * two - 2, 2 * one**2]], dtype=torch.float64, device="cpu"
    )
    valley = torch.stack([at[0], 1.0 / at[0]])
    values, vectors = torch.linalg.eigh(hessian(lecture)(torch.zeros_like(at)))
    apart = [
        grad(lecture)(at) + 2.0 * (1.0 - at.prod()) * at.flip(0),
        hessian(lecture)(at) - curved,
        values - torch.tensor([-2.0, 2.0], dtype=torch.float64, device="cpu"),
        vectors.abs() - math.sqrt(0.5),
        vectors[0] * vectors[1] - torch.tensor([0.5, -0.5], dtype=torch.float64, device="cpu"),
        torch.linalg.eigvalsh(hessian(lecture)(valley)) / valley.square().sum() - valley.new_tensor([0.0, 2.0]),
    ]
    return max(float(each.abs().max()) for each in apart)


def known_points() -> list[tuple[str, Function, Tensor]]:
    """Points of which it is known what gradient and Hessian must say."""

    def at(*place: float) -> Tensor:
        return torch.tensor(place, dtype=torch.float64, device="cpu")

    return [
        ("saddle point", lecture, at(0, 0)),
        ("undecided", lecture, at(1, 1)),  # the global minimum: along the valley nothing changes
        ("undecided", lecture, at(0, 0, 0)),
        ("no critical point", lecture, at(1, 2)),
        ("local minimum", lambda w: w.square().sum(), at(0, 0)),
        ("local maximum", lambda w: w.cos().sum(), at(0, 0)),
        ("undecided", lambda w: w[0] ** 3 - 3.0 * w[0] * w[1] ** 2, at(0, 0)),  # a saddle with three ways down
        ("saddle point", lambda w: w[0] ** 2 - w[1] ** 2 + w[2] ** 4, at(0, 0, 0)),
    ]


def remainder_order(generator: torch.Generator) -> float:
    """The power of the distance with which Taylor's second-order polynomial goes wrong: 3."""
    at, move = (torch.randn(2, generator=generator, dtype=torch.float64, device="cpu") for _ in range(2))
    wrong = [float((lecture(at + h * move) - taylor(lecture, at, h * move)).abs()) for h in (2e-3, 1e-3)]
    return math.log2(wrong[0] / wrong[1])


def descend(
    rules: Sequence[Rule], rows: Tensor, gradients: Callable[[Tensor, int], Tensor], losses: Function, *, updates: int,
    below: float = -math.inf,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Walk K points, each by its own rule, until all have a loss below a bound; gives points and losses, (K, …)."""
    rule, rows = stack(rules), rows.clone()
    state, seen = start(rule, rows), [losses(rows)]
    while len(seen) <= updates and bool((seen[-1] > below).any()):
        rows, state = step(rule, state, rows, gradients(rows, len(seen) - 1))
        seen.append(losses(rows))
    return rows, torch.stack(seen, dim=-1)


def updates_until(curve: Tensor, below: float) -> float:
    """Updates after which a loss is below a bound; infinite where it never is."""
    found = (curve <= below).nonzero()
    return float(found[0]) if len(found) else math.inf


def moved_by_samples(origin: Tensor, samples: int, generator: torch.Generator) -> float:
    """How far batches of single samples get from the lecture's saddle, where the gradient of each sample is zero."""
    inputs = torch.randn(samples, generator=generator, dtype=torch.float64, device="cpu")

    def gradients(rows: Tensor, update: int) -> Tensor:
        sample = inputs[update % samples]
        slopes: Tensor = vmap(grad(lambda weights: (sample * (1.0 - weights.prod())).square()))(rows)
        return slopes

    walked, _ = descend([gradient_descent(0.1)], origin[None], gradients, lecture, updates=samples)
    return float(walked.norm())
