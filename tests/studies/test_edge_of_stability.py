"""Edge of stability: limits, curvatures and gradients against what is known, and short trainings."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call

from unstuck.curvature.scaled import preconditioned
from unstuck.studies.edge_of_stability import ARMS, SAMPLES, Surface, limit_of, measure, run, sharpest
from unstuck.study import Run, Runs


@pytest.mark.parametrize(
    ("arm", "curvature"),
    [("rate 0.4", 5.0), ("momentum", 3.8 / 0.6), ("Nesterov", 3.8 / 2.8 / 0.3), ("Adam", 38.0 / 2e-3)],
)
def test_each_rule_has_a_limit_of_its_own(arm: str, curvature: float) -> None:
    assert limit_of(ARMS[arm]).curvature == pytest.approx(curvature)
    assert limit_of(ARMS[arm]).preconditioned == (arm == "Adam")


def test_the_largest_curvature_is_that_of_the_known_matrix() -> None:
    matrix = torch.diag(torch.linspace(-3.0, 2.0, 50, dtype=torch.float64))
    operator = _Matrix(matrix)
    assert sharpest(operator, 0) == pytest.approx(2.0, rel=1e-2)
    sigma = torch.linspace(1.0, 0.1, 50, dtype=torch.float64)
    expected = float(torch.linalg.eigvalsh(matrix / (sigma[:, None] * sigma).sqrt())[-1])
    assert sharpest(preconditioned(operator, sigma), 0) == pytest.approx(expected, rel=1e-2)


class _Matrix:
    def __init__(self, matrix: torch.Tensor) -> None:
        self.matrix = matrix
        self.dimension, self.dtype, self.device = len(matrix), matrix.dtype, matrix.device

    def __matmul__(self, vector: torch.Tensor) -> torch.Tensor:
        return self.matrix @ vector

    def block(self, vectors: torch.Tensor) -> torch.Tensor:
        return vectors @ self.matrix


def test_loss_and_gradient_are_those_of_half_the_squared_error() -> None:
    surface = Surface(ARMS["rate 0.4"], seed=3)
    row = surface.network.split(surface.network.model)[0]
    loss, gradient = surface.slope(row, next(surface.batches(3)))

    def plain(at: torch.Tensor) -> torch.Tensor:
        outputs = functional_call(surface.network.model, surface.network.named(at), (surface.inputs,))
        return 0.5 * F.mse_loss(outputs, surface.targets, reduction="sum") / SAMPLES

    assert loss == pytest.approx(float(plain(row)), rel=1e-5)
    leaf = row.clone().requires_grad_()
    (expected,) = torch.autograd.grad(plain(leaf), leaf)
    assert torch.allclose(gradient, expected, atol=1e-6)
    vector = torch.randn(len(row), generator=torch.Generator().manual_seed(0))
    _, product = torch.autograd.functional.hvp(plain, row, vector)
    assert torch.allclose(surface.hessian(row) @ vector, product, atol=1e-4)


def test_small_batches_are_parts_of_the_whole_set() -> None:
    surface = Surface(ARMS["small batches"], seed=3)
    inputs, targets = next(surface.batches(3))
    assert inputs.shape == (16, 64)
    assert all((surface.inputs == one).all(1).any() for one in inputs)
    assert len(targets) == 16


def test_short_trainings_are_judged() -> None:
    runs = [Run({"seed": 1, "arm": arm}, run(seed=1, arm=arm, updates=120)) for arm in ARMS]
    found = {each.name: next(iter(each.values.values())) for each in measure(Runs(runs))}
    assert found["share of updates in which the loss rises, low rate"] == 0.0
    assert found["curvature over its limit, low rate"] < 0.2
    assert found["curvature over its limit, small batches"] < 0.95
    assert found["late loss over that in the middle"] < 1.5
    assert found["error of the limits"] < 0.005
    assert runs[0].result["looks"] == [0, 40, 80, 120]
    adams = next(own.result["share"] for own in runs if own.settings["arm"] == "Adam")
    assert adams[0] == 0.0
    assert all(0.0 < share < 2.0 for share in adams[1:])
