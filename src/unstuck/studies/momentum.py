"""Momentum: what the movement is made of, which bumps and plateaus it carries through, how fast it is at its best.

The movement is v_t = λ v_{t−1} − η g_t = −η Σ_s λ^{t−s} g_s, a weighted sum of all gradients so far. For small rates it
is a ball that rolls with friction, ẍ + (1 − λ)/√η · ẋ = −∇L, one update taking the time √η (Qian 1999).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch
from torch.func import vmap

from unstuck import datasets, plot
from unstuck.fleet import Fleet, Member, train_fleet
from unstuck.methods.update import Rule, gradient_descent, heavy_ball, look, movement, start, step
from unstuck.study import Gate, Measurement, Runs, Study
from unstuck.study.experiments.networks import cross_entropy, perceptron
from unstuck.study.experiments.walks import Bumpy, best, best_in_grid, end, limit_error, uniform, walked

MOMENTUM = 0.9

PLAIN, WITH, FASTER = "gradient descent", "momentum", "gradient descent, 10 times the rate"

SURFACES, BUMP_RATE, ROLLED, SLOWED = 200, 0.01, 600, 25
"""Surfaces with a bump, the rate, updates on each, and how much lower the rate is where friction should win."""

EASY = 0.45
"""A bump is low whose top is below this share of the loss at the start."""

PLATEAU_RATE, ACROSS = 0.02, 4_000
"""On the plateau x²/(1 + x²), and updates at most."""

CONDITIONS, DIMENSIONS, NEARLY = (100, 1_000, 10_000), 20, 1e-6
"""Condition numbers of valleys; what is left of the distance at the start where a walk has arrived."""

SAMPLES, WIDTH, BATCH, SMALL_RATE = 1_024, 32, 32, 0.01
LOOKS = range(200, 601, 20)
"""Updates after which losses at a small rate are compared: momentum needs some to gather speed."""

RATES, WHOLE_UPDATES, LOW = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4), 300, 0.1
"""Tried on the whole set, with momentum and without, until the training loss is so low."""


def rules(rate: float) -> dict[str, Rule]:
    """Without momentum, with it, and without it at the rate η / (1 − λ)."""
    plain, faster = gradient_descent(rate), gradient_descent(rate / (1 - MOMENTUM))
    return {PLAIN: plain, WITH: heavy_ball(rate, MOMENTUM), FASTER: faster}


MEASURED: Mapping[str, Mapping[str, str]] = {
    "surfaces": {
        "share of low bumps passed with momentum": f"of those whose top is below {EASY:g} of the loss at the start",
        "share of bumps passed without momentum": "of all bumps, at the same rate, in twice the updates",
        "share of bumps passed at ten times the rate": "without momentum, with the rate η / (1 − λ)",
        "share of bumps passed at a low rate": f"with momentum, 1/{SLOWED} of the rate, {SLOWED} times the updates",
        "highest bump passed": "the loss at its top over the loss at the start",
        "changes from stopped to passed": "along 200 starts before one bump, each farther than the last",
        "updates on a plateau, without over with momentum": "at the same rate, median of 50 starts",
        "updates on a plateau, ten times the rate over momentum": "without momentum, with the rate η / (1 − λ)",
        "gain in a valley over the root of its condition number": "updates without over with momentum, both at their "
        "best; the smallest of all condition numbers",
        "movement minus the weighted sum of all gradients": "largest difference in 30 updates",
        "error of the stability limits": "of the largest rate that does not diverge, as a share; largest of 4 methods",
    },
    "networks": {
        "updates of a network, without over with momentum": f"to a training loss of {LOW:g} on the whole set, each at "
        f"its best of {len(RATES)} rates",
        "loss at a low rate, momentum against ten times the rate": f"largest difference from update {LOOKS.start} on",
    },
}
"""By part of the study what a run measures, by name, and what that is."""


def plan(seeds: Sequence[int], quick: bool) -> list[dict[str, Any]]:
    """For each seed the surfaces, and the networks."""
    surfaces = {"part": "surfaces", "conditions": list(CONDITIONS[:2] if quick else CONDITIONS)}
    return [{"seed": seed} | part for seed in seeds for part in (surfaces, {"part": "networks"})]


def run(seed: int, part: str, conditions: Sequence[int] = (), data: str = datasets.DEFAULT) -> dict[str, Any]:
    """One part of the study, for one seed; ``numbers`` are in the order of :data:`MEASURED`."""
    if part == "networks":
        return {"numbers": _networks(seed, data)}
    generator = torch.Generator(device="cpu").manual_seed(seed)
    walk, apart = _sum(generator)
    error = limit_error(float(uniform(0.6, 0.95, 1, generator)))
    valleys = [_valley(condition, generator) for condition in conditions]
    gain = min(each[PLAIN] / each[WITH] / math.sqrt(each["condition"]) for each in valleys)
    bumps, rolled = _bumps(generator)
    numbers = [*rolled, *_plateau(generator), gain, apart, error]
    return {"numbers": numbers, "walk": walk, "valleys": valleys, "bumps": bumps}


def _sum(generator: torch.Generator) -> tuple[dict[str, Any], float]:
    """A walk in a valley x²/2 + 6 y²/2 taken apart, and how far a movement was from the sum that it should be."""
    curvatures = torch.tensor([1.0, 6.0], dtype=torch.float64, device="cpu")
    rate, momentum = 0.1, 0.8
    rule, angle = movement(rate, momentum), uniform(0.4, 0.8, 1, generator)
    rows = 3.0 * torch.cat([angle.cos(), angle.sin()], dim=1)
    state, last = start(rule, rows), torch.zeros_like(rows)
    points, gradients, carried, apart = [rows.clone()], [], [], 0.0
    for update in range(30):
        gradients.append(curvatures * rows)
        carried.append(-momentum * last)
        last = look(rule, state, rows, gradients[-1]).movement
        weights = momentum ** torch.arange(update, -1, -1, dtype=torch.float64, device="cpu")
        whole = rate * (weights[:, None] * torch.cat(gradients)).sum(0)
        apart = max(apart, float((last - whole).abs().max()))
        rows, state = step(rule, state, rows, gradients[-1].clone())
        points.append(rows.clone())
    downhill = -rate * torch.cat(gradients)
    parts = {"points": torch.cat(points), "downhill": downhill, "carried": torch.cat(carried)}
    return {name: part[:10].tolist() for name, part in parts.items()}, apart


def _valley(condition: int, generator: torch.Generator) -> dict[str, int]:
    """Updates until a quadratic's minimum is reached, without momentum and with it, both at their best."""
    curvatures = torch.logspace(-math.log10(condition), 0.0, DIMENSIONS, dtype=torch.float64, device="cpu")
    at = torch.randn(1, DIMENSIONS, generator=generator, dtype=torch.float64, device="cpu")
    plain, rate, momentum = best(condition)
    found = {"condition": condition}
    for name, rule in ((PLAIN, gradient_descent(plain)), (WITH, heavy_ball(rate, momentum))):
        walk = walked(rule, at, lambda rows: curvatures * rows, 20 * condition)
        found[name] = next(update for update, rows in enumerate(walk) if float(rows.norm() / at.norm()) <= NEARLY)
    return found


