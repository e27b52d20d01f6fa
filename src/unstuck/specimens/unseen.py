"""Small problems that are sick, or well, in what they learn that holds for data they have not seen."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from unstuck.classifier import CLASSES, SAMPLES, classifier, loader, perceptron, table
from unstuck.problem import Problem

TRAINED = 768
"""Of 1,024 samples; the others are held out."""


def parted(name: str, targets: Tensor, trained: int = TRAINED, *, rate: float = 0.05, **changes: Any) -> Problem:
    """The classifier with the last quarter of the samples held out, trained on some of the others."""
    inputs, _ = table()
    return classifier(
        name,
        rate=rate,
        train=loader(inputs[:trained], targets[:trained]),
        valid=loader(inputs[TRAINED:], targets[TRAINED:]),
        **changes,
    )


def enough_samples() -> Problem:
    """The healthy classifier, a quarter of its samples held out."""
    return parted("healthy classifier with held-out data", table()[1])


def few_samples() -> Problem:
    """One sample in five is labelled at random, and 96 are all there is to train on."""
    generator = torch.Generator().manual_seed(4)
    drawn = torch.randint(0, CLASSES, (SAMPLES,), generator=generator)
    targets = torch.where(torch.rand(SAMPLES, generator=generator) < 0.2, drawn, table()[1])
    return parted("classifier of few samples", targets, 96, rate=0.1, model=perceptron(hidden=64))


def random_labels() -> Problem:
    """Classes drawn at random: nothing of what is learned holds."""
    targets = torch.randint(0, CLASSES, (SAMPLES,), generator=torch.Generator().manual_seed(7))
    return parted("classifier on random labels", targets)


def decayed() -> Problem:
    """Weight decay that outweighs the data."""
    model = perceptron()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=0.1)
    return classifier("classifier under strong weight decay", model=model, optimizer=optimizer)


def dropped() -> Problem:
    """Nine units in ten are left out of every update."""
    layers = perceptron()
    model = nn.Sequential(layers[0], layers[1], nn.Dropout(0.9), layers[2], layers[3], nn.Dropout(0.9), layers[4])
    return classifier("classifier under strong dropout", rate=0.05, model=model)
