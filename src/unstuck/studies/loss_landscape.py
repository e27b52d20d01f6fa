"""Loss landscape: the loss over planes, with and without skip connections and normalization, and what planes hide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch
from torch import Tensor, nn

from unstuck import plot
from unstuck.classifier import loader
from unstuck.datasets import load
from unstuck.directions import PrincipalPlane, filter_normalized, principal_plane
from unstuck.fleet import Member, train_fleet
from unstuck.fleet_network import Network
from unstuck.landscape import grid_losses
from unstuck.methods.update import heavy_ball
from unstuck.numerics.lanczos import extreme_eigenpairs
from unstuck.probes.landscape import Surface, slice_curvatures
from unstuck.problem import Problem
from unstuck.study import Gate, Measurement, Runs, Study
from unstuck.study.experiments.curved import mean_loss
from unstuck.study.experiments.deep import deep
from unstuck.study.experiments.networks import cross_entropy, perceptron
from unstuck.study.experiments.surface import hessian_operator
from unstuck.untouched import seeded
from unstuck.vector import Point, moved, norm, unflatten

ARMS = {"plain": (False, False), "normalized": (False, True), "skip": (True, False), "skip, normalized": (True, True)}
"""Name → whether there are skip connections, and batch normalization."""

DEPTH, WIDTH = 16, 24

SAMPLES, BATCH, UPDATES = 512, 64, 400

RATES = [1e-3, 3e-3, 1e-2, 3e-2]
"""Of which each network takes the one with the lowest training loss."""

KEPT = 40
"""Points of the walk."""

GUESSING = float(np.log(10.0))
"""The loss of ten equal probabilities."""

CURVED_DOWN = 0.1
"""A place of a plane is not convex where it curves down by this share of what it curves most."""

SCALE = 100.0
"""By which one layer is multiplied, and the next one divided."""


def plan(seeds: Sequence[int], quick: bool) -> list[dict[str, Any]]:
    """For each seed the four networks, and what is exact."""
    points, rates, updates = (11, RATES[1:3], UPDATES // 2) if quick else (25, RATES, UPDATES)
    shared = {"points": points, "rates": rates, "updates": updates}
    arms: list[dict[str, Any]] = [{"arm": arm, **shared} for arm in ARMS]
    return [{"seed": seed, **settings} for seed in seeds for settings in (*arms, {"arm": "rescaled"})]


def run(seed: int, arm: str, points: int = 0, rates: Sequence[float] = (), updates: int = 0) -> dict[str, Any]:
    """Train a network, and look at the loss around its end."""
    if arm == "rescaled":
        return _rescaled(seed)
    digits = load("digits")
    inputs, targets = digits.inputs[:SAMPLES], digits.targets[:SAMPLES]
    skip, normalized = ARMS[arm]
    build = deep(DEPTH, WIDTH, skip=skip, normalized=normalized)
    members = [Member(rule=heavy_ball(rate), batch_size=BATCH, seed=seed) for rate in rates]
    keep = np.linspace(0, updates, KEPT + 1).round().astype(int).tolist()
    fleet = train_fleet(build, cross_entropy, inputs, targets, members, updates, keep=keep)
    reached = fleet.losses[:, -20:].mean(1).nan_to_num(torch.inf)
    best = int(reached.argmin())
    model = build()
    model.load_state_dict(fleet.state(best))
    problem = _problem(model, inputs, targets)
    directions = _random(model, problem.point(), seed)
    found = _plane(problem, directions, points, (inputs, targets))
    if arm == "skip":
        walk = [fleet.at(at).parameters[best] - fleet.at(0).parameters[best] for at in keep]
        found |= _walked(problem, walk, points, (inputs, targets))
        found |= _curvatures(fleet.network, fleet.parameters[best], inputs, targets, seed)
    return {"rate": rates[best], "reached": float(reached[best]), **found}


def _problem(model: nn.Module, inputs: Tensor, targets: Tensor) -> Problem:
    """What planes are drawn of: the loss over all samples."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return Problem(model, nn.CrossEntropyLoss(), loader(inputs, targets, batch=len(inputs)), optimizer)


def _random(model: nn.Module, point: Point, seed: int) -> tuple[Point, Point]:
    """Two directions in which each unit moves by as much as its weights are long."""
    generator = torch.Generator(device="cpu").manual_seed(seed)
    return filter_normalized(model, point, generator), filter_normalized(model, point, generator)


