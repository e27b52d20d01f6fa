"""What one update of the walk costs beside a loop written by hand with the same torch optimizer.

    OMP_NUM_THREADS=1 python -m benchmarks.walk            prints the table of RESULTS.md

Both loops read a loader of the same kind and start from the same weights. The loop by hand keeps nothing: no loss, no
gradient norm, no seed. They take turns, so that both meet the same noise of the machine; a repeat is the sum over its
turns, and a row the median of the repeats, by the processor's clock and by the wall's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from unstuck.problem import Problem
from unstuck.untouched import seeded
from unstuck.walk import fixed_threads, walk

SAMPLES, CLASSES = 8_192, 10

TURN = 48
"""Updates that a loop makes before it is the other one's turn."""


def perceptron(hidden: int) -> nn.Module:
    """784 → ``hidden`` → ``hidden`` → 10."""
    layers = (nn.Flatten(), nn.Linear(784, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU())
    return nn.Sequential(*layers, nn.Linear(hidden, CLASSES))


def convolutions(channels: int) -> nn.Module:
    """Two convolutions with batch normalization on images of 28 × 28, and a linear layer."""
    return nn.Sequential(
        nn.Conv2d(1, channels, 3, stride=2, padding=1),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1),
        nn.BatchNorm2d(2 * channels),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(2 * channels * 49, CLASSES),
    )


OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "SGD with momentum": lambda parameters: torch.optim.SGD(parameters, lr=0.01, momentum=0.9),
    "Adam": lambda parameters: torch.optim.Adam(parameters, lr=1e-3),
}

NETWORKS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "perceptron 784-512-512-10, batches of 128": (lambda: perceptron(512), 128),
    "perceptron 784-512-512-10, batches of 256": (lambda: perceptron(512), 256),
    "convolutions 16-32 with batch normalization, batches of 64": (lambda: convolutions(16), 64),
    "convolutions 16-32 with batch normalization, batches of 192": (lambda: convolutions(16), 192),
}
"""By name: the network and its batch size; updates of 5 to 20 ms."""


def problem(network: Callable[[], nn.Module], batch: int, optimizer: Callable[[Any], torch.optim.Optimizer]) -> Problem:
    """A classifier of noise."""
    with seeded(0):
        model = network()
        data = TensorDataset(torch.randn(SAMPLES, 1, 28, 28), torch.randint(CLASSES, (SAMPLES,)))
    loader = DataLoader(data, batch_size=batch, shuffle=True, drop_last=True)
    return Problem(model, nn.CrossEntropyLoss(), loader, optimizer(model.parameters()))


class ByHand:
    """The loop as a user writes it, some updates at a time."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._batches: Iterator[Any] = iter(())

    def __call__(self, updates: int) -> None:
        model, optimizer, criterion = self._problem.model.train(), self._problem.optimizer, self._problem.loss
        for _ in range(updates):
            try:
                inputs, targets = next(self._batches)
            except StopIteration:
                self._batches = iter(self._problem.train)
                inputs, targets = next(self._batches)
            optimizer.zero_grad()
            loss = criterion(model(inputs), targets)
            loss.backward()
            optimizer.step()


class Walked:
    """The same by the walk, some updates at a time, as ``unstuck train`` makes them."""

    def __init__(self, branch: Problem) -> None:
        self._branch = branch
        self._batches = branch.data.order(0)
        self._done = 0

    def __call__(self, updates: int) -> None:
        walk(self._branch, updates, start=self._done, batches=self._batches)
        self._done += updates


def spent(loop: Callable[[int], None]) -> np.ndarray:
    """Milliseconds of an update in one turn, by the processor and by the wall."""
    processor, wall = time.process_time(), time.perf_counter()
    loop(TURN)
    return np.array([time.process_time() - processor, time.perf_counter() - wall]) * 1e3 / TURN


def row(problem: Problem, *, repeats: int, turns: int) -> np.ndarray:
    """Medians over the repeats, shape (3, 2): by hand, walked, their ratio; by the processor, by the wall."""
    by_hand, walked = ByHand(problem), Walked(problem.branch())
    for loop in (by_hand, walked):
        loop(TURN)
    found = []
    for _ in range(repeats):
        pairs = np.array([(spent(by_hand), spent(walked)) for _ in range(turns)])
        hand, walk_ = pairs.mean(0)
        found.append((hand, walk_, walk_ / hand))
    return np.median(np.array(found), axis=0)


def main(
    repeats: Annotated[int, typer.Option(help="Of which a row is the median.")] = 5,
    turns: Annotated[int, typer.Option(help="Of each loop in a repeat.")] = 6,
) -> None:
    """Print one row for each network and optimizer."""
    threads = torch.get_num_threads()
    print(f"threads: {threads}\n")
    print("| network | optimizer | by hand, ms | walk, ms | ratio by processor | ratio by the wall |")
    print("| --- | --- | --- | --- | --- | --- |")
    with fixed_threads(threads):
        for title, (network, batch) in NETWORKS.items():
            for name, optimizer in OPTIMIZERS.items():
                hand, walked, ratio = row(problem(network, batch, optimizer), repeats=repeats, turns=turns)
                print(
                    f"| {title} | {name} | {hand[0]:.2f} | {walked[0]:.2f} | {ratio[0]:.3f} | {ratio[1]:.3f} |",
                    flush=True,
                )


if __name__ == "__main__":
    typer.run(main)
