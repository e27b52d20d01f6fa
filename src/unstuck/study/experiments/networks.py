"""What most studies train: perceptrons, with the losses of single samples that a fleet asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def perceptron(widths: Sequence[int], activation: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    """Linear layers of these widths, from the inputs to the outputs, with an activation between each two."""
    layers: list[nn.Module] = []
    for inward, outward in pairwise(widths):
        layers += [nn.Linear(inward, outward), activation()]
    return nn.Sequential(*layers[:-1])


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Of each sample, shape (samples,)."""
    return F.cross_entropy(outputs, targets, reduction="none")


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Of each sample the sum over its outputs, shape (samples,)."""
    return (outputs - targets).square().flatten(1).sum(1)


def half_squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """½ ‖f(x) − y‖² of each sample."""
    return 0.5 * squared_error(outputs, targets)


@torch.no_grad()
def accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    """The share of samples whose largest output is their class.

    Args:
        outputs: shape (..., samples, classes); NaN counts as wrong.
        targets: class numbers, shape (samples,).

    Returns:
        Shape (...).
    """
    right = (outputs.argmax(-1) == targets) & outputs.isfinite().all(-1)
    return right.double().mean(-1)