def _bumps(generator: torch.Generator) -> tuple[dict[str, Any], list[float]]:
    """Which of many bumps are passed, and from which starts one of them is."""
    surfaces = Bumpy.drawn(SURFACES, generator)
    at = uniform(2.5, 3.5, SURFACES, generator)

    def passed(rule: Rule, updates: int = ROLLED) -> Any:
        return (end(rule, at, surfaces.slope, updates) < surfaces.place)[:, 0].numpy()

    ways = rules(BUMP_RATE)
    carried = passed(ways[WITH])
    low = heavy_ball(BUMP_RATE / SLOWED, MOMENTUM)
    one = Bumpy(surfaces.place[:1], surfaces.width[:1], surfaces.height[:1])
    starts = torch.linspace(float(one.place) + 0.5, 6.0, 200, dtype=torch.float64, device="cpu")[:, None]
    beyond = (end(ways[WITH], starts, one.slope, ROLLED) < one.place).int()[:, 0]
    start_at, top = surfaces.loss(at)[:, 0], surfaces.top()[:, 0]
    height = (top / start_at).numpy()
    return {"passed": carried.tolist(), "start": start_at.tolist(), "top": top.tolist()}, [
        float(carried[height < EASY].mean()),
        float(passed(ways[PLAIN], 2 * ROLLED).mean()),
        float(passed(ways[FASTER]).mean()),
        float(passed(low, SLOWED * ROLLED).mean()),
        float(height[carried].max(initial=0.0)),
        float(beyond.diff().abs().sum()),
    ]