def _plane(
    problem: Problem, directions: tuple[Point, Point], points: int, batch: tuple[Tensor, Tensor]
) -> dict[str, Any]:
    """The loss over the plane, and what shape it has."""
    places = np.linspace(-1.0, 1.0, points).tolist()
    heights = grid_losses(problem, problem.point(), directions, places, places, [batch]).numpy()
    lowest, highest = plane_curvatures(heights)
    largest = np.maximum(np.abs(lowest), np.abs(highest))
    finite = np.where(np.isfinite(heights), heights, np.inf)
    return {
        "places": places,
        "heights": np.minimum(finite, 1e6).tolist(),
        "curved_down": float(np.mean(~(lowest >= -CURVED_DOWN * largest))),
        "below_guessing": float(np.mean(finite < GUESSING)),
        "edge": float(np.median(np.minimum(finite[[0, -1]], 1e6))),
    }


def plane_curvatures(heights: np.ndarray[Any, np.dtype[np.float64]]) -> tuple[Any, Any]:
    """Smallest and largest curvature at each place inside of a grid, by second differences, in units of its spacing."""
    middle = heights[1:-1, 1:-1]
    along = heights[2:, 1:-1] - 2.0 * middle + heights[:-2, 1:-1]
    up = heights[1:-1, 2:] - 2.0 * middle + heights[1:-1, :-2]
    mixed = (heights[2:, 2:] - heights[2:, :-2] - heights[:-2, 2:] + heights[:-2, :-2]) / 4.0
    mean, half = (along + up) / 2.0, np.sqrt(((along - up) / 2.0) ** 2 + mixed**2)
    return mean - half, mean + half


def _walked(problem: Problem, walk: Sequence[Tensor], points: int, batch: tuple[Tensor, Tensor]) -> dict[str, Any]:
    """The walk of the training in the plane that holds most of it, and the loss there."""
    found = principal_plane(walk)
    assert found is not None
    start = unflatten(walk[-1].neg(), problem.point())
    origin = moved(problem.point(), start, 1.0)
    axes = tuple(unflatten(axis.float(), origin) for axis in found.axes)
    sides = [_side(found, axis, points) for axis in range(2)]
    heights = grid_losses(problem, origin, (axes[0], axes[1]), sides[0], sides[1], [batch])
    return {
        "explained": sum(found.shares),
        "walk": found.coordinates.tolist(),
        "walk_sides": sides,
        "walk_heights": heights.clamp(max=1e6).tolist(),
    }


def _side(found: PrincipalPlane, axis: int, points: int) -> list[float]:
    """Coordinates that hold the walk and some more."""
    own = found.coordinates[:, axis]
    margin = 0.2 * float(own.max() - own.min())
    return list(map(float, np.linspace(float(own.min()) - margin, float(own.max()) + margin, points)))


def _curvatures(network: Network, row: Tensor, inputs: Tensor, targets: Tensor, seed: int) -> dict[str, float]:
    """The curvatures that a random plane shows, and those that there are."""
    model, inputs, point = network.model.double(), inputs.double(), row.double()
    loss = mean_loss(network, cross_entropy, inputs, targets)
    named = {name: piece.clone() for name, piece in network.named(point).items()}
    directions = _random(model, named, seed)
    steps = (-1e-3, 0.0, 1e-3)
    model.load_state_dict(named)
    heights = grid_losses(_problem(model, inputs, targets), named, directions, steps, steps, [(inputs, targets)])
    shown = slice_curvatures(Surface(across=steps, up=steps, losses=tuple(map(tuple, heights.tolist()))), directions)
    generator = torch.Generator(device="cpu").manual_seed(seed)
    ends = extreme_eigenpairs(hessian_operator(loss, point), generator=generator, max_products=40)
    return {
        "shown_lowest": shown[0],
        "shown_highest": shown[1],
        "lowest": ends.smallest.values[0],
        "highest": ends.largest.values[0],
    }


