"""Critical point: what the Hessian tells where the gradient is zero, and what it costs to leave a saddle."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch
from torch import Tensor
from torch.func import grad, hessian, vmap

from unstuck import plot
from unstuck.datasets import load
from unstuck.fleet import epochs
from unstuck.methods.update import gradient_descent
from unstuck.study import Gate, Measurement, Runs, Study
from unstuck.study.experiments import surface
from unstuck.study.experiments.autoencoder import Autoencoder
from unstuck.study.experiments.escape import METHODS, one_way_down, rules_of, starts, way_down

RATE = 0.01
"""On the lecture's surface."""

DISTANCES = (1e-3, 1e-6, 1e-9)
"""From the saddle, at which an escape starts."""

HALF_WAY = 0.75**2
"""The loss at (½, ½), where a walk from the saddle counts as escaped."""

SAMPLES, BATCH = 256, 16
"""Digits, and how many of them are in a small batch."""

COMPONENT = 5
"""The principal component that the autoencoder has learned: four larger ones, and so four ways down, are left."""

RATES = (1 / 16, 1 / 4, 1.0)
"""Tried by every method, over the highest curvature that it meets."""

FAINTNESS = (10, 30, 100, 300, 1_000, 3_000)
"""Highest curvature over the size of the negative one."""

DIRECTIONS = 300

BUDGET = 400
"""Gradients over all digits that are spent at most."""


def plan(seeds: Sequence[int], quick: bool) -> list[dict[str, Any]]:
    """For each seed the lecture's surface, the digits' saddle, and the same saddle less and less steep."""
    faintness = list(FAINTNESS[::2] if quick else FAINTNESS)
    parts: tuple[dict[str, Any], ...] = (
        {"part": "surface"},
        {"part": "digits"},
        {"part": "faint", "faintness": faintness},
    )
    return [{"seed": seed, **part} for seed in seeds for part in parts]


def run(seed: int, part: str, faintness: Sequence[float] = ()) -> dict[str, Any]:
    """One of the three."""
    generator = torch.Generator(device="cpu").manual_seed(seed)
    if part == "surface":
        return _on_the_surface(generator)
    return _digits(generator, seed) if part == "digits" else _faint(faintness, generator)


def _on_the_surface(generator: torch.Generator) -> dict[str, Any]:
    """What is exact."""
    origin = torch.zeros(2, dtype=torch.float64, device="cpu")
    near = torch.tensor([[d, d] for d in DISTANCES], dtype=torch.float64, device="cpu")
    full = vmap(grad(surface.lecture))
    leaves = _updates_from(near, RATE)
    wanted = [math.log(0.5 / d) / math.log(1.0 + 2.0 * RATE) for d in DISTANCES]
    apart = near[:1] * torch.tensor([1.0, -1.0], dtype=torch.float64, device="cpu")
    walked, _ = surface.descend(
        [gradient_descent(RATE)], apart, lambda rows, _: full(rows), surface.lecture, updates=1_000
    )
    path = near[:1] * torch.tensor([1.0, 0.7], dtype=torch.float64, device="cpu")
    shown = [path[0]]
    for _ in range(80):
        path = path - 0.1 * full(path)
        shown.append(path[0])
    third = torch.tensor([[d] * 3 for d in (3e-2, 3e-3)], dtype=torch.float64, device="cpu")
    slow = _updates_from(third, 0.05)
    return {
        "error": surface.departure(generator),
        "wrong_kinds": float(sum(surface.kind(each, at) != name for name, each, at in surface.known_points())),
        "remainder_order": surface.remainder_order(generator),
        "updates": leaves,
        "updates_off": max(abs(found / each - 1.0) for found, each in zip(leaves, wanted, strict=True)),
        "stays": float(walked.norm()),
        "third_order_hessian": float(hessian(surface.lecture)(third[0] * 0).abs().max()),
        "third_order_ratio": slow[1] / slow[0],
        "batches_moved": surface.moved_by_samples(origin, SAMPLES, generator),
        "path": torch.stack(shown).tolist(),
    }


def _updates_from(rows: Tensor, rate: float) -> list[float]:
    """Plain gradient descent's updates on the lecture's surface until it has escaped, from each row."""
    full, rules = vmap(grad(surface.lecture)), [gradient_descent(rate)] * len(rows)
    _, curves = surface.descend(rules, rows, lambda at, _: full(at), surface.lecture, updates=20_000, below=HALF_WAY)
    return [surface.updates_until(curve, HALF_WAY) for curve in curves]


