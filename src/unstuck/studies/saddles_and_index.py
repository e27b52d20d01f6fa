"""Saddles and index: how a saddle looks in few dimensions, and how the ways down grow in number with the loss."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch
from scipy.stats import spearmanr
from torch import Tensor
from torch.func import hessian, vmap

from unstuck import plot
from unstuck.fleet import Member, train_fleet
from unstuck.methods.update import adam, gradient_descent
from unstuck.numerics.spectrum import count_signs
from unstuck.study import Gate, Measurement, Runs, Study
from unstuck.study.experiments.autoencoder import Autoencoder
from unstuck.study.experiments.copies import (
    HIDDEN,
    SAMPLES,
    decayed_loss,
    small_network,
    smaller,
    some_digits,
    untrained,
    with_alike,
)
from unstuck.study.experiments.curved import BAND, Curved, described, mean_loss, newton_step, saddle_free_step
from unstuck.study.experiments.networks import cross_entropy
from unstuck.study.experiments.surface import descend, updates_until

COMPONENTS = (3, 5, 10, 20, 30)
"""Principal components that an autoencoder has learned; k − 1 ways lead down from the k-th."""

DIMENSIONS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
"""Of a slice."""

SLICES = 400
"""At random, of each number of dimensions."""

ROWS = 200
"""Of random symmetric matrices, whose slices are known in closed form."""

STARTS = 2
"""From which a network with some units alike is trained."""

ENDS = (0, 10, 30, 60, 100, 200, 400, 1_000)
"""Updates after which trainings end and the search for a critical point begins."""

SEARCH = 20
"""Steps of that search."""

RATES = (0.25, 0.5, 1.0, 1.9)
"""Gradient descent's, over the highest curvature: 2 is the limit of stability."""

DAMPINGS = (3e-3, 1e-2, 3e-2, 1e-1)
"""Added to |λ| by the saddle-free step, over the largest: as many as gradient descent has rates."""

LEFT = 0.9
"""A saddle is left where this share of its loss remains."""


def plan(seeds: Sequence[int], quick: bool) -> list[dict[str, Any]]:
    """For each seed the slices, a search for critical points, known ones, and two ways out of a saddle."""
    parts: tuple[dict[str, Any], ...] = (
        {"part": "slices"},
        {"part": "search", "ends": list(ENDS[::3] if quick else ENDS)},
        {"part": "index", "units": [1, 2, HIDDEN] if quick else list(range(1, HIDDEN + 1))},
        {"part": "newton"},
    )
    return [{"seed": seed, **part} for seed in seeds for part in parts]


def run(seed: int, part: str, ends: Sequence[int] = (), units: Sequence[int] = ()) -> dict[str, Any]:
    """One of the four."""
    generator = torch.Generator(device="cpu").manual_seed(seed)
    if part == "slices":
        return _slices(generator)
    if part == "search":
        return _search(generator, seed, ends)
    return _index(generator, units) if part == "index" else _newton(generator)


def look_like_minima(matrix: Tensor, dimensions: int, count: int, generator: torch.Generator) -> float:
    """The share of random slices in which a symmetric matrix is positive definite."""
    size = (count, len(matrix), dimensions)
    spanned = torch.randn(size, generator=generator, dtype=matrix.dtype, device="cpu")
    failed = torch.linalg.cholesky_ex(spanned.mT @ matrix @ spanned).info
    return float((failed == 0).double().mean())


def _slices(generator: torch.Generator) -> dict[str, Any]:
    """Slices through the autoencoder's saddles, and its exact law; slices of random matrices; steps on a saddle."""
    surface = Autoencoder(some_digits(generator)[0])
    moments = surface.moments
    points = torch.stack([surface.critical_point(place + 1) for place in range(len(moments)) if moments[place] > 1e-9])
    matrices = vmap(hessian(surface.losses), chunk_size=5)(points)
    counts = [count_signs(values, 1e-10).negative for values in torch.linalg.eigvalsh(matrices)]
    losses = surface.losses(points)
    random = torch.randn(ROWS, ROWS, generator=generator, dtype=torch.float64, device="cpu")
    corner = torch.tensor([[5.0, 0.0], [0.0, -1.0]], dtype=torch.float64, device="cpu")
    start = torch.tensor([1.0, 0.01], dtype=torch.float64, device="cpu")
    steps = [start + step(corner, corner @ start) for step in (newton_step, saddle_free_step)]
    return {
        "share": {
            str(component): [look_like_minima(matrices[component - 1], k, SLICES, generator) for k in DIMENSIONS]
            for component in COMPONENTS
        },
        "random": look_like_minima(random + random.T, 2, 20 * SLICES, generator),
        "wrong_counts": sum(abs(found - place) for place, found in enumerate(counts)),
        "loss_error": float((losses - (moments.sum() - moments[: len(points)])).abs().max()),
        "rising": float(all(lower <= higher for lower, higher in pairwise(losses.tolist()))),
        "steps_error": float((torch.stack(steps) - start.new_tensor([[0.0, 0.0], [0.0, 0.02]])).abs().max()),
    }


