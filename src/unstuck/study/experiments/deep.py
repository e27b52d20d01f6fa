"""Deep networks with or without skip connections and normalization.

Lecture chapters 1 and 5.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


class Block(nn.Module):
    """One layer: x ↦ relu(Wx + b), with x added to it or without, normalized before the activation or not."""

    def __init__(self, width: int, skip: bool, normalized: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)
        self.normalization = nn.BatchNorm1d(width) if normalized else nn.Identity()
        self.skip = skip
        nn.init.kaiming_normal_(self.linear.weight, nonlinearity="relu")
        if skip and not normalized:  # else the outputs would double from layer to layer
            with torch.no_grad():
                self.linear.weight.mul_(0.3)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs = torch.relu(self.normalization(self.linear(inputs)))
        return inputs + outputs if self.skip else outputs


def deep(depth: int, width: int, *, skip: bool, normalized: bool) -> Callable[[], nn.Module]:
    """What builds a network of 64 inputs, so many blocks, and 10 outputs."""

    def build() -> nn.Module:
        blocks = [Block(width, skip, normalized) for _ in range(depth)]
        return nn.Sequential(nn.Linear(64, width), *blocks, nn.Linear(width, 10))

    return build