def _digits(generator: torch.Generator, seed: int) -> dict[str, Any]:
    """The autoencoder's saddle: gradients over all digits until half of what can be gained is gained."""
    digits = load("digits").inputs
    chosen = torch.randperm(len(digits), generator=generator, device="cpu")[:SAMPLES]
    network = Autoencoder(digits[chosen])
    saddle = network.critical_point(COMPONENT)
    top, low = float(network.losses(saddle)), float(network.losses(network.critical_point(1)))
    below = (top + low) / 2.0
    rates = [share / (4.0 * float(network.moments[0])) for share in RATES]
    points, spent = starts(network.losses, saddle, float(saddle.norm()), generator)
    rows = points.repeat_interleave(len(RATES), dim=0)
    order = epochs(SAMPLES, BATCH, seed)
    batches = [batch for _ in range(BUDGET) for batch in next(order)]
    full = network.inputs
    _, curves = surface.descend(
        rules_of(rates), rows, lambda at, _: network.gradients(at, full), network.losses, updates=BUDGET, below=below
    )
    small = surface.descend(
        list(map(gradient_descent, rates)),
        saddle.expand(len(rates), -1),
        lambda at, update: network.gradients(at, full[batches[update]]),
        network.losses,
        updates=len(batches),
        below=below,
    )[1]
    share = BATCH / SAMPLES
    best = {
        name: _best(group, below, before, 1.0, (top, low))
        for name, group, before in zip(METHODS, curves.split(len(RATES)), spent, strict=True)
    } | {"small batches": _best(small, below, 0.0, share, (top, low))}
    direction, curvature, _ = way_down(network.losses, saddle, generator)
    near = network.losses(torch.stack([saddle + side * 0.01 * direction for side in (1.0, -1.0)])).mean()
    return {
        "best": best,
        "gradient": float(network.gradients(saddle[None], full).norm()),
        "curvature": curvature,
        "drop_ratio": float((top - near) / (0.5 * -curvature * 0.01**2)),
    }


def _best(curves: Tensor, below: float, before: float, share: float, ends: tuple[float, float]) -> dict[str, Any]:
    """Of one method's rates the one that gets out with the fewest gradients, and its curve, from 1 to 0."""
    found = [surface.updates_until(curve, below) for curve in curves]
    place = int(np.argmin(found))
    last = int(found[place]) if math.isfinite(found[place]) else curves.shape[1] - 1
    kept = np.unique(np.linspace(0, last, min(last + 1, 150)).round().astype(int))
    top, low = ends
    return {
        "rate": RATES[place],
        "gradients": before + share * found[place],
        "at": (before + share * kept).tolist(),
        "left": ((curves[place, kept] - low) / (top - low)).tolist(),
    }


def _faint(faintness: Sequence[float], generator: torch.Generator) -> dict[str, Any]:
    """½ Σ λ x² − μ(½ x² − ¼ x⁴) along one axis: gradients until half of the way down, for smaller and smaller μ."""
    curvatures = torch.logspace(-3, 0, DIRECTIONS, dtype=torch.float64, device="cpu")
    found: dict[str, list[float]] = {name: [] for name in METHODS}
    for ratio in faintness:
        losses, gradients = one_way_down(curvatures, 1.0 / ratio)
        points, spent = starts(losses, torch.zeros_like(curvatures), 1.0, generator)
        below = -0.125 / ratio
        _, curves = surface.descend(rules_of([1.0]), points, gradients, losses, updates=100 * int(ratio), below=below)
        for name, curve, before in zip(METHODS, curves, spent, strict=True):
            found[name].append(before + surface.updates_until(curve, below))
    return {"faintness": list(faintness), "gradients": found}