def _search(generator: torch.Generator, seed: int, ends: Sequence[int]) -> dict[str, Any]:
    """Search for critical points from where trainings end, early and late."""
    inputs, targets = some_digits(generator)
    inputs = smaller(inputs)
    members = [Member(rule=adam(1e-2), batch_size=SAMPLES, seed=100 * seed + place) for place in range(len(ends))]
    fleet = train_fleet(small_network, cross_entropy, inputs, targets, members, max(ENDS), keep=(0, *ends))
    surface = Curved(mean_loss(fleet.network, cross_entropy, inputs, targets))
    rows = torch.stack([fleet.at(updates).parameters[place] for place, updates in enumerate(ends)])
    untrained = surface.gradients(fleet.at(0).parameters).norm(dim=1)
    return {
        "ended": described(surface, rows, untrained),
        "searched": described(surface, surface.nearer_to_rest(rows, SEARCH), untrained),
    }


def _index(generator: torch.Generator, units: Sequence[int]) -> dict[str, Any]:
    """Critical points that are known to be some: the best networks with so many different hidden units."""
    loss = decayed_loss(generator)
    surface = Curved(loss)
    found = torch.cat([with_alike(loss, count, STARTS, generator) for count in units])
    beginning = surface.gradients(torch.stack([untrained(generator) for _ in found])).norm(dim=1)
    return {"units": [count for count in units for _ in range(STARTS)], **described(surface, found, beginning)}


def _newton(generator: torch.Generator) -> dict[str, Any]:
    """Updates and gradients until a network has left the saddle at which all its hidden units are alike."""
    loss = decayed_loss(generator)
    surface, saddle = Curved(loss), with_alike(loss, 1, 1, generator)[0]
    values = torch.linalg.eigvalsh(surface.hessians(saddle[None])[0])
    noise = torch.randn(len(saddle), generator=generator, dtype=saddle.dtype, device="cpu")
    start = (saddle + 1e-3 * saddle.norm() * noise / noise.norm())[None]
    below = LEFT * float(loss(saddle))
    _, curves = descend(
        [gradient_descent(rate / float(values[-1])) for rate in RATES],
        start.repeat(len(RATES), 1),
        lambda rows, _: surface.gradients(rows),
        surface.losses,
        updates=1_000,
        below=below,
    )
    first = min((updates_until(curve, below), curve[:60].tolist()) for curve in curves)
    second = min((updates_until(curve, below), curve.tolist()) for curve in _saddle_free(surface, start[0], below))
    return {
        "gradient": float(surface.gradients(saddle[None]).norm()),
        "negative": count_signs(values, BAND).negative,
        "faintness": float(values[-1] / -values[0]),
        "updates": [first[0], second[0]],
        "updates_ratio": first[0] / second[0],
        "gradients_ratio": first[0] / (second[0] * (2 * len(saddle) + 1)),
        "curves": [[value for value in curve if math.isfinite(value)] for curve in (first[1], second[1])],
    }


def _saddle_free(surface: Curved, start: Tensor, below: float) -> list[Tensor]:
    """The losses of saddle-free steps until the saddle is left, with each damping."""
    curves = []
    for damping in DAMPINGS:
        row, seen = start, [surface.losses(start[None])[0]]
        while len(seen) <= 40 and float(seen[-1]) > below:
            row = row + saddle_free_step(surface.hessians(row[None])[0], surface.gradients(row[None])[0], damping)
            seen.append(surface.losses(row[None])[0])
        curves.append(torch.stack(seen))
    return curves


