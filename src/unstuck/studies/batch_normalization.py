"""Batch normalization: where it goes, what it does in training and in testing, and what it needs of a batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch
from torch import Tensor, nn

from unstuck import plot
from unstuck.datasets import load
from unstuck.fleet import Fleet, Member, train_fleet
from unstuck.methods.update import gradient_descent, heavy_ball
from unstuck.study import Gate, Measurement, Runs, Study
from unstuck.study.experiments.batch_formulas import coupling, errors, variance_of_batches
from unstuck.study.experiments.networks import accuracy, cross_entropy
from unstuck.study.experiments.normalized import by_mode, groups, loss_of_groups, network, network_of_groups

BATCH, UPDATES = 32, 300

RATES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""Of momentum 0.9; each kind trains with each of them, and the one with the lowest training loss counts."""

REACHED, WINDOW = 0.3, 20
"""The training loss, a mean over so many batches, that is to be reached."""

KINDS: Mapping[str, tuple[str, Callable[[], nn.Module]]] = {
    "plain": ("", nn.ReLU),
    "before": ("before", nn.ReLU),
    "after": ("after", nn.ReLU),
    "without γ and β": ("fixed", nn.ReLU),
    "plain, sigmoid": ("", nn.Sigmoid),
    "before, sigmoid": ("before", nn.Sigmoid),
}
"""Where batch normalization is, before or after the activation, and which that is."""

SIZES = (2, 4, 8, 32)
"""Samples in a batch, all for as many updates."""

OF_SIZES = (0.01, 0.03, 0.1)

GROUP_RATES = (0.1, 0.3, 1.0)
"""At which batches of one class are learned, without momentum."""

ORDERS, NORMALIZED = ("one class", "shuffled"), ("before", "layer")

LEARNED = 0.9
"""Of the held-out samples: a network that knows so many has learned."""

EARLY = 10
"""Updates after which moving averages are looked at for the first time."""


def plan(seeds: Sequence[int], quick: bool) -> list[dict[str, Any]]:
    """For each seed the formulas, the kinds of networks, the sizes of batches, and the batches of one class."""
    updates = 2 * UPDATES // 3 if quick else UPDATES
    lengths = {"formulas": 0, "kinds": updates, "sizes": updates, "classes": 2 * updates}
    return [{"seed": seed, "part": part, "updates": length} for seed in seeds for part, length in lengths.items()]


def run(seed: int, part: str, updates: int) -> dict[str, Any]:
    """One part of the study, for one seed."""
    match part:
        case "formulas":
            training, testing = coupling(seed)
            off = max(abs(variance_of_batches(size, seed) - 1.0) for size in SIZES)
            return {"error": max(errors(seed).values()), "training": training, "testing": testing, "variance": off}
        case "kinds":
            return {kind: _trained(kind, seed, updates) for kind in KINDS}
        case "sizes":
            return _sizes(seed, updates)
        case _:
            return {f"{order}, {kind}": _grouped(order, kind, seed, updates) for order in ORDERS for kind in NORMALIZED}


def _trained(kind: str, seed: int, updates: int) -> dict[str, Any]:
    """At every rate; and at the best, what training and testing give for the same samples."""
    digits = load("digits")
    members = [Member(rule=heavy_ball(rate), batch_size=BATCH, seed=seed) for rate in RATES]
    fleet = train_fleet(
        partial(network, *KINDS[kind]), cross_entropy, digits.inputs, digits.targets, members, updates, keep=(EARLY,)
    )
    smooth = smoothed(fleet.losses)
    best = best_of(smooth)
    held_out = digits.held_out_inputs, digits.held_out_targets
    outputs = fleet.outputs(held_out[0])
    return {
        "updates": [arrived(losses, updates) for losses in smooth],
        "best": best,
        "curve": smooth[best][::5].tolist(),
        "accuracy": accuracy(outputs, held_out[1]).tolist(),
        "modes": [_modes(own, best, kind, held_out) for own in (fleet.at(EARLY), fleet)],
    }


def smoothed(losses: Tensor) -> Tensor:
    """Means over a window, shape (K, updates − window + 1); infinite where one diverged."""
    return losses.unfold(1, WINDOW, 1).mean(-1).nan_to_num(math.inf)