def measure(runs: Runs) -> list[Measurement]:
    """What the gates are about."""
    exact, digits, faint = (runs.where(part=part) for part in ("surface", "digits", "faint"))

    def spent(name: str, other: str) -> dict[int, float]:
        """Gradients of one method over those of another, at the digits' saddle."""
        best = {run.seed: run.result["best"] for run in digits}
        return {seed: _number(own[name]["gradients"]) / _number(own[other]["gradients"]) for seed, own in best.items()}

    faintest = {run.seed: {name: _number(own[-1]) for name, own in run.result["gradients"].items()} for run in faint}
    described = (
        ("error", "error of the closed forms", "gradient, Hessian and eigenvectors of (1 − w1·w2)², largest departure"),
        ("wrong_kinds", "wrong kinds of points", "of eight points whose kinds are known"),
        (
            "remainder_order",
            "order of the remainder",
            "power of the distance with which Taylor's polynomial goes wrong",
        ),
        ("updates_off", "updates to escape against ln(½/d) / ln(1 + 2η)", "largest relative difference"),
        ("stays", "distance from the saddle on its way up", "after 1,000 updates from (d, −d)"),
        ("third_order_hessian", "Hessian where three weights are zero", "its largest entry, of (1 − w1·w2·w3)²"),
        ("third_order_ratio", "slowing without a Hessian", "updates from a tenth of the distance, three weights"),
        ("batches_moved", "distance that single samples make", "from the lecture's saddle in 256 updates"),
    )
    return [
        *(Measurement(name=name, says=says, values=exact.per_seed(key)) for key, name, says in described),
        Measurement(
            name="drop over the drop that the curvature predicts",
            says="of the loss, 0.01 away from the digits' saddle along the lowest eigenvector, over ½|λ|·0.01²",
            values=digits.per_seed("drop_ratio"),
        ),
        *(
            Measurement(
                name=f"gradients by {name} over those by {other}",
                says="at the digits' saddle, each with its best rate of three, until half of the gain is made",
                values=spent(name, other),
            )
            for name, other in (
                ("whole Hessian", "perturbed gradient descent"),
                ("Lanczos", "small batches"),
            )
        ),
        Measurement(
            name="at the faintest saddle, perturbed gradient descent over Lanczos",
            says="gradients until half of the gain is made",
            values={seed: own["perturbed gradient descent"] / own["Lanczos"] for seed, own in faintest.items()},
        ),
    ]


def _number(value: float | None) -> float:
    """A result, where none means that it was not finite."""
    return math.nan if value is None else value


def draw(runs: Runs) -> Mapping[str, go.Figure]:
    """The lecture's surface with a way down, and what the ways down cost."""
    exact, digits, faint = (runs.where(part=part).results() for part in ("surface", "digits", "faint"))
    left = plot.figure(
        title="Leaving a saddle of digits: the loss against gradients spent",
        x="gradients over all digits",
        y="share of the gain that is left",
        summary="Small batches leave first, after a few gradients, then momentum. Lanczos pays for its direction "
        "first and is then out in a few updates; the whole Hessian pays the most.",
    )
    for name in (*METHODS, "small batches"):
        own = digits[0]["best"][name]
        plot.line(left, [0.0, own["at"][0], *own["at"]], [1.0, 1.0, *own["left"]], name=name)
    dear = plot.figure(
        title="What it costs to leave, the fainter the way down is",
        x="highest curvature over the negative one's size",
        y="gradients until half of the gain is made",
        log_x=True,
        log_y=True,
        summary="Gradient descent needs more gradients in proportion, with momentum a tenth of them. Lanczos grows "
        "far more slowly, and the whole Hessian costs the same everywhere.",
    )
    for name in METHODS:
        spent = np.array([own["gradients"][name] for own in faint], dtype=float)
        plot.line(dear, faint[0]["faintness"], np.exp(np.log(spent).mean(0)), name=name)
    return {"surface": _surface(exact[0]["path"]), "gradients-spent": left, "faintness": dear}


def _surface(path: Sequence[Sequence[float]]) -> go.Figure:
    """The lecture's surface, and the way of a descent from beside its saddle."""
    side = np.linspace(-1.25, 1.25, 61)
    figure = plot.figure(
        title="(1 − w1·w2)² and a way out of its saddle",
        x="",
        y="",
        summary="The saddle is in the middle, the valleys w1·w2 = 1 are in two corners. Gradient descent from a "
        "thousandth beside the saddle creeps at first, then falls along w1 = w2 into a valley.",
    )
    figure.update_scenes(
        xaxis_title="w1",
        yaxis_title="w2",
        zaxis_title="loss",
        aspectmode="manual",
        aspectratio={"x": 1, "y": 1, "z": 0.7},
        camera_eye={"x": 1.5, "y": 0.9, "z": 1.1},
    )
    figure.add_surface(x=side, y=side, z=(1.0 - np.outer(side, side)) ** 2, showscale=False)
    ways = np.array(path)
    figure.add_scatter3d(
        x=ways[:, 0],
        y=ways[:, 1],
        z=(1.0 - ways.prod(1)) ** 2 + 0.03,  # above the surface, so that it is seen
        mode="lines",
        name="gradient descent",
        line={"color": plot.COLOURS["opposite"], "width": 6},
    )
    return figure


