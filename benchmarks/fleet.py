"""Fleets beside ordinary training loops, one after another: how many times faster, at which sizes.

    python -m benchmarks.fleet            the table of RESULTS.md, ten minutes
    python -m benchmarks.fleet --first    its first two rows

Perceptrons 64 → hidden → 10 on scikit-learn's digits, batches of 32, Adam at its defaults, single precision, one
thread. The loop is what anybody writes: a model, `torch.optim.Adam`, tensors indexed by a permutation. Both arms build
their models and draw their batches within the measured time. Times are processor seconds; each ratio is taken of a
fleet between two rounds of loops, and the median of five is printed. Of more than eight members, eight loops are run
and their time is multiplied.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from functools import partial

import torch
from benchmarks.curvature.measure import ratio
from sklearn.datasets import load_digits
from torch import Tensor, nn

from unstuck.fleet import Member, train_fleet
from unstuck.methods.update import adam

PIXELS, CLASSES, BATCH = 64, 10, 32
RATE = 1e-3
LOOPS = 8
"""Members whose loops are run; those of all others take as long."""

REPETITIONS = 5
FIRST = ((64, 32, 560), (256, 16, 560))
"""Members, hidden units, and updates: ten epochs."""

SWEEP = tuple((members, hidden, 56) for hidden in (16, 64, 256, 1024) for members in (1, 2, 4, 16, 64, 256))

Build = Callable[[], nn.Module]


def digits() -> tuple[Tensor, Tensor]:
    """Pixels from 0 to 1, shape (1797, 64), and class numbers."""
    data = load_digits()
    return torch.tensor(data.data, dtype=torch.float32) / 16, torch.tensor(data.target)


def perceptron(hidden: int) -> nn.Module:
    return nn.Sequential(nn.Linear(PIXELS, hidden), nn.ReLU(), nn.Linear(hidden, CLASSES))


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """−ln p_c = ln Σ exp z_k − z_c of each sample; torch's own takes twice as long for many networks of ten classes."""
    return logits.logsumexp(1) - logits.gather(1, targets[:, None])[:, 0]


def loop(build: Build, seed: int, updates: int, inputs: Tensor, targets: Tensor) -> Tensor:
    """One training as anybody writes it; gives its losses."""
    torch.manual_seed(seed)
    model = build()
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    losses: list[Tensor] = []
    while len(losses) < updates:
        order = torch.randperm(len(inputs))
        for start in range(0, len(inputs) - BATCH + 1, BATCH):
            chosen = order[start : start + BATCH]
            loss = nn.functional.cross_entropy(model(inputs[chosen]), targets[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
            if len(losses) == updates:
                break
    return torch.stack(losses)


def faster(count: int, hidden: int, updates: int) -> list[float]:
    """How many times faster the fleet is, in each repetition."""
    inputs, targets = digits()
    build = partial(perceptron, hidden)
    members = [Member(rule=adam(RATE), batch_size=BATCH, seed=seed) for seed in range(count)]
    alone = min(count, LOOPS)

    def loops() -> None:
        for seed in range(alone):
            loop(build, seed, updates, inputs, targets)

    def fleet() -> None:
        train_fleet(build, cross_entropy, inputs, targets, members, updates)

    fleet()  # torch loads what it needs
    return [count / alone / ratio(fleet, loops) for _ in range(REPETITIONS)]


def main() -> None:
    torch.set_num_threads(1)
    print("| members | hidden | parameters of each | updates | times faster | range |")
    print("| --- | --- | --- | --- | --- | --- |")
    for count, hidden, updates in FIRST if "--first" in sys.argv[1:] else FIRST + SWEEP:
        found = faster(count, hidden, updates)
        size = sum(parameter.numel() for parameter in perceptron(hidden).parameters())
        row = (
            count,
            hidden,
            f"{size:,}",
            updates,
            f"{statistics.median(found):.2f}",
            f"{min(found):.2f} to {max(found):.2f}",
        )
        print("|", " | ".join(map(str, row)), "|", flush=True)


if __name__ == "__main__":
    main()
