"""The learning-rate range test: the rate grows from update to update until the loss rises again.

Smith 2017, "Cyclical learning rates for training neural networks", section 3.3; exponentially, as is done today.
Lecture chapter 3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from unstuck.fleet import Member, train_fleet
from unstuck.methods.schedule import Constant
from unstuck.methods.update import gradient_descent
from unstuck.study.experiments.curved import mean_loss, sharpest
from unstuck.study.experiments.horizons import BATCH, Task, network
from unstuck.study.experiments.networks import cross_entropy
from unstuck.study.experiments.walks import uniform, walked

LOWEST, HIGHEST, UPDATES = 1e-3, 10.0, 300
"""Rates at both ends of a sweep over a network, and its length."""

AVERAGED, BACK = 10, 0.5
"""Batches over which the loss is averaged, and at which share of the first loss it counts as risen again."""

QUADRATICS, MODES, GROWTH = 30, 8, 1.02
"""Quadratic surfaces of so many curvatures, and the factor from one rate to the next."""


DIMENSIONS, FEW, WALKERS = 20, 4, 20_000
"""Of linear regression, samples of an update, and first updates over which its outcome is averaged."""


@dataclass(frozen=True)
class Sweep:
    """η_t = η_0 qᵗ, a schedule for the base rate 1.

    Attributes:
        lowest: η_0.
        growth: q.
    """

    lowest: float
    growth: float

    def __call__(self, update: int) -> float:
        return float(self.lowest * self.growth**update)


def on_quadratics(generator: torch.Generator) -> dict[str, float]:
    """Sweeps over quadratics of known curvatures: where the steepest coordinate rises, and where the loss does.

    A coordinate is multiplied by 1 − η_t λ, so that it rises first at the first η_t > 2/λ, exactly.
    """
    largest = 10.0 ** uniform(-2.0, 2.0, QUADRATICS, generator)
    shares = torch.rand(QUADRATICS, MODES - 1, generator=generator, dtype=torch.float64, device="cpu")
    curvatures = torch.cat([largest, largest * shares], dim=1)
    at = torch.randn(QUADRATICS, MODES, generator=generator, dtype=torch.float64, device="cpu")
    sweep = Sweep(0.05, GROWTH)
    count = math.ceil(math.log(50.0 / sweep.lowest) / math.log(GROWTH))
    walk = walked(gradient_descent(1.0), at, lambda rows: curvatures * rows, count, lambda t: sweep(t) / largest)
    points = torch.stack([rows.clone() for rows in walk])
    steep, losses = points[..., 0].abs(), (curvatures * points.square()).sum(-1)
    beyond = next(update for update in range(count) if sweep(update) > 2.0)
    first = ((steep[1:] > steep[:-1]).int().argmax(0), (losses[1:] > losses[:-1]).int().argmax(0))
    noticed = [math.log(sweep(int(update)) / 2.0) for update in first[1]]
    return {
        "quadratics whose steepest coordinate rises elsewhere": float((first[0] != beyond).sum()),
        "rate at which the loss of a quadratic rises": math.exp(float(np.mean(noticed))),
    }


def on_few_samples(rate: float, generator: torch.Generator) -> float:
    """|Δ|² after an update of linear regression on B normal inputs of d numbers, over what it is on the average.

    That is 1 − 2η + η² (1 + (d + 1)/B) of what it was, without noise in the targets, so that walks are stable up to
    η = 2/(1 + (d + 1)/B), where the whole set allows 2. Jain et al. 2018, "Parallelizing stochastic gradient descent".
    """
    inputs = torch.randn(WALKERS, FEW, DIMENSIONS, generator=generator, dtype=torch.float64, device="cpu")
    apart = inputs.new_full((DIMENSIONS,), DIMENSIONS**-0.5)
    moved = apart - rate * torch.einsum("kbd,kb->kd", inputs, inputs @ apart) / FEW
    known = 1 - 2 * rate + rate**2 * (1 + (DIMENSIONS + 1) / FEW)
    return float(moved.square().sum(1).mean()) / known


def on_network(seed: int, rates: Sequence[float], updates: int, shares: Sequence[float]) -> dict[str, Any]:
    """Sweeps over a network with the whole set and with small batches, and trainings at rates and at suggested ones.

    Args:
        seed: of network and batches.
        rates: to train at.
        updates: of each training.
        shares: of the rate at which the sweep diverges, to train at as well.
    """
    task = Task(seed, wrong=0.0)
    loss = mean_loss(task.network, cross_entropy, *task.learned)
    sweep = Sweep(LOWEST, (HIGHEST / LOWEST) ** (1 / UPDATES))
    members = [
        Member(rule=gradient_descent(1.0), batch_size=size, seed=seed, schedule=sweep)
        for size in (len(task.learned[0]), BATCH)
    ]
    looks = range(0, UPDATES, 10)
    fleet = train_fleet(network, cross_entropy, *task.learned, members, UPDATES, keep=looks)
    whole, small = fleet.losses.tolist()
    ends = [risen(whole, 1), risen(small, AVERAGED)]
    edge, curvatures = 0, [sharpest(loss, fleet.at(0).parameters[0], seed)]
    for look in looks[1:]:
        if look > ends[0] or curvatures[-1] * sweep(edge) > 2.0:
            break
        edge = look
        curvatures.append(sharpest(loss, fleet.at(look).parameters[0], seed))
    diverged = [sweep(end) for end in ends]
    suggested = [part * diverged[1] for part in shares]
    losses = task.losses(task.trained([Constant()], [*rates, *suggested], updates).parameters)
    return {
        "diverged": diverged,
        "edge": sweep(edge),
        "curvatures": curvatures,
        "swept": [sweep(update) for update in range(0, UPDATES, 2)],
        "whole": whole[::2],
        "small": small[::2],
        "losses": losses[: len(rates)],
        "suggested": losses[len(rates) :],
    }


def risen(losses: Sequence[float], averaged: int) -> int:
    """The first update at which the mean of the last losses is above a share of the first, after it was below."""
    below = False
    for update in range(averaged, len(losses)):
        mean = float(np.mean(losses[update + 1 - averaged : update + 1]))
        level = BACK * float(np.mean(losses[:averaged]))
        if below and not mean <= level:
            return update
        below = below or mean < level
    return len(losses) - 1