def best_of(smooth: Tensor) -> int:
    """The member with the lowest loss at the end."""
    return int(smooth[:, -1].argmin())


def arrived(smooth: Tensor, most: int) -> int:
    """Updates until the loss is reached; as many as were made where it is not, which is then too few."""
    reached = (smooth <= REACHED).nonzero()
    return int(reached[0]) + WINDOW if len(reached) else most


def _sizes(seed: int, updates: int) -> dict[str, Any]:
    """The training loss with batch normalization and without, at each size of the batch and the best of its rates."""
    digits = load("digits")
    found: dict[str, Any] = {}
    for kind in ("plain", "before"):
        arms = [(size, rate) for size in SIZES for rate in OF_SIZES]
        members = [Member(rule=gradient_descent(rate), batch_size=size, seed=seed) for size, rate in arms]
        fleet = train_fleet(
            partial(network, KINDS[kind][0]), cross_entropy, digits.inputs, digits.targets, members, updates
        )
        outputs = fleet.outputs(digits.inputs)
        losses = torch.stack([cross_entropy(own, digits.targets).mean() for own in outputs]).nan_to_num(math.inf)
        found[kind] = losses.view(len(SIZES), -1).amin(1).tolist()
    return found


def _modes(fleet: Fleet, member: int, kind: str, held_out: tuple[Tensor, Tensor]) -> dict[str, float]:
    """The loss of held-out samples in training mode, in shuffled batches, and in testing mode."""
    model = network(*KINDS[kind])
    model.load_state_dict(fleet.state(member))
    inputs, targets = groups(*held_out, "shuffled", 0)
    outputs = by_mode(model, inputs)
    return {mode: float(loss_of_groups(own, targets).mean()) for mode, own in outputs.items()}


def _grouped(order: str, kind: str, seed: int, updates: int) -> dict[str, float]:
    """The share of held-out samples that are wrong; each sample of this fleet is a whole batch."""
    digits = load("digits")
    inputs, targets = groups(digits.inputs, digits.targets, order, seed)
    members = [Member(rule=gradient_descent(rate), batch_size=1, seed=seed) for rate in GROUP_RATES]
    fleet = train_fleet(partial(network_of_groups, kind), loss_of_groups, inputs, targets, members, updates)
    held_out, classes = groups(digits.held_out_inputs, digits.held_out_targets, order, seed)
    model = network_of_groups(kind)
    model.load_state_dict(fleet.state(best_of(smoothed(fleet.losses))))
    outputs = by_mode(model[1], held_out)
    return {mode: 1.0 - float(accuracy(own.flatten(0, 1), classes.flatten())) for mode, own in outputs.items()}


def _updates(result: Mapping[str, Any]) -> float:
    return float(min(result["plain"]["updates"]) / min(result["before"]["updates"]))


def _rates(result: Mapping[str, Any]) -> float:
    learned = {kind: sum(own >= LEARNED for own in result[kind]["accuracy"]) for kind in ("plain", "before")}
    return float(learned["before"] - learned["plain"])


def _points(result: Mapping[str, Any], one: str, other: str) -> float:
    first, second = (result[kind]["accuracy"][result[kind]["best"]] for kind in (one, other))
    return 100.0 * float(first - second)


def _testing(result: Mapping[str, Any], place: int) -> float:
    modes = result["before"]["modes"][place]
    return float(modes["testing"] / modes["training"])


def _loss(result: Mapping[str, Any], place: int) -> float:
    return float(result["before"][place] / result["plain"][place])


def _error(result: Mapping[str, Any], order: str) -> float:
    return 100.0 * float(result[f"{order}, before"]["testing"] - result[f"{order}, layer"]["testing"])