def measure(runs: Runs) -> list[Measurement]:
    """What the gates are about."""
    slices, search, index, newton = (runs.where(part=part) for part in ("slices", "search", "index", "newton"))

    def share(component: int, dimensions: int) -> dict[int, float]:
        place = DIMENSIONS.index(dimensions)
        return {run.seed: run.result["share"][str(component)][place] for run in slices}

    def correlation(own: Mapping[str, Sequence[float]]) -> float:
        kept = np.array(own["critical"]) > 0
        return float(spearmanr(np.array(own["loss"])[kept], np.array(own["index"])[kept]).statistic)

    slice_says = "of random slices through a saddle of 128 dimensions, those with positive curvatures only"
    table: tuple[tuple[str, str, Mapping[int, float]], ...] = (
        ("slices of 2 dimensions that look like a minimum", slice_says, share(10, 2)),
        ("slices of 48 dimensions that look like a minimum", slice_says, share(10, 48)),
        ("slices of 16 dimensions that hide four ways down", "the same, with four ways down", share(5, 16)),
        (
            "correlation of loss and index at critical points",
            "Spearman's, over those whose gradient is zero and that pass Frye's test",
            {run.seed: correlation(run.result) for run in index},
        ),
        (
            "share of the known points that pass the test",
            "gradient below 0.001 of the untrained network's, and Frye's residual below 0.1",
            {run.seed: float(np.mean(run.result["critical"])) for run in index},
        ),
        (
            "share of the searched points that pass the test",
            "the same, after a search for critical points from where trainings end",
            {run.seed: float(np.mean(run.result["searched"]["critical"])) for run in search},
        ),
        (
            "updates of gradient descent over saddle-free steps",
            "until the saddle is left, each with the best of four settings",
            newton.per_seed("updates_ratio"),
        ),
        (
            "gradients of gradient descent over those of saddle-free steps",
            "the same, where a product with the Hessian counts as two",
            newton.per_seed("gradients_ratio"),
        ),
        (
            "error of the autoencoder's law",
            "wrong counts of ways down, and error of the losses, over all components",
            {run.seed: run.result["wrong_counts"] + run.result["loss_error"] for run in slices},
        ),
        (
            "planes through a random matrix that look like a minimum",
            "(2 − √2)/4 = 0.146 in the mean of all matrices",
            slices.per_seed("random"),
        ),
        (
            "error of one Newton and one saddle-free step",
            "from (1, 0.01) on ½(5x² − y²): to the saddle, and to (0, 0.02)",
            slices.per_seed("steps_error"),
        ),
    )
    return [Measurement(name=name, says=says, values=values) for name, says, values in table]


def draw(runs: Runs) -> Mapping[str, go.Figure]:
    """Slices, index against loss, and the two ways out."""
    slices, search, index, newton = (
        runs.where(part=part).results() for part in ("slices", "search", "index", "newton")
    )
    hidden = plot.figure(
        title="How a saddle looks in a few dimensions",
        x="dimensions of a random slice through it",
        y="share of slices that look like a minimum",
        log_x=True,
        summary="In two dimensions nearly every slice through a saddle looks like a minimum. The more ways down there "
        "are, the fewer dimensions it takes until no slice does.",
    )
    for component in COMPONENTS:
        mean = np.mean([own["share"][str(component)] for own in slices], axis=0)
        plot.line(hidden, DIMENSIONS, mean, name=f"{component - 1} ways down of 128")
    risen = plot.figure(
        title="Ways down against loss",
        x="share of directions that go down (index)",
        y="training loss",
        summary="The higher the loss, the more directions go down, at true critical points and elsewhere alike.",
    )
    for name, wanted, found in (
        ("critical points", 1.0, index),
        ("found by search, critical", 1.0, [own["searched"] for own in search]),
        ("found by search, not critical", 0.0, [own["searched"] for own in search]),
    ):
        pairs = [
            (share, loss)
            for own in found
            for share, loss, critical in zip(own["index"], own["loss"], own["critical"], strict=True)
            if critical == wanted
        ]
        plot.points(risen, [share for share, _ in pairs], [loss for _, loss in pairs], name=name)
    out = plot.figure(
        title="Leaving a saddle: saddle-free Newton and gradient descent",
        x="updates",
        y="training loss",
        summary="Saddle-free steps leave after fewer updates. Each of them costs a whole Hessian.",
    )
    for place, name in enumerate(("gradient descent", "saddle-free Newton")):
        curve = newton[0]["curves"][place]
        plot.line(out, list(range(len(curve))), curve, name=name)
    return {"slices": hidden, "index-and-loss": risen, "saddle-free": out}


