"""Batch and time: what an update and an epoch take on this machine, from one sample in a batch to the whole set."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

from unstuck import plot
from unstuck.budget import Budget
from unstuck.device import torch_device
from unstuck.executor import cores
from unstuck.probes.batch_time import BatchTime
from unstuck.problem import Problem
from unstuck.study import Gate, Measurement, Run, Runs, Study
from unstuck.study.experiments.networks import perceptron
from unstuck.view import View
from unstuck.walk import fixed_threads

SAMPLES, WIDTHS = 60_000, (784, 256, 10)
"""As many as there are in Fashion-MNIST, of the same size: random numbers, as time does not depend on what they say."""

ONE, SOME, THOUSAND = 1, 16, 1_000
"""The batches that the gates compare, beside the fastest and the whole set."""

WORK, QUICK_WORK = 1_000, 160
"""In updates of a thousand samples: enough to get to the whole set, and to 4,096 samples."""

THREADS = ("one", "all")
"""Of the processor; on another device they make little difference."""


def plan(seeds: Sequence[int], quick: bool) -> list[dict[str, Any]]:
    """For each seed one series of sizes in one thread, and beside the first, where there is time, one in all."""
    common = {"work": QUICK_WORK if quick else WORK, "samples": SAMPLES}
    beside = [] if quick else [{"seed": seeds[0], "threads": THREADS[1]} | common]
    return [{"seed": seed, "threads": THREADS[0]} | common for seed in seeds] + beside


def run(seed: int, threads: str, work: int, samples: int, device: str) -> dict[str, Any]:
    """Time one series of sizes."""
    generator = torch.Generator(device="cpu").manual_seed(seed)
    inputs = torch.randn(samples, WIDTHS[0], generator=generator, device="cpu").to(torch_device(device))
    targets = torch.randint(WIDTHS[-1], (samples,), generator=generator, device="cpu").to(inputs.device)
    model = perceptron(WIDTHS).to(inputs.device)
    problem = Problem(
        model=model,
        loss=F.cross_entropy,
        train=DataLoader(TensorDataset(inputs, targets), batch_size=min(THOUSAND, samples)),
        optimizer=torch.optim.SGD(model.parameters(), lr=0.01),
    )
    with fixed_threads(1 if threads == THREADS[0] else cores()):
        found = BatchTime(work=work).measure(View(problem.branch(), seed=seed), Budget(updates=work))
    estimates = {"fixed": found.fixed, "per_sample": found.per_sample, "half_speed": found.half_speed}
    return {
        "sizes": found.batch_sizes,
        "update": found.update_time,
        "epoch": found.epoch_time,
        "spread": found.update_spread,
        "fastest_batch": found.fastest_batch,
        "threads": found.threads,
        "device": found.device,
        **{name: math.nan if estimate is None else estimate.value for name, estimate in estimates.items()},
    }


def measure(runs: Runs) -> list[Measurement]:
    """What the gates are about, in one thread."""
    alone = runs.where(threads=THREADS[0])

    def of(name: str, says: str, value: Callable[[Run], float], unit: str = "") -> Measurement:
        return Measurement(name=name, says=says, values={run.seed: value(run) for run in alone}, unit=unit)

    def fitted(name: str) -> Callable[[Run], float]:
        return lambda run: math.nan if run.result[name] is None else run.result[name]

    return [
        of(
            "epoch of single samples over the fastest epoch",
            f"{SAMPLES} updates with one sample each, over the time of the fastest batch size",
            lambda run: run.result["epoch"][0] / min(run.result["epoch"]),
        ),
        of(
            f"update on {SOME} samples over one on one",
            "medians of seven",
            lambda run: time_of(run, SOME) / time_of(run, ONE),
        ),
        of(
            f"update on {THOUSAND:,} samples over one on one",
            "medians of seven",
            lambda run: time_of(run, THOUSAND) / time_of(run, ONE),
        ),
        of(
            "update on the largest batch over one on one",
            "on the whole set, or on as many samples as there was time for",
            lambda run: run.result["update"][-1] / run.result["update"][0],
        ),
        of(
            "spread of the times of one size",
            "half the distance of the quartiles over the median, median over all sizes",
            lambda run: float(np.median(np.divide(run.result["spread"], run.result["update"]))),
        ),
        of(
            "half-speed batch",
            "a/b of the fit t(B) = a + b·B: up to here a larger batch costs an update little; not told if too noisy",
            fitted("half_speed"),
            "samples",
        ),
        of("fixed time of an update", "a of the fit", fitted("fixed"), "s"),
        of("time of a sample", "b of the fit", fitted("per_sample"), "s"),
        of("fastest batch", "through an epoch", lambda run: run.result["fastest_batch"], "samples"),
    ]


def time_of(run: Run, size: int) -> float:
    """Seconds of an update on so many samples."""
    seconds: float = run.result["update"][run.result["sizes"].index(size)]
    return seconds


def draw(runs: Runs) -> Mapping[str, go.Figure]:
    """The lecture's two pictures."""
    return {
        "update": _times(runs, "update", "Time for one update", "An update"),
        "epoch": _times(runs, "epoch", "Time for one epoch", "An epoch"),
    }


