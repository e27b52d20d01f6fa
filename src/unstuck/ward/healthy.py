"""Healthy trainings, and among them those that look ill: nothing is to be found in any of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unstuck.methods.schedule import Constant, Cosine, Cyclical, WarmUp
from unstuck.untouched import seeded
from unstuck.walk import fixed_threads, walk
from unstuck.ward import tasks
from unstuck.ward.changes import biased, followed, head
from unstuck.ward.fault import EVERY_HOST, MEASURED
from unstuck.ward.hosts import OPTIMIZERS, UPDATES
from unstuck.ward.networks import Transformer, perceptron
from unstuck.ward.parts import BEFORE, Parts

RESTART = 150
"""Updates after which :func:`restarted` begins again."""

UNUSED = 12
"""Features that say nothing."""

RISING = WarmUp(updates=200, then=Constant())


@dataclass(frozen=True, kw_only=True)
class Wellness:
    """One way of being healthy.

    Attributes:
        kind: its name.
        make: what it does to a host.
        hosts: to which it is done.
        optimizers: under which.
        runs: how many there are of it on the first hosts; as many for each follow on those that joined.
        ease: times the level of the host is where it should get: further up under noise, or at a lower rate.
    """

    kind: str
    make: Callable[[Parts], Parts]
    hosts: tuple[str, ...]
    optimizers: tuple[str, ...] = OPTIMIZERS
    runs: int = 6
    ease: float = 1.0


def as_it_is(parts: Parts) -> Parts:
    """The host."""
    return parts


def edge_of_stability(parts: Parts) -> Parts:
    """Gradient descent in large batches at so high a rate that the sharpness meets its limit, and the loss falls."""
    return parts.ruled(momentum=0.0, rate=20 * parts.rule.rate).but(batch=8 * parts.batch, walked=200)


def warming_up(parts: Parts) -> Parts:
    """The rate is still low, and rises."""
    return parts.but(schedule=RISING)


def half_warmed_up(parts: Parts) -> Parts:
    """The same on the way."""
    return parts.but(schedule=RISING, walked=50)


def normalized_last(parts: Parts) -> Parts:
    """A transformer with normalization after its shortcuts, and the warm-up that it needs."""
    with seeded(0):
        model = Transformer(len(tasks.LETTERS), tasks.CONTEXT, layers=3, normalized_first=False)
    return parts.but(model=model, schedule=RISING)


def cycling(parts: Parts) -> Parts:
    """A rate that goes up and down every two hundred updates."""
    return parts.but(schedule=Cyclical(updates=20_000, cycles=100), walked=100)


def decaying(parts: Parts) -> Parts:
    """In the first third of a cosine."""
    return parts.but(schedule=Cosine(updates=3 * UPDATES), walked=300)


def on_a_plateau(parts: Parts) -> Parts:
    """Symbols to be remembered: nothing is learned for a while, and then nearly all at once."""
    return parts.but(walked=20)


def converged(parts: Parts) -> Parts:
    """At its floor, at the end of a cosine."""
    return parts.but(schedule=Cosine(updates=3 * UPDATES, floor=0.02), walked=3 * UPDATES)


def frozen_on_purpose(parts: Parts) -> Parts:
    """A trained body that is frozen and in no optimizer, under a new last layer."""
    trained = parts.problem("before").branch()
    with fixed_threads(1):
        walk(trained, UPDATES // 2, order=BEFORE)
    last = head(trained.model)
    for parameter in trained.model.parameters():
        parameter.requires_grad_(False)
    with seeded(1), torch.no_grad():
        last.reset_parameters()
    for parameter in last.parameters():
        parameter.requires_grad_(True)
    return parts.but(model=trained.model, listed=lambda model: list(head(model).parameters()))


def accumulating(parts: Parts) -> Parts:
    """Four small batches to an update, as many samples as before."""
    return parts.but(batch=parts.batch // 4, accumulate=4)


def at_the_noise(parts: Parts) -> Parts:
    """A fifth of the targets are wrong, and a small network has learned what there is to learn."""
    inputs, targets = parts.train
    drawn = torch.Generator().manual_seed(19)
    others = targets[torch.randperm(len(targets), generator=drawn, device="cpu")]
    wrong = torch.rand(len(targets), generator=drawn, device="cpu") < 0.2
    with seeded(0):
        model = perceptron((tasks.FEATURES, 8, tasks.KINDS))
    noisy = (inputs, torch.where(wrong, others, targets))
    return parts.but(train=noisy, model=model, schedule=Cosine(updates=3 * UPDATES, floor=0.05), walked=3 * UPDATES)


def sparse(parts: Parts) -> Parts:
    """Wide rectified layers of which few units are active for a sample."""
    with seeded(0):
        model = perceptron((tasks.FEATURES, 128, 64, tasks.KINDS))
    return parts.but(model=biased(model, -0.3))


def a_little_dropout(parts: Parts) -> Parts:
    """As much dropout as is usual."""
    return parts.but(model=followed(parts.model, lambda: nn.Dropout(0.1)))


def small_batches(parts: Parts) -> Parts:
    """A quarter of the batch at a quarter of the rate."""
    return parts.ruled(rate=parts.rule.rate / 4).but(batch=parts.batch // 4)


def larger_batches(parts: Parts) -> Parts:
    """Four times the batch at twice the rate."""
    return parts.ruled(rate=2 * parts.rule.rate).but(batch=4 * parts.batch)


def without_momentum(parts: Parts) -> Parts:
    """Plain gradient descent with steps as long as those of momentum become."""
    return parts.ruled(momentum=0.0, rate=10 * parts.rule.rate)


def nearly_normalized(parts: Parts) -> Parts:
    """Features a little off zero and one."""
    return parts.seeing(lambda inputs: 1.5 * inputs + 0.3)


def clipped(parts: Parts) -> Parts:
    """Gradients cut to a norm that some of them exceed."""
    return parts.but(clip_norm=1.0)


class Standardized(nn.Module):
    """(x − μ) / σ, with numbers that were found once and are kept with the model."""

    def __init__(self, mean: float, deviation: float) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, device="cpu"))
        self.register_buffer("deviation", torch.tensor(deviation, device="cpu"))

    def forward(self, inputs: Tensor) -> Tensor:
        """Shapes as of the inputs."""
        return (inputs - self.get_buffer("mean")) / self.get_buffer("deviation")


def normalized_in_the_model(parts: Parts) -> Parts:
    """Inputs in large units and far from zero, and a model that normalizes them before all else."""
    model = nn.Sequential(Standardized(500.0, 100.0), parts.model)
    return parts.seeing(lambda inputs: 100 * inputs + 500).but(model=model)


def zero_head(parts: Parts) -> Parts:
    """A last layer of zeros: the first outputs are all the same, the first gradients but its own are zero."""
    for parameter in head(parts.model).parameters():
        nn.init.zeros_(parameter)
    return parts


def never_shuffled(parts: Parts) -> Parts:
    """Nothing shuffles the samples, which are in no order."""
    return parts.but(shuffle=False)


def sorted_and_shuffled(parts: Parts) -> Parts:
    """Samples in the order of their targets, and shuffled as they are drawn."""
    inputs, targets = parts.train
    order = targets.reshape(len(targets), -1)[:, 0].argsort(stable=True)
    return parts.but(train=(inputs[order], targets[order]))


def restarted(parts: Parts) -> Parts:
    """A cosine that has just begun again (Loshchilov and Hutter 2017, "SGDR"): the loss has risen for a moment."""
    return parts.but(schedule=_restarting, walked=2 * RESTART + 5)


def _restarting(update: int) -> float:
    return 0.5 * (1 + math.cos(math.pi * (update % RESTART) / RESTART))


def unused_features(parts: Parts) -> Parts:
    """Some features are zero for every sample, as the margins of images are."""
    inward, outward = parts.train[0].shape[1] + UNUSED, head(parts.model).out_features
    with seeded(0):
        model = perceptron((inward, 48, 48, outward))
    return parts.seeing(lambda inputs: F.pad(inputs, (0, UNUSED))).but(model=model)


def smoothed_targets(parts: Parts) -> Parts:
    """Targets that are a tenth sure of nothing (Szegedy et al. 2016): the loss has a floor far above zero."""
    return parts.but(loss=partial(F.cross_entropy, label_smoothing=0.1))


def tied(parts: Parts) -> Parts:
    """One matrix for the characters that are read and those that are written (Press and Wolf 2017)."""
    model = parts.model
    assert isinstance(model, Transformer)
    nn.init.normal_(model.letters.weight, std=0.1, generator=torch.Generator().manual_seed(0))
    model.head.weight = model.letters.weight
    return parts


ALL: tuple[Wellness, ...] = (
    Wellness(kind="as-it-is", make=as_it_is, hosts=EVERY_HOST, runs=36),
    Wellness(kind="edge-of-stability", make=edge_of_stability, hosts=("perceptron",), optimizers=("sgd",), runs=3),
    Wellness(kind="warming-up", make=warming_up, hosts=EVERY_HOST, ease=1.2),
    Wellness(kind="half-warmed-up", make=half_warmed_up, hosts=EVERY_HOST),
    Wellness(
        kind="normalized-last", make=normalized_last, hosts=("transformer",), optimizers=("adam", "adamw"), runs=2
    ),
    Wellness(kind="cycling", make=cycling, hosts=EVERY_HOST, ease=1.3),
    Wellness(kind="decaying", make=decaying, hosts=EVERY_HOST),
    Wellness(kind="on-a-plateau", make=on_a_plateau, hosts=("recurrent",), runs=4),
    Wellness(kind="converged", make=converged, hosts=("recurrent", "autoencoder", "residual", "mixer"), runs=6),
    Wellness(
        kind="frozen-on-purpose",
        make=frozen_on_purpose,
        hosts=("perceptron", "convolutional", "residual", "bag-of-words"),
        ease=1.2,
    ),
    Wellness(kind="accumulating", make=accumulating, hosts=EVERY_HOST),
    Wellness(kind="at-the-noise", make=at_the_noise, hosts=("perceptron",), runs=3, ease=3),
    Wellness(kind="sparse", make=sparse, hosts=("perceptron",), runs=3),
    Wellness(
        kind="a-little-dropout",
        make=a_little_dropout,
        hosts=("perceptron", "convolutional", "transformer", "mixer"),
        runs=3,
        ease=1.2,
    ),
    Wellness(kind="small-batches", make=small_batches, hosts=MEASURED, runs=4),
    Wellness(
        kind="larger-batches",
        make=larger_batches,
        hosts=("perceptron", "autoencoder", "convolutional", "bag-of-words"),
        runs=3,
        ease=1.2,
    ),
    Wellness(
        kind="without-momentum",
        make=without_momentum,
        hosts=("perceptron", "convolutional", "autoencoder", "bag-of-words"),
        optimizers=("sgd",),
        runs=3,
    ),
    Wellness(kind="nearly-normalized", make=nearly_normalized, hosts=MEASURED, runs=4),
    Wellness(kind="clipped", make=clipped, hosts=("recurrent", "transformer", "bag-of-words", "mixer"), runs=3),
    Wellness(
        kind="normalized-in-the-model",
        make=normalized_in_the_model,
        hosts=("perceptron", "convolutional", "residual", "recurrent", "autoencoder", "mixer"),
        runs=5,
    ),
    Wellness(kind="zero-head", make=zero_head, hosts=EVERY_HOST, ease=1.1),
    Wellness(kind="never-shuffled", make=never_shuffled, hosts=EVERY_HOST),
    Wellness(kind="sorted-and-shuffled", make=sorted_and_shuffled, hosts=EVERY_HOST),
    Wellness(kind="restarted", make=restarted, hosts=EVERY_HOST, ease=1.2),
    Wellness(kind="unused-features", make=unused_features, hosts=("perceptron", "autoencoder"), runs=4, ease=1.2),
    Wellness(
        kind="smoothed-targets",
        make=smoothed_targets,
        hosts=("perceptron", "convolutional", "residual", "bag-of-words"),
        runs=4,
        ease=3.5,
    ),
    Wellness(kind="tied", make=tied, hosts=("transformer",), runs=3, ease=1.1),
)

BY_KIND = {each.kind: each for each in ALL}
