"""Schedules: what a falling learning rate buys, and what must be known for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch

from unstuck import plot
from unstuck.study import Gate, Measurement, Runs, Study
from unstuck.study.experiments.horizons import (
    ARMS,
    BATCH,
    EPOCH,
    RATES,
    SAMPLES,
    UPDATES,
    Task,
    at_horizons,
    at_the_end,
    horizons,
)
from unstuck.study.experiments.range_test import on_few_samples, on_network, on_quadratics
from unstuck.study.experiments.walks import spread

WRONG = 0.2
"""The share of the samples whose class is drawn at random."""

GRID = tuple(0.01 * 2.0**number for number in range(11))
"""Rates that the range test's suggestions are compared with, in trainings of four epochs."""

SUGGESTED = (0.25, 0.1)
"""Of the rate at which the range test diverges."""

NOISY_RATE = 0.1
"""Of walks whose noise is known."""


def plan(seeds: Sequence[int], quick: bool) -> list[dict[str, Any]]:
    """For each seed the three horizons, the same digits labelled right, and range tests."""
    updates = UPDATES // 2 if quick else UPDATES
    parts: list[dict[str, Any]] = [{"part": part, "updates": updates} for part in ("horizons", "labelled right")]
    return [{"seed": seed} | part for seed in seeds for part in [*parts, {"part": "range"}]]


