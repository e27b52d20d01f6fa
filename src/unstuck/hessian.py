"""The Hessian of a loss at a point, as an operator: ``hessian @ vector``.

The second-order graph is built once per batch and re-applied for every vector (Pearlmutter 1994, by reverse
over reverse differentiation). Where a part of the model has no second derivative in torch, or one that is not
symmetric and hence wrong (weight norm on the CPU, as of torch 2.13), products fall back to central differences of
gradients, and :attr:`Hessian.rung` says so.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from unstuck.vector import Point, flatten, unflatten

Loss = Callable[[Point], Tensor]
"""A scalar loss as a function of the point alone: the batch, the masks and the buffers are fixed."""


def gradient_of(loss: Loss, point: Mapping[str, Tensor]) -> tuple[float, Point]:
    """The loss at ``point`` and its gradient; parameters that the loss does not reach get zeros."""
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in point.items()}
    with torch.enable_grad():
        value = loss(leaves)
        inputs = list(leaves.values())
        pieces = torch.autograd.grad(value, inputs, allow_unused=True) if value.requires_grad else [None] * len(inputs)
    gradient = {
        name: torch.zeros_like(leaf) if piece is None else piece.detach().to_dense()
        for (name, leaf), piece in zip(leaves.items(), pieces, strict=True)
    }
    return float(value.detach()), gradient


class Hessian:
    """The Hessian of Σ w_i · L_i(θ) at one point.

    Args:
        losses: one loss per batch, as functions of the point.
        weights: the weight of each, summing to one (samples in the batch / samples in all).
        point: θ, where the second derivatives are taken.
        resolution: relative rounding error of the losses; by default that of the vectors' type.

    ``hessian @ v`` takes and gives vectors of shape (n,), n the number of trainable parameters, in the
    point's order. ``products`` counts them.
    """

    def __init__(
        self,
        losses: Sequence[Loss],
        weights: Sequence[float],
        point: Mapping[str, Tensor],
        resolution: float | None = None,
    ) -> None:
        self._losses = tuple(losses)
        self._weights = tuple(weights)
        self._like = {name: tensor.detach() for name, tensor in point.items()}
        self._flat = flatten(self._like)
        self.dimension = self._flat.numel()
        self.products = 0
        self._resolution = resolution or torch.finfo(self.dtype).eps
        self._graphs = self._build()
        self.rung = "double backward" if self._graphs else "finite difference"

    @property
    def dtype(self) -> torch.dtype:
        """The type of the vectors."""
        return self._flat.dtype

    @property
    def device(self) -> torch.device:
        """Where the vectors live."""
        return self._flat.device

    def _build(self) -> list[tuple[Tensor, Tensor]]:
        """The gradient of each batch with its graph; empty where torch cannot differentiate it again, or wrongly."""
        graphs: list[tuple[Tensor, Tensor]] = []
        try:
            for loss, weight in zip(self._losses, self._weights, strict=True):
                leaf = self._flat.clone().requires_grad_()
                with torch.enable_grad():
                    value = weight * loss(unflatten(leaf, self._like))
                    (gradient,) = torch.autograd.grad(value, leaf, create_graph=True)
                graphs.append((leaf, gradient))
            return graphs if not _refused(graphs[0][1]) and self._symmetric(*graphs[0]) else []
        except (RuntimeError, NotImplementedError) as error:
            if "out of memory" in str(error):
                raise
            return []

    def _symmetric(self, leaf: Tensor, gradient: Tensor) -> bool:
        """Whether u·Hv = v·Hu for two random vectors, by far more than rounding."""
        generator = torch.Generator().manual_seed(0)
        u, v = (torch.randn(self.dimension, generator=generator, device="cpu").to(leaf) for _ in range(2))
        across, along = _second(leaf, gradient, u), _second(leaf, gradient, v)
        gap = float((u.double() @ along.double() - v.double() @ across.double()).abs())
        return not gap > self._resolution**0.25 * float(across.double().norm() + along.double().norm())

    def __matmul__(self, vector: Tensor) -> Tensor:
        self.products += 1
        if not self._graphs:
            return self._difference(vector)
        total = torch.zeros_like(self._flat)
        for leaf, gradient in self._graphs:
            total += _second(leaf, gradient, vector)
        return total

    def _difference(self, vector: Tensor) -> Tensor:
        """Central difference of gradients; the step balances truncation and rounding (ε^⅓ · scale)."""
        length = float(vector.norm())
        if length == 0.0:
            return torch.zeros_like(vector)
        scale = max(1.0, float(self._flat.norm()) / self.dimension**0.5)
        step = self._resolution ** (1 / 3) * scale * self.dimension**0.5 / length
        ahead, behind = (self._gradient(self._flat + side * step * vector) for side in (1.0, -1.0))
        product: Tensor = (ahead - behind) / (2.0 * step)
        return product

    def _gradient(self, flat: Tensor) -> Tensor:
        total = torch.zeros_like(flat)
        for loss, weight in zip(self._losses, self._weights, strict=True):
            total += weight * flatten(gradient_of(loss, unflatten(flat, self._like))[1])
        return total


def _refused(gradient: Tensor) -> bool:
    """Whether torch marked a place in the graph as not to be differentiated again.

    It raises only where a derivative passes through the mark; ours would end there, and leave a part out.
    """
    seen: set[Any] = set()
    waiting = [gradient.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting += [following for following, _ in node.next_functions]
    return any(node.name() == "torch::autograd::Error" for node in seen)


def _second(leaf: Tensor, gradient: Tensor, vector: Tensor) -> Tensor:
    """∂(gradient · vector)/∂leaf, zero where the gradient does not depend on the point."""
    if not gradient.requires_grad:
        return torch.zeros_like(leaf)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of kept graphs; they are freed with this object
        (product,) = torch.autograd.grad(gradient, leaf, grad_outputs=vector, retain_graph=True, allow_unused=True)
    return torch.zeros_like(leaf) if product is None else product.detach()


class Preconditioned:
    """P^(−1/2) H P^(−1/2) for a diagonal P = diag(σ): the curvature that a rule dividing by σ walks on.

    Args:
        hessian: H.
        sigma: the diagonal of P, shape (n,), positive.
    """

    def __init__(self, hessian: Hessian, sigma: Tensor) -> None:
        self._hessian = hessian
        self._root = sigma.rsqrt()
        self.dimension = hessian.dimension
        self.dtype = hessian.dtype
        self.device = hessian.device

    def __matmul__(self, vector: Tensor) -> Tensor:
        return self._root * (self._hessian @ (self._root * vector))
