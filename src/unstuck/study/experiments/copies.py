"""A small network on small digits, and critical points of it that are known: those where hidden units are copies.

Where several hidden units have the same weights on both sides, they have the same gradient, so that a minimum among the
networks with such copies is a critical point of all networks (Fukumizu and Amari 2000, "Local minima and plateaus in
hierarchical structures of multilayer perceptrons").

Lecture chapter 1.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unstuck.datasets import load
from unstuck.fleet_network import Network
from unstuck.methods.update import heavy_ball
from unstuck.study.experiments.curved import Curved, mean_loss
from unstuck.study.experiments.networks import cross_entropy, perceptron
from unstuck.study.experiments.surface import Function, descend

SAMPLES = 256

HIDDEN, CLASSES = 4, 10

POLISH = 50
"""Saddle-free steps to its minimum."""

DECAY = 3e-3
"""Of the weights, where units are alike: it keeps their critical point from lying at infinity."""


def some_digits(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Some of the digits, of 8 × 8 pixels, and their classes."""
    digits = load("digits")
    chosen = torch.randperm(len(digits.inputs), generator=generator, device="cpu")[:SAMPLES]
    return digits.inputs[chosen].double(), digits.targets[chosen]


def smaller(inputs: Tensor) -> Tensor:
    """Of 4 × 4 pixels, standardized."""
    pixels = F.avg_pool2d(inputs.view(-1, 1, 8, 8), 2).flatten(1)
    return (pixels - pixels.mean(0)) / pixels.std(0)


def small_network() -> nn.Module:
    return perceptron((16, HIDDEN, CLASSES), nn.Tanh).double()


def untrained(generator: torch.Generator) -> Tensor:
    """A network as it is built, up to its biases, shape (n,)."""
    inward, outward = (
        (2.0 * torch.rand(size, generator=generator, dtype=torch.float64, device="cpu") - 1.0) / math.sqrt(size[1])
        for size in ((HIDDEN, 16), (CLASSES, HIDDEN))
    )
    return torch.cat([inward.flatten(), inward.new_zeros(HIDDEN), outward.flatten(), inward.new_zeros(CLASSES)])


def decayed_loss(generator: torch.Generator) -> Function:
    """Cross-entropy with weight decay on some of the digits, over the parameters of the network."""
    inputs, targets = some_digits(generator)
    plain = mean_loss(Network.of(small_network()), cross_entropy, smaller(inputs), targets)
    return lambda row: plain(row) + 0.5 * DECAY * row.square().sum()


def alike(row: Tensor, units: int) -> Tensor:
    """A network in which units are copies of the first few, from what those few have and the biases of the outputs.

    Each copy has the same weights on both sides, so that the gradient of one is that of the other: where it is zero for
    the few, it is for all.
    """
    inward, bias, outward, last = row.split([16 * units, units, CLASSES * units, CLASSES])
    copied = torch.arange(HIDDEN, device="cpu") % units
    return torch.cat(
        [
            inward.view(units, 16)[copied].flatten(),
            bias[copied],
            outward.view(CLASSES, units)[:, copied].flatten(),
            last,
        ]
    )


def with_alike(loss: Function, units: int, count: int, generator: torch.Generator) -> Tensor:
    """Minima among the networks with so many different units, each a critical point of all, (count, n)."""
    together = Curved(lambda row: loss(alike(row, units)))
    size = (count, (17 + CLASSES) * units + CLASSES)
    start = 0.3 * torch.randn(size, generator=generator, dtype=torch.float64, device="cpu")
    rows, _ = descend(
        [heavy_ball(0.05)] * count, start, lambda at, _: together.gradients(at), together.losses, updates=100
    )
    return torch.stack([alike(row, units) for row in together.downhill(rows, POLISH)])
