"""Adaptive rates: η/σ for each parameter, what σ remembers, when that helps, and a problem on which it misleads.

σ is the root mean square of a parameter's gradients: of all so far in the lecture's Adagrad, with the recent ones
weighing more in RMSProp and Adam. Where gradients are small, η/σ is large, so that the steps of all parameters come out
about as long.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch

from unstuck import datasets, plot
from unstuck.fleet import Fleet, Member, train_fleet
from unstuck.methods.update import (
    Rule,
    adagrad,
    adagrad_mean,
    adam,
    gradient_descent,
    rmsprop,
    stack,
)
from unstuck.study import Gate, Measurement, Runs, Study
from unstuck.study.experiments.driven import STRETCH, closed_forms, online, stream, two_scales
from unstuck.study.experiments.networks import cross_entropy, perceptron
from unstuck.study.experiments.valleys import Crescent
from unstuck.study.experiments.walks import path, uniform

CRESCENT_UPDATES, ARRIVED = 10_000, 0.01
"""At most, and the share of the floor's fall that is left where a walk has arrived."""

SURFACES, SURFACE_UPDATES, SURFACE_RATE = 16, 20_000, 0.3
"""Quadratic valleys on which Adagrad bursts."""

TRAINED, LOW, AVERAGED, BATCH = 400, 0.3, 10, 64
"""Updates of networks at most; the training loss that is asked for, as a mean of so many updates; their batches."""

PAIRED = range(50, 251, 10)
"""Updates whose steps are looked at."""

METHODS: Mapping[str, Callable[[float], Rule]] = {
    "gradient descent": gradient_descent,
    "Adagrad": adagrad,
    "Adagrad of the lecture": adagrad_mean,
    "RMSProp": lambda rate: rmsprop(rate, 0.9),
    "Adam": adam,
}

CRESCENT_RATES = tuple(np.logspace(-4.0, -0.5, 15).tolist())
"""The first step of an adaptive method is as long as its rate: larger ones would leave the crescent, of radius 1."""

DESCENT_RATES, ADAPTIVE_RATES = tuple(np.logspace(-2.0, 0.5, 9).tolist()), tuple(np.logspace(-3.5, -1.0, 9).tolist())
"""For networks."""


