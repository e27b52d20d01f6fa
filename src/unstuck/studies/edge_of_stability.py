"""Edge of stability: training moves to where the surface is just too steep for its rate, and goes on there."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unstuck import plot
from unstuck.curvature.hessian import Hessian, Part
from unstuck.curvature.loss import Loss, gradient_of
from unstuck.curvature.scaled import preconditioned
from unstuck.datasets import load
from unstuck.fleet import epochs
from unstuck.fleet_network import Network, SampleLoss
from unstuck.methods.stability import StabilityLimit, stability_limit
from unstuck.methods.update import Rule, adam, gradient_descent, heavy_ball, nesterov, start, step
from unstuck.numerics.krylov import NonFiniteProduct, SymmetricOperator
from unstuck.numerics.lanczos import extreme_eigenpairs
from unstuck.study import Gate, Measurement, Runs, Study
from unstuck.study.experiments.networks import cross_entropy, half_squared_error, perceptron
from unstuck.study.experiments.walks import limit_error
from unstuck.untouched import generators_kept, seed_all
from unstuck.vector import Point

Batch = tuple[Tensor, Tensor]

SAMPLES, WIDTHS, CLASSES = 256, (64, 32, 32, 10), 10

LOOK, PRODUCTS = 40, 30
"""Updates between two looks at the curvature, and products of the Hessian in one at most."""

LATE = 50
"""Updates over which the loss is averaged in the middle and at the end."""

EARLY = 80
"""Updates after which the raw curvature of Adam's walk is what its end is compared with."""

METHODS: Mapping[str, tuple[Callable[[float], Rule], Callable[..., torch.optim.Optimizer]]] = {
    "gradient descent": (gradient_descent, torch.optim.SGD),
    "momentum": (heavy_ball, partial(torch.optim.SGD, momentum=0.9)),
    "Nesterov": (nesterov, partial(torch.optim.SGD, momentum=0.9, nesterov=True)),
    "Adam": (adam, torch.optim.Adam),
}
"""The rule that walks, and torch's optimizer, of which it is known how steep a valley it walks."""


class Arm(NamedTuple):
    """One training: method, rate, loss of samples, how many are in an update, and how many updates."""

    method: str
    rate: float
    updates: int = 1_000
    batch: int = SAMPLES
    loss: SampleLoss = half_squared_error


ARMS: Mapping[str, Arm] = {
    "rate 0.4": Arm("gradient descent", 0.4),
    "rate 0.6": Arm("gradient descent", 0.6),
    "rate 0.8": Arm("gradient descent", 0.8),
    "low rate": Arm("gradient descent", 0.05),
    "momentum": Arm("momentum", 0.6, 1_600),
    "Nesterov": Arm("Nesterov", 0.3),
    "Adam": Arm("Adam", 2e-3, 2_400),
    "small batches": Arm("gradient descent", 0.6, batch=16),
    "cross-entropy": Arm("gradient descent", 2.0, loss=cross_entropy),
}

EDGE = ("rate 0.4", "rate 0.6", "rate 0.8")


def plan(seeds: Sequence[int], quick: bool) -> list[dict[str, Any]]:
    """For each seed a training of each kind; a first look does without one of the rates."""
    return [{"seed": seed, "arm": arm} for seed in seeds for arm in ARMS if not (quick and arm == EDGE[0])]


