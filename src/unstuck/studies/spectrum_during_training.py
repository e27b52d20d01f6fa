"""Spectrum during training: how the Hessian's eigenvalues are spread, and how fewer of them stay negative."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from unstuck import plot
from unstuck.datasets import load
from unstuck.fleet import Member, train_fleet
from unstuck.methods.update import adam
from unstuck.numerics.density import lanczos_quadratures, spectral_density
from unstuck.numerics.krylov import OperatorFromProduct
from unstuck.numerics.lanczos import Quadrature
from unstuck.numerics.spectrum import count_signs
from unstuck.study import Gate, Measurement, Runs, Study
from unstuck.study.experiments.curved import BAND, Curved, mean_loss
from unstuck.study.experiments.networks import cross_entropy, perceptron

SAMPLES, HIDDEN = 256, 6

CLASSES = (2, 5, 10)
"""Digits below these are told apart."""

STAGES = (0, 5, 10, 20, 40, 80, 160, 320)
"""Updates after which the whole Hessian is taken."""

RATE = 1e-2
"""Adam's, on the whole set."""

SHIFT = 1.0
"""Added to every standardized input, for the network whose inputs have a mean."""

BULK = 1e-2
"""Curvatures within ± this share of the largest are the bulk."""

VECTORS, STEPS = 10, 60
"""Of the estimate by random vectors."""


def plan(seeds: Sequence[int], quick: bool) -> list[dict[str, Any]]:
    """For each seed a network for each number of classes, and one whose inputs have a mean."""
    stages = list(STAGES[::2] if quick else STAGES)
    arms: list[dict[str, Any]] = [{"classes": count, "shift": 0.0, "stages": stages} for count in CLASSES]
    arms.append({"classes": max(CLASSES), "shift": SHIFT, "stages": stages})
    return [{"seed": seed, **settings} for seed in seeds for settings in arms]