def plan(seeds: Sequence[int], quick: bool) -> list[dict[str, Any]]:
    """For each seed surfaces of few weights, and networks."""
    length = {"updates": CRESCENT_UPDATES // 2 if quick else CRESCENT_UPDATES}
    return [{"seed": seed} | part for seed in seeds for part in ({"part": "surfaces"} | length, {"part": "networks"})]


def run(seed: int, part: str, updates: int = CRESCENT_UPDATES) -> dict[str, Any]:
    """One part of the study, for one seed; ``numbers`` are those of :data:`SAYS`."""
    generator = torch.Generator(device="cpu").manual_seed(seed)
    if part == "networks":
        return _networks(seed, generator)
    numbers = {"error of the closed forms": closed_forms(generator), **two_scales(generator)}
    recovered, rates = stream(generator)
    crescent, walks = _crescent(generator, updates)
    return {
        "numbers": numbers | recovered | crescent | _bursts(generator) | _online(seed),
        "rates": rates,
        "crescent": walks,
    }


def _crescent(generator: torch.Generator, updates: int) -> tuple[dict[str, float], dict[str, Any]]:
    """Updates to the end of a crescent from outside its far tip, each method at its best rate."""
    surface = Crescent(float(uniform(80.0, 120.0, 1, generator)), float(uniform(0.05, 0.2, 1, generator)))
    angle, radius = uniform(2.4, 2.8, 1, generator), uniform(1.5, 2.0, 1, generator)
    at = radius * torch.cat([angle.cos(), angle.sin()], dim=1)
    needed, walks = {}, {}
    for name, method in METHODS.items():
        walk = path(
            stack([method(rate) for rate in CRESCENT_RATES]), at.repeat(len(CRESCENT_RATES), 1), surface.slope, updates
        )
        arrived = surface.loss(walk) <= ARRIVED * 2.0 * surface.flat
        counts = torch.where(arrived.any(0), arrived.int().argmax(0), updates)
        needed[name] = float(counts.min())
        walks[name] = walk[:, int(counts.argmin())]
    seen = np.unique(np.geomspace(1, needed["RMSProp"] + 1, 100).astype(int)) - 1
    drawn: dict[str, Any] = {name: walk[seen].tolist() for name, walk in walks.items()}
    drawn["surface"] = [surface.steep, surface.flat]
    return {
        "updates on the crescent, Adagrad": needed["Adagrad"] / needed["RMSProp"],
        "updates on the crescent, Adagrad of the lecture": needed["Adagrad of the lecture"] / needed["RMSProp"],
        "updates on the crescent, gradient descent": needed["gradient descent"] / needed["RMSProp"],
    }, drawn


def _bursts(generator: torch.Generator) -> dict[str, float]:
    """Adagrad in both forms on quadratic valleys: how far the loss rises above its lowest, and comes down again."""
    steep = 10.0 ** uniform(3.0, 6.0, SURFACES, generator)
    curvatures = torch.cat([torch.ones_like(steep), steep], dim=1)
    at = torch.cat([uniform(0.5, 1.0, SURFACES, generator) for _ in range(2)], dim=1)
    rises, after = {}, {}
    for name, rule in (("mean", adagrad_mean(SURFACE_RATE)), ("sum", adagrad(SURFACE_RATE, epsilon=0.0))):
        walk = path(rule, at, lambda rows: curvatures * rows, SURFACE_UPDATES)
        losses = (curvatures * walk.square()).sum(-1) / 2
        losses = torch.maximum(losses, 1e-12 * losses[0])  # what is lower has arrived
        rise = losses / losses.cummin(0).values
        rises[name] = rise.amax(0)
        after[name] = torch.stack(
            [own[top:].min() / own[top] for own, top in zip(losses.T, rise.argmax(0), strict=True)]
        )
    return {
        "valleys on which the lecture's Adagrad bursts": float((rises["mean"] >= 10.0).double().mean()),
        "valleys on which it recovers": float((after["mean"] <= 0.1).double().mean()),
        "valleys on which Adagrad bursts": float((rises["sum"] >= 10.0).double().mean()),
    }


def _online(seed: int) -> dict[str, float]:
    """Reddi's problem from a start and a place in its cycle that the seed decides."""
    place = float(np.random.default_rng(seed).uniform(-1.0, 1.0))
    return {f"end on Reddi's problem, {name}": online(name, place, seed % 3) for name in ("Adam", "AMSGrad", "SGD")}


def _networks(seed: int, generator: torch.Generator) -> dict[str, Any]:
    """Updates of a network to a low training loss, on pixels as they are and on pixels scaled apart."""
    digits = datasets.load(datasets.DEFAULT)
    scales = 10.0 ** uniform(-1.5, 1.5, digits.features, generator)[:, 0].float()
    build = partial(perceptron, (digits.features, 32, digits.classes))
    needed: dict[str, dict[str, float]] = {}
    curves: dict[str, list[float]] = {}
    for kind, inputs in (("alike", digits.inputs), ("apart", scales * digits.inputs)):
        needed[kind] = {}
        for name in ("gradient descent", "RMSProp", "Adam"):
            rates = DESCENT_RATES if name == "gradient descent" else ADAPTIVE_RATES
            members = [Member(rule=METHODS[name](rate), batch_size=BATCH, seed=seed) for rate in rates]
            keep = {more for look in PAIRED for more in (look, look + 1)} if kind == "alike" else set()
            fleet = train_fleet(build, cross_entropy, inputs, digits.targets, members, TRAINED, keep=keep)
            means = fleet.losses.unfold(1, AVERAGED, 1).mean(-1)
            reached = torch.where((means <= LOW).any(1), (means <= LOW).int().argmax(1) + AVERAGED, TRAINED)
            best = int(reached.argmin())
            needed[kind][name] = float(reached[best])
            if kind == "apart":
                curves[name] = means[best].tolist()
            elif name != "RMSProp":
                needed["spread"] = needed.get("spread", {}) | {name: spread(fleet, best)}
    return {
        "numbers": {
            "gain of RMSProp, inputs scaled apart": needed["apart"]["gradient descent"] / needed["apart"]["RMSProp"],
            "gain of Adam, inputs scaled apart": needed["apart"]["gradient descent"] / needed["apart"]["Adam"],
            "gain of Adam, inputs alike": needed["alike"]["gradient descent"] / needed["alike"]["Adam"],
            "spread of steps, gradient descent over Adam": needed["spread"]["gradient descent"]
            / needed["spread"]["Adam"],
        },
        "losses": {name: own[::4] for name, own in curves.items()},
    }


def spread(fleet: Fleet, member: int) -> float:
    """How many times as long the steps of a parameter in the top tenth are as of one in the lowest."""
    steps = torch.stack([fleet.at(look + 1).parameters[member] - fleet.at(look).parameters[member] for look in PAIRED])
    sizes = steps.double().square().mean(0).sqrt()
    low, high = sizes[sizes > 0].quantile(torch.tensor([0.1, 0.9], dtype=torch.float64, device="cpu")).tolist()
    return float(high / low)


SAYS: Mapping[str, str] = {
    "step where gradients are 1,000 times smaller": "of the lecture's Adagrad, over the other parameter's",
    "rate where gradients are 1,000 times smaller": "η/σ over that of the other parameter",
    "rate after a steep stretch, RMSProp": f"over that before, {STRETCH} updates after gradients are small again",
    "rate after a steep stretch, Adagrad of the lecture": "the same",
    "updates on the crescent, Adagrad": "over those of RMSProp, both at their best rate; Adagrad of Duchi et al.",
    "updates on the crescent, Adagrad of the lecture": "the same for the mean of squares in place of their sum",
    "updates on the crescent, gradient descent": "over those of RMSProp, both at their best rate",
    "valleys on which the lecture's Adagrad bursts": f"share of {SURFACES}: the loss rises to ten times its lowest",
    "valleys on which it recovers": "the loss falls again to a tenth or less",
    "valleys on which Adagrad bursts": "the same for that of Duchi et al.",
    "spread of steps, gradient descent over Adam": "of a network: length in the top tenth over the lowest",
    "gain of RMSProp, inputs scaled apart": "updates of gradient descent over its own, each at its best rate",
    "gain of Adam, inputs scaled apart": "the same",
    "gain of Adam, inputs alike": "the same on standardized inputs",
    "error of the closed forms": "first steps, steps by a constant gradient, steps by scaled gradients",
    "end on Reddi's problem, Adam": "mean place in the last 1,000 of 30,000 updates; −1 is best and 1 is worst",
    "end on Reddi's problem, AMSGrad": "the same",
    "end on Reddi's problem, SGD": "the same",
}
"""What each number of a run is."""


def measure(runs: Runs) -> list[Measurement]:
    """What the gates are about."""
    return runs.measured(SAYS)


def draw(runs: Runs) -> Mapping[str, go.Figure]:
    """The rate of one parameter, walks on a crescent, and a network's loss."""
    surfaces, networks = (runs.where(part=part).results()[0] for part in ("surfaces", "networks"))
    return {
        "rates": _rates(surfaces["rates"]),
        "crescent": _walks(surfaces["crescent"]),
        "networks": _losses(networks["losses"]),
    }


def _rates(rates: Mapping[str, Sequence[float]]) -> go.Figure:
    figure = plot.figure(
        title="The rate of a parameter whose gradients are small, then large, then small again",
        x="update",
        y="η/σ",
        log_y=True,
        summary="When gradients become ten times as large, both rates fall. When they are small again, RMSProp's rate "
        "comes back within some sixty updates; that of the lecture's Adagrad hardly moves.",
    )
    for name, own in rates.items():
        plot.line(figure, np.arange(1, len(own) + 1), own, name=name)
    for border in (STRETCH, 2 * STRETCH):
        figure.add_vline(x=border)
    return figure


def _walks(walks: Mapping[str, Any]) -> go.Figure:
    figure = plot.figure(
        title="A valley that turns: where walks are when RMSProp arrives",
        x="w1",
        y="w2",
        summary="From beyond the left tip, RMSProp follows the crescent to the minimum at (1, 0). In as many updates "
        "Adagrad has made a part of the way, as it does not forget how steep the start was.",
    )
    places = np.linspace(-2.0, 2.0, 81)
    grid = torch.as_tensor(np.stack(np.meshgrid(places, places[30:]), axis=-1), device="cpu")
    steep, flat = walks["surface"]
    losses = Crescent(steep, flat).loss(grid).clamp_min(1e-2).log10().numpy()
    figure.add_contour(
        x=places, y=places[30:], z=losses, contours_coloring="none", opacity=0.5, showlegend=False, hoverinfo="skip",
        line={"width": 1, "color": plot.COLOURS["neutral"]},
    )  # fmt: skip
    for name in ("RMSProp", "Adagrad"):
        plot.points(figure, *np.array(walks[name]).T, name=name)
    return figure.update_layout(hovermode="closest")


def _losses(losses: Mapping[str, Sequence[float]]) -> go.Figure:
    figure = plot.figure(
        title="A network on inputs that are scaled apart, each method at its best rate",
        x="update",
        y=f"training loss, mean of {AVERAGED} updates",
        log_y=True,
        summary="RMSProp and Adam are at a low loss in fewer updates than gradient descent.",
    )
    for name in ("gradient descent", "RMSProp", "Adam"):
        own = losses[name]
        plot.line(figure, AVERAGED + 4 * np.arange(len(own)), own, name=name)
    return figure


STUDY = Study(
    name="adaptive-rates",
    title="A rate for each parameter",
    chapter=3,
    claim="With η/σ parameters with small gradients get large rates and equal steps, and RMSProp changes them in time.",
    source="Hung-yi Lee 2021, chapter 3; Duchi et al. 2011; Hinton 2012; Kingma and Ba 2015; Reddi et al. 2018",
    setting="For each seed drawn gradients, a crescent-shaped valley, 16 quadratic valleys with condition numbers from "
    "1,000 to a million, Reddi's problem of one weight, and networks 64-32-10 on 1,297 digits in batches of 64, with "
    "inputs standardized, or scaled apart by factors from 1/30 to 30; each method at the best of a grid of rates.",
    explains="σ is the root mean square of a parameter's gradients. Where they are small, σ is small and the rate η/σ "
    "large. Of two parameters, one with gradients 1,000 times those of the other, the second gets 1,000 times the "
    "rate, and both make steps of the same length: it is the steps that become equal, not the rates. In networks the "
    "steps of Adam differ from parameter to parameter several times less than those of gradient descent.\n\n"
    "How long σ remembers decides what it can do. In the first picture gradients are small, large, and small again. "
    "The lecture's Adagrad weighs all of them alike, so its rate stays low; RMSProp forgets and adapts. On a crescent, "
    "where the same weight first lies across the valley and later along it, RMSProp is there in a fraction of the "
    "updates that Adagrad needs. With the mean of squares, as the lecture has it, and a constant η, Adagrad bursts "
    "once it has arrived, and recovers: σ has become small, steps become long, gradients large, and σ large again. "
    "With the sum of squares, as in the paper, it never does.\n\n"
    "What is to be said against it: because it bursts, the lecture's own Adagrad may reach the end of the crescent as "
    "soon as RMSProp, and gradient descent at its best rate is seldom far behind. On standardized inputs a network is "
    "trained by gradient descent, at its best rate, in about as many updates as by Adam; only with inputs scaled apart "
    "do RMSProp and Adam gain. And Adam can go wrong: in Reddi's problem one large gradient in three says where to go, "
    "σ makes it no larger than the others, and Adam ends at the worst place.",
    gates=(
        Gate(
            measurement="step where gradients are 1,000 times smaller",
            says="parameters with gradients of very different size make equal steps",
            low=0.8,
            high=1.25,
        ),
        Gate(
            measurement="rate where gradients are 1,000 times smaller",
            says="their rates differ as their gradients do, the other way round",
            low=500.0,
            high=2_000.0,
        ),
        Gate(
            measurement="spread of steps, gradient descent over Adam",
            says="in a network, Adam's steps differ less between parameters",
            low=2.0,
            over="geometric mean",
        ),
        Gate(
            measurement="rate after a steep stretch, RMSProp",
            says="after a steep stretch RMSProp's rate comes back",
            low=0.8,
            high=1.25,
        ),
        Gate(
            measurement="rate after a steep stretch, Adagrad of the lecture",
            says="the lecture's Adagrad keeps its rate low",
            high=0.4,
        ),
        Gate(
            measurement="updates on the crescent, Adagrad",
            says="on a crescent Adagrad needs twice the updates of RMSProp or more",
            low=2.0,
            over="geometric mean",
        ),
        Gate(
            measurement="valleys on which the lecture's Adagrad bursts",
            says="the lecture's Adagrad bursts in a valley",
            low=0.8,
        ),
        Gate(measurement="valleys on which it recovers", says="it recovers", low=0.8),
        Gate(measurement="valleys on which Adagrad bursts", says="with the sum of squares it does not burst", high=0.1),
        Gate(
            measurement="gain of RMSProp, inputs scaled apart",
            says="a network on inputs scaled apart is trained in fewer updates by RMSProp",
            low=1.3,
            over="geometric mean",
        ),
        Gate(measurement="gain of Adam, inputs scaled apart", says="it is by Adam", low=1.2, over="geometric mean"),
        Gate(
            measurement="error of the closed forms", says="steps are those of the formulas", high=1e-9, role="control"
        ),
        Gate(
            measurement="end on Reddi's problem, AMSGrad",
            says="on Reddi's problem AMSGrad ends at the best place",
            high=-0.9,
            role="control",
        ),
        Gate(measurement="end on Reddi's problem, SGD", says="so does gradient descent", high=-0.9, role="control"),
        Gate(
            measurement="end on Reddi's problem, Adam",
            says="on Reddi's problem Adam ends at the worst place",
            low=0.9,
            role="qualification",
        ),
        Gate(
            measurement="updates on the crescent, Adagrad of the lecture",
            says="with the mean of squares Adagrad needs at most twice the updates of RMSProp",
            high=2.0,
            over="median",
            role="qualification",
        ),
        Gate(
            measurement="updates on the crescent, gradient descent",
            says="on the crescent, gradient descent needs at most three times the updates of RMSProp",
            high=3.0,
            over="median",
            role="qualification",
        ),
        Gate(
            measurement="gain of Adam, inputs alike",
            says="on standardized inputs Adam gains next to nothing",
            high=1.5,
            over="mean",
            role="qualification",
        ),
    ),
    plan=plan,
    run=run,
    measure=measure,
    draw=draw,
    takes=(40, 16),
)