def run(seed: int, arm: str, updates: int = 0) -> dict[str, Any]:
    """Train a network, and look at the largest curvature on the way."""
    own = ARMS[arm]
    rule = METHODS[own.method][0](own.rate)
    allowed = limit_of(own)
    surface = Surface(own, seed)
    with generators_kept():
        seed_all(seed)
        row = surface.network.split(_build())[0]
    state = start(rule, row)
    batches = surface.batches(seed)
    losses: list[float] = []
    found: dict[str, Any] = {"looks": [], "raw": [], "share": []}
    for update in range((updates or own.updates) + 1):
        loss, gradient = surface.slope(row, next(batches))
        if not math.isfinite(loss):
            break
        losses.append(loss)
        if update % LOOK == 0:
            hessian = surface.hessian(row)
            raw = scaled = sharpest(hessian, seed)
            if not math.isfinite(raw):
                break
            if allowed.preconditioned and state.squares is not None:
                scaled = sharpest(preconditioned(hessian, state.squares.sqrt() + rule.epsilon), seed) if update else 0.0
            found["looks"].append(update)
            found["raw"].append(raw)
            found["share"].append(scaled / allowed.curvature)
        row, state = step(rule, state, row, gradient)
    half = len(losses) // 2
    return found | {
        "loss": losses[:: LOOK // 8],
        "rising": float(np.mean(np.diff(losses[half:]) > 0)),
        "fallen": float(np.mean(losses[-LATE:]) / np.mean(losses[half : half + LATE])),
    }


def _build() -> nn.Module:
    return perceptron(WIDTHS, nn.Tanh)


def limit_of(arm: Arm) -> StabilityLimit:
    """The curvature that its optimizer just walks."""
    weight = nn.Parameter(torch.zeros(1, device="cpu"))
    limit = stability_limit(METHODS[arm.method][1]([weight], lr=arm.rate))
    assert limit is not None
    return limit


def sharpest(operator: SymmetricOperator, seed: int) -> float:
    """The largest eigenvalue; NaN where numbers are no longer finite."""
    generator = torch.Generator(device="cpu").manual_seed(seed)
    try:
        found = extreme_eigenpairs(operator, generator=generator, smallest=0, tolerance=1e-2, max_products=PRODUCTS)
    except NonFiniteProduct:  # it diverges
        return math.nan
    return found.largest.values[-1]


class Surface:
    """The loss of some digits over a network's parameters, with one-hot targets for the squared error."""

    def __init__(self, arm: Arm, seed: int) -> None:
        digits = load("digits")
        generator = torch.Generator(device="cpu").manual_seed(seed)
        chosen = torch.randperm(len(digits.inputs), generator=generator, device="cpu")[:SAMPLES]
        self.inputs, self.targets = digits.inputs[chosen], digits.targets[chosen]
        if arm.loss is half_squared_error:
            self.targets = F.one_hot(self.targets, CLASSES).to(self.inputs.dtype)
        self.network = Network.of(_build())
        self._arm = arm

    def slope(self, row: Tensor, batch: Batch) -> tuple[float, Tensor]:
        """The loss of a batch, and its gradient."""
        loss, gradient = gradient_of(self._loss(batch), {"row": row})
        return loss, gradient["row"]

    def batches(self, seed: int) -> Iterator[Batch]:
        """What each update sees: the whole set, or batches of it."""
        whole = self._arm.batch == SAMPLES
        for order in epochs(SAMPLES, self._arm.batch, seed):
            for drawn in order:
                yield (self.inputs, self.targets) if whole else (self.inputs[drawn], self.targets[drawn])

    def hessian(self, row: Tensor) -> Hessian:
        """Of the loss of the whole set."""
        part = Part(loss=self._loss((self.inputs, self.targets)), share=1.0, samples=SAMPLES)
        return Hessian([part], {"row": row.clone()})

    def _loss(self, batch: Batch) -> Loss:
        inputs, targets = batch

        def mean_loss(point: Point) -> Tensor:
            outputs = self.network.outputs(self.network.named(point["row"]), {}, inputs)
            return self._arm.loss(outputs, targets).mean()

        return mean_loss


def measure(runs: Runs) -> list[Measurement]:
    """What the gates are about."""

    def late(arm: str) -> dict[int, float]:
        shares = {run.seed: run.result["share"] for run in runs.where(arm=arm)}
        return {seed: float(np.median(own[len(own) // 2 :])) for seed, own in shares.items()}

    def over_rates(of: Callable[[str], Mapping[int, float]], choose: Callable[[list[float]], Any]) -> dict[int, float]:
        arms = [of(arm) for arm in EDGE if len(runs.where(arm=arm))]
        return {seed: float(choose([own[seed] for own in arms])) for seed in arms[0]}

    def farthest(values: list[float]) -> float:
        return max(values, key=lambda value: abs(value - 1.0))

    begun = over_rates(lambda arm: {run.seed: run.result["share"][0] for run in runs.where(arm=arm)}, min)
    growth = {run.seed: run.result["raw"][-1] / run.result["raw"][EARLY // LOOK] for run in runs.where(arm="Adam")}

    def rising(arm: str) -> dict[int, float]:
        return runs.where(arm=arm).per_seed("rising")

    def fallen(arm: str) -> dict[int, float]:
        return runs.where(arm=arm).per_seed("fallen")

    share = "median over the second half"
    table: tuple[tuple[str, str, Mapping[int, float]], ...] = (
        (
            "curvature over its limit, gradient descent",
            f"{share}; of three rates, the farthest from 1",
            over_rates(late, farthest),
        ),
        *(
            (f"curvature over its limit, {arm}", share, late(arm))
            for arm in ("momentum", "Nesterov", "Adam", "low rate", "small batches", "cross-entropy")
        ),
        ("curvature over its limit at the start", "gradient descent, the lowest of three rates", begun),
        (
            "share of late updates in which the loss rises",
            "gradient descent, mean of three rates",
            over_rates(rising, np.mean),
        ),
        ("late loss over that in the middle", "gradient descent, the highest of three rates", over_rates(fallen, max)),
        ("share of updates in which the loss rises, low rate", "in the second half", rising("low rate")),
        ("growth of the raw curvature, Adam", f"at the end over that after {EARLY} updates", growth),
        ("error of the limits", "relative, of walks on parabolas with and without momentum", {0: limit_error(0.9)}),
    )
    return [Measurement(name=name, says=says, values=values) for name, says, values in table]


def draw(runs: Runs) -> Mapping[str, go.Figure]:
    """The curvature over its limit, for gradient descent, for others, and where it is otherwise; and the loss."""
    results = {run.settings["arm"]: run.result for run in runs if run.seed == runs.seeds[0]}
    parts = {
        "gradient-descent": (
            "Gradient descent at four rates",
            (*EDGE, "low rate"),
            "At three rates the largest curvature rises beyond 2/η, and settles there. At a rate eight times "
            "lower or more it stays far below.",
        ),
        "others": (
            "Momentum, Nesterov, Adam",
            ("momentum", "Nesterov", "Adam"),
            "Each comes to rest at the limit of its own rule; Adam's is that of the curvature divided by σ.",
        ),
        "otherwise": (
            "Small batches, and cross-entropy",
            ("rate 0.6", "small batches", "cross-entropy"),
            "In batches of 16 the curvature stays below the limit that the whole set reaches at the same rate. With "
            "cross-entropy it falls to nearly nothing.",
        ),
    }
    figures = {}
    for name, (title, arms, summary) in parts.items():
        figures[name] = plot.figure(title=title, x="updates", y="largest curvature over its limit", summary=summary)
        for arm in filter(results.__contains__, arms):
            plot.line(figures[name], results[arm]["looks"], results[arm]["share"], name=arm)
        figures[name].add_hline(y=1.0, line={"dash": "dot", "width": 1})
    loss = plot.figure(
        title="The loss of the same trainings",
        x="updates",
        y="training loss",
        log_y=True,
        summary="At the edge of stability the loss goes up and down, and falls in the long run, faster than at the low "
        "rate, where it falls in each update.",
    )
    for arm in filter(results.__contains__, (*EDGE, "low rate")):
        own = results[arm]["loss"]
        plot.line(loss, np.arange(len(own)) * (LOOK // 8), own, name=arm)
    return {**figures, "loss": loss}


STUDY = Study(
    name="edge-of-stability",
    title="The edge of stability",
    chapter=3,
    claim="Training goes to where the surface is just too steep for its rate, and stays there while the loss falls.",
    source="Cohen, Kaur, Li, Kolter, Talwalkar 2021 and Cohen et al. 2022",
    setting="64-32-32-10 with tanh on 256 digits, half the squared error to one-hot targets, the whole set in each "
    "update. Gradient descent at rates of 0.4, 0.6, 0.8 and 0.05; momentum 0.9 at 0.6; Nesterov's at 0.3; Adam at "
    "0.002; batches of 16 at 0.6; cross-entropy at 2. 1,000 updates, momentum 1,600, Adam 2,400; "
    "the Hessian's largest eigenvalue in every fortieth.",
    explains="On a parabola of curvature λ, gradient descent with the rate η goes from wall to wall and diverges if λ "
    "is above 2/η. So one expects that a rate that works is one for which the surface is flat enough. The first "
    "picture shows the largest curvature, divided by that limit, during trainings. At the lower rates it begins well "
    "below 1, and rises; at each it comes to 1 and stays there, while training goes on. The rate does not have to "
    "suit the surface: the walk goes to where the surface suits the rate, only just. There the loss goes up in two "
    "updates of five, and still falls in the long run. It is one of the ways in which a loss can look stuck while "
    "the gradient is not small.\n\n"
    "Each rule has a limit of its own: with momentum β it is (2 + 2β)/η, with Nesterov's (2 + 2β)/((1 + 2β)η). Adam "
    "divides each step by σ, so that what counts is the curvature divided by σ, and the limit is 38/η with β₁ = 0.9. "
    "The second picture shows that each comes to its own. Under Adam, what is held is that quotient alone: the "
    "curvature itself goes on growing, as σ does not stay the same. And not every start leads there: one that is too "
    "steep for the rate may throw a walk so far off that it never comes back.\n\n"
    "The third picture says where this stops. It is a matter of the whole set in every update: in small batches, noise "
    "keeps the walk from the steepest places, and the curvature stays below the limit. It needs a loss that keeps its "
    "curvature: cross-entropy becomes flat where all samples are told apart, and the curvature falls far below. And at "
    "a rate low enough, training ends before the edge is reached.",
    gates=(
        Gate(
            measurement="curvature over its limit, gradient descent",
            says="gradient descent stays where the largest curvature is 2/η, at each of three rates",
            low=0.95,
            high=1.1,
            over="four seeds of five",
        ),
        Gate(
            measurement="curvature over its limit at the start",
            says="it began below",
            high=0.9,
            over="four seeds of five",
        ),
        Gate(
            measurement="share of late updates in which the loss rises",
            says="in a fifth of the updates there or more, the loss rises",
            low=0.2,
            high=0.6,
            over="four seeds of five",
        ),
        Gate(
            measurement="late loss over that in the middle",
            says="and falls all the same in the long run",
            high=0.8,
            over="four seeds of five",
        ),
        *(
            Gate(
                measurement=f"curvature over its limit, {arm}",
                says=f"{says} stays at the limit of its own",
                low=0.85,
                high=1.1,
                over="four seeds of five",
            )
            for arm, says in (
                ("momentum", "momentum"),
                ("Nesterov", "momentum of Nesterov's kind"),
                ("Adam", "with the curvature divided by σ, Adam"),
            )
        ),
        Gate(
            measurement="growth of the raw curvature, Adam",
            says="while the curvature itself goes on growing",
            low=1.5,
            over="geometric mean",
        ),
        Gate(
            measurement="share of updates in which the loss rises, low rate",
            says="at a low rate the loss falls in each update",
            high=0.0,
            role="control",
        ),
        Gate(
            measurement="curvature over its limit, low rate",
            says="and the curvature stays below half its limit",
            high=0.5,
            role="control",
        ),
        Gate(
            measurement="error of the limits",
            says="the limits are where walks on parabolas begin to diverge",
            high=0.005,
            role="control",
        ),
        Gate(
            measurement="curvature over its limit, small batches",
            says="in small batches the curvature stays below the limit",
            high=0.9,
            over="four seeds of five",
            role="qualification",
        ),
        Gate(
            measurement="curvature over its limit, cross-entropy",
            says="with cross-entropy it ends far below",
            high=0.3,
            over="four seeds of five",
            role="qualification",
        ),
    ),
    plan=plan,
    run=run,
    measure=measure,
    draw=draw,
    takes=(62, 22),
)
