"""Loss surface: what a classifier is asked for, a number or one of each, and how steep its loss is where it errs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch
from torch import Tensor
from torch.func import functional_call

from unstuck import datasets, plot
from unstuck.datasets.classification import Classification
from unstuck.fleet import Fleet, Member, train_fleet
from unstuck.fleet_network import SampleLoss
from unstuck.methods.loss import LOSSES, Loss
from unstuck.methods.update import Rule, adam, gradient_descent
from unstuck.study import Gate, Measurement, Runs, Study
from unstuck.study.experiments.networks import accuracy, perceptron
from unstuck.study.experiments.two_logits import ENTROPY, SQUARES, closed_forms, heights, slope, steeper, steepest
from unstuck.study.experiments.walks import path, uniform

RAW = LOSSES["squared-error-on-logits"]

PLANE_RATE, PLANE_UPDATES, EVERY = 0.1, 1_000, 5
"""Of walks over two logits, which are kept every so many updates."""

WIDTHS, BATCH, UPDATES = (64, 64, 10), 64, 800
"""Of the networks and their trainings."""

LOOKS = (*range(0, 60, 2), *range(60, UPDATES + 1, 20))
"""Updates after which the accuracy is taken."""

REACHED = 0.9
"""Of the training samples told right: then a training has arrived."""

SATURATED = 20.0
"""Added to the logit of one class before the training starts."""

DESCENT_RATES, ADAM_RATES, RAW_RATES = (0.1, 0.3, 1.0, 3.0), (1e-3, 3e-3, 1e-2), (0.01, 0.03, 0.1)

ENTROPY_DESCENT, SQUARES_DESCENT = "cross-entropy, gradient descent", "squared error, gradient descent"

ENTROPY_ADAM, SQUARES_ADAM = "cross-entropy, Adam", "squared error, Adam"

RAW_DESCENT = "squared error without softmax, gradient descent"

ARMS: Mapping[str, tuple[Loss, Callable[[float], Rule], tuple[float, ...]]] = {
    ENTROPY_DESCENT: (ENTROPY, gradient_descent, DESCENT_RATES),
    SQUARES_DESCENT: (SQUARES, gradient_descent, DESCENT_RATES),
    ENTROPY_ADAM: (ENTROPY, adam, ADAM_RATES),
    SQUARES_ADAM: (SQUARES, adam, ADAM_RATES),
    RAW_DESCENT: (RAW, gradient_descent, RAW_RATES),
}
"""Loss, method and rates; all from the same starts and in the same orders."""


def plan(seeds: Sequence[int], quick: bool) -> list[dict[str, Any]]:
    """For each seed walks over two logits, targets of two kinds, and networks from two kinds of start."""
    planned = [{"seed": seed, "part": "numbers"} for seed in (seeds[:1] if quick else seeds)]
    parts: list[dict[str, Any]] = [{"part": "plane"}, {"part": "networks", "by": 0.0}]
    parts.append({"part": "networks", "by": SATURATED})
    return planned + [{"seed": seed} | part for seed in seeds for part in parts]


def run(seed: int, part: str, by: float = 0.0) -> dict[str, Any]:
    """One part of the study, for one seed."""
    if part == "plane":
        return _plane(torch.Generator(device="cpu").manual_seed(seed))
    return _numbers(seed) if part == "numbers" else _networks(seed, by)


def _plane(generator: torch.Generator) -> dict[str, Any]:
    """Walks by both losses and two methods from where the answer is wrong and certain."""
    at = torch.cat([uniform(-10.0, -8.0, 1, generator), uniform(8.0, 10.0, 1, generator)], dim=1)
    walks = {}
    for name, (loss, method, _) in list(ARMS.items())[:4]:
        walks[name] = path(method(PLANE_RATE), at, partial(slope, loss), PLANE_UPDATES)[:, 0]
    wrong = {name: float((walk[:, 0] <= walk[:, 1]).sum()) for name, walk in walks.items()}
    moved = (walks[SQUARES_DESCENT][-1] - at[0]).norm() / at.norm()
    return {
        "numbers": {
            "error of the closed forms": closed_forms(generator),
            "steeper at (−10, 10)": steeper(-10.0, 10.0),
            "steepest squared error": steepest(),
            "updates to the right answer, cross-entropy": wrong[ENTROPY_DESCENT],
            "way made by the squared error": float(moved),
            "updates to the right answer, squared error with Adam": wrong[SQUARES_ADAM],
        },
        "walks": {name: walk[::EVERY].tolist() for name, walk in walks.items()},
    }


def _numbers(seed: int) -> dict[str, Any]:
    """Classes in any order: their number as the one target, or one of each; by least squares, and by networks."""
    digits = datasets.load(datasets.DEFAULT)
    order = torch.randperm(digits.classes, generator=torch.Generator(device="cpu").manual_seed(seed), device="cpu")
    classes, held_out = order[digits.targets], order[digits.held_out_targets]
    one_hot = torch.eye(digits.classes, device="cpu")[classes]
    found = {}
    for name, targets in (("class numbers", classes[:, None].float()), ("one of each", one_hot)):
        found[f"least squares to {name}"] = _told(least_squares(digits, targets), held_out)
        members = [Member(rule=adam(rate), batch_size=BATCH, seed=seed) for rate in ADAM_RATES]
        widths = (*WIDTHS[:2], targets.shape[1])
        fleet = train_fleet(partial(perceptron, widths), RAW.error, digits.inputs, targets, members, UPDATES)
        best = int(fleet.losses[:, -100:].mean(1).nan_to_num(math.inf).argmin())
        found[f"network on {name}"] = _told(fleet.outputs(digits.held_out_inputs)[best], held_out)
    return {"numbers": found}


def least_squares(digits: Classification, targets: Tensor) -> Tensor:
    """What the linear function that fits the targets best gives for what is held out."""
    learned, asked = (
        torch.cat([inputs, torch.ones_like(inputs[:, :1])], dim=1).double()
        for inputs in (digits.inputs, digits.held_out_inputs)
    )
    weights: Tensor = torch.linalg.lstsq(learned, targets.double(), driver="gelsd").solution
    return asked @ weights


def _told(outputs: Tensor, classes: Tensor) -> float:
    """The share told right: the largest output, or the one output rounded."""
    told = outputs[:, 0].round() if outputs.shape[1] == 1 else outputs.argmax(1)
    return float((told == classes).double().mean())


def _networks(seed: int, by: float) -> dict[str, Any]:
    """Train networks that start with one class favoured, by all arms at all rates."""
    digits = datasets.load(datasets.DEFAULT)
    one_hot = torch.eye(digits.classes, device="cpu")[digits.targets]
    bias = by * torch.eye(digits.classes, device="cpu")[seed % digits.classes]
    members = [
        Member(rule=method(rate), batch_size=BATCH, seed=seed, loss=loss.error, initial={"2.bias": bias})
        for loss, method, rates in ARMS.values()
        for rate in rates
    ]
    fleet = train_fleet(
        partial(perceptron, WIDTHS), ENTROPY.error, digits.inputs, one_hot, members, UPDATES, keep=LOOKS
    )
    told = torch.stack([accuracy(fleet.at(look).outputs(digits.inputs), digits.targets) for look in LOOKS], dim=1)
    best, arrived = {}, {}
    for name, (_, _, rates) in ARMS.items():
        own, told = told[: len(rates)], told[len(rates) :]
        needed = [_first(each >= REACHED) for each in own]
        best[name] = (min(needed), own[int(np.argmin(needed))].tolist())
        arrived[name] = float(np.mean(np.isfinite(needed)))
    entropy, squares = (first_slope(fleet, loss.error, digits.inputs, one_hot) for loss in (ENTROPY, SQUARES))
    ordinary = {
        "updates from an ordinary start, squared error": best[SQUARES_DESCENT][0] / best[ENTROPY_DESCENT][0],
    }
    saturated = {
        "share of rates that arrive, squared error": arrived[SQUARES_DESCENT],
        "share of rates that arrive, cross-entropy": arrived[ENTROPY_DESCENT],
        "first gradient of cross-entropy over that of the squared error": entropy / squares,
        "updates with Adam, squared error": best[SQUARES_ADAM][0] / best[ENTROPY_ADAM][0],
        "updates of the squared error without softmax": best[RAW_DESCENT][0],
    }
    return {"numbers": saturated if by else ordinary, "accuracy": {name: own for name, (_, own) in best.items()}}


def _first(yes: Tensor) -> float:
    """The number of updates of the first look that says yes; infinite where none does."""
    return float(LOOKS[int(yes.int().argmax())]) if bool(yes.any()) else math.inf


def first_slope(fleet: Fleet, loss: SampleLoss, inputs: Tensor, targets: Tensor) -> float:
    """The norm of the gradient of the first member before its training, over all samples."""
    row = fleet.at(0).parameters[0].clone().requires_grad_()
    outputs = functional_call(fleet.network.model, fleet.network.named(row), (inputs,))
    (gradient,) = torch.autograd.grad(loss(outputs, targets).mean(), row)
    return float(gradient.norm())


SAYS: Mapping[str, str] = {
    "share of rates that arrive, squared error": "by gradient descent from a saturated start; nine in ten told right",
    "share of rates that arrive, cross-entropy": "the same",
    "first gradient of cross-entropy over that of the squared error": "norms, of a network at a saturated start",
    "steeper at (−10, 10)": "gradient of cross-entropy over that of the squared error in (y1, y2)",
    "way made by the squared error": f"in {PLANE_UPDATES:,} updates over two logits, over the distance from (0, 0)",
    "updates to the right answer, cross-entropy": "gradient descent at 0.1 over two logits",
    "updates to the right answer, squared error with Adam": "at 0.1 over two logits",
    "updates with Adam, squared error": "over those of cross-entropy, from a saturated start, each at its best rate",
    "least squares to class numbers": "accuracy on held-out digits, rounded; classes numbered at random",
    "least squares to one of each": "accuracy on held-out digits, the largest of ten outputs",
    "network on class numbers": "accuracy on held-out digits, at the rate with the lowest training loss",
    "network on one of each": "accuracy on held-out digits, at the rate with the lowest training loss",
    "error of the closed forms": "largest difference of gradients and curvatures by autograd from the formulas",
    "steepest squared error": "largest part of its gradient anywhere; 16/27 by the formula",
    "updates from an ordinary start, squared error": "over those of cross-entropy, gradient descent, each at its best",
    "updates of the squared error without softmax": "gradient descent from a saturated start, at its best rate",
}
"""What each number of a run is."""


def measure(runs: Runs) -> list[Measurement]:
    """What the gates are about; results have nothing where updates are infinite."""
    return runs.measured(SAYS, missing=math.inf)


def draw(runs: Runs) -> Mapping[str, go.Figure]:
    """The lecture's two surfaces with walks on them, how steep they are, and trainings from a saturated start."""
    saturated = runs.where(part="networks", by=SATURATED).results()[0]
    return {
        "surfaces": _surfaces(runs.where(part="plane").results()[0]["walks"]),
        "slopes": _slopes(),
        "trainings": _accuracies(saturated["accuracy"]),
    }


