"""Functions of some weights: kinds of points, Taylor's polynomial, walks."""

import math

import pytest
import torch

from unstuck.methods.update import gradient_descent, heavy_ball
from unstuck.study.experiments.surface import (
    departure,
    descend,
    kind,
    known_points,
    lecture,
    remainder_order,
    taylor,
    updates_until,
)


def at(*place: float) -> torch.Tensor:
    return torch.tensor(place, dtype=torch.float64)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("saddle point", at(0, 0)),
        ("undecided", at(2, 0.5)),
        ("no critical point", at(0, 1)),
        ("undecided", at(0, 0, 0)),
        ("undecided", at(0, 0, 0, 0)),
    ],
)
def test_points_of_the_lectures_surface(name: str, place: torch.Tensor) -> None:
    assert kind(lecture, place) == name


def test_taylors_polynomial_is_exact_on_a_quadratic() -> None:
    def bowl(point: torch.Tensor) -> torch.Tensor:
        return 3.0 * point[0] ** 2 - point[0] * point[1] + 2.0 * point[1] - 1.0

    point, move = at(0.3, -2.0), at(5.0, 7.0)
    assert taylor(bowl, point, move).item() == pytest.approx(bowl(point + move).item(), abs=1e-12)


def test_each_point_is_walked_by_its_own_rule() -> None:
    """On ½ x² gradient descent shrinks by 1 − η, and heavy ball's second step is −η(β g_0 + g_1)."""
    rows, losses = descend(
        [gradient_descent(0.5), heavy_ball(0.5, 0.9)],
        at(1.0, 1.0)[:, None],
        lambda points, _: points.clone(),
        lambda points: 0.5 * points.square().sum(-1),
        updates=2,
    )
    assert rows.flatten().tolist() == pytest.approx([0.25, 0.5 - 0.5 * (0.9 * 1.0 + 0.5)])
    assert losses[0].tolist() == pytest.approx([0.5, 0.125, 0.03125])


def test_a_walk_ends_when_all_are_below() -> None:
    _, losses = descend(
        [gradient_descent(0.5)] * 2,
        at(1.0, 4.0)[:, None],
        lambda points, _: points.clone(),
        lambda points: points.abs().sum(-1),
        updates=100,
        below=0.5,
    )
    assert [updates_until(row, 0.5) for row in losses] == [1.0, 3.0]
    assert losses.shape == (2, 4)
    assert math.isinf(updates_until(losses[1], 0.1))


def test_what_is_known() -> None:
    assert all(kind(function, place) == name for name, function, place in known_points())
    assert departure(torch.Generator().manual_seed(4)) < 1e-10
    assert remainder_order(torch.Generator().manual_seed(4)) == pytest.approx(3.0, abs=0.05)
