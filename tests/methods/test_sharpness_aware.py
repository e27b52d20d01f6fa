"""Sharpness-aware minimization, against its closed forms."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from tests import zoo
from tests.untouched import content
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from unstuck.methods.optimizers import with_optimizer
from unstuck.methods.sharpness_aware import SharpnessAware
from unstuck.problem import Problem
from unstuck.vector import moved, norm
from unstuck.walk import walk


class Quadratic(nn.Module):
    """L = Σ λ w² / 2."""

    def __init__(self, curvatures: list[float], start: list[float]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(start, dtype=torch.float64))
        self.register_buffer("curvatures", torch.tensor(curvatures, dtype=torch.float64))

    def forward(self, inputs: Tensor) -> Tensor:
        loss: Tensor = (self.curvatures * self.weight.square()).sum() / 2  # type: ignore[operator]
        return loss


def quadratic(curvatures: list[float], start: list[float]) -> Problem:
    ones = torch.ones(4, 1, dtype=torch.float64)
    return zoo.problem(
        lambda: Quadratic(curvatures, start),
        loss=lambda outputs, targets: outputs,
        train=DataLoader(TensorDataset(ones, ones), batch_size=4),
    )


def at(problem: Problem) -> Tensor:
    return problem.point()["weight"]


def test_it_follows_the_gradient_of_the_worst_point_nearby() -> None:
    """On a quadratic: H(w + ρ Hw/‖Hw‖)."""
    curvatures, start = [3.0, 0.5], [1.0, -2.0]
    branch = with_optimizer(quadratic(curvatures, start).branch(), "sam", rate=0.1, momentum=0.0, radius=0.2)
    walk(branch, 1)
    bent, weight = torch.tensor(curvatures, dtype=torch.float64), torch.tensor(start, dtype=torch.float64)
    slope = bent * weight
    expected = weight - 0.1 * bent * (weight + 0.2 * slope / slope.norm())
    torch.testing.assert_close(at(branch), expected, rtol=1e-14, atol=0)


def test_it_ends_in_a_cycle_around_the_bottom() -> None:
    """In one dimension |w| = ηλρ/(2 − ηλ) exactly: 0.0088235 for λ 3, η 0.1, ρ 0.05."""
    branch = with_optimizer(quadratic([3.0], [1.0]).branch(), "sam", rate=0.1, momentum=0.0)
    walk(branch, 400)
    first = float(at(branch))
    walk(branch, 1)
    assert abs(first) == pytest.approx(0.1 * 3 * 0.05 / (2 - 0.1 * 3), rel=1e-9)
    assert float(at(branch)) == pytest.approx(-first, rel=1e-9)


@pytest.mark.parametrize("name", ["perceptron", "batch norm", "sparse embedding", "tied weights", "clipping"])
def test_against_two_gradients_by_hand(name: str) -> None:
    problem = zoo.ZOO[name](torch.float64)
    branch = with_optimizer(problem.branch(), "sam", rate=0.1, momentum=0.0, radius=0.3)
    point, batch = problem.point(), next(problem.data.order(0))
    slope = problem.gradient_at(point, batch)
    there = problem.gradient_at(moved(point, slope, 0.3 / norm(slope)), batch)
    step = 0.1 if problem.clip_norm is None else 0.1 * min(1.0, problem.clip_norm / norm(there))
    walk(branch, 1)
    for key, tensor in branch.point().items():
        torch.testing.assert_close(tensor, point[key] - step * there[key], rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("name", ["batch norm", "counting"])
def test_running_statistics_are_those_of_the_first_pass(name: str) -> None:
    problem = zoo.ZOO[name](torch.float64)
    plain, branch = problem.branch(), with_optimizer(problem.branch(), "sam", rate=0.1)
    walk(plain, 1)
    walk(branch.branch(), 1)
    walk(branch, 1)
    if name == "batch norm":
        assert content(dict(branch.model.named_buffers())) == content(dict(plain.model.named_buffers()))
    else:
        assert float(branch.model.get_buffer("calls")) == 1


def test_a_gradient_of_zero_moves_nothing() -> None:
    branch = with_optimizer(quadratic([3.0], [0.0]).branch(), "sam", rate=0.1)
    walk(branch, 2)
    assert float(at(branch)) == 0.0


def test_what_no_gradient_reaches_stays() -> None:
    problem = zoo.problem(zoo.perceptron, loss=lambda outputs, targets: outputs.detach().sum())
    branch = with_optimizer(problem.branch(), "sam", rate=0.1)
    assert [row.gradient_norm for row in walk(branch, 2).curve] == [0.0, 0.0]
    assert content(branch.point()) == content(problem.point())


def test_radius_of_zero_is_the_optimizer_itself() -> None:
    problem = zoo.ZOO["batch norm"](torch.float64)
    plain = with_optimizer(problem.branch(), "momentum", rate=0.1)
    aware = with_optimizer(problem.branch(), "sam", rate=0.1, radius=0.0)
    assert [row.loss for row in walk(aware, 9).curve] == [row.loss for row in walk(plain, 9).curve]


def test_around_any_optimizer_in_a_loop_of_ones_own() -> None:
    model = nn.Linear(3, 1).double()
    inputs, targets = torch.randn(8, 3, generator=zoo.generator(), dtype=torch.float64), torch.zeros(8, 1).double()
    optimizer = SharpnessAware(torch.optim.Adam(model.parameters(), lr=0.1))

    def closure() -> float:
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(inputs), targets)
        loss.backward()
        return float(loss.detach())

    losses: list[Any] = [optimizer.step(closure) for _ in range(60)]
    assert losses[-1] < 0.05 * losses[0]
    assert all(map(math.isfinite, losses))
