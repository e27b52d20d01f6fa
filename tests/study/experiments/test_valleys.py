"""Valleys of two weights, against autograd and closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from unstuck.datasets.ten_points import START, ten_points
from unstuck.methods.update import gradient_descent
from unstuck.study.experiments.valleys import Crescent, TenPoints, Walled, adagrad_walks, bursts, standardized
from unstuck.study.experiments.walks import path

AT = torch.tensor([START, (-188.0, 2.7), (3.0, 4.0)], dtype=torch.float64)


@pytest.mark.parametrize("scaled", [False, True])
def test_the_loss_over_the_ten_points_is_the_summed_squared_error(scaled: bool) -> None:
    x, y = ten_points()
    points = TenPoints(standardized=scaled)
    lines = AT[:, :1] + AT[:, 1:] * x
    errors = (y - lines).square().sum(1)
    weights = points.of_line(AT).requires_grad_()
    losses = points.loss(weights)
    torch.testing.assert_close(losses.diff(), errors.diff())
    (slopes,) = torch.autograd.grad(losses.sum(), weights)
    torch.testing.assert_close(points.slope(weights), slopes)
    assert points.loss(points.minimum).item() == pytest.approx(0.0, abs=1e-12)


def test_curvatures_minimum_and_what_descent_leaves_are_those_of_the_demonstration() -> None:
    points = TenPoints()
    assert points.curvatures.tolist() == pytest.approx([5.5735, 1.74683e6], rel=1e-5)
    assert points.minimum.tolist() == pytest.approx([-188.4332, 2.66945], rel=1e-5)
    left = [points.left(points.descended(AT[0], rate, 100_000), AT[0]).item() for rate in (1e-7, 1e-6, 1.1e-6)]
    assert left == pytest.approx([0.946, 0.573, 0.542], abs=5e-4)
    walk = path(gradient_descent(1e-6), AT[:1], points.slope, 50)[-1, 0]
    torch.testing.assert_close(walk, points.descended(AT[0], 1e-6, 50), rtol=1e-9, atol=0.0)


def test_with_standardized_inputs_one_update_is_enough() -> None:
    assert standardized(AT[:1]) == 1.0
    torch.testing.assert_close(TenPoints(standardized=True).hessian, 20.0 * torch.eye(2, dtype=torch.float64))


@pytest.mark.parametrize("turned", [None, torch.tensor([[False], [True], [True]])])
def test_the_slope_of_straight_walls_is_that_of_the_loss(turned: torch.Tensor | None) -> None:
    valley = Walled(0.5, 30.0, 0.1, turned)
    at = torch.tensor([[1.0, 0.02], [-1.0, 0.5], [2.0, 1.9]], dtype=torch.float64)
    weights = valley.across(at).requires_grad_()
    torch.testing.assert_close(valley.across(weights), at)
    if turned is None:
        (slopes,) = torch.autograd.grad(valley.loss(weights).sum(), weights)
        torch.testing.assert_close(valley.slope(weights), slopes)
        assert valley.loss(torch.tensor([[0.0, 90.0]]))[0].item() == pytest.approx(30 * 0.1 * (90 - 0.1 * math.log(2)))
    else:  # a turn of the whole: the same slopes, turned
        plain = Walled(0.5, 30.0, 0.1)
        torch.testing.assert_close(valley.across(valley.slope(weights)), plain.slope(at))


def test_descent_bounces_between_straight_walls_by_the_rate_times_their_slope() -> None:
    walk = path(gradient_descent(0.01), torch.tensor([[0.0, 0.7]]), Walled(1e-3, 1e3, 0.05).slope, 500)[-9:, 0, 1]
    assert walk.diff().abs().tolist() == pytest.approx([0.5] * 8, rel=1e-3)


def test_what_bursts_is_told_by_how_far_the_loss_rises_above_its_lowest() -> None:
    points = TenPoints()
    nearest, rises = bursts(points, points.minimum + torch.tensor([4.0, 1.0, 3.0, 2.0])[:, None, None] * AT[None, 1])
    assert nearest == pytest.approx([0.25])
    assert rises == [pytest.approx([9.0])]
    _, decaying = adagrad_walks(points, AT[:1], updates=50)
    assert bursts(points, decaying)[1][0][0] == pytest.approx(1.0)


def test_the_slope_of_the_crescent_is_that_of_its_loss() -> None:
    crescent = Crescent(90.0, 0.1)
    at = torch.tensor([[-1.2, 0.9], [0.3, -0.7]], dtype=torch.float64, requires_grad=True)
    (slopes,) = torch.autograd.grad(crescent.loss(at).sum(), at)
    torch.testing.assert_close(crescent.slope(at), slopes)
    ends = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
    assert crescent.loss(ends).tolist() == pytest.approx([0.0, 0.2, 45.1])
