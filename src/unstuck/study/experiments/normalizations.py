"""Small networks with any of the normalizations: which one is held in a buffer, so that one fleet has them all.

Lecture chapter 5.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unstuck.datasets import load
from unstuck.fleet import Fleet, Member, train_fleet
from unstuck.fleet_network import SampleLoss
from unstuck.methods.normalize import moved_average, renormalization_limits, spectral_normalized, weight_normalized
from unstuck.methods.schedule import Cosine
from unstuck.methods.update import Rule, gradient_descent, heavy_ball
from unstuck.study.experiments.networks import accuracy, cross_entropy
from unstuck.study.experiments.normalized import GROUP, by_mode, groups, loss_of_groups

STRIDES, CHANNELS = (2, 2, 1), 16
"""Of the convolutions, all 3 × 3: an image of 8 × 8 becomes 4 × 4, 2 × 2 and 2 × 2 places."""

WIDTH, HIDDEN = 48, 2
"""Units in each hidden layer of the network without convolutions, and how many of these."""

GROUPS = 4
"""Of channels, in group normalization."""

KINDS = ("none", "batch", "renormalization", "layer", "instance", "group", "weight", "spectral")

OF_BATCHES = ("batch", "renormalization")
"""Those whose statistics are of all samples of a batch, and moving averages in testing."""

OF_SAMPLES = ("layer", "instance", "group")
"""Those whose statistics are of one sample."""

EPSILON, MOMENTUM = 1e-5, 0.1
"""Of all layers, and the share of a new batch in moving averages: torch's defaults."""

PLAIN = 26
"""One in so many updates of batch renormalization is plain at the start: 5,000 of 130,000 in its paper."""


GROUP_RATES = (0.03, 0.1, 0.3)
"""At which batches of one class are learned, without momentum."""


def one_hot(kind: str) -> Tensor:
    """Which normalization, shape (KINDS,)."""
    return torch.tensor([float(kind == each) for each in KINDS], device="cpu")


def _says(kinds: Tensor, names: tuple[str, ...]) -> Tensor:
    """1 where it is one of these, else 0, shape ()."""
    return torch.stack([kinds[KINDS.index(name)] for name in names]).sum()


