"""The generalized Gauss–Newton matrix: the part of the Hessian that a model linear in its parameters would have."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unstuck.errors import InputError
from unstuck.vector import Point, flatten, unflatten


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One batch: point → (loss, the model's outputs), its share of the whole."""

    run: Callable[[Point], tuple[Tensor, object]]
    share: float


@dataclass(frozen=True, kw_only=True, eq=False)
class _Graph:
    """What is kept of one batch: outputs z(θ), the loss's slope ∂L/∂z, and Jᵀu as a function of u."""

    leaf: Tensor
    outputs: Tensor
    slope: Tensor
    seed: Tensor
    pulled: Tensor
    share: float


class GaussNewton:
    """G = Σ s_i · Jᵀ (∂²L/∂z²) J, with J = ∂z/∂θ the Jacobian of the model's outputs (Schraudolph 2002).

    G is positive semi-definite where the loss is convex in the outputs; H − G is the curvature of the model
    itself. ``operator @ v`` takes and gives vectors of shape (n,).

    Args:
        passes: one per batch, shares summing to one.
        point: θ.

    Raises:
        InputError: the model gives no single tensor of outputs that the loss is a function of.
    """

    def __init__(self, passes: Sequence[Pass], point: Mapping[str, Tensor]) -> None:
        like = {name: tensor.detach() for name, tensor in point.items()}
        self._flat = flatten(like)
        self.dimension = self._flat.numel()
        self.products = 0
        self._graphs = [_graph(each, self._flat, like) for each in passes]

    @property
    def dtype(self) -> torch.dtype:
        """The type of the vectors."""
        return self._flat.dtype

    @property
    def device(self) -> torch.device:
        """Where the vectors live."""
        return self._flat.device

    def __matmul__(self, vector: Tensor) -> Tensor:
        self.products += 1
        total = torch.zeros_like(self._flat)
        for graph in self._graphs:
            # J v is the derivative of Jᵀu by u, applied to v: two passes back instead of one forward.
            (pushed,) = _grad(graph.pulled, graph.seed, vector)
            (curved,) = _grad(graph.slope, graph.outputs, pushed)
            (product,) = _grad(graph.outputs, graph.leaf, curved)
            total += graph.share * product
        return total

    def block(self, vectors: Tensor) -> Tensor:
        """The product with each row of a (k, n) matrix."""
        return torch.stack([self @ vector for vector in vectors])


def _graph(given: Pass, flat: Tensor, like: Mapping[str, Tensor]) -> _Graph:
    leaf = flat.detach().clone().requires_grad_()
    with torch.enable_grad():
        loss, outputs = given.run(unflatten(leaf, like))
        if not isinstance(outputs, Tensor) or not outputs.requires_grad:
            raise InputError(
                "the Gauss-Newton matrix needs a model that gives one tensor, and a loss of (outputs, targets); "
                "this model gives something else, or its `step` computes the loss"
            )
        (slope,) = torch.autograd.grad(loss, outputs, create_graph=True, allow_unused=True, materialize_grads=True)
        seed = torch.zeros_like(outputs, requires_grad=True)
        (pulled,) = torch.autograd.grad(outputs, leaf, seed, create_graph=True)
    return _Graph(leaf=leaf, outputs=outputs, slope=slope, seed=seed, pulled=pulled, share=given.share)


def _grad(outputs: Tensor, inputs: Tensor, vector: Tensor) -> tuple[Tensor]:
    if not outputs.requires_grad:
        return (torch.zeros_like(inputs),)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of kept graphs; they are freed with the operator
        (found,) = torch.autograd.grad(
            outputs, inputs, vector, retain_graph=True, allow_unused=True, materialize_grads=True
        )
    return (found.detach(),)
