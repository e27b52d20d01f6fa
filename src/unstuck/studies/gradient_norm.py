"""Gradient norm: the loss no longer falls, and yet the gradient is far from zero; three ways in which that happens."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp, vmap

from unstuck import datasets, plot
from unstuck.fleet import Member, epochs, train_fleet
from unstuck.fleet_network import Network, SampleLoss
from unstuck.methods.schedule import Constant, WarmUpStableDecay
from unstuck.methods.update import gradient_descent
from unstuck.numerics.krylov import OperatorFromProduct
from unstuck.numerics.lanczos import extreme_eigenpairs
from unstuck.numerics.statistics import trend
from unstuck.study import Gate, Measurement, Runs, Study
from unstuck.study.experiments.networks import cross_entropy, half_squared_error, perceptron
from unstuck.study.experiments.walks import spread

SAMPLES, CLASSES, WRONG = 600, 10, 0.2
"""Digits that are learned, and the share of labels drawn anew, so that no loss here can become zero."""

STALLED, WATCHED, LOOK, SHARP_LOOK = 2_000, 1_000, 50, 200
"""Updates until a training is watched, while it is, and between looks at gradients, and at the largest curvature."""


class Arm(NamedTuple):
    """One way to be stuck: its name, the network, the loss of samples, the rate, and how many are in an update."""

    name: str
    widths: tuple[int, ...]
    loss: SampleLoss
    rate: float
    batch: int


ARMS: Mapping[str, Arm] = {
    "walls": Arm("between walls", (64, CLASSES), cross_entropy, 6.0, SAMPLES),
    "noise": Arm("in noise", (64, 6, CLASSES), half_squared_error, 0.8, 16),
    "edge": Arm("at the edge of stability", (64, 16, 16, CLASSES), half_squared_error, 0.6, SAMPLES),
}
"""Straight walls, of a convex loss; the noise of small batches; walls that the training itself has made steeper."""


def plan(seeds: Sequence[int], quick: bool) -> list[dict[str, Any]]:
    """For each seed each way to be stuck."""
    length = {"stalled": STALLED // 2, "watched": WATCHED // 2} if quick else {}
    return [{"seed": seed, "arm": arm} | length for seed in seeds for arm in ARMS]


def run(seed: int, arm: str, stalled: int = STALLED, watched: int = WATCHED) -> dict[str, Any]:
    """Train a network twice, alike until it is stuck; then one goes on, and the other's rate is lowered to zero."""
    own = ARMS[arm]
    inputs, targets = noisy_digits(seed)
    lowered = WarmUpStableDecay(updates=stalled + watched, warm_up=1, decay=watched / (stalled + watched))
    twin = Member(rule=gradient_descent(own.rate), batch_size=own.batch, seed=seed, schedule=lowered)
    members = [replace(twin, schedule=Constant()), twin]
    looks = list(range(0, stalled + watched + 1, LOOK))
    after = [look + more for look in looks[stalled // LOOK : -1] for more in (1, 2)]
    fleet = train_fleet(
        lambda: perceptron(own.widths, nn.Tanh), own.loss, inputs, targets, members, looks[-1], keep={*looks, *after}
    )
    surface = Surface(fleet.network, own.loss, inputs, targets)
    rows = torch.stack([fleet.at(look).parameters for look in looks])  # (looks, 2, n)
    losses = torch.stack([surface.losses(rows[:, k]) for k in range(2)])
    whole, batch = torch.stack([surface.norms(rows[:, k], own.batch, seed) for k in range(2)], dim=1)
    sharpness = [own.rate * surface.sharpness(row, seed) for row in rows[:: SHARP_LOOK // LOOK, 0]]
    steps = torch.stack([fleet.at(look).parameters[0] - fleet.at(look - 1).parameters[0] for look in after])
    window = fleet.losses[0, stalled:].tolist()
    slope = trend(window) if np.isfinite(window).all() else None
    late = slice(stalled // LOOK, None)
    numbers = {
        "multiple": whole[0, late].median() / whole[1, -1],
        "batch multiple": batch[0, late].median() / batch[1, -1],
        "left": whole[1, -1] / batch[1, -1],
        "fallen": losses[1, -1] / losses[0, late].median(),
        "cosine": F.cosine_similarity(steps[::2], steps[1::2], dim=1).median(),
        "sharp at the start": sharpness[0],
        "sharp": np.median(sharpness[stalled // SHARP_LOOK :]),
        "t": slope.t if slope else math.nan,
        "change": 1_000 * slope.slope / np.mean(window) if slope else math.nan,
        "spread": spread(own.rate, seed) if arm == "noise" else math.nan,
    }
    return {
        "numbers": {name: float(number) for name, number in numbers.items()},
        "looks": looks,
        "lowered_from": stalled,
        "loss": losses.tolist(),
        "whole": whole.tolist(),
        "batch": batch.tolist(),
        "sharp_looks": looks[:: SHARP_LOOK // LOOK],
        "sharpness": sharpness,
    }


def noisy_digits(seed: int) -> tuple[Tensor, Tensor]:
    """Digits, and 1 at the class of each and 0 elsewhere; some classes are drawn anew."""
    digits = datasets.load("digits")
    generator = torch.Generator(device="cpu").manual_seed(seed)
    wrong = torch.rand(SAMPLES, generator=generator, device="cpu") < WRONG
    drawn = torch.randint(CLASSES, (SAMPLES,), generator=generator, device="cpu")
    classes = torch.where(wrong, drawn, digits.targets[:SAMPLES])
    return digits.inputs[:SAMPLES], F.one_hot(classes, CLASSES).to(digits.inputs.dtype)


class Surface:
    """The loss of the whole set over a network's parameters."""

    def __init__(self, network: Network, loss: SampleLoss, inputs: Tensor, targets: Tensor) -> None:
        def mean_loss(row: Tensor, own_inputs: Tensor, own_targets: Tensor) -> Tensor:
            outputs = functional_call(network.model, network.named(row), (own_inputs,))
            return loss(outputs, own_targets).mean()

        self.data = inputs, targets
        self.gradient = grad(mean_loss)
        self._losses = vmap(mean_loss, in_dims=(0, None, None))

    def losses(self, rows: Tensor) -> Tensor:
        """Of the whole set, shape (k,)."""
        return self._losses(rows, *self.data)

    def norms(self, rows: Tensor, size: int, seed: int) -> Tensor:
        """Of the whole set's gradient, and the root mean square of those of an epoch's batches, shape (2, k)."""
        batches = next(epochs(SAMPLES, size, seed))
        parts = [part[batches] for part in self.data]  # (batches, size, ...)
        found = [vmap(self.gradient, in_dims=(None, 0, 0))(row, *parts).norm(dim=1) for row in rows]
        whole = vmap(self.gradient, in_dims=(0, None, None))(rows, *self.data).norm(dim=1)
        return torch.stack([whole, torch.stack(found).square().mean(1).sqrt()])

    def sharpness(self, row: Tensor, seed: int) -> float:
        """The largest eigenvalue of the Hessian."""

        def product(vector: Tensor) -> Tensor:
            moved: Tensor = jvp(lambda at: self.gradient(at, *self.data), (row,), (vector,))[1]
            return moved

        operator = OperatorFromProduct(product=product, dimension=len(row), dtype=row.dtype, device=row.device)
        generator = torch.Generator(device="cpu").manual_seed(seed)
        return extreme_eigenpairs(operator, generator=generator, max_products=30).largest.values[-1]


SHARE, STUCK = "as a share, per 1,000 updates", "the largest curvature, while stuck"

MEASURED: Mapping[str, tuple[str, str, str]] = {
    "change of the loss between walls": ("walls", "change", SHARE),
    "gradient between walls over that at convergence": ("walls", "multiple", "of the whole set"),
    "loss after lowering the rate, between walls": ("walls", "fallen", "over that while stuck"),
    "cosine of successive gradients between walls": ("walls", "cosine", "median"),
    "rate times curvature between walls": ("walls", "sharp", STUCK),
    "slope of the loss over its error, in noise": ("noise", "t", "neighbours being correlated"),
    "gradient in noise over that at convergence": ("noise", "multiple", "of the whole set"),
    "loss after lowering the rate, in noise": ("noise", "fallen", "over that while stuck"),
    "cosine of successive gradients in noise": ("noise", "cosine", "of batches, median"),
    "rate times curvature in noise": ("noise", "sharp", STUCK),
    "gradient of a batch in noise over that at convergence": ("noise", "batch multiple", "root mean square"),
    "whole set's gradient over a batch's, at convergence": ("noise", "left", "root mean square of the batches'"),
    "spread around a minimum over the formula's": ("noise", "spread", "of 20,000 walks, over η / (2 − η)"),
    "change of the loss at the edge": ("edge", "change", SHARE),
    "gradient at the edge over that at convergence": ("edge", "multiple", "of the whole set"),
    "rate times curvature at the edge, at the start": ("edge", "sharp at the start", "the largest curvature"),
    "rate times curvature at the edge": ("edge", "sharp", STUCK),
}
"""What is measured → in which arm, as which number of its runs, and what that is."""


def measure(runs: Runs) -> list[Measurement]:
    """What the gates are about."""

    def values(arm: str, number: str) -> dict[int, float]:
        found = {run.seed: run.result["numbers"][number] for run in runs.where(arm=arm)}
        return {seed: math.nan if value is None else value for seed, value in found.items()}

    return [
        Measurement(name=name, says=says, values=values(arm, number)) for name, (arm, number, says) in MEASURED.items()
    ]


def draw(runs: Runs) -> Mapping[str, go.Figure]:
    """The lecture's two curves, the steepness of the walls, and what a batch's gradient tells."""
    seed = runs.seeds[0]
    results = {arm: runs.where(arm=arm).of_seed(seed) for arm in ARMS}
    loss = plot.figure(
        title="The loss no longer falls",
        x="updates",
        y="training loss",
        log_y=True,
        summary="Between walls and in noise the loss stays where it is; at the edge of stability it falls slowly.",
    )
    norm = plot.figure(
        title="And the gradient is not small",
        x="updates",
        y="norm of the whole set's gradient",
        log_y=True,
        summary="The gradients of the same trainings stay long. Dotted: the rate is lowered to zero in the "
        "last third, and the gradient becomes ten to hundreds of times shorter.",
    )
    sharp = plot.figure(
        title="How steep the walls are",
        x="updates",
        y="rate times largest curvature",
        summary="Above 2, a walk cannot come to rest. Between walls the curvature is beyond that throughout, at "
        "the edge of stability it rises to 2 and stays there, in noise it soon falls below.",
    )
    for arm, result in results.items():
        plot.line(loss, result["looks"], result["loss"][0], name=ARMS[arm].name)
        plot.line(norm, result["looks"], result["whole"][0], name=ARMS[arm].name)
        plot.line(sharp, result["sharp_looks"], result["sharpness"], name=ARMS[arm].name)
    for colour, (arm, result) in zip(plot.SERIES, results.items(), strict=False):
        after = result["looks"].index(result["lowered_from"])
        plot.line(norm, result["looks"][after:], result["whole"][1][after:], name=f"{ARMS[arm].name}, rate lowered")
        norm.data[-1].update(line={"color": colour, "dash": "dot"})
    return {"loss": loss, "gradient": norm, "curvature": sharp, "batch": _batches(results["noise"])}


def _batches(result: Mapping[str, Any]) -> go.Figure:
    figure = plot.figure(
        title="In noise: what a batch's gradient tells",
        x="updates",
        y="norm of the gradient",
        log_y=True,
        summary="In the last third the rate is lowered to zero. The whole set's gradient falls to a few per cent, "
        "those of single batches only by about a quarter.",
    )
    for norm, name in (("batch", f"batches of {ARMS['noise'].batch}"), ("whole", "whole set")):
        plot.line(figure, result["looks"], result[norm][1], name=name)
    return figure


STUDY = Study(
    name="gradient-norm",
    title="A loss that stalls, a gradient that does not vanish",
    chapter=3,
    claim="A loss that no longer falls does not mean a small gradient: the walk goes to and fro and gets no lower.",
    source="Hung-yi Lee 2021, chapter 3; the edge of stability: Cohen et al. 2021",
    setting="600 digits, a fifth of their labels drawn anew, gradient descent at one rate for 3,000 updates. Between "
    "walls: a linear layer, cross-entropy, the whole set, rate 6. In noise: 64-6-10, squared error, batches of 16, "
    "rate 0.8. At the edge: 64-16-16-10, squared error, the whole set, rate 0.6. A twin of each has its rate lowered "
    "to zero over the last 1,000 updates; where it ends is called convergence here.",
    explains="The first two pictures are the lecture's: the loss has come to a halt, while the gradient stays many "
    "times as long as at convergence. So this is no critical point, neither minimum nor saddle. What ends it is a "
    "lower rate: the twin gets a lower loss and a short gradient from the same place.\n\n"
    "There are at least three ways to be stuck like this, and they can be told apart. Between walls, successive "
    "gradients point against each other (cosine −1), and the rate times the largest curvature is above 2: each step "
    "lands on the other wall, as high as before. In noise, the rate is low enough for the curvature, and successive "
    "gradients are not opposed: batches disagree, and the walk is kicked about at a height that grows with the rate, "
    "for the parabola x²/2 as η/(2 − η). At the edge of stability the walls were not too steep at the start: training "
    "itself moves to where rate times curvature is 2, and stays there.\n\n"
    "Two cautions. At the edge the loss does fall, slowly, over hundreds of updates in which it goes up nearly as "
    "often as down; it only looks stuck. And the norm of a batch's gradient hardly tells: even at convergence it is "
    "long, because samples pull in different directions and cancel only in their sum. A picture like the lecture's "
    "means something if the gradient is that of the whole set.",
    gates=(
        Gate(
            measurement="gradient between walls over that at convergence",
            says="between walls the gradient stays twenty times as long as at convergence, or more",
            low=20.0,
            over="geometric mean",
        ),
        Gate(
            measurement="change of the loss between walls",
            says="while the loss moves by less than a twentieth in 1,000 updates",
            low=-0.05,
            high=0.05,
            over="four seeds of five",
        ),
        Gate(
            measurement="gradient in noise over that at convergence",
            says="in noise the gradient stays five times as long as at convergence, or more",
            low=5.0,
            over="geometric mean",
        ),
        Gate(
            measurement="slope of the loss over its error, in noise",
            says="while no slope of the loss is seen above its noise",
            low=-3.0,
            high=3.0,
            over="four seeds of five",
        ),
        Gate(
            measurement="gradient at the edge over that at convergence",
            says="at the edge the gradient stays five times as long as at convergence, or more",
            low=5.0,
            over="geometric mean",
        ),
        Gate(
            measurement="cosine of successive gradients between walls",
            says="between walls each gradient points against the last",
            high=-0.9,
            over="four seeds of five",
        ),
        Gate(
            measurement="rate times curvature between walls",
            says="and the walls are too steep for the rate",
            low=2.0,
            over="mean",
        ),
        Gate(
            measurement="cosine of successive gradients in noise",
            says="in noise it does not",
            low=-0.6,
            over="four seeds of five",
        ),
        Gate(
            measurement="rate times curvature in noise",
            says="nor is the surface too steep",
            high=1.6,
            over="four seeds of five",
        ),
        Gate(
            measurement="rate times curvature at the edge, at the start",
            says="at the edge the surface was not too steep at the start",
            high=1.95,
            over="four seeds of five",
        ),
        Gate(
            measurement="rate times curvature at the edge",
            says="and has become just that",
            low=1.9,
            high=2.25,
            over="four seeds of five",
        ),
        Gate(
            measurement="loss after lowering the rate, between walls",
            says="between walls, a lower rate gives a lower loss",
            high=0.97,
            over="geometric mean",
            role="control",
        ),
        Gate(
            measurement="loss after lowering the rate, in noise",
            says="in noise, too",
            high=0.95,
            over="geometric mean",
            role="control",
        ),
        Gate(
            measurement="spread around a minimum over the formula's",
            says="the height of the noise is the formula's",
            low=0.95,
            high=1.05,
            role="control",
        ),
        Gate(
            measurement="change of the loss at the edge",
            says="at the edge the loss does fall, by a twentieth or more in 1,000 updates",
            high=-0.05,
            over="four seeds of five",
            role="qualification",
        ),
        Gate(
            measurement="gradient of a batch in noise over that at convergence",
            says="the gradient of a batch hardly tells, being at most twice as long as at convergence",
            high=2.0,
            over="mean",
            role="qualification",
        ),
        Gate(
            measurement="whole set's gradient over a batch's, at convergence",
            says="because at convergence those of batches are long and cancel",
            high=0.15,
            over="four seeds of five",
            role="qualification",
        ),
    ),
    plan=plan,
    run=run,
    measure=measure,
    draw=draw,
    takes=(60, 20),
)
