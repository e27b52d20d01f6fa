"""Directions through a point: random ones in the units of the weights, and the plane of a walk."""

from __future__ import annotations

import pytest
import torch
from tests import zoo
from torch import nn

from unstuck.directions import filter_normalized, principal_plane


def test_every_unit_moves_by_the_length_of_its_own_weights() -> None:
    problem = zoo.problem(lambda: zoo.perceptron(nn.LayerNorm(5)))
    point = problem.point()
    direction = filter_normalized(problem.model, point, torch.Generator().manual_seed(0))
    for name in ("0.weight", "3.weight"):
        torch.testing.assert_close(direction[name].norm(dim=1), point[name].norm(dim=1))
        assert not torch.allclose(direction[name].abs(), point[name].abs())
    for name in ("0.bias", "1.weight", "1.bias", "3.bias"):
        assert not direction[name].any()


def test_a_filter_is_a_unit_with_all_its_weights_and_zeros_stay() -> None:
    problem = zoo.MODELS["batch norm of images"](torch.float32)
    with torch.no_grad():
        problem.model.convolution.weight[0].zero_()  # type: ignore[union-attr, index]
    point = problem.point()
    direction = filter_normalized(problem.model, point, torch.Generator().manual_seed(0))
    assert direction["convolution.weight"].dtype == torch.float32
    torch.testing.assert_close(
        direction["convolution.weight"].flatten(1).norm(dim=1), point["convolution.weight"].flatten(1).norm(dim=1)
    )
    assert not direction["convolution.weight"][0].any()
    assert not direction["normalization.weight"].any()


def test_numbers_and_vectors_are_one_unit_each() -> None:
    model = nn.Module()
    model.number, model.vector = nn.Parameter(torch.tensor(-2.0)), nn.Parameter(torch.tensor([3.0, 4.0]))
    point = {name: tensor.detach() for name, tensor in model.named_parameters()}
    direction = filter_normalized(model, point, torch.Generator().manual_seed(1))
    assert direction["number"].shape == ()
    assert abs(float(direction["number"])) == pytest.approx(2.0)
    assert float(direction["vector"].norm()) == pytest.approx(5.0)


def test_a_walk_in_a_plane_is_found_whole() -> None:
    """Three coordinates, turned: an arc in the plane of the first two, and the third axis a tenth as far."""
    turn = torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(2)).double())[0]
    times = torch.linspace(0, 1, 9, dtype=torch.float64)
    arc = torch.stack([10 * times, times * (1 - times), *torch.zeros(3, 9).double()], 1)
    plane = principal_plane(list(arc @ turn))
    assert plane is not None
    torch.testing.assert_close(plane.axes @ plane.axes.T, torch.eye(2, dtype=torch.float64))
    assert sum(plane.shares) == pytest.approx(1.0)
    assert plane.shares[0] > plane.shares[1]
    torch.testing.assert_close(plane.coordinates @ plane.axes, arc @ turn, rtol=1e-9, atol=1e-9)
    assert not plane.coordinates[0].any()
    assert plane.coordinates[-1, 0] > 0


def test_shares_are_those_of_the_singular_values() -> None:
    walk = torch.randn(7, 20, generator=torch.Generator().manual_seed(3)).double().cumsum(0)
    walk = walk - walk[0]
    plane = principal_plane(list(walk))
    assert plane is not None
    squares = torch.linalg.svdvals(walk).square()
    assert plane.shares == pytest.approx((squares[:2] / squares.sum()).tolist())
    outside = walk - plane.coordinates @ plane.axes
    assert float(outside.square().sum() / walk.square().sum()) == pytest.approx(1 - sum(plane.shares))


@pytest.mark.parametrize("lengths", [[0.0], [0.0, 0.0, 0.0], [0.0, 1.0, 3.0]])
def test_a_line_is_no_plane(lengths: list[float]) -> None:
    assert principal_plane([length * torch.ones(4) for length in lengths]) is None
