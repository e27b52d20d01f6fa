"""A narrow convex valley: no constant rate reaches its end, a rate for each parameter does, and so do scaled inputs.

Twice: on the lecturer's own ten points, and on a valley with straight walls, in which the rate 1e-2 bounces.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch
from torch import Tensor

from unstuck import plot
from unstuck.datasets.ten_points import START
from unstuck.methods.update import adagrad, adagrad_mean, adam, gradient_descent, rmsprop, stack
from unstuck.study import Gate, Measurement, Runs, Study
from unstuck.study.experiments import valleys
from unstuck.study.experiments.valleys import BOUNCING, LOW, UPDATES, TenPoints, Walled
from unstuck.study.experiments.walks import path, uniform

FEWER = 4_000
"""Updates of many methods at many rates."""

TRIED = 40
"""Constant rates."""

HALF_WIDTH = 0.05
"""Distance from the floor of the bouncing valley at which its walls become straight."""

ADAPTIVE_RATES = tuple(np.logspace(-3.0, 0.0, 7).tolist())

METHODS: Mapping[str, Any] = {
    "Adagrad": adagrad_mean,
    "Adagrad with decay": adagrad,  # of Duchi et al. 2011: the lecture's with η/√(t + 1)
    "RMSProp": rmsprop,
    "Adam": adam,
}

STARTS = 4
"""From which Adagrad walks on the ten points, beside the lecturer's own."""


def plan(seeds: Sequence[int], quick: bool) -> list[dict[str, Any]]:
    """The lecturer's start once; for each seed other starts, and a valley in which the walk bounces."""
    planned = {"lecture": seeds[:1], "starts": seeds[:1] if quick else seeds, "bouncing": seeds}
    return [{"seed": seed, "part": part} for part, own in planned.items() for seed in own]


def run(seed: int, part: str) -> dict[str, Any]:
    """One part of the study, for one seed; ``numbers`` are those of :data:`SAYS`."""
    generator = torch.Generator(device="cpu").manual_seed(seed)
    if part == "lecture":
        return _lecture()
    return _starts(generator) if part == "starts" else _bouncing(generator)


def _lecture() -> dict[str, Any]:
    """Walks from the lecturer's start, and what is known of them exactly."""
    points, at = TenPoints(), torch.tensor([START], dtype=torch.float64, device="cpu")
    walks = valleys.walks_from(points, at)
    left = {name: float(points.left(walk[-1], at[0])) for name, walk in walks.items()}
    rates = np.geomspace(LOW, 2.0 / float(points.curvatures[1]), TRIED, endpoint=False).tolist()
    remaining = [float(points.left(points.descended(at[0], rate, UPDATES), at[0])) for rate in rates]
    nearest, rises = valleys.bursts(points, walks["Adagrad"][:, None], walks["Adagrad with decay"][:, None])
    seen = {name: np.unique(np.geomspace(1, len(walk), 150).astype(int)) - 1 for name, walk in walks.items()}
    return {
        "numbers": {
            "left at the best constant rate": min(remaining),
            "left at 1e-7": left["1e-7"],
            "left by Adagrad at its nearest": nearest[0],
            "rise of the loss, Adagrad": rises[0][0],
            "rise of the loss, Adagrad with decay": rises[1][0],
            "left by Adagrad with decay": left["Adagrad with decay"],
            "left by RMSProp and Adam": max(left["RMSProp"], left["Adam"]),
        }
        | valleys.known(points, at, walks),
        "rates": rates,
        "remaining": remaining,
        "updates": {name: own.tolist() for name, own in seen.items()},
        "walks": {name: walk[seen[name]].tolist() for name, walk in walks.items()},
        "losses": {name: points.loss(walk[seen[name]]).tolist() for name, walk in walks.items()},
    }


