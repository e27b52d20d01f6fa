"""The learning-rate range test where its outcome is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from unstuck.study.experiments.curved import mean_loss, sharpest
from unstuck.study.experiments.horizons import Task
from unstuck.study.experiments.networks import cross_entropy
from unstuck.study.experiments.range_test import Sweep, on_few_samples, on_network, on_quadratics, risen


def test_a_sweep_grows_by_the_same_factor() -> None:
    sweep = Sweep(1e-3, 1.1)
    assert [sweep(update) for update in (0, 1, 2)] == pytest.approx([1e-3, 1.1e-3, 1.21e-3])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_on_quadratics_the_steepest_coordinate_rises_at_the_limit_and_the_loss_later(seed: int) -> None:
    found = on_quadratics(torch.Generator(device="cpu").manual_seed(seed))
    assert found["quadratics whose steepest coordinate rises elsewhere"] == 0
    assert found["rate at which the loss of a quadratic rises"] > 1


def test_few_samples_move_as_far_as_the_formula_says() -> None:
    assert on_few_samples(0.1, torch.Generator(device="cpu").manual_seed(0)) == pytest.approx(1, abs=0.02)


def test_a_loss_is_back_where_it_was_below_and_is_above_half_of_the_first() -> None:
    assert risen([4.0, 3.0, 1.0, 0.5, 1.9, 2.1, 9.0], 1) == 5
    assert risen([4.0, 3.0, 1.0, math.nan, math.nan], 1) == 3
    assert risen([4.0, 3.0, 2.5], 1) == 2
    assert risen([4.0, 4.0, 1.0, 1.0, 2.0, 9.0], 2) == 5


def test_the_sharpest_curvature_is_that_of_the_whole_hessian() -> None:
    task = Task(0, wrong=0.0, samples=32)
    row = task.network.split(task.network.model)[0].double()
    inputs, targets = task.learned[0].double(), task.learned[1]

    def last_biases(bias: torch.Tensor) -> torch.Tensor:
        whole = torch.cat([row[:-10], bias])
        return cross_entropy(task.network.outputs(task.network.named(whole), {}, inputs), targets).mean()

    part = torch.linalg.eigvalsh(torch.func.hessian(last_biases)(row[-10:]))
    assert sharpest(mean_loss(task.network, cross_entropy, *task.learned), row.float(), 0) >= float(part.max()) - 1e-3


def test_on_a_network_every_part_is_there() -> None:
    found = on_network(0, [0.1], 4, [0.25])
    assert found["swept"][0] < found["edge"]
    assert found["diverged"][1] <= found["diverged"][0]
    assert np.isfinite(found["losses"] + found["suggested"]).all()
    assert len(found["whole"]) == len(found["swept"])
