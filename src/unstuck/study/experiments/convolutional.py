"""Convolutional networks with batch normalization or without, from ordinary weights or from careful ones.

Lecture chapter 5.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from unstuck.methods.normalize import batch_normalized

LAYERS = ((8, 2), (8, 1), (8, 1), (16, 2), (16, 1))
"""Channels and stride of each convolution, all 3 × 3."""

SIDE = 8
"""Larger images are averaged down to about so many rows."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A convolutional network.

    Attributes:
        normalized: whether each convolution is followed by batch normalization.
        activation: after it.
        gain: weights have the deviation gain/√(fan-in); 0 leaves them as torch makes them, with a gain of 1/√3.
    """

    normalized: bool = False
    activation: Callable[[], nn.Module] = nn.ReLU
    gain: float = 0.0


KINDS: Mapping[str, Kind] = {
    "plain": Kind(),
    "BN": Kind(normalized=True),
    "sigmoid": Kind(activation=nn.Sigmoid),
    "BN, sigmoid": Kind(normalized=True, activation=nn.Sigmoid),
    "plain, He": Kind(gain=math.sqrt(2.0)),
    "sigmoid, careful": Kind(activation=nn.Sigmoid, gain=4.0),
}
"""He's gain √2 makes up for the half that ReLU sets to zero, 4 for the slope 1/4 of a sigmoid."""


def network(kind: Kind, shape: tuple[int, ...], classes: int) -> nn.Sequential:
    """Convolutions, each with its normalization over samples and places and its activation; means over places; linear.

    Args:
        kind: what is between the convolutions.
        shape: of a sample, channels first; a sequence is an image of one row.
        classes: outputs.
    """
    channels, height, width = (shape[0], 1, shape[1]) if len(shape) == 2 else shape
    layers: list[nn.Module] = [nn.Unflatten(1, (channels, height, width)), nn.AvgPool2d(max(1, height // SIDE))]
    for outward, stride in LAYERS:
        convolution = nn.Conv2d(channels, outward, 3, stride=stride, padding=1)
        if kind.gain:
            nn.init.normal_(convolution.weight, std=kind.gain / math.sqrt(9 * channels))
            nn.init.zeros_(convolution.get_parameter("bias"))
        layers += [convolution, *([nn.BatchNorm2d(outward)] if kind.normalized else []), kind.activation()]
        channels = outward
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


def channel_error(seed: int) -> float:
    """How far torch's layer is from z̃ = (z − μ)/√(σ² + ε), largest, in double precision.

    μ and σ² are those of each channel over all samples and places; its moving average takes Σ (z − μ)² / (m − 1).
    """
    generator = torch.Generator(device="cpu").manual_seed(seed)
    values = torch.randn(6, 3, 4, 5, generator=generator, dtype=torch.float64, device="cpu")
    layer = nn.BatchNorm2d(3, momentum=1.0, device="cpu", dtype=torch.float64)
    one, zero = torch.ones_like(values[0, :, 0, 0]), torch.zeros_like(values[0, :, 0, 0])
    normalized, _, variance = batch_normalized(values, scale=one, shift=zero, epsilon=layer.eps)
    apart = torch.cat([(layer(values) - normalized).flatten(), layer.get_buffer("running_var") - variance])
    return float(apart.detach().abs().max())
