"""The study of batch normalization: how a loss counts as reached, and small runs of each part."""

from __future__ import annotations

import math

import pytest
import torch

from unstuck.studies.batch_normalization import (
    KINDS,
    REACHED,
    SIZES,
    WINDOW,
    arrived,
    best_of,
    measure,
    plan,
    run,
    smoothed,
)
from unstuck.study import Run, Runs


def test_a_loss_is_reached_by_a_mean_over_a_window() -> None:
    losses = torch.cat([torch.ones(2, 30), torch.full((2, 30), 0.5 * REACHED)], dim=1)
    losses[1, 40:] = math.nan
    smooth = smoothed(losses)
    needed = math.ceil(WINDOW * (1.0 - REACHED) / (1.0 - 0.5 * REACHED))
    assert arrived(smooth[0], 60) == 30 + needed
    assert arrived(smooth[1], 60) == 60
    assert best_of(smooth) == 0


def test_formulas_are_checked_for_each_seed() -> None:
    result = run(seed=4, part="formulas", updates=0)
    assert result["error"] < 1e-12
    assert result["variance"] < 0.05
    assert result["testing"] == 0.0


def test_small_runs_are_judged() -> None:
    runs = [
        Run({"seed": 1, "part": part, "updates": updates}, run(seed=1, part=part, updates=updates))
        for part, updates in (("formulas", 0), ("kinds", 40), ("sizes", 40), ("classes", 40))
    ]
    assert {run.settings["part"] for run in runs} == {settings["part"] for settings in plan((1,), False)}
    assert set(runs[1].result) == set(KINDS)
    assert all(len(runs[2].result[kind]) == len(SIZES) for kind in ("plain", "before"))
    found = {each.name: each.values[1] for each in measure(Runs(runs))}
    assert found["more rates at which it learns"] >= 1
    assert found["gain of a network with ReLU"] > 10.0
    assert found["loss over that without normalization, batches of 32"] < 0.8
    assert found["error over layer normalization's, batches of one class"] > 10.0
    assert found["loss in testing over training, 10 updates"] == pytest.approx(1.3, abs=0.5)
