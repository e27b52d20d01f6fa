"""Batch and accuracy, against what is known of its saddles."""

from __future__ import annotations

import math

import pytest
import torch

from unstuck import datasets
from unstuck.studies import batch_accuracy
from unstuck.studies.batch_accuracy import chosen, pulling, way_down
from unstuck.study import Run, Runs
from unstuck.study.experiments.autoencoder import Autoencoder


def _inputs() -> torch.Tensor:
    """Of variances 5, 3, 2 and 1, uncorrelated exactly."""
    signs = torch.tensor([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]], dtype=torch.float64)
    return signs * torch.tensor([5.0, 3.0, 2.0, 1.0], dtype=torch.float64).sqrt()


def test_the_way_down_has_the_lowest_curvature() -> None:
    known = Autoencoder(_inputs())
    saddle, down = known.critical_point(2), way_down(known)
    curvatures = torch.func.hessian(known.losses)(saddle)
    lowest = known.lowest_curvature(2)
    assert float(down.norm()) == pytest.approx(1.0)
    assert lowest == pytest.approx(8.0 - 2.0 * math.sqrt(26.0))
    torch.testing.assert_close(curvatures @ down, lowest * down, atol=1e-12, rtol=0)


def test_the_saddle_is_left_when_its_curvature_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_accuracy, "LONGEST", 1_300)
    found = batch_accuracy._saddles(_inputs().repeat(16, 1), torch.arange(64) % 4, seed=0)
    assert found["left"]["whole set"] == pytest.approx(found["expected"], rel=0.05)
    assert found["left"]["whole set, momentum"] < found["left"]["whole set"]


def test_batches_pull_where_samples_differ_and_not_where_each_is_at_rest() -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(512, 1, generator=generator, dtype=torch.float64)
    inputs -= inputs.mean()

    def shifted(point: dict[str, torch.Tensor], x: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        return (point["w"] * x).sum()

    whole, share = pulling(shifted, {"w": torch.zeros(1, dtype=torch.float64)}, inputs, inputs, 0)
    assert whole < 1e-15
    assert share == 1.0

    def product(point: dict[str, torch.Tensor], x: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        return (x - point["w"].prod()).square().sum()

    assert pulling(product, {"w": torch.zeros(2, dtype=torch.float64)}, inputs, inputs, 0) == (0.0, 0.0)


def test_the_rate_is_chosen_on_the_training_loss_alone() -> None:
    own = {"loss": [2.0, None, 0.5, 1.0, 3.0, None], "train": list(range(6)), "held_out": list(range(10, 16))}
    assert chosen({"epochs": own}, "epochs") == {"rate": 0.1, "loss": 0.5, "train": 2, "held_out": 12}


def test_arms_are_compared_at_equal_epochs_and_at_equal_updates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_accuracy, "MOST", 300)
    found = batch_accuracy.run(seed=0, part="training", passes=1, data=datasets.DEFAULT)
    arms = found["arms"]
    assert [arm["size"] for arm in arms] == [4, 16, 64, 256, 300]
    small = arms[1]
    assert small["epochs"] == small["updates"]  # its own updates are what the others are given
    assert chosen(arms[-1], "updates")["loss"] < chosen(arms[-1], "epochs")["loss"]


def test_a_walk_that_never_leaves_took_infinitely_long() -> None:
    left = {"whole set": None, "batch of 64": 100.0, "whole set, momentum": 50.0}
    saddle = {"left": left, "expected": 300.0, "pull": 1.0, "pull_at_zero": 0.0, "whole_pull": 0.0}
    own = {"loss": [1.0] * 6, "train": [0.9] * 6, "held_out": [0.8] * 6}
    arms = [{"size": size, "epochs": own, "updates": own} for size in (4, 16, 64, 256, 1297)]
    runs = Runs([Run({"seed": 0, "part": "saddle"}, saddle), Run({"seed": 0, "part": "training"}, {"arms": arms})])
    values = {each.name: each.values[0] for each in batch_accuracy.measure(runs)}
    assert values["updates to leave, whole set over small batch"] == math.inf
    assert values["training accuracy, equal epochs"] == 0.0
