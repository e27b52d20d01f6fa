"""Chapter 5: scales of inputs, of signals on their way through the layers, and of gradients on their way back."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from unstuck.untouched import seeded
from unstuck.ward import tasks
from unstuck.ward.changes import biased, layers, scaled
from unstuck.ward.fault import LAYERED, MEASURED, Fault
from unstuck.ward.networks import Recurrent, perceptron
from unstuck.ward.parts import Parts

BATCH_NORMALIZED = ("convolutional",)
SPIKE = 10
"""Updates at a rate that was meant for nobody."""


def shifted(parts: Parts, severity: float) -> Parts:
    """Features far from zero."""
    return parts.seeing(lambda inputs: inputs + severity)


def scaled_inputs(parts: Parts, severity: float) -> Parts:
    """Features in other units."""
    return parts.seeing(lambda inputs: inputs * severity)


def columns(parts: Parts, severity: float) -> Parts:
    """Each feature in a unit of its own."""
    drawn = torch.Generator().manual_seed(11)
    count = parts.train[0].shape[-1]
    factors = 10 ** (severity * (2 * torch.rand(count, generator=drawn, device="cpu") - 1))
    return parts.seeing(lambda inputs: inputs * factors)


def one_large(parts: Parts, severity: float) -> Parts:
    """One feature in another unit."""

    def enlarged(inputs: Tensor) -> Tensor:
        changed = inputs.clone()
        changed[..., 1] *= severity
        return changed

    return parts.seeing(enlarged)


def deep(parts: Parts, activation: type[nn.Module], depth: int) -> Parts:
    """Many layers of one width with torch's own initialization and no help on the way."""
    inward, outward = parts.train[0].shape[1], layers(parts.model)[-1].weight.shape[0]
    with seeded(0):
        model = perceptron((inward, *[32] * depth, outward), activation)
    return parts.but(model=model)


def deep_sigmoid(parts: Parts, severity: float) -> Parts:
    """Sigmoids after sigmoids, each with a slope of a quarter at best."""
    return deep(parts, nn.Sigmoid, int(severity))


def deep_rectified(parts: Parts, severity: float) -> Parts:
    """So many layers of torch's own initialization, which takes two thirds of the size off at each."""
    return deep(parts, nn.ReLU, int(severity))


def shrinking(parts: Parts, severity: float) -> Parts:
    """Six layers of tanh, their weights smaller than they should be."""
    parts = deep(parts, nn.Tanh, 6)
    return parts.but(model=scaled(parts.model, severity))


def growing(parts: Parts, severity: float) -> Parts:
    """Six rectified layers, their weights larger than they should be."""
    parts = deep(parts, nn.ReLU, 6)
    return parts.but(model=scaled(parts.model, severity))


def recurrent(parts: Parts, nonlinearity: str, factor: float) -> Parts:
    """A plain recurrent layer whose matrix from step to step is a rotation times a factor."""
    with seeded(0):
        layer = nn.RNN(tasks.SYMBOLS, 24, nonlinearity=nonlinearity, batch_first=True)
        nn.init.orthogonal_(layer.get_parameter("weight_hh_l0"), gain=factor)
        model = Recurrent(layer, tasks.SYMBOLS)
    return parts.but(model=model)


def forgetful(parts: Parts, severity: float) -> Parts:
    """A memory that loses most of itself at each step."""
    return recurrent(parts, "tanh", severity)


def explosive(parts: Parts, severity: float) -> Parts:
    """A memory that grows at each step."""
    return recurrent(parts, "relu", severity)


def spiked(parts: Parts, severity: float) -> Parts:
    """One sample in a hundred is so far out that its gradient outweighs all others."""
    inputs, targets = parts.train
    far = inputs.clone()
    far[::100] *= severity
    return parts.but(train=(far, targets))


def dead(parts: Parts, severity: float) -> Parts:
    """Biases that keep rectified units off for nearly every sample."""
    return parts.but(model=biased(parts.model, -severity))


def saturated(parts: Parts, severity: float) -> Parts:
    """Units of tanh whose weights drive them to their ends."""
    inward, outward = parts.train[0].shape[1], layers(parts.model)[-1].weight.shape[0]
    with seeded(0):
        model = perceptron((inward, 32, 32, outward), nn.Tanh)
    with torch.no_grad():
        for layer in layers(model)[:-1]:
            layer.weight.mul_(severity)
    return parts.but(model=model)


def spike(parts: Parts, severity: float) -> Parts:
    """Ten updates at a rate that kills units, then the right one."""
    return parts.but(schedule=partial(_after_spike, rate=severity), walked=3 * SPIKE)


def _after_spike(update: int, rate: float) -> float:
    return rate if update < SPIKE else 1.0


