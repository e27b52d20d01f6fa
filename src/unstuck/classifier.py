"""A small classifier, its data and its network: what built-in problems are variations of.

All are built under a seed of their own; the process-wide generators do not notice.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from unstuck.problem import Problem
from unstuck.untouched import seeded

FEATURES, CLASSES, SAMPLES = 20, 4, 1_024


def table(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Standard normal features, shape (1024, 20), and the class, of four, that a fixed random network gives them."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(SAMPLES, FEATURES, generator=generator)
    hidden = torch.tanh(inputs @ torch.randn(FEATURES, 12, generator=generator) / 2)
    return inputs, (hidden @ torch.randn(12, CLASSES, generator=generator)).argmax(1)


def perceptron(*last: nn.Module, hidden: int = 32, seed: int = 0) -> nn.Sequential:
    """20 features → ``hidden`` tanh units, twice → 4 scores, with torch's own initialization."""
    with seeded(seed):
        return nn.Sequential(
            nn.Linear(FEATURES, hidden),
            nn.Tanh(),
            nn.Linear(hidden, hidden),
            nn.Tanh(),
            nn.Linear(hidden, CLASSES),
            *last,
        )


def stacked(activation: Callable[[], nn.Module], layers: int) -> nn.Sequential:
    """Linear layers with an activation between each two, and torch's own initialization."""
    widths = [FEATURES, *[32] * (layers - 1), CLASSES]
    made: list[nn.Module] = []
    with seeded(0):
        for inward, outward in pairwise(widths):
            made += [nn.Linear(inward, outward), activation()]
    return nn.Sequential(*made[:-1])


def loader(inputs: Tensor, targets: Tensor, batch: int = 32) -> DataLoader[Any]:
    """A shuffled loader."""
    return DataLoader(TensorDataset(inputs, targets), batch_size=batch, shuffle=True)


def classifier(name: str, *, rate: float = 0.1, momentum: float = 0.9, **changes: Any) -> Problem:
    """The healthy classifier with some fields exchanged."""
    inputs, targets = table()
    model = changes.pop("model", None) or perceptron()
    fields: dict[str, Any] = {
        "model": model,
        "loss": nn.CrossEntropyLoss(),
        "train": loader(inputs, targets),
        "optimizer": torch.optim.SGD(model.parameters(), lr=rate, momentum=momentum),
        "name": name,
    }
    return Problem(**{**fields, **changes})
