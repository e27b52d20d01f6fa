"""Chapter 3: rates, their schedules, and what no single rate suits."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from unstuck.methods.schedule import Constant, Cosine, Exponential, WarmUp
from unstuck.untouched import seeded
from unstuck.ward import tasks
from unstuck.ward.changes import Multiplied, layers, replaced
from unstuck.ward.fault import EVERY_HOST, LAYERED, Fault
from unstuck.ward.hosts import UPDATES
from unstuck.ward.networks import Transformer
from unstuck.ward.parts import Parts

ADAPTIVE = ("adam", "adamw")
SPARED = 300
"""Updates before a rate that is raised by mistake."""

SOON = 150
"""Updates in which a rate that decays too fast is gone."""

ENDLESS = 1_000_000
"""Updates of a warm-up that nobody waits for."""


def rate(parts: Parts, severity: float) -> Parts:
    """The tuned rate times a factor."""
    return parts.ruled(rate=severity * parts.rule.rate)


def momentum(parts: Parts, severity: float) -> Parts:
    """More momentum at the same rate: steps are 1/(1 − momentum) times as long."""
    return parts.ruled(momentum=severity)


def raised(parts: Parts, severity: float) -> Parts:
    """A schedule that raises the rate by a factor, where it should have lowered it."""
    return parts.but(schedule=partial(_raised, by=severity), walked=SPARED)


def _raised(update: int, by: float) -> float:
    return 1.0 if update < SPARED else by


def ended(parts: Parts, severity: float) -> Parts:
    """A cosine that was laid out for so few updates that the rate is all but gone."""
    return parts.but(schedule=Cosine(updates=int(severity), floor=1e-3), walked=int(severity))


def decayed(parts: Parts, severity: float) -> Parts:
    """A decay by the update where it should have been by the epoch."""
    return parts.but(schedule=Exponential(updates=SOON, floor=severity), walked=SOON)


def epsilon(parts: Parts, severity: float) -> Parts:
    """An ε beside which Adam's σ is nothing: the rate is divided by it."""
    return parts.ruled(epsilon=severity)


def endless(parts: Parts) -> Parts:
    """A warm-up over more updates than anybody will make."""
    return parts.but(schedule=WarmUp(updates=ENDLESS, then=Constant()))


def correlated(parts: Parts, severity: float) -> Parts:
    """Features mixed so that each has the same scale, and few directions have nearly all of the variance."""
    count = parts.train[0].shape[1]
    drawn = torch.Generator().manual_seed(7)
    turned = torch.linalg.qr(torch.randn(count, count, generator=drawn, device="cpu"))[0]
    lengths = torch.logspace(0, -torch.log10(torch.tensor(severity, device="cpu")), count, device="cpu")
    mixing = turned * lengths @ turned.T
    scale = (parts.train[0] @ mixing).std(0)

    def mixed(inputs: Tensor) -> Tensor:
        found: Tensor = inputs @ mixing / scale
        return found

    return parts.seeing(mixed)


def uneven(parts: Parts, severity: float) -> Parts:
    """Layers written as multiples, small ones in front and a large one last: no rate suits both."""
    found = layers(parts.model)
    for place, layer in enumerate(found):
        factor = 3.0 if place == len(found) - 1 else 1 / severity
        if isinstance(layer, nn.Linear):
            replaced(parts.model, layer, Multiplied(layer, factor))
    return parts


def post_norm(parts: Parts, severity: float) -> Parts:
    """Layers normalized after their shortcuts, at a rate that they bear once they have begun."""
    with seeded(0):
        model = Transformer(len(tasks.LETTERS), tasks.CONTEXT, layers=int(severity), normalized_first=False)
    return parts.ruled(rate=2 * parts.rule.rate).but(model=model)


def warmed_up(parts: Parts, severity: float) -> Parts:
    """The same with a warm-up."""
    return post_norm(parts, severity).but(schedule=WarmUp(updates=400, then=Constant()))


FAULTS = (
    Fault(
        kind="rate-too-high",
        cause="learning-rate-too-high",
        plant=rate,
        hosts=EVERY_HOST,
        severities=(10, 20),
        rates=True,
    ),
    Fault(
        kind="rate-far-too-high",
        cause="learning-rate-too-high",
        plant=rate,
        hosts=EVERY_HOST,
        severities=(100, 1_000),
        rates=True,
    ),
    Fault(
        kind="momentum-too-high",
        cause="learning-rate-too-high",
        plant=momentum,
        hosts=EVERY_HOST,
        optimizers=("sgd",),
        severities=(0.995, 0.999),
    ),
    Fault(
        kind="rate-raised",
        cause="learning-rate-too-high",
        plant=raised,
        hosts=EVERY_HOST,
        severities=(20, 100),
    ),
    Fault(
        kind="rate-too-low",
        cause="learning-rate-too-low",
        plant=rate,
        hosts=EVERY_HOST,
        severities=(1 / 30, 1 / 100),
        rates=True,
    ),
    Fault(
        kind="rate-far-too-low",
        cause="learning-rate-too-low",
        plant=rate,
        hosts=EVERY_HOST,
        severities=(1e-3, 1e-5),
        rates=True,
    ),
    Fault(
        kind="schedule-ended",
        cause="learning-rate-too-low",
        plant=ended,
        hosts=EVERY_HOST,
        severities=(100, 50),
    ),
    Fault(
        kind="decayed-too-fast",
        cause="learning-rate-too-low",
        plant=decayed,
        hosts=EVERY_HOST,
        severities=(1e-2, 1e-4),
    ),
    Fault(
        kind="huge-epsilon",
        cause="learning-rate-too-low",
        plant=epsilon,
        hosts=EVERY_HOST,
        optimizers=ADAPTIVE,
        severities=(0.1, 10),
    ),
    Fault(kind="endless-warm-up", cause="learning-rate-too-low", plant=endless, hosts=EVERY_HOST),
    Fault(
        kind="correlated-inputs",
        cause="ill-conditioned",
        also=("unnormalized-inputs",),
        plant=correlated,
        hosts=LAYERED,
        severities=(100, 1_000),
    ),
    Fault(
        kind="uneven-layers",
        cause="ill-conditioned",
        plant=uneven,
        hosts=(*LAYERED, "bag-of-words", "mixer"),
        optimizers=("sgd",),
        severities=(10, 30),
    ),
    Fault(
        kind="no-warm-up",
        cause="unstable-start",
        plant=post_norm,
        mended=warmed_up,
        hosts=("transformer",),
        optimizers=ADAPTIVE,
        severities=(8, 6),
        updates=2 * UPDATES,
    ),
)
