"""Small data and models for fleets, one for each way in which a model can be more than layers in a row."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from unstuck.methods.batch import GhostBatchNorm1d
from unstuck.surgery.normalization_layers import BatchRenorm

SAMPLES, FEATURES, CLASSES = 40, 6, 3

Build = Callable[[], nn.Module]


def table() -> tuple[Tensor, Tensor]:
    """Features, shape (40, 6), and a class of three."""
    generator = torch.Generator().manual_seed(3)
    inputs = torch.randn(SAMPLES, FEATURES, generator=generator, dtype=torch.float64)
    return inputs, torch.randint(0, CLASSES, (SAMPLES,), generator=generator)


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    return nn.functional.cross_entropy(outputs, targets, reduction="none")


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - nn.functional.one_hot(targets, CLASSES)).square().sum(1)


def perceptron(*between: Callable[[], nn.Module]) -> Build:
    def build() -> nn.Module:
        # In front of a batch normalization a bias has no effect: its gradient is rounding, which Adam would walk on.
        first = nn.Linear(FEATURES, 5, bias=not between)
        return nn.Sequential(first, *(part() for part in between), nn.Tanh(), nn.Linear(5, CLASSES)).double()

    return build


def ghosts() -> nn.Module:
    layer = GhostBatchNorm1d(5)
    layer.ghost = 4
    return layer


class Images(nn.Module):
    """The features as an image of 2 × 3, through a convolution and batch normalization of channels."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(1, 4, 2, bias=False), nn.BatchNorm2d(4, momentum=None)
        self.head = nn.Linear(8, CLASSES)
        self.double()

    def forward(self, inputs: Tensor) -> Tensor:
        images = torch.relu(self.norm(self.convolution(inputs.view(-1, 1, 2, 3))))
        outputs: Tensor = self.head(images.flatten(1))
        return outputs


class Tied(nn.Module):
    """One matrix in two places, one layer frozen, one parameter that is used by nobody, one that is no module's."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(FEATURES, FEATURES), nn.Linear(FEATURES, FEATURES)
        self.second.weight = self.first.weight
        self.head = nn.Linear(FEATURES, CLASSES)
        self.head.requires_grad_(False)
        self.unused, self.gain = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(()))
        self.double()

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.head(self.gain * self.second(torch.tanh(self.first(inputs))))
        return outputs


class Watching(nn.Module):
    """Moves one buffer in place and assigns another anew."""

    calls: Tensor
    average: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        self.register_buffer("average", torch.zeros(5, dtype=torch.float64))

    def forward(self, inputs: Tensor) -> Tensor:
        self.calls += 1
        self.average = 0.9 * self.average + 0.1 * inputs.detach()[0]
        return inputs + self.average


class MeanSubtracted(nn.Module):
    """Subtracts the mean of its batch, in a way that nobody knows of."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs - inputs.mean(0)


class Recurrent(nn.Module):
    """A recurrent network, which `vmap` cannot run."""

    def __init__(self) -> None:
        super().__init__()
        self.cells, self.head = nn.GRU(2, 4, batch_first=True), nn.Linear(4, CLASSES)
        self.double()

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.head(self.cells(inputs.view(-1, 3, 2))[0][:, -1])
        return outputs


MODELS: dict[str, Build] = {
    "perceptron": perceptron(),
    "batch norm": perceptron(lambda: nn.BatchNorm1d(5)),
    "batch norm, plain": perceptron(lambda: nn.BatchNorm1d(5, affine=False, track_running_stats=False)),
    "batch norm of images": Images,
    "batch norm in eval mode": perceptron(lambda: nn.BatchNorm1d(5).eval()),
    "ghost batches": perceptron(ghosts),
    "batch renormalization": perceptron(lambda: BatchRenorm(5, plain=10)),
    "layer norm": perceptron(lambda: nn.LayerNorm(5)),
    "buffers of its own": perceptron(Watching),
    "mean subtracted": perceptron(MeanSubtracted),
    "tied and frozen": Tied,
    "recurrent": Recurrent,
}
