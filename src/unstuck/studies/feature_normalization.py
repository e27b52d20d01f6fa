"""Feature normalization: inputs of unequal scale, or far from zero, make one direction steep and another flat."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch
from torch import Tensor

from unstuck import plot
from unstuck.datasets.digits import LEARNED, pixels
from unstuck.fleet import Fleet, Member, train_fleet
from unstuck.methods.normalize import FeatureStatistics, feature_normalized
from unstuck.methods.update import Rule, adam, gradient_descent
from unstuck.study import Gate, Measurement, Runs, Study
from unstuck.study.experiments.networks import accuracy, cross_entropy, perceptron
from unstuck.study.experiments.scales import LONGEST, SCALES, SHOWN, highest, shift_error, surfaces

SAMPLES, CLASSES, FAR, SPREAD = 300, 10, 100.0, 1.5
"""Digits of the linear classifier; what is added to the shifted ones; and units from 10^−1.5 to 10^1.5."""

MULTIPLES = (1.0, 4.0, 16.0, 64.0)
"""Rates of the linear classifier, in those of which it is known that they do not diverge."""

REACHED, UPDATES, PATIENCE = 0.3, 1_000, 4
"""The training loss that is to be reached, and within how many updates; the shifted digits get so many times more."""

WIDTH, BATCH, TRAINED = 32, 32, 300

RATES = tuple(4.0**power for power in range(-10, 2))
"""Of the network: 10⁻⁶ to 4, for gradient descent and for Adam."""

METHODS = {"gradient descent": gradient_descent, "Adam": adam}

LAST = 50
"""Updates over which the loss of batches is averaged at the end."""

ARMS = ("standardized", "centred", "as they are", "unequal units", "shifted")

OF_NETWORK = tuple(arm for arm in ARMS if arm != "centred")


def plan(seeds: Sequence[int], quick: bool) -> list[dict[str, Any]]:
    """For each seed the lecture's surface, the linear classifier, and the network."""
    updates = {
        "surface": LONGEST,
        "classifier": 3 * UPDATES // 5 if quick else UPDATES,
        "network": TRAINED // 2 if quick else TRAINED,
    }
    return [{"seed": seed, "part": part, "updates": most} for seed in seeds for part, most in updates.items()]


def run(seed: int, part: str, updates: int) -> dict[str, Any]:
    """One part of the study, for one seed."""
    if part == "surface":
        return {"closed_form_error": shift_error(seed)} | surfaces(seed, updates)
    if part == "classifier":
        return {arm: _classifier(arm, seed, updates * (PATIENCE if arm == "shifted" else 1)) for arm in ARMS}
    return _networks(seed, updates)


def prepared(arm: str, seed: int) -> tuple[Tensor, Tensor]:
    """All digits, the first of them to learn from, in double precision, by what is known of those alone."""
    raw = pixels()[0].double()
    statistics = FeatureStatistics.of([raw[:LEARNED]], axis=1)
    divisor = statistics.divisor(torch.float32)
    standard = feature_normalized(raw, mean=statistics.mean, divisor=divisor)
    generator = torch.Generator(device="cpu").manual_seed(seed)
    exponents = SPREAD * (2.0 * torch.rand(raw.shape[1], generator=generator, dtype=torch.float64, device="cpu") - 1.0)
    match arm:
        case "as they are":
            inputs = raw
        case "shifted":
            inputs = raw + FAR
        case "centred":
            inputs = raw - statistics.mean
        case "unequal units":
            inputs = standard * 10.0**exponents
        case _:
            inputs = standard
    return inputs, pixels()[1]