def _times(runs: Runs, what: str, title: str, begins: str) -> go.Figure:
    """Geometric means over the seeds, between the shortest and the longest."""
    first = runs.results()[0]
    rows = {
        name: np.array([run.result[what][: len(first["sizes"])] for run in runs.where(threads=name)])
        for name in THREADS
        if len(runs.where(threads=name))
    }
    middles = {name: np.exp(np.log(seconds).mean(0)) for name, seconds in rows.items()}
    alone = middles[THREADS[0]]
    thousand = alone[first["sizes"].index(THOUSAND)]
    figure = plot.figure(
        title=title,
        x="batch size",
        y="seconds",
        log_x=True,
        log_y=True,
        summary=f"{begins} takes {alone[0]:.2g} s with one sample in a batch, {thousand:.2g} s with {THOUSAND:,}, and "
        f"{alone[-1]:.2g} s with {first['sizes'][-1]:,}, in one thread on {first['device']}.",
    )
    for name, seconds in rows.items():
        threads = runs.where(threads=name).results()[0]["threads"]
        plot.line_with_spread(
            figure,
            first["sizes"],
            middles[name],
            seconds.min(0),
            seconds.max(0),
            name=f"{name} ({threads})" if name == THREADS[1] else "one thread",
        )
    return figure


STUDY = Study(
    name="batch-time",
    title="Time against batch size",
    chapter=2,
    claim="A larger batch takes an update hardly any longer, so that an epoch of large batches is over much sooner.",
    source="Hung-yi Lee 2021, chapter 2, measured there on a Tesla V100",
    setting="A network 784-256-10 on 60,000 random samples of Fashion-MNIST's size, gradient descent with PyTorch; "
    "medians of seven updates after two that warm up, fewer of the largest; on this machine, in one thread (judged) "
    "and in all.",
    explains="An update takes t(B) = a + b·B: a is for starting it, for every layer and for the optimizer, whatever "
    "the batch holds; b is for each sample in it. The first picture is flat as long as b·B is small beside a, and "
    "rises in proportion to B where it is large. Both are equal at the half-speed batch a/b. An epoch of N samples is "
    "N/B updates, N·a/B + N·b in all. So the second picture falls, and then is level: far past the half-speed "
    "batch, larger batches save next to no time.\n\n"
    "The lecture's picture of single updates is flat up to a thousand samples and more. That is a property of "
    "parallel hardware, which works on a thousand samples at the same time. A processor has few cores, and there an "
    "update on a thousand samples takes many times as long as one on a single sample: one thread is at half its speed "
    "with some tens of samples. What holds on every machine is the second half of the claim, as an epoch of single "
    "samples pays the fixed time a in each of 60,000 updates, and batches of a thousand in 60.",
    gates=(
        Gate(
            measurement="epoch of single samples over the fastest epoch",
            says="an epoch of single samples takes five times as long as it must, or more",
            low=5.0,
            over="geometric mean",
        ),
        Gate(
            measurement=f"update on {SOME} samples over one on one",
            says="an update on sixteen samples takes less than four times as long as one on one",
            high=4.0,
            over="four seeds of five",
        ),
        Gate(
            measurement="update on the largest batch over one on one",
            says="in the end a larger batch takes longer, as the lecture says",
            low=3.0,
            over="geometric mean",
        ),
        Gate(
            measurement="spread of the times of one size",
            says="the machine was quiet enough for times to mean something",
            high=0.5,
            over="median",
            role="control",
        ),
        Gate(
            measurement=f"update on {THOUSAND:,} samples over one on one",
            says="on a thousand samples it takes three times as long or more: this hardware is not parallel enough",
            low=3.0,
            over="geometric mean",
            role="qualification",
        ),
    ),
    plan=plan,
    run=run,
    measure=measure,
    draw=draw,
    takes=(75, 8),
    alone=True,
    device=True,
)
