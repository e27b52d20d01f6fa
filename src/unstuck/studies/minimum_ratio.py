"""Minimum ratio: of a trained network's directions, how many go up, and how many of the others truly go down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.func import hessian

from unstuck import plot
from unstuck.fleet import Member, train_fleet
from unstuck.methods.update import adam
from unstuck.numerics.spectrum import count_signs, newton_residual
from unstuck.study import Gate, Measurement, Runs, Study
from unstuck.study.experiments.curved import AT_REST, BAND, FRYE, Curved, hessians_by_layers, mean_loss
from unstuck.study.experiments.networks import perceptron, squared_error

NETWORKS = 100
"""Trained in one run, all with the same data; five seeds make 500."""

WIDTHS = (1, 10, 10, 1)

POINTS = 128

UPDATES = 1_500

RATES = (3e-4, 1.2e-2)
"""Adam's, spread evenly over this range on a logarithmic scale: the lower, the higher the loss at the end."""

STEPS = 2
"""Damped Newton steps on ‖g‖² that look for a critical point after the training."""

TOLERANCES = (1e-3, BAND, 1e-9)

MATRIX = 200
"""Rows of the random symmetric matrices that the count is tried on."""


def plan(seeds: Sequence[int], quick: bool) -> list[dict[str, Any]]:
    """One fleet for each seed."""
    return [{"seed": seed, "networks": NETWORKS // 8 if quick else NETWORKS} for seed in seeds]


def run(seed: int, networks: int) -> dict[str, Any]:
    """Train a fleet, look for critical points near its ends, and take the whole Hessian of each."""
    inputs, targets = curve()
    rates = np.geomspace(*RATES, networks)
    members = [
        Member(rule=adam(float(rate)), batch_size=POINTS, seed=1_000 * seed + number)
        for number, rate in enumerate(rates)
    ]
    fleet = train_fleet(_build, squared_error, inputs.float(), targets.float(), members, UPDATES, keep=(0,))
    seen = fleet.network, squared_error, inputs, targets
    surface = Curved(mean_loss(*seen), hessians_by_layers(*seen))
    trained = fleet.parameters.double()
    untrained = surface.gradients(fleet.at(0).parameters.double()).norm(dim=1)
    return {
        "trained": _described(surface, trained, untrained),
        "searched": _described(surface, surface.nearer_to_rest(trained, STEPS), untrained),
        "random_ratio": count_signs(_random_symmetric(seed), 0.0).positive / MATRIX,
    }


def curve() -> tuple[Tensor, Tensor]:
    """The lecturer's homework: sin(5πx)/(5πx) on 128 points of [0, 1], each of shape (128, 1)."""
    inputs = torch.linspace(0.0, 1.0, POINTS, dtype=torch.float64, device="cpu")[:, None]
    return inputs, torch.sinc(5.0 * inputs)


def _build() -> nn.Module:
    return perceptron(WIDTHS, nn.Tanh)


def _random_symmetric(seed: int) -> Tensor:
    """The eigenvalues of a matrix of the Gaussian orthogonal ensemble."""
    generator = torch.Generator(device="cpu").manual_seed(seed)
    matrix = torch.randn(MATRIX, MATRIX, generator=generator, dtype=torch.float64, device="cpu")
    values: Tensor = torch.linalg.eigvalsh(matrix + matrix.T)
    return values


def _described(surface: Curved, rows: Tensor, untrained: Tensor) -> dict[str, list[float]]:
    """Of each network its loss, its counts of signs, and how near to a critical point it is."""
    values, vectors = torch.linalg.eigh(surface.hessians(rows))
    gradients = surface.gradients(rows)
    along = torch.einsum("knj,kn->kj", vectors, gradients)
    found: dict[str, list[float]] = {
        "loss": surface.losses(rows).tolist(),
        "gradient_share": (gradients.norm(dim=1) / untrained).tolist(),
        "residual": [
            newton_residual(own, part, BAND).value for own, part in zip(values.numpy(), along.numpy(), strict=True)
        ],
        "steepest_down": (-values[:, 0] / values.abs().amax(1)).tolist(),
    }
    for name, tolerance in {"": 0.0, **{f"_{tolerance:g}": tolerance for tolerance in TOLERANCES}}.items():
        counts = [count_signs(own, tolerance * float(own.abs().max())) for own in values]
        found[f"positive{name}"] = [count.positive / values.shape[1] for count in counts]
        found[f"negative{name}"] = [count.negative / values.shape[1] for count in counts]
    return found


def measure(runs: Runs) -> list[Measurement]:
    """What the gates are about."""

    def of(name: str, says: str, value: Any, part: str = "trained") -> Measurement:
        return Measurement(name=name, says=says, values={run.seed: value(run.result[part]) for run in runs})

    band = f"{BAND:g}"
    return [
        of("minimum ratio", "mean share of eigenvalues above zero", lambda own: np.mean(own["positive"])),
        of(
            "minimum ratio after the search",
            "the same after Newton steps on the squared gradient norm",
            lambda own: np.mean(own["positive"]),
            "searched",
        ),
        of(
            "share of curvatures that are nearly zero",
            f"mean share of eigenvalues within {band} of the largest",
            lambda own: np.mean(1.0 - np.add(own[f"positive_{band}"], own[f"negative_{band}"])),
        ),
        of(
            "steepest way down against steepest way up",
            "median of −λ_min / λ_max",
            lambda own: np.median(own["steepest_down"]),
        ),
        of(
            "correlation of the loss with the share of ways down",
            f"Spearman's, with the share of eigenvalues below −{band} of the largest",
            lambda own: spearmanr(own["loss"], own[f"negative_{band}"]).statistic,
        ),
        of(
            "correlation of the loss with the naive share of ways down",
            "Spearman's, with the share of eigenvalues below zero",
            lambda own: spearmanr(own["loss"], own["negative"]).statistic,
        ),
        of(
            "share of ends at a critical point",
            "gradient below 0.001 of the untrained network's, and Frye's residual below 0.1",
            lambda own: np.mean((np.array(own["gradient_share"]) < AT_REST) & (np.array(own["residual"]) < FRYE)),
        ),
        Measurement(
            name="positive share of a random symmetric matrix",
            says="counted as the networks' is",
            values=runs.per_seed("random_ratio"),
        ),
        *_exact(),
    ]


def _exact() -> list[Measurement]:
    """Where the counts are known: the lecture's own global minimum, and a linear autoencoder."""
    one = torch.ones(2, dtype=torch.float64, device="cpu")
    lecture = hessian(lambda weights: (1.0 - weights.prod()).square())(one)
    ratio = count_signs(torch.linalg.eigvalsh(lecture), 1e-12).positive / 2
    variances = torch.tensor([5.0, 3.0, 2.0, 1.0], dtype=torch.float64, device="cpu")

    def autoencoder(point: Tensor) -> Tensor:
        left = point[:4, None] * point[None, 4:] - torch.eye(4, dtype=torch.float64, device="cpu")
        return 0.5 * (left * variances @ left.T).trace()

    wrong = 0
    for mode in range(4):
        unit = torch.eye(4, dtype=torch.float64, device="cpu")[mode]
        counted = count_signs(torch.linalg.eigvalsh(hessian(autoencoder)(torch.cat([unit, unit]))), 1e-12)
        wrong += abs(counted.negative - mode)
    return [
        Measurement(
            name="minimum ratio of the lecture's own minimum",
            says="of (1 − w1·w2)² at (1, 1), where the loss is 0",
            values={0: ratio},
        ),
        Measurement(
            name="wrong counts in the linear autoencoder",
            says="its k-th largest mode has k − 1 negative eigenvalues exactly",
            values={0: float(wrong)},
        ),
    ]


def draw(runs: Runs) -> Mapping[str, go.Figure]:
    """The lecture's picture, and the same with the flat directions taken apart."""
    band = f"{BAND:g}"
    lecture = plot.figure(
        title="Minimum ratio against training loss",
        x="minimum ratio",
        y="training loss",
        log_y=True,
        summary="Each point is a trained network. They stand between 0.5 and 0.6, whatever the loss, and none at 1.",
    )
    lecture.update_xaxes(range=[0.0, 1.02])
    apart = plot.figure(
        title="The same networks, flat directions apart",
        x="share of all directions",
        y="training loss",
        log_y=True,
        summary="With curvatures that are nearly zero counted by themselves, more than half of the directions are "
        "flat, and of the others fewer go down than up. The higher the loss, the more directions go down.",
    )
    for run in runs:
        own = run.result["trained"]
        plot.points(lecture, own["positive"], own["loss"], name=f"seed {run.seed}")
    own = {
        name: [value for run in runs for value in run.result["trained"][name]] for name in runs.results()[0]["trained"]
    }
    up, down = np.array(own[f"positive_{band}"]), np.array(own[f"negative_{band}"])
    for name, share in (("up", up), ("down", down), ("flat", 1.0 - up - down)):
        plot.points(apart, share, own["loss"], name=name)
    return {"minimum-ratio": lecture, "taken-apart": apart}


STUDY = Study(
    name="minimum-ratio",
    title="Minimum ratio against loss",
    chapter=1,
    claim="Trained networks stop where about half of the curvatures are positive: true local minima are rare.",
    source="Hung-yi Lee 2021, chapter 1; the picture is that of his 2018 homework HW1-2",
    setting="500 networks 1-10-10-1 with tanh, 141 parameters, on sin(5πx)/(5πx) at 128 points; Adam at rates from "
    "3e-4 to 1.2e-2, 1,500 updates on the whole set; every eigenvalue of every Hessian, in double precision.",
    explains="Each point of the first picture is one trained network. Its minimum ratio is the share of the Hessian's "
    "eigenvalues above zero, that is, of the directions in which the surface curves upwards. At a local minimum the "
    "ratio would be 1. It is about one half for all of them, as in the lecture, so that none of them seems to be a "
    "minimum, and there should be many ways down.\n\n"
    "The second picture takes that apart. More than half of these curvatures are zero for all that matters: a "
    "millionth of the largest, or less. What is called negative is thousands of times weaker than what is positive. "
    "So the ratio near one half says that half of the directions are flat, not that half of them lead down steeply. "
    "The lecture's own example warns of it: at (1, 1) the function (1 − w1·w2)² has its global minimum, and its "
    "minimum ratio is one half, because along the valley nothing changes. What does hold is the trend: the higher the "
    "loss, the larger the share of directions that go down beyond doubt.",
    gates=(
        Gate(
            measurement="minimum ratio",
            says="about half of the eigenvalues are positive",
            low=0.5,
            high=0.6,
            over="mean",
        ),
        Gate(
            measurement="correlation of the loss with the share of ways down",
            says="the higher the loss, the more directions go down",
            low=0.5,
            over="four seeds of five",
        ),
        Gate(
            measurement="positive share of a random symmetric matrix",
            says="the count gives one half where it must",
            low=0.48,
            high=0.52,
            over="mean",
            role="control",
        ),
        Gate(
            measurement="wrong counts in the linear autoencoder",
            says="the count is right where it is known exactly",
            high=0.0,
            role="control",
        ),
        Gate(
            measurement="share of curvatures that are nearly zero",
            says="two in five curvatures or more are zero for all that matters",
            low=0.4,
            over="mean",
            role="qualification",
        ),
        Gate(
            measurement="steepest way down against steepest way up",
            says="the ways down are a thousand times flatter than the ways up",
            high=1e-3,
            role="qualification",
        ),
        Gate(
            measurement="minimum ratio of the lecture's own minimum",
            says="a global minimum has the ratio one half, too",
            low=0.5,
            high=0.5,
            role="qualification",
        ),
    ),
    plan=plan,
    run=run,
    measure=measure,
    draw=draw,
    takes=(30, 6),
)