_MARKERS = (
    {"color": "white", "size": 12, "line": {"width": 1, "color": "black"}},
    {"color": plot.COLOURS["opposite"], "size": 7},
)
"""Of Adam and of gradient descent, which lies over it."""


def _surfaces(walks: Mapping[str, Any]) -> go.Figure:
    figure = plot.figure(
        title="The loss over two logits: cross-entropy left, squared error right",
        x="y1",
        y="y2",
        summary="Class 1 is right. From the upper left, where the answer is wrong and certain, cross-entropy leads "
        "both walks down in 200 updates. The squared error is flat there: gradient descent stays, Adam gets down.",
    )
    places = np.linspace(-10.0, 10.0, 61)
    grid = torch.as_tensor(np.stack(np.meshgrid(places, places), axis=-1).reshape(-1, 2), device="cpu")
    for axis, loss, arms in (
        ("", ENTROPY, (ENTROPY_ADAM, ENTROPY_DESCENT)),
        ("2", SQUARES, (SQUARES_ADAM, SQUARES_DESCENT)),
    ):
        panel: dict[str, Any] = {"xaxis": f"x{axis}", "yaxis": f"y{axis}"}
        losses = heights(loss, grid).numpy().reshape(len(places), -1)
        figure.add_contour(x=places, y=places, z=losses, contours_coloring="heatmap", showscale=False, **panel)
        for arm, name, marker in zip(arms, ("Adam", "gradient descent"), _MARKERS, strict=True):
            walk = np.array(walks[arm])[: 200 // EVERY]
            figure.add_scatter(
                x=walk[:, 0], y=walk[:, 1], name=name, mode="markers", marker=marker, showlegend=not axis, **panel
            )
    figure.update_layout(
        xaxis={"domain": [0.0, 0.46]},
        xaxis2={"domain": [0.54, 1.0], "anchor": "y2", "title": {"text": "y1"}},
        yaxis2={"anchor": "x2", "title": {"text": "y2"}},
        hovermode="closest",
    )
    figure.update_xaxes(range=[-10.0, 10.0])
    return figure.update_yaxes(range=[-10.0, 10.0])


def _slopes() -> go.Figure:
    figure = plot.figure(
        title="How steep the two losses are",
        x="y1 − y2",
        y="norm of the gradient in (y1, y2)",
        log_y=True,
        summary="Where y1 is far below y2, cross-entropy keeps its slope, and that of the squared error vanishes. "
        "Where the answer is right, both vanish.",
    )
    apart = torch.linspace(-20.0, 20.0, 161, dtype=torch.float64, device="cpu")[:, None]
    at = torch.cat([apart / 2, -apart / 2], dim=1)
    for name, loss in (("cross-entropy", ENTROPY), ("squared error", SQUARES)):
        plot.line(figure, apart[:, 0].numpy(), slope(loss, at).norm(dim=1).numpy(), name=name)
    return figure


def _accuracies(told: Mapping[str, Sequence[float]]) -> go.Figure:
    figure = plot.figure(
        title="Trainings from a saturated start, each at its best rate",
        x="update",
        y="share of the training samples told right",
        summary="One logit starts 20 higher. Gradient descent on cross-entropy gets away within some ten updates; on "
        "the squared error of the softmax it does not. Adam does, and so does the squared error without softmax.",
    )
    for name in ARMS:
        plot.line(figure, LOOKS, told[name], name=name)
    return figure


STUDY = Study(
    name="loss-surface",
    title="Loss and its surface",
    chapter=4,
    claim="With softmax, cross-entropy gets a classifier away from a wrong and certain answer; squared error is stuck.",
    source="Hung-yi Lee 2021, chapter 4; Glorot and Bengio 2010, section 4.2",
    setting="Two of three logits, the third at −1,000, as in the lecture; linear functions and networks 64-64-1 and "
    "64-64-10 with ReLU on 1,297 digits, batches of 64, 800 updates; one output bias 0 or 20 at the start; a grid of "
    "rates for each loss and method, same starts and orders.",
    explains="A classifier could be asked for the number of the class. Then class 1 is near class 2 and far from class "
    "9, which means nothing, and neither a linear function nor a network does well. So it gets one output for each "
    "class, and softmax makes shares p of them. The first picture is the lecture's: the loss of one sample over the "
    "logits y1 and y2, where class 1 is right. In the upper left corner the answer is wrong and certain. Cross-entropy "
    "slopes there as everywhere, because its gradient is p − ŷ. The gradient of the squared error has p1 as a factor "
    "more, and p1 is nearly zero: it is 121 million times smaller at (−10, 10), though the loss is at its highest. "
    "Gradient descent stays there; Adam, which divides by the size of the gradient, gets down.\n\n"
    "Networks do the same. When one logit starts 20 too high, gradient descent on the squared error arrives at none of "
    "four rates, and on cross-entropy at all but the last, which is too large. Adam gets both away.\n\n"
    "Two things have to be added. A network does not start that way: from an ordinary start both losses train, each at "
    "its best rate, and the squared error asks for the larger one, as its gradient is several times smaller. And it is "
    "softmax and squared error together that are flat. The squared error of the logits themselves is a bowl, has no "
    "plateau, and gets away, too; on many tasks it does no worse than cross-entropy (Hui and Belkin 2021).",
    gates=(
        Gate(
            measurement="share of rates that arrive, squared error",
            says="from a saturated start, gradient descent on the squared error arrives at no rate",
            high=0.0,
        ),
        Gate(
            measurement="share of rates that arrive, cross-entropy",
            says="on cross-entropy it arrives at three rates of four or more",
            low=0.75,
            over="four seeds of five",
        ),
        Gate(
            measurement="first gradient of cross-entropy over that of the squared error",
            says="at a saturated start the squared error is a million times flatter",
            low=1e6,
        ),
        Gate(
            measurement="steeper at (−10, 10)",
            says="on the lecture's surface it is 121 million times flatter",
            low=1.2129e8,
            high=1.213e8,
        ),
        Gate(
            measurement="way made by the squared error",
            says="on the lecture's surface gradient descent on the squared error does not move",
            high=0.01,
        ),
        Gate(
            measurement="updates to the right answer, cross-entropy",
            says="on cross-entropy it gets to the right answer",
            high=150.0,
        ),
        Gate(
            measurement="updates to the right answer, squared error with Adam",
            says="with Adam the squared error gets there, too",
            high=300.0,
        ),
        Gate(
            measurement="updates with Adam, squared error",
            says="with Adam networks get away on the squared error, in at most eight times the updates",
            high=8.0,
            over="four seeds of five",
        ),
        Gate(
            measurement="least squares to class numbers",
            says="a linear function does not tell classes by their number",
            high=0.4,
        ),
        Gate(measurement="least squares to one of each", says="with one output for each class it does", low=0.85),
        Gate(
            measurement="network on class numbers",
            says="a network does not tell classes well by their number",
            high=0.75,
            over="mean",
        ),
        Gate(
            measurement="network on one of each", says="with one output for each class it does so", low=0.9, over="mean"
        ),
        Gate(
            measurement="error of the closed forms",
            says="gradients and curvatures are those of the formulas",
            high=1e-12,
            role="control",
        ),
        Gate(
            measurement="steepest squared error",
            says="the squared error is steepest by 16/27, as the formula has it",
            low=0.59259,
            high=0.5926,
            role="control",
        ),
        Gate(
            measurement="updates from an ordinary start, squared error",
            says="from an ordinary start the squared error trains as well, in at most 2.5 times the updates",
            high=2.5,
            over="median",
            role="qualification",
        ),
        Gate(
            measurement="updates of the squared error without softmax",
            says="without softmax the squared error gets away from a saturated start",
            high=700.0,
            over="four seeds of five",
            role="qualification",
        ),
    ),
    plan=plan,
    run=run,
    measure=measure,
    draw=draw,
    takes=(50, 21),
)
