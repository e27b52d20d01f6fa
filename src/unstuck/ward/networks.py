"""The networks of the ward's hosts: small, plain, and built under a seed of their own."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


def perceptron(widths: Sequence[int], activation: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    """Fully connected layers of these widths, from the inputs to the outputs, with torch's own initialization."""
    layers: list[nn.Module] = []
    for inward, outward in pairwise(widths):
        layers += [nn.Linear(inward, outward), activation()]
    return nn.Sequential(*layers[:-1])


def convolutional(classes: int) -> nn.Sequential:
    """Two convolutions with batch normalization on images of 8 × 8 pixels."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64, classes),
    )


class Block(nn.Module):
    """x + f(x), where f is a convolution after group normalization (He et al. 2016, "Identity mappings")."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(nn.GroupNorm(4, channels), nn.ReLU(), nn.Conv1d(channels, channels, 3, padding=1))

    def forward(self, inputs: Tensor) -> Tensor:
        """Shape (batch, channels, length), before and after."""
        outputs: Tensor = inputs + self.branch(inputs)
        return outputs


def residual(classes: int, channels: int = 12) -> nn.Sequential:
    """A stem, two blocks, and the mean over the length, on signals of shape (batch, 1, length)."""
    return nn.Sequential(
        nn.Conv1d(1, channels, 5, stride=2, padding=2),
        Block(channels),
        Block(channels),
        nn.ReLU(),
        nn.AdaptiveAvgPool1d(4),
        nn.Flatten(),
        nn.Linear(4 * channels, classes),
    )