def _plateau(generator: torch.Generator) -> tuple[float, float]:
    """Updates from afar to |x| ≤ 1 on x²/(1 + x²), over those with momentum: at its rate, and at ten times that."""
    at = uniform(3.5, 4.5, 50, generator)
    needed = {}
    for name, rule in rules(PLATEAU_RATE).items():
        walk = walked(rule, at, lambda rows: 2 * rows / (1 + rows.square()).square(), ACROSS)
        needed[name] = float(torch.stack([rows[:, 0].abs() > 1.0 for rows in walk]).cummin(0).values.sum(0).median())
    return needed[PLAIN] / needed[WITH], needed[FASTER] / needed[WITH]


def _networks(seed: int, data: str) -> tuple[float, float]:
    """Updates on the whole set without momentum over those with it, and how losses differ in batches at a low rate."""
    whole = datasets.load(data)
    inputs, targets = whole.inputs[:SAMPLES], whole.targets[:SAMPLES]

    def trained(methods: Sequence[Rule], size: int, updates: int, keep: Sequence[int] = ()) -> Fleet:
        members = [Member(rule=rule, batch_size=size, seed=seed) for rule in methods]
        widths = (whole.features, WIDTH, whole.classes)
        return train_fleet(lambda: perceptron(widths), cross_entropy, inputs, targets, members, updates, keep=keep)

    needed = []
    for momentum in (0.0, MOMENTUM):
        low = trained([heavy_ball(rate, momentum) for rate in RATES], len(inputs), WHOLE_UPDATES).losses <= LOW
        needed.append(min((float(own.int().argmax()) for own in low if bool(own.any())), default=math.inf))
    ways = rules(SMALL_RATE)
    fleet = trained([ways[WITH], ways[FASTER]], BATCH, LOOKS[-1], LOOKS)
    mean = vmap(lambda outputs: cross_entropy(outputs, targets).mean())
    losses = torch.stack([mean(fleet.at(update).outputs(inputs)) for update in LOOKS])
    return needed[0] / needed[1], float((losses[:, 0] / losses[:, 1] - 1).abs().max())


def measure(runs: Runs) -> list[Measurement]:
    """What the gates are about."""

    def of(part: str, place: int) -> dict[int, float]:
        found = {run.seed: run.result["numbers"][place] for run in runs.where(part=part)}
        return {seed: math.nan if value is None else value for seed, value in found.items()}

    grid = "what is left per update of the slowest part, best of 150 rates times 150 momenta, over √λ"
    return [
        Measurement(name=name, says=says, values=of(part, place))
        for part, measured in MEASURED.items()
        for place, (name, says) in enumerate(measured.items())
    ] + [Measurement(name="best factor in a grid over the formula's", says=grid, values={0: best_in_grid(100.0)})]


def draw(runs: Runs) -> Mapping[str, go.Figure]:
    """The movement as vectors, the lecture's bump, all bumps, and valleys of all kinds."""
    surfaces = runs.where(part="surfaces").results()
    return {
        "vectors": _vectors(surfaces[0]["walk"]),
        "bump": _bump(),
        "all-bumps": _all_bumps([result["bumps"] for result in surfaces]),
        "valleys": _valleys([result["valleys"] for result in surfaces]),
    }


