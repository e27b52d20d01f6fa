"""Convolutional networks: their layers, their start, and what is normalized over what."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from unstuck.study.experiments.convolutional import KINDS, LAYERS, channel_error, network


@pytest.mark.parametrize(("name", "kinds"), [("plain", [nn.Conv2d, nn.ReLU]), ("BN", [nn.Conv2d, nn.BatchNorm2d])])
def test_a_convolution_is_followed_by_its_normalization(name: str, kinds: list[type[nn.Module]]) -> None:
    layers = list(network(KINDS[name], (1, 8, 8), 10))
    assert [type(layer) for layer in layers[2:4]] == kinds
    assert sum(isinstance(layer, nn.Conv2d) for layer in layers) == len(LAYERS)


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 9, 7), (1, 40)])
def test_images_of_any_size_and_sequences_are_taken(shape: tuple[int, ...]) -> None:
    assert network(KINDS["BN"], shape, 4)(torch.randn(5, math.prod(shape))).shape == (5, 4)


@pytest.mark.parametrize(("name", "gain"), [("plain", 1 / math.sqrt(3)), ("plain, He", math.sqrt(2))])
def test_weights_have_the_deviation_of_their_start(name: str, gain: float) -> None:
    torch.manual_seed(0)
    last = [layer for layer in network(KINDS[name], (1, 8, 8), 10) if isinstance(layer, nn.Conv2d)][-1]
    assert float(last.weight.detach().std()) * math.sqrt(9 * last.in_channels) == pytest.approx(gain, rel=0.08)


def test_statistics_are_those_of_a_channel() -> None:
    assert channel_error(3) < 1e-13
