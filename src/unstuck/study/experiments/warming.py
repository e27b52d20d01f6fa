"""Transformers and residual networks, trained with a warm-up, without one, and with what may stand in for it.

Lecture chapter 3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

from unstuck.datasets import load
from unstuck.fleet import Member, train_fleet
from unstuck.methods.schedule import Constant, Schedule, WarmUp
from unstuck.methods.update import Rule, adam, gradient_descent, radam
from unstuck.study.experiments.curved import mean_loss, sharpest
from unstuck.study.experiments.deep import deep
from unstuck.study.experiments.networks import cross_entropy
from unstuck.study.experiments.transformer import Transformer, next_letter, windows

DEPTH, BATCH = 4, 8

MEMORY, EPSILON = 0.98, 1e-9
"""Adam's β₂ and ε, as in Vaswani et al. 2017, section 5.3."""

LARGER = 1e-3
"""ε as a remedy; Liu et al. 2020 take 1e-4 in place of 1e-8 (section 3.1)."""

RISE = round(2 / (1 - MEMORY))
"""Updates of a warm-up: 100, which is what Ma & Yarats 2021 advise without any tuning."""

RATE = 1e-2
"""At which remedies are compared."""

LAST = 30
"""Batches whose mean loss is that of the end."""

KINDS = ("post-norm", "pre-norm")

WAYS = ("without", "with warm-up")

REMEDIES = ("RAdam", "σ first", "larger ε")

RESIDUAL_DEPTH, RESIDUAL_WIDTH, SAMPLES = 32, 32, 256
"""Blocks of a residual network and units in each, and digits over which its curvature is taken."""

RESIDUAL_RATES, LOOKED_AT = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2), 0.05
"""At which it is trained, and at which of them its curvature is looked at."""

LEARNED = 0.5 * math.log(10)
"""Half the loss of one who knows nothing of ten classes: a network that ends below has learned."""


@dataclass(frozen=True)
class Standing:
    """s(t) = 0 for w updates, which Adam uses to learn m and σ, then 1 ("Adam-2k", Liu et al. 2020, section 3.1)."""

    updates: int

    def __call__(self, update: int) -> float:
        return float(update >= self.updates)


def schedules() -> dict[str, Schedule]:
    """By :data:`WAYS`."""
    return dict(zip(WAYS, (Constant(), WarmUp(updates=RISE, then=Constant())), strict=True))


def transformers(seed: int, kind: str, updates: int, rates: Sequence[float]) -> dict[str, Any]:
    """Trained with and without a warm-up at every rate; with post-norm, by other remedies at one of them, too."""
    arms: dict[str, tuple[Rule, Schedule]] = {
        f"{way}, {rate:g}": (adam(rate, memory=MEMORY, epsilon=EPSILON), schedule)
        for rate in rates
        for way, schedule in schedules().items()
    }
    if kind == "post-norm":
        arms |= {
            "RAdam": (radam(RATE, memory=MEMORY, epsilon=EPSILON), Constant()),
            "σ first": (adam(RATE, memory=MEMORY, epsilon=EPSILON), Standing(updates // 2)),
            "larger ε": (adam(RATE, memory=MEMORY, epsilon=LARGER), Constant()),
        }
    members = [Member(rule=rule, batch_size=BATCH, seed=seed, schedule=own) for rule, own in arms.values()]
    build = partial(Transformer, DEPTH, pre=kind == "pre-norm")
    fleet = train_fleet(build, next_letter, *windows(), members, updates)
    return {
        name: {"loss": ended(losses), "curve": losses.unfold(0, 10, 5).mean(1).tolist()}
        for name, losses in zip(arms, fleet.losses, strict=True)
    }


def ended(losses: Tensor) -> float:
    """The loss at the end; infinite where it diverged."""
    last = float(losses[-LAST:].mean())
    return last if math.isfinite(last) else math.inf


def residual(seed: int, updates: int, rates: Sequence[float]) -> dict[str, Any]:
    """Gradient descent, which has no σ, with and without a warm-up; and the largest curvature on one of the ways."""
    digits = load("digits")
    members = [
        Member(rule=gradient_descent(rate), batch_size=32, seed=seed, schedule=schedule)
        for schedule in schedules().values()
        for rate in rates
    ]
    build: Callable[[], nn.Module] = deep(RESIDUAL_DEPTH, RESIDUAL_WIDTH, skip=True, normalized=False)
    fleet = train_fleet(build, cross_entropy, digits.inputs, digits.targets, members, updates, keep=(0, RISE))
    ends = [ended(losses) for losses in fleet.losses]
    member = len(rates) + rates.index(LOOKED_AT)
    loss = mean_loss(fleet.network, cross_entropy, digits.inputs[:SAMPLES], digits.targets[:SAMPLES])
    return {
        "rates": list(rates),
        "without": ends[: len(rates)],
        "with warm-up": ends[len(rates) :],
        "curvature": [sharpest(loss, fleet.at(look).parameters[member], 0, products=40) for look in (0, RISE)],
    }


def finite(loss: float | None) -> float:
    """A loss as it was before it became JSON."""
    return math.inf if loss is None else loss


def largest_rate(losses: Sequence[float | None], rates: Sequence[float]) -> float:
    """The largest rate at which something was learned, and half of the smallest where nothing was."""
    return max((rate for rate, loss in zip(rates, losses, strict=True) if finite(loss) < LEARNED), default=rates[0] / 2)