def run(seed: int, part: str, updates: int = UPDATES) -> dict[str, Any]:
    """One part of the study, for one seed; with half the updates, half the samples are learned."""
    samples = SAMPLES * updates // UPDATES // BATCH * BATCH
    if part == "horizons":
        return at_horizons(Task(seed, WRONG, samples), updates)
    if part == "labelled right":
        return at_the_end(Task(seed, 0.0, samples), updates)
    generator = torch.Generator(device="cpu").manual_seed(seed)
    found = on_network(seed, GRID, 4 * EPOCH * updates // UPDATES, SUGGESTED)
    best = min(found["losses"])
    quarter, tenth = (loss / best for loss in found["suggested"])
    whole, small = found["diverged"]
    numbers = on_quadratics(generator) | {
        "range test over the limit": whole / found["edge"],
        "range test over the limit of the untrained network": whole * found["curvatures"][0] / 2.0,
        "range test with small batches over the whole set": small / whole,
        "loss at a quarter of the range test's rate": quarter,
        "loss at a tenth of the range test's rate": tenth,
        "distance after an update on few samples": on_few_samples(NOISY_RATE, generator),
        "spread of walks with noise": spread(NOISY_RATE, seed),
    }
    return {"numbers": numbers} | found


SAYS: Mapping[str, str] = {
    "decay over constant at the end": "training loss; η/√(t + 1), t in epochs, over a constant rate, each at its best",
    "cosine over constant at the end": "the same for a cosine down to zero",
    "cosine over constant at the constant's rate": "the same at the rate that is best without a schedule",
    "one stable run, three decays, over cosine": "the worst of three horizons; one rate, against a cosine for each",
    "schedule-free over cosine": "the worst of three horizons; one run at one rate, against a cosine for each",
    "constant over cosine, mean of three horizons": "one run at one rate, against a cosine for each",
    "cosine for the end, read at a quarter": "training loss over that of a cosine for a quarter, at its best rate",
    "loss of stable, then decay, over that before the decay": "of the same run, which decays over the last fifth",
    "best rate of the decay over that of the constant": "at the start of training",
    "held-out accuracy, schedule-free minus cosine": "points, on right labels, at the end",
    "decay over constant, labelled right": "training loss, each at its best rate",
    "cosine over constant, labelled right": "training loss, each at its best rate",
    "range test over the limit": "rate at which the whole set's loss is back, over the first beyond 2/λ_max there",
    "range test over the limit of the untrained network": "the same over 2/λ_max before the first update",
    "range test with small batches over the whole set": f"the rate with batches of {BATCH} over that",
    "loss at a quarter of the range test's rate": "after four epochs, over that of the best of 11 rates",
    "loss at a tenth of the range test's rate": "the same",
    "quadratics whose steepest coordinate rises elsewhere": "than at the first rate beyond 2/λ_max",
    "rate at which the loss of a quadratic rises": "over 2/λ_max; geometric mean of 30, rates 2 % apart",
    "distance after an update on few samples": "linear regression; squared, over 1 − 2η + η² (1 + (d + 1)/B)",
    "spread of walks with noise": "on x²/2; variance over η/(2 − η)",
}
"""What each number of a run is."""


def measure(runs: Runs) -> list[Measurement]:
    """What the gates are about."""
    return runs.measured(SAYS)


def draw(runs: Runs) -> Mapping[str, go.Figure]:
    """The three horizons, curves on the way, every rate, and a range test."""
    found = runs.where(part="horizons")
    return {
        "horizons": _ends(
            [run.result["losses"] for run in found], horizons(found.results()[0]["curves"]["constant"][0][-1])
        ),
        "curves": _curves(found.results()[0]["curves"]),
        "rates": _rates([run.result["losses"] for run in found]),
        "range-test": _range(runs.where(part="range").results()[0]),
    }


def _finite(losses: Any) -> Any:
    """With what diverged at infinity; JSON has it as null."""
    found = np.array(losses, dtype=float)
    return np.where(np.isnan(found), np.inf, found)


def _ends(losses: Sequence[Mapping[str, Any]], ends: Sequence[int]) -> go.Figure:
    figure = plot.figure(
        title="Training loss where the training ends, at three horizons",
        x="updates",
        y="training loss",
        log_x=True,
        log_y=True,
        summary="The constant rate is above all others at the longest horizon. Schedule-free, one run, is at or below "
        "the cosines, which were made for each horizon, and so are the decays from one stable run.",
    )
    for arm in ARMS:
        per_seed = []
        for own in losses:
            each = _finite(own[arm])
            per_seed.append(each.min(1) if arm == "cosine" else each[:, int(each[-1].argmin())])
        plot.line_with_spread(figure, ends, np.mean(per_seed, 0), np.min(per_seed, 0), np.max(per_seed, 0), name=arm)
    return figure


def _curves(curves: Mapping[str, Any]) -> go.Figure:
    figure = plot.figure(
        title="The way there, each schedule at its best rate",
        x="updates",
        y="training loss",
        log_y=True,
        summary="Until the last fifth the stable rate walks as the constant one does; then it falls below it. The "
        "cosine is above both at first and below the constant rate at the end. Schedule-free is below all of them.",
    )
    for arm in ARMS:
        plot.line(figure, *curves[arm], name=arm)
    return figure


def _rates(losses: Sequence[Mapping[str, Any]]) -> go.Figure:
    figure = plot.figure(
        title="Training loss at the end, at every rate",
        x="rate, where it is highest",
        y="training loss",
        log_x=True,
        log_y=True,
        summary="Each schedule has a valley of good rates. The lowest point of the lecture's decay and of the cosine "
        "is farther to the right than the constant rate's, and lower. At low rates both lose against it.",
    )
    for arm in ARMS:
        middle = np.median([_finite(own[arm][-1]) for own in losses], axis=0)
        plot.line(figure, RATES, middle, name=arm)
    return figure


def _range(found: Mapping[str, Any]) -> go.Figure:
    figure = plot.figure(
        title="Range test: the rate grows by three per cent from update to update",
        x="rate",
        y="loss of the update's batch",
        log_x=True,
        log_y=True,
        summary="The loss falls, lies low, and rises steeply: with small batches at a lower rate than with the whole "
        "set. The upright line is where the rate first exceeds 2/λ_max of the network as it then is.",
    )
    for name, part in (("whole set", "whole"), (f"batches of {BATCH}", "small")):
        plot.line(figure, found["swept"], np.minimum(_finite(found[part]), 10.0), name=name)
    return figure.add_vline(x=found["edge"])


STUDY = Study(
    name="schedules",
    title="Learning-rate schedules",
    chapter=3,
    claim="As training comes closer to its destination the learning rate should fall: a decay ends lower than the best "
    "constant rate.",
    source="Hung-yi Lee 2021, chapter 3; Loshchilov and Hutter 2017; Hu et al. 2024; Defazio et al. 2024; Smith 2017",
    setting="Networks 64-64-64-10 on 1,280 digits, a fifth of them with a class drawn at random, batches of 16, "
    "gradient descent for 300, 600 and 1,200 updates; each schedule at the best of eight rates, by its training loss. "
    "The same on right labels. Range tests of 300 updates from rate 0.001 to 10, and on quadratics.",
    explains="A constant rate does not arrive where gradients are noisy: near the destination the walk goes on "
    "around it, on x²/2 with a spread of η/(2 − η). The lower the rate, the closer it stays, and the slower it gets "
    "there. A falling rate does one after the other. In the first pictures it ends clearly lower than the best "
    "constant rate.\n\n"
    "But what it is worth depends on three things that the lecture does not say. It is the noise that asks for it, and "
    "not the destination: on digits that are all labelled right, every sample's gradient vanishes at the end, and a "
    "constant rate ends lower than the decays. The rate has to be tuned anew: with a decay the best one is two to four "
    "times as high, and at the rate that was best without, the cosine hardly gains. And a cosine has to know its end: "
    "stopped at a quarter it is worse than one made for a quarter. That can be had otherwise. One stable run with a "
    "short decay whenever it is to end is as good as a cosine made for that end, since most of the gain comes within "
    "the decay. Schedule-free, which takes gradients near an average of its walk, needs no decay at all, and one run "
    "is as good at all three horizons. This is about training loss: it also learns the wrong labels faster, and at the "
    "end its held-out accuracy is lower.\n\n"
    "The range test lets the rate grow until the loss is back. On a quadratic the steepest coordinate grows from "
    "exactly the first rate beyond 2/λ_max; but the loss shows it only at several times that rate, since by then "
    "that coordinate had all but vanished. On the network, too, the test notices at about twice the limit, and that "
    "limit is not the untrained network's: on the way the curvature grows. With small batches the loss is back at half "
    "the rate or less. The common advice to take a tenth is too careful here; a quarter is near the best.",
    gates=(
        Gate(
            measurement="decay over constant at the end",
            says="with noise, the lecture's decay ends a tenth lower or more than the best constant rate",
            high=0.9,
            over="geometric mean",
        ),
        Gate(
            measurement="cosine over constant at the end",
            says="so does a cosine, by a twentieth",
            high=0.95,
            over="mean",
        ),
        Gate(
            measurement="one stable run, three decays, over cosine",
            says="one stable run with a short decay at each end is as good as a cosine made for that end",
            high=1.1,
            over="four seeds of five",
        ),
        Gate(
            measurement="schedule-free over cosine",
            says="one schedule-free run is as good as a cosine made for each end",
            high=1.1,
            over="four seeds of five",
        ),
        Gate(
            measurement="loss of stable, then decay, over that before the decay",
            says="the decay of the last fifth lowers the loss by a third or more",
            high=0.67,
            over="four seeds of five",
        ),
        Gate(
            measurement="range test over the limit",
            says="the range test notices the limit 2/λ_max at one to three times the rate",
            low=1.0,
            high=3.0,
        ),
        Gate(
            measurement="loss at a quarter of the range test's rate",
            says="a quarter of the rate at which it diverges trains to three times the best loss or less",
            high=3.0,
            over="four seeds of five",
        ),
        Gate(
            measurement="quadratics whose steepest coordinate rises elsewhere",
            says="on a quadratic the steepest coordinate rises exactly at the first rate beyond 2/λ_max",
            high=0.0,
            role="control",
        ),
        Gate(
            measurement="spread of walks with noise",
            says="at a constant rate walks with noise are as far from the minimum as the formula says",
            low=0.95,
            high=1.05,
            role="control",
        ),
        Gate(
            measurement="distance after an update on few samples",
            says="updates on few samples are as unstable as the formula says",
            low=0.97,
            high=1.03,
            role="control",
        ),
        Gate(
            measurement="decay over constant, labelled right",
            says="where every sample's gradient vanishes at the end, the decay gains next to nothing",
            low=0.9,
            over="mean",
            role="qualification",
        ),
        Gate(
            measurement="best rate of the decay over that of the constant",
            says="with a decay the best rate is higher",
            low=1.5,
            over="mean",
            role="qualification",
        ),
        Gate(
            measurement="cosine over constant at the constant's rate",
            says="at the rate that is best without it, a cosine gains a fifth at most",
            low=0.8,
            over="mean",
            role="qualification",
        ),
        Gate(
            measurement="cosine for the end, read at a quarter",
            says="stopped at a quarter, a cosine is worse than one made for a quarter",
            low=1.05,
            over="mean",
            role="qualification",
        ),
        Gate(
            measurement="held-out accuracy, schedule-free minus cosine",
            says="with wrong labels the lower training loss of schedule-free costs held-out accuracy",
            high=-2.0,
            over="mean",
            role="qualification",
        ),
        Gate(
            measurement="rate at which the loss of a quadratic rises",
            says="a range test that watches the loss of a quadratic notices at twice the limit or later",
            low=2.0,
            role="qualification",
        ),
        Gate(
            measurement="range test over the limit of the untrained network",
            says="the untrained network's curvature promises a higher rate than is walked",
            high=0.8,
            role="qualification",
        ),
        Gate(
            measurement="range test with small batches over the whole set",
            says="with small batches the loss is back at a lower rate",
            high=0.8,
            role="qualification",
        ),
        Gate(
            measurement="loss at a tenth of the range test's rate",
            says="a tenth of the rate at which it diverges trains to half as much again as the best loss, or more",
            low=1.5,
            over="four seeds of five",
            role="qualification",
        ),
    ),
    plan=plan,
    run=run,
    measure=measure,
    draw=draw,
    takes=(45, 12),
)
