"""Do inputs tell of targets? Whether samples with inputs nearby have targets nearby, against chance.

Of the mean squared distance between targets, the share that is missing between a sample and its nearest neighbours by
their inputs,

    s = 1 − mean over neighbours of |tᵢ − tⱼ|² / mean over all pairs of |tᵢ − tⱼ|²

is 1 where neighbours have equal targets and 0, on the average, where targets were dealt out at random, whatever inputs
and targets are. How far chance gets is learned by dealing them out again and again (a permutation test; the statistic
is that of Friedman & Rafsky 1983, "Graph-theoretic measures of multivariate association and prediction"). It asks
nothing of a model; that it finds nothing does not mean that there is nothing, where distance means little.
"""

from __future__ import annotations

import torch
from torch import Tensor

NEAREST = 3
"""Neighbours of a sample."""

TRIES = 100
"""Random dealings: enough for a deviation within 7 %."""

COLUMNS = 4096
"""Features by which neighbours are found, at most and evenly spaced."""


def shared_by_neighbours(inputs: Tensor, targets: Tensor, *, generator: torch.Generator) -> tuple[float, float] | None:
    """The share s, and its standard deviation where targets are dealt out at random.

    Args:
        inputs: finite numbers, shape (n, ...); every feature is compared in units of its deviation.
        targets: shape (n, ...); integers and booleans are names, equal or not, other numbers are finite.
        generator: deals targets out.

    Returns:
        None where there are too few samples, or where all targets are the same: there is nothing to share.
    """
    count = len(inputs)
    if count < 2 * NEAREST or len(targets) != count:
        return None
    near = _nearest(inputs)
    answers = targets.reshape(count, -1)
    named = not answers.is_floating_point()
    if not named:
        answers = answers.double() - answers.double().mean(0)

    def apart(one: Tensor, other: Tensor) -> Tensor:
        return (one != other).double().mean() if named else (one - other).square().mean()

    def between_neighbours(order: Tensor) -> Tensor:
        dealt = answers[order.to(answers.device)]
        return torch.stack([apart(dealt, dealt[near[:, k]]) for k in range(NEAREST)]).mean()

    orders = [torch.randperm(count, generator=generator, device="cpu") for _ in range(TRIES)]
    chance = torch.stack([between_neighbours(order) for order in orders])
    level = float(chance.mean())
    if level == 0.0:
        return None
    as_it_is = float(between_neighbours(torch.arange(count, device="cpu")))
    return 1 - as_it_is / level, float(chance.std()) / level


def _nearest(inputs: Tensor) -> Tensor:
    """The nearest others of each sample, shape (n, NEAREST)."""
    rows = inputs.reshape(len(inputs), -1)
    rows = rows[:, :: max(1, -(-rows.shape[1] // COLUMNS))].double()
    deviation = rows.std(0, correction=0)
    rows = (rows - rows.mean(0)) / torch.where(deviation > 0, deviation, 1)
    distances = torch.cdist(rows, rows)
    return distances.fill_diagonal_(torch.inf).topk(NEAREST, largest=False).indices
