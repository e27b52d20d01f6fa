"""Planted faults on Fashion-MNIST: is the cause named, and how much of the gap to the hand-made fix is closed?

    python benchmarks/fashion_mnist.py [NAME...]          prints one row per fault, as in RESULTS.md
    unstuck diagnose benchmarks/fashion_mnist.py:raw_pixels    one of them

The data are 10,000 images of Debian's package ``dataset-fashion-mnist`` (or UNSTUCK_FASHION_MNIST=FOLDER). Each fault
is a function; its twin in ``FIXED`` is the same training mended by hand.
"""

from __future__ import annotations

import gzip
import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from unstuck import Problem, diagnose
from unstuck.untouched import seeded
from unstuck.walk import walk

FOLDER = Path(os.environ.get("UNSTUCK_FASHION_MNIST", "/usr/share/datasets/fashion-mnist"))
IMAGES, PIXELS = 10_000, 784
UPDATES = 1_000
"""Walked by the faulty, the treated and the mended training before they are compared."""

Make = Callable[[], Problem]


def images() -> tuple[Tensor, Tensor]:
    """Pixels from 0 to 255, shape (10000, 784), and class numbers."""
    with gzip.open(FOLDER / "train-images-idx3-ubyte.gz") as file:
        pixels = np.frombuffer(file.read(16 + IMAGES * PIXELS), np.uint8)[16:].reshape(IMAGES, PIXELS)
    with gzip.open(FOLDER / "train-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(8 + IMAGES), np.uint8)[8:]
    return torch.from_numpy(pixels.astype(np.float32)), torch.from_numpy(labels.astype(np.int64))


def perceptron(*last: nn.Module, act: type[nn.Module] = nn.ReLU, scale: float = 1.0) -> nn.Sequential:
    """784 → 128 → 10, the last layer's weights ``scale`` times as large as torch makes them."""
    with seeded(0):
        model = nn.Sequential(nn.Linear(PIXELS, 128), act(), nn.Linear(128, 10), *last)
    with torch.no_grad():
        next(model[2].parameters()).mul_(scale)
    return model


def training(
    model: nn.Module,
    *,
    prepare: Callable[[Tensor], Tensor] = lambda pixels: (pixels / 255 - 0.286) / 0.353,
    loss: Callable[[Tensor, Tensor], Tensor] | None = None,
    rate: float = 0.05,
    momentum: float = 0.9,
    adam: float | None = None,
    listed: Callable[[nn.Module], list[nn.Parameter]] = lambda model: list(model.parameters()),
) -> Problem:
    """A training on all images, healthy unless an argument makes it otherwise."""
    pixels, labels = images()
    loader = DataLoader(TensorDataset(prepare(pixels), labels), batch_size=64, shuffle=True)
    optimizer: torch.optim.Optimizer = torch.optim.SGD(listed(model), lr=rate, momentum=momentum)
    if adam is not None:
        optimizer = torch.optim.Adam(listed(model), lr=adam)
    return Problem(model, loss or nn.CrossEntropyLoss(), loader, optimizer)


def squared(outputs: Tensor, labels: Tensor) -> Tensor:
    """Mean squared error against one-hot labels."""
    return (outputs - nn.functional.one_hot(labels, 10)).pow(2).mean()


def constant(value: float) -> nn.Sequential:
    """Every parameter the same."""
    model = perceptron(act=nn.Tanh)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(value)
    return model


def healthy_sgd() -> Problem:
    """Tuned SGD with momentum."""
    return training(perceptron())


def healthy_adam() -> Problem:
    """Adam at its usual rate."""
    return training(perceptron(), adam=1e-3)


def zero_initialized() -> Problem:
    """All parameters zero."""
    return training(constant(0.0))


def constant_initialized() -> Problem:
    """All parameters 0.01."""
    return training(constant(0.01))


def rate_of_5() -> Problem:
    """Plain SGD at rate 5."""
    return training(perceptron(), rate=5.0, momentum=0.0)


def adam_at_03() -> Problem:
    """Adam at rate 0.3."""
    return training(perceptron(), adam=0.3)


def rate_of_00001() -> Problem:
    """Plain SGD at rate 1e-5."""
    return training(perceptron(), rate=1e-5, momentum=0.0)


def adam_at_1e6() -> Problem:
    """Adam at rate 1e-6."""
    return training(perceptron(), adam=1e-6)


def raw_pixels() -> Problem:
    """Pixels from 0 to 255."""
    return training(perceptron(), prepare=lambda pixels: pixels)


def column_scales() -> Problem:
    """Each pixel in a unit of its own, from 0.01 to 100."""
    factors = 10 ** torch.empty(PIXELS).uniform_(-2, 2, generator=torch.Generator().manual_seed(0))
    return training(perceptron(), prepare=lambda pixels: (pixels / 255 - 0.286) / 0.353 * factors)


def softmax_twice() -> Problem:
    """The model ends in softmax, and cross-entropy applies it again."""
    return training(perceptron(nn.Softmax(dim=1)))


def squared_error_on_softmax() -> Problem:
    """Squared error on softmax, from a start that is confidently wrong."""
    return training(perceptron(nn.Softmax(dim=1), scale=30.0), loss=squared)


def body_missing() -> Problem:
    """The optimizer holds the last bias alone."""
    return training(perceptron(), listed=lambda model: list(model.parameters())[-1:])


def spoiled_pixels() -> Problem:
    """One image in a hundred has a pixel that is no number."""

    def spoil(pixels: Tensor) -> Tensor:
        spoiled = pixels / 255
        spoiled[::100, 300] = math.nan
        return spoiled

    return training(perceptron(), prepare=spoil)


def softmax_of_mended() -> Problem:
    """Softmax kept for comparison; trained on the logits by cross-entropy."""
    made = training(perceptron(nn.Softmax(dim=1), scale=30.0), loss=squared)
    return made.changed(training_step=lambda model, batch: nn.functional.cross_entropy(model[:3](batch[0]), batch[1]))


CASES: dict[str, tuple[Make, str, Make | None]] = {
    "healthy_sgd": (healthy_sgd, "healthy", None),
    "healthy_adam": (healthy_adam, "healthy", None),
    "zero_initialized": (zero_initialized, "saddle-point", lambda: training(perceptron(act=nn.Tanh))),
    "constant_initialized": (constant_initialized, "saddle-point", lambda: training(perceptron(act=nn.Tanh))),
    "rate_of_5": (rate_of_5, "learning-rate-too-high", lambda: training(perceptron(), rate=0.1, momentum=0.0)),
    "adam_at_03": (adam_at_03, "learning-rate-too-high", healthy_adam),
    "rate_of_00001": (rate_of_00001, "learning-rate-too-low", lambda: training(perceptron(), rate=0.1, momentum=0.0)),
    "adam_at_1e6": (adam_at_1e6, "learning-rate-too-low", healthy_adam),
    "raw_pixels": (raw_pixels, "unnormalized-inputs", healthy_sgd),
    "column_scales": (column_scales, "unnormalized-inputs", healthy_sgd),
    "softmax_twice": (softmax_twice, "loss-mismatch", healthy_sgd),
    "squared_error_on_softmax": (squared_error_on_softmax, "loss-mismatch", softmax_of_mended),
    "body_missing": (body_missing, "broken-wiring", healthy_sgd),
    "spoiled_pixels": (spoiled_pixels, "non-finite", None),
}
"""Name → the training, its cause, and the training mended by hand where a remedy can be compared with it."""


def walked(problem: Problem) -> float:
    """The own loss over all images after the same number of updates, eval mode."""
    branch = problem.branch()
    run = walk(branch, UPDATES, order=1)
    return math.inf if run.broke_at is not None else branch.mean_loss(branch.data.whole(chunk=500), mode="evaluation")


def row(name: str) -> str:
    """One row of the table."""
    make, cause, mended = CASES[name]
    began = time.process_time()
    report = diagnose(make())
    spent = time.process_time() - began
    closed = "—"
    if report.prescription is not None and mended is not None:
        constant_answer = math.log(10)  # a training that diverged has learned nothing
        faulty, treated, fixed = walked(make()), walked(report.prescription.apply(make())), walked(mended())
        faulty = min(faulty, constant_answer) if cause != "loss-mismatch" else faulty
        closed = f"{100 * (faulty - treated) / (faulty - fixed):.0f} %"
    steps = " + ".join(step.slug for step in report.prescription.steps) if report.prescription else "—"
    updates = report.document["cost"]["updates"]
    return f"| {name} | {cause} | {report.cause} | {steps} | {closed} | {updates} | {spent:.0f} |"


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    write = sys.stdout.write
    write("| training | planted | named | prescribed | gap closed | updates | CPU seconds |\n")
    write("| --- | --- | --- | --- | --- | --- | --- |\n")
    for name in sys.argv[1:] or CASES:
        write(row(name) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
