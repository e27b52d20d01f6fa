"""Large batches: what brings back, in as many epochs, what a small batch reaches."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch
from torch import nn

from unstuck import plot
from unstuck.fleet import Member
from unstuck.methods.schedule import Constant, Schedule
from unstuck.methods.update import Rule, adam, gradient_descent, heavy_ball, nesterov
from unstuck.methods.warm_up import Gradual
from unstuck.study import Gate, Measurement, Runs, Study
from unstuck.study.experiments.large_batches import (
    SAMPLES,
    ghost,
    layer_step,
    network,
    normalized,
    parted,
    problem,
    recalibrated,
    scaling_order,
    seen,
    trained,
    walked,
)

PASSES, SMALL, MIDDLE, LARGE = 10, 16, 128, 512
"""Epochs, the batch that is to be matched, and two larger ones."""

SIZES = (SMALL, 32, 64, MIDDLE, 256, LARGE, SAMPLES)

RATE, WARM = 0.1, 0.3
"""Of the small batch, from which the rules start; and over which share of all updates a warm-up rises from it."""

RULES: Mapping[str, float] = {"same rate": 0.0, "square root": 0.5, "linear": 1.0, "linear, warm-up": 1.0}
"""Name → p: a batch k times as large has kᵖ times the rate."""

DOUBLINGS = 10
"""Each method tries so many rates, each twice the last; the one with the lowest training loss counts."""

METHODS: Mapping[str, tuple[float, Callable[..., Rule] | None]] = {
    "gradient descent": (0.05, gradient_descent),
    "momentum": (0.01, heavy_ball),
    "nesterov": (0.01, nesterov),
    "adam": (0.001, adam),
    "lars": (0.02, None),
    "lamb": (0.001, None),
}
"""Name → its lowest rate, and its rule; LARS and LAMB are those of their package."""

TRUST = 0.02
"""Of LARS. In its paper 0.001, with which it does worse here."""

UNEVEN = 5.0
"""The first layer's weights are so many times as large in uneven networks, and the second's smaller by as much."""

LIVELY, CALM = heavy_ball(0.06), gradient_descent(0.1)
"""How SWAP's workers go on: kicked far about by noise, and hardly."""


def plan(seeds: Sequence[int], quick: bool) -> list[dict[str, Any]]:
    """For each seed the rules for the rate, the methods, ghost batches, and averages of workers."""
    sizes = [size for size in SIZES if not quick or size in (SMALL, MIDDLE, LARGE)]
    parts: list[dict[str, Any]] = [{"part": "rules", "sizes": sizes}]
    parts += [{"part": part} for part in ("methods", "ghosts", "workers")]
    return [{"seed": seed} | part for seed in seeds for part in parts]


def run(seed: int, part: str, sizes: Sequence[int] = SIZES) -> dict[str, Any]:
    """One part of the study, for one seed."""
    if part == "rules":
        return _rules(seed, sizes)
    return {"methods": _methods, "ghosts": _ghosts, "workers": _workers}[part](seed)