def _rescaled(seed: int) -> dict[str, Any]:
    """The same function with other weights: how far one may go along a direction before the loss has risen by 1."""
    digits = load("digits")
    inputs, targets = digits.inputs[:SAMPLES].double(), digits.targets[:SAMPLES]
    with seeded(seed):
        model = perceptron((64, 32, 32, 10)).double()
    lengths = [0.0, *np.geomspace(1e-3, 1e3, 121).tolist()]
    curves: dict[str, list[Tensor]] = {"filter": [], "raw": []}
    for factor in (1.0, SCALE):
        with torch.no_grad():
            for name, scale in (("0.weight", factor), ("0.bias", factor), ("2.weight", 1.0 / factor)):
                model.get_parameter(name).mul_(scale)
        problem = _problem(model, inputs, targets)
        point = problem.point()
        generator = torch.Generator(device="cpu").manual_seed(seed)
        drawn = {
            name: torch.randn(part.shape, generator=generator, device="cpu").to(part) for name, part in point.items()
        }
        raw = {name: part / norm(drawn) for name, part in drawn.items()}
        for name, direction in (("filter", _random(model, point, seed)[0]), ("raw", raw)):
            losses = grid_losses(problem, point, (direction, raw), lengths, (0.0,), [(inputs, targets)])
            curves[name].append(losses[:, 0])
    widths = [lengths[int((curve > curve[0] + 1.0).nonzero()[0])] for curve in curves["raw"]]
    before, after = curves["filter"]
    walk = torch.randn(KEPT + 1, 10_000, generator=torch.Generator(device="cpu").manual_seed(seed), device="cpu")
    aimless = principal_plane(list((walk.cumsum(0) - walk[0]).unbind()))
    assert aimless is not None
    return {
        "filter_change": float(((after - before).abs() / before.abs().clamp(min=1.0)).max()),
        "raw_change": widths[0] / widths[1],
        "aimless": sum(aimless.shares),
    }


def measure(runs: Runs) -> list[Measurement]:
    """What the gates are about."""
    arms = {arm: {run.seed: run.result for run in runs.where(arm=arm)} for arm in (*ARMS, "rescaled")}

    def of(arm: str, key: str) -> dict[int, float]:
        return {seed: own[key] for seed, own in arms[arm].items()}

    def excess(arm: str, other: str) -> dict[int, float]:
        return {seed: own["curved_down"] - arms[other][seed]["curved_down"] for seed, own in arms[arm].items()}

    plain, skip = arms["plain"], arms["skip"]
    least = 0.5 / len(next(iter(plain.values()))["places"]) ** 2  # half of one place
    table: tuple[tuple[str, str, Mapping[int, float]], ...] = (
        *(
            (
                f"share that curves down, {arm}",
                "of the random plane, by a tenth of its curvature",
                of(arm, "curved_down"),
            )
            for arm in ARMS
        ),
        *((f"loss at the edge, {arm}", "median of two edges of the plane", of(arm, "edge")) for arm in ARMS),
        (
            "share below guessing, skip over plain",
            "of the random plane, where the loss is below that of equal probabilities",
            {
                seed: max(skip[seed]["below_guessing"], least) / max(own["below_guessing"], least)
                for seed, own in plain.items()
            },
        ),
        (
            "excess of the share that curves down, plain over skip",
            "difference of the two",
            excess("plain", "skip"),
        ),
        (
            "excess of the share that curves down, normalized over skip and normalized",
            "difference of the two",
            excess("normalized", "skip, normalized"),
        ),
        (
            "highest curvature shown over the Hessian's",
            "in the random plane through the end of the network with skip connections",
            {seed: own["shown_highest"] / own["highest"] for seed, own in skip.items()},
        ),
        ("share of the walk in its plane", "of squared distances, with skip connections", of("skip", "explained")),
        ("share of an aimless walk in its plane", "the same, of a sum of random steps", of("rescaled", "aimless")),
        (
            "change of the filter-normalized curve",
            "largest, relative, as one layer is multiplied by 100 and the next divided",
            of("rescaled", "filter_change"),
        ),
        ("change of the raw curve's width", "the same, width before over after", of("rescaled", "raw_change")),
    )
    return [Measurement(name=name, says=says, values=values) for name, says, values in table]