def _vectors(walk: Mapping[str, Any]) -> go.Figure:
    figure = plot.figure(
        title="A movement is the last one, shortened, and a step downhill",
        x="w1",
        y="w2",
        summary="Each step of the walk is the sum of two arrows: what is left of the movement before, and the step "
        "that gradient descent would make. The first soon outweighs the second.",
    )
    points, carried, downhill = (np.array(walk[name]) for name in ("points", "carried", "downhill"))
    plot.line(figure, points[:, 0], points[:, 1], name="walk", role="untouched")
    middle = points + carried
    for start_at, stop, name in (
        (points, middle, "λ times the last movement"),
        (middle, middle + downhill, "−η times the gradient"),
    ):
        pieces = np.stack([start_at, stop, np.full_like(stop, np.nan)], axis=1)[:-1].reshape(-1, 2)
        plot.line(figure, pieces[:, 0], pieces[:, 1], name=name)
        heads = {"symbol": "arrow", "angleref": "previous", "size": [0, 11, 0] * (len(points) - 1)}
        figure.data[-1].update(mode="lines+markers", marker=heads, line={"dash": "solid"})
    return figure.update_layout(hovermode="closest")


def _bump() -> go.Figure:
    figure = plot.figure(
        title="A small bump on the way down",
        x="w",
        y="loss",
        summary="Both walks start at w = 3 at the same rate. Gradient descent comes to rest in the dip before the "
        "bump; with momentum the walk rolls over it and comes to rest at the minimum.",
    )
    surface = Bumpy(*torch.tensor([[[1.5]], [[0.3]], [[1.2]]], dtype=torch.float64, device="cpu"))
    across = torch.linspace(-1.0, 3.2, 200, dtype=torch.float64, device="cpu")
    plot.line(figure, across.numpy(), surface.loss(across[None])[0].numpy(), name="loss", role="untouched")
    for name in (PLAIN, WITH):
        walk = walked(rules(BUMP_RATE)[name], torch.full_like(surface.place, 3.0), surface.slope, 150)
        rows = torch.cat([rows.clone() for rows in walk])[::3]
        plot.points(figure, rows[:, 0].numpy(), surface.loss(rows)[:, 0].numpy(), name=name)
    return figure.update_layout(hovermode="closest")


def _all_bumps(bumps: Sequence[Mapping[str, Any]]) -> go.Figure:
    figure = plot.figure(
        title="Which bumps are passed with momentum",
        x="loss at the start",
        y="loss at the top of the bump",
        summary="Low bumps are passed and high ones are not. No bump is passed that is as high as the start.",
    )
    begun, top, passed = (np.concatenate([own[name] for own in bumps]) for name in ("start", "top", "passed"))
    for name, chosen in (("passed", passed), ("stopped", ~passed)):
        plot.points(figure, begun[chosen], top[chosen], name=name)
    ends = [float(begun.min()), float(begun.max())]
    plot.line(figure, ends, ends, name="as high as the start", role="neutral")
    return figure.update_layout(hovermode="closest")


def _valleys(valleys: Sequence[Sequence[Mapping[str, Any]]]) -> go.Figure:
    figure = plot.figure(
        title="Updates to the bottom of a valley, at the best settings",
        x="condition number: steepest curvature over flattest",
        y="updates",
        log_x=True,
        log_y=True,
        summary="Without momentum the updates grow as the condition number, with it as its square root.",
    )
    for name in (PLAIN, WITH):
        found = np.array([[valley[name] for valley in own] for own in valleys])
        conditions = [valley["condition"] for valley in valleys[0]]
        plot.line_with_spread(figure, conditions, found.mean(0), found.min(0), found.max(0), name=name)
    return figure


