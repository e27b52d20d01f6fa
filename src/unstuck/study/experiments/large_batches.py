"""Digits learned with small and large batches: networks, what they reach, and walks by real optimizers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.data import DataLoader, TensorDataset

from unstuck import datasets
from unstuck.fleet import Fleet, Member, train_fleet
from unstuck.methods.batch import GhostBatchNorm1d
from unstuck.methods.optimizers import with_optimizer
from unstuck.methods.update import Rule
from unstuck.problem import Problem
from unstuck.study.experiments.networks import accuracy, cross_entropy, perceptron
from unstuck.untouched import seeded
from unstuck.walk import walk

SAMPLES, WIDTH = 1_280, 64
"""Digits to learn from, and hidden units in each of two layers."""

GHOST = 32
"""Samples over which ghost batches take their statistics."""

WORKERS, ALONE, PARTED = 4, 300, 32
"""SWAP's: networks that go on by themselves, for so many updates, with so many samples each."""


def network(uneven: float = 1.0) -> nn.Module:
    """Two hidden layers; however uneven, their function is the same."""
    model = perceptron((64, WIDTH, WIDTH, 10))
    with torch.no_grad():
        for parameter in model[0].parameters():
            parameter.mul_(uneven)
        model[2].get_parameter("weight").div_(uneven)
    return model


def normalized(norm: Callable[[int], nn.Module]) -> nn.Module:
    """The same network with a normalization after each hidden layer."""
    return nn.Sequential(
        *(nn.Linear(64, WIDTH, bias=False), norm(WIDTH), nn.ReLU()),
        *(nn.Linear(WIDTH, WIDTH, bias=False), norm(WIDTH), nn.ReLU()),
        nn.Linear(WIDTH, 10),
    )


def ghost(width: int) -> nn.Module:
    """Batch normalization over parts of the batch."""
    layer = GhostBatchNorm1d(width)
    layer.ghost = GHOST
    return layer


def learned() -> tuple[Tensor, Tensor]:
    """The digits to learn from."""
    digits = datasets.load("digits")
    return digits.inputs[:SAMPLES], digits.targets[:SAMPLES]


def seen(outputs: Callable[[Tensor], Tensor]) -> dict[str, list[float]]:
    """Of each network its training loss and its losses and accuracies, in per cent, on what was held out."""
    digits = datasets.load("digits")
    inputs, targets = learned()
    trained, held_out = outputs(inputs).detach(), outputs(digits.held_out_inputs).detach()
    losses = [float(cross_entropy(own, targets).mean()) for own in trained]
    return {
        "loss": [loss if math.isfinite(loss) else math.inf for loss in losses],
        "held_out_loss": [float(cross_entropy(own, digits.held_out_targets).mean()) for own in held_out],
        "accuracy": (100.0 * accuracy(held_out, digits.held_out_targets)).tolist(),
    }


def problem(seed: int, batch: int, uneven: float = 1.0) -> Problem:
    """A network and batches for a real optimizer to walk; the one that it has is to be replaced."""
    with seeded(seed):
        model = network(uneven)
    order = torch.Generator(device="cpu").manual_seed(seed)
    loader = DataLoader(TensorDataset(*learned()), batch, shuffle=True, drop_last=True, generator=order)
    return Problem(model, nn.CrossEntropyLoss(), loader, torch.optim.SGD(model.parameters(), lr=0.1))


def walked(
    given: Problem, method: str, updates: int, rate: float, settings: Mapping[str, float], *, order: int
) -> nn.Module:
    """The network after a walk by a torch optimizer. Raises InputError, with what to install, without its package."""
    branch = with_optimizer(given.branch(), method, rate=rate, **settings)
    walk(branch, updates, order=order)
    return branch.model.eval()


def layer_step(seed: int, trust: float) -> float:
    """The largest difference of ‖ΔW‖ / (η · trust · ‖W‖) from 1 in the first step of LARS, over the weight matrices."""
    given, rate = problem(seed, SAMPLES), 4.0
    moved = walked(given, "lars", 1, rate, {"momentum": 0.0, "trust": trust}, order=seed)
    apart = [
        (after - before).double().norm() / (rate * trust * before.double().norm()) - 1
        for before, after in zip(given.model.parameters(), moved.parameters(), strict=True)
        if before.dim() > 1
    ]
    return float(torch.stack(apart).abs().max().detach())


def recalibrated(fleet: Fleet) -> Callable[[Tensor], Tensor]:
    """The outputs of networks whose normalizations have the statistics of all samples, and no moving averages."""
    inputs = learned()[0]

    def outputs(given: Tensor) -> Tensor:
        with seeded(0):
            model = normalized(partial(nn.BatchNorm1d, momentum=1.0))
        found = []
        for member in range(len(fleet.members)):
            model.load_state_dict(fleet.state(member))
            model.train()(inputs)
            found.append(model.eval()(given))
        return torch.stack(found).detach()

    return outputs


@torch.no_grad()
def mean_network(fleet: Fleet, inputs: Tensor) -> Tensor:
    """The outputs of the network whose weights are the mean of all members', shape (1, samples, classes)."""
    outputs: Tensor = functional_call(fleet.network.model, fleet.network.named(fleet.parameters.mean(0)), (inputs,))
    return outputs[None]


def trained(members: Sequence[Member], updates: int, build: Callable[[], nn.Module] = network) -> Fleet:
    """Networks that have learned the digits."""
    return train_fleet(build, cross_entropy, *learned(), members, updates)


def parted(seed: int, rule: Rule, initial: Mapping[str, Tensor] | None) -> tuple[list[float], float, float]:
    """The held-out losses of SWAP's workers, that of their mean, and how much more accurate it is.

    Args:
        seed: of the networks, and with a worker's number of the order of its samples.
        rule: how they walk.
        initial: where all start; by default each starts anew, from a place of its own.
    """
    own = [100 * (seed + 1) + worker for worker in range(WORKERS)]
    members = [
        Member(rule=rule, batch_size=PARTED, seed=seed if initial else each, order=each, initial=initial)
        for each in own
    ]
    fleet = trained(members, ALONE)
    alone, together = seen(fleet.outputs), seen(partial(mean_network, fleet))
    more = together["accuracy"][0] - float(np.mean(alone["accuracy"]))
    return alone["held_out_loss"], together["held_out_loss"][0], more


def scaling_order() -> float:
    """The power of η with which k steps on x²/2 and one of k times the rate go apart: 2."""
    apart = [abs((1 - rate) ** 32 - (1 - 32 * rate)) for rate in (1e-5, 1e-6)]
    return math.log10(apart[0] / apart[1])
