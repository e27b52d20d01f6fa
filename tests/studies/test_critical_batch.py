"""Critical batch: the fit, the looks, and the noise scale, against closed forms and the package's own estimator."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from unstuck.fleet_network import Network
from unstuck.numerics.noise import gradient_noise
from unstuck.studies import critical_batch
from unstuck.studies.critical_batch import (
    GOAL,
    closed_forms,
    estimated_scale,
    fitted,
    noise_scale,
    sample_gradients,
    slope,
    updates_to,
)
from unstuck.study import Run, Runs
from unstuck.study.experiments.networks import cross_entropy, perceptron


def _run() -> Run:
    """S = 10 (1 + 40 / B), never reached with 2; the noise scale is 20 on the way, and 320 in the end."""
    sizes = [1, 2, 4, 8, 16, 64, 128, 512]
    updates = [None if size == 2 else 10.0 * (1.0 + 40.0 / size) for size in sizes]
    noise = {"updates": [0.0, 8.0, 16.0, 64.0], "scale": [10.0, 20.0, 40.0, 320.0], "loss": [2.3, 1.0, 0.3, 0.05]}
    rates = [0.1, 0.1, 0.2, 0.4, 0.8, 0.8, 0.8, 0.8]
    return Run(
        {"seed": 7},
        {"sizes": sizes, "updates": updates, "rates": rates, "noise": noise, "estimated": 1.02, "errors": {"a": 0.01}},
    )


def test_the_fit_finds_what_was_put_in() -> None:
    line = fitted(_run())
    assert line.intercept == pytest.approx(10.0)
    assert line.slope / line.intercept == pytest.approx(40.0)
    values = {each.name: each.values[7] for each in critical_batch.measure(Runs([_run()]))}
    assert values["critical batch over noise scale"] == pytest.approx(40.0 / 20.0)
    assert values["growth of the noise scale"] == 32.0
    assert values["best rate at 16 over that at 1"] == 8.0
    assert list(critical_batch.draw(Runs([_run()]))) == ["updates", "samples", "rates", "noise"]


def test_the_slope_is_that_of_the_logarithms() -> None:
    sizes = [1, 4, 8]
    run = Run({"seed": 0}, {"sizes": sizes, "updates": [100.0 / size**0.9 for size in sizes]})
    assert slope(run, (1, 8)) == pytest.approx(-0.9)


def test_the_goal_is_reached_between_two_looks() -> None:
    losses = torch.tensor([[2.0, 2.0, 1.0], [0.4, 3.0, math.nan], [0.1, 1.0, 0.1]])
    steps = updates_to(GOAL, [0, 10, 20], losses)
    assert steps == [pytest.approx(15.0), math.inf, 20.0]  # by the logarithm, 0.2 is half-way from 0.4 to 0.1


def test_the_noise_scale_is_that_of_the_package_over_the_whole_population() -> None:
    rows = torch.randn(60, 400, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.2
    found = gradient_noise((rows @ rows.T).numpy(), np.ones(60), population=60)
    assert noise_scale(rows) == pytest.approx(found.scale.value * 59 / 60, rel=1e-9)
    assert estimated_scale(rows, seed=0) == pytest.approx(noise_scale(rows), rel=0.1)


def test_gradients_of_samples_have_the_mean_that_autograd_gives() -> None:
    torch.manual_seed(0)
    model = perceptron((4, 6, 3))
    network = Network.of(model)
    row, _ = network.split(model)
    inputs, targets = torch.randn(9, 4), torch.randint(3, (9,))
    rows = sample_gradients(network, row.clone(), inputs, targets)
    slopes = torch.autograd.grad(cross_entropy(model(inputs), targets).mean(), list(model.parameters()))
    torch.testing.assert_close(rows.mean(0), torch.cat([slope.flatten() for slope in slopes]))


def test_closed_forms_hold() -> None:
    assert max(closed_forms(0).values()) < 0.03