def _rules(seed: int, sizes: Sequence[int]) -> dict[str, Any]:
    """Every batch size under every rule, in as many epochs; and the large one in as many updates."""
    curves: dict[str, dict[str, list[float]]] = {name: {"loss": [], "accuracy": []} for name in RULES}
    for size in sizes:
        times, updates = size / SMALL, PASSES * (SAMPLES // size)
        rise = Gradual(updates=max(1, round(WARM * updates)), start=1 / times)
        schedules: dict[str, Schedule] = {"linear, warm-up": rise}
        members = [
            Member(
                rule=gradient_descent(RATE * times**power),
                batch_size=size,
                seed=seed,
                schedule=schedules.get(name, Constant()),
            )
            for name, power in RULES.items()
        ]
        found = seen(trained(members, updates).outputs)
        for place, name in enumerate(RULES):
            for part in ("loss", "accuracy"):
                curves[name][part].append(found[part][place])
    rule = gradient_descent(RATE * math.sqrt(LARGE / SMALL))
    adapted = seen(trained([Member(rule=rule, batch_size=LARGE, seed=seed)], PASSES * (SAMPLES // SMALL)).outputs)
    small = curves["same rate"]["accuracy"][0]

    def lost(rule: str, size: int) -> float:
        return small - curves[rule]["accuracy"][sizes.index(size)]

    middle, large = lost("same rate", MIDDLE), lost("same rate", LARGE)
    return {
        "sizes": list(sizes),
        "curves": curves,
        "numbers": {
            "lost": middle,
            "linear": 1 - lost("linear, warm-up", MIDDLE) / middle,
            "square root": 1 - lost("square root", MIDDLE) / middle,
            "linear, large": 1 - lost("linear, warm-up", LARGE) / large,
            "abrupt": lost("linear", MIDDLE) - lost("linear, warm-up", MIDDLE),
            "updates": small - adapted["accuracy"][0],
            "order": scaling_order(),
        },
    }


def _methods(seed: int) -> dict[str, Any]:
    """The large batch with every method, at each of its rates; two of them on uneven networks, too."""
    small = Member(rule=gradient_descent(RATE), batch_size=SMALL, seed=seed)
    base = seen(trained([small], PASSES * (SAMPLES // SMALL)).outputs)
    found = {name: _tuned(name, seed, 1.0) for name in METHODS}
    loss = {name: min(own["loss"]) for name, own in found.items()}
    uneven = {name: min(_tuned(name, seed, UNEVEN)["loss"]) / loss[name] for name in ("gradient descent", "lars")}
    reached = found["adam"]["accuracy"][int(np.argmin(found["adam"]["loss"]))]
    unchanged = found["gradient descent"]["accuracy"][1]  # at RATE
    return {
        "methods": found,
        "numbers": {
            "method": (reached - unchanged) / (base["accuracy"][0] - unchanged),
            "lars": loss["lars"] / loss["adam"],
            "lamb": loss["lamb"] / loss["adam"],
            "uneven": uneven["gradient descent"] / uneven["lars"],
            "step": layer_step(seed, TRUST),
        },
    }


def _tuned(name: str, seed: int, uneven: float) -> dict[str, list[float]]:
    """What a method reaches with the large batch at each of its rates."""
    lowest, rule = METHODS[name]
    rates = [lowest * 2**number for number in range(DOUBLINGS)]
    updates = PASSES * (SAMPLES // LARGE)
    if rule is not None:
        members = [Member(rule=rule(rate), batch_size=LARGE, seed=seed) for rate in rates]
        return {"rates": rates} | seen(trained(members, updates, partial(network, uneven)).outputs)
    settings = {"trust": TRUST} if name == "lars" else {}
    models = [walked(problem(seed, LARGE, uneven), name, updates, rate, settings, order=seed) for rate in rates]
    return {"rates": rates} | seen(lambda inputs: torch.stack([model(inputs) for model in models]))


def _ghosts(seed: int) -> dict[str, Any]:
    """The large batch with batch normalization over all of it and over parts, each at its best rate."""
    found = {}
    for name, norm in (("whole", nn.BatchNorm1d), ("ghost", ghost)):
        members = [Member(rule=gradient_descent(0.1 * 2**number), batch_size=LARGE, seed=seed) for number in range(6)]
        fleet = trained(members, PASSES * (SAMPLES // LARGE), partial(normalized, norm))
        own = seen(recalibrated(fleet))
        best = int(np.argmin(own["loss"]))
        found[name] = {part: values[best] for part, values in own.items()}
    return {"ghosts": found, "numbers": {"ghost": found["ghost"]["accuracy"] - found["whole"]["accuracy"]}}


def _workers(seed: int) -> dict[str, Any]:
    """SWAP: a large batch, then workers with small ones from there, then their mean; and the mean of strangers."""
    first = trained([Member(rule=heavy_ball(RATE), batch_size=SAMPLES // 2, seed=seed)], 40)
    (start,) = seen(first.outputs)["held_out_loss"]
    losses, mean, more = parted(seed, LIVELY, first.state(0))
    calm, calm_mean, _ = parted(seed, CALM, first.state(0))
    strange, strange_mean, _ = parted(seed, CALM, None)
    return {
        "numbers": {
            "swap": mean / float(np.mean(losses)),
            "swap, start": mean / start,
            "swap, accuracy": more,
            "calm": calm_mean / float(np.mean(calm)),
            "strangers": strange_mean / float(np.mean(strange)),
        },
    }


MEASURED: Mapping[str, tuple[str, str, str]] = {
    "accuracy lost at the same rate": ("rules", "lost", "points, batches of 128 against 16, in as many epochs"),
    "share recovered by linear scaling": ("rules", "linear", "of that, with a warm-up"),
    "share recovered by square-root scaling": ("rules", "square root", "of that"),
    "share recovered by linear scaling, batches of 512": ("rules", "linear, large", "of what is lost there"),
    "accuracy gained by a warm-up": ("rules", "abrupt", "points, batches of 128 at eight times the rate"),
    "accuracy lost in as many updates": ("rules", "updates", "points, batches of 512, square-root scaling"),
    "order of linear scaling": ("rules", "order", "the power of the rate with which 32 steps and one go apart"),
    "share recovered by Adam": ("methods", "method", "batches of 512, at the best of ten rates"),
    "loss of LARS over that of Adam": ("methods", "lars", "training loss, each at its best rate"),
    "loss of LAMB over that of Adam": ("methods", "lamb", "training loss, each at its best rate"),
    "cost of uneven layers, gradient descent over LARS": ("methods", "uneven", "loss over that on even layers"),
    "error of the length of a step of LARS": ("methods", "step", "against η · trust · ‖W‖, largest of all layers"),
    "accuracy gained by ghost batches": ("ghosts", "ghost", "points, 32 of 512 samples, each at its best rate"),
    "loss of the mean of workers over theirs": ("workers", "swap", "on held-out data"),
    "loss of the mean of workers over the large batch's": ("workers", "swap, start", "on held-out data"),
    "accuracy of the mean of workers over theirs": ("workers", "swap, accuracy", "points"),
    "loss of the mean of calm workers over theirs": ("workers", "calm", "without momentum"),
    "loss of the mean of strangers over theirs": ("workers", "strangers", "from different starts"),
}
"""What is measured → in which part, as which number of its runs, and what that is."""


def measure(runs: Runs) -> list[Measurement]:
    """What the gates are about."""

    def values(part: str, number: str) -> dict[int, float]:
        found = {run.seed: run.result["numbers"][number] for run in runs.where(part=part)}
        return {seed: math.nan if value is None else value for seed, value in found.items()}

    return [
        Measurement(name=name, says=says, values=values(part, number))
        for name, (part, number, says) in MEASURED.items()
    ]


def draw(runs: Runs) -> Mapping[str, go.Figure]:
    """Every rule against the batch size, and every method against its rate."""
    rules, methods = (runs.where(part=part).results() for part in ("rules", "methods"))
    sizes = plot.figure(
        title="A larger batch in as many epochs, by four rules for the rate",
        x="batch size",
        y="held-out accuracy, per cent",
        log_x=True,
        summary="At the same rate, accuracy falls with the batch size. With the linear rule it stays up to batches of "
        "256, then the training breaks. The square root falls late and little. The warm-up changes nothing here.",
    )
    for name in RULES:
        found = np.array([result["curves"][name]["accuracy"] for result in rules])
        plot.line_with_spread(sizes, rules[0]["sizes"], found.mean(0), found.min(0), found.max(0), name=name)
    rates = plot.figure(
        title=f"Batches of {LARGE}: every method at every rate",
        x="rate",
        y="training loss after 10 epochs",
        log_x=True,
        log_y=True,
        summary="Each method has a valley of good rates, and breaks beyond. The lowest valley is Adam's, and not "
        "that of LARS or LAMB.",
    )
    for name in METHODS:
        lost = np.array([result["methods"][name]["loss"] for result in methods], dtype=float)
        middle = np.median(np.where(np.isfinite(lost), lost, np.inf), axis=0)
        plot.line(rates, methods[0]["methods"][name]["rates"], np.minimum(middle, 10.0), name=name)
    rates.data[-1].update(line={"dash": "dashdot"})  # the sixth would look like the first
    return {"rules": sizes, "methods": rates}


STUDY = Study(
    name="large-batch",
    title="What brings back the small batch",
    chapter=2,
    claim="In as many epochs a large batch reaches what a small one does, if its learning rate grows with it.",
    source="Goyal et al. 2017; Hoffer et al. 2017; You et al. 2017, 2020; Gupta et al. 2020; Lee 2021, chapter 2",
    setting="Networks 64-64-64-10 on 1,280 digits, 10 epochs; gradient descent at rate 0.1 with batches of 16, and "
    "larger batches at rates by rule. Batches of 512, 20 updates, by six methods at ten rates each, of which the one "
    "with the lowest training loss counts. For LARS and LAMB: pip install 'unstuck[optim]'.",
    explains="The lecture lists five papers that train with enormous batches: ImageNet in an hour (Goyal et al. 2017) "
    "and in 15 minutes (Akiba et al. 2017), BERT in 76 minutes with LAMB (You et al. 2020), LARS (You et al. 2017) and "
    "SWAP (Gupta et al. 2020). Their means are tried here on digits. In the first picture, a larger batch at the same "
    "rate makes fewer steps of the same length, and is left behind. With k times the rate for a batch k times as "
    "large, one step does what k small ones did. This is exact as long as the gradient does not change on the way; the "
    "error grows with the square of the rate. So the rule holds up to 16 times the batch, and breaks at 32, where the "
    "steps are too long for the curvature. The square root is safer. In as many updates, nothing is lost at all.\n\n"
    "The second picture is about the batch that broke the rule. LARS and LAMB give each layer a step in proportion to "
    "its weights, so that uneven layers, which slow gradient descent down, hardly matter. But Adam, with as many rates "
    "to choose from, does better here, and Nesterov's momentum as well as LARS. Nado et al. 2021 found as much on the "
    "large tasks: tuned alike, the standard methods match LARS and LAMB at the same batch sizes.\n\n"
    "Ghost batches, which normalize over 32 samples of 512 at a time, change little. In SWAP, workers with small "
    "batches go on by themselves from one large-batch start, and the mean of their weights is better than they are, "
    "because it averages out the noise that each carries. Calm workers carry none, and gain nothing; and the mean of "
    "networks from different starts is useless.",
    gates=(
        Gate(
            measurement="share recovered by linear scaling",
            says="with eight times the rate, a batch of 128 recovers four fifths of what it lost, or more",
            low=0.8,
            over="four seeds of five",
        ),
        Gate(
            measurement="accuracy lost at the same rate",
            says="which is three points or more",
            low=3.0,
            over="four seeds of five",
        ),
        Gate(
            measurement="share recovered by square-root scaling",
            says="the square root recovers half or more",
            low=0.5,
            over="mean",
        ),
        Gate(
            measurement="accuracy lost in as many updates",
            says="in as many updates, a batch of 512 loses less than a point",
            high=1.0,
            over="mean",
        ),
        Gate(
            measurement="share recovered by Adam",
            says="with a method and a rate of its own, it recovers nine tenths or more in as many epochs",
            low=0.9,
            over="four seeds of five",
        ),
        Gate(
            measurement="cost of uneven layers, gradient descent over LARS",
            says="uneven layers cost gradient descent more than LARS",
            low=1.3,
            over="median",
        ),
        Gate(
            measurement="loss of the mean of workers over theirs",
            says="the mean of SWAP's workers is better than they are",
            high=1.0,
            over="four seeds of five",
        ),
        Gate(
            measurement="loss of the mean of workers over the large batch's",
            says="and better than where they started",
            high=1.0,
            over="four seeds of five",
        ),
        Gate(
            measurement="loss of the mean of strangers over theirs",
            says="the mean of networks from different starts is useless",
            low=3.0,
            over="four seeds of five",
            role="control",
        ),
        Gate(
            measurement="order of linear scaling",
            says="linear scaling goes wrong with the square of the rate",
            low=1.9,
            high=2.1,
            role="control",
        ),
        Gate(
            measurement="error of the length of a step of LARS",
            says="a step of LARS is as long as its formula says",
            high=1e-4,
            role="control",
        ),
        Gate(
            measurement="share recovered by linear scaling, batches of 512",
            says="with 32 times the rate, linear scaling recovers nothing",
            high=0.0,
            over="four seeds of five",
            role="qualification",
        ),
        Gate(
            measurement="accuracy gained by a warm-up",
            says="a warm-up gains less than a point where the rule holds",
            high=1.0,
            over="mean",
            role="qualification",
        ),
        Gate(
            measurement="loss of LARS over that of Adam",
            says="with as many rates to choose from, LARS does not beat Adam",
            low=1.0,
            over="median",
            role="qualification",
        ),
        Gate(
            measurement="loss of LAMB over that of Adam",
            says="nor does LAMB",
            low=1.0,
            over="median",
            role="qualification",
        ),
        Gate(
            measurement="accuracy gained by ghost batches",
            says="ghost batches gain less than a point",
            high=1.0,
            over="mean",
            role="qualification",
        ),
        Gate(
            measurement="loss of the mean of calm workers over theirs",
            says="the mean of workers at rest gains less than a twentieth",
            low=0.95,
            over="mean",
            role="qualification",
        ),
    ),
    plan=plan,
    run=run,
    measure=measure,
    draw=draw,
    takes=(45, 20),
)
