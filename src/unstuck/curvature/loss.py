"""A loss as a function of the point alone, and its gradient."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from unstuck.vector import Point

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