class Recurrent(nn.Module):
    """A recurrent layer over the steps, and a linear one on its last state."""

    def __init__(self, layer: nn.RNNBase, classes: int) -> None:
        super().__init__()
        self.layer = layer
        self.head = nn.Linear(layer.hidden_size, classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Shape (batch, steps, features) to (batch, classes)."""
        scores: Tensor = self.head(self.layer(inputs)[0][:, -1])
        return scores


class Attention(nn.Module):
    """Causal self-attention, softmax(QKᵀ/√d)V over the places up to one's own (Vaswani et al. 2017, section 3.2)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.inward = nn.Linear(width, 3 * width)
        self.outward = nn.Linear(width, width)

    def forward(self, inputs: Tensor) -> Tensor:
        """Shape (batch, places, width), before and after."""
        batch, places, width = inputs.shape
        parts = self.inward(inputs).view(batch, places, 3, self.heads, width // self.heads)
        queries, keys, values = parts.permute(2, 0, 3, 1, 4).unbind(0)
        scores = queries @ keys.transpose(-1, -2) / math.sqrt(width // self.heads)
        later = torch.ones(places, places, dtype=torch.bool, device=inputs.device).triu(1)
        mixed = scores.masked_fill(later, -math.inf).softmax(-1) @ values
        outputs: Tensor = self.outward(mixed.transpose(1, 2).reshape(inputs.shape))
        return outputs


class Layer(nn.Module):
    """Attention and two linear layers, each beside a shortcut; normalized before them, or after (as first published).

    The order decides how the first updates fare: Xiong et al. 2020, "On layer normalization in the transformer
    architecture".
    """

    def __init__(self, width: int, heads: int, *, normalized_first: bool) -> None:
        super().__init__()
        self.normalized_first = normalized_first
        self.attention = Attention(width, heads)
        self.feed = nn.Sequential(nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width))
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, inputs: Tensor) -> Tensor:
        """Shape (batch, places, width), before and after."""
        outputs: Tensor
        if self.normalized_first:
            inputs = inputs + self.attention(self.first(inputs))
            outputs = inputs + self.feed(self.second(inputs))
        else:
            inputs = self.first(inputs + self.attention(inputs))
            outputs = self.second(inputs + self.feed(inputs))
        return outputs


class Transformer(nn.Module):
    """Characters and their places → layers → scores of the next character, at each place."""

    def __init__(
        self, letters: int, places: int, *, width: int = 32, layers: int = 2, normalized_first: bool = True
    ) -> None:
        super().__init__()
        self.letters = nn.Embedding(letters, width)
        self.places = nn.Parameter(0.1 * torch.randn(places, width))
        self.layers = nn.Sequential(*(Layer(width, 2, normalized_first=normalized_first) for _ in range(layers)))
        self.normalization = nn.LayerNorm(width)
        self.head = nn.Linear(width, letters)

    def forward(self, inputs: Tensor) -> Tensor:
        """Shape (batch, places) to (batch, letters, places), as cross-entropy takes them."""
        hidden = self.layers(self.letters(inputs) + self.places)
        scores: Tensor = self.head(self.normalization(hidden)).transpose(1, 2)
        return scores


class BagOfWords(nn.Module):
    """The mean of the words' vectors, and two linear layers on it; no word knows its place.

    As Iyyer et al. 2015, "Deep unordered composition rivals syntactic methods for text classification".
    """

    def __init__(self, words: int, classes: int, width: int = 32) -> None:
        super().__init__()
        self.words = nn.Embedding(words, width)
        self.body = nn.Sequential(nn.Linear(width, width), nn.GELU())
        self.head = nn.Linear(width, classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Shape (batch, words) to (batch, classes)."""
        scores: Tensor = self.head(self.body(self.words(inputs).mean(1)))
        return scores


class Mixing(nn.Module):
    """A perceptron over the patches and then one over the channels, each beside a shortcut after layer normalization.

    Tolstikhin et al. 2021, "MLP-Mixer: an all-MLP architecture for vision", equation 1.
    """

    def __init__(self, patches: int, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.across = nn.Sequential(nn.Linear(patches, 2 * patches), nn.GELU(), nn.Linear(2 * patches, patches))
        self.within = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, inputs: Tensor) -> Tensor:
        """Shape (batch, patches, width), before and after."""
        inputs = inputs + self.across(self.first(inputs).transpose(1, 2)).transpose(1, 2)
        outputs: Tensor = inputs + self.within(self.second(inputs))
        return outputs


def mixer(patches: int, patch: int, outputs: int, *, width: int = 24) -> nn.Sequential:
    """Patches of shape (batch, patches, patch) → two layers of mixing → numbers."""
    return nn.Sequential(
        nn.Linear(patch, width),
        Mixing(patches, width),
        Mixing(patches, width),
        nn.LayerNorm(width),
        nn.Flatten(),
        nn.Linear(patches * width, outputs),
    )


def straight_convolutions(convolution: type[nn.Conv1d | nn.Conv2d], outputs: int, depth: int) -> nn.Sequential:
    """So many convolutions one after the other, without normalization or shortcuts, and the mean over all places."""
    layers: list[nn.Module] = []
    for inward in (1, *[8] * (depth - 1)):
        layers += [convolution(inward, 8, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(2), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, outputs))


class Shortcut(nn.Module):
    """x + f(x) with nothing that normalizes: the variance grows by a factor from one to the next.

    With He's initialization of both of its layers f has twice the variance of x, and the sum three times
    (Zhang et al. 2019, "Fixup initialization", section 2).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
        for layer in (self.branch[0], self.branch[2]):
            nn.init.kaiming_normal_(layer.get_parameter("weight"))

    def forward(self, inputs: Tensor) -> Tensor:
        """Shape (batch, width), before and after."""
        outputs: Tensor = inputs + self.branch(inputs)
        return outputs


def shortcuts(inward: int, outward: int, *, width: int = 32, depth: int) -> nn.Sequential:
    """A linear layer, so many shortcuts, and a linear layer."""
    return nn.Sequential(nn.Linear(inward, width), *(Shortcut(width) for _ in range(depth)), nn.Linear(width, outward))


class Codebook(nn.Module):
    """The nearest of k points, made smooth: Σ pⱼ cⱼ with p = softmax(−‖x − c‖² / τ).

    A point that is nobody's nearest has no slope: the local minima of k-means, and of learned codes
    (van den Oord et al. 2017, "Neural discrete representation learning").
    """

    SHARPNESS = 4.0

    def __init__(self, codes: int, width: int) -> None:
        super().__init__()
        self.codes = nn.Parameter(torch.zeros(codes, width))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Standard normal."""
        nn.init.normal_(self.codes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Shape (batch, width), before and after."""
        away = (inputs[:, None] - self.codes).pow(2).sum(2)
        return (-self.SHARPNESS * away).softmax(1) @ self.codes
