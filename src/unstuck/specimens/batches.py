"""Small problems that are sick in what their batches are: too few samples, too many, or no samples of the data."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from unstuck.classifier import classifier, loader, table
from unstuck.problem import Problem
from unstuck.untouched import seeded
from unstuck.walk import fixed_threads, walk

WALKED = 300
"""Updates after which the loss of the noisy regression no longer falls."""


def one_at_a_time() -> Problem:
    """Linear regression on noisy targets, two samples at a time, come to where noise takes back all that is gained.

    Noise of deviation s keeps gradient descent η s² d / (B (2 − η (1 + (d + 1)/B))) above the lowest loss, s², for d
    standard normal features, batches of B and half the squared error: here more than once as much again.
    """
    generator = torch.Generator().manual_seed(3)
    inputs = torch.randn(1024, 20, generator=generator)
    targets = inputs @ torch.randn(20, 1, generator=generator) + 2 * torch.randn(1024, 1, generator=generator)
    with seeded(0):
        model = nn.Linear(20, 1)
    problem = Problem(
        model,
        nn.MSELoss(),
        loader(inputs, targets, batch=2),
        torch.optim.SGD(model.parameters(), lr=0.06),
        name="regression on two noisy samples at a time",
    )
    branch = problem.branch()
    with fixed_threads(1):
        walk(branch, WALKED, order=WALKED)
    return branch


def full_batch() -> Problem:
    """All 1,024 samples in every update, at a rate for small batches."""
    return classifier("classifier on all samples at once", rate=0.05, train=loader(*table(), batch=1024))


def sorted_data() -> Problem:
    """The samples of one class after those of another, and never shuffled."""
    inputs, targets = table()
    order = targets.argsort(stable=True)
    data = TensorDataset(inputs[order], targets[order])
    return classifier("classifier on sorted data", rate=0.05, train=DataLoader(data, batch_size=32))
