"""Ways to multiply the Hessian of one loss by a vector; each is prepared once and applied many times.

* :class:`KeptGraph`: reverse over reverse (Pearlmutter 1994); the graph of the gradient is built once and kept.
* :class:`Linearized`: forward over reverse; the gradient is linearized once, to a list of linear operations.
* :class:`Differences`: central differences of gradients, for what torch cannot differentiate twice.

Which one serves a model is decided in :mod:`unstuck.curvature.choice`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import ClassVar, Protocol

import torch
from torch import Tensor

FlatLoss = Callable[[Tensor], Tensor]
"""A scalar loss of the flat point, shape (n,)."""

BLOCK = 16
"""Vectors pushed through a kept graph at a time, where calls cost more than arithmetic."""

UNTRACEABLE = frozenset({"MseLossBackward0"})
"""Derivatives whose forward derivative torch cannot trace: the process dies of it (torch 2.13)."""

AGREEMENT = 1e-5
"""Relative difference of two engines' products beyond which only the first is trusted."""


class Engine(Protocol):
    """H v for one loss at one point."""

    rung: ClassVar[str]
    """How products are made, in words."""

    def product(self, vector: Tensor) -> Tensor:
        """H v, shapes (n,)."""

    def block(self, vectors: Tensor) -> Tensor:
        """H times each row, shapes (k, n)."""


class NotTwiceDifferentiable(RuntimeError):
    """Torch refuses the second derivative of a part of the model."""


class KeptGraph:
    """Double backward on a graph that is built once.

    Args:
        loss: the loss of the flat point.
        flat: the point, shape (n,).
        batched: whether blocks of vectors go through the graph together (vmap), which pays for small losses.

    Raises:
        NotTwiceDifferentiable: a place in the graph is marked as not to be differentiated again.
    """

    rung: ClassVar[str] = "double backward"

    def __init__(self, loss: FlatLoss, flat: Tensor, *, batched: bool = False) -> None:
        self._leaf = flat.detach().clone().requires_grad_()
        self._batched = batched
        with torch.enable_grad():
            (self._gradient,) = torch.autograd.grad(
                loss(self._leaf), self._leaf, create_graph=True, materialize_grads=True
            )
        if _refused(self._gradient):
            raise NotTwiceDifferentiable("a part of the model can be differentiated only once")

    def product(self, vector: Tensor) -> Tensor:
        return self._apply(vector, batched=False)

    def block(self, vectors: Tensor) -> Tensor:
        if not self._batched or len(vectors) < 2:
            return torch.stack([self.product(vector) for vector in vectors])
        try:
            together = torch.cat([self._apply(part, batched=True) for part in vectors.split(BLOCK)])
        except (RuntimeError, NotImplementedError) as error:  # no batching rule for a part of the model
            raise_if_out_of_memory(error)
            self._batched = False
            return self.block(vectors)
        if agree(together[0], self.product(vectors[0])):
            return together
        self._batched = False
        return self.block(vectors)

    def _apply(self, vectors: Tensor, *, batched: bool) -> Tensor:
        """∂(gradient · vector)/∂point, zero where the gradient does not depend on the point."""
        if not self._gradient.requires_grad:
            return torch.zeros_like(vectors)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of kept graphs; they are freed with this object
            (product,) = torch.autograd.grad(
                self._gradient,
                self._leaf,
                grad_outputs=vectors,
                retain_graph=True,
                allow_unused=True,
                is_grads_batched=batched,
            )
        return torch.zeros_like(vectors) if product is None else product.detach()


class Linearized:
    """Forward over reverse, linearized once: what does not depend on the vector is computed beforehand.

    Raises:
        NotImplementedError: torch cannot trace a derivative of the loss.
    """

    rung: ClassVar[str] = "linearized gradient"

    def __init__(self, loss: FlatLoss, flat: Tensor) -> None:
        with torch.enable_grad():
            untraceable = UNTRACEABLE & _derivatives(loss(flat.detach().clone().requires_grad_()))
        if untraceable:
            raise NotImplementedError(f"torch cannot linearize {', '.join(sorted(untraceable))}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch's tracer, about its own constants
            _, self._product = torch.func.linearize(torch.func.grad(loss), flat.detach())

    def product(self, vector: Tensor) -> Tensor:
        with torch.no_grad():
            product: Tensor = self._product(vector)
        return product

    def block(self, vectors: Tensor) -> Tensor:
        return torch.stack([self.product(vector) for vector in vectors])


class Differences:
    """Central differences of gradients, with a step that balances truncation and rounding (ε^⅓ · scale).

    Args:
        gradient: flat point → flat gradient.
        flat: the point, shape (n,).
        resolution: relative rounding error of the loss.
    """

    rung: ClassVar[str] = "finite difference"

    def __init__(self, gradient: Callable[[Tensor], Tensor], flat: Tensor, resolution: float) -> None:
        self._gradient, self._flat = gradient, flat.detach()
        size = flat.numel() ** 0.5
        self._step = resolution ** (1 / 3) * max(1.0, float(flat.norm()) / size) * size

    def product(self, vector: Tensor) -> Tensor:
        return self._at(vector, self._step)

    def block(self, vectors: Tensor) -> Tensor:
        return torch.stack([self.product(vector) for vector in vectors])

    def error(self, vector: Tensor) -> float:
        """How far the products with two steps, one twice as long, are apart, relative to the product.

        The truncation error grows fourfold from one to the other and rounding halves, so the difference is
        about three times the error; where a kink is crossed nothing better is known.
        """
        once, twice = self._at(vector, self._step), self._at(vector, 2 * self._step)
        return float((once - twice).norm()) / max(float(once.norm()), torch.finfo(once.dtype).tiny)

    def _at(self, vector: Tensor, step: float) -> Tensor:
        length = float(vector.norm())
        if length == 0.0:
            return torch.zeros_like(vector)
        ahead, behind = (self._gradient(self._flat + side * step / length * vector) for side in (1.0, -1.0))
        product: Tensor = (ahead - behind) / (2.0 * step / length)
        return product


def agree(one: Tensor, other: Tensor) -> bool:
    """Whether two products are the same to ``AGREEMENT`` in norm."""
    return bool((one - other).norm() <= AGREEMENT * other.norm())


def symmetric(engine: Engine, flat: Tensor, resolution: float) -> bool:
    """Whether u·Hv = v·Hu for two random vectors, by far more than rounding."""
    generator = torch.Generator().manual_seed(0)
    u, v = (torch.randn(flat.numel(), generator=generator, device="cpu").to(flat) for _ in range(2))
    across, along = engine.product(u).double(), engine.product(v).double()
    gap = float((u.double() @ along - v.double() @ across).abs())
    return not gap > resolution**0.25 * float(across.norm() + along.norm())


def _refused(gradient: Tensor) -> bool:
    """Whether torch marked a place in the graph as not to be differentiated again.

    It raises only where a derivative passes through the mark; ours would end there, and leave a part out.
    """
    return "torch::autograd::Error" in _derivatives(gradient)


def _derivatives(tensor: Tensor) -> set[str]:
    """The names of all nodes in the graph of a tensor."""
    seen = set()
    waiting = [tensor.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting += [following for following, _ in node.next_functions]
    return {node.name() for node in seen}


def raise_if_out_of_memory(error: Exception) -> None:
    """Lets a lack of memory through: another engine would not need less."""
    if "out of memory" in str(error):
        raise error