def _classifier(arm: str, seed: int, updates: int) -> dict[str, Any]:
    """Softmax regression from zero weights on the whole set, at multiples of the rate 1/L that cannot diverge.

    The Hessian of cross-entropy is at most half that of the squared error, L ≤ λ_max(Σ x xᵀ / n) / 2, x with its 1.
    """
    inputs, targets = prepared(arm, seed)
    chosen = torch.randperm(LEARNED, generator=torch.Generator(device="cpu").manual_seed(seed), device="cpu")[:SAMPLES]
    learned = inputs[chosen]
    sharpest = highest(torch.cat([learned, torch.ones_like(learned[:, :1])], dim=1))
    zero = {"0.weight": learned.new_zeros(CLASSES, learned.shape[1]), "0.bias": learned.new_zeros(CLASSES)}
    members = [
        Member(rule=gradient_descent(multiple * 2.0 / sharpest), batch_size=SAMPLES, seed=seed, initial=zero)
        for multiple in MULTIPLES
    ]
    fleet = train_fleet(
        lambda: perceptron((learned.shape[1], CLASSES)).double(),
        cross_entropy,
        learned,
        targets[chosen],
        members,
        updates,
    )
    there = [arrived(losses, updates) for losses in fleet.losses]
    best = int(np.argmin(there))
    shown = np.unique(np.geomspace(1, updates, 100).astype(int))
    return {
        "sharpest": sharpest,
        "safe": there[0],
        "best": there[best],
        "multiple": MULTIPLES[best],
        "at": shown.tolist(),
        "loss": fleet.losses[best][shown - 1].tolist(),
    }


def arrived(losses: Tensor, most: int) -> int:
    """Updates until the loss is reached; as many as were made where it is not, which is then too few."""
    reached = (losses <= REACHED).nonzero()
    return int(reached[0]) if len(reached) else most


def _networks(seed: int, updates: int) -> dict[str, Any]:
    """A perceptron with one hidden layer, in small batches; of all rates the one with the lowest training loss."""
    found: dict[str, Any] = {}
    for arm in OF_NETWORK:
        inputs, targets = prepared(arm, seed)
        for name, method in METHODS.items():
            fleet = _trained(
                inputs[:LEARNED].float(), targets[:LEARNED], [method(rate) for rate in RATES], seed, updates
            )
            late = fleet.losses[:, -LAST:].mean(1).nan_to_num(math.inf)
            best = int(late.argmin())
            found[f"{arm}, {name}"] = {
                "loss": float(late[best]),
                "rate": RATES[best],
                "accuracy": float(accuracy(fleet.outputs(inputs[LEARNED:].float())[best], targets[LEARNED:])),
            }
    return found


def _trained(inputs: Tensor, targets: Tensor, rules: Sequence[Rule], seed: int, updates: int) -> Fleet:
    members = [Member(rule=rule, batch_size=BATCH, seed=seed) for rule in rules]
    widths = (inputs.shape[1], WIDTH, CLASSES)
    return train_fleet(lambda: perceptron(widths), cross_entropy, inputs, targets, members, updates)


SAFE, BEST = "at the rate that is known to be safe", "each at the best of the same multiples of that rate"

COMPARED: Mapping[str, tuple[str, str, str, str]] = {
    "updates for digits as they are": ("as they are", "standardized", "safe", SAFE),
    "updates for digits in unequal units": ("unequal units", "standardized", "safe", SAFE),
    "updates for shifted digits": ("shifted", "standardized", "safe", f"{SAFE}; at least"),
    "updates for digits as they are, best rates": ("as they are", "standardized", "best", BEST),
    "updates for digits in unequal units, best rates": ("unequal units", "standardized", "best", BEST),
    "updates for centred digits": ("centred", "standardized", "safe", SAFE),
    "updates for shifted digits over unequal units": ("shifted", "unequal units", "safe", f"{SAFE}; at least"),
    "sharpest curvature of shifted digits": ("shifted", "standardized", "sharpest", "of the linear layer"),
}
"""What is measured of the linear classifier → two kinds of inputs, the number that is divided, and what it is."""


