"""The lecture's surface: the loss of one sample over two logits, of which the first is that of the right class.

Of three classes the third has no chance. With p1 = 1 / (1 + e^(y2 − y1)) cross-entropy has the gradient
(p1 − 1, 1 − p1) in (y1, y2), and the squared error Σ (p − ŷ)² has 4 p1 (1 − p1)² (−1, 1).

Lecture chapter 4.
"""

from __future__ import annotations

import torch
from torch import Tensor

from unstuck.methods.loss import LOSSES, Loss

ENTROPY, SQUARES = LOSSES["cross-entropy"], LOSSES["squared-error-on-softmax"]

NO_CHANCE = -1_000.0
"""The third logit."""


def logits_of(at: Tensor) -> Tensor:
    """(y1, y2) of shape (k, 2) → all three logits."""
    return torch.cat([at, torch.full_like(at[:, :1], NO_CHANCE)], dim=1)


def wanted(at: Tensor) -> Tensor:
    """Class 1 of three, for each point."""
    return torch.eye(3, dtype=at.dtype, device="cpu")[0].expand(len(at), 3)


def slope(loss: Loss, at: Tensor) -> Tensor:
    """The gradient in (y1, y2), shape (k, 2)."""
    slopes: Tensor = loss.slope(logits_of(at), wanted(at))[:, :2]
    return slopes


def closed_forms(generator: torch.Generator) -> float:
    """How far gradients by autograd, at 100 places, are from the formulas, and the curvature of cross-entropy."""
    at = (20.0 * torch.rand(100, 2, generator=generator, dtype=torch.float64, device="cpu") - 10.0).requires_grad_()
    share = torch.sigmoid(at[:, 0] - at[:, 1]).detach()
    apart = []
    for loss, size in ((ENTROPY, 1 - share), (SQUARES, 4 * share * (1 - share).square())):
        (found,) = torch.autograd.grad(loss.error(logits_of(at), wanted(at)).sum(), at)
        apart.append((found - torch.stack([-size, size], dim=1)).abs().max())
    row = torch.randn(1, 10, generator=generator, dtype=torch.float64, device="cpu")
    one = torch.eye(10, dtype=torch.float64, device="cpu")[:1]
    curved = torch.func.hessian(lambda logits: ENTROPY.error(logits, one)[0])(row)[0, :, 0]
    shares = row.softmax(1)[0]
    apart += [(curved - (shares.diag() - shares.outer(shares))).abs().max(), curved.sum(1).abs().max()]
    return float(torch.stack(apart).max())


def steeper(first: float, second: float) -> float:
    """How many times the slope of the squared error that of cross-entropy is."""
    at = torch.tensor([[first, second]], dtype=torch.float64, device="cpu")
    return float(slope(ENTROPY, at).norm() / slope(SQUARES, at).norm())


def steepest() -> float:
    """The largest part of the gradient of the squared error over y1 − y2; 16/27, where p1 = 1/3."""
    apart = torch.linspace(-10.0, 10.0, 20_001, dtype=torch.float64, device="cpu")[:, None]
    return float(slope(SQUARES, torch.cat([apart / 2, -apart / 2], dim=1)).abs().max())


def heights(loss: Loss, at: Tensor) -> Tensor:
    """The loss at points of shape (k, 2), shape (k,)."""
    errors: Tensor = loss.error(logits_of(at), wanted(at))
    return errors