def _starts(generator: torch.Generator) -> dict[str, Any]:
    """Adagrad on the ten points from elsewhere, b being 20 to 50 from the best on either side."""
    points = TenPoints()
    side = torch.tensor([[1.0], [-1.0]] * (STARTS // 2), dtype=torch.float64, device="cpu")
    bias = points.minimum[0] + side * uniform(20.0, 50.0, STARTS, generator)
    at = torch.cat([bias, uniform(-10.0, 10.0, STARTS, generator)], dim=1)
    constant, decaying = valleys.adagrad_walks(points, at)
    _, (rise, rise_decaying) = valleys.bursts(points, constant, decaying)
    return {
        "numbers": {
            "left by Adagrad with decay, other starts": float(points.left(decaying[-1], at).median()),
            "rise of the loss, Adagrad, other starts": float(np.median(rise)),
            "rise of the loss, Adagrad with decay": max(rise_decaying),
        }
    }


def _bouncing(generator: torch.Generator) -> dict[str, Any]:
    """Constant rates, and adaptive methods with the valley along a weight or across both."""
    flat, steep = (scale * float(uniform(0.8, 1.2, 1, generator)) for scale in (1e-3, 1e3))
    at = torch.cat([-uniform(0.8, 1.2, 1, generator), uniform(0.5, 1.0, 1, generator)], dim=1)
    rates = [*np.logspace(-7.0, 1.0, TRIED).tolist(), LOW, BOUNCING]
    valley = Walled(flat, steep, HALF_WIDTH)
    rule = stack([gradient_descent(rate) for rate in rates])
    walk = path(rule, at.repeat(len(rates), 1), valley.slope, UPDATES)
    left = _left(walk, at)
    bouncing = walk[:, -1]
    ends = {name: _adaptive(method, at, flat, steep) for name, method in METHODS.items()}
    return {
        "numbers": {
            "left in the bouncing valley at the best constant rate": min(left),
            "share of updates that cross the valley at 1e-2": float(
                (bouncing[-1_000:, 1].sign().diff() != 0).double().mean()
            ),
            "gradient at the end over that at the start": float(
                valley.slope(bouncing[-1:]).norm() / valley.slope(bouncing[:1]).norm()
            ),
            "left in the bouncing valley by adaptive methods": max(min(along) for along, _ in ends.values()),
            "left in the turned valley by adaptive methods": min(min(across) for _, across in ends.values()),
        },
        "rates": rates[:TRIED],
        "remaining": left[:TRIED],
        "valley": [flat, steep],
        "walks": {"1e-2": bouncing[:: UPDATES // 50 - 1].tolist(), "1e-7": walk[:: UPDATES // 50, -2].tolist()},
    }


def _adaptive(method: Any, at: Tensor, flat: float, steep: float) -> tuple[list[float], list[float]]:
    """What is left at each rate, with the valley along a weight and across both."""
    turned = torch.arange(2, device="cpu").repeat_interleave(len(ADAPTIVE_RATES))[:, None] == 1
    valley = Walled(flat, steep, HALF_WIDTH, turned)
    rule = stack([method(rate) for rate in (*ADAPTIVE_RATES, *ADAPTIVE_RATES)])
    left = _left(path(rule, valley.across(at.repeat(len(turned), 1)), valley.slope, FEWER), at)
    return left[: len(ADAPTIVE_RATES)], left[len(ADAPTIVE_RATES) :]


def _left(walk: Tensor, at: Tensor) -> list[float]:
    """Distance from the minimum over that at the start, the larger of the last two: a walk may bounce."""
    return [float(left) for left in walk[-2:].norm(dim=2).amax(0) / at.norm()]


SAYS: Mapping[str, str] = {
    "left at the best constant rate": f"of the way in b on the ten points, lowest of {TRIED} rates up to the limit",
    "left at 1e-7": "of the way in b on the ten points, after 100,000 updates at this rate",
    "left by Adagrad at its nearest": "of the way in b on the ten points",
    "rise of the loss, Adagrad": "over its lowest until then, both above the minimum",
    "left by Adagrad with decay": "of the way in b, after 100,000 updates with η/√(t + 1)",
    "left by RMSProp and Adam": "the more of both, after 20,000 updates at 0.01 and 0.1",
    "error of the closed forms": "of curvatures, of the end at 1e-7, and of decaying Adagrad against the paper's",
    "updates with standardized inputs": "from the same line to a millionth of the way, at 1 over the curvature",
    "loss just beyond the limit": "after 1,000 updates at 1.2e-6, over that at the start",
    "loss after one update at 1e-2": "on the ten points, over that at the start",
    "left with momentum": "of the way in b, after 20,000 updates at a constant rate, both as the formula has them",
    "rise of the loss, Adagrad, other starts": "median start",
    "left by Adagrad with decay, other starts": "median start",
    "rise of the loss, Adagrad with decay": "the same, worst start",
    "share of updates that cross the valley at 1e-2": "of the last 1,000 of 100,000, in the valley with straight walls",
    "gradient at the end over that at the start": "norms, at 1e-2 in the valley with straight walls",
    "left in the bouncing valley at the best constant rate": f"of the distance, lowest of {TRIED} from 1e-7 to 10",
    "left in the bouncing valley by adaptive methods": f"of the distance after {FEWER:,} updates, the worst of "
    f"{len(METHODS)} methods, each at its best of {len(ADAPTIVE_RATES)} rates",
    "left in the turned valley by adaptive methods": "the same with the valley turned by 45°, the best method",
}
"""What each number of a run is."""


def measure(runs: Runs) -> list[Measurement]:
    """What the gates are about; of a number that two parts of a seed have, the larger."""
    values: dict[str, dict[int, float]] = {name: {} for name in SAYS}
    for run in runs:
        for name in SAYS.keys() & run.result["numbers"].keys():
            number = run.result["numbers"][name]
            number = math.nan if number is None else number
            values[name][run.seed] = max(number, values[name].get(run.seed, number))
    return [Measurement(name=name, says=SAYS[name], values=own) for name, own in values.items()]


def draw(runs: Runs) -> Mapping[str, go.Figure]:
    """The lecture's panels, the loss along them, both valleys at all rates, and the walk that bounces."""
    lecture, bouncing = (runs.where(part=part).results()[0] for part in ("lecture", "bouncing"))
    return {
        "ten-points": _ten_points(lecture),
        "losses": _losses(lecture),
        "bouncing": _walls(bouncing),
        "all-rates": _all_rates(lecture, [run.result for run in runs.where(part="bouncing")]),
    }


def _ten_points(lecture: Mapping[str, Any]) -> go.Figure:
    figure = plot.figure(
        title="Walks on the lecturer's ten points",
        x="b",
        y="w",
        summary="All walks soon reach the floor of the valley. At 1e-7 the walk then hardly moves. Those with a rate "
        "for each parameter go on to the minimum; Adagrad leaves it again and again, and with decay it stays.",
    )
    points = TenPoints()
    bias, weight = np.linspace(-240.0, -100.0, 60), np.linspace(-5.0, 7.0, 60)
    grid = torch.as_tensor(np.stack(np.meshgrid(bias, weight), axis=-1), device="cpu")
    figure.add_contour(x=bias, y=weight, z=points.loss(grid).log10().numpy(), **_BACKGROUND)
    for name in ("1e-7", "Adagrad", "Adagrad with decay", "Adam"):
        walk = np.array(lecture["walks"][name])
        plot.line(figure, walk[:, 0], walk[:, 1], name=name)
    figure.update_yaxes(range=[-5.0, 7.0])
    return _with_minimum(figure, *points.minimum.tolist())


_BACKGROUND: Mapping[str, Any] = {
    "contours": {"coloring": "none"},
    "line": {"width": 1, "color": plot.COLOURS["neutral"]},
    "opacity": 0.5,
    "showscale": False,
    "showlegend": False,
    "hoverinfo": "skip",
}
"""Contours that stand behind walks."""


def _losses(lecture: Mapping[str, Any]) -> go.Figure:
    figure = plot.figure(
        title="The loss on the ten points",
        x="update",
        y="loss above the smallest",
        log_x=True,
        log_y=True,
        summary="At 1e-7 the loss stays where the floor is reached. Adagrad arrives, and its loss then bursts and "
        "falls again; with decay it falls slowly and never rises.",
    )
    figure.update_yaxes(range=[-8.0, 8.0])
    for name, losses in lecture["losses"].items():
        if name != "1.1e-6":
            plot.line(figure, np.array(lecture["updates"][name]) + 1, losses, name=name)
    return figure


def _walls(bouncing: Mapping[str, Any]) -> go.Figure:
    figure = plot.figure(
        title="At 1e-2 the walk bounces between the walls",
        x="weight along the valley",
        y="weight across the valley",
        summary="One update in 1,999. At 1e-2 the walk jumps from wall to wall to the end, and about a third of its "
        "way is left; at 1e-7 it comes down the wall and stays near its foot.",
    )
    along, aside = np.linspace(-1.3, 0.2, 40), np.linspace(-1.1, 1.1, 81)
    grid = torch.as_tensor(np.stack(np.meshgrid(along, aside), axis=-1).reshape(-1, 2), device="cpu")
    flat, steep = bouncing["valley"]
    losses = Walled(flat, steep, HALF_WIDTH).loss(grid).numpy().reshape(len(aside), -1)
    figure.add_contour(x=along, y=aside, z=losses, **_BACKGROUND)
    for name, walk in bouncing["walks"].items():
        plot.line(figure, *np.array(walk).T, name=name)
    return _with_minimum(figure, 0.0, 0.0)


def _with_minimum(figure: go.Figure, x: float, y: float) -> go.Figure:
    plot.points(figure, [x], [y], name="minimum", role="neutral")
    return figure.update_layout(hovermode="closest")


def _all_rates(lecture: Mapping[str, Any], valleys: Sequence[Mapping[str, Any]]) -> go.Figure:
    figure = plot.figure(
        title="What any constant rate leaves after 100,000 updates",
        x="rate",
        y="share of the way that is left",
        log_x=True,
        summary="On the ten points the lowest share is about one half, just below the limit beyond which all walks "
        "diverge. In the valley with straight walls it is about one third, where bounces begin to be too wide.",
    )
    figure.update_yaxes(range=[0.0, 1.02])
    plot.line(figure, lecture["rates"], lecture["remaining"], name="the ten points")
    left = np.array([valley["remaining"] for valley in valleys])
    plot.line_with_spread(
        figure, valleys[0]["rates"], left.mean(0), left.min(0), left.max(0), name="the valley with straight walls"
    )
    return figure


STUDY = Study(
    name="valley",
    title="The narrow valley",
    chapter=3,
    claim="In a narrow convex valley no constant rate arrives in 100,000 updates; with a rate for each parameter walks "
    "do.",
    source="Hung-yi Lee 2021, chapter 3; the ten points are those of the regression demonstration of his courses",
    setting="The squared error of y = b + w·x over the lecturer's ten points, from his start b = −120, w = −4 and from "
    f"{STARTS} more for each seed, and for each seed a valley with straight walls, a million times as steep across as "
    "along; 100,000 updates, double precision.",
    explains="The error surface of the ten points is convex and has only two weights, b and w. Yet it is 300,000 times "
    "as curved across the valley as along it. Gradient descent must keep its rate below 2 over the larger curvature, "
    "1.145e-6, or it diverges; along the valley the gradient is so small that with such rates half of the way or more "
    "is left after 100,000 updates (last picture). At the lecture's 1e-7 it is 95 per cent. So it is not that the "
    "right rate was not found: there is none.\n\n"
    "A rate η/σ for each parameter, with σ the root mean square of its gradients, makes up for the difference, and "
    "Adagrad, RMSProp and Adam arrive. The second picture shows what the lecture shows, too: at a constant η Adagrad "
    "arrives and then bursts. Across the valley gradients have been small for long, so that σ has become small and η/σ "
    "too large; the walk flies off, large gradients bring σ up, and it comes back. With η/√(t + 1), which makes it the "
    "Adagrad of Duchi et al., no burst is seen, but the way takes longer. The best remedy is in chapter 5: with x "
    "standardized, the valley is round, and plain gradient descent arrives in one update.\n\n"
    "Where the lecture is too simple: the rate 1e-2, which bounces there, diverges at once on these points, so its "
    "picture is of another surface. Bouncing for ever needs walls that do not get steeper; with such walls (third "
    "picture) the loss stands still while the gradient is as large as at the start. Nor does it take a rate for each "
    "parameter: momentum at a constant rate arrives as well. And a rate for each parameter helps because the valley "
    "lies along one weight. Turned by 45°, so that it lies across both, it stops Adagrad, RMSProp and Adam all alike.",
    gates=(
        Gate(
            measurement="left at the best constant rate",
            says="on the ten points every constant rate leaves half of the way or more",
            low=0.5,
        ),
        Gate(measurement="left at 1e-7", says="at 1e-7 about 95 per cent of the way is left", low=0.94, high=0.95),
        Gate(
            measurement="share of updates that cross the valley at 1e-2",
            says="with straight walls, the walk at 1e-2 bounces to the end",
            low=0.99,
        ),
        Gate(
            measurement="gradient at the end over that at the start",
            says="while it bounces, the gradient does not get small",
            low=0.5,
        ),
        Gate(
            measurement="left in the bouncing valley at the best constant rate",
            says="with straight walls, no constant rate arrives",
            low=0.2,
        ),
        Gate(
            measurement="left in the bouncing valley by adaptive methods",
            says="with straight walls, every method with a rate for each parameter arrives",
            high=0.01,
        ),
        Gate(measurement="left by RMSProp and Adam", says="on the ten points RMSProp and Adam arrive", high=0.005),
        Gate(measurement="left by Adagrad at its nearest", says="so does Adagrad", high=0.005),
        Gate(measurement="rise of the loss, Adagrad", says="having arrived, Adagrad's loss bursts", low=100.0),
        Gate(
            measurement="rise of the loss, Adagrad, other starts",
            says="it does so from most other starts",
            low=100.0,
            over="four seeds of five",
        ),
        Gate(measurement="left by Adagrad with decay", says="with decay Adagrad arrives", high=0.005),
        Gate(
            measurement="left by Adagrad with decay, other starts",
            says="with decay it arrives from most other starts",
            high=0.02,
            over="four seeds of five",
        ),
        Gate(
            measurement="rise of the loss, Adagrad with decay",
            says="with decay its loss bursts from no start",
            high=10.0,
        ),
        Gate(
            measurement="updates with standardized inputs",
            says="with standardized inputs gradient descent arrives at once",
            high=100.0,
        ),
        Gate(
            measurement="error of the closed forms",
            says="the walks are those of the formulas",
            high=1e-5,
            role="control",
        ),
        Gate(
            measurement="loss just beyond the limit",
            says="just beyond the limit the walk diverges",
            low=1e3,
            role="control",
        ),
        Gate(
            measurement="loss after one update at 1e-2",
            says="on the ten points 1e-2 does not bounce: it diverges at once",
            low=1e6,
            role="qualification",
        ),
        Gate(
            measurement="left with momentum",
            says="momentum arrives at a constant rate for all parameters",
            high=0.005,
            role="qualification",
        ),
        Gate(
            measurement="left in the turned valley by adaptive methods",
            says="turned by 45°, the valley stops every method with a rate for each parameter",
            low=0.3,
            role="qualification",
        ),
    ),
    plan=plan,
    run=run,
    measure=measure,
    draw=draw,
    takes=(55, 25),
)