def measure(runs: Runs) -> list[Measurement]:
    """What the gates are about."""
    walks, classifiers, networks = (runs.where(part=part) for part in ("surface", "classifier", "network"))

    def updates(scale: float, other: float) -> dict[int, float]:
        places = SCALES.index(scale), SCALES.index(other)
        return {run.seed: run.result["updates"][places[0]] / run.result["updates"][places[1]] for run in walks}

    def loss_over(method: str) -> dict[int, float]:
        one, other = (
            {run.seed: run.result[f"{arm}, {method}"]["loss"] for run in networks}
            for arm in ("unequal units", "standardized")
        )
        return {seed: one[seed] / other[seed] for seed in one}

    power = {seed: math.log10(ratio) for seed, ratio in updates(30.0, 3.0).items()}
    error = walks.per_seed("closed_form_error")
    table: list[tuple[str, str, Mapping[int, float]]] = [
        ("updates with one feature ten times as wide", "over those with both alike", updates(SHOWN, 1.0)),
        ("power of the scale in the updates", "how their number grows from a scale of 3 to one of 30", power),
        ("error of the closed form for shifted inputs", "of λ_max = 1 + d s², relative", error),
    ]
    for name, (arm, other, key, says) in COMPARED.items():
        ratios = {run.seed: run.result[arm][key] / run.result[other][key] for run in classifiers}
        table.append((name, f"over {other}, {says}", ratios))
    for method in METHODS:
        says = f"over standardized, mean of the last {LAST} batches, each at its best rate"
        table.append((f"loss of a network in unequal units, {method}", says, loss_over(method)))
    return [Measurement(name=name, says=says, values=values) for name, says, values in table]


def draw(runs: Runs) -> Mapping[str, go.Figure]:
    """The lecture's two surfaces with the walk on each, and the losses."""
    surface, classifier, network = (
        runs.where(part=part).of_seed(runs.seeds[0]) for part in ("surface", "classifier", "network")
    )
    losses = plot.figure(
        title="A linear classifier of digits, each at its best rate",
        x="updates",
        y="training loss",
        log_x=True,
        log_y=True,
        summary="Standardized and centred digits are learned at once. As they are, or in unequal units, they take "
        "many times as many updates; shifted by 100, thousands are not enough.",
    )
    for arm in ARMS:
        plot.line(losses, classifier[arm]["at"], classifier[arm]["loss"], name=arm)
    ends = plot.figure(
        title="A network, after as many updates, at its best rate",
        x="inputs",
        y="training loss",
        log_y=True,
        summary="For gradient descent and for Adam, the loss is lowest with standardized inputs, several times higher "
        "in unequal units, and where it began with shifted ones.",
    )
    for method in METHODS:
        own = [network[f"{arm}, {method}"]["loss"] for arm in OF_NETWORK]
        ends.add_scatter(x=list(OF_NETWORK), y=own, mode="markers", name=method, marker={"size": 10})
    return {
        "raw": _surface(surface[f"{SHOWN:g}"], SHOWN, "One feature ten times as wide as the other"),
        "normalized": _surface(surface["1"], 1.0, "Both features normalized"),
        "losses": losses,
        "network": ends,
    }


def _surface(found: Mapping[str, Any], scale: float, title: str) -> go.Figure:
    """Contours of the loss over both weights, at the same scale on both axes, and the walk."""
    steep = scale > 1
    figure = plot.figure(
        title=title,
        x="w1",
        y="w2",
        summary="The valley is steep along w2 and flat along w1: the walk goes from wall to wall and creeps along."
        if steep
        else "The same problem with both features alike: the contours are nearly circles, and a few steps lead "
        "straight to the minimum.",
    )
    goal, curvature = np.array([1.0, 1.0 / scale]), np.array(found["curvature"])
    first, second = np.linspace(-0.5, 2.5, 61), np.linspace(-1.0, 1.2, 61) + (0.0 if steep else 0.9)
    apart = np.stack(np.meshgrid(first, second), axis=-1) - goal
    heights = 0.5 * np.einsum("xyi,ij,xyj->xy", apart, curvature, apart)
    figure.add_contour(
        x=first, y=second, z=np.log10(heights + 1e-3), contours={"coloring": "lines"}, ncontours=12, showscale=False
    )
    path = np.array(found["path"])
    plot.line(figure, path[:, 0], path[:, 1], name="gradient descent")
    figure.data[-1].update(mode="lines+markers", marker={"size": 4})
    plot.points(figure, goal[:1], goal[1:], name="minimum")
    figure.update_yaxes(scaleanchor="x", scaleratio=1)
    return figure


