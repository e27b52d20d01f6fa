"""Batch and accuracy: in as many epochs, small batches get further; and why noise leaves where a clean gradient rests.

The saddle that is left here is the second critical point of a linear autoencoder with one hidden unit
(:mod:`unstuck.study.experiments.autoencoder`), whose curvature is known.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch
from torch import Tensor, nn
from torch.func import grad, vmap

from unstuck import datasets, plot
from unstuck.fleet import Fleet, Member, epochs, train_fleet
from unstuck.methods.update import Rule, gradient_descent, heavy_ball
from unstuck.study import Gate, Measurement, Runs, Study
from unstuck.study.experiments.autoencoder import Autoencoder
from unstuck.study.experiments.networks import accuracy, cross_entropy, perceptron, squared_error
from unstuck.vector import Point

SIZES = (4, 16, 64, 256)
"""Samples in a batch; the whole set is the last arm."""

SMALL = 16
"""The batch that the whole set is compared with."""

MOST = 1_297
"""Samples to learn from: as many as there are digits."""

WIDTH, EPOCHS = 64, 10

RATES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""Each size trains with each of them; the one with the lowest training loss counts."""

PULLS = 0.01
"""A batch pulls where its gradient is longer than this share of a single sample's, in the root mean square."""

AWAY, LEFT = 1e-6, 0.5
"""How far from the saddle a walk starts, along the way down, and how far it is when it has left."""

ESCAPE_RATE, MOMENTUM, LONGEST = 0.005, 0.9, 1_700

KICK = 64
"""Samples in a batch at the saddle: with 16, a few strokes in rare places make the walk diverge at this rate."""

LOOK = 5
"""Updates between two looks at how far a walk is."""

WAYS: Mapping[str, tuple[Rule, int]] = {
    "whole set": (gradient_descent(ESCAPE_RATE), 0),
    f"batch of {KICK}": (gradient_descent(ESCAPE_RATE), KICK),
    "whole set, momentum": (heavy_ball(ESCAPE_RATE, MOMENTUM), 0),
}
"""How the saddle is left: the rule, and samples in a batch, 0 for all."""