def measure(runs: Runs) -> list[Measurement]:
    """What the gates are about."""
    formulas, kinds, sizes, classes = (runs.where(part=part) for part in ("formulas", "kinds", "sizes", "classes"))

    def points(one: str, other: str) -> Callable[[Mapping[str, Any]], float]:
        return partial(_points, one=one, other=other)

    held_out, over = "points of held-out accuracy, each at its best rate", "loss over that without normalization"
    worse = "error over layer normalization's"
    orders = (("batches of one class", "one class"), ("shuffled", "shuffled"))
    table: tuple[tuple[str, str, Runs, Callable[[Mapping[str, Any]], float]], ...] = (
        ("updates without normalization over with", f"to a loss of {REACHED}, at best rates", kinds, _updates),
        ("more rates at which it learns", f"of {len(RATES)}, to {LEARNED:.0%} of held-out samples", kinds, _rates),
        ("gain of a sigmoid network", held_out, kinds, points("before, sigmoid", "plain, sigmoid")),
        ("gain of a network with ReLU", held_out, kinds, points("before", "plain")),
        ("after the activation over before", held_out, kinds, points("after", "before")),
        ("with γ and β over without", held_out, kinds, points("before", "without γ and β")),
        (
            f"loss in testing over training, {EARLY} updates",
            "held-out, batches of 32",
            kinds,
            partial(_testing, place=0),
        ),
        ("loss in testing over training, at the end", "held-out, batches of 32", kinds, partial(_testing, place=1)),
        *(
            (f"{over}, batches of {size}", "as many updates", sizes, partial(_loss, place=k))
            for k, size in enumerate(SIZES)
        ),
        *((f"{worse}, {name}", "points, in testing", classes, partial(_error, order=order)) for name, order in orders),
        ("coupling of samples in training", "largest |∂z̃_j/∂z_i|", formulas, lambda result: result["training"]),
        ("coupling of samples in testing", "largest |∂z̃_j/∂z_i|", formulas, lambda result: result["testing"]),
        ("error of the formulas", "largest, in double precision", formulas, lambda result: result["error"]),
        ("error of the moving average's variance", f"batches of {SIZES}", formulas, lambda result: result["variance"]),
    )
    return [
        Measurement(name=name, says=says, values={run.seed: value(run.result) for run in found})
        for name, says, found, value in table
    ]


def draw(runs: Runs) -> Mapping[str, go.Figure]:
    """Losses, rates, sizes of batches, and batches of one class."""
    kinds, sizes, classes = (runs.where(part=part).of_seed(runs.seeds[0]) for part in ("kinds", "sizes", "classes"))
    losses = plot.figure(
        title="Training, each at its best rate",
        x="updates",
        y="training loss",
        log_y=True,
        summary="With batch normalization before or after the activation the loss falls sooner and lower. Without it, "
        "the network with sigmoids does not learn at all.",
    )
    rates = plot.figure(
        title="At which rates it learns",
        x="rate",
        y="held-out accuracy",
        log_x=True,
        summary="With batch normalization nearly all rates lead to 90 % or more; without it, one or two do.",
    )
    for kind in KINDS:
        own = kinds[kind]
        plot.line(losses, WINDOW + 5 * np.arange(len(own["curve"])), own["curve"], name=kind)
        plot.line(rates, RATES, own["accuracy"], name=kind)
    small = plot.figure(
        title="Batches of different sizes, as many updates",
        x="samples in a batch",
        y="training loss",
        log_x=True,
        log_y=True,
        summary="In batches of 32 and 8 the loss is lower with batch normalization, in batches of 2 without.",
    )
    for kind, name in (("plain", "without"), ("before", "batch normalization")):
        plot.line(small, SIZES, sizes[kind], name=name)
    sorted_ = plot.figure(
        title="Batches of one class",
        x="batches, and what normalizes",
        y="error on held-out samples",
        summary="Shuffled, all errors are a few per cent. Trained on batches of one class, batch normalization is "
        "nearly always wrong in testing, and layer normalization is not.",
    )
    names = {"before": "batch normalization", "layer": "layer normalization"}
    places = [f"{order}, {names[kind]}" for order in ORDERS for kind in NORMALIZED]
    for mode in ("training", "testing"):
        values = [classes[f"{order}, {kind}"][mode] for order in ORDERS for kind in NORMALIZED]
        sorted_.add_bar(x=places, y=values, name=f"{mode} mode")
    return {"losses": losses, "rates": rates, "sizes": small, "classes": sorted_}


