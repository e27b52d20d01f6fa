"""A study of somebody's own, in a file of their own: an orbit of the logistic map, which takes some milliseconds."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from unstuck import plot
from unstuck.study import Gate, Measurement, Runs, Study

STEPS = 20_000

LOG = "OWN_STUDY_LOG"
"""The variable that names a file which gets a line for every run that is performed."""

BROKEN = "OWN_STUDY_BROKEN"
"""The variable that makes the second arm fail."""


def plan(seeds: Sequence[int], quick: bool) -> list[dict[str, Any]]:
    return [{"seed": seed, "arm": arm} for seed in seeds for arm in (("calm",) if quick else ("calm", "wild"))]


def run(seed: int, arm: str) -> dict[str, Any]:
    if arm == "wild" and os.environ.get(BROKEN):
        raise RuntimeError("the second arm is out of order")
    if os.environ.get(LOG):
        with Path(os.environ[LOG]).open("a", encoding="utf-8") as log:
            log.write(f"{seed} {arm}\n")
    value, growth = (seed + 1) / 1000, 2.5 if arm == "calm" else 3.9
    total = 0.0
    for _ in range(STEPS):
        value = growth * value * (1.0 - value)
        total += value
    return {"last": value, "mean": total / STEPS}


def measure(runs: Runs) -> list[Measurement]:
    return [Measurement(name="rest", says="where it ends", values=runs.where(arm="calm").per_seed("last"))]


def draw(runs: Runs) -> Mapping[str, go.Figure]:
    drawn = plot.figure(title="Ends", x="seed", y="x", summary="Every orbit ends at the same place.")
    plot.points(drawn, [run.seed for run in runs], [run.result["last"] for run in runs], name="end")
    return {"ends": drawn}


STUDY = Study(
    name="logistic-map",
    title="The logistic map",
    chapter=0,
    claim="At a growth of 2.5 every orbit comes to rest at 0.6.",
    source="R. May 1976",
    setting="x ← r·x·(1 − x), twenty thousand steps.",
    explains="The point of rest is 1 − 1/r.",
    gates=(Gate(measurement="rest", says="it rests at 0.6", low=0.6 - 1e-12, high=0.6 + 1e-12),),
    plan=plan,
    run=run,
    measure=measure,
    draw=draw,
    takes=(1, 1),
    seeds=(0, 1, 2, 3, 4, 5),
)

NUMBER = 3