def run(seed: int, classes: int, shift: float, stages: Sequence[int]) -> dict[str, Any]:
    """Train a network, and take its whole spectrum on the way."""
    digits = load("digits")
    known = (digits.targets < classes).nonzero()[:SAMPLES, 0]
    inputs, targets = digits.inputs[known].double() + shift, digits.targets[known]

    def build() -> nn.Module:
        return perceptron((64, HIDDEN, classes), nn.Tanh).double()

    member = Member(rule=adam(RATE), batch_size=len(inputs), seed=seed)
    fleet = train_fleet(build, cross_entropy, inputs, targets, [member], max(stages), keep=stages)
    surface = Curved(mean_loss(fleet.network, cross_entropy, inputs, targets))
    rows = torch.cat([fleet.at(updates).parameters for updates in stages])
    hessians = surface.hessians(rows)
    values, vectors = torch.linalg.eigh(hessians)
    along = torch.einsum("knj,kn->kj", vectors, surface.gradients(rows))
    return {
        "loss": surface.losses(rows).tolist(),
        "negative": [count_signs(own, BAND).negative / len(own) for own in values],
        "bulk": [count_signs(own, BULK).near_zero / len(own) for own in values],
        "top": values.flip(1)[:, :30].tolist(),
        "gap": [gap_at(own.flip(0), classes) for own in values],
        "gradient_share": (along[:, -classes:].square().sum(1) / along.square().sum(1)).tolist(),
        "densities": [_density(own) for own in values[[0, len(values) // 2, -1]]],
        **_estimated(hessians[-1], values[-1], seed),
    }


def gap_at(descending: Tensor, classes: int) -> float:
    """How many times larger the last of C − 1, or of C, eigenvalues is than the next; the wider gap of the two."""
    return max(float(descending[count - 1] / descending[count]) for count in (classes - 1, classes))


def _density(values: Tensor) -> dict[str, list[float]]:
    """All eigenvalues, smoothed."""
    weights = (1.0 / len(values),) * len(values)
    found = spectral_density([Quadrature(nodes=tuple(values.tolist()), weights=weights, exact=True)])
    return {"at": list(found.at[::2]), "value": list(found.value[::2])}


def _estimated(matrix: Tensor, values: Tensor, seed: int) -> dict[str, float]:
    """The same spectrum through a few random vectors: its mean, in standard errors off, and its largest value."""
    operator = OperatorFromProduct(
        product=lambda vector: matrix @ vector, dimension=len(matrix), dtype=matrix.dtype, device=matrix.device
    )
    generator = torch.Generator(device="cpu").manual_seed(seed)
    seen = lanczos_quadratures(operator, steps=STEPS, count=VECTORS, generator=generator)
    means = [float(np.dot(each.nodes, each.weights)) for each in seen]
    error = float(np.std(means, ddof=1)) / len(means) ** 0.5
    highest = max(each.nodes[-1] for each in seen)
    return {
        "mean_off": abs(float(np.mean(means)) - float(values.mean())) / error,
        "highest_off": abs(highest / float(values[-1]) - 1.0),
    }


def measure(runs: Runs) -> list[Measurement]:
    """What the gates are about."""
    arms = {count: runs.where(classes=count, shift=0.0) for count in CLASSES}
    most = arms[max(CLASSES)]
    shifted = runs.where(classes=max(CLASSES), shift=SHIFT)

    def along(found: Runs) -> dict[int, float]:
        return {run.seed: float(spearmanr(run.result["loss"], run.result["negative"]).statistic) for run in found}

    def fall(found: Runs) -> dict[int, float]:
        return {run.seed: run.result["negative"][0] - run.result["negative"][-1] for run in found}

    def last(found: Runs, key: str) -> dict[int, float]:
        return {run.seed: run.result[key][-1] for run in found}

    table: tuple[tuple[str, str, Mapping[int, float]], ...] = (
        ("correlation of the loss with the share of ways down", "Spearman's, along each training", along(most)),
        *(
            (f"fall of the share of ways down, {count} classes", "from the start to the last stage", fall(found))
            for count, found in arms.items()
        ),
        ("share of the bulk", "of curvatures within 0.01 of the largest, at the end", last(most, "bulk")),
        *(
            (
                f"gap after {count} outliers",
                "the last of C or C − 1 curvatures over the next, at the end",
                last(found, "gap"),
            )
            for count, found in arms.items()
        ),
        ("gap with a mean in the inputs", "the same, 10 classes, 1 added to every input", last(shifted, "gap")),
        (
            "share of the gradient along the top",
            "of its square, along as many eigenvectors as classes, at the end",
            last(most, "gradient_share"),
        ),
        (
            "highest curvature with a mean in the inputs over without",
            "at the end, 1 added to every input",
            {run.seed: run.result["top"][-1][0] / most.of_seed(run.seed)["top"][-1][0] for run in shifted},
        ),
        ("estimated mean, standard errors off", "of all eigenvalues, by ten random vectors", most.per_seed("mean_off")),
        ("estimated highest curvature, relative error", "by the same products", most.per_seed("highest_off")),
    )
    return [Measurement(name=name, says=says, values=values) for name, says, values in table]


def draw(runs: Runs) -> Mapping[str, go.Figure]:
    """Densities, ways down against loss, and the largest curvatures by rank."""
    most = runs.where(classes=max(CLASSES), shift=0.0).results()
    spread = plot.figure(
        title="How the eigenvalues are spread, at three stages",
        x="eigenvalue",
        y="density",
        log_y=True,
        summary="Nearly all eigenvalues are close to zero. At the start the spectrum reaches to both sides, at the end "
        "hardly below zero.",
    )
    for name, own in zip(("start", "middle", "end"), most[0]["densities"], strict=True):
        floor = 1e-4 * max(own["value"])
        plot.line(spread, own["at"], np.maximum(own["value"], floor), name=name)
    fallen = plot.figure(
        title="Ways down against loss, along trainings",
        x="training loss",
        y="share of eigenvalues below zero",
        log_x=True,
        summary="As the loss falls, a smaller and smaller share of the eigenvalues is negative, whatever the number of "
        "classes.",
    )
    ranked = plot.figure(
        title="The largest curvatures at the end, by rank",
        x="rank",
        y="eigenvalue over the largest",
        log_y=True,
        summary="With two classes the largest one stands out. With ten there is no step after nine or ten.",
    )
    for count in CLASSES:
        found = runs.where(classes=count, shift=0.0).results()
        plot.points(
            fallen,
            [value for own in found for value in own["loss"]],
            [value for own in found for value in own["negative"]],
            name=f"{count} classes",
        )
        top = np.mean([np.array(own["top"][-1]) / own["top"][-1][0] for own in found], axis=0)
        plot.line(ranked, list(range(1, len(top) + 1)), np.maximum(top, 1e-6), name=f"{count} classes")
    return {"densities": spread, "ways-down": fallen, "ranks": ranked}


STUDY = Study(
    name="spectrum-during-training",
    title="The spectrum during training",
    chapter=1,
    claim="As the loss falls, fewer and fewer curvatures are negative, and most of all curvatures are close to zero.",
    source="Dauphin et al. 2014; Sagun et al. 2016; Ghorbani, Krishnan, Xiao 2019",
    setting="64-6-C with tanh on 256 digits of C = 2, 5 or 10 classes, up to 460 parameters, double precision; "
    "cross-entropy, Adam on the whole set; every eigenvalue of the Hessian after 0 to 320 updates.",
    explains="The first picture shows how the Hessian's eigenvalues are spread. Most are close to zero all the "
    "time. At the start, more than a third of them are negative; while the loss falls they move up, and in the end few "
    "are left below zero, and those barely. The second picture has that share against the loss. It is "
    "what was found for critical points (the higher the loss, the more ways down), seen here along trainings, at "
    "points that are none.\n\n"
    "Two more things are said of such spectra, and do not show here. A few eigenvalues, as many as there are "
    "classes, are said to stand apart from the rest, and most of the gradient to lie along them. With two classes one "
    "does stand apart; with ten there is no gap after nine or ten, and hardly any of the gradient lies there in the "
    "end. These digits are standardized, and the network is small. Much of what stands apart elsewhere comes from "
    "the inputs' mean: with 1 added to every input, the highest curvature is many times as large.\n\n"
    "Large networks have too many eigenvalues to compute. Their spread can be estimated from products of the Hessian "
    "with a few random vectors. Here, where the truth is known, the estimate agrees with it.",
    gates=(
        Gate(
            measurement="correlation of the loss with the share of ways down",
            says="along a training the share of negative curvatures falls with the loss",
            low=0.8,
            over="four seeds of five",
        ),
        Gate(
            measurement="fall of the share of ways down, 10 classes",
            says="it falls by more than an eighth of all curvatures",
            low=0.125,
            over="four seeds of five",
        ),
        Gate(
            measurement="share of the bulk",
            says="half of the curvatures or more are within a hundredth of the largest",
            low=0.5,
            over="mean",
        ),
        Gate(
            measurement="estimated mean, standard errors off",
            says="the estimated mean of the spectrum is the true one",
            high=4.0,
            over="four seeds of five",
            role="control",
        ),
        Gate(
            measurement="estimated highest curvature, relative error",
            says="the estimated highest curvature is the true one",
            high=1e-3,
            role="control",
        ),
        Gate(
            measurement="gap after 10 outliers",
            says="no gap sets apart as many curvatures as there are classes",
            high=2.0,
            over="four seeds of five",
            role="qualification",
        ),
        Gate(
            measurement="share of the gradient along the top",
            says="in the end hardly any of the gradient lies along the highest curvatures",
            high=0.2,
            over="mean",
            role="qualification",
        ),
        Gate(
            measurement="highest curvature with a mean in the inputs over without",
            says="a mean in the inputs raises the highest curvature several times",
            low=3.0,
            over="geometric mean",
            role="qualification",
        ),
    ),
    plan=plan,
    run=run,
    measure=measure,
    draw=draw,
    takes=(20, 8),
)