def draw(runs: Runs) -> Mapping[str, go.Figure]:
    """The planes side by side, the deep network's as a surface, and the walk."""
    first = {arm: runs.where(arm=arm).results()[0] for arm in ARMS}
    profiles = plot.figure(
        title="The loss on a line through the end of each training",
        x="share of each unit's own length",
        y="training loss",
        log_y=True,
        summary="Of the plain network the loss rises without bound and steeply; normalization bounds it, but the "
        "network is soon no better than guessing; with skip connections the bowl is wide.",
    )
    for arm, own in first.items():
        plot.line(profiles, own["places"], np.array(own["heights"])[:, len(own["places"]) // 2], name=arm)
    pictures = {arm.replace(", ", "-"): _contours(arm, first[arm]) for arm in ("plain", "skip")}
    skip = first["skip"]
    walk = plot.figure(
        title="The walk of the training",
        x="first principal component",
        y="second principal component",
        summary="The walk turns once. Most of its way is made in the first few of forty equal stretches of time.",
    )
    heights = np.log10(np.maximum(np.array(skip["walk_heights"]).T, 1e-6))
    walk.add_contour(
        x=skip["walk_sides"][0],
        y=skip["walk_sides"][1],
        z=heights,
        contours_coloring="heatmap",
        colorbar_title="log₁₀ loss",
    )
    x, y = zip(*skip["walk"], strict=True)
    colour = plot.COLOURS["opposite"]
    walk.add_scatter(x=x, y=y, mode="lines+markers", showlegend=False, line={"color": colour}, marker={"size": 5})
    return {"profiles": profiles, **pictures, "walk": walk}


def _contours(arm: str, own: Mapping[str, Any]) -> go.Figure:
    """A random plane, the loss on a logarithmic scale."""
    figure = plot.figure(
        title=f"A random plane, {arm} network",
        x="first direction, in shares of each unit's own length",
        y="second direction",
        summary=f"{own['below_guessing']:.0%} of the plane is below the loss of guessing, and "
        f"{own['curved_down']:.0%} of its places curve down.",
    )
    heights = np.log10(np.maximum(np.array(own["heights"]).T, 1e-4))
    figure.add_contour(
        x=own["places"], y=own["places"], z=heights, contours_coloring="heatmap", colorbar_title="log₁₀ loss"
    )
    return figure


STUDY = Study(
    name="loss-landscape",
    title="Pictures of the loss",
    chapter=1,
    claim="Skip connections make the surface around the end of a training wide and nearly convex.",
    source="Li et al. 2018, Visualizing the loss landscape of neural nets; pictures as in Hung-yi Lee 2021, chapter 1",
    setting="16 layers of 24 units on 512 digits, with or without skip connections and batch normalization; momentum, "
    "400 updates, the best of four rates by training loss for each. Planes of 25 × 25 points through the end, along "
    "random directions in which each unit moves by as much as its own weights are long.",
    explains="Each picture shows the training loss over a plane through the point where training ended. With skip "
    "connections, a third of the plane or more is better than guessing, and nearly all of it curves upwards. The plain "
    "network of the same depth sits in a narrow hole: a quarter of the weights' length away it is worse than guessing, "
    "and farther out its loss is in the hundreds. Part of this is that it does not get as far down to begin with. "
    "Normalization alone does something else. It bounds the loss, but more than half of the plane curves down: "
    "around the bowl lies a plateau that is no better than guessing.\n\n"
    "The directions are made to measure for a reason. Multiply one layer of rectifiers by 100 and divide the next by "
    "100, and the function is the same. But along plain random directions the picture becomes many times narrower "
    "(Dinh et al. 2017). In directions that are long where the weights are long it does not change.\n\n"
    "Two warnings. A random plane shows an average of curvatures, and that is small: the highest curvature "
    "in the picture is a small share of the Hessian's, and the directions that go down are not "
    "seen at all. And that the walk of a training lies nearly flat in one plane says little: a walk of random steps "
    "in ten thousand dimensions has nine tenths of its squared distances in a plane of its own, too.",
    gates=(
        Gate(
            measurement="excess of the share that curves down, plain over skip",
            says="more of the plane curves down without skip connections",
            low=0.05,
            over="four seeds of five",
        ),
        Gate(
            measurement="share that curves down, skip",
            says="with skip connections hardly any of the plane curves down",
            high=0.05,
            over="mean",
        ),
        Gate(
            measurement="share below guessing, skip over plain",
            says="with skip connections the bowl is several times as wide",
            low=3.0,
            over="geometric mean",
        ),
        Gate(
            measurement="excess of the share that curves down, normalized over skip and normalized",
            says="the same holds between networks with normalization",
            low=0.2,
            over="four seeds of five",
        ),
        Gate(
            measurement="change of the filter-normalized curve",
            says="the picture does not depend on how the function is written",
            high=1e-6,
            role="control",
        ),
        Gate(
            measurement="change of the raw curve's width",
            says="along plain random directions it does",
            low=5.0,
            over="geometric mean",
            role="control",
        ),
        Gate(
            measurement="share that curves down, normalized",
            says="normalization alone leaves a plane that curves down in a third of its places or more",
            low=0.33,
            over="four seeds of five",
            role="qualification",
        ),
        Gate(
            measurement="highest curvature shown over the Hessian's",
            says="a random plane shows less than a tenth of the highest curvature",
            high=0.1,
            role="qualification",
        ),
        Gate(
            measurement="share of an aimless walk in its plane",
            says="a walk of random steps lies in a plane as well",
            low=0.85,
            role="qualification",
        ),
    ),
    plan=plan,
    run=run,
    measure=measure,
    draw=draw,
    takes=(60, 15),
)