STUDY = Study(
    name="batch-normalization",
    title="Batch normalization",
    chapter=5,
    claim="Normalized over each batch, hidden layers learn faster, at more rates, and where they else learn nothing.",
    source="Hung-yi Lee 2021, chapter 5; Ioffe & Szegedy 2015; batches of one class: Wu & He 2018, Ioffe 2017",
    setting="Digits, 64-48-48-48-48-10, momentum 0.9 in batches of 32, 300 updates at the best of seven rates from "
    "0.001 to 1. Batches of 2 to 32: gradient descent, the best of three rates. Batches of one class: two hidden "
    "layers, 600 updates, the best of three rates.",
    explains="Feature normalization is for the inputs. What a hidden layer gives is the input of the next, and changes "
    "with every update; so it is normalized anew in each batch, by the batch's own mean μ and deviation σ: "
    "z̃ = (z − μ)/σ, then γ ⊙ z̃ + β. The first two pictures show what that does. The network learns faster, and at "
    "rates a hundred times apart, where without it one or two work. With sigmoids, this deep, it learns nothing "
    "unless it is normalized. Before or after the activation makes little difference, as the lecture says. Nor do γ "
    "and β here: the next layer can scale and shift as well.\n\n"
    "μ and σ are functions of all samples of the batch, so that the output for one sample depends on the others. In "
    "testing there may be no batch; moving averages stand in for μ and σ, and each sample is on its own. They need "
    "time: after ten updates the loss in testing is still higher than in training mode, at the end it is not.\n\n"
    "What comes with it is a dependence on the batch. Of two samples, z̃ is 1 and −1 whatever they are, and in such "
    "batches the network does worse than without normalization. Where each batch holds one class, as in data that "
    "were not shuffled, μ is the mean of that class: just what tells it from the others is subtracted. The averages "
    "over all classes that testing uses are those of no batch that was ever seen, and there it is nearly always "
    "wrong. Layer normalization, by each sample's own mean and deviation, takes no harm.",
    gates=(
        Gate(
            measurement="updates without normalization over with",
            says="without normalization it takes half as many updates again, or more",
            low=1.5,
            over="geometric mean",
        ),
        Gate(
            measurement="more rates at which it learns",
            says="it learns at three rates more, of seven, or at more than that",
            low=3.0,
            over="four seeds of five",
        ),
        Gate(
            measurement="gain of a sigmoid network",
            says="a network with sigmoids gains fifty points of accuracy or more",
            low=50.0,
            over="four seeds of five",
        ),
        Gate(
            measurement="after the activation over before",
            says="before or after the activation, accuracy is the same within two points",
            low=-2.0,
            high=2.0,
            over="mean",
        ),
        Gate(
            measurement="loss over that without normalization, batches of 32",
            says="in batches of 32 the loss is a third of that without normalization, or less",
            high=1 / 3,
            over="geometric mean",
        ),
        Gate(
            measurement=f"loss in testing over training, {EARLY} updates",
            says="moving averages need time, and until then the loss in testing is higher than in training",
            low=1.05,
            over="geometric mean",
        ),
        Gate(
            measurement="loss in testing over training, at the end",
            says="in the end it is no higher",
            high=1.05,
            over="mean",
        ),
        Gate(
            measurement="coupling of samples in training",
            says="in training, the output of a sample depends on the others",
            low=0.05,
        ),
        Gate(
            measurement="coupling of samples in testing",
            says="in testing it does not",
            high=0.0,
        ),
        Gate(
            measurement="error of the formulas",
            says="what is known exactly of batch normalization holds",
            high=1e-9,
            role="control",
        ),
        Gate(
            measurement="error of the moving average's variance",
            says="the variance that moving averages take is that of the samples",
            high=0.05,
            role="control",
        ),
        Gate(
            measurement="error over layer normalization's, shuffled",
            says="on shuffled batches, batch and layer normalization do as well within three points",
            low=-3.0,
            high=3.0,
            over="mean",
            role="control",
        ),
        Gate(
            measurement="error over layer normalization's, batches of one class",
            says="on batches of one class, batch normalization is wrong on forty points more of the samples",
            low=40.0,
            over="four seeds of five",
            role="qualification",
        ),
        Gate(
            measurement="loss over that without normalization, batches of 2",
            says="in batches of 2 the loss is higher than without normalization",
            low=1.1,
            over="geometric mean",
            role="qualification",
        ),
        Gate(
            measurement="with γ and β over without",
            says="γ and β change nothing beyond two points here",
            low=-2.0,
            high=2.0,
            over="mean",
            role="qualification",
        ),
    ),
    plan=plan,
    run=run,
    measure=measure,
    draw=draw,
    takes=(60, 20),
)
