"""Internal covariate shift: whether it is this that batch normalization lessens, or something else."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch

from unstuck import plot
from unstuck.datasets import load
from unstuck.fleet import Member, train_fleet
from unstuck.methods.update import gradient_descent
from unstuck.study import Gate, Measurement, Runs, Study
from unstuck.study.experiments.networks import accuracy, cross_entropy
from unstuck.study.experiments.shift import STEPS, at_equal_loss, steps, theorem_error
from unstuck.study.experiments.smoothers import ARMS, NORMS, network

BATCH, UPDATES, QUICK_UPDATES = 128, 160, 100

RATES = (0.05, 0.1, 0.2)

MEASURED = (0.05, 0.1)
"""The rates at which plain networks train, too, so that there is something to compare."""

SHAKEN_RATES = (0.05, 0.2)

EARLY = (0, 5, 10)
"""Numbers of updates after which is measured, besides those of :data:`EVERY`, which alone count in medians."""

EVERY = 20

LEVELS = (1.5, 1.0, 0.5)
"""Training losses at which networks are compared, however many updates each took to it."""

NAMES = {
    "plain": "without",
    "batch": "batch normalization",
    "l1": "ℓ1 norm",
    "l2": "ℓ2 norm",
    "l∞": "ℓ∞ norm",
    "batch, shaken": "batch normalization and noise",
    "plain, shaken": "noise, without normalization",
}


def plan(seeds: Sequence[int], quick: bool) -> list[dict[str, Any]]:
    """For each seed all networks; fewer updates where it shall be quick."""
    updates = QUICK_UPDATES if quick else UPDATES
    return [{"seed": seed, "arm": arm, "updates": updates} for seed in seeds for arm in ARMS]


def run(seed: int, arm: str, updates: int) -> dict[str, Any]:
    """Train one kind of network at each rate, and measure the steps that it could take on its way."""
    kind, depth, shaken = ARMS[arm]
    rates = SHAKEN_RATES if shaken else RATES
    digits = load("digits")
    seen = (*EARLY, *range(EVERY, updates + 1, EVERY))
    members = [Member(rule=gradient_descent(rate), batch_size=BATCH, seed=seed) for rate in rates]
    build = partial(network, kind, depth, shaken=shaken)
    fleet = train_fleet(build, cross_entropy, digits.inputs, digits.targets, members, updates, keep=seen)
    outputs = [fleet.at(at).outputs(digits.inputs) for at in seen]
    losses = torch.stack([torch.stack([cross_entropy(own, digits.targets).mean() for own in each]) for each in outputs])
    measured = {"plain": MEASURED, "batch": MEASURED, "plain, shaken": ()}.get(arm, MEASURED[:1])
    generator = torch.Generator(device="cpu").manual_seed(seed)
    drawn = torch.randperm(len(digits.inputs), generator=generator, device="cpu")[:BATCH]
    batch = digits.inputs[drawn], digits.targets[drawn]
    rows = {rate: torch.stack([fleet.kept[at][0][k] for at in seen]) for k, rate in enumerate(rates)}
    noisy = build() if shaken else None
    return {
        "updates": list(seen),
        "rates": list(rates),
        "losses": losses.T.tolist(),
        "accuracy": 100.0 * float(accuracy(outputs[-1], digits.targets).max()),
        "steps": {f"{rate:g}": steps(fleet.network, rows[rate], rate, batch, noisy=noisy) for rate in measured},
        "theorem": theorem_error(seed),
    }


def _typical(result: Mapping[str, Any], rate: float, name: str) -> float:
    """The median over the training, its first updates left out."""
    return float(np.median(result["steps"][f"{rate:g}"][name][len(EARLY) :]))


def _end(result: Mapping[str, Any], rates: Sequence[float] = RATES) -> float:
    """The training loss at the end, the lowest of those rates; what diverged counts as infinite."""
    ends = [result["losses"][result["rates"].index(rate)][-1] for rate in rates]
    return min(math.inf if end is None or math.isnan(end) else float(end) for end in ends)


SAYS = {
    "relative": "‖G − G'‖/‖G‖, mean over layers",
    "change": "largest within four steps, in shares of ‖g‖",
    "once": "in shares of ‖g‖",
}

Arms = Mapping[str, Mapping[str, Any]]

Found = dict[str, tuple[str, float]]
"""Of each measurement what it is, and its value for a seed."""


def _compared(arms: Arms, value: str, one: str, other: str, rate: float = MEASURED[0]) -> tuple[str, float]:
    """One kind's value over another's, in the middle of the training."""
    return f"{SAYS[value]}; rate {rate:g}", _typical(arms[one], rate, value) / _typical(arms[other], rate, value)


def _of_batch_normalization(arms: Arms) -> Found:
    """Beside the network that is not normalized."""
    plain, batch = arms["plain"], arms["batch"]
    found: Found = {}
    for rate in MEASURED:
        at = f"rate {rate:g}"
        cosines = [_typical(own, rate, "cosine") for own in (batch, plain)]
        found[f"covariate shift with over without, {at}"] = _compared(arms, "relative", "batch", "plain", rate)
        found[f"cosine with less without, {at}"] = "cos(G, G'), mean over layers", cosines[0] - cosines[1]
        found[f"gradient change without over with, {at}"] = _compared(arms, "change", "plain", "batch", rate)
    equal = partial(at_equal_loss, rate=MEASURED[-1], levels=LEVELS)
    for name, value in (
        ("covariate shift with over without", equal(batch, plain, "relative")),
        ("gradient change without over with", equal(plain, batch, "change")),
        ("range of the loss without over with", equal(plain, batch, "range")),
    ):
        found[f"{name}, at equal loss"] = f"rate {MEASURED[-1]:g}, at losses of {LEVELS}", value
    six = "plain, six layers", "batch, six layers"
    best = "at the end, each at its best rate"
    return found | {
        "covariate shift with over without, six layers": _compared(arms, "relative", six[1], six[0]),
        "gradient change without over with, six layers": _compared(arms, "change", *six),
        "loss with over without, six layers": (best, _end(arms[six[1]]) / _end(arms[six[0]])),
        "gradient change after one step without over with": _compared(arms, "once", "plain", "batch"),
        "gradient change in torch's initialization over with": _compared(arms, "change", "default", "batch"),
        "loss with batch normalization over without": (best, _end(batch) / _end(plain)),
        "accuracy without normalization": ("per cent of the training samples, best rate", plain["accuracy"]),
        "error of the theorem": ("relative, in double precision", batch["theorem"]),
    }


def _of_others(arms: Arms) -> Found:
    """Other norms in place of the deviation, and noise behind each normalization."""
    best, better = "at the end, each at its best rate", "at the end, each at the better of two rates"
    share = "per cent of the training samples, better rate"
    found: Found = {}
    for kind in NORMS:
        found[f"gradient change without over {kind}"] = _compared(arms, "change", "plain", kind)
        found[f"covariate shift with {kind} over without"] = _compared(arms, "relative", kind, "plain")
        found[f"loss with {kind} over without"] = best, _end(arms[kind]) / _end(arms["plain"])
    found["loss with l∞ over batch normalization"] = best, _end(arms["l∞"]) / _end(arms["batch"])
    shaken = arms["batch, shaken"]
    plain, batch, noisy = (_typical(arms[arm], MEASURED[0], "drift") for arm in ("plain", "batch", "batch, shaken"))
    losses = [_end(own, SHAKEN_RATES) for own in (shaken, arms["plain"])]
    drift = "by which the means of what activations are given move in an update"
    return found | {
        "drift of means with noise over without normalization": (drift, noisy / plain),
        "drift of means with batch normalization over without": (f"{drift}, no noise", batch / plain),
        "loss with noisy batch normalization over without": (better, losses[0] / losses[1]),
        "accuracy of noisy batch normalization": (share, shaken["accuracy"]),
        "accuracy of a plain network with noise": (share, arms["plain, shaken"]["accuracy"]),
    }


def measure(runs: Runs) -> list[Measurement]:
    """What the gates are about."""
    seeds = {seed: {arm: runs.where(arm=arm).of_seed(seed) for arm in ARMS} for seed in runs.seeds}
    found = {seed: _of_batch_normalization(arms) | _of_others(arms) for seed, arms in seeds.items()}
    return [
        Measurement(name=name, says=says, values={seed: own[name][1] for seed, own in found.items()})
        for name, (says, _) in found[runs.seeds[0]].items()
    ]


def _middle(runs: Runs, arm: str, name: str) -> Any:
    """The median over the seeds of what a step would change, at the lower rate."""
    found = [result["steps"][f"{MEASURED[0]:g}"][name] for result in runs.where(arm=arm).results()]
    return np.median(np.array(found, dtype=float), axis=0)


def _best(runs: Runs, arm: str) -> Any:
    """The median over the seeds of the training loss, of the rate whose last one is the lowest."""
    losses = np.array([result["losses"] for result in runs.where(arm=arm).results()], dtype=float)
    middle = np.median(np.nan_to_num(losses, nan=np.inf), axis=0)
    return middle[middle[:, -1].argmin()]


def draw(runs: Runs) -> Mapping[str, go.Figure]:
    """Gradients along the step, both measures of the shift over the training, and how the networks learn."""
    updates = runs.results()[0]["updates"]
    along = plot.figure(
        title="How the gradient changes along the step",
        x="way along the gradient, in steps of the training",
        y="‖g(θ − aηg) − g(θ)‖/‖g(θ)‖",
        log_y=True,
        summary="After one step the gradient has changed by a little more than its length, with and without "
        "normalization. Without, it goes on changing, in proportion to the way; with batch normalization or another "
        "norm it does not.",
    )
    for arm in ("plain", "batch", *NORMS):
        plot.line(along, STEPS, np.median(_middle(runs, arm, "along")[len(EARLY) :], axis=0), name=NAMES[arm])
    shift = plot.figure(
        title="Internal covariate shift",
        x="updates",
        y="‖G − G'‖/‖G‖, mean over layers",
        summary="In sixteen layers the shift is as large with batch normalization as without, at first larger. In six "
        "layers it is smaller.",
    )
    cosine = plot.figure(
        title="Direction of a layer's gradient, before and after the layers before it are updated",
        x="updates",
        y="cos(G, G'), mean over layers",
        summary="In sixteen layers the cosine is far below 1 with and without batch normalization. In six layers it is "
        "near 1, and nearer with it.",
    )
    for picture, name in ((shift, "relative"), (cosine, "cosine")):
        for arm in ("plain", "batch", "plain, six layers", "batch, six layers"):
            label = f"{NAMES[arm.removesuffix(', six layers')]}, {ARMS[arm][1]} layers"
            plot.line(picture, updates, _middle(runs, arm, name), name=label)
    training = plot.figure(
        title="Training in sixteen layers, each at its best rate",
        x="updates",
        y="training loss, without noise",
        log_y=True,
        summary="Batch normalization learns fastest, and the norms ℓ1 and ℓ2 about as fast. With noise behind it, it "
        "is slower, and still faster than the network without normalization, which with the same noise learns little.",
    )
    for arm, label in NAMES.items():
        plot.line(training, updates, _best(runs, arm), name=label)
    return {"along": along, "shift": shift, "cosine": cosine, "training": training}


_ratio = partial(Gate, over="geometric mean")

STUDY = Study(
    name="covariate-shift",
    title="Internal covariate shift",
    chapter=5,
    claim="It is not internal covariate shift that batch normalization lessens: it changes the surface, so that "
    "gradients change less along it.",
    source="Hung-yi Lee 2021, chapter 5; Santurkar et al. 2018; the explanation that they refute: Ioffe & Szegedy 2015",
    setting="Digits, sixteen hidden layers of 64 with ReLU, He's initialization, gradient descent in batches of 128, "
    "160 updates at rates of 0.05, 0.1 and 0.2. Along the way, for the same 128 samples: how a layer's gradient "
    "changes when the layers before it make their step, and how the whole gradient and the loss change in four steps.",
    explains="Each layer learns from what the layers before it give, and that changes with every update. Batch "
    "normalization was made to lessen this internal covariate shift. Whether it does can be measured: take a layer's "
    "gradient G, let only the layers before it make their step, and take it again, G'. In sixteen layers the "
    "difference is about as large as the gradient itself, with batch normalization as well as without, and the cosine "
    "is no nearer to 1. Yet the network learns much faster with it. What differs is the surface. After one step "
    "the gradient has changed by about its length, either way. Farther along it goes on changing without batch "
    "normalization, to several times its length after four steps; with it, no more: a step too long does no harm. "
    "That is so at equal losses, too.\n\n"
    "Two more experiments say the same. Let noise shift and stretch every unit behind its normalization, anew in each "
    "update. Then what the layers are given moves more from update to update than without any normalization, and the "
    "network still learns better than that one, which the same noise stops. And the deviation is nothing special: "
    "divided by their ℓ1 or ℓ2 norm, the units learn about as fast. So batch normalization may well have been found by "
    "chance, for another reason than that for which it works.\n\n"
    "All this is so in a deep network that needs help. In six layers batch normalization does halve the shift, as it "
    "lessens every change of the gradient: both measures are of the same kind, since the step of the layers before is "
    "a part of the whole step. There the plain network learns as well without it. In the first sense of the word, the "
    "means of what activations are given, the shift is lessened by construction; the noise shows that it does not "
    "matter. Nor is smooth always good: in torch's own initialization the plain network stands on a plateau, where "
    "gradients hardly change, and learns nothing. And ℓ∞ smooths, too, but learns more slowly.",
    gates=(
        *(
            _ratio(
                measurement=f"covariate shift with over without, rate {rate:g}",
                says=f"at a rate of {rate:g}, batch normalization does not lessen the shift, or by less than a third",
                low=0.7,
            )
            for rate in MEASURED
        ),
        _ratio(measurement="covariate shift with over without, at equal loss", says="nor at equal losses", low=0.7),
        Gate(
            measurement="cosine with less without, rate 0.05",
            says="the layers' gradients keep their direction no better with it",
            high=0.15,
            over="mean",
        ),
        *(
            _ratio(
                measurement=f"gradient change without over with, rate {rate:g}",
                says=f"at a rate of {rate:g}, the gradient changes half as much again without it, or more",
                low=1.5,
            )
            for rate in MEASURED
        ),
        _ratio(
            measurement="gradient change without over with, at equal loss",
            says="at equal losses it changes twice as much, or more",
            low=2.0,
        ),
        _ratio(
            measurement="range of the loss without over with, at equal loss",
            says="at equal losses the loss itself changes three times as much, or more",
            low=3.0,
        ),
        _ratio(
            measurement="drift of means with noise over without normalization",
            says="with noise behind it, what layers are given moves half as much again as without normalization",
            low=1.5,
        ),
        _ratio(
            measurement="loss with noisy batch normalization over without",
            says="it learns better all the same",
            high=0.8,
        ),
        Gate(
            measurement="accuracy of noisy batch normalization",
            says="it knows nine samples of ten",
            low=90.0,
            over="mean",
        ),
        Gate(
            measurement="accuracy of a plain network with noise",
            says="the same noise stops a network without normalization",
            high=70.0,
            over="mean",
        ),
        *(
            _ratio(
                measurement=f"gradient change without over {norm}",
                says=f"divided by the {NAMES[norm]}, too, gradients change less",
                low=1.5,
            )
            for norm in ("l1", "l2")
        ),
        *(
            _ratio(
                measurement=f"loss with {norm} over without",
                says=f"with the {NAMES[norm]}, too, the loss ends lower",
                high=0.7,
            )
            for norm in ("l1", "l2")
        ),
        _ratio(
            measurement="loss with batch normalization over without",
            says="batch normalization helps here, so that there is something to explain",
            high=0.7,
            role="control",
        ),
        Gate(
            measurement="accuracy without normalization",
            says="without it the network learns half of the samples or more, and is on no plateau",
            low=50.0,
            over="mean",
            role="control",
        ),
        Gate(
            measurement="error of the theorem",
            says="the theorem's identity for the gradient before batch normalization is exact",
            high=1e-12,
            role="control",
        ),
        _ratio(
            measurement="covariate shift with over without, six layers",
            says="in six layers, batch normalization does lessen the shift",
            high=0.8,
            role="qualification",
        ),
        _ratio(
            measurement="loss with over without, six layers",
            says="there, it does not help: the loss is no lower with it",
            low=1.0,
            role="qualification",
        ),
        _ratio(
            measurement="drift of means with batch normalization over without",
            says="the means of what activations are given move ten times less with it",
            high=0.1,
            role="qualification",
        ),
        _ratio(
            measurement="gradient change after one step without over with",
            says="after one step, the gradient has changed hardly more without it: it is beyond that it differs",
            high=1.6,
            role="qualification",
        ),
        _ratio(
            measurement="gradient change in torch's initialization over with",
            says="on the plateau of torch's initialization gradients change less, and nothing is learned",
            high=0.5,
            role="qualification",
        ),
        _ratio(
            measurement="loss with l∞ over batch normalization",
            says="the ℓ∞ norm does not do as well",
            low=1.5,
            role="qualification",
        ),
    ),
    plan=plan,
    run=run,
    measure=measure,
    draw=draw,
    takes=(75, 20),
    quick_seeds=(0,),
)