STUDY = Study(
    name="critical-point",
    title="At a critical point",
    chapter=1,
    claim="Where the gradient is zero, the Hessian tells a saddle from a minimum and shows a way down, "
    "but it is seldom used, for it costs too much.",
    source="Hung-yi Lee 2021, chapter 1",
    setting="The lecture's (1 − w1·w2)². A linear autoencoder 64-1-64 on 256 digits, at the saddle where it has "
    "learned the fifth principal component. And a surface in 300 directions with one way down, steep or faint. A "
    "product with the Hessian counts as two gradients; rates are tuned for each method on the same three.",
    explains="At a critical point the gradient says nothing, and the Hessian decides: where a curvature is negative, "
    "its eigenvector leads down. In the lecture's example all of this is exact. At (0, 0) the curvatures are −2 and "
    "2, and the way down is w1 = w2. The second picture is the same at a saddle of real data: one move along the "
    "eigenvector, found by Lanczos' method from products with the Hessian alone, and a few updates later half of the "
    "gain is made. To compute the whole Hessian for it, which takes two gradients for each parameter, costs more than "
    "to shake the parameters a little and go on. Small batches mostly leave for a fraction of the price, as each "
    "of them has a gradient where their mean has none.\n\n"
    "Is the Hessian ever worth it? The third picture says when. Gradient descent needs the more updates the "
    "fainter the negative curvature is, in proportion; Lanczos needs only a few products more. So at a faint "
    "way down the eigenvector is found long before a perturbation has grown, and in a network as small as this one "
    "even the whole Hessian pays. Momentum moves the point at which this is so by a factor of ten.\n\n"
    "Two things are less simple than in the lecture. At its own saddle, small batches do not help at all: the "
    "gradient of each single sample is zero there. And the Hessian need not decide. With three weights in a row it is "
    "zero at the origin, and a start ten times nearer takes ten times as many updates to leave, where "
    "with two weights it takes a constant number more. Even the lecture's own minimum, (1, 1), is undecided by its "
    "Hessian, since nothing curves along the valley.",
    gates=(
        Gate(
            measurement="error of the closed forms",
            says="gradient, Hessian, and way down of the lecture's example are as computed by hand",
            high=1e-10,
        ),
        Gate(
            measurement="drop over the drop that the curvature predicts",
            says="at a saddle of real data, the loss falls along the eigenvector as its eigenvalue says",
            low=0.99,
            high=1.01,
        ),
        Gate(
            measurement="gradients by whole Hessian over those by perturbed gradient descent",
            says="the whole Hessian costs more than a small perturbation",
            low=2.0,
            over="geometric mean",
        ),
        Gate(
            measurement="gradients by Lanczos over those by small batches",
            says="even without the whole Hessian, the eigenvector costs more than small batches",
            low=2.0,
            over="geometric mean",
        ),
        Gate(
            measurement="wrong kinds of points", says="points of known kinds are told apart", high=0.0, role="control"
        ),
        Gate(
            measurement="order of the remainder",
            says="the second-order polynomial of Taylor goes wrong with the third power",
            low=2.9,
            high=3.1,
            role="control",
        ),
        Gate(
            measurement="updates to escape against ln(½/d) / ln(1 + 2η)",
            says="an escape takes as long as its curvature predicts",
            high=0.05,
            role="control",
        ),
        Gate(
            measurement="distance from the saddle on its way up",
            says="from w1 = −w2 gradient descent goes to the saddle itself",
            high=1e-6,
            role="control",
        ),
        Gate(
            measurement="at the faintest saddle, perturbed gradient descent over Lanczos",
            says="where the way down is faint, the eigenvector is cheaper by far",
            low=10.0,
            over="geometric mean",
            role="qualification",
        ),
        Gate(
            measurement="distance that single samples make",
            says="small batches never leave the lecture's own saddle",
            high=0.0,
            role="qualification",
        ),
        Gate(
            measurement="Hessian where three weights are zero",
            says="with three weights in a row the Hessian is zero and decides nothing",
            high=1e-12,
            role="qualification",
        ),
        Gate(
            measurement="slowing without a Hessian",
            says="there, a tenth of the distance takes ten times the updates",
            low=9.0,
            high=11.0,
            role="qualification",
        ),
    ),
    plan=plan,
    run=run,
    measure=measure,
    draw=draw,
    takes=(40, 12),
)