def plan(seeds: Sequence[int], quick: bool) -> list[dict[str, Any]]:
    """For each seed a training at every batch size, and the walks away from the saddle."""
    trained = {"part": "training", "passes": 2 * EPOCHS // 5 if quick else EPOCHS}
    return [{"seed": seed} | part for seed in seeds for part in (trained, {"part": "saddle"})]


def run(seed: int, part: str, data: str = datasets.DEFAULT, passes: int = EPOCHS) -> dict[str, Any]:
    """One part of the study, for one seed."""
    whole = datasets.load(data)
    inputs, targets = whole.inputs[:MOST], whole.targets[:MOST]
    if part == "saddle":
        return _saddles(inputs.double(), targets, seed)
    equal = passes * (len(inputs) // SMALL)
    arms = []
    for size in (*SIZES, len(inputs)):
        members = [Member(rule=gradient_descent(rate), batch_size=size, seed=seed) for rate in RATES]
        own = passes * (len(inputs) // size)
        fleet = train_fleet(
            lambda: perceptron((whole.features, WIDTH, whole.classes)),
            cross_entropy,
            inputs,
            targets,
            members,
            max(own, equal),
            keep=(own, equal),
        )
        seen = {
            name: _seen(fleet.at(updates), (inputs, targets), (whole.held_out_inputs, whole.held_out_targets))
            for name, updates in (("epochs", own), ("updates", equal))
        }
        arms.append({"size": size} | seen)
    return {"arms": arms}


def _seen(fleet: Fleet, learned: tuple[Tensor, Tensor], held_out: tuple[Tensor, Tensor]) -> dict[str, list[float]]:
    """Of the network of each rate its training loss and both accuracies; a loss that diverged is infinite."""
    outputs = fleet.outputs(learned[0])
    losses = vmap(lambda own: cross_entropy(own, learned[1]).mean())(outputs)
    return {
        "loss": torch.where(losses.isfinite(), losses, math.inf).tolist(),
        "train": accuracy(outputs, learned[1]).tolist(),
        "held_out": accuracy(fleet.outputs(held_out[0]), held_out[1]).tolist(),
    }


def way_down(known: Autoencoder) -> Tensor:
    """The unit vector (b, a) along which the loss falls from the second critical point, shape (2 d,).

    Along the first axis half the Hessian there is [[s_1, −s_1], [−s_1, s_2]].
    """
    first, second = known.moments[:2].tolist()
    block = known.moments.new_tensor([[first, -first], [-first, second]])
    down = torch.zeros_like(known.critical_point(2)).view(2, -1)
    down[:, 0] = torch.linalg.eigh(block).eigenvectors[:, 0]
    return down.flatten()


def _saddles(inputs: Tensor, targets: Tensor, seed: int) -> dict[str, Any]:
    """Which batches pull at three saddles, and how the first of them is left."""
    known, features = Autoencoder(inputs), inputs.shape[1]
    saddle, down = known.critical_point(2), way_down(known)
    inward, outward = (saddle + AWAY * down).chunk(2)
    start = {"0.weight": inward[None], "1.weight": outward[:, None]}
    members = [
        Member(rule=rule, batch_size=size or len(inputs), seed=seed, initial=start) for rule, size in WAYS.values()
    ]
    looks = range(0, LONGEST + 1, LOOK)
    fleet = train_fleet(
        lambda: nn.Sequential(nn.Linear(features, 1, bias=False), nn.Linear(1, features, bias=False)).double(),
        squared_error,
        known.inputs,
        known.inputs,
        members,
        LONGEST,
        keep=looks,
    )
    rows = torch.stack([fleet.kept[updates][0] for updates in looks])  # (looks, ways, n)
    distances = ((rows - saddle) @ down).abs()
    return {
        "updates": list(looks),
        "distances": dict(zip(WAYS, distances.T.tolist(), strict=True)),
        "left": {name: _left(distances[:, way]) for way, name in enumerate(WAYS)},
        "expected": math.log(LEFT / AWAY) / math.log1p(-ESCAPE_RATE * known.lowest_curvature(2)),
        **_pulls(known, saddle, targets, seed),
    }


def _left(distances: Tensor) -> float:
    """The update at which a walk has left, infinite where it never has; looks are few, growth is exponential."""
    away = (distances >= LEFT).nonzero()
    if not len(away):
        return math.inf
    after = int(away[0])
    low, high = distances[after - 1 : after + 1].log().tolist()
    return float(LOOK * (after - (high - math.log(LEFT)) / (high - low)))


def _pulls(known: Autoencoder, saddle: Tensor, targets: Tensor, seed: int) -> dict[str, float]:
    """Of the small batches of one epoch, the share that pulls: at the saddle above, and where every weight is 0."""
    inputs, signs = known.inputs, torch.nn.functional.one_hot(targets).to(known.inputs.dtype)
    hidden = torch.zeros(8, inputs.shape[1], dtype=inputs.dtype, device="cpu")
    outward = torch.zeros(signs.shape[1], 8, dtype=inputs.dtype, device="cpu")

    def encoded(point: Point, x: Tensor, _: Tensor) -> Tensor:
        b, a = point["row"].chunk(2)
        return (x - a * (b @ x)).square().sum()

    def product(point: Point, x: Tensor, y: Tensor) -> Tensor:
        return (y[0] - point["w"].prod() * x.mean()).square()

    def layers(point: Point, x: Tensor, y: Tensor) -> Tensor:
        return (y - point["outward"] @ torch.tanh(point["hidden"] @ x)).square().sum()

    clean, share = pulling(encoded, {"row": saddle}, inputs, signs, seed)
    zeros: list[tuple[Callable[[Point, Tensor, Tensor], Tensor], Point]] = [
        (product, {"w": outward[0, :2]}),
        (layers, {"hidden": hidden, "outward": outward}),
    ]
    return {
        "whole_pull": clean,
        "pull": share,
        "pull_at_zero": max(pulling(loss, point, inputs, signs, seed)[1] for loss, point in zeros),
    }


def pulling(
    loss: Callable[[Point, Tensor, Tensor], Tensor], point: Point, inputs: Tensor, targets: Tensor, seed: int
) -> tuple[float, float]:
    """The gradient of the whole set over that of a sample, in the root mean square, and the share of batches that pull.

    Args:
        loss: (point, input, target) → the loss of one sample.
        point: where.
        inputs: shape (n, ...).
        targets: shape (n, ...).
        seed: of the order in which batches are drawn.
    """
    found = vmap(grad(loss), in_dims=(None, 0, 0))(point, inputs, targets)
    rows = torch.cat([part.flatten(1) for part in found.values()], dim=1)
    size = rows.square().sum(1).mean().sqrt()
    batches = rows[next(epochs(len(rows), KICK, seed))].mean(1)
    whole = float(rows.mean(0).norm() / size) if size > 0 else 0.0
    return whole, float((batches.norm(dim=1) > PULLS * size).double().mean())


def chosen(arm: Mapping[str, Any], budget: str) -> dict[str, float]:
    """Of one batch size, what the rate with the lowest training loss gave: its loss, both accuracies, and the rate."""
    own = arm[budget]
    losses = [math.inf if loss is None else loss for loss in own["loss"]]
    best = int(np.argmin(losses))
    return {"rate": RATES[best]} | {name: own[name][best] for name in ("loss", "train", "held_out")}


def _gap(arms: Sequence[Mapping[str, Any]], part: str, budget: str) -> float:
    """Points of accuracy that the small batch has more than the whole set."""
    small, whole = (chosen(arm, budget) for arm in (arms[SIZES.index(SMALL)], arms[-1]))
    return 100.0 * (small[part] - whole[part])


def _at_one_rate(arms: Sequence[Mapping[str, Any]]) -> float:
    """The same of the training accuracy in as many epochs, where both have the small batch's rate."""
    small = chosen(arms[SIZES.index(SMALL)], "epochs")
    whole: float = arms[-1]["epochs"]["train"][RATES.index(small["rate"])]
    return 100.0 * (small["train"] - whole)


def measure(runs: Runs) -> list[Measurement]:
    """What the gates are about."""
    trained, saddles = runs.where(part="training"), runs.where(part="saddle")

    def gap(name: str, says: str, value: Callable[[Any], float]) -> Measurement:
        values = {run.seed: value(run.result["arms"]) for run in trained}
        return Measurement(name=name, says=says, values=values, unit="points")

    def over(name: str, says: str, way: str) -> Measurement:
        """The updates of the whole set over others; one that is null never left."""
        left = {run.seed: run.result["left"] | {"expected": run.result["expected"]} for run in saddles}
        values = {seed: (own["whole set"] or math.inf) / (own[way] or math.inf) for seed, own in left.items()}
        return Measurement(name=name, says=says, values=values)

    tuned = f"with batches of {SMALL} minus with the whole set, each at the rate that trains best"
    return [
        gap("training accuracy, equal epochs", tuned, lambda arms: _gap(arms, "train", "epochs")),
        gap("held-out accuracy, equal epochs", tuned, lambda arms: _gap(arms, "held_out", "epochs")),
        gap("training accuracy, equal updates", tuned, lambda arms: _gap(arms, "train", "updates")),
        gap("held-out accuracy, equal updates", tuned, lambda arms: _gap(arms, "held_out", "updates")),
        gap("training accuracy, equal epochs, one rate", "both at the rate of the small batch", _at_one_rate),
        Measurement(
            name="share of batches that pull at a saddle",
            says=f"batches of {KICK} with a gradient above {PULLS:g} of a sample's, where the whole set's is zero",
            values=saddles.per_seed("pull"),
        ),
        Measurement(
            name="gradient of the whole set at the saddle",
            says="over that of a single sample, in the root mean square",
            values=saddles.per_seed("whole_pull"),
        ),
        Measurement(
            name="share of batches that pull where all weights are zero",
            says="at the lecture's saddle with other samples, and in a network of two layers without biases",
            values=saddles.per_seed("pull_at_zero"),
        ),
        over(
            "updates to leave, whole set over small batch",
            f"from {AWAY:g} beside the saddle to {LEFT:g}",
            f"batch of {KICK}",
        ),
        over(
            "updates to leave, whole set without over with momentum",
            "the same, the rate the same",
            "whole set, momentum",
        ),
        over(
            "updates to leave over those expected",
            "of the whole set, over ln(0.5 / 1e-6) / ln(1 + η|λ|) with the exact curvature λ",
            "expected",
        ),
    ]


def draw(runs: Runs) -> Mapping[str, go.Figure]:
    """The lecture's picture at equal epochs, the same at equal updates, and the way from the saddle."""
    trained = runs.where(part="training").results()
    fall = "Both accuracies are highest for small batches and fall together towards the whole set."
    level = "After as many updates no larger batch is behind, on the training data or on others."
    saddle = runs.where(part="saddle").results()[0]
    away = plot.figure(
        title="Leaving a saddle",
        x="updates",
        y="distance along the way down",
        log_y=True,
        summary="The small batch is kicked away at once and has left long before the whole set, whose distance grows "
        "by the same factor in each update, from almost nothing. With momentum that factor is larger.",
    )
    for name in WAYS:
        plot.line(away, saddle["updates"], saddle["distances"][name], name=name)
    return {
        "equal-epochs": _accuracies(trained, "epochs", "Accuracy against batch size, after as many epochs", fall),
        "equal-updates": _accuracies(trained, "updates", "The same networks, after as many updates", level),
        "leaving": away,
    }


def _accuracies(trained: Sequence[Mapping[str, Any]], budget: str, title: str, summary: str) -> go.Figure:
    figure = plot.figure(title=title, x="batch size", y="accuracy", log_x=True, summary=summary)
    sizes = [arm["size"] for arm in trained[0]["arms"]]
    for part, name in (("train", "training data"), ("held_out", "held-out data")):
        found = np.array([[chosen(arm, budget)[part] for arm in result["arms"]] for result in trained])
        plot.line_with_spread(figure, sizes, found.mean(0), found.min(0), found.max(0), name=name)
    return figure


STUDY = Study(
    name="batch-accuracy",
    title="Accuracy against batch size",
    chapter=2,
    claim="Small batches train better and do better on held-out data, as their noise leaves where one batch is stuck.",
    source="Hung-yi Lee 2021, chapter 2; the saddle's exact curvature: Baldi & Hornik 1989",
    setting="Networks 64-64-10 on 1,297 digits, 500 held out; gradient descent, 10 epochs, batches of 4 to the whole "
    "set, six rates each, of which the one with the lowest training loss counts. A linear autoencoder of the same "
    "digits, in double precision, from beside the saddle at its second principal component.",
    explains="The first picture is the lecture's. After as many epochs, small batches are ahead on the training data "
    "as well as on held-out data. Because the training data are affected too, this is not overfitting: large batches "
    "have not been optimized as far. The second picture shows the plainest reason. In ten epochs a batch of 16 makes "
    "810 updates, the whole set ten. After as many updates, the large batches are as good. What the lecture's figure "
    "shows is the price of few updates; whether that is a price in time depends on the machine (see batch-time).\n\n"
    "The lecture gives another reason: where the loss L1 of one batch has no gradient, the loss L2 of the next one "
    "has. This is exact at the saddle of the third picture. The gradient of the whole set is zero there to the last "
    "digits, and yet every small batch pulls. So the small batch leaves in a fraction of the updates. The whole set "
    "leaves too, since it starts a millionth beside the saddle, in the number of updates that theory says; with "
    "momentum it leaves faster still.\n\n"
    "But noise does not help everywhere. At the lecture's own saddle, w1 = w2 = 0, the gradient of every single "
    "sample is zero, and so it is in any network whose weights all are zero. There no batch pulls, of whatever size.",
    gates=(
        Gate(
            measurement="training accuracy, equal epochs",
            says="in as many epochs, the small batch trains better",
            low=1.0,
            over="four seeds of five",
        ),
        Gate(
            measurement="held-out accuracy, equal epochs",
            says="and it does better on held-out data",
            low=1.0,
            over="four seeds of five",
        ),
        Gate(
            measurement="share of batches that pull at a saddle",
            says="where the whole set has no gradient, small batches have",
            low=0.99,
        ),
        Gate(
            measurement="updates to leave, whole set over small batch",
            says="so that they leave a saddle in half the updates or fewer",
            low=2.0,
            over="geometric mean",
        ),
        Gate(
            measurement="gradient of the whole set at the saddle",
            says="the saddle is a critical point of the whole set's loss",
            high=1e-12,
            role="control",
        ),
        Gate(
            measurement="updates to leave over those expected",
            says="the whole set leaves when the exact curvature says",
            low=0.95,
            high=1.05,
            role="control",
        ),
        Gate(
            measurement="training accuracy, equal updates",
            says="in as many updates, the whole set trains as well within half a point",
            high=0.5,
            over="mean",
            role="qualification",
        ),
        Gate(
            measurement="held-out accuracy, equal updates",
            says="and does as well on held-out data",
            high=0.5,
            over="mean",
            role="qualification",
        ),
        Gate(
            measurement="share of batches that pull where all weights are zero",
            says="at the lecture's own saddle, no batch pulls",
            high=0.0,
            role="qualification",
        ),
    ),
    plan=plan,
    run=run,
    measure=measure,
    draw=draw,
    takes=(85, 20),
    data=True,
)
