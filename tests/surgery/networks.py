"""Networks of several makes, with the layers that feed an activation and another layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from tests import zoo
from torch import Tensor, nn

from unstuck.surgery.insertion import Inserted, with_normalization

CLASSES, FEATURES = zoo.CLASSES, zoo.FEATURES


class Pictures(nn.Module):
    """Convolution → pooling → relu → transposed convolution → relu → flattened → linear → relu → head."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 16, 3, padding=1)
        self.second = nn.ConvTranspose2d(16, 6, 2)
        self.third, self.head = nn.Linear(6 * 9, 8), nn.Linear(8, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        images = inputs.view(-1, 1, 2, 2).repeat(1, 1, 2, 2)
        hidden = F.max_pool2d(self.first(images), 2).relu()
        outputs: Tensor = self.head(F.relu(self.third(F.relu(self.second(hidden)).flatten(1))))
        return outputs


class Residual(nn.Module):
    """A residual block whose activations are functions, one of them in place."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.inner, self.outer = nn.Linear(FEATURES, 6), nn.Linear(6, 6), nn.Linear(6, 6)
        self.head = nn.Linear(6, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        stem = torch.tanh(self.stem(inputs))
        block = self.outer(F.relu(self.inner(stem), inplace=True))
        outputs: Tensor = self.head(F.relu(block + stem))
        return outputs


class Attentive(nn.Module):
    """Sequences through torch's attention and a feed-forward part, whose second layer feeds no activation."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Sequential(nn.Linear(FEATURES, 6), nn.GELU())
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        self.widen, self.act, self.narrow = nn.Linear(6, 10), nn.SiLU(), nn.Linear(10, 6)
        self.head = nn.Linear(6, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        steps = self.enter(zoo.sequence(inputs))
        steps = steps + self.attention(steps, steps, steps, need_weights=False)[0]
        outputs: Tensor = self.head((steps + self.narrow(self.act(self.widen(steps)))).mean(1))
        return outputs


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Linear(FEATURES, 6)
        self.layers = nn.TransformerEncoder(nn.TransformerEncoderLayer(6, 2, 8, batch_first=True), 1)
        self.cells, self.head = nn.GRU(6, 4, batch_first=True), nn.Linear(4, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.head(self.cells(self.layers(F.relu(self.enter(zoo.sequence(inputs)))))[0][:, -1])
        return outputs


def deep(*last: nn.Module) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(FEATURES, 16), nn.Sigmoid(), nn.Linear(16, 16), nn.Sigmoid(), nn.Linear(16, CLASSES), *last
    )


SEEN: dict[str, tuple[Callable[[], nn.Module], list[str], list[str]]] = {
    "perceptron": (deep, ["0", "2"], ["4"]),
    "squashed outputs": (lambda: deep(nn.Softmax(dim=1)), ["0", "2"], ["4"]),
    "outputs through an activation": (lambda: deep(nn.Sigmoid()), ["0", "2"], ["4"]),
    "pictures": (Pictures, ["first", "second", "third"], ["head"]),
    "residual": (Residual, ["stem", "inner", "outer"], ["head"]),
    "attention": (Attentive, ["enter.0", "widen"], ["attention", "narrow", "head"]),
    "encoder": (Encoder, ["enter"], ["layers.layers.0", "cells", "head"]),
    "own loss": (zoo.Counting, ["layers.0"], ["layers.2"]),
}
"""Models, the layers that feed an activation and another layer, and the others, in their order."""


def inserted(model: Callable[[], nn.Module], kind: str, **settings: Any) -> Inserted:
    """The model, in a problem of the zoo's, with normalization."""
    return with_normalization(zoo.problem(model).branch(), kind, **settings)


def names(lines: tuple[str, ...]) -> list[str]:
    """The layers that messages begin with."""
    return [line.partition(" ")[0] for line in lines]
