"""Feature normalization: the closed form for shifted inputs, how inputs are prepared, and small runs."""

from __future__ import annotations

import math

import pytest
import torch

from unstuck.datasets.digits import LEARNED
from unstuck.studies.feature_normalization import ARMS, REACHED, UPDATES, arrived, measure, prepared, run
from unstuck.study import Run, Runs
from unstuck.study.experiments.scales import highest, shift_error


@pytest.mark.parametrize("features", [1, 3, 10])
def test_a_mean_in_the_inputs_raises_the_largest_curvature_as_the_formula_says(features: int) -> None:
    assert shift_error(7, features) < 1e-9


def test_the_largest_curvature_is_that_of_the_second_moments() -> None:
    inputs = torch.randn(20, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert highest(inputs) == pytest.approx(float(torch.linalg.eigvalsh(inputs.T @ inputs / 20)[-1]))


def test_walks_on_the_lectures_surface_take_what_the_condition_says() -> None:
    found = run(seed=3, part="surface", updates=20_000)
    for scale, updates in zip(("1", "10"), (found["updates"][0], found["updates"][2]), strict=True):
        factor = (found[scale]["condition"] - 1) / (found[scale]["condition"] + 1)
        # Both modes shrink by this factor, so that the loss does by its square.
        assert updates == math.ceil(math.log(1e-3) / math.log(factor**2))
    correlation = abs(found["correlation"])
    assert found["1"]["condition"] == pytest.approx((1 + correlation) / (1 - correlation))


def test_inputs_are_prepared_by_what_is_known_of_the_training_set() -> None:
    inputs = {arm: prepared(arm, 5)[0] for arm in ARMS}
    learned = inputs["standardized"][:LEARNED]
    assert learned.mean(0).abs().max() < 1e-12
    assert learned.abs().max() <= 20.0 + 1e-9
    assert torch.equal(inputs["shifted"], inputs["as they are"] + 100.0)
    constant = inputs["as they are"][:LEARNED].std(0) == 0
    assert constant.any()
    assert not learned[:, constant].any()
    units = inputs["unequal units"][:, ~constant] / inputs["standardized"][:, ~constant]
    assert torch.allclose(units, units[0].expand_as(units))
    assert torch.equal(inputs["unequal units"], prepared("unequal units", 5)[0])


def test_a_loss_is_reached_or_is_not() -> None:
    assert arrived(torch.tensor([2.0, REACHED, 0.1]), 3) == 1
    assert arrived(torch.tensor([2.0, 1.0, math.nan]), 3) == 3


def test_small_runs_are_judged() -> None:
    runs = [
        Run({"seed": 1, "part": part, "updates": updates}, run(seed=1, part=part, updates=updates))
        for part, updates in (("surface", 2_000), ("classifier", UPDATES // 20), ("network", 60))
    ]
    found = {each.name: each.values[1] for each in measure(Runs(runs))}
    assert found["power of the scale in the updates"] == pytest.approx(2.0, abs=0.05)
    assert found["updates for digits as they are"] > 1.5
    assert found["sharpest curvature of shifted digits"] > 1e4
    assert found["loss of a network in unequal units, gradient descent"] > 1.0
