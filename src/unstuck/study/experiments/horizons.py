"""Trainings of several lengths on digits of which some are labelled wrong, with a schedule or without a horizon.

Lecture chapter 3.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import grad, vmap

from unstuck import datasets
from unstuck.fleet import Fleet, Member, epochs, train_fleet
from unstuck.fleet_network import Network
from unstuck.methods.averaging import share
from unstuck.methods.schedule import Constant, Cosine, Schedule, WarmUpStableDecay, inverse_square_root
from unstuck.methods.update import gradient_descent
from unstuck.study.experiments.curved import mean_loss
from unstuck.study.experiments.networks import accuracy, cross_entropy, perceptron
from unstuck.untouched import seeded

SAMPLES, BATCH = 1_280, 16

EPOCH = SAMPLES // BATCH
"""Updates, the unit of the lecture's decay η/√(t + 1)."""

UPDATES = 1_200
"""The longest horizon; the others are a half and a quarter of it."""

RATES = tuple(0.02 * 2.0**number for number in range(8))
"""Each schedule tries these; what has the lowest training loss at its end counts."""

LOOKS = 24
"""Points of a curve."""

ARMS = ("constant", "η/√(t + 1)", "cosine", "stable, then decay", "schedule-free")

AHEAD = 0.9
"""β of schedule-free: the share of the average in the point at which gradients are taken."""


def network() -> nn.Module:
    """Two hidden layers of 64."""
    return perceptron((64, 64, 64, 10))


