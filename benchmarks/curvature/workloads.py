"""Four small trained networks with their data: what every tool measures.

Data and trained weights are kept in ``.cache`` beside this file, so that every tool meets the same numbers. Needs torch
and numpy; scikit-learn once, for the digits of W4.
"""

from __future__ import annotations

import dataclasses
import gzip
import importlib
import itertools
import math
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
import torch
from torch import Tensor, nn

CACHE = Path(__file__).with_name(".cache")
IMAGES = Path(os.environ.get("UNSTUCK_FASHION_MNIST", "/usr/share/datasets/fashion-mnist"))
CHARACTERS = 103
"""Distinct characters of ``pydoc_data.topics`` in Python 3.11: the vocabulary of W3."""


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A trained network in eval mode and all its data as one batch."""

    name: str
    model: nn.Module
    inputs: Tensor
    targets: Tensor
    criterion: nn.Module = dataclasses.field(default_factory=nn.CrossEntropyLoss)

    @property
    def parameters(self) -> list[nn.Parameter]:
        """In the model's own order, which is that of every flat vector here."""
        return list(self.model.parameters())

    @property
    def dimension(self) -> int:
        """The number of parameters."""
        return sum(parameter.numel() for parameter in self.parameters)

    @property
    def batch(self) -> tuple[Tensor, Tensor]:
        """Inputs and targets."""
        return self.inputs, self.targets

    def loss(self) -> Tensor:
        """The mean loss over the batch, with its graph."""
        loss: Tensor = self.criterion(self.model(self.inputs), self.targets)
        return loss

    def gradient(self) -> tuple[Tensor, ...]:
        """One forward and one backward pass: the unit in which everything is counted."""
        return torch.autograd.grad(self.loss(), self.parameters)

    def part(self, samples: int) -> Workload:
        """The same network on the first samples alone."""
        return dataclasses.replace(self, inputs=self.inputs[:samples].clone(), targets=self.targets[:samples].clone())

    def double(self) -> Workload:
        """The same in float64; the network itself is turned over, so load it again for anything else."""
        inputs = self.inputs.double() if self.inputs.is_floating_point() else self.inputs
        return dataclasses.replace(self, model=self.model.double(), inputs=inputs)

    def split(self, flat: Tensor) -> list[Tensor]:
        """A vector of shape (dimension,) in the shapes of the parameters."""
        pieces = flat.split([parameter.numel() for parameter in self.parameters])
        return [piece.view_as(parameter) for piece, parameter in zip(pieces, self.parameters, strict=True)]

    def vector(self, seed: int = 0) -> Tensor:
        """A random unit vector of shape (dimension,)."""
        drawn = torch.randn(self.dimension, generator=torch.Generator().manual_seed(seed))
        vector: Tensor = drawn / drawn.norm()
        return vector