def _mixing(kind: str, channels: int) -> Tensor:
    """What averages over the channels of a group, shape (C, C)."""
    groups = {"layer": 1, "group": GROUPS}.get(kind, channels)
    block = torch.full((channels // groups,) * 2, groups / channels, device="cpu")
    mixing: Tensor = torch.block_diag(*[block] * groups)
    return mixing


class Normalization(nn.Module):
    """γ (z̃ r + d) + β with z̃ = (z − μ)/√(σ² + ε), of (N, C) or (N, C, *places), by whichever statistics ``kind`` says.

    First each channel of each sample has its own; then those of a group of channels, or of all samples, are averaged.
    r = 1 and d = 0 but in batch renormalization. Where it is the weights that are normalized, or nothing, z is given
    back.
    """

    kind: Tensor
    mixing: Tensor
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, channels: int, updates: int, momentum: float = MOMENTUM) -> None:
        super().__init__()
        self.plain, self.momentum = max(1, updates // PLAIN), momentum
        self.weight = nn.Parameter(torch.ones(channels, device="cpu"))
        self.bias = nn.Parameter(torch.zeros(channels, device="cpu"))
        self.register_buffer("mixing", torch.stack([_mixing(kind, channels) for kind in KINDS]))
        self.register_buffer("kind", one_hot("none"))
        self.register_buffer("running_mean", torch.zeros(channels, device="cpu"))
        self.register_buffer("running_var", torch.ones(channels, device="cpu"))
        self.register_buffer("num_batches_tracked", torch.zeros((), dtype=torch.int64, device="cpu"))

    def forward(self, values: Tensor) -> Tensor:
        """Normalized values; in training, moving averages are moved."""
        of_batches = _says(self.kind, OF_BATCHES)
        places = values.reshape(*values.shape[:2], -1)
        mean = self._shared(places.mean(2), of_batches, self.running_mean)
        centred = places - mean[:, :, None]
        variance = self._shared(centred.square().mean(2), of_batches, self.running_var)
        normalized = centred / (variance + EPSILON).sqrt()[:, :, None]
        if self.training:
            normalized = self._renormalized(normalized, mean[0].detach(), variance[0].detach())
            self._move(mean[0].detach(), variance[0].detach(), len(values) * places.shape[2])
        normalized = self.weight[:, None] * normalized + self.bias[:, None]
        applies = of_batches + _says(self.kind, OF_SAMPLES)
        return torch.lerp(places, normalized, applies).view_as(values)

    def _shared(self, own: Tensor, of_batches: Tensor, running: Tensor) -> Tensor:
        """The statistics of each channel of each sample, made those that it is normalized by, shape (N, C)."""
        groups = own @ torch.tensordot(self.kind, self.mixing, 1)
        together = own.mean(0) if self.training else running
        return torch.lerp(groups, together.expand_as(groups), of_batches)

    def _renormalized(self, normalized: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        """z̃ r + d (Ioffe 2017, algorithm 1), with the limits 1 and 0 where it is another normalization."""
        most, farthest = renormalization_limits(self.num_batches_tracked, plain=self.plain)
        applies = _says(self.kind, ("renormalization",))
        most, farthest = 1.0 + applies * (most - 1.0), applies * farthest
        typical = (self.running_var + EPSILON).sqrt()
        ratio = ((variance + EPSILON).sqrt() / typical).clamp(1.0 / most, most)
        distance = ((mean - self.running_mean) / typical).clamp(-farthest, farthest)
        return normalized * ratio[:, None] + distance[:, None]

    @torch.no_grad()
    def _move(self, mean: Tensor, variance: Tensor, count: int) -> None:
        unbiased = variance * (count / max(1, count - 1))
        for running, found in ((self.running_mean, mean), (self.running_var, unbiased)):
            running.copy_(moved_average(running, found, momentum=self.momentum))
        self.num_batches_tracked.add_(1)


class Convolution(nn.Module):
    """A 3 × 3 convolution by its weights, by w = g v/‖v‖ for each channel, or by W/σ(W); ‖v‖ = g at first."""

    kind: Tensor
    left: Tensor

    def __init__(self, inward: int, stride: int) -> None:
        super().__init__()
        like = nn.Conv2d(inward, CHANNELS, 3)
        self.stride = stride
        self.weight, self.bias = like.weight, like.bias
        self.length = nn.Parameter(like.weight.detach().flatten(1).norm(dim=1))
        self.register_buffer("kind", one_hot("none"))
        self.register_buffer("left", torch.ones(CHANNELS, device="cpu"))

    def forward(self, values: Tensor) -> Tensor:
        """The convolution of (N, inward, height, width); in training, the power method goes on by a step."""
        by_spectrum, left = spectral_normalized(self.weight, self.left)
        if self.training:
            with torch.no_grad():
                self.left.copy_(left)
        by_length = weight_normalized(self.weight, self.length)
        weight = torch.lerp(self.weight, by_length, _says(self.kind, ("weight",)))
        weight = torch.lerp(weight, by_spectrum, _says(self.kind, ("spectral",)))
        return F.conv2d(values, weight, self.bias, stride=self.stride, padding=1)


def convolutional(updates: int, momentum: float = MOMENTUM) -> nn.Sequential:
    """Three convolutions, each with its normalization and ReLU, and 10 outputs; :func:`of_kind` says which it is.

    Args:
        updates: that are to be made, a part of which batch renormalization begins with as batch normalization.
    """
    layers: list[nn.Module] = [nn.Unflatten(1, (1, 8, 8))]
    side, inward = 8, 1
    for stride in STRIDES:
        layers += [Convolution(inward, stride), Normalization(CHANNELS, updates, momentum), nn.ReLU()]
        side, inward = side // stride, CHANNELS
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(CHANNELS * side**2, 10))


def of_kind(kind: str, model: nn.Module) -> dict[str, Tensor]:
    """The buffers of a network that make it one of these :data:`KINDS`, by name: a member's ``initial``."""
    return {name: one_hot(kind) for name, _ in model.named_buffers() if name.endswith("kind")}


def perceptron(updates: int, momentum: float = MOMENTUM) -> nn.Sequential:
    """The same without convolutions: no weights are normalized, and no places are there for instance normalization."""
    layers: list[nn.Module] = []
    for inward in (64, *[WIDTH] * (HIDDEN - 1)):
        layers += [nn.Linear(inward, WIDTH), Normalization(WIDTH, updates, momentum), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(WIDTH, 10))


def of_groups(model: nn.Module) -> nn.Sequential:
    """A network for a fleet whose samples are whole batches, shape (1, GROUP, 64)."""
    return nn.Sequential(nn.Flatten(0, 1), model, nn.Unflatten(0, (-1, GROUP)))


@torch.no_grad()
def averaged_anew(model: nn.Module, inputs: Tensor) -> nn.Module:
    """The network, in testing, with the statistics of all these samples at its own weights as moving averages."""
    model.train()
    for module in model.modules():
        if isinstance(module, Normalization):
            module.momentum = 1.0
    model(inputs)
    return model.eval()


def _fleet(
    build: Callable[[], nn.Module],
    loss: SampleLoss,
    data: tuple[Tensor, Tensor],
    arms: Sequence[tuple[str, Rule]],
    size: int,
    seed: int,
    updates: int,
) -> Fleet:
    """A network of each kind with its rule, all from the same start and on the same batches."""
    model, schedule = build(), Cosine(updates=updates)
    members = [
        Member(rule=rule, batch_size=size, seed=seed, schedule=schedule, initial=of_kind(kind, model))
        for kind, rule in arms
    ]
    return train_fleet(build, loss, *data, members, updates)


def learned(kinds: Sequence[str], seed: int, size: int, updates: int, rates: Sequence[float]) -> dict[str, Any]:
    """Train convolutional networks of each kind at each rate of momentum 0.9, which falls to 0 by a cosine.

    Returns:
        Of each kind the ``rate`` with the lowest training loss, that ``loss``, and the ``error`` on held-out samples in
        per cent; ``anew`` is the error of batch normalization with averages over all samples.
    """
    digits = load("digits")
    arms = [(kind, heavy_ball(rate)) for kind in kinds for rate in rates]
    build = partial(convolutional, updates)
    fleet = _fleet(build, cross_entropy, (digits.inputs, digits.targets), arms, size, seed, updates)
    losses = torch.stack([cross_entropy(own, digits.targets).mean() for own in fleet.outputs(digits.inputs)])
    losses = losses.nan_to_num(math.inf).view(len(kinds), -1)
    wrong = 1.0 - accuracy(fleet.outputs(digits.held_out_inputs), digits.held_out_targets).view(len(kinds), -1)
    best = losses.argmin(1, keepdim=True)
    model = build()
    place = kinds.index("batch")
    model.load_state_dict(fleet.state(place * len(rates) + int(best[place])))
    anew = averaged_anew(model, digits.inputs)(digits.held_out_inputs)
    return {
        "rate": dict(zip(kinds, [rates[k] for k in best.flatten().tolist()], strict=True)),
        "loss": dict(zip(kinds, losses.gather(1, best).flatten().tolist(), strict=True)),
        "error": dict(zip(kinds, (100.0 * wrong.gather(1, best)).flatten().tolist(), strict=True)),
        "anew": 100.0 - 100.0 * float(accuracy(anew, digits.held_out_targets)),
    }


def learned_in_groups(
    build: Callable[[], nn.Module], kinds: Sequence[str], order: str, seed: int, updates: int
) -> dict[str, dict[str, float]]:
    """Train on batches of one class or shuffled ones by gradient descent at each rate; each is a sample of the fleet.

    Returns:
        Of each kind, at the best of :data:`GROUP_RATES`, the error in per cent in training mode and in testing.
    """
    digits = load("digits")
    arms = [(kind, gradient_descent(rate)) for kind in kinds for rate in GROUP_RATES]
    given = groups(digits.inputs, digits.targets, order, seed)
    fleet = _fleet(lambda: of_groups(build()), loss_of_groups, given, arms, 1, seed, updates)
    held_out, classes = groups(digits.held_out_inputs, digits.held_out_targets, order, seed)
    late = fleet.losses[:, -len(given[0]) :].mean(1).nan_to_num(math.inf).view(len(kinds), -1)
    found = {}
    for place, (kind, best) in enumerate(zip(kinds, late.argmin(1).tolist(), strict=True)):
        model = of_groups(build())
        model.load_state_dict(fleet.state(place * len(GROUP_RATES) + best))
        outputs = by_mode(model[1], held_out)
        found[kind] = {
            mode: 100.0 - 100.0 * float(accuracy(own.flatten(0, 1), classes.flatten())) for mode, own in outputs.items()
        }
    return found