STUDY = Study(
    name="saddles-and-index",
    title="Saddles in many dimensions",
    chapter=1,
    claim="What looks like a minimum in two dimensions is a saddle in more; the higher the loss, the more ways down.",
    source="Hung-yi Lee 2021, chapter 1; Dauphin et al. 2014",
    setting="Slices: a linear autoencoder 64-1-64 on 256 digits, at its known saddles. Index: 16-4-10 with tanh on the "
    "same digits at 4 × 4 pixels, 118 parameters, with weight decay, at critical points in which only so many hidden "
    "units differ; and a search from the ends of trainings, without decay. Every Hessian is whole.",
    explains="A saddle with ways down still goes up in most directions. Cut through it along two random directions, "
    "and you will nearly always see a minimum, as the first picture shows; cut along 48, where nine ways lead down "
    "among 128, and hardly ever. That is the lecture's point: "
    "what looks like a minimum in few dimensions is a saddle in more. It can be read the other "
    "way as well: a picture of a loss in two random directions says almost nothing about whether there is a way "
    "down. With four ways down among 128, even slices of 16 dimensions show none.\n\n"
    "In the second picture each point is a critical point, and the share of its directions that go down is its index. "
    "For the linear autoencoder the law is exact: where the k-th component is learned, k − 1 directions go down, and "
    "the loss rises with k. The network with tanh has critical points wherever hidden units are copies of each other, "
    "and they follow the same law: high ones have many ways down, low ones few. Looking for critical points by "
    "making the gradient small is another matter: most places where such a search ends are none, which Frye's test "
    "tells, though loss and index rise together there, too.\n\n"
    "Newton's method goes to the nearest critical point, a saddle as well as a minimum. Divided by the sizes of the "
    "curvatures instead, its step leaves a saddle in fewer updates than gradient descent with the best stable rate. "
    "But each step takes a whole Hessian, and counted in gradients it is dearer by far.",
    gates=(
        Gate(
            measurement="slices of 48 dimensions that look like a minimum",
            says="in many dimensions the saddle is seen to be one",
            high=0.05,
        ),
        Gate(
            measurement="slices of 2 dimensions that look like a minimum",
            says="in two dimensions it looks like a minimum",
            low=0.9,
        ),
        Gate(
            measurement="correlation of loss and index at critical points",
            says="the higher a critical point, the more ways lead down",
            low=0.7,
            over="four seeds of five",
        ),
        Gate(
            measurement="updates of gradient descent over saddle-free steps",
            says="saddle-free steps leave a saddle in fewer updates",
            low=2.0,
            over="geometric mean",
        ),
        Gate(
            measurement="error of the autoencoder's law",
            says="the k-th component has k − 1 ways down, and its loss is known",
            high=1e-9,
            role="control",
        ),
        Gate(
            measurement="planes through a random matrix that look like a minimum",
            says="slices of random matrices are as they must be",
            low=0.10,
            high=0.19,
            over="mean",
            role="control",
        ),
        Gate(
            measurement="error of one Newton and one saddle-free step",
            says="one Newton step lands on the saddle, one saddle-free step doubles the distance",
            high=1e-12,
            role="control",
        ),
        Gate(
            measurement="share of the known points that pass the test",
            says="points known to be critical pass the test",
            low=0.6,
            over="mean",
            role="control",
        ),
        Gate(
            measurement="slices of 16 dimensions that hide four ways down",
            says="random slices, even of 16 dimensions, hide four ways down",
            low=0.9,
            role="qualification",
        ),
        Gate(
            measurement="share of the searched points that pass the test",
            says="most places where a search for critical points ends are none",
            high=0.5,
            over="mean",
            role="qualification",
        ),
        Gate(
            measurement="gradients of gradient descent over those of saddle-free steps",
            says="in gradients, saddle-free steps cost ten times as much",
            high=0.1,
            over="geometric mean",
            role="qualification",
        ),
    ),
    plan=plan,
    run=run,
    measure=measure,
    draw=draw,
    takes=(55, 16),
)