STUDY = Study(
    name="feature-normalization",
    title="Feature normalization",
    chapter=5,
    claim="Inputs of unequal scale make one direction steep and another flat; normalized, they are learned faster.",
    source="Hung-yi Lee 2021, chapter 5; LeCun, Bottou, Orr, Müller 1998, Efficient BackProp",
    setting="Two features of 100 samples, the second up to 30 times as wide; 300 digits, a linear classifier from zero "
    "weights on the whole set; all digits to learn from, 64-32-10 in batches of 32, 300 updates at the best of twelve "
    "rates. Pixels from 0 to 16: standardized, centred, as they are, each in a unit of its own from 10^−1.5 to "
    "10^1.5, or with 100 added to each.",
    explains="The first two pictures are the lecture's. A change of w2 is multiplied by x2 before it changes the "
    "loss; where x2 is ten times as large as x1, the surface is a hundred times as steep along w2. The rate must be "
    "small enough for the steep direction, and is then far too small for the flat one. How many updates a walk takes "
    "goes with the ratio of the two curvatures, that is, with the square of the ratio of the scales. With both "
    "features normalized, x̃ = (x − μ)/σ, the contours are nearly circles, and two or three updates do.\n\n"
    "The same holds for digits, where a linear classifier and a network get there faster, or further in the same time, "
    "with each at the best of the same rates. Adam, which has a rate for each weight, does not make up for it: it "
    "equalizes how far the weights move, not what a move does.\n\n"
    "The lecture draws unequal scales. The mean matters as much, and more here: d inputs of variance 1 with the mean s "
    "have the largest curvature 1 + d s², because all weights of a unit that move together move its output. Where "
    "features share a unit, as pixels do, subtracting the mean does nearly all of it. Two "
    "things to mind: the μ and σ of the training set serve for every later sample, too; and a pixel that never "
    "changes has σ = 0, so that it must not be divided.",
    gates=(
        Gate(
            measurement="updates with one feature ten times as wide",
            says="with one feature ten times as wide, thirty times as many updates are needed or more",
            low=30.0,
            over="geometric mean",
        ),
        Gate(
            measurement="updates for digits as they are",
            says="digits from 0 to 16 take five times as many updates as standardized ones, or more",
            low=5.0,
            over="geometric mean",
        ),
        Gate(
            measurement="updates for digits in unequal units",
            says="in unequal units they take six times as many, or more",
            low=6.0,
            over="geometric mean",
        ),
        Gate(
            measurement="updates for shifted digits",
            says="shifted by 100, fifty times as many, or more",
            low=50.0,
            over="geometric mean",
        ),
        Gate(
            measurement="updates for digits as they are, best rates",
            says="with each at its best rate, digits as they are still take three times as many",
            low=3.0,
            over="geometric mean",
        ),
        Gate(
            measurement="updates for digits in unequal units, best rates",
            says="and those in unequal units five times as many",
            low=5.0,
            over="geometric mean",
        ),
        Gate(
            measurement="loss of a network in unequal units, gradient descent",
            says="a network in unequal units is left with three times the loss or more",
            low=3.0,
            over="geometric mean",
        ),
        Gate(
            measurement="loss of a network in unequal units, Adam",
            says="with Adam, too",
            low=3.0,
            over="geometric mean",
        ),
        Gate(
            measurement="power of the scale in the updates",
            says="updates grow with the square of the scale",
            low=1.9,
            high=2.1,
            over="mean",
            role="control",
        ),
        Gate(
            measurement="error of the closed form for shifted inputs",
            says="the largest curvature of shifted inputs is the formula's",
            high=1e-9,
            role="control",
        ),
        Gate(
            measurement="updates for centred digits",
            says="where features share a unit, centring alone does as well",
            low=0.5,
            high=1.5,
            over="mean",
            role="qualification",
        ),
        Gate(
            measurement="updates for shifted digits over unequal units",
            says="a mean far from zero does more harm than unequal units",
            low=2.0,
            over="geometric mean",
            role="qualification",
        ),
    ),
    plan=plan,
    run=run,
    measure=measure,
    draw=draw,
    takes=(75, 20),
)
