"""Networks with a normalization in each hidden layer, and batches that are no fair sample.

Lecture chapter 5.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH = 48

GROUP = 32
"""Samples of a batch that is put together beforehand."""


def network(where: str, activation: Callable[[], nn.Module] = nn.ReLU, hidden: int = 4) -> nn.Sequential:
    """64 inputs, hidden layers with a normalization ``before`` the activation or ``after`` it, 10 outputs.

    ``fixed`` is before, without γ and β; ``layer`` is layer normalization before the activation; by default there is
    none.
    """
    layers: list[nn.Module] = []
    for number in range(hidden):
        linear, active = nn.Linear(WIDTH if number else 64, WIDTH), activation()
        match where:
            case "after":
                layers += [linear, active, nn.BatchNorm1d(WIDTH)]
            case "layer":
                layers += [linear, nn.LayerNorm(WIDTH), active]
            case "before" | "fixed":
                layers += [linear, nn.BatchNorm1d(WIDTH, affine=where == "before"), active]
            case _:
                layers += [linear, active]
    return nn.Sequential(*layers, nn.Linear(WIDTH, 10))


def network_of_groups(where: str) -> nn.Sequential:
    """One with two hidden layers for a fleet whose samples are whole batches, shape (1, GROUP, 64)."""
    return nn.Sequential(nn.Flatten(0, 1), network(where, hidden=2), nn.Unflatten(0, (-1, GROUP)))


def loss_of_groups(outputs: Tensor, targets: Tensor) -> Tensor:
    """The mean cross-entropy of each batch, shape (batches,)."""
    losses = F.cross_entropy(outputs.flatten(0, 1), targets.flatten(), reduction="none")
    return losses.view(targets.shape).mean(1)


def groups(inputs: Tensor, targets: Tensor, order: str, seed: int) -> tuple[Tensor, Tensor]:
    """Batches of one class each, or shuffled, (batches, GROUP, ...); what does not fill one is left out."""
    generator = torch.Generator(device="cpu").manual_seed(seed)
    drawn = torch.randperm(len(inputs), generator=generator, device="cpu")
    parts = [drawn]
    if order == "one class":
        parts = [drawn[targets[drawn] == label] for label in targets.unique()]
    chosen = torch.cat([part[: len(part) // GROUP * GROUP].view(-1, GROUP) for part in parts])
    return inputs[chosen], targets[chosen]


@torch.no_grad()
def by_mode(model: nn.Module, batches: Tensor) -> dict[str, Tensor]:
    """What a model gives in testing and in training mode for batches of shape (batches, samples, ...), one by one.

    Testing comes first, as training moves the averages.
    """
    found = {}
    for mode, training in (("testing", False), ("training", True)):
        model.train(training)
        found[mode] = torch.stack([model(batch) for batch in batches])
    return found