@dataclass(frozen=True)
class Task:
    """Digits to learn, some of them with a class drawn at random.

    Attributes:
        seed: of the networks, the order of the samples and the wrong labels.
        wrong: the share whose class is drawn anew.
        samples: how many are learned.
    """

    seed: int
    wrong: float
    samples: int = SAMPLES

    @cached_property
    def learned(self) -> tuple[Tensor, Tensor]:
        """Inputs, shape (samples, 64), and classes, shape (samples,)."""
        digits = datasets.load("digits")
        generator = torch.Generator(device="cpu").manual_seed(self.seed)
        drawn = torch.rand(self.samples, generator=generator, device="cpu") < self.wrong
        anew = torch.randint(digits.classes, (self.samples,), generator=generator, device="cpu")
        return digits.inputs[: self.samples], torch.where(drawn, anew, digits.targets[: self.samples])

    @cached_property
    def network(self) -> Network:
        """As a function of its parameters."""
        with seeded(self.seed):
            return Network.of(network())

    def losses(self, rows: Tensor) -> list[float]:
        """The mean loss over all that is learned, of networks of shape (k, n); infinite where one diverged."""
        with torch.no_grad():
            found = vmap(mean_loss(self.network, cross_entropy, *self.learned))(rows)
        return [loss if math.isfinite(loss) else math.inf for loss in found.tolist()]

    def accuracy(self, row: Tensor) -> float:
        """On held-out digits, all with their right classes, in per cent."""
        digits = datasets.load("digits")
        outputs = self.network.outputs(self.network.named(row), {}, digits.held_out_inputs)
        return 100.0 * float(accuracy(outputs, digits.held_out_targets))

    def trained(
        self, schedules: Sequence[Schedule], rates: Sequence[float], updates: int, keep: Collection[int] = ()
    ) -> Fleet:
        """Gradient descent with every schedule at every rate, schedule by schedule."""
        members = [
            Member(rule=gradient_descent(rate), batch_size=BATCH, seed=self.seed, schedule=schedule)
            for schedule in schedules
            for rate in rates
        ]
        return train_fleet(network, cross_entropy, *self.learned, members, updates, keep=keep)

    def schedule_free(
        self, rates: Sequence[float], updates: int, keep: Collection[int], ahead: float = AHEAD
    ) -> Mapping[int, Tensor]:
        """x of schedule-free gradient descent after some of its updates, shape (rates, n) each.

        y = (1 − β) z + β x, z ← z − η ∇L(y), x ← x + (z − x)/t: gradients are taken at y, what counts is the average x.
        Batches are those of :meth:`trained`. Defazio et al. 2024, "The road less scheduled", equations 1 to 3.
        """
        walker = self.network.split(self.network.model)[0].repeat(len(rates), 1)
        average = walker.clone()
        step = torch.tensor(rates, dtype=walker.dtype, device=walker.device)[:, None]
        slope = vmap(grad(partial(self._loss, self.network.for_many())), in_dims=(0, None, None))
        inputs, targets = self.learned
        kept: dict[int, Tensor] = {}
        batches = (drawn for order in epochs(len(inputs), BATCH, self.seed) for drawn in order)
        for update, drawn in zip(range(1, updates + 1), batches, strict=False):
            walker = walker - step * slope(torch.lerp(walker, average, ahead), inputs[drawn], targets[drawn])
            average = torch.lerp(average, walker, share(1.0, update))
            if update in keep:
                kept[update] = average
        return kept

    @staticmethod
    def _loss(own: Network, row: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        return own.loss(cross_entropy, own.named(row), {}, inputs, targets)


def horizons(updates: int) -> tuple[int, int, int]:
    """T/4, T/2 and T."""
    return updates // 4, updates // 2, updates


def without_horizon(updates: int) -> dict[str, Schedule]:
    """Schedules that need not know when the training ends."""
    return {ARMS[0]: Constant(), ARMS[1]: partial(inverse_square_root, over=EPOCH * updates // UPDATES)}


def with_horizon(updates: int) -> dict[str, Schedule]:
    """Schedules that do; all trainings with the last one and one rate are the same until their decays."""
    return {ARMS[2]: Cosine(updates=updates), ARMS[3]: WarmUpStableDecay(updates=updates, warm_up=1)}


def at_horizons(task: Task, updates: int) -> dict[str, Any]:
    """Every schedule at every rate and horizon: losses by arm, shape (horizons, rates), and curves at the best rate."""
    ends = horizons(updates)
    looks = {round(updates * number / LOOKS) for number in range(1, LOOKS + 1)}
    rows: dict[str, list[Tensor]] = {arm: [] for arm in ARMS}
    kept: dict[str, dict[int, Tensor]] = {arm: {} for arm in ARMS}

    def train(schedules: Mapping[str, Schedule], length: int, reads: Sequence[int]) -> None:
        own = {look for look in looks if look <= length} | set(reads)
        fleet = task.trained(list(schedules.values()), RATES, length, keep=own)
        for place, arm in enumerate(schedules):
            part = slice(place * len(RATES), (place + 1) * len(RATES))
            rows[arm] += [fleet.at(read).parameters[part] for read in reads]
            kept[arm] = {look: fleet.at(look).parameters[part] for look in sorted(own)}

    train(without_horizon(updates), updates, ends)
    for end in ends:
        train(with_horizon(end), end, [end])
    free = kept[ARMS[4]] = dict(task.schedule_free(RATES, updates, looks | set(ends)))
    rows[ARMS[4]] = [free[end] for end in ends]
    losses = {arm: [task.losses(each) for each in own] for arm, own in rows.items()}
    best = {arm: int(np.argmin(own[-1])) for arm, own in losses.items()}
    curves = {arm: {look: task.losses(each[best[arm]][None])[0] for look, each in kept[arm].items()} for arm in ARMS}
    return {
        "losses": losses,
        "curves": {arm: [list(own), list(own.values())] for arm, own in curves.items()},
        "numbers": _numbers(losses, curves, updates)
        | {
            "held-out accuracy, schedule-free minus cosine": task.accuracy(rows[ARMS[4]][-1][best[ARMS[4]]])
            - task.accuracy(rows[ARMS[2]][-1][best[ARMS[2]]]),
        },
    }


def _numbers(
    losses: Mapping[str, Sequence[Sequence[float]]], curves: Mapping[str, Mapping[int, float]], updates: int
) -> dict[str, float]:
    """Runs without a horizon at the one rate that is best at the end; the cosine at the best of each horizon."""
    constant, decay, _, stable, free = (np.array(losses[arm])[:, int(np.argmin(losses[arm][-1]))] for arm in ARMS)
    cosine = np.min(losses["cosine"], axis=1)
    best = {arm: RATES[int(np.argmin(own[-1]))] for arm, own in losses.items()}
    before = max(look for look in curves[ARMS[3]] if look <= 0.8 * updates)
    same = losses["cosine"][-1][int(np.argmin(losses["constant"][-1]))]
    return {
        "decay over constant at the end": decay[-1] / constant[-1],
        "cosine over constant at the end": cosine[-1] / constant[-1],
        "cosine over constant at the constant's rate": same / constant[-1],
        "one stable run, three decays, over cosine": float(np.max(stable / cosine)),
        "schedule-free over cosine": float(np.max(free / cosine)),
        "constant over cosine, mean of three horizons": float(np.mean(constant / cosine)),
        "cosine for the end, read at a quarter": curves["cosine"][updates // 4] / cosine[0],
        "loss of stable, then decay, over that before the decay": stable[-1] / curves[ARMS[3]][before],
        "best rate of the decay over that of the constant": best[ARMS[1]] / best[ARMS[0]],
    }


def at_the_end(task: Task, updates: int) -> dict[str, Any]:
    """The longest horizon alone, by a constant rate and the two schedules that fall all the way."""
    schedules = without_horizon(updates) | {ARMS[2]: Cosine(updates=updates)}
    losses = task.losses(task.trained(list(schedules.values()), RATES, updates).parameters)
    constant, decay, cosine = (min(part) for part in np.array(losses).reshape(len(schedules), -1).tolist())
    return {
        "losses": losses,
        "numbers": {
            "decay over constant, labelled right": decay / constant,
            "cosine over constant, labelled right": cosine / constant,
        },
    }