STUDY = Study(
    name="momentum",
    title="Momentum",
    chapter=2,
    claim="A movement that keeps part of the last one passes small bumps and plateaus at which gradient descent stays.",
    source="Hung-yi Lee 2021, chapter 2; Polyak 1964; its settings as in Goh 2017, Why momentum really works",
    setting="For each seed 200 one-dimensional valleys with a bump on the way, walked from 2.5 to 3.5 at rate 0.01, "
    "with λ = 0.9 or without; a plateau; quadratic valleys of 20 dimensions; and networks 64-32-10 on 1,024 digits, in "
    "batches of 32 at rate 0.01 and on the whole set at seven rates.",
    explains="In the first picture each movement is the sum of two arrows: λ times the movement before, and −η times "
    "the gradient. Written out, it is a weighted sum of all gradients so far, the last with weight 1, the one before "
    "with λ, then λ² and so on: about 1/(1 − λ) gradients count. Where they agree, as on a plateau, the steps become "
    "1/(1 − λ) times as long; where they alternate, as between the walls of a valley, they cancel. So the updates in a "
    "valley grow as the square root of its condition number only, where rate and λ are well chosen (last picture), and "
    "larger rates can be borne: up to 2(1 + λ)/curvature in place of 2/curvature.\n\n"
    "The second picture is the lecture's. Gradient descent stops in the dip before the bump, where the gradient is "
    "zero. With momentum the movement is not zero there and carries the walk over. The third picture shows 200 bumps "
    "of each seed. The walk is a ball with friction, so it cannot pass a bump as high as its start, and stops before "
    "many that are lower; for one bump, those starts that pass are all beyond one point.\n\n"
    "Two things are more than the lecture says. The ball has inertia only if the rate is not too low: at 1/25 of the "
    "rate, with the same λ, none of the bumps is passed, because friction wins. And at low rates momentum is mostly a "
    "larger rate: gradient descent with η/(1 − λ) in place of η crosses the plateau as fast, and a network trained in "
    "batches has the same losses within a few per cent. Over the bumps, though, the larger rate does not carry.",
    gates=(
        Gate(
            measurement="share of low bumps passed with momentum", says="with momentum, low bumps are passed", low=0.9
        ),
        Gate(
            measurement="share of bumps passed without momentum",
            says="without it, at the same rate, no bump is",
            high=0.0,
        ),
        Gate(
            measurement="updates on a plateau, without over with momentum",
            says="a plateau is crossed in a fifth of the updates or fewer",
            low=5.0,
            over="geometric mean",
        ),
        Gate(
            measurement="gain in a valley over the root of its condition number",
            says="in a valley, momentum gains half the root of the condition number or more",
            low=0.5,
        ),
        Gate(
            measurement="updates of a network, without over with momentum",
            says="a network on the whole set is trained in fewer updates, at the best rate of each",
            low=1.1,
            over="geometric mean",
        ),
        Gate(
            measurement="movement minus the weighted sum of all gradients",
            says="the movement is the weighted sum of all gradients",
            high=1e-12,
            role="control",
        ),
        Gate(
            measurement="error of the stability limits",
            says="four methods diverge where the formulas say",
            high=0.005,
            role="control",
        ),
        Gate(
            measurement="best factor in a grid over the formula's",
            says="no other rate and momentum is better in a valley, and the grid comes near",
            low=1.0,
            high=1.02,
            role="control",
        ),
        Gate(
            measurement="changes from stopped to passed",
            says="before a bump, the starts that pass are all beyond one point",
            low=1.0,
            high=1.0,
            over="four seeds of five",
        ),
        Gate(
            measurement="highest bump passed",
            says="no bump as high as the start is passed",
            high=1.0,
            role="qualification",
        ),
        Gate(
            measurement="share of bumps passed at ten times the rate",
            says="a larger rate without momentum passes no bump",
            high=0.05,
            role="control",
        ),
        Gate(
            measurement="share of bumps passed at a low rate",
            says="at a low rate, momentum passes no bump either",
            high=0.01,
            role="qualification",
        ),
        Gate(
            measurement="updates on a plateau, ten times the rate over momentum",
            says="gradient descent with ten times the rate crosses the plateau as fast",
            high=1.1,
            role="qualification",
        ),
        Gate(
            measurement="loss at a low rate, momentum against ten times the rate",
            says="at a low rate, a network's loss with momentum is that without at ten times the rate",
            high=0.1,
            over="four seeds of five",
            role="qualification",
        ),
    ),
    plan=plan,
    run=run,
    measure=measure,
    draw=draw,
    takes=(30, 12),
    data=True,
)