def closed_gates(parts: Parts, severity: float) -> Parts:
    """Update gates that are shut by their biases: the state stays as it was at the beginning."""
    for layer in parts.model.modules():
        if isinstance(layer, nn.GRU):
            with torch.no_grad():
                layer.get_parameter("bias_ih_l0")[layer.hidden_size : 2 * layer.hidden_size].fill_(severity)
    return parts


def _with_statistics(parts: Parts, momentum: float) -> Parts:
    for module in parts.model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = momentum
    return parts


def slow_statistics(parts: Parts, severity: float) -> Parts:
    """Running statistics that hardly move: they are still those of the beginning."""
    return _with_statistics(parts, severity).but(walked=300)


def last_batch(parts: Parts, severity: float) -> Parts:
    """Running statistics that are those of the last batch, which is small."""
    return _with_statistics(parts, 1.0).but(batch=int(severity), walked=300)


def strange_statistics(parts: Parts, severity: float) -> Parts:
    """Running statistics of other data, as those of a network that was taken over, and that nothing updates."""

    def taken_over(model: nn.Module) -> None:
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 0.0
                module.get_buffer("running_mean").add_(severity)
                module.get_buffer("running_var").mul_(severity**2)

    return parts.but(walked=300, touched=taken_over)


FAULTS = (
    Fault(
        kind="shifted-inputs",
        cause="unnormalized-inputs",
        plant=shifted,
        hosts=MEASURED,
        severities=(10, 100),
    ),
    Fault(
        kind="large-inputs",
        cause="unnormalized-inputs",
        plant=scaled_inputs,
        hosts=MEASURED,
        severities=(30, 300),
    ),
    Fault(
        kind="tiny-inputs",
        cause="unnormalized-inputs",
        plant=scaled_inputs,
        hosts=MEASURED,
        severities=(1e-2, 1e-4),
    ),
    Fault(
        kind="column-scales",
        cause="unnormalized-inputs",
        plant=columns,
        hosts=MEASURED,
        severities=(1.5, 3),
    ),
    Fault(
        kind="one-large-feature",
        cause="unnormalized-inputs",
        plant=one_large,
        hosts=MEASURED,
        severities=(100, 1_000),
    ),
    Fault(
        kind="deep-sigmoid",
        cause="vanishing-gradient",
        plant=deep_sigmoid,
        hosts=LAYERED,
        severities=(4, 8),
    ),
    Fault(
        kind="deep-without-help",
        cause="vanishing-gradient",
        plant=deep_rectified,
        hosts=LAYERED,
        severities=(10, 16),
    ),
    Fault(
        kind="shrinking-layers",
        cause="vanishing-gradient",
        also=("saddle-point",),
        plant=shrinking,
        hosts=LAYERED,
        severities=(0.5, 0.2),
    ),
    Fault(
        kind="forgetful-recurrence",
        cause="vanishing-gradient",
        plant=forgetful,
        hosts=("recurrent",),
        severities=(0.5, 0.2),
    ),
    Fault(
        kind="growing-layers",
        cause="exploding-gradient",
        plant=growing,
        hosts=LAYERED,
        severities=(5, 10),
    ),
    Fault(
        kind="growing-recurrence",
        cause="exploding-gradient",
        plant=explosive,
        hosts=("recurrent",),
        severities=(1.5, 3),
    ),
    Fault(
        kind="spikes",
        cause="exploding-gradient",
        also=("unnormalized-inputs",),
        plant=spiked,
        hosts=MEASURED,
        severities=(100, 1_000),
    ),
    Fault(
        kind="dead-rectifiers",
        cause="dead-units",
        plant=dead,
        hosts=("perceptron", "convolutional", "residual", "bag-of-words"),
        severities=(5, 20),
    ),
    Fault(
        kind="saturated-units",
        cause="dead-units",
        plant=saturated,
        hosts=LAYERED,
        severities=(20, 100),
    ),
    Fault(
        kind="killed-by-a-spike",
        cause="dead-units",
        also=("learning-rate-too-high",),
        plant=spike,
        hosts=("perceptron", "convolutional", "residual"),
        severities=(100, 300),
    ),
    Fault(
        kind="closed-gates",
        cause="dead-units",
        plant=closed_gates,
        hosts=("recurrent",),
        severities=(16, 24),
    ),
    Fault(
        kind="slow-statistics",
        cause="train-eval-mismatch",
        plant=slow_statistics,
        hosts=BATCH_NORMALIZED,
        severities=(1e-3, 1e-5),
    ),
    Fault(
        kind="last-batch-statistics",
        cause="train-eval-mismatch",
        also=("gradient-noise",),
        plant=last_batch,
        hosts=BATCH_NORMALIZED,
        severities=(4, 2),
        updates=300,
    ),
    Fault(
        kind="strange-statistics",
        cause="train-eval-mismatch",
        plant=strange_statistics,
        hosts=BATCH_NORMALIZED,
        severities=(2, 10),
    ),
)