class Attention(nn.Module):
    """Causal attention in 4 heads, written out: the fused kernel has no second derivative on the CPU."""

    def __init__(self, width: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.projections = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, stream: Tensor) -> Tensor:
        """Tensors of shape (batch, length, width) in and out."""
        batch, length, width = stream.shape
        packed = self.projections(stream).view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = packed.permute(2, 0, 3, 1, 4)
        scores = query @ key.transpose(-2, -1) / math.sqrt(width // self.heads)
        future = torch.ones(length, length, dtype=torch.bool).triu(1)
        weights = scores.masked_fill(future, -math.inf).softmax(-1)
        mixed: Tensor = self.out((weights @ value).transpose(1, 2).reshape(batch, length, width))
        return mixed


class Block(nn.Module):
    """Pre-norm attention and a two-layer perceptron of four times the width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attend = nn.Sequential(nn.LayerNorm(width), Attention(width))
        self.think = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, stream: Tensor) -> Tensor:
        """Tensors of shape (batch, length, width) in and out."""
        stream = stream + self.attend(stream)
        result: Tensor = stream + self.think(stream)
        return result


class Decoder(nn.Module):
    """Characters to the scores of the next ones, of shape (batch, characters, length) as the loss takes them."""

    def __init__(self, width: int = 64, context: int = 64, blocks: int = 4) -> None:
        super().__init__()
        self.characters = nn.Embedding(CHARACTERS, width)
        self.places = nn.Parameter(0.02 * torch.randn(context, width))
        self.blocks = nn.Sequential(*(Block(width) for _ in range(blocks)), nn.LayerNorm(width))
        self.scores = nn.Linear(width, CHARACTERS, bias=False)

    def forward(self, characters: Tensor) -> Tensor:
        """Character numbers of shape (batch, context)."""
        scores: Tensor = self.scores(self.blocks(self.characters(characters) + self.places)).transpose(1, 2)
        return scores


def perceptron(*widths: int) -> nn.Sequential:
    """Linear layers with tanh between them."""
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.Tanh()]
    return nn.Sequential(*layers[:-1])


def convolutional() -> nn.Sequential:
    """Three times convolution, batch normalization, ReLU and pooling; then two linear layers."""
    layers: list[nn.Module] = [nn.Unflatten(1, (1, 28))]
    for inputs, outputs in ((1, 16), (16, 32), (32, 64)):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * 9, 64), nn.ReLU(), nn.Linear(64, 10))


def fashion(count: int) -> tuple[Tensor, Tensor]:
    """The first images of Fashion-MNIST, standardized, shape (count, 28, 28), and their class numbers."""
    with gzip.open(IMAGES / "train-images-idx3-ubyte.gz") as file:
        pixels = np.frombuffer(file.read(16 + count * 784), np.uint8)[16:].reshape(count, 28, 28)
    with gzip.open(IMAGES / "train-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(8 + count), np.uint8)[8:]
    return torch.from_numpy((pixels.astype(np.float32) / 255 - 0.286) / 0.353), torch.from_numpy(labels.astype(int))


def flat_fashion(count: int) -> tuple[Tensor, Tensor]:
    """The same with images of shape (784,)."""
    images, labels = fashion(count)
    return images.flatten(1), labels


def text(count: int, context: int = 64) -> tuple[Tensor, Tensor]:
    """Consecutive pieces of Python's help pages as character numbers, and the same one character later."""
    characters = "".join(topics.values())
    known = {character: rank for rank, (character, _) in enumerate(Counter(characters).most_common(CHARACTERS))}
    numbers = torch.tensor([known.get(character, CHARACTERS - 1) for character in characters[: count * context + 1]])
    return numbers[:-1].view(count, context), numbers[1:].view(count, context)


def digits(count: int) -> tuple[Tensor, Tensor]:
    """Handwritten digits of 8 x 8 pixels, in their 16 principal components, each of unit variance."""
    pixels, labels = importlib.import_module("sklearn.datasets").load_digits(return_X_y=True)
    centred = pixels[:count] - pixels[:count].mean(0)
    left = np.linalg.svd(centred, full_matrices=False)[0][:, :16]
    return torch.from_numpy(left * math.sqrt(count)).float(), torch.from_numpy(labels[:count])


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a workload is made: the network, its data, and Adam until the loss over all data is low enough."""

    describe: str
    build: Callable[[], nn.Module]
    data: Callable[[int], tuple[Tensor, Tensor]]
    samples: int
    parameters: int
    loss: float
    rate: float
    batch: int


RECIPES = {
    "W1": Recipe(
        describe="perceptron 784-128-128-10, tanh; 4096 images of Fashion-MNIST",
        build=lambda: perceptron(784, 128, 128, 10),
        data=flat_fashion,
        samples=4096,
        parameters=118_282,
        loss=0.164,
        rate=1e-3,
        batch=128,
    ),
    "W2": Recipe(
        describe="3 × (convolution, batch normalization, ReLU, pooling), 2 linear layers; 2048 images of Fashion-MNIST",
        build=convolutional,
        data=fashion,
        samples=2048,
        parameters=61_098,
        loss=0.109,
        rate=3e-4,
        batch=128,
    ),
    "W3": Recipe(
        describe="decoder of 4 blocks, width 64, 4 heads, context 64; 256 sequences of characters",
        build=Decoder,
        data=text,
        samples=256,
        parameters=217_344,
        loss=1.016,
        rate=1e-3,
        batch=32,
    ),
    "W4": Recipe(
        describe="perceptron 16-20-10-10, tanh; 1797 handwritten digits in 16 principal components",
        build=lambda: perceptron(16, 20, 10, 10),
        data=digits,
        samples=1797,
        parameters=660,
        loss=0.045,
        rate=1e-2,
        batch=128,
    ),
}


def load(name: str) -> Workload:
    """A workload from the cache; made and trained first where it is not there yet."""
    recipe = RECIPES[name]
    file = CACHE / f"{name}.pt"
    if not file.exists():
        _make(name, file)
    stored = torch.load(file)
    model = recipe.build()
    model.load_state_dict(stored["model"])
    made = Workload(name=name, model=model.eval(), inputs=stored["inputs"], targets=stored["targets"])
    if made.dimension != recipe.parameters:
        raise ValueError(f"{name} has {made.dimension} parameters; {recipe.parameters} are meant")
    return made


def _make(name: str, file: Path) -> None:
    recipe = RECIPES[name]
    torch.manual_seed(0)
    inputs, targets = recipe.data(recipe.samples)
    workload = Workload(name=name, model=recipe.build(), inputs=inputs, targets=targets)
    _train(workload, recipe)
    file.parent.mkdir(exist_ok=True)
    torch.save({"model": workload.model.state_dict(), "inputs": inputs, "targets": targets}, file)


def _train(workload: Workload, recipe: Recipe) -> None:
    """Adam in shuffled batches; the loss over all data, in eval mode, is looked at after every pass."""
    optimizer = torch.optim.Adam(workload.parameters, lr=recipe.rate)
    reached = math.inf
    while reached > recipe.loss:
        workload.model.train()
        for chosen in torch.randperm(recipe.samples).split(recipe.batch):
            optimizer.zero_grad()
            workload.criterion(workload.model(workload.inputs[chosen]), workload.targets[chosen]).backward()
            optimizer.step()
        workload.model.eval()
        with torch.no_grad():
            reached = float(workload.loss())
