"""Surfaces of few dimensions, and walks on them."""

from __future__ import annotations

import math

import pytest
import torch

from unstuck.methods.update import gradient_descent, heavy_ball
from unstuck.study.experiments.walks import Bumpy, best, best_in_grid, end, limit_error, uniform, walked


def column(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None]


def test_walks_are_those_of_torchs_own_optimizer() -> None:
    at = torch.tensor([[1.0, -2.0]], dtype=torch.float64)
    curvatures = torch.tensor([1.0, 3.0], dtype=torch.float64)
    ours = torch.cat([rows.clone() for rows in walked(heavy_ball(0.1, 0.9), at, lambda rows: curvatures * rows, 8)])
    point = at[0].clone().requires_grad_()
    optimizer = torch.optim.SGD([point], lr=0.1, momentum=0.9)
    for row in ours:
        torch.testing.assert_close(row, point.detach())
        optimizer.zero_grad()
        (curvatures * point.square() / 2).sum().backward()
        optimizer.step()
    assert torch.equal(end(heavy_ball(0.1, 0.9), at, lambda rows: curvatures * rows, 8)[0], ours[-1])
    assert at.tolist() == [[1.0, -2.0]]


def test_each_bump_has_a_dip_before_it_and_its_top_is_the_highest_point_around() -> None:
    surface = Bumpy.drawn(50, torch.Generator().manual_seed(3))
    at = (surface.place + surface.width * torch.linspace(-1.0, 1.0, 4_001, dtype=torch.float64)).requires_grad_()
    loss = surface.loss(at)
    (slope,) = torch.autograd.grad(loss.sum(), at)
    torch.testing.assert_close(surface.slope(at), slope)
    assert (slope[:, -1] < 0).all()  # uphill on the way to the left
    torch.testing.assert_close(surface.top()[:, 0], loss.amax(1), rtol=1e-4, atol=0.0)


def test_gradient_descent_rests_in_the_dip_and_momentum_rolls_over_a_low_bump() -> None:
    surface, start = Bumpy(column(1.5), column(0.3), column(1.2)), column(3.0)
    assert end(gradient_descent(0.01), start, surface.slope, 1_000) > surface.place
    assert end(heavy_ball(0.01, 0.9), start, surface.slope, 1_000).abs() < 1e-3


def test_numbers_are_drawn_between_the_ends() -> None:
    drawn = uniform(2.0, 3.0, 500, torch.Generator().manual_seed(0))
    assert drawn.shape == (500, 1)
    assert 2.0 <= drawn.min() < 2.05
    assert 2.95 < drawn.max() <= 3.0


def test_what_diverges_is_where_the_formulas_say() -> None:
    assert limit_error(0.9) <= 0.0025


@pytest.mark.parametrize("condition", [10.0, 100.0])
def test_the_best_settings_are_polyaks(condition: float) -> None:
    plain, rate, momentum = best(condition)
    assert plain == pytest.approx(2 / (1 + 1 / condition))
    assert math.sqrt(momentum) == pytest.approx((math.sqrt(condition) - 1) / (math.sqrt(condition) + 1))
    assert rate == pytest.approx((1 + math.sqrt(momentum)) ** 2)
    assert 1.0 - 1e-12 <= best_in_grid(condition) < 1.05
